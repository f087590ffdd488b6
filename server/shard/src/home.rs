//! A room's home shard: it owns membership, the order of chat, and the placement of voice streams.
//!
//! Not what members are sent: shards with members or streams keep a replica and tell their own
//! connections. In: `ToHome` requests from any shard. Out: deltas by sequence, lines, answers.
//! Bounds: `room_members_max` members; new work is refused while a ring it would feed is congested.

mod chat;
mod standing;

use std::collections::BTreeMap;

use echomesh_proto::control::{Body, ChatActionType, EchoMsg, RoomActionType, RoomMessage, RoomState, StatusCode};
use echomesh_proto::ids::{RoomNumber, SessionId, ShardId, Ssrc, UserId};
use echomesh_proto::time::Now;

use crate::chat::content::Names;
use crate::connection::status;
use crate::counters::Drop;
use crate::effect::Effects;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::mesh::{
    Answer, Ask, Asker, DELTA_MEMBERS_MAX, MemberFlags, MemberView, Mesh, NewRoom, Removal, ReplicaDelta, RoomSession,
    StreamAt, ToHome,
};
use crate::moderation::lacks;
use crate::rights::{Access, Person, Right, Rights, Role};
use crate::voice::Speakers;
use crate::{Job, KnownRoom, Shard};

const CONGESTED: &str = "the server is busy: try again in a moment";
const STORE_FAILED: &str = "the server cannot store this now (disk full or store unreachable): try again later";

/// Where a member's voice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MemberVoice {
    None,
    Opening(ShardId),
    Open(Ssrc),
}

impl MemberVoice {
    fn shard(self) -> Option<ShardId> {
        match self {
            MemberVoice::None => None,
            MemberVoice::Opening(shard) => Some(shard),
            MemberVoice::Open(ssrc) => Some(ssrc.shard()),
        }
    }
}

#[derive(Debug)]
struct HomeMember {
    user: u64,
    username: String,
    role: Role,
    /// Where its session lives, after so many moves.
    shard: ShardId,
    moves: u32,
    flags: MemberFlags,
    voice: MemberVoice,
    /// Rollover counter of its stream's output.
    roc: u32,
}

/// A room at its home.
#[derive(Debug)]
pub(crate) struct HomeRoom {
    name: String,
    capacity: u32,
    sequence: u64,
    message_sequence: u64,
    /// Number of the newest line.
    pub(crate) newest_line: u64,
    /// Whom lines may mention.
    pub(crate) names: Names,
    members: BTreeMap<SessionId, HomeMember>,
    /// Members that left while their stream was being opened, and where: closed when it is.
    closing: BTreeMap<SessionId, ShardId>,
    /// For each shard: members' sessions and streams there. A replica is kept where it is not 0.
    interest: Vec<u32>,
    pub(crate) speakers: Speakers,
    /// What it says of roles and accounts.
    pub(crate) access: Access,
}

impl HomeRoom {
    pub(crate) fn new(name: String, capacity: u32, shards: u8, access: Access) -> Self {
        let interest = vec![0; shards as usize];
        let (members, closing) = (BTreeMap::new(), BTreeMap::new());
        let speakers = Speakers::default();
        let names = Names::default();
        Self {
            name,
            capacity,
            sequence: 0,
            message_sequence: 0,
            newest_line: 0,
            names,
            members,
            closing,
            interest,
            speakers,
            access,
        }
    }

    /// Open streams.
    pub(crate) fn streams(&self) -> usize {
        self.members.values().filter(|member| matches!(member.voice, MemberVoice::Open(_))).count()
    }

    fn view(&self, id: SessionId) -> Option<MemberView> {
        let member = self.members.get(&id)?;
        Some(MemberView {
            session: id.0,
            user: member.user,
            username: member.username.clone(),
            flags: member.flags,
            ssrc: if let MemberVoice::Open(ssrc) = member.voice { ssrc.0 } else { 0 },
            gone: false,
            roc: member.roc,
            role: member.role as i32,
        })
    }

    fn interested(&self) -> impl Iterator<Item = ShardId> {
        self.interest.iter().enumerate().filter(|(_, count)| **count > 0).map(|(shard, _)| ShardId(shard as u8))
    }
}

