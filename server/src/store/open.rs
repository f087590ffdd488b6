//! Opening the database: settings, a look at its health, the schema, the claim code, the rooms.
//!
//! Cost: the tables that logins and rooms live by are checked page by page at each start; chat, which
//! may be gigabytes, is not, and SQLite tells damage there when it is met.

use std::path::Path;
use std::time::Duration;

use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::{Ban, StoredRoom};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};

use super::community;
use super::fault::{Fault, FaultLog};
use super::work::code_hash;
use super::{Store, runtime};
use crate::hex::hex;
use crate::start_error::StartError;

/// The steps to today's schema, in order. `PRAGMA user_version` counts those done. A released one never
/// changes.
const MIGRATIONS: [&str; 2] =
    [include_str!("../../migrations/0001_first.sql"), include_str!("../../migrations/0002_community.sql")];

/// `{NUMBERED}` in a migration.
const NUMBERED: &str = "INTEGER PRIMARY KEY AUTOINCREMENT";

/// How long to wait for another process that holds the database (a backup).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Random bytes of the claim code: 80 bits, out of reach of guessing at five a connection.
const CLAIM_BYTES: usize = 10;

/// What the store holds at start.
#[derive(Debug)]
pub struct Loaded {
    /// All rooms.
    pub rooms: Vec<StoredRoom>,
    /// Bans that are not over.
    pub bans: Vec<Ban>,
    /// The claim code, at the very first start only: afterwards nobody knows it but its reader.
    pub claim_code: Option<String>,
}

/// Why a database is not used.
enum OpenError {
    Sqlite(sqlx::Error),
    /// What `PRAGMA quick_check` found.
    Damaged(String),
    /// Steps of its schema, more than we know.
    Newer(usize),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        OpenError::Sqlite(error)
    }
}

impl Store {
    /// Opens the database, or makes it.
    ///
    /// # Errors
    /// It cannot be read and written, is damaged, or was made by a newer server; the sentence says what
    /// to do.
    pub fn open(path: &Path) -> Result<(Self, Loaded), StartError> {
        let runtime = runtime().map_err(|error| StartError::system("cannot start the store's runtime", &error))?;
        let opened = runtime.block_on(async {
            let mut connection = options(path).connect().await?;
            check(&mut connection).await?;
            migrate(&mut connection).await?;
            let loaded = load(&mut connection).await?;
            Ok((connection, loaded))
        });
        match opened {
            Ok((connection, loaded)) => Ok((Self { runtime, connection, faults: FaultLog::default() }, loaded)),
            Err(error) => Err(explain(path, &error)),
        }
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

fn explain(path: &Path, error: &OpenError) -> StartError {
    let (what, remedy) = match error {
        OpenError::Sqlite(error) => (error.to_string(), Fault::of(error).remedy().to_owned()),
        OpenError::Damaged(finding) => (finding.clone(), Fault::Damaged.remedy().to_owned()),
        OpenError::Newer(version) => (
            format!("its schema is {version}, this server knows {} at most", MIGRATIONS.len()),
            "it was made by a newer echomesh-server: install that or a later one, or restore an older backup"
                .to_owned(),
        ),
    };
    StartError::Machine(format!("cannot use the database {}: {what}; {remedy}", path.display()))
}

/// Looks for damage in the small tables.
async fn check(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    for table in ["accounts", "rooms", "claim"] {
        let known = sqlx::query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1").bind(table);
        if known.fetch_optional(&mut *connection).await?.is_none() {
            continue;
        }
        let query = format!("PRAGMA quick_check('{table}')");
        let finding: String = sqlx::query(&query).fetch_one(&mut *connection).await?.try_get(0)?;
        if finding != "ok" {
            return Err(OpenError::Damaged(finding.replace('\n', ", ")));
        }
    }
    Ok(())
}

/// Brings the schema up to date, each step in a transaction of its own.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let row = sqlx::query("PRAGMA user_version").fetch_one(&mut *connection).await?;
    let done = row.try_get::<i64, _>(0)? as usize;
    if done > MIGRATIONS.len() {
        return Err(OpenError::Newer(done));
    }
    for (before, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let mut transaction = connection.begin().await?;
        sqlx::raw_sql(&migration.replace("{NUMBERED}", NUMBERED)).execute(&mut *transaction).await?;
        let version = format!("PRAGMA user_version = {}", before + 1);
        sqlx::raw_sql(&version).execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    Ok(())
}

async fn load(connection: &mut SqliteConnection) -> Result<Loaded, OpenError> {
    let rows = sqlx::query("SELECT id, key, name, capacity, creator FROM rooms ORDER BY id")
        .fetch_all(&mut *connection)
        .await?;
    let mut rooms = Vec::with_capacity(rows.len());
    for row in rows {
        rooms.push(StoredRoom {
            number: RoomNumber(row.try_get::<i64, _>(0)? as u64),
            key: row.try_get(1)?,
            name: row.try_get(2)?,
            capacity: row.try_get::<i64, _>(3)? as u32,
            creator: UserId(row.try_get::<i64, _>(4)? as u64),
            standings: Vec::new(),
        });
    }
    community::load_standings(connection, &mut rooms).await?;
    let bans = community::load_bans(connection).await?;
    Ok(Loaded { rooms, bans, claim_code: claim_code(connection).await? })
}

/// Makes the code at the first start; only its hash is kept.
async fn claim_code(connection: &mut SqliteConnection) -> Result<Option<String>, OpenError> {
    if sqlx::query("SELECT 1 FROM claim").fetch_optional(&mut *connection).await?.is_some() {
        return Ok(None);
    }
    let mut bytes = [0; CLAIM_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| sqlx::Error::Io(std::io::Error::other(error.to_string())))?;
    let code = hex(&bytes);
    sqlx::query("INSERT INTO claim (code_hash) VALUES ($1)").bind(code_hash(&code)).execute(connection).await?;
    Ok(Some(code))
}
