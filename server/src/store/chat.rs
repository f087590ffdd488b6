//! Chat lines into the table: many in one statement, for each statement is a round trip to SQLite's thread or to
//! PostgreSQL.
//!
//! Not a transaction: `work` has that around all jobs of a batch.
//! Bounds: `LINES_MAX` lines a statement; as many different statements, which all stay prepared.
//! Cost: 16 lines take one round trip where they took sixteen, or thirty-two with ids of the client's.

use std::sync::OnceLock;

use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::{StoreJob, StoreOutcome};

use super::connection::{Connection, Value};

/// How long a client's own id names one line (docs/PROTOCOL.md), milliseconds.
pub(super) const CLIENT_ID_MS: u64 = 24 * 60 * 60 * 1000;

/// Most lines of one statement: sqlx keeps 100 statements prepared.
pub(super) const LINES_MAX: usize = 64;

/// Of a line that mentions someone: a statement of its own, for they are few, and the others need a value less.
const INSERT_MENTIONING: &str =
    "INSERT INTO chat_lines (room, account, client_id, content, time_ms, mentions) VALUES ($1, $2, $3, $4, $5, $6)";

/// Values of a line.
const COLUMNS: usize = 5;

/// A line to store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    room: RoomNumber,
    user: UserId,
    client_id: &'a str,
    content: &'a str,
    mentions: &'a [u64],
    time_ms: u64,
}

impl<'a> Line<'a> {
    /// The line that a job wants stored, if it is of that kind.
    pub(super) fn of(job: &'a StoreJob) -> Option<Self> {
        let StoreJob::AppendChat { room, user, client_id, content, mentions, time_ms } = job else { return None };
        Some(Self { room: *room, user: *user, client_id, content, mentions, time_ms: *time_ms })
    }
}

/// Whether one statement stores them.
pub(super) fn are_one_statement(lines: &[Line<'_>]) -> bool {
    let plain = lines.iter().all(|line| line.mentions.is_empty());
    lines.len() == 1 || (plain && lines.len() <= LINES_MAX)
}

/// Stores these lines; their outcomes are appended in order.
///
/// # Errors
/// Whatever the database says but that a client's id is taken, which is an outcome.
pub(super) async fn append(
    connection: &mut Connection,
    lines: &[Line<'_>],
    outcomes: &mut Vec<StoreOutcome>,
) -> Result<(), sqlx::Error> {
    let plain = |one: &Line<'_>, next: &Line<'_>| one.mentions.is_empty() && next.mentions.is_empty();
    for part in lines.chunk_by(plain).flat_map(|run| run.chunks(LINES_MAX)) {
        connection.prepare_to_forgive().await?;
        if let Some(stored) = append_new(connection, part).await? {
            outcomes.extend(stored);
            continue;
        }
        connection.forgive().await?;
        // It is rare, so it may be slow.
        for line in part {
            outcomes.push(append_one(connection, line).await?);
        }
    }
    Ok(())
}

/// Stores these lines, which are one statement. `None` if a client's id is taken: then it has
/// done nothing, and a transaction it is in must `forgive`.
///
/// # Errors
/// Whatever else the database says.
pub(super) async fn append_new(
    connection: &mut Connection,
    lines: &[Line<'_>],
) -> Result<Option<Vec<StoreOutcome>>, sqlx::Error> {
    match insert(connection, lines).await {
        Ok(numbers) => {
            Ok(Some(numbers.into_iter().map(|message_id| StoreOutcome::ChatStored { message_id }).collect()))
        }
        Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Stores lines whose client's ids are new, in one statement. Gives their numbers, one each, in order.
async fn insert(connection: &mut Connection, lines: &[Line<'_>]) -> Result<Vec<u64>, sqlx::Error> {
    debug_assert!(are_one_statement(lines));
    let mentions = mentions_text(lines[0].mentions);
    let mut values = Vec::with_capacity(lines.len() * COLUMNS + 1);
    for line in lines {
        values.extend([
            Value::Number(line.room.0 as i64),
            Value::Number(line.user.0 as i64),
            Value::Text(line.client_id),
            Value::Text(line.content),
            Value::Number(line.time_ms as i64),
        ]);
    }
    let sql = if mentions.is_empty() {
        insert_statement(lines.len())
    } else {
        values.push(Value::Text(&mentions));
        INSERT_MENTIONING
    };
    let numbers = connection.insert(sql, &values).await?;
    assert_eq!(numbers.len(), lines.len(), "an INSERT stores all its rows or fails");
    Ok(numbers)
}

/// Accounts as the column `mentions` has them: `,7,12,`; nothing for none.
pub(super) fn mentions_text(mentions: &[u64]) -> String {
    let mut text = String::new();
    for user in mentions {
        text.push(',');
        text.push_str(&user.to_string());
    }
    if !mentions.is_empty() {
        text.push(',');
    }
    text
}

/// And back.
pub(super) fn mentions_of(text: &str) -> Vec<u64> {
    text.split(',').filter_map(|user| user.parse().ok()).collect()
}

/// The INSERT of so many lines: written once for each length.
fn insert_statement(lines: usize) -> &'static str {
    static STATEMENTS: [OnceLock<String>; LINES_MAX + 1] = [const { OnceLock::new() }; LINES_MAX + 1];
    STATEMENTS[lines].get_or_init(|| {
        let row = |line: usize| {
            let values: Vec<String> = (1..=COLUMNS).map(|column| format!("${}", line * COLUMNS + column)).collect();
            format!("({})", values.join(", "))
        };
        let rows: Vec<String> = (0..lines).map(row).collect();
        format!("INSERT INTO chat_lines (room, account, client_id, content, time_ms) VALUES {}", rows.join(", "))
    })
}

async fn append_one(connection: &mut Connection, line: &Line<'_>) -> Result<StoreOutcome, sqlx::Error> {
    if let Some(before) = stored_before(connection, line).await? {
        return Ok(before);
    }
    Ok(StoreOutcome::ChatStored { message_id: insert(connection, &[*line]).await?[0] })
}

/// The line that this user stored under this id in the last 24 hours. An older one gives the id back.
async fn stored_before(connection: &mut Connection, line: &Line<'_>) -> Result<Option<StoreOutcome>, sqlx::Error> {
    if line.client_id.is_empty() {
        return Ok(None);
    }
    let sql = "SELECT id, room, content, time_ms, mentions, edited_ms, deleted FROM chat_lines
               WHERE account = $1 AND client_id = $2 AND client_id <> ''";
    let values = [Value::Number(line.user.0 as i64), Value::Text(line.client_id)];
    let Some(row) = connection.row(sql, &values).await? else { return Ok(None) };
    let (number, stored_ms) = (row.number(0)?, row.number(3)? as u64);
    if stored_ms.saturating_add(CLIENT_ID_MS) <= line.time_ms {
        let free = "UPDATE chat_lines SET client_id = '' WHERE id = $1";
        connection.execute(free, &[Value::Number(number)]).await?;
        return Ok(None);
    }
    Ok(Some(StoreOutcome::ChatDuplicate {
        message_id: number as u64,
        room: RoomNumber(row.number(1)? as u64),
        content: row.text(2)?,
        mentions: mentions_of(&row.text(4)?),
        time_ms: stored_ms,
        edited_ms: row.number(5)? as u64,
        deleted: row.number(6)? != 0,
    }))
}
