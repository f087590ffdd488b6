//! What is written of chat beside lines of rooms: direct lines, edits and deletions, and what was seen.
//!
//! Not a transaction: `work` has that around a batch. Not the sweep of what is too old, which is `sweep`'s.
//! Bounds: a statement or two a job; marks go in statements of `MARKS` and `1`.

use echomesh_proto::control::{ChatMsg, Role};
use echomesh_proto::ids::UserId;
use echomesh_shard::StoreOutcome;
use echomesh_shard::chat_jobs::{ChatOutcome, ChatWrite, FoundLine, Mark, Place, View};

use super::chat::{CLIENT_ID_MS, mentions_text};
use super::connection::Connection;
use super::connection::Value::{self, Number, Text};
use super::sweep;

type Failure = sqlx::Error;

/// Marks of rooms in one statement, where there are so many.
const MARKS: usize = 32;

fn number(number: u64) -> Value<'static> {
    Number(number as i64)
}

/// Does one job.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn carry_out(connection: &mut Connection, write: &ChatWrite) -> Result<StoreOutcome, Failure> {
    let outcome = match write {
        ChatWrite::AppendDirect { from, to, client_id, content, time_ms } => {
            append_direct(connection, [*from, *to], client_id, content, *time_ms).await?
        }
        ChatWrite::FindLine { place, message_id } => match find(connection, *place, *message_id).await? {
            Some(found) => ChatOutcome::Line(found),
            None => return Ok(StoreOutcome::NotFound),
        },
        ChatWrite::ChangeLine { place, message_id, content, mentions, time_ms } => {
            let changed = match content {
                Some(content) => edit(connection, *place, *message_id, content, mentions, *time_ms).await?,
                None => delete(connection, *place, *message_id, *time_ms).await?,
            };
            if !changed {
                return Ok(StoreOutcome::NotFound);
            }
            ChatOutcome::Changed
        }
        ChatWrite::Mark(marks) => {
            mark(connection, marks).await?;
            ChatOutcome::Marked
        }
        ChatWrite::Sweep(step) => sweep::step(connection, step).await?,
    };
    Ok(StoreOutcome::Chat(outcome))
}

async fn append_direct(
    connection: &mut Connection,
    [from, to]: [UserId; 2],
    client_id: &str,
    content: &str,
    time_ms: u64,
) -> Result<ChatOutcome, Failure> {
    if let Some(before) = direct_before(connection, from, client_id, time_ms).await? {
        return Ok(ChatOutcome::DirectDuplicate(Box::new(before)));
    }
    let (low, high) = (from.min(to), from.max(to));
    let sql = "INSERT INTO direct_lines (low, high, account, client_id, content, time_ms)
               VALUES ($1, $2, $3, $4, $5, $6)";
    let values = [number(low.0), number(high.0), number(from.0), Text(client_id), Text(content), number(time_ms)];
    let message_id = connection.insert(sql, &values).await?.first().copied().ok_or(sqlx::Error::RowNotFound)?;
    // So that the recipient is told of it as unread.
    let sql = "INSERT INTO chat_seen (account, room, peer, seen) VALUES ($1, 0, $2, 0)
               ON CONFLICT (account, room, peer) DO NOTHING";
    connection.execute(sql, &[number(to.0), number(from.0)]).await?;
    Ok(ChatOutcome::DirectStored { message_id })
}

/// As `chat::stored_before`, for direct lines.
async fn direct_before(
    connection: &mut Connection,
    from: UserId,
    client_id: &str,
    time_ms: u64,
) -> Result<Option<ChatMsg>, Failure> {
    if client_id.is_empty() {
        return Ok(None);
    }
    let sql = "SELECT d.id, d.content, d.time_ms, d.edited_ms, d.deleted, COALESCE(a.name, ''), COALESCE(t.name, '')
               FROM direct_lines d LEFT JOIN accounts a ON a.id = d.account
               LEFT JOIN accounts t ON t.id = d.low + d.high - d.account
               WHERE d.account = $1 AND d.client_id = $2 AND d.client_id <> ''";
    let Some(row) = connection.row(sql, &[number(from.0), Text(client_id)]).await? else { return Ok(None) };
    let (id, stored_ms) = (row.number(0)?, row.number(2)? as u64);
    if stored_ms.saturating_add(CLIENT_ID_MS) <= time_ms {
        connection.execute("UPDATE direct_lines SET client_id = '' WHERE id = $1", &[Number(id)]).await?;
        return Ok(None);
    }
    Ok(Some(ChatMsg {
        user_id: from.0,
        username: row.text(5)?,
        to: row.text(6)?,
        content: row.text(1)?,
        message_id: id as u64,
        time_ms: stored_ms,
        edited_ms: row.number(3)? as u64,
        deleted: row.number(4)? != 0,
        ..ChatMsg::default()
    }))
}

