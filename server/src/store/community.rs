//! Roles, rights of rooms, bans and the audit log, as SQL: an act and its entry in the log stand or fall
//! together, for they are in the transaction that `work` has around a batch.
//!
//! Not the rules, which are the kernel's. Bounds: a page of the log; at start all standings and live bans.

use std::time::{SystemTime, UNIX_EPOCH};

use echomesh_proto::control::{AuditEntry, Role};
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::chat_jobs::Place;
use echomesh_shard::rights::{Holder, Rights, Standing};
use echomesh_shard::{Act, Ban, LoggedAct, Network, StoreOutcome, StoredRoom};

use super::changes;
use super::connection::Value::{self, Number, Text};
use super::connection::{Connection, Row};

/// `room_standings.role` of an account's row.
const NO_ROLE: i64 = -1;

type Failure = sqlx::Error;

fn number(number: u64) -> Value<'static> {
    Number(number as i64)
}

fn number_of(row: &Row, column: usize) -> Result<u64, Failure> {
    Ok(row.number(column)? as u64)
}

/// Stores a row; gives its number.
///
/// # Errors
/// Whatever the database says.
async fn insert_one(connection: &mut Connection, sql: &str, values: &[Value<'_>]) -> Result<u64, Failure> {
    connection.insert(sql, values).await?.first().copied().ok_or(sqlx::Error::RowNotFound)
}

/// The act and its entry.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn moderate(
    connection: &mut Connection,
    LoggedAct { act, actor, target, entry }: &LoggedAct,
) -> Result<StoreOutcome, Failure> {
    let mut new_ban = None;
    match act {
        Act::Note => {}
        Act::SetRole { user, role } => {
            let values = [Number(*role as i64), number(user.0)];
            connection.execute("UPDATE accounts SET role = $1 WHERE id = $2", &values).await?;
        }
        Act::Restrain { room, user, muted, deafened } => {
            restrain(connection, *room, *user, [("muted", *muted), ("deafened", *deafened)]).await?;
        }
        Act::SetRights { room, holder, allow, deny } => {
            let sql = "INSERT INTO room_standings (room, role, account, allow, deny) VALUES ($1, $2, $3, $4, $5)
                       ON CONFLICT (room, role, account) DO UPDATE SET allow = excluded.allow, deny = excluded.deny";
            let [role, account] = holder_values(*holder);
            let values = [number(room.0), role, account, number(allow.0.into()), number(deny.0.into())];
            connection.execute(sql, &values).await?;
        }
        Act::DeleteLine { room, message_id, time_ms } => {
            if !changes::delete(connection, Place::Room(*room), *message_id, *time_ms).await? {
                return Ok(StoreOutcome::NotFound);
            }
        }
        Act::Ban(ban) => new_ban = Some(insert_ban(connection, ban).await?),
        Act::Unban { ban } => {
            if connection.execute("DELETE FROM bans WHERE id = $1", &[number(*ban)]).await? == 0 {
                return Ok(StoreOutcome::NotFound);
            }
        }
    }
    let id = log(connection, *actor, *target, entry).await?;
    Ok(StoreOutcome::Moderated { id: new_ban.unwrap_or(id) })
}

/// Adds an entry to the log; gives its id.
///
/// # Errors
/// Whatever the database says.
async fn log(connection: &mut Connection, actor: UserId, target: UserId, entry: &AuditEntry) -> Result<u64, Failure> {
    let sql = "INSERT INTO audit
               (time_ms, action, actor, actor_name, target, target_name, room_name, detail, reason)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let values = [
        number(entry.time_ms),
        Number(entry.action.into()),
        number(actor.0),
        Text(&entry.by),
        number(target.0),
        Text(&entry.target),
        Text(&entry.room_id),
        Text(&entry.detail),
        Text(&entry.reason),
    ];
    insert_one(connection, sql, &values).await
}

async fn restrain(
    connection: &mut Connection,
    room: RoomNumber,
    user: UserId,
    columns: [(&str, Option<bool>); 2],
) -> Result<(), Failure> {
    for (column, set) in columns {
        let Some(set) = set else { continue };
        let sql = format!(
            "INSERT INTO room_standings (room, role, account, {column}) VALUES ($1, $2, $3, $4)
             ON CONFLICT (room, role, account) DO UPDATE SET {column} = excluded.{column}"
        );
        let values = [number(room.0), Number(NO_ROLE), number(user.0), Number(set.into())];
        connection.execute(&sql, &values).await?;
    }
    Ok(())
}