impl Shard {
    /// A request from `source` for a room that lives here.
    pub(crate) fn at_home(&mut self, now: Now, source: ShardId, request: ToHome, effects: &mut Effects) {
        let asker = request.asker;
        let room = RoomNumber(request.room);
        let session = SessionId(request.session);
        match request.ask {
            Some(Ask::Create(ref new)) => self.create_room(now, &request, new, effects),
            Some(Ask::Join(ref key)) => self.join_room(source, key, &request, effects),
            Some(Ask::Leave(asked)) => {
                self.leave_room(source, room, session, request.moves, None);
                if asked {
                    let state = RoomState { action_type: RoomActionType::RaLeave as i32, ..RoomState::default() };
                    // Through the mesh even to ourselves: nothing of the room comes after this answer.
                    self.tell(
                        asker.shard(),
                        Mesh::Answer(Answer { asker, msg: EchoMsg::new(0, Body::RoomState(state)) }),
                    );
                }
            }
            Some(Ask::Moved(_)) => self.member_moved(source, room, session, request.moves),
            Some(Ask::Role(_)) => self.member_role(room, session, request.moves, request.role()),
            Some(Ask::Remove(ref removal)) => self.remove_by_shard(room, session, request.moves, removal),
            Some(Ask::StreamAt(at)) => self.stream_at(source, room, session, at),
            Some(ask) => self.member_asks(now, asker, room, session, ask, effects),
            None => self.counters.drop(Drop::MeshBadRecord),
        }
    }

    /// Requests that only a member may make.
    fn member_asks(
        &mut self,
        now: Now,
        asker: Asker,
        room: RoomNumber,
        id: SessionId,
        ask: Ask,
        effects: &mut Effects,
    ) {
        let congested = self.feeds_congested(room);
        let Some((home, user)) = self.homes.get(&room).and_then(|home| Some((home, home.members.get(&id)?.user)))
        else {
            return self.refuse(asker, StatusCode::StatusNotInRoom, "you are not in that room any more", effects);
        };
        if congested {
            self.counters.busy += 1;
            return self.refuse(asker, StatusCode::StatusTryAgain, CONGESTED, effects);
        }
        let writes = match &ask {
            Ask::Chat(_) | Ask::Message(_) => true,
            Ask::Change(action) => action.action() == ChatActionType::CaEdit,
            _ => false,
        };
        if writes && !home.may(id, Right::Write) {
            return self.refuse(asker, StatusCode::StatusDenied, &lacks(Right::Write), effects);
        }
        match ask {
            Ask::Chat(chat) => self.append_line(now, asker, room, id, chat, effects),
            Ask::Change(action) => self.change_in_room(asker, room, id, action, effects),
            Ask::Message(message) => {
                self.pass_message(asker, room, id, RoomMessage { user_id: user, ..message }, effects)
            }
            Ask::Set(flags) => {
                self.set_flags(room, id, flags);
                self.answer(asker, status(StatusCode::StatusOk, "done"), effects);
            }
            Ask::OpenVoice(flags) => {
                self.set_flags(room, id, flags);
                self.open_voice(asker, room, id);
            }
            Ask::Create(_)
            | Ask::Join(_)
            | Ask::Leave(_)
            | Ask::Moved(_)
            | Ask::StreamAt(_)
            | Ask::Role(_)
            | Ask::Remove(_) => {
                self.counters.drop(Drop::MeshBadRecord);
            }
        }
    }

    fn feeds_congested(&self, room: RoomNumber) -> bool {
        let Some(home) = self.homes.get(&room) else { return false };
        home.interested().any(|shard| self.is_congested(shard))
    }

    fn create_room(&mut self, now: Now, request: &ToHome, new: &NewRoom, effects: &mut Effects) {
        let asker = request.asker;
        if !Rights::of_role(request.role()).has(Right::CreateRoom) {
            return self.refuse(asker, StatusCode::StatusDenied, &lacks(Right::CreateRoom), effects);
        }
        if self.directory.contains_key(&new.key) {
            return self.room_exists(asker, &new.name, effects);
        }
        if self.directory.len() >= self.config.limits.rooms_max as usize {
            let text = "the server has as many rooms as it may have: use one that is there";
            return self.refuse(asker, StatusCode::StatusLimit, text, effects);
        }
        let store = StoreJob::CreateRoom {
            key: new.key.clone(),
            name: new.name.clone(),
            capacity: new.capacity,
            creator: UserId(request.user),
            time_ms: now.unix_ms,
        };
        let job = Job::CreateRoom(asker, Box::new(NewRoom { creator: request.user, ..new.clone() }));
        if self.congested() || !self.ask_store(job, store, effects) {
            self.counters.busy += 1;
            self.refuse(asker, StatusCode::StatusTryAgain, CONGESTED, effects);
        }
    }

