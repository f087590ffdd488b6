//! The schema: its steps, which of them are done, and what the store holds at start.
//!
//! One set of steps for both databases. In: an open connection. Out: a database of today's schema, its
//! rooms, bans and sessions, and at the very first start the claim code.
//! SQLite counts the steps done in `PRAGMA user_version`, PostgreSQL in the table `echomesh_schema`.

use echomesh_proto::ids::RoomNumber;
use echomesh_shard::{Ban, SavedSession, StoredRoom};

use super::connection::{Connection, Value};
use super::fault::Fault;
use super::history;
use super::open::OpenError;
use super::work::code_hash;
use super::{accounts, community, rooms, sessions};
use crate::hex::hex;

/// The steps to today's schema, in order. A released one never changes.
const MIGRATIONS: [&str; 6] = [
    include_str!("../../migrations/0001_first.sql"),
    include_str!("../../migrations/0002_community.sql"),
    include_str!("../../migrations/0003_accounts.sql"),
    include_str!("../../migrations/0004_rooms.sql"),
    include_str!("../../migrations/0005_chat.sql"),
    include_str!("../../migrations/0006_indexes.sql"),
];

/// Random bytes of the claim code: 80 bits, out of reach of guessing at five a connection.
const CLAIM_BYTES: usize = 10;

/// What the store holds at start.
#[derive(Debug)]
pub struct Loaded {
    /// All rooms.
    pub rooms: Vec<StoredRoom>,
    /// Bans that are not over.
    pub bans: Vec<Ban>,
    /// Sessions of the last run that may be resumed.
    pub sessions: Vec<SavedSession>,
    /// Rooms that ended and whose lines are still there.
    pub ended_rooms: Vec<RoomNumber>,
    /// The claim code, at the very first start only: afterwards nobody knows it but its reader.
    pub claim_code: Option<String>,
}

/// Brings the schema up to date, each step in a transaction of its own.
///
/// # Errors
/// It is of a newer server, or the database fails.
pub(super) async fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let done = version(connection).await?;
    for (before, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        connection.begin().await?;
        connection.script(&migration.replace("{NUMBERED}", connection.numbered())).await?;
        connection.script(&count_as_done(connection, before + 1)).await?;
        connection.script("COMMIT").await?;
    }
    Ok(())
}

/// How many of the steps are done: 0 in a new database.
///
/// # Errors
/// More than we know, or the database fails.
pub(super) async fn version(connection: &mut Connection) -> Result<usize, OpenError> {
    if let Connection::Postgres(_) = connection {
        let sql = "SELECT (to_regclass('echomesh_schema') IS NOT NULL)::int::bigint";
        let known = connection.row(sql, &[]).await?.map_or(Ok(0), |row| row.number(0))?;
        if known == 0 {
            return Ok(0);
        }
    }
    let sql = match connection {
        Connection::Sqlite(_) => "PRAGMA user_version",
        Connection::Postgres(_) => "SELECT version FROM echomesh_schema",
    };
    let done = connection.row(sql, &[]).await?.map_or(Ok(0), |row| row.number(0))? as usize;
    if done > MIGRATIONS.len() {
        let what = format!("its schema is {done}, this server knows {} at most", MIGRATIONS.len());
        return Err(OpenError { fault: Fault::Newer, what });
    }
    Ok(done)
}

/// Whether all steps are done.
///
/// # Errors
/// As for `version`.
pub(super) async fn is_current(connection: &mut Connection) -> Result<bool, OpenError> {
    Ok(version(connection).await? == MIGRATIONS.len())
}

/// Statements that note how many steps are done.
fn count_as_done(connection: &Connection, steps: usize) -> String {
    match connection {
        Connection::Sqlite(_) => format!("PRAGMA user_version = {steps}"),
        Connection::Postgres(_) if steps == 1 => {
            "CREATE TABLE echomesh_schema (version BIGINT NOT NULL); INSERT INTO echomesh_schema VALUES (1)".to_owned()
        }
        Connection::Postgres(_) => format!("UPDATE echomesh_schema SET version = {steps}"),
    }
}

/// Reads what shards start with, and has what does not outlive a start end: all of it or nothing, and one commit
/// however much it is.
///
/// # Errors
/// The database fails; the connection is of no more use.
pub(super) async fn load(connection: &mut Connection) -> Result<Loaded, OpenError> {
    connection.begin().await?;
    let loaded = read(connection).await?;
    connection.script("COMMIT").await?;
    Ok(loaded)
}

async fn read(connection: &mut Connection) -> Result<Loaded, OpenError> {
    // What commands did is in what is read below; what they do from here on is the server's to look for.
    connection.script("DELETE FROM operator_acts").await?;
    let now_ms = accounts::now_ms();
    accounts::forget_expired(connection, now_ms).await?;
    let (mut rooms, ended_rooms) = rooms::load(connection).await?;
    community::load_standings(connection, &mut rooms).await?;
    history::load_newest(connection, &mut rooms).await?;
    let bans = community::load_bans(connection, now_ms).await?;
    let sessions = sessions::load(connection).await?;
    Ok(Loaded { rooms, bans, sessions, ended_rooms, claim_code: claim_code(connection).await? })
}

/// Makes the code at the first start; only its hash is kept.
async fn claim_code(connection: &mut Connection) -> Result<Option<String>, OpenError> {
    if connection.row("SELECT 1 FROM claim", &[]).await?.is_some() {
        return Ok(None);
    }
    let mut bytes = [0; CLAIM_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| OpenError { fault: Fault::Other, what: error.to_string() })?;
    let code = hex(&bytes);
    connection.execute("INSERT INTO claim (code_hash) VALUES ($1)", &[Value::Text(&code_hash(&code))]).await?;
    Ok(Some(code))
}
