//! What a command on the machine does to the store, also while a server runs on it.
//!
//! Not the commands (`crate::operator`), and not the server's own connection: this one has no advisory lock, makes no
//! schema, and writes as little as it can. A change, its entry in the audit log, and the note by which a running server
//! learns of it are one transaction.
//! Bounds: pages of `PAGE`. Cost: a fdatasync a change.

use std::time::Duration;

use echomesh_proto::control::{AuditEntry, DeviceToken, Invitation, ModerationAction as Action, Role};
use echomesh_proto::ids::UserId;
use echomesh_shard::Ban;
use echomesh_shard::accounts::AccountsOutcome;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};

use super::accounts::{self, now_ms, role_of};
use super::community::{self, BAN_COLUMNS, log, number, number_of};
use super::connection::Value::{Number, Text};
use super::connection::{Connection, Row};
use super::open::{OpenError, in_time};
use super::place::Place;
use super::postgres::see_that_it_is_fit;
use super::{runtime, schema};
use crate::start_error::StartError;

/// Rows read at a time.
pub const PAGE: u32 = 1_000;

/// Longest wait for a server that writes, and for PostgreSQL to answer.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// By whom the log says that it was.
pub const OPERATOR: &str = "the operator";

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub id: UserId,
    /// Its name, as typed.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// The invitation that made it; 0: none.
    pub invitation: u64,
}

/// What is to change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Another password, as its hash; its sessions end.
    Password(String),
    /// Another role.
    Role(Role),
    /// It is gone; its lines stay.
    Delete,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is made.
    Done,
    /// Nothing: nobody would be owner then.
    OnlyOwner,
    /// Nothing: the account was deleted meanwhile.
    Gone,
}

/// A connection for one command.
pub struct Desk {
    runtime: tokio::runtime::Runtime,
    connection: Connection,
    place: String,
}

impl Desk {
    /// Opens the database of a server that has been started before.
    ///
    /// # Errors
    /// There is none, it cannot be read and written, or its schema is not this program's.
    pub fn open(place: &Place) -> Result<Self, StartError> {
        let runtime = runtime().map_err(|error| StartError::system("cannot start a runtime", &error))?;
        let opened = runtime.block_on(async {
            let mut connection = match place {
                Place::File(path) => {
                    let options = SqliteConnectOptions::new()
                        .filename(path)
                        .synchronous(SqliteSynchronous::Full)
                        .busy_timeout(BUSY_MAX)
                        .foreign_keys(true)
                        // What is deleted is overwritten, as by the server.
                        .pragma("secure_delete", "ON")
                        .disable_statement_logging();
                    Connection::Sqlite(options.connect().await?)
                }
                Place::Postgres(place) => {
                    let options = place.options().clone().application_name("echomesh-server command");
                    let connecting = async move {
                        let mut connection = Connection::Postgres(options.connect().await?);
                        see_that_it_is_fit(&mut connection).await?;
                        Ok(connection)
                    };
                    in_time(BUSY_MAX, connecting).await?
                }
            };
            let is_current = schema::is_current(&mut connection).await?;
            Ok((connection, is_current))
        });
        match opened {
            Ok((connection, true)) => Ok(Self { runtime, connection, place: place.to_string() }),
            Ok((_, false)) => Err(StartError::Machine(format!(
                "the database {place} is of an older server: start this server once, which brings it up to date"
            ))),
            Err(OpenError { fault, what }) => Err(StartError::Machine(format!(
                "cannot use the database {place}: {what}; {}. Name the server's own with --data-dir or --database",
                fault.remedy()
            ))),
        }
    }

    fn failed(place: &str, error: &sqlx::Error) -> StartError {
        StartError::Machine(format!("the database {place} failed: {error}. Nothing was changed; try again"))
    }

    fn read<T>(&mut self, read: impl AsyncFnOnce(&mut Connection) -> Result<T, sqlx::Error>) -> Result<T, StartError> {
        let Self { runtime, connection, place } = self;
        runtime.block_on(read(connection)).map_err(|error| Self::failed(place, &error))
    }

