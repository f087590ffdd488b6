//! Chat lines into the table: many in one statement, for each statement is a round trip to SQLite's thread.
//!
//! Not a transaction: `work` has that around all jobs of a batch.
//! Bounds: `LINES_MAX` lines a statement, and so few different statements that all stay prepared.
//! Cost: 16 lines take one round trip where they took sixteen, or thirty-two with ids of the client's.

use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::{StoreJob, StoreOutcome};
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{QueryBuilder, Row};

/// How long a client's own id names one line (docs/PROTOCOL.md), milliseconds.
pub(super) const CLIENT_ID_MS: u64 = 24 * 60 * 60 * 1000;

/// Most lines of one statement.
const LINES_MAX: usize = 64;

/// Up to here a statement has as many lines as there are; above, `LINES_MAX` or this.
const LINES_ODD_MAX: usize = 16;

/// A line to store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    room: RoomNumber,
    user: UserId,
    client_id: &'a str,
    content: &'a str,
    time_ms: u64,
}

impl<'a> Line<'a> {
    /// The line that a job wants stored, if it is of that kind.
    pub(super) fn of(job: &'a StoreJob) -> Option<Self> {
        let StoreJob::AppendChat { room, user, client_id, content, time_ms } = job else { return None };
        Some(Self { room: *room, user: *user, client_id, content, time_ms: *time_ms })
    }
}

/// Stores these lines; their outcomes are appended in order.
///
/// # Errors
/// Whatever SQLite says but that a client's id is taken, which is an outcome.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    mut lines: &[Line<'_>],
    outcomes: &mut Vec<StoreOutcome>,
) -> Result<(), sqlx::Error> {
    while !lines.is_empty() {
        let count = match lines.len() {
            count if count >= LINES_MAX => LINES_MAX,
            count => count.min(LINES_ODD_MAX),
        };
        let (part, rest) = lines.split_at(count);
        lines = rest;
        match insert(connection, part).await {
            Ok(first) => {
                outcomes.extend((first..).take(count).map(|message_id| StoreOutcome::ChatStored { message_id }));
            }
            // A client's id is taken: that INSERT did nothing, the transaction goes on. It is rare, so it may
            // be slow.
            Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => {
                for line in part {
                    outcomes.push(append_one(connection, line).await?);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Stores lines whose client's ids are new. Gives the number of the first; the others follow it, since rows
/// of one statement are numbered in its order and nobody else writes.
async fn insert(connection: &mut SqliteConnection, lines: &[Line<'_>]) -> Result<u64, sqlx::Error> {
    let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO chat_lines (room, account, client_id, content, time_ms) ");
    query.push_values(lines, |mut row, line| {
        row.push_bind(line.room.0 as i64).push_bind(line.user.0 as i64).push_bind(line.client_id);
        row.push_bind(line.content).push_bind(line.time_ms as i64);
    });
    let done = query.build().execute(connection).await?;
    Ok(done.last_insert_rowid() as u64 + 1 - lines.len() as u64)
}

async fn append_one(connection: &mut SqliteConnection, line: &Line<'_>) -> Result<StoreOutcome, sqlx::Error> {
    if let Some(before) = stored_before(connection, line).await? {
        return Ok(before);
    }
    Ok(StoreOutcome::ChatStored { message_id: insert(connection, &[*line]).await? })
}

/// The line that this user stored under this id in the last 24 hours. An older one gives the id back.
async fn stored_before(
    connection: &mut SqliteConnection,
    line: &Line<'_>,
) -> Result<Option<StoreOutcome>, sqlx::Error> {
    if line.client_id.is_empty() {
        return Ok(None);
    }
    let query = sqlx::query(
        "SELECT id, room, content, time_ms FROM chat_lines
         WHERE account = $1 AND client_id = $2 AND client_id <> ''",
    );
    let query = query.bind(line.user.0 as i64).bind(line.client_id);
    let Some(row) = query.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let (message_id, stored_ms) = (row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(3)? as u64);
    if stored_ms.saturating_add(CLIENT_ID_MS) <= line.time_ms {
        sqlx::query("UPDATE chat_lines SET client_id = '' WHERE id = $1").bind(message_id).execute(connection).await?;
        return Ok(None);
    }
    Ok(Some(StoreOutcome::ChatDuplicate {
        message_id: message_id as u64,
        room: RoomNumber(row.try_get::<i64, _>(1)? as u64),
        content: row.try_get(2)?,
        time_ms: stored_ms,
    }))
}
