//! What each job does, as SQL, and the transaction around a batch of them.

use echomesh_proto::control::Role;
use echomesh_proto::ids::UserId;
use echomesh_shard::{StoreJob, StoreOutcome};
use ring::digest::{SHA256, digest};

use super::changes;
use super::chat::{self, Line};
use super::connection::{Connection, Value};
use super::{accounts, community, rooms, sessions};
use crate::hex::hex;

/// All jobs or none: their outcomes in order, on disk when this returns.
///
/// # Errors
/// Whatever the database says; the transaction is rolled back.
pub(super) async fn transaction(
    connection: &mut Connection,
    jobs: &[StoreJob],
) -> Result<Vec<StoreOutcome>, sqlx::Error> {
    if let Some(outcomes) = one_statement(connection, jobs).await? {
        return Ok(outcomes);
    }
    connection.begin().await?;
    // No error is passed over in there but one that was forgiven: PostgreSQL would take the COMMIT of a
    // transaction that has failed, and roll back.
    let error = match carry_out_all(connection, jobs).await {
        Ok(outcomes) => match connection.script("COMMIT").await {
            Ok(()) => return Ok(outcomes),
            Err(error) => error,
        },
        Err(error) => error,
    };
    // An error here means that it is rolled back already: by SQLite, as when the disk is full, or because
    // the connection is gone.
    let _ = connection.script("ROLLBACK").await;
    Err(error)
}

/// Jobs that one statement does: that is a transaction of itself, on disk when it ends, and saves two round
/// trips. `None` if it takes more than one; then nothing is done.
async fn one_statement(
    connection: &mut Connection,
    jobs: &[StoreJob],
) -> Result<Option<Vec<StoreOutcome>>, sqlx::Error> {
    match jobs {
        [job] if is_one_statement(job) => Ok(Some(vec![carry_out(connection, job).await?])),
        // Many logins at a time: each reads for itself.
        jobs if jobs.iter().all(is_read) => {
            let mut outcomes = Vec::with_capacity(jobs.len());
            for job in jobs {
                outcomes.push(carry_out(connection, job).await?);
            }
            Ok(Some(outcomes))
        }
        _ => {
            let lines: Option<Vec<Line<'_>>> = jobs.iter().map(Line::of).collect();
            match lines.filter(|lines| chat::are_one_statement(lines)) {
                Some(lines) => chat::append_new(connection, &lines).await,
                None => Ok(None),
            }
        }
    }
}

fn is_one_statement(job: &StoreJob) -> bool {
    match job {
        StoreJob::CreateAccount { invitation, .. } => invitation.is_empty(),
        StoreJob::CreateRoom { .. } => true,
        StoreJob::Accounts(job) => accounts::is_one_statement(job),
        job => is_read(job),
    }
}

fn is_read(job: &StoreJob) -> bool {
    match job {
        StoreJob::FindAccount { .. } | StoreJob::ReadAudit { .. } => true,
        StoreJob::Accounts(job) => accounts::is_read(job),
        _ => false,
    }
}

