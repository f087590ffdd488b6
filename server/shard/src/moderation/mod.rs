//! What moderators ask: who may, whom it is about, what is stored, and then what becomes of it.
//!
//! A request about a room is decided at the room's home, which knows the rights there; one about the server at
//! [`STAFF_SHARD`]. Bans, roles and kicks from the server are told to every shard by that shard alone, so that
//! all shards see them in one order. An act takes effect, and is acknowledged, when it and its entry of the
//! audit log are stored.
//!
//! Layout: `needs` (what each action needs), `listing` (pages), `effects` (what every shard does when it is told),
//! `reports` (who may report how often).
//! In: `Moderation` of a client, `Order` between shards. Out: `ModerationState`, or a `Status` that refuses.
//! Bounds: one order a connection; `Limits::{bans_max, room_standings_max, reports_max}`; nothing is decided
//! while a ring is congested.

mod effects;
mod listing;
mod needs;
mod reports;

use echomesh_proto::control::{
    AuditEntry, Body, Moderation, ModerationAction as Action, ModerationState, Role, StatusCode,
};
use echomesh_proto::ids::{RoomNumber, SessionId, ShardId, UserId};
use echomesh_proto::limits::{REASON_BYTES_MAX, ROOM_NAME_BYTES_MAX, USERNAME_BYTES_MAX};
use echomesh_proto::time::Now;

use crate::accounts::guest_id;
use crate::bans::{Ban, Network};
use crate::counters::Drop;
use crate::effect::Effects;
use crate::jobs::{Act, LoggedAct, StoreJob, StoreOutcome};
use crate::mesh::{Asker, Mesh, Order};
use crate::names;
use crate::requests::SHOWN_CHARS_MAX;
use crate::rights::{Access, Holder, Person, ROOM_RIGHTS, Right, Rights, TABLE, role_name, role_rank};
use crate::rooms::is_of_rooms;
use crate::{Job, Shard};
pub(crate) use effects::RoleChange;
use needs::{Place, Whom, needs};
use reports::Reports;

/// Where requests about the server are decided.
pub(crate) const STAFF_SHARD: ShardId = ShardId(0);

const BUSY: &str = "the server is busy: try again in a moment";
const STORE_FAILED: &str = "the server cannot store this now (disk full or store unreachable): try again later";

/// Longest `page` that a list ever gave: a number.
const PAGE_BYTES_MAX: usize = 8;

/// The server itself says nothing of roles and accounts.
static SERVER: Access = Access::server();

/// A refusal: its code and its sentence.
type Refusal = (StatusCode, String);

fn refusal<T>(code: StatusCode, text: &str) -> Result<T, Refusal> {
    Err((code, text.to_owned()))
}

/// What the staff shard remembers.
#[derive(Debug, Default)]
pub(crate) struct Staff {
    reports: Reports,
}

impl Order {
    pub(crate) fn actor(&self) -> Person {
        Person { user: UserId(self.user), role: self.role() }
    }

    fn target(&self) -> Person {
        Person { user: UserId(self.target_user), role: self.target_role() }
    }

    /// Whom `MA_SET_RIGHTS` is about.
    fn holder(&self) -> Holder {
        if self.target_user == 0 { Holder::Role(self.msg.role()) } else { Holder::Account(UserId(self.target_user)) }
    }
}

impl Shard {
    /// A client's request, at its shard.
    pub(crate) fn moderation(&mut self, asker: Asker, id: SessionId, msg: Moderation, effects: &mut Effects) {
        let drafted = match msg.action() {
            // A `RoomAction` asks for these, and is answered otherwise.
            action if is_of_rooms(action) => refusal(StatusCode::StatusBadRequest, "that is asked by a RoomAction"),
            _ => self.draft(asker, id, msg),
        };
        match drafted {
            Ok((order, shard)) => self.tell(shard, Mesh::Order(order)),
            Err((code, text)) => self.refuse(asker, code, &text, effects),
        }
    }

