//! What each job does, as SQL, and the transaction around a batch of them.

use echomesh_proto::control::Role;
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::{StoreJob, StoreOutcome};
use ring::digest::{SHA256, digest};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::chat::{self, Line};
use super::community;
use crate::hex::hex;

/// All jobs or none: their outcomes in order, on disk when this returns.
///
/// # Errors
/// Whatever SQLite says; the transaction is rolled back.
pub(super) async fn transaction(
    connection: &mut SqliteConnection,
    jobs: &[&StoreJob],
) -> Result<Vec<StoreOutcome>, sqlx::Error> {
    if let Some(outcomes) = one_statement(connection, jobs).await? {
        return Ok(outcomes);
    }
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let error = match carry_out_all(connection, jobs).await {
        Ok(outcomes) => match sqlx::raw_sql("COMMIT").execute(&mut *connection).await {
            Ok(_) => return Ok(outcomes),
            Err(error) => error,
        },
        Err(error) => error,
    };
    // An error here means that SQLite has rolled back by itself, as it does when the disk is full.
    let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
    Err(error)
}

/// Jobs that one statement does: that is a transaction of itself, on disk when it ends, and saves two round
/// trips. `None` if it takes more than one; then nothing is done.
async fn one_statement(
    connection: &mut SqliteConnection,
    jobs: &[&StoreJob],
) -> Result<Option<Vec<StoreOutcome>>, sqlx::Error> {
    match jobs {
        [job @ (StoreJob::FindAccount { .. } | StoreJob::CreateAccount { .. } | StoreJob::CreateRoom { .. })] => {
            Ok(Some(vec![carry_out(connection, job).await?]))
        }
        _ => {
            let lines: Option<Vec<Line<'_>>> = jobs.iter().map(|job| Line::of(job)).collect();
            match lines.filter(|lines| lines.len() <= chat::LINES_MAX) {
                Some(lines) => chat::append_new(connection, &lines).await,
                None => Ok(None),
            }
        }
    }
}

async fn carry_out_all(
    connection: &mut SqliteConnection,
    jobs: &[&StoreJob],
) -> Result<Vec<StoreOutcome>, sqlx::Error> {
    let mut outcomes = Vec::with_capacity(jobs.len());
    let mut rest = jobs;
    while let Some((first, others)) = rest.split_first() {
        let lines: Vec<Line<'_>> = rest.iter().map_while(|job| Line::of(job)).collect();
        if lines.is_empty() {
            outcomes.push(carry_out(connection, first).await?);
            rest = others;
        } else {
            chat::append(connection, &lines, &mut outcomes).await?;
            rest = &rest[lines.len()..];
        }
    }
    Ok(outcomes)
}

async fn carry_out(connection: &mut SqliteConnection, job: &StoreJob) -> Result<StoreOutcome, sqlx::Error> {
    match job {
        StoreJob::FindAccount { key } => find_account(connection, key).await,
        StoreJob::CreateAccount { key, name, password_hash, time_ms } => {
            let query = sqlx::query(
                "INSERT INTO accounts (key, name, password_hash, created_ms) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (key) DO NOTHING",
            );
            let query = query.bind(key).bind(name).bind(password_hash).bind(*time_ms as i64);
            let done = query.execute(connection).await?;
            Ok(match done.rows_affected() {
                0 => StoreOutcome::Exists,
                _ => StoreOutcome::AccountCreated { user: UserId(done.last_insert_rowid() as u64) },
            })
        }
        StoreJob::Claim { user, code } => claim(connection, *user, code).await,
        StoreJob::CreateRoom { key, name, capacity, creator, time_ms } => {
            let query = sqlx::query(
                "INSERT INTO rooms (key, name, capacity, creator, created_ms) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (key) DO NOTHING",
            );
            let query = query.bind(key).bind(name).bind(*capacity).bind(creator.0 as i64).bind(*time_ms as i64);
            let done = query.execute(connection).await?;
            Ok(match done.rows_affected() {
                0 => StoreOutcome::Exists,
                _ => StoreOutcome::RoomCreated { room: RoomNumber(done.last_insert_rowid() as u64) },
            })
        }
        StoreJob::Moderate(logged) => community::moderate(connection, logged).await,
        StoreJob::ReadAudit { before, count } => community::read_audit(connection, *before, *count).await,
        StoreJob::AppendChat { .. } => unreachable!("Line::of takes these"),
    }
}

async fn find_account(connection: &mut SqliteConnection, key: &str) -> Result<StoreOutcome, sqlx::Error> {
    let query = sqlx::query("SELECT id, name, password_hash, role FROM accounts WHERE key = $1").bind(key);
    let Some(row) = query.fetch_optional(connection).await? else { return Ok(StoreOutcome::NotFound) };
    Ok(StoreOutcome::Account {
        user: UserId(row.try_get::<i64, _>(0)? as u64),
        name: row.try_get(1)?,
        password_hash: row.try_get(2)?,
        role: Role::try_from(row.try_get::<i64, _>(3)? as i32).unwrap_or(Role::Guest),
    })
}

async fn claim(connection: &mut SqliteConnection, user: UserId, code: &str) -> Result<StoreOutcome, sqlx::Error> {
    let query = sqlx::query("UPDATE claim SET used_by = $1 WHERE code_hash = $2 AND used_by IS NULL");
    let done = query.bind(user.0 as i64).bind(code_hash(code)).execute(&mut *connection).await?;
    if done.rows_affected() == 0 {
        return Ok(StoreOutcome::Denied);
    }
    let query = sqlx::query("UPDATE accounts SET role = 4 WHERE id = $1").bind(user.0 as i64);
    query.execute(connection).await?;
    Ok(StoreOutcome::Claimed)
}

/// What is kept of a claim code. Blanks and capitals from copying do not count.
pub(super) fn code_hash(code: &str) -> String {
    hex(digest(&SHA256, code.trim().to_ascii_lowercase().as_bytes()).as_ref())
}
