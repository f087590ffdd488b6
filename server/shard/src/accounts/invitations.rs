//! Invitations to the server: a code that lets so many people make an account, for so long.
//!
//! Not the taking of a use, which the store does with the account that it makes. Bounds: `USES_MAX`, `SECONDS_MAX`,
//! `Limits::invitations_max`; pages of `PAGE`.

use echomesh_proto::control::{AccountState, AuditEntry, Invitation, ModerationAction, StatusCode};
use echomesh_proto::time::Now;

use super::{AccountJob, AccountsJob, Refusal, hash_typed, refusal};
use crate::Shard;
use crate::rights::Role;

/// Most accounts that one code makes.
const USES_MAX: u32 = 1_000;

/// A week, if nothing else is asked for; and a year at most.
const SECONDS: u64 = 7 * 86_400;
const SECONDS_MAX: u64 = 366 * 86_400;

/// Entries of one page: about 120 bytes each.
const PAGE: usize = 50;

/// Whether someone may, and asks for what can be.
pub(super) fn may(job: &AccountJob) -> Result<(), Refusal> {
    if job.role < Role::Moderator {
        return refusal(StatusCode::StatusDenied, "you may not invite to the server: that takes the role moderator");
    }
    if job.msg.uses > USES_MAX || job.msg.seconds > SECONDS_MAX {
        let text = format!("an invitation has at most {USES_MAX} uses and {SECONDS_MAX} seconds");
        return Err((StatusCode::StatusLimit, text));
    }
    Ok(())
}

fn entry(now: Now, job: &AccountJob, detail: String) -> AuditEntry {
    AuditEntry {
        time_ms: now.unix_ms,
        action: ModerationAction::MaAccount as i32,
        by: job.username.clone(),
        detail,
        ..AuditEntry::default()
    }
}

pub(super) fn list(now: Now, job: &AccountJob) -> AccountsJob {
    let after = job.msg.page.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    // One more than a page shows whether another follows.
    AccountsJob::ListInvitations { after, count: PAGE as u32 + 1, now_ms: now.unix_ms }
}

pub(super) fn revoke(now: Now, job: &AccountJob) -> AccountsJob {
    let id = job.msg.id;
    AccountsJob::RevokeInvitation { id, entry: entry(now, job, format!("invitation {id} taken back")) }
}

pub(super) fn page(mut invitations: Vec<Invitation>) -> AccountState {
    let more = invitations.len() > PAGE;
    invitations.truncate(PAGE);
    let last = invitations.last().filter(|_| more);
    let next = last.map(|last| last.invitation_id.to_be_bytes().to_vec()).unwrap_or_default();
    AccountState { invitations, next_page: next.into(), ..AccountState::default() }
}

impl Shard {
    pub(super) fn invite(&self, now: Now, job: &AccountJob) -> AccountsJob {
        let uses_left = job.msg.uses.max(1);
        let seconds = if job.msg.seconds == 0 { SECONDS } else { job.msg.seconds };
        AccountsJob::Invite {
            hash: hash_typed(&job.kept),
            creator: job.user,
            invitation: Invitation {
                invitation_id: 0,
                by: job.username.clone(),
                uses_left,
                created_ms: now.unix_ms,
                expires_ms: now.unix_ms + 1_000 * seconds,
            },
            invitations_max: self.config.limits.invitations_max,
            entry: entry(now, job, format!("invitation of {uses_left} for {seconds} s")),
        }
    }
}