    /// The request as an order, and who decides it.
    pub(crate) fn draft(&self, asker: Asker, id: SessionId, msg: Moderation) -> Result<(Order, ShardId), Refusal> {
        use StatusCode::{StatusBadRequest, StatusNotFound, StatusTooLong};
        let Some(needs) = needs(msg.action()) else {
            return refusal(StatusBadRequest, "a Moderation needs an action that this server knows");
        };
        if msg.reason.len() > REASON_BYTES_MAX {
            return Err((StatusTooLong, format!("a reason has at most {REASON_BYTES_MAX} bytes: shorten it")));
        }
        if msg.reason.chars().any(char::is_control) {
            return refusal(StatusBadRequest, "a reason is one line without control characters");
        }
        // What goes on to another shard is bounded here.
        let long_room = msg.to_room_id.len() > 4 * ROOM_NAME_BYTES_MAX;
        if msg.username.len() > 4 * USERNAME_BYTES_MAX || msg.page.len() > PAGE_BYTES_MAX || long_room {
            return refusal(StatusTooLong, "the username or the page is longer than any there is");
        }
        let session = &self.sessions[&id];
        let mut order = Order {
            asker,
            user: session.user.0,
            username: session.username.clone(),
            role: session.role as i32,
            ..Order::default()
        };
        if msg.action() == Action::MaReport {
            order.remote = session.remote.map(|remote| remote.to_string()).unwrap_or_default();
        }
        if needs.whom == Whom::PersonOrAddress && !msg.address.is_empty() {
            order.network = Some(self.network(&msg.address, session.remote)?);
        }
        let about_a_room = !msg.room_id.is_empty() && needs.place != Place::Server;
        if needs.place == Place::Room && !about_a_room {
            return refusal(StatusBadRequest, "that is done in a room: name it in room_id");
        }
        let mut shard = STAFF_SHARD;
        if about_a_room {
            let key = names::room_name(&msg.room_id).map(|name| name.key).unwrap_or_default();
            let Some(known) = self.directory.get(&key) else {
                return refusal(StatusNotFound, "there is no such room: list the rooms");
            };
            (order.room, shard) = (known.number.0, known.home);
        }
        let (room_id, address) = (crate::requests::shorten(&msg.room_id, SHOWN_CHARS_MAX), String::new());
        order.msg = Moderation { room_id, address, ..msg };
        Ok((order, shard))
    }

    /// Addresses to be banned, unless that would shut the operator or the asker out.
    fn network(&self, typed: &str, own: Option<std::net::IpAddr>) -> Result<Network, Refusal> {
        let network = Network::parse(typed).map_err(|text| (StatusCode::StatusBadRequest, text))?;
        if network.has_loopback() {
            return refusal(StatusCode::StatusBadRequest, "the server's own machine cannot be banned");
        }
        if own.is_some_and(|own| network.contains(own)) {
            return refusal(StatusCode::StatusBadRequest, "you are connected from there: that would ban yourself");
        }
        Ok(network)
    }

    /// What a room says of rights, if it lives here; the server's for 0.
    fn access(&self, room: u64) -> Option<&Access> {
        if room == 0 {
            return Some(&SERVER);
        }
        self.homes.get(&RoomNumber(room)).map(|home| &home.access)
    }

    /// An order, where it is decided.
    pub(crate) fn order(&mut self, now: Now, order: Order, effects: &mut Effects) {
        if self.congested() {
            return self.order_busy(order.asker, effects);
        }
        if order.granted {
            let is_move = order.msg.action() == Action::MaMove;
            return match if is_move { self.may_move_here(now, &order) } else { Ok(()) } {
                Ok(()) => self.store_order(now, order, effects),
                Err((code, text)) => self.refuse(order.asker, code, &text, effects),
            };
        }
        match self.may_order(now, &order) {
            Ok(()) => self.find_target(now, order, effects),
            Err((code, text)) => self.refuse(order.asker, code, &text, effects),
        }
    }

    fn order_busy(&mut self, asker: Asker, effects: &mut Effects) {
        self.counters.busy += 1;
        self.refuse(asker, StatusCode::StatusTryAgain, BUSY, effects);
    }

