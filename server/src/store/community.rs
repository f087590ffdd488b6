//! Roles, rights of rooms, bans and the audit log, as SQL: an act and its entry in the log stand or fall
//! together, for they are in the transaction that `work` has around a batch.
//!
//! Not the rules, which are the kernel's. Bounds: a page of the log; at start all standings and live bans.

use std::time::{SystemTime, UNIX_EPOCH};

use echomesh_proto::control::{AuditEntry, Role};
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::rights::{Holder, Rights, Standing};
use echomesh_shard::{Act, Ban, LoggedAct, Network, StoreOutcome, StoredRoom};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

/// `room_standings.role` of an account's row.
const NO_ROLE: i64 = -1;

/// What is bound to a place of a statement.
#[derive(Clone, Copy)]
enum Value<'a> {
    Number(i64),
    Text(&'a str),
}

use Value::{Number, Text};

type Failure = sqlx::Error;

fn number(number: u64) -> Value<'static> {
    Number(number as i64)
}

fn query<'q>(
    sql: &'q str,
    values: &[Value<'q>],
) -> sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments<'q>> {
    values.iter().fold(sqlx::query(sql), |query, value| match *value {
        Number(number) => query.bind(number),
        Text(text) => query.bind(text),
    })
}

async fn execute(connection: &mut SqliteConnection, sql: &str, values: &[Value<'_>]) -> Result<u64, Failure> {
    Ok(query(sql, values).execute(connection).await?.rows_affected())
}

async fn insert(connection: &mut SqliteConnection, sql: &str, values: &[Value<'_>]) -> Result<u64, Failure> {
    Ok(query(sql, values).execute(connection).await?.last_insert_rowid() as u64)
}

async fn rows(connection: &mut SqliteConnection, sql: &str, values: &[Value<'_>]) -> Result<Vec<SqliteRow>, Failure> {
    query(sql, values).fetch_all(connection).await
}

fn number_of(row: &SqliteRow, column: usize) -> Result<u64, Failure> {
    Ok(row.try_get::<i64, _>(column)? as u64)
}

/// The act and its entry.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn moderate(
    connection: &mut SqliteConnection,
    LoggedAct { act, actor, target, entry }: &LoggedAct,
) -> Result<StoreOutcome, Failure> {
    let mut new_ban = None;
    match act {
        Act::Note => {}
        Act::SetRole { user, role } => {
            let values = [Number(*role as i64), number(user.0)];
            execute(connection, "UPDATE accounts SET role = $1 WHERE id = $2", &values).await?;
        }
        Act::Restrain { room, user, muted, deafened } => {
            restrain(connection, *room, *user, [("muted", *muted), ("deafened", *deafened)]).await?;
        }
        Act::SetRights { room, holder, allow, deny } => {
            let sql = "INSERT INTO room_standings (room, role, account, allow, deny) VALUES ($1, $2, $3, $4, $5)
                       ON CONFLICT (room, role, account) DO UPDATE SET allow = excluded.allow, deny = excluded.deny";
            let [role, account] = holder_values(*holder);
            let values = [number(room.0), role, account, number(allow.0.into()), number(deny.0.into())];
            execute(connection, sql, &values).await?;
        }
        Act::Ban(ban) => new_ban = Some(insert_ban(connection, ban).await?),
        Act::Unban { ban } => {
            if execute(connection, "DELETE FROM bans WHERE id = $1", &[number(*ban)]).await? == 0 {
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
async fn log(
    connection: &mut SqliteConnection,
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
    insert(connection, sql, &values).await
}

async fn restrain(
    connection: &mut SqliteConnection,
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
        execute(connection, &sql, &values).await?;
    }
    Ok(())
}

async fn insert_ban(connection: &mut SqliteConnection, ban: &Ban) -> Result<u64, Failure> {
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
    insert(connection, sql, &values).await
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
pub(super) async fn read_audit(
    connection: &mut SqliteConnection,
    before: u64,
    count: u32,
) -> Result<StoreOutcome, Failure> {
    let before = if before == 0 { i64::MAX } else { before as i64 };
    let sql = "SELECT id, time_ms, action, actor_name, target_name, room_name, detail, reason FROM audit
               WHERE id < $1 ORDER BY id DESC LIMIT $2";
    let mut audit = Vec::new();
    for row in rows(connection, sql, &[Number(before), Number(count.into())]).await? {
        audit.push(AuditEntry {
            entry_id: number_of(&row, 0)?,
            time_ms: number_of(&row, 1)?,
            action: number_of(&row, 2)? as i32,
            by: row.try_get(3)?,
            target: row.try_get(4)?,
            room_id: row.try_get(5)?,
            detail: row.try_get(6)?,
            reason: row.try_get(7)?,
        });
    }
    Ok(StoreOutcome::Audit(audit))
}

/// Gives each room what it says of roles and accounts.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn load_standings(connection: &mut SqliteConnection, rooms: &mut [StoredRoom]) -> Result<(), Failure> {
    let sql = "SELECT room, role, account, allow, deny, muted, deafened FROM room_standings";
    for row in rows(connection, sql, &[]).await? {
        let room = RoomNumber(number_of(&row, 0)?);
        let Ok(at) = rooms.binary_search_by_key(&room, |room| room.number) else { continue };
        let holder = match Role::try_from(row.try_get::<i64, _>(1)? as i32) {
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
pub(super) async fn load_bans(connection: &mut SqliteConnection) -> Result<Vec<Ban>, Failure> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let sql = "SELECT id, room, account, username, network, reason, by_name, by_role, time_ms, expires_ms FROM bans
               WHERE expires_ms = 0 OR expires_ms > $1 ORDER BY id";
    let mut bans = Vec::new();
    for row in rows(connection, sql, &[number(now_ms)]).await? {
        let user = number_of(&row, 2)?;
        let network = Network::parse(&row.try_get::<String, _>(4)?).ok();
        // Made by a later server or by hand: it says nothing that we could keep.
        if user == 0 && network.is_none() {
            continue;
        }
        bans.push(Ban {
            id: number_of(&row, 0)?,
            room: number_of(&row, 1)?,
            user,
            username: row.try_get(3)?,
            network,
            reason: row.try_get(5)?,
            by: row.try_get(6)?,
            by_role: number_of(&row, 7)? as i32,
            time_ms: number_of(&row, 8)?,
            expires_ms: number_of(&row, 9)?,
        });
    }
    Ok(bans)
}

#[cfg(test)]
mod tests {
    use echomesh_proto::control::ModerationAction as Action;
    use echomesh_proto::control::Right;
    use echomesh_shard::StoreJob;

    use super::super::Store;
    use super::*;

    fn one(store: &mut Store, job: &StoreJob) -> StoreOutcome {
        store.carry_out(&[job]).remove(0)
    }

    fn act(act: Act) -> StoreJob {
        let entry = AuditEntry {
            action: Action::MaKick as i32,
            by: "Ann".into(),
            target: "Tim".into(),
            reason: "why".into(),
            time_ms: 5,
            ..AuditEntry::default()
        };
        StoreJob::Moderate(Box::new(LoggedAct { act, actor: UserId(1), target: UserId(2), entry }))
    }

    fn ban(expires_ms: u64) -> Ban {
        let network = Network::parse("192.0.2.0/24").ok();
        Ban { network, reason: "spam".into(), by: "Ann".into(), by_role: 3, time_ms: 7, expires_ms, ..Ban::default() }
    }

    /// Goal: roles, rights, mutes and bans are as they were after the file is opened again; what is over or
    /// lifted is not; each act has its entry in the log.
    #[test]
    fn acts_survive_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let (mut store, _) = Store::open(&path).unwrap();
        for key in ["ann", "tim"] {
            let (name, password_hash) = (key.to_owned(), "h".to_owned());
            one(&mut store, &StoreJob::CreateAccount { key: key.into(), name, password_hash, time_ms: 1 });
        }
        let (creator, time_ms) = (UserId(1), 1);
        one(
            &mut store,
            &StoreJob::CreateRoom { key: "hall".into(), name: "Hall".into(), capacity: 0, creator, time_ms },
        );
        let (room, user) = (RoomNumber(1), UserId(2));
        let restrain = |muted, deafened| act(Act::Restrain { room, user, muted, deafened });
        let rights = |holder, deny| act(Act::SetRights { room, holder, allow: Rights::default(), deny });
        let deny = Rights::of(&[Right::Speak]);
        let jobs = [
            act(Act::SetRole { user, role: Role::Moderator }),
            restrain(Some(true), None),
            restrain(None, Some(true)),
            restrain(Some(false), None),
            rights(Holder::Account(user), deny),
            rights(Holder::Role(Role::Guest), deny),
            rights(Holder::Role(Role::Member), deny),
            rights(Holder::Role(Role::Member), Rights::default()),
            act(Act::Ban(ban(0))),
            act(Act::Ban(ban(1))),
            act(Act::Ban(ban(u64::MAX >> 1))),
            act(Act::Unban { ban: 3 }),
            act(Act::Note),
        ];
        let outcomes = store.carry_out(&jobs.iter().collect::<Vec<_>>());
        let ids = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 12, 13].map(|id| StoreOutcome::Moderated { id });
        assert_eq!(outcomes, ids);
        assert_eq!(one(&mut store, &act(Act::Unban { ban: 3 })), StoreOutcome::NotFound);
        drop(store);
        let (mut store, loaded) = Store::open(&path).unwrap();
        let tim = Standing { deny, deafened: true, ..Standing::default() };
        let guests = Standing { deny, ..Standing::default() };
        let hall = &loaded.rooms[0];
        let mut standings = hall.standings.clone();
        standings.sort_by_key(|(holder, _)| *holder);
        assert_eq!(
            (hall.creator, standings),
            (UserId(1), vec![(Holder::Role(Role::Guest), guests), (Holder::Account(user), tim)])
        );
        assert_eq!(loaded.bans, [Ban { id: 1, ..ban(0) }]);
        let found = one(&mut store, &StoreJob::FindAccount { key: "tim".into() });
        assert!(matches!(found, StoreOutcome::Account { role: Role::Moderator, .. }), "{found:?}");
        let StoreOutcome::Audit(page) = one(&mut store, &StoreJob::ReadAudit { before: 13, count: 2 }) else {
            panic!("no log")
        };
        assert_eq!(page.iter().map(|entry| entry.entry_id).collect::<Vec<_>>(), [12, 11]);
        assert_eq!((page[0].by.as_str(), page[0].target.as_str(), page[0].time_ms), ("Ann", "Tim", 5));
    }
}