async fn carry_out_all(connection: &mut Connection, jobs: &[StoreJob]) -> Result<Vec<StoreOutcome>, sqlx::Error> {
    let mut outcomes = Vec::with_capacity(jobs.len());
    let mut rest = jobs;
    while let Some((first, others)) = rest.split_first() {
        let lines: Vec<Line<'_>> = rest.iter().map_while(Line::of).collect();
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

async fn carry_out(connection: &mut Connection, job: &StoreJob) -> Result<StoreOutcome, sqlx::Error> {
    match job {
        StoreJob::FindAccount { key } => find_account(connection, key).await,
        StoreJob::CreateAccount { key, name, password_hash, time_ms, invitation } => {
            create_account(connection, [key, name, password_hash], *time_ms, invitation).await
        }
        StoreJob::Accounts(job) => accounts::carry_out(connection, job).await,
        StoreJob::Claim { user, code, entry } => {
            let outcome = claim(connection, *user, code).await?;
            if outcome == StoreOutcome::Claimed {
                community::log(connection, *user, *user, entry).await?;
            }
            Ok(outcome)
        }
        StoreJob::CreateRoom { key, name, properties, creator, time_ms } => {
            rooms::create(connection, (key, name), properties, *creator, *time_ms).await
        }
        StoreJob::EndRoom { room } => {
            rooms::end(connection, *room).await?;
            Ok(StoreOutcome::Swept { is_done: false })
        }
        StoreJob::SweepRoom { room } => rooms::sweep(connection, *room).await,
        StoreJob::SaveSessions { sessions, gone } => sessions::save(connection, sessions, gone).await,
        StoreJob::Moderate(logged) => community::moderate(connection, logged).await,
        StoreJob::ReadAudit { before, count } => community::read_audit(connection, *before, *count).await,
        StoreJob::Chat(write) => changes::carry_out(connection, write).await,
        StoreJob::AppendChat { .. } => unreachable!("Line::of takes these"),
        StoreJob::ReadChat(_) => unreachable!("the reader has these"),
    }
}

async fn find_account(connection: &mut Connection, key: &str) -> Result<StoreOutcome, sqlx::Error> {
    let sql = "SELECT id, name, password_hash, role FROM accounts WHERE key = $1";
    let Some(row) = connection.row(sql, &[Value::Text(key)]).await? else { return Ok(StoreOutcome::NotFound) };
    Ok(StoreOutcome::Account {
        user: UserId(row.number(0)? as u64),
        name: row.text(1)?,
        password_hash: row.text(2)?,
        role: Role::try_from(row.number(3)? as i32).unwrap_or(Role::Guest),
    })
}

/// An account, and the use of an invitation that it costs: both or neither.
async fn create_account(
    connection: &mut Connection,
    [key, name, hash]: [&str; 3],
    time_ms: u64,
    invitation: &str,
) -> Result<StoreOutcome, sqlx::Error> {
    let mut used = 0;
    if !invitation.is_empty() {
        match accounts::take_use(connection, invitation, time_ms).await? {
            Some(invitation) => used = invitation,
            None => return Ok(StoreOutcome::Denied),
        }
    }
    let sql = "INSERT INTO accounts (key, name, password_hash, created_ms, invitation) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (key) DO NOTHING";
    let [time, invitation] = [time_ms, used].map(|number| Value::Number(number as i64));
    let values = [Value::Text(key), Value::Text(name), Value::Text(hash), time, invitation];
    match connection.insert(sql, &values).await?.first() {
        Some(user) => Ok(StoreOutcome::AccountCreated { user: UserId(*user) }),
        None => {
            if used != 0 {
                accounts::give_back(connection, used).await?;
            }
            Ok(StoreOutcome::Exists)
        }
    }
}

async fn claim(connection: &mut Connection, user: UserId, code: &str) -> Result<StoreOutcome, sqlx::Error> {
    let user = Value::Number(user.0 as i64);
    // Not by an account that an operator deleted just now: nobody could be owner then.
    let sql = "UPDATE claim SET used_by = $1 WHERE code_hash = $2 AND used_by IS NULL
               AND EXISTS (SELECT 1 FROM accounts WHERE id = $1 AND deleted_ms = 0)";
    if connection.execute(sql, &[user, Value::Text(&code_hash(code))]).await? == 0 {
        return Ok(StoreOutcome::Denied);
    }
    connection.execute("UPDATE accounts SET role = 4 WHERE id = $1", &[user]).await?;
    Ok(StoreOutcome::Claimed)
}

/// What is kept of a claim code. Blanks and capitals from copying do not count.
pub(super) fn code_hash(code: &str) -> String {
    hex(digest(&SHA256, code.trim().to_ascii_lowercase().as_bytes()).as_ref())
}