    /// Whether who asks has the right.
    fn may_order(&mut self, now: Now, order: &Order) -> Result<(), Refusal> {
        let action = order.msg.action();
        let right = needs(action).and_then(|needs| needs.right);
        let Some(access) = self.access(order.room) else {
            return refusal(StatusCode::StatusNotFound, "there is no such room any more");
        };
        let rights = access.rights(order.actor());
        if let Some(right) = right.filter(|right| !rights.has(*right)) {
            return Err((StatusCode::StatusDenied, lacks(right)));
        }
        if order.network.is_some() && !Rights::of_role(order.role()).has(Right::Audit) {
            return refusal(StatusCode::StatusDenied, "only admins ban addresses: ban the account by its username");
        }
        if action == Action::MaReport {
            let reports_max = self.config.limits.reports_max;
            return self.staff.reports.take(now.time, order, reports_max);
        }
        Ok(())
    }

    /// Learns whom it is about: a member by its session, else an account by its name.
    fn find_target(&mut self, now: Now, mut order: Order, effects: &mut Effects) {
        let whom = needs(order.msg.action()).map_or(Whom::Nobody, |needs| needs.whom);
        let named = !order.msg.username.is_empty();
        let optional = order.network.is_some() || whom == Whom::PersonOrRole;
        if whom == Whom::Nobody || (optional && !named) {
            return self.decide(now, order, effects);
        }
        if order.msg.session_id != 0 && order.room != 0 {
            let Some((user, name, role)) = self.member(order.room, SessionId(order.msg.session_id)) else {
                let text = "that session is not in the room: look at its roster";
                return self.refuse(order.asker, StatusCode::StatusNotFound, text, effects);
            };
            (order.target_user, order.target_name, order.target_role) = (user.0, name, role as i32);
            return self.decide(now, order, effects);
        }
        let key = names::username(&order.msg.username).map(|name| name.key);
        match key {
            Ok(key) => {
                let asker = order.asker;
                if !self.ask_store(Job::Target(Box::new(order)), StoreJob::FindAccount { key }, effects) {
                    self.order_busy(asker, effects);
                }
            }
            Err(_) => {
                let text = "say whom you mean: a username, or in a room a session_id of its roster";
                self.refuse(order.asker, StatusCode::StatusBadRequest, text, effects);
            }
        }
    }

