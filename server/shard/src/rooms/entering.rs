//! Who is let into a room, at its home: rights, invitations, its capacity, its password.
//!
//! Not bans, which the asker's shard checks first. In: `Ask::Join`. Out: `Placed`, or a refusal.
//! Bounds: the room's capacity. A password costs a hash; a wrong one counts as one of a login does.

use echomesh_proto::control::{EchoMsg, StatusCode};
use echomesh_proto::ids::{RoomNumber, SessionId, ShardId, UserId};

use super::{Join, Refusal, Relocation, Secret, refusal};
use crate::connection::status;
use crate::counters::Drop;
use crate::effect::{Effect, Effects};
use crate::home::standing::imposed;
use crate::home::{HomeMember, MemberVoice};
use crate::jobs::{HashOutcome, HashRequest};
use crate::mesh::{Answer, MemberFlags, Mesh, RoomSession, ToHome};
use crate::mistakes::{Mistake, planted};
use crate::moderation::lacks;
use crate::rights::{Person, Right};
use crate::{Job, Shard};

const NOT_THERE: &str = "there is no such room: list the rooms, or create it";

/// A join whose password is being looked at.
#[derive(Debug)]
pub(crate) struct PendingJoin {
    source: ShardId,
    join: Join,
    request: ToHome,
    /// The hash it is compared with.
    hash: String,
}

/// What stands between someone and a room.
enum Gate {
    Open,
    Password(String),
}

impl Shard {
    pub(crate) fn join_room(
        &mut self,
        source: ShardId,
        join: &Join,
        request: &ToHome,
        verified: Option<&str>,
        effects: &mut Effects,
    ) {
        let (asker, id) = (request.asker, SessionId(request.session));
        let Some(number) = self.directory.get(&join.key).map(|known| known.number) else {
            return self.refuse(asker, StatusCode::StatusNotFound, NOT_THERE, effects);
        };
        let Some(home) = self.homes.get(&number) else {
            return self.refuse(asker, StatusCode::StatusNotFound, NOT_THERE, effects);
        };
        let person = Person { user: UserId(request.user), role: request.role() };
        let moves = home.members.get(&id).map(|member| member.moves);
        // Who is in stays in, and is told of the room anew, though only a manager could bring it there.
        let is_let_in = moves.is_some() || join.relocation.is_some() || home.access.rights(person).has(Right::Enter);
        if !is_let_in {
            return self.refuse(asker, StatusCode::StatusDenied, &lacks(Right::Enter), effects);
        }
        // The note of its moving may still be on its way.
        if moves.is_some_and(|moves| moves < request.moves) {
            self.member_moved(source, number, id, request.moves);
        } else if moves.is_none() {
            match self.gate(number, person, join) {
                Ok(Gate::Password(hash)) if verified != Some(&hash) => {
                    return self.ask_password(source, join, request, hash, effects);
                }
                Ok(_) => {}
                Err((code, text)) => return self.refuse(asker, code, &text, effects),
            }
            if self.feeds_congested(number) || self.is_congested(source) {
                return self.home_busy(asker, effects);
            }
            self.admit(source, number, request, person);
        }
        let relocation = join.relocation.clone();
        let note = RoomSession { asker, moves: request.moves, session: id.0, relocation, ..RoomSession::default() };
        self.tell_placed(source, number, note);
    }

    /// What holds for someone who is not in the room yet.
    fn gate(&self, number: RoomNumber, person: Person, join: &Join) -> Result<Gate, Refusal> {
        let Some(home) = self.homes.get(&number) else { return refusal(StatusCode::StatusNotFound, NOT_THERE) };
        let members_max = self.config.limits.room_members_max;
        let capacity = home.properties.capacity;
        let most = if capacity == 0 { members_max } else { capacity.min(members_max) };
        if home.members.len() >= most as usize && !planted(Mistake::IgnoreCapacity) {
            return Err((StatusCode::StatusRoomFull, format!("the room is full: it takes {most} members")));
        }
        if join.relocation.is_some() || home.access.is_invited(person) {
            return Ok(Gate::Open);
        }
        if home.properties.invite_only {
            let text = "the room is for those who are invited: ask someone in it";
            return refusal(StatusCode::StatusDenied, text);
        }
        if home.properties.password_hash.is_empty() {
            return Ok(Gate::Open);
        }
        Ok(Gate::Password(home.properties.password_hash.clone()))
    }

