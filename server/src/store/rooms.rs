//! Rooms as SQL: made, set, ended, and their lines deleted bit by bit.
//!
//! Not the rules. A room that ended keeps its row, without its name, until its lines are gone: so its number is
//! theirs to the end, and none is deleted in a long transaction that chat would wait for.
//! Bounds: `SWEEP_ROWS` lines a request, and as many marks. Cost: a look-up by room and as many deletions.

use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::rights::Right;
use echomesh_shard::{Properties, StoreOutcome, StoredRoom};

use super::connection::Connection;
use super::connection::Value::{self, Number, Text};

/// Lines, and marks of what was seen, that are deleted at once: some milliseconds.
const SWEEP_ROWS: i64 = 500;

type Failure = sqlx::Error;

fn number(room: RoomNumber) -> Value<'static> {
    Number(room.0 as i64)
}

fn values(properties: &Properties) -> [Value<'_>; 9] {
    let Properties { description, password_hash, invite_only, hidden, temporary, .. } = properties;
    [
        Number(properties.capacity.into()),
        Text(description),
        Text(password_hash),
        Number((*invite_only).into()),
        Number((*hidden).into()),
        Number((*temporary).into()),
        Number(properties.speakers.into()),
        Number(properties.slow_mode_seconds.into()),
        Number(properties.retention_days.into()),
    ]
}

/// Makes a room, unless its key is taken.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn create(
    connection: &mut Connection,
    (key, name): (&str, &str),
    properties: &Properties,
    creator: UserId,
    time_ms: u64,
) -> Result<StoreOutcome, Failure> {
    let sql = "INSERT INTO rooms (capacity, description, password_hash, invite_only, hidden, temporary, speakers,
               slow_mode_seconds, retention_days, key, name, creator, created_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (key) DO NOTHING";
    let mut all = values(properties).to_vec();
    all.extend([Text(key), Text(name), Number(creator.0 as i64), Number(time_ms as i64)]);
    if let Some(room) = connection.insert(sql, &all).await?.first() {
        return Ok(StoreOutcome::RoomCreated { room: RoomNumber(*room) });
    }
    let taken = connection.row("SELECT id FROM rooms WHERE key = $1", &[Text(key)]).await?;
    let taken = taken.ok_or(sqlx::Error::RowNotFound)?;
    Ok(StoreOutcome::RoomExists { room: RoomNumber(taken.number(0)? as u64) })
}

/// Sets all properties of a room.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn set(connection: &mut Connection, room: RoomNumber, properties: &Properties) -> Result<(), Failure> {
    let sql = "UPDATE rooms SET capacity = $1, description = $2, password_hash = $3, invite_only = $4, hidden = $5,
               temporary = $6, speakers = $7, slow_mode_seconds = $8, retention_days = $9 WHERE id = $10";
    let mut all = values(properties).to_vec();
    all.push(number(room));
    connection.execute(sql, &all).await.map(drop)
}

/// A room lets an account in by name, or no more.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn invite(
    connection: &mut Connection,
    room: RoomNumber,
    user: UserId,
    invited: bool,
) -> Result<(), Failure> {
    let enter = Right::Enter as i64;
    let values = [number(room), Number(user.0 as i64), Number(enter)];
    let sql = if invited {
        "INSERT INTO room_standings (room, role, account, allow) VALUES ($1, -1, $2, $3)
         ON CONFLICT (room, role, account) DO UPDATE SET
         allow = room_standings.allow | excluded.allow, deny = room_standings.deny & ~excluded.allow"
    } else {
        "UPDATE room_standings SET allow = allow & ~$3 WHERE room = $1 AND role = -1 AND account = $2"
    };
    connection.execute(sql, &values).await.map(drop)
}

/// The room is no more: its name is free, and nothing is said in it of anyone.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn end(connection: &mut Connection, room: RoomNumber) -> Result<(), Failure> {
    let room = [number(room)];
    // No key of a room begins with a blank.
    connection.execute("UPDATE rooms SET gone = 1, key = ' ' || id WHERE id = $1", &room).await?;
    connection.execute("DELETE FROM room_standings WHERE room = $1", &room).await?;
    connection.execute("DELETE FROM bans WHERE room = $1", &room).await.map(drop)
}

/// Deletes a part of the lines of a room that ended, then of what was seen there, and at last the room.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn sweep(connection: &mut Connection, room: RoomNumber) -> Result<StoreOutcome, Failure> {
    let part = [number(room), Number(SWEEP_ROWS)];
    let mut is_done = true;
    for sql in [
        "DELETE FROM chat_lines WHERE id IN (SELECT id FROM chat_lines WHERE room = $1 ORDER BY id LIMIT $2)",
        "DELETE FROM chat_seen WHERE room = $1 AND peer = 0 AND account IN
             (SELECT account FROM chat_seen WHERE room = $1 AND room <> 0 LIMIT $2)",
    ] {
        is_done &= connection.execute(sql, &part).await? < SWEEP_ROWS as u64;
    }
    if is_done {
        connection.execute("DELETE FROM rooms WHERE id = $1 AND gone = 1", &[number(room)]).await?;
    }
    Ok(StoreOutcome::Swept { is_done })
}

/// All rooms, without what they say of roles and accounts; and those that ended and are not swept. Temporary rooms
/// end here: nobody is in them at a start.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn load(connection: &mut Connection) -> Result<(Vec<StoredRoom>, Vec<RoomNumber>), Failure> {
    for row in connection.rows("SELECT id FROM rooms WHERE temporary = 1 AND gone = 0", &[]).await? {
        end(connection, RoomNumber(row.number(0)? as u64)).await?;
    }
    let mut ended = Vec::new();
    for row in connection.rows("SELECT id FROM rooms WHERE gone = 1 ORDER BY id", &[]).await? {
        ended.push(RoomNumber(row.number(0)? as u64));
    }
    let sql = "SELECT id, key, name, creator, capacity, description, password_hash, invite_only, hidden, temporary,
               speakers, slow_mode_seconds, retention_days FROM rooms WHERE gone = 0 ORDER BY id";
    let rows = connection.rows(sql, &[]).await?;
    let mut rooms = Vec::with_capacity(rows.len());
    for row in rows {
        rooms.push(StoredRoom {
            number: RoomNumber(row.number(0)? as u64),
            key: row.text(1)?,
            name: row.text(2)?,
            creator: UserId(row.number(3)? as u64),
            // `history` knows it.
            newest_line: 0,
            properties: Properties {
                capacity: row.number(4)? as u32,
                description: row.text(5)?,
                password_hash: row.text(6)?,
                invite_only: row.number(7)? != 0,
                hidden: row.number(8)? != 0,
                temporary: row.number(9)? != 0,
                speakers: row.number(10)? as u32,
                slow_mode_seconds: row.number(11)? as u32,
                retention_days: row.number(12)? as u32,
            },
            standings: Vec::new(),
        });
    }
    Ok((rooms, ended))
}