/// Table and condition of a line, whose values are `$1` to `$3`.
fn line_of(place: Place, message_id: u64) -> (&'static str, &'static str, [Value<'static>; 3]) {
    match place {
        Place::Room(room) => {
            ("chat_lines", "id = $1 AND room = $2 AND room = $3", [number(message_id), number(room.0), number(room.0)])
        }
        Place::Direct(low, high) => {
            ("direct_lines", "id = $1 AND low = $2 AND high = $3", [number(message_id), number(low.0), number(high.0)])
        }
    }
}

async fn find(connection: &mut Connection, place: Place, message_id: u64) -> Result<Option<FoundLine>, Failure> {
    let (table, is_it, values) = line_of(place, message_id);
    let sql = format!(
        "SELECT l.account, COALESCE(a.name, ''), COALESCE(a.role, 0), l.time_ms, l.deleted
         FROM {table} l LEFT JOIN accounts a ON a.id = l.account WHERE {}",
        is_it.replace("id =", "l.id =")
    );
    let Some(row) = connection.row(&sql, &values).await? else { return Ok(None) };
    Ok(Some(FoundLine {
        user: UserId(row.number(0)? as u64),
        username: row.text(1)?,
        role: Role::try_from(row.number(2)? as i32).unwrap_or(Role::Guest),
        time_ms: row.number(3)? as u64,
        deleted: row.number(4)? != 0,
    }))
}

async fn edit(
    connection: &mut Connection,
    place: Place,
    message_id: u64,
    content: &str,
    mentions: &[u64],
    time_ms: u64,
) -> Result<bool, Failure> {
    let (table, is_it, [id, one, other]) = line_of(place, message_id);
    let mentions = mentions_text(mentions);
    let (set, mut values) = ("content = $4, edited_ms = $5", vec![id, one, other, Text(content), number(time_ms)]);
    let set = if let Place::Room(_) = place {
        values.push(Text(&mentions));
        format!("{set}, mentions = $6")
    } else {
        set.to_owned()
    };
    let sql = format!("UPDATE {table} SET {set} WHERE {is_it} AND deleted = 0");
    Ok(connection.execute(&sql, &values).await? > 0)
}

/// Takes a line's content away. Whether there was such a line, and not deleted yet.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn delete(
    connection: &mut Connection,
    place: Place,
    message_id: u64,
    time_ms: u64,
) -> Result<bool, Failure> {
    let (table, is_it, [id, one, other]) = line_of(place, message_id);
    let mentions = if let Place::Room(_) = place { ", mentions = ''" } else { "" };
    let sql =
        format!("UPDATE {table} SET content = '', deleted = 1, edited_ms = $4{mentions} WHERE {is_it} AND deleted = 0");
    Ok(connection.execute(&sql, &[id, one, other, number(time_ms)]).await? > 0)
}

async fn mark(connection: &mut Connection, marks: &[Mark]) -> Result<(), Failure> {
    let mut rooms = Vec::with_capacity(marks.len());
    for Mark { user, view, seen } in marks {
        match view {
            View::Room(room) => rooms.push([number(user.0), number(room.0), number(*seen)]),
            View::With(key) => mark_conversation(connection, *user, key, *seen).await?,
        }
    }
    let many = rooms.chunks_exact(MARKS);
    for rest in many.remainder() {
        mark_rooms(connection, std::slice::from_ref(rest)).await?;
    }
    for part in many {
        mark_rooms(connection, part).await?;
    }
    Ok(())
}

/// Of rooms and accounts that are there: a room may have ended since, and guests have no account. Their marks would
/// stay for ever.
async fn mark_rooms(connection: &mut Connection, marks: &[[Value<'static>; 3]]) -> Result<(), Failure> {
    let row = |at: usize| format!("(${}, ${}, ${})", 3 * at + 1, 3 * at + 2, 3 * at + 3);
    let rows: Vec<String> = (0..marks.len()).map(row).collect();
    // Both databases name the columns of VALUES so.
    let sql = format!(
        "INSERT INTO chat_seen (account, room, peer, seen)
         SELECT column1, column2, 0, column3 FROM (VALUES {}) marks
         WHERE EXISTS (SELECT 1 FROM rooms WHERE id = column2 AND gone = 0)
         AND EXISTS (SELECT 1 FROM accounts WHERE id = column1 AND deleted_ms = 0)
         ON CONFLICT (account, room, peer) DO UPDATE SET seen = excluded.seen WHERE excluded.seen > chat_seen.seen",
        rows.join(", ")
    );
    connection.execute(&sql, &marks.concat()).await?;
    Ok(())
}

/// At most as far as its newest line, and only where there is one.
async fn mark_conversation(connection: &mut Connection, user: UserId, key: &str, seen: u64) -> Result<(), Failure> {
    let row = connection.row("SELECT id FROM accounts WHERE key = $1", &[Text(key)]).await?;
    let Some(peer) = row.map(|row| row.number(0)).transpose()? else { return Ok(()) };
    let peer = UserId(peer as u64);
    // Not max(id): with the rest of the statement SQLite would read the whole conversation for it.
    let sql = "INSERT INTO chat_seen (account, room, peer, seen)
               SELECT $1, 0, $2, CASE WHEN newest < $3 THEN newest ELSE $3 END FROM
                   (SELECT id AS newest FROM direct_lines WHERE low = $4 AND high = $5 ORDER BY id DESC LIMIT 1) line
               WHERE newest > 0
               ON CONFLICT (account, room, peer) DO UPDATE SET seen = excluded.seen
               WHERE excluded.seen > chat_seen.seen";
    let seen = Number(i64::try_from(seen).unwrap_or(i64::MAX));
    let values = [number(user.0), number(peer.0), seen, number(user.min(peer).0), number(user.max(peer).0)];
    connection.execute(sql, &values).await?;
    Ok(())
}