    /// Whether someone may enter without being asked for a password.
    pub(super) fn may_be_moved_to(&self, number: RoomNumber, person: Person) -> Result<(), Refusal> {
        let Some(home) = self.homes.get(&number) else { return refusal(StatusCode::StatusNotFound, NOT_THERE) };
        if !home.access.rights(person).has(Right::Enter) {
            return refusal(StatusCode::StatusDenied, "whom you mean may not enter that room: its managers may say so");
        }
        match self.gate(number, person, &Join::default())? {
            Gate::Open => Ok(()),
            Gate::Password(_) => {
                refusal(StatusCode::StatusDenied, "that room has a password: only who manages it moves others there")
            }
        }
    }

    /// Whether there is a place, for someone who is moved by a manager.
    pub(super) fn has_place(&self, number: RoomNumber, person: Person) -> Result<(), Refusal> {
        let moved = Join { relocation: Some(Relocation::default()), ..Join::default() };
        self.gate(number, person, &moved).map(|_| ())
    }

    fn admit(&mut self, source: ShardId, number: RoomNumber, request: &ToHome, person: Person) {
        let id = SessionId(request.session);
        let Some(home) = self.homes.get_mut(&number) else { return };
        let member = HomeMember {
            user: request.user,
            username: request.username.clone(),
            shard: source,
            moves: request.moves,
            role: person.role,
            flags: imposed(&home.access, person, MemberFlags::default()),
            voice: MemberVoice::None,
            roc: 0,
        };
        home.names.note(&request.username, person.user, home.members.values().map(|member| member.user));
        home.members.insert(id, member);
        self.counts_changed.insert(number);
        self.member_changed(number, id, Some(source));
        self.interest(number, source, 1);
    }

    /// Has a password compared; then the join is tried again, for much may have changed meanwhile.
    fn ask_password(&mut self, source: ShardId, join: &Join, request: &ToHome, hash: String, effects: &mut Effects) {
        let asker = request.asker;
        let Some(secret) = join.secret.clone() else {
            let text = "the room has a password: join it with that";
            return self.refuse(asker, StatusCode::StatusBadCredentials, text, effects);
        };
        let pending = PendingJoin { source, join: join.clone(), request: request.clone(), hash: hash.clone() };
        if !self.ask_hash(Job::RoomPassword(Box::new(pending)), &secret, Some(hash), effects) {
            self.home_busy(asker, effects);
        }
    }

    pub(crate) fn room_password_hashed(&mut self, pending: PendingJoin, outcome: HashOutcome, effects: &mut Effects) {
        let PendingJoin { source, join, request, hash } = pending;
        let asker = request.asker;
        match outcome {
            // Right, though hashed at another cost than is wanted now.
            HashOutcome::Verified(true) | HashOutcome::Outdated => {
                self.join_room(source, &join, &request, Some(&hash), effects);
            }
            HashOutcome::Verified(false) => {
                let text = "that is not the room's password: check it and try again";
                let msg = EchoMsg::new(0, status(StatusCode::StatusBadCredentials, text));
                self.tell(asker.shard(), Mesh::Guessed(Answer { asker, msg }));
            }
            _ => self.home_busy(asker, effects),
        }
    }

    /// The asker's shard: a refusal for a wrong password, which is one of a few.
    pub(crate) fn guessed(&mut self, answer: Answer, effects: &mut Effects) {
        match answer.msg.body {
            Some(body) => self.answer(answer.asker, body, effects),
            None => return self.counters.drop(Drop::MeshBadRecord),
        }
        let now = self.now;
        self.count_guess_here(now, answer.asker.connection(), effects);
    }

    /// Sends a password to the hashers, if they have room for one more.
    pub(crate) fn ask_hash(
        &mut self,
        job: Job,
        secret: &Secret,
        verify: Option<String>,
        effects: &mut Effects,
    ) -> bool {
        let Ok(remote) = secret.remote.parse() else { return false };
        if self.jobs.hashing() >= self.config.limits.hash_requests_max {
            return false;
        }
        let token = self.jobs.insert(job);
        self.guess_is_hashed(token, remote, 0);
        let password = secret.password.clone();
        effects.list.push(Effect::Hash(HashRequest { token, remote, password, verify }));
        true
    }
}
