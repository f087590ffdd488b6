//! Device tokens, invitations, passwords, deleted accounts and acts of the operator, as SQL.
//!
//! Not the rules, which are the kernel's. What one job changes is in one transaction with its entry in the audit log.
//! Bounds: an account's tokens, a page of invitations or acts. Cost: a token's login reads one row by its hash and
//! writes nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use echomesh_proto::control::{DeviceToken, Invitation, Role};
use echomesh_proto::ids::{SessionId, UserId};
use echomesh_shard::StoreOutcome;
use echomesh_shard::accounts::{AccountsJob, AccountsOutcome, OperatorAct};

use super::community::{self, BAN_COLUMNS, log, number, number_of};
use super::connection::Value::{Number, Text};
use super::connection::{Connection, Row};

type Failure = sqlx::Error;

/// What became of a job; `None`: what it is about is gone.
type Found = Result<Option<AccountsOutcome>, Failure>;

/// Whether a job is one statement, and so a transaction of itself.
pub(super) fn is_one_statement(job: &AccountsJob) -> bool {
    is_read(job)
        || matches!(
            job,
            AccountsJob::TouchToken { .. }
                | AccountsJob::RevokeToken { .. }
                | AccountsJob::SetPassword { changed_by: None, .. }
        )
}

/// Whether a job changes nothing.
pub(super) fn is_read(job: &AccountsJob) -> bool {
    matches!(
        job,
        AccountsJob::FindToken { .. }
            | AccountsJob::ListTokens { .. }
            | AccountsJob::ListInvitations { .. }
            | AccountsJob::OperatorActs { .. }
    )
}

/// Now, Unix milliseconds.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Does one job.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn carry_out(connection: &mut Connection, job: &AccountsJob) -> Result<StoreOutcome, Failure> {
    let outcome = match job {
        AccountsJob::FindToken { hash } => find_token(connection, hash).await?,
        AccountsJob::TouchToken { token, time_ms } => {
            let sql = "UPDATE device_tokens SET last_used_ms = $1 WHERE id = $2";
            done(connection.execute(sql, &[number(*time_ms), number(*token)]).await?)
        }
        AccountsJob::NewToken { user, hash, label, time_ms, tokens_max } => {
            new_token(connection, *user, (hash, label), *time_ms, *tokens_max).await?
        }
        AccountsJob::ListTokens { user } => Some(AccountsOutcome::Tokens(tokens(connection, *user).await?)),
        AccountsJob::RevokeToken { user, token } => {
            let sql = "DELETE FROM device_tokens WHERE id = $1 AND account = $2";
            done(connection.execute(sql, &[number(*token), number(user.0)]).await?)
        }
        AccountsJob::SetPassword { user, old, new, changed_by } => {
            let sql = "UPDATE accounts SET password_hash = $1 WHERE id = $2 AND password_hash = $3";
            let is_set = connection.execute(sql, &[Text(new), number(user.0), Text(old)]).await? != 0;
            match changed_by {
                Some(session) if is_set => end_sessions(connection, *user, *session, true).await?,
                _ => is_set.then_some(AccountsOutcome::Done),
            }
        }
        AccountsJob::EndSessions { user, except } => end_sessions(connection, *user, *except, false).await?,
        AccountsJob::Delete { user, time_ms, entry } => {
            let outcome = delete(connection, *user, *time_ms).await?;
            if outcome == Some(AccountsOutcome::Done) {
                log(connection, *user, *user, entry).await?;
            }
            outcome
        }
        AccountsJob::Invite { hash, creator, invitation, invitations_max, entry } => {
            let outcome = invite(connection, hash, *creator, invitation, *invitations_max).await?;
            if outcome != AccountsOutcome::Full {
                log(connection, *creator, UserId(0), entry).await?;
            }
            Some(outcome)
        }
        AccountsJob::ListInvitations { after, count, now_ms } => {
            Some(AccountsOutcome::Invitations(invitations(connection, *after, *count, *now_ms).await?))
        }
        AccountsJob::RevokeInvitation { id, entry } => {
            let gone = connection.execute("DELETE FROM invitations WHERE id = $1", &[number(*id)]).await?;
            if gone != 0 {
                log(connection, UserId(0), UserId(0), entry).await?;
            }
            done(gone)
        }
        AccountsJob::ForgetExpired { now_ms } => {
            forget_expired(connection, *now_ms).await?;
            Some(AccountsOutcome::Done)
        }
        AccountsJob::OperatorActs { after, count } => {
            Some(AccountsOutcome::OperatorActs(acts(connection, *after, *count).await?))
        }
    };
    Ok(outcome.map_or(StoreOutcome::NotFound, StoreOutcome::Accounts))
}

fn done(rows: u64) -> Option<AccountsOutcome> {
    (rows != 0).then_some(AccountsOutcome::Done)
}

