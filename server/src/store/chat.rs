//! Chat lines into the table: many in one statement, for each statement is a round trip to SQLite's thread.
//!
//! Not a transaction: `work` has that around all jobs of a batch.
//! Bounds: `LINES_MAX` lines a statement; as many different statements, which all stay prepared.
//! Cost: 16 lines take one round trip where they took sixteen, or thirty-two with ids of the client's.

use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::{StoreJob, StoreOutcome};
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{QueryBuilder, Row};

/// How long a client's own id names one line (docs/PROTOCOL.md), milliseconds.
pub(super) const CLIENT_ID_MS: u64 = 24 * 60 * 60 * 1000;

/// Most lines of one statement: sqlx keeps 100 statements prepared.
pub(super) const LINES_MAX: usize = 64;

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
    lines: &[Line<'_>],
    outcomes: &mut Vec<StoreOutcome>,
) -> Result<(), sqlx::Error> {
    for part in lines.chunks(LINES_MAX) {
        if let Some(stored) = append_new(connection, part).await? {
            outcomes.extend(stored);
            continue;
        }
        // It is rare, so it may be slow.
        for line in part {
            outcomes.push(append_one(connection, line).await?);
        }
    }
    Ok(())
}

/// Stores these lines, at most `LINES_MAX`, in one statement. `None` if a client's id is taken: then it has
/// done nothing, and a transaction it is in goes on.
///
/// # Errors
/// Whatever else SQLite says.
pub(super) async fn append_new(
    connection: &mut SqliteConnection,
    lines: &[Line<'_>],
) -> Result<Option<Vec<StoreOutcome>>, sqlx::Error> {
    match insert(connection, lines).await {
        Ok(first) => {
            let numbers = (first..).take(lines.len());
            Ok(Some(numbers.map(|message_id| StoreOutcome::ChatStored { message_id }).collect()))
        }
        Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => Ok(None),
        Err(error) => Err(error),
    }
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
