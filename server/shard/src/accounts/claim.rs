//! The one-time code, printed at the server's first start, that makes an account the owner.
//!
//! Not how the code is made or checked: the store does that, and notes the act in the audit log with it.

use echomesh_proto::control::{AuditEntry, ClaimRequest, EchoMsg, ModerationAction, StatusCode};
use echomesh_proto::ids::{SessionId, UserId};
use echomesh_proto::time::Now;

use super::{BUSY, STORE_FAILED};
use crate::connection::status;
use crate::effect::Effects;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::mesh::{Answer, Asker, Mesh};
use crate::rights::Role;
use crate::{Job, Shard};

impl Shard {
    pub(crate) fn claim_request(
        &mut self,
        now: Now,
        asker: Asker,
        id: SessionId,
        claim: &ClaimRequest,
        effects: &mut Effects,
    ) {
        if let Some(too_many) = self.too_many_guesses(now, asker.connection(), 0) {
            return self.answer(asker, too_many.status(), effects);
        }
        let code = claim.code.chars().take(64).collect();
        let session = &self.sessions[&id];
        let user = session.user;
        let entry = Box::new(AuditEntry {
            time_ms: now.unix_ms,
            action: ModerationAction::MaSetRole as i32,
            by: session.username.clone(),
            target: session.username.clone(),
            detail: "owner, by the claim code".to_owned(),
            ..AuditEntry::default()
        });
        if !self.ask_store(Job::Claim(asker, user), StoreJob::Claim { user, code, entry }, effects) {
            self.refuse(asker, StatusCode::StatusTryAgain, BUSY, effects);
        }
    }

    pub(crate) fn claim_stored(
        &mut self,
        now: Now,
        asker: Asker,
        user: UserId,
        outcome: &StoreOutcome,
        effects: &mut Effects,
    ) {
        let id = asker.connection();
        match outcome {
            StoreOutcome::Claimed => {
                self.tell_role(user, Role::Owner);
                // Through the mesh to ourselves: the role is told first.
                let msg = EchoMsg::new(0, status(StatusCode::StatusOk, "this account owns the server now"));
                self.tell(asker.shard(), Mesh::Answer(Answer { asker, msg }));
            }
            StoreOutcome::Denied => {
                let text = "wrong or used claim code: it was printed once, at the server's first start";
                self.refuse(asker, StatusCode::StatusDenied, text, effects);
                self.count_guess(now, id, 0, effects);
            }
            _ => self.refuse(asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
        }
    }
}
