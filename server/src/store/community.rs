//! Roles, rights of rooms, bans and the audit log, as SQL: an act and its entry in the log stand or fall
//! together, for they are in the transaction that `work` has around a batch.
//!
//! Not the rules, which are the kernel's. Bounds: a page of the log; at start all standings and live bans.

use echomesh_proto::control::{AuditEntry, Role};
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::chat_jobs::Place;
use echomesh_shard::rights::{Holder, Rights, Standing};
use echomesh_shard::{Act, Ban, LoggedAct, Network, StoreOutcome, StoredRoom};

use super::changes;
use super::connection::Value::{self, Number, Text};
use super::connection::{Connection, Row};
use super::rooms;

/// `room_standings.role` of an account's row.
const NO_ROLE: i64 = -1;

type Failure = sqlx::Error;

pub(super) fn number(number: u64) -> Value<'static> {
    Number(number as i64)
}

pub(super) fn number_of(row: &Row, column: usize) -> Result<u64, Failure> {
    Ok(row.number(column)? as u64)
}

/// Stores a row; gives its number.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn insert_one(connection: &mut Connection, sql: &str, values: &[Value<'_>]) -> Result<u64, Failure> {
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
            connection.execute("UPDATE accounts SET role = $1 WHERE id = $2 AND deleted_ms = 0", &values).await?;
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
        Act::Invite { room, user, invited } => rooms::invite(connection, *room, *user, *invited).await?,
        Act::SetRoom { room, properties } => rooms::set(connection, *room, properties).await?,
        Act::DeleteRoom { room } => rooms::end(connection, *room).await?,
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
pub(super) async fn log(
    connection: &mut Connection,
    actor: UserId,
    target: UserId,
    entry: &AuditEntry,
) -> Result<u64, Failure> {
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

pub(super) async fn insert_ban(connection: &mut Connection, ban: &Ban) -> Result<u64, Failure> {
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

/// The columns of a ban, and whether each is text.
pub(super) const BAN_COLUMNS: [(&str, bool); 10] = [
    ("id", false),
    ("room", false),
    ("account", false),
    ("username", true),
    ("network", true),
    ("reason", true),
    ("by_name", true),
    ("by_role", false),
    ("time_ms", false),
    ("expires_ms", false),
];

/// Bans that are not over.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn load_bans(connection: &mut Connection, now_ms: u64) -> Result<Vec<Ban>, Failure> {
    let columns: Vec<&str> = BAN_COLUMNS.iter().map(|(column, _)| *column).collect();
    let sql = format!("SELECT {} FROM bans WHERE expires_ms = 0 OR expires_ms > $1 ORDER BY id", columns.join(", "));
    let rows = connection.rows(&sql, &[number(now_ms)]).await?;
    rows.iter().filter_map(|row| ban_of(row, 0).transpose()).collect()
}

/// A ban from its columns. `None` if it says nothing that we could keep: made by a later server or by hand.
///
/// # Errors
/// A column is of another kind.
pub(super) fn ban_of(row: &Row, first: usize) -> Result<Option<Ban>, Failure> {
    let (user, network) = (number_of(row, first + 2)?, Network::parse(&row.text(first + 4)?).ok());
    if user == 0 && network.is_none() {
        return Ok(None);
    }
    Ok(Some(Ban {
        id: number_of(row, first)?,
        room: number_of(row, first + 1)?,
        user,
        username: row.text(first + 3)?,
        network,
        reason: row.text(first + 5)?,
        by: row.text(first + 6)?,
        by_role: number_of(row, first + 7)? as i32,
        time_ms: number_of(row, first + 8)?,
        expires_ms: number_of(row, first + 9)?,
    }))
}