    pub(crate) fn target_found(&mut self, now: Now, mut order: Order, outcome: StoreOutcome, effects: &mut Effects) {
        match outcome {
            StoreOutcome::Account { user, name, role, .. } => {
                (order.target_user, order.target_name, order.target_role) = (user.0, name, role as i32);
                self.decide(now, order, effects);
            }
            StoreOutcome::NotFound if self.means_guest(&order) => {
                let name = names::username(&order.msg.username).unwrap_or_default();
                order.target_user = guest_id(&name.key).0;
                (order.target_name, order.target_role) = (name.shown, Role::Guest as i32);
                self.decide(now, order, effects);
            }
            StoreOutcome::NotFound => {
                self.refuse(order.asker, StatusCode::StatusNotFound, "there is no account of that name", effects);
            }
            _ => self.refuse(order.asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
        }
    }

    /// Whether a name that is no account's may be a guest's.
    fn means_guest(&self, order: &Order) -> bool {
        self.config.guests && matches!(order.msg.action(), Action::MaKick | Action::MaBan)
    }

    /// The right is there and the target known: the ranks decide.
    fn decide(&mut self, now: Now, mut order: Order, effects: &mut Effects) {
        match order.msg.action() {
            Action::MaListBans => return self.list_bans(now, &order, effects),
            Action::MaListRights => return self.list_rights(&order, effects),
            Action::MaListAudit => return self.list_audit(&order, effects),
            _ => {}
        }
        if let Err((code, text)) = self.outranks(&order) {
            return self.refuse(order.asker, code, &text, effects);
        }
        match order.msg.action() {
            Action::MaMove => return self.pass_move_on(order, effects),
            Action::MaSetRoom | Action::MaDeleteRoom => return self.begin_change(now, order, effects),
            _ => {}
        }
        let is_ban = matches!(order.msg.action(), Action::MaBan | Action::MaUnban);
        if is_ban && self.config.shard != STAFF_SHARD {
            order.granted = true;
            return self.tell(STAFF_SHARD, Mesh::Order(order));
        }
        self.store_order(now, order, effects);
    }

    fn outranks(&self, order: &Order) -> Result<(), Refusal> {
        use StatusCode::{StatusBadRequest, StatusDenied, StatusNotFound};
        let Some(access) = self.access(order.room) else {
            return refusal(StatusNotFound, "there is no such room any more");
        };
        let (actor, target) = (order.actor(), order.target());
        let action = order.msg.action();
        let is_harmless = matches!(action, Action::MaReport | Action::MaInvite);
        if order.target_user != 0 && !is_harmless && !access.may_act_on(actor, target) {
            let (name, role) = (&order.target_name, role_name(target.role));
            let text = format!("{name} is {role} here and you do not stand above that: ask someone of a higher role");
            return Err((StatusDenied, text));
        }
        match action {
            _ if is_of_rooms(action) => self.may_change_room(order)?,
            Action::MaKick | Action::MaMove
                if order.room != 0 && !self.is_in_room(RoomNumber(order.room), target.user) =>
            {
                return refusal(StatusNotFound, "nobody of that name is in the room: look at its roster");
            }
            Action::MaSetRole => {
                if order.msg.role() >= actor.role {
                    return refusal(StatusDenied, "you may give roles below your own only");
                }
                if actor.user == target.user {
                    return refusal(StatusDenied, "you cannot give yourself another role");
                }
            }
            Action::MaSetRights => {
                let (allow, deny) = (Rights(order.msg.allow), Rights(order.msg.deny));
                if !ROOM_RIGHTS.has_all(Rights(allow.0 | deny.0)) {
                    return refusal(StatusBadRequest, "a room gives and takes RIGHT_ENTER to RIGHT_MANAGE only");
                }
                if !access.rights(actor).has_all(allow) {
                    return refusal(StatusDenied, "you may give rights only that you have here yourself");
                }
                let role = order.msg.role();
                let too_high = actor.role < Role::Admin && role_rank(role) >= access.rank(actor);
                if order.target_user == 0 && (role >= Role::Admin || too_high) {
                    return refusal(
                        StatusDenied,
                        "rights may be changed of roles below your own only, and not of admins",
                    );
                }
            }
            Action::MaUnban => match self.bans.get(order.msg.ban_id) {
                Some(ban) if ban.room != order.room => {
                    return refusal(
                        StatusNotFound,
                        "that ban is not of this place: list the bans of the room or server",
                    );
                }
                Some(ban) if access.rank(actor) < role_rank(ban.by_role()) => {
                    return refusal(StatusDenied, "a ban is lifted by someone of the role that made it, or a higher");
                }
                Some(_) => {}
                None => return refusal(StatusNotFound, "there is no such ban: list them"),
            },
            _ => {}
        }
        let is_new = action == Action::MaBan && self.bans.len() >= self.config.limits.bans_max as usize;
        if is_new {
            return refusal(StatusCode::StatusLimit, "the server has as many bans as it may have: lift old ones first");
        }
        Ok(())
    }

    /// Everything speaks for it: the store takes the act and its entry in the log.
    pub(crate) fn store_order(&mut self, now: Now, order: Order, effects: &mut Effects) {
        let room = RoomNumber(order.room);
        let holder = order.holder();
        let changes_room = matches!(order.msg.action(), Action::MaSetRoom | Action::MaDeleteRoom);
        if let Err((code, text)) = self.has_room_for_standing(&order, holder) {
            return self.refuse(order.asker, code, &text, effects);
        }
        let user = UserId(order.target_user);
        let restrain = |muted, deafened| Act::Restrain { room, user, muted, deafened };
        let act = match order.msg.action() {
            Action::MaMute => restrain(Some(true), None),
            Action::MaUnmute => restrain(Some(false), None),
            Action::MaDeafen => restrain(None, Some(true)),
            Action::MaUndeafen => restrain(None, Some(false)),
            Action::MaBan => Act::Ban(new_ban(now, &order)),
            Action::MaUnban => Act::Unban { ban: order.msg.ban_id },
            Action::MaSetRole => Act::SetRole { user, role: order.msg.role() },
            Action::MaSetRights => {
                Act::SetRights { room, holder, allow: Rights(order.msg.allow), deny: Rights(order.msg.deny) }
            }
            action if is_of_rooms(action) => self.room_act(&order),
            _ => Act::Note,
        };
        let entry = self.entry(now, &order);
        let store = StoreJob::Moderate(Box::new(LoggedAct {
            act: act.clone(),
            actor: UserId(order.user),
            target: user,
            entry,
        }));
        let (asker, room) = (order.asker, order.room);
        if !self.ask_store(Job::Order(Box::new((order, act))), store, effects) {
            if changes_room {
                self.end_change(room);
            }
            self.order_busy(asker, effects);
        }
    }

    /// Whether one more entry about an account, if it takes one, stays below the room's bound. Who invites and does not
    /// manage the room has three quarters of it: the rest is for those who moderate.
    fn has_room_for_standing(&self, order: &Order, holder: Holder) -> Result<(), Refusal> {
        let action = order.msg.action();
        if !needs(action).is_some_and(|needs| needs.is_standing) {
            return Ok(());
        }
        let Some(access) = self.access(order.room) else {
            return refusal(StatusCode::StatusNotFound, "there is no such room any more");
        };
        let most = self.config.limits.room_standings_max;
        if !access.has_room(holder, most) {
            let text = "the room has as many entries about accounts as it may have: take old ones back first";
            return refusal(StatusCode::StatusLimit, text);
        }
        let manages = access.rights(order.actor()).has(Right::Manage);
        if action == Action::MaInvite && !manages && !access.has_room(holder, most - most / 4) {
            let text = "the room has as many invitations as its members may give: ask someone who manages it";
            return refusal(StatusCode::StatusLimit, text);
        }
        Ok(())
    }

    /// The log's entry.
    fn entry(&self, now: Now, order: &Order) -> AuditEntry {
        let msg = &order.msg;
        let action = msg.action();
        let lifted = self.bans.get(msg.ban_id).filter(|_| action == Action::MaUnban);
        let role = || format!("role {}", role_name(msg.role()));
        let target = match (order.network, lifted) {
            (_, Some(ban)) => ban.network.map_or_else(|| ban.username.clone(), |network| network.to_string()),
            (Some(network), None) if order.target_user == 0 => network.to_string(),
            _ if order.target_user == 0 && action == Action::MaSetRights => role(),
            _ => order.target_name.clone(),
        };
        let detail = match action {
            Action::MaBan if msg.seconds != 0 => format!("for {} s", msg.seconds),
            Action::MaBan => "until it is lifted".to_owned(),
            Action::MaUnban => format!("ban {}", msg.ban_id),
            Action::MaSetRole => format!("{} to {}", role_name(order.target_role()), role_name(msg.role())),
            Action::MaSetRights => format!("allow {:#x}, deny {:#x}", msg.allow, msg.deny),
            Action::MaMove => format!("to {}", msg.to_room_id),
            Action::MaSetRoom => Self::room_detail(order),
            _ => String::new(),
        };
        let room_id = if order.room == 0 { msg.room_id.clone() } else { self.room_name(RoomNumber(order.room)) };
        AuditEntry {
            entry_id: 0,
            time_ms: now.unix_ms,
            action: msg.action,
            by: order.username.clone(),
            target,
            room_id,
            detail,
            reason: msg.reason.clone(),
        }
    }

    pub(crate) fn order_stored(
        &mut self,
        now: Now,
        (order, act): (Order, Act),
        outcome: &StoreOutcome,
        effects: &mut Effects,
    ) {
        let changes_room = matches!(act, Act::SetRoom { .. } | Act::DeleteRoom { .. });
        if changes_room && !matches!(outcome, StoreOutcome::Moderated { .. }) {
            self.end_change(order.room);
        }
        let id = match outcome {
            StoreOutcome::Moderated { id } => *id,
            StoreOutcome::NotFound => {
                let text = "what that was about is gone: list it again";
                return self.refuse(order.asker, StatusCode::StatusNotFound, text, effects);
            }
            _ => return self.refuse(order.asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
        };
        let mut state = ModerationState { action: order.msg.action, message: "done".to_owned(), ..Default::default() };
        match act {
            Act::Ban(ban) => {
                state.ban_id = id;
                self.tell_all(&Mesh::Banned(Ban { id, ..ban }));
            }
            Act::Unban { ban } => self.tell_all(&Mesh::Unbanned(ban)),
            Act::SetRole { user, role } => self.tell_role(user, role),
            // `chat::change` stores that itself.
            Act::DeleteLine { .. } => {}
            Act::Restrain { room, user, muted, deafened } => self.restrain(room, user, muted, deafened),
            Act::SetRights { room, holder, allow, deny } => self.set_rights(room, holder, allow, deny),
            Act::Note if order.msg.action() == Action::MaReport => {
                let entry = AuditEntry { entry_id: id, ..self.entry(now, &order) };
                self.tell_all(&Mesh::Reported(ModerationState { audit: vec![entry], ..state.clone() }));
            }
            Act::Note if order.msg.action() == Action::MaMove => self.relocate_all(&order),
            Act::Note => self.kick(&order),
            act @ (Act::Invite { .. } | Act::SetRoom { .. } | Act::DeleteRoom { .. }) => {
                let body = self.room_changed(now, &order, act);
                let msg = echomesh_proto::control::EchoMsg::new(0, body);
                return self.tell(order.asker.shard(), Mesh::Answer(crate::mesh::Answer { asker: order.asker, msg }));
            }
        }
        // Through the mesh even to ourselves: what was told to the asker's shard comes first.
        let msg = echomesh_proto::control::EchoMsg::new(0, Body::ModerationState(state));
        self.tell(order.asker.shard(), Mesh::Answer(crate::mesh::Answer { asker: order.asker, msg }));
    }

    /// To every shard, this one included.
    pub(crate) fn tell_all(&mut self, mesh: &Mesh) {
        for shard in 0..self.config.shards {
            self.tell(ShardId(shard), mesh.clone());
        }
    }

    /// A reply of the store to an order or a list.
    pub(crate) fn moderation_stored(&mut self, now: Now, job: Job, outcome: StoreOutcome, effects: &mut Effects) {
        match job {
            Job::Target(order) => self.target_found(now, *order, outcome, effects),
            Job::Order(order) => self.order_stored(now, *order, &outcome, effects),
            Job::Audit(asker) => self.audit_read(asker, outcome, effects),
            _ => self.counters.drop(Drop::StaleAnswer),
        }
    }
}

fn new_ban(now: Now, order: &Order) -> Ban {
    let lasts_ms = order.msg.seconds.saturating_mul(1_000);
    let by_account = order.target_user != 0;
    Ban {
        id: 0,
        room: order.room,
        user: order.target_user,
        username: order.target_name.clone(),
        network: order.network.filter(|_| !by_account),
        reason: order.msg.reason.clone(),
        by: order.username.clone(),
        by_role: order.role,
        time_ms: now.unix_ms,
        expires_ms: if lasts_ms == 0 { 0 } else { now.unix_ms.saturating_add(lasts_ms) },
    }
}

/// What to do about a right that is lacking.
pub(crate) fn lacks(right: Right) -> String {
    let found = TABLE.iter().find(|(listed, ..)| *listed == right);
    let (role, what) = found.map_or((Role::Owner, "do that"), |(_, role, what)| (*role, *what));
    if role == Role::Guest {
        return format!("you may not {what} here: the room took that right from you, so ask someone who manages it");
    }
    let role = role_name(role);
    if !ROOM_RIGHTS.has(right) {
        return format!("you may not {what}: that takes the role {role}");
    }
    format!("you may not {what} here: that takes the role {role}, or a right given to you in the room")
}
