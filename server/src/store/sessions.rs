//! Sessions as SQL: written behind while the server runs, read once at its start.
//!
//! Not the rules. Read are those of accounts that are there and have the epoch of the session: that of its first writing,
//! or the one to which `accounts` took it over. The others are deleted. Bounds: `ROWS_MAX` rows a statement, each length of which stays prepared.

use echomesh_proto::control::Role;
use echomesh_proto::ids::{RoomNumber, SessionId, UserId};
use echomesh_shard::{SavedSession, StoreOutcome};

use super::connection::Connection;
use super::connection::Value::{self, Number, Text};
use crate::hex::hex;

/// Most rows of one statement.
const ROWS_MAX: usize = 16;

/// Values of a row.
const COLUMNS: usize = 5;

type Failure = sqlx::Error;

/// Writes sessions, and deletes those that ended.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn save(
    connection: &mut Connection,
    sessions: &[SavedSession],
    gone: &[SessionId],
) -> Result<StoreOutcome, Failure> {
    for part in sessions.chunks(ROWS_MAX) {
        upsert(connection, part).await?;
    }
    for part in gone.chunks(ROWS_MAX) {
        let places: Vec<String> = (1..=part.len()).map(|place| format!("${place}")).collect();
        let sql = format!("DELETE FROM sessions WHERE id IN ({})", places.join(", "));
        let ids: Vec<Value<'_>> = part.iter().map(|id| Number(id.0 as i64)).collect();
        connection.execute(&sql, &ids).await?;
    }
    Ok(StoreOutcome::SessionsSaved)
}

async fn upsert(connection: &mut Connection, sessions: &[SavedSession]) -> Result<(), Failure> {
    let texts: Vec<(String, String)> =
        sessions.iter().map(|session| (hex(&session.secret_hash), rooms(session))).collect();
    let mut values = Vec::with_capacity(sessions.len() * COLUMNS);
    for (session, (secret_hash, rooms)) in sessions.iter().zip(&texts) {
        let [id, user, token] = [session.id.0, session.user.0, session.token].map(|number| Number(number as i64));
        values.extend([id, user, Text(secret_hash), token, Text(rooms)]);
    }
    let row = |row: usize| {
        let [id, account, secret, token, rooms] = [1, 2, 3, 4, 5].map(|column| row * COLUMNS + column);
        // A session without an account is never read.
        let epoch = format!("COALESCE((SELECT session_epoch FROM accounts WHERE id = ${account}), -1)");
        format!("(${id}, ${account}, {epoch}, ${secret}, ${token}, ${rooms})")
    };
    let rows: Vec<String> = (0..sessions.len()).map(row).collect();
    let sql = format!(
        "INSERT INTO sessions (id, account, epoch, secret_hash, token, rooms) VALUES {}
         ON CONFLICT (id) DO UPDATE SET rooms = excluded.rooms",
        rows.join(", ")
    );
    connection.execute(&sql, &values).await.map(drop)
}

fn rooms(session: &SavedSession) -> String {
    session.rooms.iter().map(|room| room.0.to_string()).collect::<Vec<_>>().join(",")
}

/// The sessions that may be resumed.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn load(connection: &mut Connection) -> Result<Vec<SavedSession>, Failure> {
    let worthless = "DELETE FROM sessions WHERE NOT EXISTS
                     (SELECT 1 FROM accounts WHERE accounts.id = sessions.account
                      AND accounts.session_epoch = sessions.epoch AND accounts.deleted_ms = 0)
                     OR (token <> 0 AND NOT EXISTS (SELECT 1 FROM device_tokens WHERE device_tokens.id = token))";
    connection.execute(worthless, &[]).await?;
    let sql = "SELECT sessions.id, account, secret_hash, rooms, name, role, token
               FROM sessions JOIN accounts ON accounts.id = sessions.account ORDER BY sessions.id";
    let mut sessions = Vec::new();
    for row in connection.rows(sql, &[]).await? {
        let rooms = row.text(3)?;
        sessions.push(SavedSession {
            id: SessionId(row.number(0)? as u64),
            user: UserId(row.number(1)? as u64),
            secret_hash: unhex(&row.text(2)?),
            rooms: rooms.split(',').filter_map(|room| room.parse().ok().map(RoomNumber)).collect(),
            token: row.number(6)? as u64,
            username: row.text(4)?,
            role: Role::try_from(row.number(5)? as i32).unwrap_or(Role::Guest),
        });
    }
    // A row that was changed by hand resumes nothing.
    sessions.retain(|session| !session.secret_hash.is_empty());
    Ok(sessions)
}

/// Bytes of what `hex` wrote; empty if it did not.
fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    digits.collect::<Option<Vec<u8>>>().unwrap_or_default()
}
