//! Lists for moderators, in pages: bans, rights of a room, the audit log.
//!
//! Bounds: `PAGE` entries, so that a page of the longest reasons stays below a frame and a mesh record.

use echomesh_proto::control::{
    Ban as ShownBan, Body, ModerationAction as Action, ModerationState, RoomRights, StatusCode,
};
use echomesh_proto::ids::RoomNumber;
use echomesh_proto::time::Now;

use crate::bans::Ban;
use crate::effect::Effects;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::mesh::{Asker, Order};
use crate::rights::{Holder, Standing};
use crate::{Job, Shard};

/// Entries of one page: a ban with the longest reason and names is about 800 bytes.
const PAGE: usize = 30;

/// The number that a page begins after; 0 for the first.
fn after(page: &[u8]) -> u64 {
    page.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn shown(ban: &Ban, room_id: &str) -> ShownBan {
    ShownBan {
        ban_id: ban.id,
        username: ban.username.clone(),
        address: ban.network.map(|network| network.to_string()).unwrap_or_default(),
        room_id: room_id.to_owned(),
        reason: ban.reason.clone(),
        by: ban.by.clone(),
        time_ms: ban.time_ms,
        expires_ms: ban.expires_ms,
    }
}

fn rights(holder: Holder, standing: Standing) -> RoomRights {
    let (role, user_id) = match holder {
        Holder::Role(role) => (role as i32, 0),
        Holder::Account(user) => (0, user.0),
    };
    let Standing { allow, deny, muted, deafened } = standing;
    RoomRights { role, user_id, allow: allow.0, deny: deny.0, muted, deafened }
}

impl Shard {
    pub(super) fn list_bans(&mut self, now: Now, order: &Order, effects: &mut Effects) {
        let room_id = if order.room == 0 { String::new() } else { self.room_name(RoomNumber(order.room)) };
        let mut list = self.bans.after(after(&order.msg.page), order.room, now.unix_ms);
        let bans: Vec<ShownBan> = list.by_ref().take(PAGE).map(|ban| shown(ban, &room_id)).collect();
        let more = list.next().is_some();
        drop(list);
        let last = bans.last().filter(|_| more);
        let next = last.map(|ban| ban.ban_id.to_be_bytes().to_vec()).unwrap_or_default();
        let state = ModerationState { bans, next_page: next.into(), ..listed(Action::MaListBans) };
        self.answer(order.asker, Body::ModerationState(state), effects);
    }

    /// A page begins after so many entries: one that changes in between may show twice or not at all.
    pub(super) fn list_rights(&mut self, order: &Order, effects: &mut Effects) {
        let Some(access) = self.access(order.room) else {
            let text = "there is no such room any more";
            return self.refuse(order.asker, StatusCode::StatusNotFound, text, effects);
        };
        let skip = after(&order.msg.page) as usize;
        let mut list = access.standings().skip(skip);
        let page: Vec<RoomRights> =
            list.by_ref().take(PAGE).map(|(holder, standing)| rights(holder, standing)).collect();
        let more = list.next().is_some();
        drop(list);
        let next = if more { ((skip + PAGE) as u64).to_be_bytes().to_vec() } else { Vec::new() };
        let state = ModerationState { rights: page, next_page: next.into(), ..listed(Action::MaListRights) };
        self.answer(order.asker, Body::ModerationState(state), effects);
    }

    pub(super) fn list_audit(&mut self, order: &Order, effects: &mut Effects) {
        // One more than a page shows whether another follows.
        let store = StoreJob::ReadAudit { before: after(&order.msg.page), count: PAGE as u32 + 1 };
        if !self.ask_store(Job::Audit(order.asker), store, effects) {
            self.order_busy(order.asker, effects);
        }
    }

    pub(super) fn audit_read(&mut self, asker: Asker, outcome: StoreOutcome, effects: &mut Effects) {
        let StoreOutcome::Audit(mut audit) = outcome else {
            return self.refuse(asker, StatusCode::StatusTryAgain, super::STORE_FAILED, effects);
        };
        let more = audit.len() > PAGE;
        audit.truncate(PAGE);
        let last = audit.last().filter(|_| more);
        let next = last.map(|entry| entry.entry_id.to_be_bytes().to_vec()).unwrap_or_default();
        let state = ModerationState { audit, next_page: next.into(), ..listed(Action::MaListAudit) };
        self.answer(asker, Body::ModerationState(state), effects);
    }
}

fn listed(action: Action) -> ModerationState {
    ModerationState { action: action as i32, ..ModerationState::default() }
}