    /// All of it or nothing.
    fn change<T>(
        &mut self,
        change: impl AsyncFnOnce(&mut Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StartError> {
        let Self { runtime, connection, place } = self;
        let changed = runtime.block_on(async {
            connection.begin().await?;
            if let Connection::Postgres(_) = connection {
                // Notes are numbered in the order in which they can be seen, so that a server misses none.
                connection.script("LOCK TABLE operator_acts IN EXCLUSIVE MODE").await?;
            }
            let changed = change(connection).await?;
            connection.script("COMMIT").await?;
            Ok(changed)
        });
        // An error ends the process, and with the connection the transaction.
        changed.map_err(|error| Self::failed(place, &error))
    }

    /// Accounts after this one, in order; none is an empty page.
    ///
    /// # Errors
    /// The database failed.
    pub fn users(&mut self, after: UserId) -> Result<Vec<User>, StartError> {
        self.read(async |connection| {
            let sql = "SELECT id, name, role, created_ms, invitation FROM accounts
                       WHERE id > $1 AND deleted_ms = 0 ORDER BY id LIMIT $2";
            connection.rows(sql, &[number(after.0), Number(PAGE.into())]).await?.iter().map(user_of).collect()
        })
    }

    /// The account of a name's key.
    ///
    /// # Errors
    /// The database failed.
    pub fn user(&mut self, key: &str) -> Result<Option<User>, StartError> {
        self.read(async |connection| {
            let sql = "SELECT id, name, role, created_ms, invitation FROM accounts WHERE key = $1 AND deleted_ms = 0";
            connection.row(sql, &[Text(key)]).await?.as_ref().map(user_of).transpose()
        })
    }

    /// An account's device tokens.
    ///
    /// # Errors
    /// The database failed.
    pub fn tokens(&mut self, user: UserId) -> Result<Vec<DeviceToken>, StartError> {
        self.read(async |connection| accounts::tokens(connection, user).await)
    }

    /// Makes an account; false if the name is taken.
    ///
    /// # Errors
    /// The database failed.
    pub fn create(&mut self, key: &str, name: &str, hash: &str, role: Role) -> Result<bool, StartError> {
        self.change(async |connection| {
            let sql = "INSERT INTO accounts (key, name, password_hash, role, created_ms) VALUES ($1, $2, $3, $4, $5)
                       ON CONFLICT (key) DO NOTHING";
            let values = [Text(key), Text(name), Text(hash), Number(role as i64), number(now_ms())];
            let made = connection.insert(sql, &values).await?;
            let Some(user) = made.first() else { return Ok(false) };
            let detail = format!("account made, {}", word(role.as_str_name()));
            log(connection, UserId(0), UserId(*user), &entry(Action::MaAccount, name, detail)).await?;
            Ok(true)
        })
    }

    /// Changes an account that was looked up before.
    ///
    /// # Errors
    /// The database failed.
    pub fn change_user(&mut self, user: &User, change: &Change) -> Result<Changed, StartError> {
        self.change(async |connection| {
            let id = number(user.id.0);
            if connection.row("SELECT 1 FROM accounts WHERE id = $1 AND deleted_ms = 0", &[id]).await?.is_none() {
                return Ok(Changed::Gone);
            }
            let (action, detail) = match change {
                Change::Password(hash) => {
                    connection
                        .execute(
                            "UPDATE accounts SET password_hash = $1, session_epoch = session_epoch + 1 WHERE id = $2",
                            &[Text(hash), id],
                        )
                        .await?;
                    (Action::MaAccount, "password set".to_owned())
                }
                Change::Role(role) => {
                    if *role != Role::Owner && is_only_owner(connection, user.id).await? {
                        return Ok(Changed::OnlyOwner);
                    }
                    let values = [Number(*role as i64), id];
                    connection.execute("UPDATE accounts SET role = $1 WHERE id = $2", &values).await?;
                    if *role == Role::Owner {
                        // There is an owner: nobody may become another by the code.
                        connection.execute("UPDATE claim SET used_by = $1 WHERE used_by IS NULL", &[id]).await?;
                    }
                    let detail = format!("{} to {}", word(user.role.as_str_name()), word(role.as_str_name()));
                    (Action::MaSetRole, detail)
                }
                Change::Delete => {
                    match accounts::delete(connection, user.id, now_ms()).await? {
                        Some(AccountsOutcome::Done) => {}
                        Some(_) => return Ok(Changed::OnlyOwner),
                        None => return Ok(Changed::Gone),
                    }
                    (Action::MaAccount, "account deleted".to_owned())
                }
            };
            let (act, role) = match change {
                Change::Role(role) => ("role", *role),
                Change::Password(_) | Change::Delete => ("sign_out", Role::Guest),
            };
            note(connection, act, user.id.0, role).await?;
            log(connection, UserId(0), user.id, &entry(action, &user.name, detail)).await?;
            Ok(Changed::Done)
        })
    }

    /// Makes an invitation; `None` if there are too many.
    ///
    /// # Errors
    /// The database failed.
    pub fn invite(&mut self, hash: &str, uses: u32, seconds: u64, max: u32) -> Result<Option<u64>, StartError> {
        self.change(async |connection| {
            let created_ms = now_ms();
            let invitation = Invitation {
                invitation_id: 0,
                by: OPERATOR.to_owned(),
                uses_left: uses,
                created_ms,
                expires_ms: created_ms + 1_000 * seconds,
            };
            let made = accounts::invite(connection, hash, UserId(0), &invitation, max).await?;
            let AccountsOutcome::Made { id } = made else { return Ok(None) };
            let detail = format!("invitation of {uses} for {seconds} s");
            log(connection, UserId(0), UserId(0), &entry(Action::MaAccount, "", detail)).await?;
            Ok(Some(id))
        })
    }

    /// Invitations that count, after this one; none is an empty page.
    ///
    /// # Errors
    /// The database failed.
    pub fn invitations(&mut self, after: u64) -> Result<Vec<Invitation>, StartError> {
        self.read(async |connection| accounts::invitations(connection, after, PAGE, now_ms()).await)
    }

    /// Takes an invitation back; false if it is gone.
    ///
    /// # Errors
    /// The database failed.
    pub fn revoke(&mut self, invitation: u64) -> Result<bool, StartError> {
        self.change(async |connection| {
            let sql = "DELETE FROM invitations WHERE id = $1";
            if connection.execute(sql, &[number(invitation)]).await? == 0 {
                return Ok(false);
            }
            let detail = format!("invitation {invitation} taken back");
            log(connection, UserId(0), UserId(0), &entry(Action::MaAccount, "", detail)).await?;
            Ok(true)
        })
    }

    /// Bans that count, after this one; none is an empty page.
    ///
    /// # Errors
    /// The database failed.
    pub fn bans(&mut self, after: u64) -> Result<Vec<Ban>, StartError> {
        self.read(async |connection| {
            let columns: Vec<&str> = BAN_COLUMNS.iter().map(|(column, _)| *column).collect();
            let sql = format!(
                "SELECT {} FROM bans WHERE id > $1 AND (expires_ms = 0 OR expires_ms > $2) ORDER BY id LIMIT $3",
                columns.join(", ")
            );
            let rows = connection.rows(&sql, &[number(after), number(now_ms()), Number(PAGE.into())]).await?;
            rows.iter().filter_map(|row| community::ban_of(row, 0).transpose()).collect()
        })
    }

    /// Bans; gives the ban's number, or `None` if there are too many.
    ///
    /// # Errors
    /// The database failed.
    pub fn ban(&mut self, ban: &Ban, max: u32) -> Result<Option<u64>, StartError> {
        self.change(async |connection| {
            let sql = "SELECT count(*) FROM bans WHERE expires_ms = 0 OR expires_ms > $1";
            let live = connection.row(sql, &[number(now_ms())]).await?;
            if live.map_or(Ok(0), |row| number_of(&row, 0))? >= max.into() {
                return Ok(None);
            }
            let id = community::insert_ban(connection, ban).await?;
            note(connection, "ban", id, Role::Guest).await?;
            let target = ban.network.map_or_else(|| ban.username.clone(), |network| network.to_string());
            let entry = AuditEntry { reason: ban.reason.clone(), ..entry(Action::MaBan, &target, format!("ban {id}")) };
            log(connection, UserId(0), UserId(ban.user), &entry).await?;
            Ok(Some(id))
        })
    }

    /// Lifts a ban; false if it is gone.
    ///
    /// # Errors
    /// The database failed.
    pub fn unban(&mut self, ban: u64) -> Result<bool, StartError> {
        self.change(async |connection| {
            if connection.execute("DELETE FROM bans WHERE id = $1", &[number(ban)]).await? == 0 {
                return Ok(false);
            }
            note(connection, "unban", ban, Role::Guest).await?;
            log(connection, UserId(0), UserId(0), &entry(Action::MaUnban, "", format!("ban {ban}"))).await?;
            Ok(true)
        })
    }
}

/// `ROLE_ADMIN` as `admin`.
pub fn word(name: &str) -> String {
    name.split_once('_').map_or(name, |(_, word)| word).to_ascii_lowercase()
}

fn user_of(row: &Row) -> Result<User, sqlx::Error> {
    Ok(User {
        id: UserId(number_of(row, 0)?),
        name: row.text(1)?,
        role: role_of(row, 2)?,
        created_ms: number_of(row, 3)?,
        invitation: number_of(row, 4)?,
    })
}

fn entry(action: Action, target: &str, detail: String) -> AuditEntry {
    AuditEntry {
        time_ms: now_ms(),
        action: action as i32,
        by: OPERATOR.to_owned(),
        target: target.to_owned(),
        detail,
        ..AuditEntry::default()
    }
}

/// For a running server.
async fn note(connection: &mut Connection, act: &str, subject: u64, role: Role) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO operator_acts (act, subject, role) VALUES ($1, $2, $3)";
    connection.execute(sql, &[Text(act), number(subject), Number(role as i64)]).await.map(drop)
}

async fn is_only_owner(connection: &mut Connection, user: UserId) -> Result<bool, sqlx::Error> {
    let sql = "SELECT (SELECT count(*) FROM accounts WHERE role = 4 AND id <> $1) FROM accounts
               WHERE id = $1 AND role = 4";
    let others = connection.row(sql, &[number(user.0)]).await?;
    others.map_or(Ok(false), |row| Ok(number_of(&row, 0)? == 0))
}

#[cfg(test)]
impl Desk {
    /// A setting of its session, PostgreSQL's.
    pub(super) fn setting(&mut self, name: &str) -> String {
        let sql = format!("SELECT current_setting('{name}')");
        self.read(async |connection| connection.row(&sql, &[]).await?.expect("a row").text(0)).expect("an answer")
    }
}