async fn insert_ban(connection: &mut Connection, ban: &Ban) -> Result<u64, Failure> {
    let sql = "INSERT INTO bans
               (room, account, username, network, reason, by_name, by_role, time_ms, expires_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let network = ban.network.map(|network| network.to_string()).unwrap_or_default();
    let values = [
        number(ban.room),
        number(ban.user),
        Text(&ban.username),
        Text(&network),
        Text(&ban.reason),
        Text(&ban.by),
        Number(ban.by_role.into()),
        number(ban.time_ms),
        number(ban.expires_ms),
    ];
    insert_one(connection, sql, &values).await
}

fn holder_values(holder: Holder) -> [Value<'static>; 2] {
    match holder {
        Holder::Role(role) => [Number(role as i64), Number(0)],
        Holder::Account(user) => [Number(NO_ROLE), number(user.0)],
    }
}

/// A page of the log, newest first.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn read_audit(connection: &mut Connection, before: u64, count: u32) -> Result<StoreOutcome, Failure> {
    let before = if before == 0 { i64::MAX } else { before as i64 };
    let sql = "SELECT id, time_ms, action, actor_name, target_name, room_name, detail, reason FROM audit
               WHERE id < $1 ORDER BY id DESC LIMIT $2";
    let mut audit = Vec::new();
    for row in connection.rows(sql, &[Number(before), Number(count.into())]).await? {
        audit.push(AuditEntry {
            entry_id: number_of(&row, 0)?,
            time_ms: number_of(&row, 1)?,
            action: number_of(&row, 2)? as i32,
            by: row.text(3)?,
            target: row.text(4)?,
            room_id: row.text(5)?,
            detail: row.text(6)?,
            reason: row.text(7)?,
        });
    }
    Ok(StoreOutcome::Audit(audit))
}

/// Gives each room what it says of roles and accounts.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn load_standings(connection: &mut Connection, rooms: &mut [StoredRoom]) -> Result<(), Failure> {
    let sql = "SELECT room, role, account, allow, deny, muted, deafened FROM room_standings";
    for row in connection.rows(sql, &[]).await? {
        let room = RoomNumber(number_of(&row, 0)?);
        let Ok(at) = rooms.binary_search_by_key(&room, |room| room.number) else { continue };
        let holder = match Role::try_from(row.number(1)? as i32) {
            Ok(role) => Holder::Role(role),
            Err(_) => Holder::Account(UserId(number_of(&row, 2)?)),
        };
        let standing = Standing {
            allow: Rights(number_of(&row, 3)? as u32),
            deny: Rights(number_of(&row, 4)? as u32),
            muted: number_of(&row, 5)? != 0,
            deafened: number_of(&row, 6)? != 0,
        };
        if standing != Standing::default() {
            rooms[at].standings.push((holder, standing));
        }
    }
    Ok(())
}

/// Bans that are not over.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn load_bans(connection: &mut Connection) -> Result<Vec<Ban>, Failure> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let sql = "SELECT id, room, account, username, network, reason, by_name, by_role, time_ms, expires_ms FROM bans
               WHERE expires_ms = 0 OR expires_ms > $1 ORDER BY id";
    let mut bans = Vec::new();
    for row in connection.rows(sql, &[number(now_ms)]).await? {
        let user = number_of(&row, 2)?;
        let network = Network::parse(&row.text(4)?).ok();
        // Made by a later server or by hand: it says nothing that we could keep.
        if user == 0 && network.is_none() {
            continue;
        }
        bans.push(Ban {
            id: number_of(&row, 0)?,
            room: number_of(&row, 1)?,
            user,
            username: row.text(3)?,
            network,
            reason: row.text(5)?,
            by: row.text(6)?,
            by_role: number_of(&row, 7)? as i32,
            time_ms: number_of(&row, 8)?,
            expires_ms: number_of(&row, 9)?,
        });
    }
    Ok(bans)
}