/// The account's sessions are of a new epoch from now on: of those that are stored, only the one, and if so those of
/// tokens, go over to it. Not by deleting the others: a shard that has not been told may write one again.
async fn end_sessions(connection: &mut Connection, user: UserId, except: SessionId, spares_tokens: bool) -> Found {
    let sql = "UPDATE accounts SET session_epoch = session_epoch + 1 WHERE id = $1 AND deleted_ms = 0";
    if connection.execute(sql, &[number(user.0)]).await? == 0 {
        return Ok(None);
    }
    let sql = "UPDATE sessions SET epoch = (SELECT session_epoch FROM accounts WHERE accounts.id = $1)
               WHERE account = $1 AND (id = $2 OR (token <> 0 AND $3 = 1))
               AND epoch = (SELECT session_epoch - 1 FROM accounts WHERE accounts.id = $1)";
    let values = [number(user.0), Number(except.0 as i64), Number(spares_tokens.into())];
    connection.execute(sql, &values).await?;
    Ok(Some(AccountsOutcome::Done))
}

async fn find_token(connection: &mut Connection, hash: &str) -> Found {
    let sql = "SELECT device_tokens.id, last_used_ms, accounts.id, name, role
               FROM device_tokens JOIN accounts ON accounts.id = account WHERE token_hash = $1";
    let Some(row) = connection.row(sql, &[Text(hash)]).await? else { return Ok(None) };
    Ok(Some(AccountsOutcome::Token {
        token: number_of(&row, 0)?,
        last_used_ms: number_of(&row, 1)?,
        user: UserId(number_of(&row, 2)?),
        name: row.text(3)?,
        role: role_of(&row, 4)?,
    }))
}

/// A column that holds a role.
pub(super) fn role_of(row: &Row, column: usize) -> Result<Role, Failure> {
    Ok(Role::try_from(row.number(column)? as i32).unwrap_or(Role::Guest))
}

async fn new_token(
    connection: &mut Connection,
    user: UserId,
    (hash, label): (&str, &str),
    time_ms: u64,
    tokens_max: u32,
) -> Found {
    let sql = "SELECT (SELECT count(*) FROM device_tokens WHERE account = $1) FROM accounts
               WHERE id = $1 AND deleted_ms = 0";
    let Some(row) = connection.row(sql, &[number(user.0)]).await? else { return Ok(None) };
    if number_of(&row, 0)? >= tokens_max.into() {
        return Ok(Some(AccountsOutcome::Full));
    }
    let sql = "INSERT INTO device_tokens (account, token_hash, label, created_ms) VALUES ($1, $2, $3, $4)";
    let values = [number(user.0), Text(hash), Text(label), number(time_ms)];
    let id = community::insert_one(connection, sql, &values).await?;
    Ok(Some(AccountsOutcome::Made { id }))
}

/// An account's tokens, in order.
pub(super) async fn tokens(connection: &mut Connection, user: UserId) -> Result<Vec<DeviceToken>, Failure> {
    let sql = "SELECT id, label, created_ms, last_used_ms FROM device_tokens WHERE account = $1 ORDER BY id";
    let mut tokens = Vec::new();
    for row in connection.rows(sql, &[number(user.0)]).await? {
        tokens.push(DeviceToken {
            token_id: number_of(&row, 0)?,
            label: row.text(1)?,
            created_ms: number_of(&row, 2)?,
            last_used_ms: number_of(&row, 3)?,
        });
    }
    Ok(tokens)
}

/// The account is gone but for its number. Keys have no capitals, so no name has the new one.
pub(super) async fn delete(connection: &mut Connection, user: UserId, time_ms: u64) -> Found {
    let user = number(user.0);
    let sql = "SELECT role, (SELECT count(*) FROM accounts WHERE role = 4 AND id <> $1) FROM accounts
               WHERE id = $1 AND deleted_ms = 0";
    let Some(row) = connection.row(sql, &[user]).await? else { return Ok(None) };
    if role_of(&row, 0)? == Role::Owner && row.number(1)? == 0 {
        return Ok(Some(AccountsOutcome::OnlyOwner));
    }
    let sql = "UPDATE accounts SET key = 'DELETED ' || id, name = '', password_hash = '', role = 0, deleted_ms = $2
               WHERE id = $1";
    connection.execute(sql, &[user, number(time_ms)]).await?;
    for sql in [
        "DELETE FROM device_tokens WHERE account = $1",
        "DELETE FROM invitations WHERE creator = $1",
        "DELETE FROM room_standings WHERE account = $1 AND role = -1",
        "DELETE FROM chat_seen WHERE account = $1",
    ] {
        connection.execute(sql, &[user]).await?;
    }
    Ok(Some(AccountsOutcome::Done))
}

