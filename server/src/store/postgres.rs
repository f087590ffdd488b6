//! A connection to PostgreSQL that is fit to be written by: ours alone, durable, and soon noticed when lost.
//!
//! One server a database: an advisory lock, which PostgreSQL gives back when the connection ends. It is held
//! by the connection that writes, so who has lost the lock cannot write either.
//! Not for a pooler (PgBouncer) between: a lock belongs to one session.

use std::time::Duration;

use sqlx::{ConnectOptions, postgres::PgConnectOptions};

use super::connection::{Connection, Value};
use super::fault::Fault;
use super::open::OpenError;
use super::place::PostgresPlace;
use crate::hex::hex;

/// The advisory lock's number: "EchoMesh" in ASCII.
const LOCK: i64 = 0x4563_686F_4D65_7368;

/// How often the lock is asked for before it counts as another server's. One that was just killed has it
/// until PostgreSQL has finished its statement.
const LOCK_TRIES: u32 = 50;

/// Between two of those.
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// Settings of the session. PostgreSQL gives a statement up a little later than we do, and a peer that has
/// vanished after 10 + 3 × 5 s, so that its lock is free.
const SETTINGS: &str = "SET statement_timeout = '5s'; SET idle_in_transaction_session_timeout = '10s'; \
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
    SET tcp_user_timeout = '20s'";

/// Who we are, for PostgreSQL: the place, under a name of this process alone.
#[derive(Clone, Debug)]
pub(super) struct Client {
    place: PostgresPlace,
    /// Also `application_name`, by which our own lost sessions are found.
    name: String,
}

impl Client {
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn new(place: &PostgresPlace) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)?;
        Ok(Self { place: place.clone(), name: format!("echomesh-server {}", hex(&bytes)) })
    }

    fn options(&self) -> PgConnectOptions {
        self.place.options().clone().application_name(&self.name)
    }

    /// Connects and takes the database.
    ///
    /// # Errors
    /// No way to it, another server has it, or it is not fit.
    pub(super) async fn connect(&self) -> Result<Connection, OpenError> {
        let mut connection = Connection::Postgres(self.options().connect().await?);
        end_lost_sessions(&mut connection, &self.name).await?;
        lock(&mut connection).await?;
        see_that_it_is_fit(&mut connection).await?;
        Ok(connection)
    }

    /// Connects again after the connection was lost; the schema must still be ours.
    ///
    /// # Errors
    /// As [`Self::connect`], or another program has changed the schema.
    pub(super) async fn connect_again(&self) -> Result<Connection, OpenError> {
        let mut connection = self.connect().await?;
        super::schema::version(&mut connection).await?;
        limit(&mut connection).await?;
        Ok(connection)
    }
}

/// Bounds what a statement may take. After the schema's steps, which may take long.
pub(super) async fn limit(connection: &mut Connection) -> Result<(), OpenError> {
    Ok(connection.script(SETTINGS).await?)
}

/// Our connections that we gave up may still be there, with the lock and a statement under way.
async fn end_lost_sessions(connection: &mut Connection, name: &str) -> Result<(), OpenError> {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE application_name = $1 AND usename = current_user AND pid <> pg_backend_pid()";
    connection.row(sql, &[Value::Text(name)]).await?;
    Ok(())
}

async fn lock(connection: &mut Connection) -> Result<(), OpenError> {
    for _ in 0..LOCK_TRIES {
        let row = connection.row("SELECT pg_try_advisory_lock($1)::int::bigint", &[Value::Number(LOCK)]).await?;
        if row.map_or(Ok(0), |row| row.number(0))? == 1 {
            return Ok(());
        }
        tokio::time::sleep(LOCK_WAIT).await;
    }
    Err(OpenError { fault: Fault::Held, what: "its lock is taken".to_owned() })
}

/// Looks at what decides whether what is stored stays stored, and can be stored at all; has commits wait for the disk.
pub(super) async fn see_that_it_is_fit(connection: &mut Connection) -> Result<(), OpenError> {
    let sql = "SELECT current_setting('server_encoding'), current_setting('synchronous_commit'),
               current_setting('fsync'), current_setting('transaction_read_only')";
    let Some(row) = connection.row(sql, &[]).await? else { return Ok(()) };
    let (encoding, commit, fsync, read_only) = (row.text(0)?, row.text(1)?, row.text(2)?, row.text(3)?);
    if encoding != "UTF8" {
        return Err(OpenError { fault: Fault::Encoding, what: format!("its encoding is {encoding}") });
    }
    if read_only == "on" {
        return Err(OpenError { fault: Fault::Standby, what: "it is read-only".to_owned() });
    }
    if commit == "off" {
        connection.script("SET synchronous_commit = on").await?;
    }
    if fsync == "off" {
        tracing::warn!("PostgreSQL runs with fsync off: a loss of power may lose what was acknowledged, or all");
    }
    Ok(())
}
