//! The store: accounts, rooms, chat in one SQLite file, on a thread of its own.
//!
//! What is answered is on disk: WAL with synchronous=FULL, and one commit for all requests that wait
//! (group commit), replies after it, in order for each shard. If the batch fails, each request is tried
//! alone, so that one bad job fails nobody else's. Bounds: `BATCH_MAX` requests a commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::{StoreJob, StoreOutcome, StoreReply, StoredRoom};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Row};

use crate::jobs::StoreDesk;

/// In order; a released one never changes.
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/0001_first.sql")];

const BATCH_MAX: usize = 512;

/// Looks for the stop flag at least this often.
const PARK: Duration = Duration::from_millis(200);

/// How long a `ChatMsg.client_id` names one line.
const CLIENT_ID_MS: u64 = 24 * 60 * 60 * 1000;

/// An open store.
pub struct Store {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
}

/// What the store holds at start.
pub struct Loaded {
    /// All rooms.
    pub rooms: Vec<StoredRoom>,
    /// The claim code, at the very first start only.
    pub claim_code: Option<String>,
}

impl Store {
    /// Opens or makes the database. The error says what to do.
    pub fn open(path: &Path) -> Result<(Self, Loaded), String> {
        let explain = |error: sqlx::Error| {
            format!(
                "cannot use the database {}: {error}. If it is damaged, move it away and restore a backup; if it is read-only, give this user write access to it and its directory",
                path.display()
            )
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start the store's runtime: {error}"))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let mut connection = runtime.block_on(SqliteConnection::connect_with(&options)).map_err(explain)?;
        let version = runtime.block_on(migrate(&mut connection)).map_err(explain)?;
        if version > MIGRATIONS.len() {
            return Err(format!(
                "the database {} was written by a newer echomesh-server (schema {version}): upgrade, or restore an older backup",
                path.display()
            ));
        }
        let loaded = runtime.block_on(load(&mut connection)).map_err(explain)?;
        Ok((Self { runtime, connection }, loaded))
    }

    /// Serves all shards until stopped and nothing waits.
    pub fn run(mut self, mut desks: Vec<StoreDesk>, stop: &Arc<AtomicBool>) {
        loop {
            let mut batch = Vec::new();
            for (shard, desk) in desks.iter_mut().enumerate() {
                while batch.len() < BATCH_MAX
                    && let Some(request) = desk.take()
                {
                    batch.push((shard, request));
                }
            }
            if batch.is_empty() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::park_timeout(PARK);
                continue;
            }
            let jobs: Vec<&StoreJob> = batch.iter().map(|(_, request)| &request.job).collect();
            let outcomes = self.runtime.block_on(commit(&mut self.connection, &jobs));
            for ((shard, request), outcome) in batch.iter().zip(outcomes) {
                desks[*shard].reply(StoreReply { token: request.token, outcome });
            }
            for desk in &desks {
                desk.wake();
            }
        }
        if let Err(error) = self.runtime.block_on(self.connection.close()) {
            tracing::warn!(%error, "the database did not close cleanly; it will recover at the next start");
        }
    }
}

/// Brings the schema up to date and gives its version; one that is newer than ours is left alone.
async fn migrate(connection: &mut SqliteConnection) -> Result<usize, sqlx::Error> {
    let row = sqlx::query("PRAGMA user_version").fetch_one(&mut *connection).await?;
    let version = row.try_get::<i64, _>(0)? as usize;
    for (done, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let mut transaction = connection.begin().await?;
        sqlx::raw_sql(migration).execute(&mut *transaction).await?;
        sqlx::raw_sql(&format!("PRAGMA user_version = {}", done + 1)).execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    Ok(version.max(MIGRATIONS.len()))
}

async fn load(connection: &mut SqliteConnection) -> Result<Loaded, sqlx::Error> {
    let rows = sqlx::query("SELECT id, key, name, capacity FROM rooms ORDER BY id").fetch_all(&mut *connection).await?;
    let mut rooms = Vec::with_capacity(rows.len());
    for row in rows {
        rooms.push(StoredRoom {
            number: RoomNumber(row.try_get::<i64, _>(0)? as u64),
            key: row.try_get(1)?,
            name: row.try_get(2)?,
            capacity: row.try_get::<i64, _>(3)? as u32,
        });
    }
    let mut claim_code = None;
    if sqlx::query("SELECT 1 FROM claim").fetch_optional(&mut *connection).await?.is_none() {
        let mut bytes = [0_u8; 10];
        getrandom::fill(&mut bytes).map_err(|error| sqlx::Error::Io(std::io::Error::other(error.to_string())))?;
        let code = hex(&bytes);
        sqlx::query("INSERT INTO claim (code_hash) VALUES ($1)").bind(hash(&code)).execute(&mut *connection).await?;
        claim_code = Some(code);
    }
    Ok(Loaded { rooms, claim_code })
}

/// All in one transaction; if that fails, each in its own.
async fn commit(connection: &mut SqliteConnection, jobs: &[&StoreJob]) -> Vec<StoreOutcome> {
    match transaction(connection, jobs).await {
        Ok(outcomes) => outcomes,
        Err(_) if jobs.len() > 1 => {
            let mut outcomes = Vec::with_capacity(jobs.len());
            for job in jobs {
                let outcome = transaction(connection, &[job]).await;
                outcomes.push(outcome.map_or_else(|error| failed(&error), |mut one| one.remove(0)));
            }
            outcomes
        }
        Err(error) => vec![failed(&error)],
    }
}

fn failed(error: &sqlx::Error) -> StoreOutcome {
    tracing::error!(%error, "the store could not commit: check free space and the health of the disk; clients are told to try again");
    StoreOutcome::Failed
}

async fn transaction(connection: &mut SqliteConnection, jobs: &[&StoreJob]) -> Result<Vec<StoreOutcome>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        outcomes.push(carry_out(&mut transaction, job).await?);
    }
    transaction.commit().await?;
    Ok(outcomes)
}

