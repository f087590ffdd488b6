//! Deleting lines that are too old, a step at a time: rooms by number, then direct lines.
//!
//! Not when: the kernel asks for each step. A room's own days count, else the server's; 0 is for ever.
//! Bounds: a look at `ROOMS` rooms and `LINES` deleted lines a step, which is some milliseconds of the store.

use echomesh_shard::chat_jobs::{ChatOutcome, Sweep};

use super::connection::Connection;
use super::connection::Value::{self, Number};

/// Rooms looked at in one step: one look into an index each.
const ROOMS: i64 = 200;

/// Lines deleted in one step.
pub(super) const LINES: i64 = 200;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The step that comes after all rooms: of direct lines. A room's number is never that.
const DIRECT: u64 = i64::MAX as u64;

/// One step.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn step(connection: &mut Connection, sweep: &Sweep) -> Result<ChatOutcome, sqlx::Error> {
    let done = |deleted: u64, position: u64| Ok(ChatOutcome::Swept { deleted, position });
    let oldest_kept = |days: i64| (sweep.now_ms as i64).saturating_sub(days.saturating_mul(DAY_MS));
    let default_days = i64::from(sweep.default_days);
    if sweep.position >= DIRECT {
        if default_days == 0 {
            return done(0, 0);
        }
        let deleted = delete_oldest(connection, "direct_lines", None, oldest_kept(default_days)).await?;
        return done(deleted, if deleted == LINES as u64 { DIRECT } else { 0 });
    }
    let sql = "SELECT id, retention_days, COALESCE(
                   (SELECT c.time_ms FROM chat_lines c WHERE c.room = rooms.id ORDER BY c.id LIMIT 1), $1)
               FROM rooms WHERE id >= $2 ORDER BY id LIMIT $3";
    let never = Number(i64::MAX);
    let rows = connection.rows(sql, &[never, Number(sweep.position as i64), Number(ROOMS)]).await?;
    let mut next = DIRECT;
    for row in &rows {
        let (room, days) = (row.number(0)?, row.number(1)?);
        let days = if days == 0 { default_days } else { days };
        next = room as u64 + 1;
        let before = oldest_kept(days);
        if days == 0 || row.number(2)? >= before {
            continue;
        }
        let deleted = delete_oldest(connection, "chat_lines", Some(room), before).await?;
        // There may be more of this room.
        return done(deleted, if deleted == LINES as u64 { room as u64 } else { next });
    }
    done(0, if rows.len() < ROOMS as usize { DIRECT } else { next })
}

/// Deletes the oldest lines as far as they are older than that, and at most `LINES`.
async fn delete_oldest(
    connection: &mut Connection,
    table: &str,
    room: Option<i64>,
    before_ms: i64,
) -> Result<u64, sqlx::Error> {
    let of = if room.is_some() { "room = $2" } else { "$2 = 0" };
    let room: Value<'_> = Number(room.unwrap_or(0));
    let sql = format!("SELECT id, time_ms FROM {table} WHERE {of} ORDER BY id LIMIT $1");
    let mut last = None;
    for row in connection.rows(&sql, &[Number(LINES), room]).await? {
        if row.number(1)? >= before_ms {
            break;
        }
        last = Some(row.number(0)?);
    }
    let Some(last) = last else { return Ok(0) };
    let sql = format!("DELETE FROM {table} WHERE id <= $1 AND {of}");
    connection.execute(&sql, &[Number(last), room]).await
}