/// A new invitation: `Made` or `Full`.
pub(super) async fn invite(
    connection: &mut Connection,
    hash: &str,
    creator: UserId,
    invitation: &Invitation,
    invitations_max: u32,
) -> Result<AccountsOutcome, Failure> {
    let sql = "SELECT count(*) FROM invitations WHERE uses_left > 0 AND expires_ms > $1";
    let live = connection.row(sql, &[number(invitation.created_ms)]).await?;
    if live.map_or(Ok(0), |row| number_of(&row, 0))? >= invitations_max.into() {
        return Ok(AccountsOutcome::Full);
    }
    let sql = "INSERT INTO invitations (code_hash, creator, by_name, uses_left, created_ms, expires_ms)
               VALUES ($1, $2, $3, $4, $5, $6)";
    let values = [
        Text(hash),
        number(creator.0),
        Text(&invitation.by),
        Number(invitation.uses_left.into()),
        number(invitation.created_ms),
        number(invitation.expires_ms),
    ];
    Ok(AccountsOutcome::Made { id: community::insert_one(connection, sql, &values).await? })
}

/// Invitations that count, after this one.
pub(super) async fn invitations(
    connection: &mut Connection,
    after: u64,
    count: u32,
    now_ms: u64,
) -> Result<Vec<Invitation>, Failure> {
    let sql = "SELECT id, by_name, uses_left, created_ms, expires_ms FROM invitations
               WHERE id > $1 AND uses_left > 0 AND expires_ms > $2 ORDER BY id LIMIT $3";
    let mut list = Vec::new();
    for row in connection.rows(sql, &[number(after), number(now_ms), Number(count.into())]).await? {
        list.push(Invitation {
            invitation_id: number_of(&row, 0)?,
            by: row.text(1)?,
            uses_left: number_of(&row, 2)? as u32,
            created_ms: number_of(&row, 3)?,
            expires_ms: number_of(&row, 4)?,
        });
    }
    Ok(list)
}

/// Takes one use: gives the invitation's number, or `None` if it does not count. The row is locked from here to the
/// transaction's end, so that no other takes the same use.
pub(super) async fn take_use(connection: &mut Connection, hash: &str, now_ms: u64) -> Result<Option<u64>, Failure> {
    let sql = "UPDATE invitations SET uses_left = uses_left - 1
               WHERE code_hash = $1 AND uses_left > 0 AND expires_ms > $2";
    if connection.execute(sql, &[Text(hash), number(now_ms)]).await? == 0 {
        return Ok(None);
    }
    let row = connection.row("SELECT id FROM invitations WHERE code_hash = $1", &[Text(hash)]).await?;
    row.map(|row| number_of(&row, 0)).transpose()
}

/// Gives a use back, in the same transaction.
pub(super) async fn give_back(connection: &mut Connection, invitation: u64) -> Result<(), Failure> {
    let sql = "UPDATE invitations SET uses_left = uses_left + 1 WHERE id = $1";
    connection.execute(sql, &[number(invitation)]).await.map(drop)
}

/// Bans and invitations that are over.
pub(super) async fn forget_expired(connection: &mut Connection, now_ms: u64) -> Result<(), Failure> {
    let now = [number(now_ms)];
    connection.execute("DELETE FROM bans WHERE expires_ms <> 0 AND expires_ms <= $1", &now).await?;
    connection.execute("DELETE FROM invitations WHERE uses_left = 0 OR expires_ms <= $1", &now).await.map(drop)
}

async fn acts(connection: &mut Connection, after: u64, count: u32) -> Result<Vec<(u64, OperatorAct)>, Failure> {
    let ban_columns: Vec<String> = BAN_COLUMNS
        .iter()
        .map(|(column, is_text)| format!("COALESCE(bans.{column}, {})", if *is_text { "''" } else { "0" }))
        .collect();
    let sql = format!(
        "SELECT operator_acts.id, act, subject, operator_acts.role, {} FROM operator_acts
         LEFT JOIN bans ON act = 'ban' AND bans.id = subject
         WHERE operator_acts.id > $1 ORDER BY operator_acts.id LIMIT $2",
        ban_columns.join(", ")
    );
    let mut acts = Vec::new();
    for row in connection.rows(&sql, &[number(after), Number(count.into())]).await? {
        let (act, subject) = (row.text(1)?, number_of(&row, 2)?);
        let user = UserId(subject);
        let act = match act.as_str() {
            "role" => OperatorAct::Role { user, role: role_of(&row, 3)? },
            "unban" => OperatorAct::Unban { ban: subject },
            "sign_out" => OperatorAct::SignOut { user },
            // Lifted again before we looked: then there is nothing to tell.
            _ => match community::ban_of(&row, 4)? {
                Some(ban) => OperatorAct::Ban(ban),
                None => OperatorAct::Unban { ban: subject },
            },
        };
        acts.push((number_of(&row, 0)?, act));
    }
    Ok(acts)
}