async fn carry_out(connection: &mut SqliteConnection, job: &StoreJob) -> Result<StoreOutcome, sqlx::Error> {
    match job {
        StoreJob::FindAccount { key } => {
            let row = sqlx::query("SELECT id, name, password_hash, owner FROM accounts WHERE key = $1")
                .bind(key)
                .fetch_optional(connection)
                .await?;
            let Some(row) = row else { return Ok(StoreOutcome::NotFound) };
            Ok(StoreOutcome::Account {
                user: UserId(row.try_get::<i64, _>(0)? as u64),
                name: row.try_get(1)?,
                password_hash: row.try_get(2)?,
                owner: row.try_get(3)?,
            })
        }
        StoreJob::CreateAccount { key, name, password_hash, time_ms } => {
            let query = sqlx::query(
                "INSERT INTO accounts (key, name, password_hash, created_ms) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            );
            let done = query.bind(key).bind(name).bind(password_hash).bind(*time_ms as i64).execute(connection).await?;
            Ok(match done.rows_affected() {
                0 => StoreOutcome::Exists,
                _ => StoreOutcome::AccountCreated { user: UserId(done.last_insert_rowid() as u64) },
            })
        }
        StoreJob::Claim { user, code } => claim(connection, *user, code).await,
        StoreJob::CreateRoom { key, name, capacity, creator, time_ms } => {
            let query = sqlx::query(
                "INSERT INTO rooms (key, name, capacity, creator, created_ms) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            );
            let query = query.bind(key).bind(name).bind(i64::from(*capacity)).bind(creator.0 as i64);
            let done = query.bind(*time_ms as i64).execute(connection).await?;
            Ok(match done.rows_affected() {
                0 => StoreOutcome::Exists,
                _ => StoreOutcome::RoomCreated { room: RoomNumber(done.last_insert_rowid() as u64) },
            })
        }
        StoreJob::AppendChat { room, user, client_id, content, time_ms } => {
            append_chat(connection, *room, *user, client_id, content, *time_ms).await
        }
    }
}

async fn claim(connection: &mut SqliteConnection, user: UserId, code: &str) -> Result<StoreOutcome, sqlx::Error> {
    let query = sqlx::query("UPDATE claim SET used_by = $1 WHERE code_hash = $2 AND used_by IS NULL");
    let done = query.bind(user.0 as i64).bind(hash(code.trim())).execute(&mut *connection).await?;
    if done.rows_affected() == 0 {
        return Ok(StoreOutcome::Denied);
    }
    sqlx::query("UPDATE accounts SET owner = 1 WHERE id = $1").bind(user.0 as i64).execute(connection).await?;
    Ok(StoreOutcome::Claimed)
}

async fn append_chat(
    connection: &mut SqliteConnection,
    room: RoomNumber,
    user: UserId,
    client_id: &str,
    content: &str,
    time_ms: u64,
) -> Result<StoreOutcome, sqlx::Error> {
    if !client_id.is_empty() {
        let query = sqlx::query(
            "SELECT id, room, content, time_ms FROM chat_lines WHERE account = $1 AND client_id = $2 AND time_ms > $3",
        );
        let since = time_ms.saturating_sub(CLIENT_ID_MS) as i64;
        let row = query.bind(user.0 as i64).bind(client_id).bind(since).fetch_optional(&mut *connection).await?;
        if let Some(row) = row {
            return Ok(StoreOutcome::ChatDuplicate {
                message_id: row.try_get::<i64, _>(0)? as u64,
                room: RoomNumber(row.try_get::<i64, _>(1)? as u64),
                content: row.try_get(2)?,
                time_ms: row.try_get::<i64, _>(3)? as u64,
            });
        }
    }
    let query =
        sqlx::query("INSERT INTO chat_lines (room, account, client_id, content, time_ms) VALUES ($1, $2, $3, $4, $5)");
    let query = query.bind(room.0 as i64).bind(user.0 as i64).bind(client_id).bind(content).bind(time_ms as i64);
    let done = query.execute(connection).await?;
    Ok(StoreOutcome::ChatStored { message_id: done.last_insert_rowid() as u64 })
}

fn hash(code: &str) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, code.as_bytes()).as_ref())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