    fn room_exists(&mut self, asker: Asker, name: &str, effects: &mut Effects) {
        let text = format!("a room named {name:?} is there already: join it, or choose another name");
        self.refuse(asker, StatusCode::StatusExists, &text, effects);
    }

    pub(crate) fn room_stored(
        &mut self,
        asker: Asker,
        mut new: NewRoom,
        outcome: &StoreOutcome,
        effects: &mut Effects,
    ) {
        match outcome {
            StoreOutcome::RoomCreated { room } => {
                new.number = room.0;
                let access = Access::new(UserId(new.creator), []);
                let home = HomeRoom::new(new.name.clone(), new.capacity, self.config.shards, access);
                self.homes.insert(*room, home);
                for shard in 0..self.config.shards {
                    self.tell(ShardId(shard), Mesh::RoomKnown(new.clone()));
                }
                let state = RoomState {
                    action_type: RoomActionType::RaCreate as i32,
                    room_id: new.name,
                    room_number: room.0,
                    ..RoomState::default()
                };
                // Through the mesh even to ourselves, so that the asker's shard knows the room first.
                self.tell(asker.shard(), Mesh::Answer(Answer { asker, msg: EchoMsg::new(0, Body::RoomState(state)) }));
            }
            StoreOutcome::Exists => self.room_exists(asker, &new.name, effects),
            _ => self.refuse(asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
        }
    }

    pub(crate) fn room_known(&mut self, source: ShardId, new: NewRoom) {
        let known = KnownRoom { number: RoomNumber(new.number), name: new.name, capacity: new.capacity, home: source };
        self.room_keys.insert(known.number, new.key.clone());
        self.directory.insert(new.key, known);
    }

    fn join_room(&mut self, source: ShardId, key: &str, request: &ToHome, effects: &mut Effects) {
        let (asker, id) = (request.asker, SessionId(request.session));
        let Some(number) = self.directory.get(key).map(|known| known.number) else {
            let text = "there is no such room: list the rooms, or create it";
            return self.refuse(asker, StatusCode::StatusNotFound, text, effects);
        };
        let members_max = self.config.limits.room_members_max;
        let congested = self.feeds_congested(number) || self.is_congested(source);
        let Some(home) = self.homes.get_mut(&number) else {
            return self.counters.drop(Drop::MeshBadRecord);
        };
        let person = Person { user: UserId(request.user), role: request.role() };
        if !home.access.rights(person).has(Right::Enter) {
            return self.refuse(asker, StatusCode::StatusDenied, &lacks(Right::Enter), effects);
        }
        // The note of its moving may still be on its way.
        let moved = home.members.get(&id).is_some_and(|member| member.moves < request.moves);
        if moved {
            self.member_moved(source, number, id, request.moves);
        } else if !home.members.contains_key(&id) {
            let most = if home.capacity == 0 { members_max } else { home.capacity.min(members_max) };
            if home.members.len() >= most as usize {
                let text = format!("the room is full: it takes {most} members");
                return self.refuse(asker, StatusCode::StatusRoomFull, &text, effects);
            }
            if congested {
                self.counters.busy += 1;
                return self.refuse(asker, StatusCode::StatusTryAgain, CONGESTED, effects);
            }
            home.names.note(&request.username, person.user, home.members.values().map(|member| member.user));
            home.members.insert(
                id,
                HomeMember {
                    user: request.user,
                    username: request.username.clone(),
                    shard: source,
                    moves: request.moves,
                    role: person.role,
                    flags: standing::imposed(&home.access, person, MemberFlags::default()),
                    voice: MemberVoice::None,
                    roc: 0,
                },
            );
            self.member_changed(number, id, Some(source));
            self.interest(number, source, 1);
        }
        self.tell_placed(
            source,
            number,
            RoomSession { asker, moves: request.moves, session: id.0, ..RoomSession::default() },
        );
    }

    /// `removal`: it was put out, and is told so.
    fn leave_room(&mut self, source: ShardId, number: RoomNumber, id: SessionId, moves: u32, removal: Option<Removal>) {
        let Some(home) = self.homes.get_mut(&number) else { return self.counters.drop(Drop::StaleSession) };
        // A session that moved is not taken out by its old shard.
        let here = home.members.get(&id).is_some_and(|member| member.moves == moves);
        let Some(member) = here.then(|| home.members.remove(&id)).flatten() else {
            return self.counters.drop(Drop::StaleSession);
        };
        home.sequence += 1;
        if let MemberVoice::Opening(shard) = member.voice {
            home.closing.insert(id, shard);
        }
        let view = MemberView {
            session: id.0,
            user: member.user,
            username: member.username,
            gone: true,
            ..MemberView::default()
        };
        let delta = ReplicaDelta { room: number.0, sequence: home.sequence, members: vec![view], reset: false };
        // First, so that it is not told of its own leaving.
        let note = RoomSession { room: number.0, session: id.0, removal, ..RoomSession::default() };
        self.tell(source, Mesh::Displaced(note));
        self.broadcast(number, None, &Mesh::Replica(delta));
        self.interest(number, source, -1);
        if let MemberVoice::Open(ssrc) = member.voice {
            if let Some(home) = self.homes.get_mut(&number) {
                home.speakers.forget(ssrc);
            }
            self.count_speakers(number);
            self.tell(
                ssrc.shard(),
                Mesh::CloseStream(RoomSession { room: number.0, ssrc: ssrc.0, ..RoomSession::default() }),
            );
            self.interest(number, ssrc.shard(), -1);
        }
    }

    fn member_moved(&mut self, source: ShardId, number: RoomNumber, id: SessionId, moves: u32) {
        let member = self.homes.get_mut(&number).and_then(|home| home.members.get_mut(&id));
        let note = RoomSession { room: number.0, session: id.0, moves, ..RoomSession::default() };
        let Some(member) = member else { return self.tell(source, Mesh::Displaced(note)) };
        if moves <= member.moves {
            return self.counters.drop(Drop::StaleSession);
        }
        member.moves = moves;
        let old = std::mem::replace(&mut member.shard, source);
        self.interest(number, source, 1);
        self.interest(number, old, -1);
        self.tell_placed(source, number, note);
    }

    /// Tells the session's shard that it is in, and as what.
    fn tell_placed(&mut self, shard: ShardId, number: RoomNumber, note: RoomSession) {
        let member = self.homes.get(&number).and_then(|home| home.members.get(&SessionId(note.session)));
        let role = member.map_or(0, |member| member.role as i32);
        let newest_line = self.homes.get(&number).map_or(0, |home| home.newest_line);
        self.tell(shard, Mesh::Placed(RoomSession { room: number.0, role, newest_line, ..note }));
    }

    fn set_flags(&mut self, number: RoomNumber, id: SessionId, flags: MemberFlags) {
        let member = self.homes.get_mut(&number).and_then(|home| home.members.get_mut(&id));
        let Some(member) = member else { return };
        let MemberFlags { server_muted, server_deafened, .. } = member.flags;
        let flags = MemberFlags { server_muted, server_deafened, ..flags };
        if member.flags != flags {
            member.flags = flags;
            self.member_changed(number, id, None);
        }
    }

    /// Places the member's stream: on this shard, or past `spread_after` streams on the emptiest of as
    /// many further shards as the room needs.
    fn open_voice(&mut self, asker: Asker, number: RoomNumber, id: SessionId) {
        let shards = usize::from(self.config.shards);
        let (own, spread_after) = (self.config.shard.index(), self.config.spread_after.max(1) as usize);
        let Some(home) = self.homes.get_mut(&number) else { return };
        let Some(voice) = home.members.get(&id).map(|member| member.voice) else { return };
        // It left and came back while its first stream was being opened: that one serves.
        let closing = home.closing.remove(&id);
        let shard = voice.shard().or(closing).unwrap_or_else(|| {
            let mut streams = vec![0_usize; shards];
            for shard in home.members.values().filter_map(|member| member.voice.shard()) {
                streams[shard.index()] += 1;
            }
            let open = (streams.iter().sum::<usize>() / spread_after + 1).min(shards);
            let emptiest = (0..open).map(|step| (own + step) % shards).min_by_key(|shard| streams[*shard]);
            ShardId(emptiest.unwrap_or(own) as u8)
        });
        if voice == MemberVoice::None {
            if let Some(member) = home.members.get_mut(&id) {
                member.voice = MemberVoice::Opening(shard);
            }
            if closing.is_none() {
                self.interest(number, shard, 1);
            }
        }
        self.tell(
            shard,
            Mesh::OpenStream(RoomSession { asker, room: number.0, session: id.0, ..RoomSession::default() }),
        );
    }

    fn stream_at(&mut self, source: ShardId, number: RoomNumber, id: SessionId, at: StreamAt) {
        let ssrc = at.ssrc;
        let Some(home) = self.homes.get_mut(&number) else { return };
        match home.members.get_mut(&id).filter(|member| member.voice.shard() == Some(source)) {
            Some(member) if ssrc == 0 => {
                if let MemberVoice::Opening(_) = std::mem::replace(&mut member.voice, MemberVoice::None) {
                    self.interest(number, source, -1);
                }
            }
            Some(member) => {
                member.voice = MemberVoice::Open(Ssrc(ssrc));
                member.roc = at.roc;
                self.member_changed(number, id, None);
                self.count_speakers(number);
            }
            // It left while its stream was being opened: nothing else will close it.
            None if home.closing.remove(&id).is_some() => {
                self.tell(source, Mesh::CloseStream(RoomSession { room: number.0, ssrc, ..RoomSession::default() }));
                self.interest(number, source, -1);
            }
            None => self.counters.drop(Drop::StaleSession),
        }
    }

    /// Tells all replicas what a member is now; not a shard that will get a snapshot.
    fn member_changed(&mut self, number: RoomNumber, id: SessionId, snapshot_to: Option<ShardId>) {
        let Some(home) = self.homes.get_mut(&number) else { return };
        home.sequence += 1;
        let Some(view) = home.view(id) else { return };
        let delta = ReplicaDelta { room: number.0, sequence: home.sequence, members: vec![view], reset: false };
        let except = snapshot_to.filter(|shard| home.interest[shard.index()] == 0);
        self.broadcast(number, except, &Mesh::Replica(delta));
    }

    /// Changes a shard's interest by one. From 0 it gets a snapshot, at 0 it forgets the room.
    fn interest(&mut self, number: RoomNumber, shard: ShardId, change: i32) {
        let Some(home) = self.homes.get_mut(&number) else { return };
        let count = &mut home.interest[shard.index()];
        let fresh = *count == 0;
        *count = count.checked_add_signed(change).expect("each interest is taken back once");
        if *count == 0 {
            return self.tell(shard, Mesh::ReplicaDrop(number.0));
        }
        if fresh {
            let mut views: Vec<MemberView> = home.members.keys().filter_map(|id| home.view(*id)).collect();
            let (room, sequence) = (number.0, home.sequence);
            self.tell(shard, Mesh::Replica(ReplicaDelta { room, sequence, members: Vec::new(), reset: true }));
            while !views.is_empty() {
                let rest = views.split_off(views.len().min(DELTA_MEMBERS_MAX));
                self.tell(shard, Mesh::Replica(ReplicaDelta { room, sequence, members: views, reset: false }));
                views = rest;
            }
            if self.homes[&number].speakers.is_on() {
                self.tell(shard, self.homes[&number].speakers.told(number));
            }
        }
    }

    pub(crate) fn broadcast(&mut self, number: RoomNumber, except: Option<ShardId>, mesh: &Mesh) {
        let Some(home) = self.homes.get(&number) else { return };
        let shards: Vec<ShardId> = home.interested().filter(|shard| Some(*shard) != except).collect();
        for shard in shards {
            self.tell(shard, mesh.clone());
        }
    }

    /// A room's members as its home knows them: for checks by the simulator.
    #[must_use]
    pub fn home_members(&self, number: RoomNumber) -> Option<Vec<(SessionId, u32)>> {
        let home = self.homes.get(&number)?;
        let ssrc = |member: &HomeMember| if let MemberVoice::Open(ssrc) = member.voice { ssrc.0 } else { 0 };
        Some(home.members.iter().map(|(id, member)| (*id, ssrc(member))).collect())
    }
}
