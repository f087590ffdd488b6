//! A room's home shard: it owns membership, the order of chat, and the placement of voice streams.
//!
//! Not what members are sent: shards with members or streams keep a replica and tell their own
//! connections. In: `ToHome` requests from any shard. Out: deltas by sequence, lines, answers.
//! Bounds: `room_members_max` members; new work is refused while a ring it would feed is congested.

mod chat;
pub(crate) mod standing;

use std::collections::BTreeMap;

use echomesh_proto::control::{
    Body, ChatActionType, EchoMsg, RoomActionType, RoomMessage, RoomState, Status, StatusCode,
};
use echomesh_proto::ids::{RoomNumber, SessionId, ShardId, Ssrc};
use echomesh_proto::time::Now;

use crate::Shard;
use crate::chat::content::Names;
use crate::connection::status;
use crate::counters::Drop;
use crate::effect::Effects;
use crate::mesh::{
    Answer, Ask, Asker, DELTA_MEMBERS_MAX, MemberFlags, MemberView, Mesh, Removal, ReplicaDelta, RoomSession, StreamAt,
    ToHome,
};
use crate::mistakes::{Mistake, planted};
use crate::moderation::lacks;
use crate::rights::{Access, Person, Right, Role};
use crate::rooms::{Properties, SlowMode, Turn};
use crate::saving::SavedSession;
use crate::voice::Speakers;

pub(crate) const CONGESTED: &str = "the server is busy: try again in a moment";
pub(crate) const STORE_FAILED: &str =
    "the server cannot store this now (disk full or store unreachable): try again later";

/// Where a member's voice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberVoice {
    None,
    Opening(ShardId),
    Open(Ssrc),
}

impl MemberVoice {
    pub(crate) fn shard(self) -> Option<ShardId> {
        match self {
            MemberVoice::None => None,
            MemberVoice::Opening(shard) => Some(shard),
            MemberVoice::Open(ssrc) => Some(ssrc.shard()),
        }
    }
}

#[derive(Debug)]
pub(crate) struct HomeMember {
    pub(crate) user: u64,
    pub(crate) username: String,
    pub(crate) role: Role,
    /// Where its session lives, after so many moves.
    pub(crate) shard: ShardId,
    pub(crate) moves: u32,
    pub(crate) flags: MemberFlags,
    pub(crate) voice: MemberVoice,
    /// Rollover counter of its stream's output.
    pub(crate) roc: u32,
}

/// A room at its home.
#[derive(Debug)]
pub(crate) struct HomeRoom {
    pub(crate) name: String,
    pub(crate) properties: Properties,
    /// A change of them is on its way to the store.
    pub(crate) is_changing: bool,
    slow_mode: SlowMode,
    pub(crate) sequence: u64,
    message_sequence: u64,
    /// Number of the newest line.
    pub(crate) newest_line: u64,
    /// Whom lines may mention.
    pub(crate) names: Names,
    pub(crate) members: BTreeMap<SessionId, HomeMember>,
    /// Members that left while their stream was being opened, and where: closed when it is.
    pub(crate) closing: BTreeMap<SessionId, ShardId>,
    /// For each shard: members' sessions and streams there. A replica is kept where it is not 0.
    pub(crate) interest: Vec<u32>,
    pub(crate) speakers: Speakers,
    /// What it says of roles and accounts.
    pub(crate) access: Access,
}

impl HomeRoom {
    pub(crate) fn new(name: String, properties: Properties, shards: u8, access: Access) -> Self {
        Self {
            name,
            properties,
            is_changing: false,
            slow_mode: SlowMode::default(),
            sequence: 0,
            message_sequence: 0,
            newest_line: 0,
            names: Names::default(),
            members: BTreeMap::new(),
            closing: BTreeMap::new(),
            interest: vec![0; shards as usize],
            speakers: Speakers::default(),
            access,
        }
    }

    /// Members, and those that left while their stream was being opened.
    pub(crate) fn held(&self) -> usize {
        self.members.len() + self.closing.len()
    }

    /// A member's turn for its next line, or how long it must wait. Who mutes others writes as they like.
    fn slow_mode_turn(&mut self, now: Now, id: SessionId, client_id: &str) -> Result<Turn, u32> {
        let seconds = self.properties.slow_mode_seconds;
        match self.members.get(&id).map(|member| member.user) {
            Some(user) if seconds == 0 || !self.may(id, Right::Mute) => {
                self.slow_mode.turn(now.time, user, client_id, seconds)
            }
            _ => Ok(Turn::default()),
        }
    }

    /// Speakers heard at once; 0: all.
    pub(crate) fn speakers_max(&self, by_default: u32) -> usize {
        if self.properties.speakers == 0 { by_default as usize } else { self.properties.speakers as usize }
    }

    /// Open streams.
    pub(crate) fn streams(&self) -> usize {
        self.members.values().filter(|member| matches!(member.voice, MemberVoice::Open(_))).count()
    }

    pub(crate) fn view(&self, id: SessionId) -> Option<MemberView> {
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

    /// A member that was in before the server was started; nobody is told yet.
    pub(crate) fn restore(&mut self, saved: &SavedSession, person: Person, shard: ShardId) {
        let member = HomeMember {
            user: saved.user.0,
            username: saved.username.clone(),
            shard,
            moves: 0,
            role: person.role,
            flags: standing::imposed(&self.access, person, MemberFlags::default()),
            voice: MemberVoice::None,
            roc: 0,
        };
        self.names.note(&member.username, saved.user, self.members.values().map(|member| member.user));
        self.members.insert(saved.id, member);
        self.interest[shard.index()] += 1;
    }

    pub(crate) fn interested(&self) -> impl Iterator<Item = ShardId> {
        self.interest.iter().enumerate().filter(|(_, count)| **count > 0).map(|(shard, _)| ShardId(shard as u8))
    }
}

impl Shard {
    /// A request from `source` for a room that lives here.
    pub(crate) fn at_home(&mut self, now: Now, source: ShardId, request: ToHome, effects: &mut Effects) {
        let asker = request.asker;
        let room = RoomNumber(request.room);
        let session = SessionId(request.session);
        self.announce_before(request.room, if let Some(Ask::Join(join)) = &request.ask { Some(join) } else { None });
        match request.ask {
            Some(Ask::Create(ref new)) => self.create_room(now, &request, new, effects),
            Some(Ask::Join(ref join)) => self.join_room(source, join, &request, None, effects),
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

    fn slow_down(&mut self, asker: Asker, retry_after_ms: u32, effects: &mut Effects) {
        let message = format!("slow mode: wait {} s before your next line", retry_after_ms.div_ceil(1_000));
        let status_code = StatusCode::StatusTryAgain as i32;
        self.answer(asker, Body::Status(Status { status_code, message, retry_after_ms }), effects);
    }

    pub(crate) fn feeds_congested(&self, room: RoomNumber) -> bool {
        let Some(home) = self.homes.get(&room) else { return false };
        home.interested().any(|shard| self.is_congested(shard))
    }

    /// `removal`: it was put out, and is told so.
    pub(crate) fn leave_room(
        &mut self,
        source: ShardId,
        number: RoomNumber,
        id: SessionId,
        moves: u32,
        removal: Option<Removal>,
    ) {
        let Some(home) = self.homes.get_mut(&number) else { return self.counters.drop(Drop::StaleSession) };
        // A session that moved is not taken out by its old shard.
        let here = home.members.get(&id).is_some_and(|member| member.moves == moves);
        let Some(member) = here.then(|| home.members.remove(&id)).flatten() else {
            return self.counters.drop(Drop::StaleSession);
        };
        home.sequence += 1;
        self.counts_changed.insert(number);
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
        let delta =
            ReplicaDelta { room: number.0, sequence: home.sequence, members: vec![view], ..ReplicaDelta::default() };
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
            if !planted(Mistake::LeaveStreamOpen) {
                let ask = RoomSession { room: number.0, ssrc: ssrc.0, ..RoomSession::default() };
                self.tell(ssrc.shard(), Mesh::CloseStream(ask));
            }
            self.interest(number, ssrc.shard(), -1);
        }
        self.end_if_left(number);
    }

    pub(crate) fn member_moved(&mut self, source: ShardId, number: RoomNumber, id: SessionId, moves: u32) {
        let member = self.homes.get_mut(&number).and_then(|home| home.members.get_mut(&id));
        let note = RoomSession { room: number.0, session: id.0, moves, ..RoomSession::default() };
        let Some(member) = member else { return self.tell(source, Mesh::Displaced(note)) };
        if moves <= member.moves && !planted(Mistake::BelieveOldShard) {
            return self.counters.drop(Drop::StaleSession);
        }
        member.moves = moves;
        let old = std::mem::replace(&mut member.shard, source);
        self.interest(number, source, 1);
        self.interest(number, old, -1);
        self.tell_placed(source, number, note);
    }

    /// Tells the session's shard that it is in, and as what.
    pub(crate) fn tell_placed(&mut self, shard: ShardId, number: RoomNumber, note: RoomSession) {
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
        let Some(home) = self.homes.get_mut(&number) else {
            // The room ended while the stream was being opened.
            let ask = RoomSession { room: number.0, ssrc, ..RoomSession::default() };
            return self.tell(source, Mesh::CloseStream(ask));
        };
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
    pub(crate) fn member_changed(&mut self, number: RoomNumber, id: SessionId, snapshot_to: Option<ShardId>) {
        let Some(home) = self.homes.get_mut(&number) else { return };
        home.sequence += 1;
        let Some(view) = home.view(id) else { return };
        let mut delta =
            ReplicaDelta { room: number.0, sequence: home.sequence, members: vec![view], ..ReplicaDelta::default() };
        if planted(Mistake::DeltaToWrongRoom) {
            delta.room = 1 + number.0 % 2;
        }
        let except = snapshot_to.filter(|shard| home.interest[shard.index()] == 0);
        self.broadcast(number, except, &Mesh::Replica(delta));
    }

    /// Changes a shard's interest by one. From 0 it gets a snapshot, at 0 it forgets the room.
    pub(crate) fn interest(&mut self, number: RoomNumber, shard: ShardId, change: i32) {
        let Some(home) = self.homes.get_mut(&number) else { return };
        let count = &mut home.interest[shard.index()];
        let fresh = *count == 0;
        *count = count.checked_add_signed(change).expect("each interest is taken back once");
        if *count == 0 {
            return self.tell(shard, Mesh::ReplicaDrop(number.0));
        }
        if fresh {
            self.send_snapshot(number, shard);
        }
    }

    /// Everything of the room, for a shard that is to keep a replica.
    fn send_snapshot(&mut self, number: RoomNumber, shard: ShardId) {
        let Some(home) = self.homes.get(&number) else { return };
        let mut views: Vec<MemberView> = home.members.keys().filter_map(|id| home.view(*id)).collect();
        let (room, sequence) = (number.0, home.sequence);
        let speakers = home.speakers.is_on().then(|| home.speakers.told(number));
        self.tell(shard, Mesh::Replica(ReplicaDelta { room, sequence, reset: true, ..ReplicaDelta::default() }));
        while !views.is_empty() {
            let rest = views.split_off(views.len().min(DELTA_MEMBERS_MAX));
            let delta = ReplicaDelta { room, sequence, members: views, ..ReplicaDelta::default() };
            self.tell(shard, Mesh::Replica(delta));
            views = rest;
        }
        if let Some(speakers) = speakers {
            self.tell(shard, speakers);
        }
    }

    /// Tells a room's members that were restored, and their shards, of each other.
    pub(crate) fn announce_members(&mut self, number: RoomNumber) {
        let Some(home) = self.homes.get(&number) else { return };
        let shards: Vec<ShardId> = home.interested().collect();
        let members: Vec<(SessionId, ShardId, u32)> =
            home.members.iter().map(|(id, member)| (*id, member.shard, member.moves)).collect();
        for shard in shards {
            self.send_snapshot(number, shard);
        }
        for (id, shard, moves) in members {
            let note = RoomSession { session: id.0, moves, restored: true, ..RoomSession::default() };
            self.tell_placed(shard, number, note);
        }
    }

    pub(crate) fn broadcast(&mut self, number: RoomNumber, except: Option<ShardId>, mesh: &Mesh) {
        let Some(home) = self.homes.get(&number) else { return };
        if planted(Mistake::DropDelta) && matches!(mesh, Mesh::Replica(_)) && home.sequence.is_multiple_of(16) {
            return;
        }
        let shards: Vec<ShardId> = home.interested().filter(|shard| Some(*shard) != except).collect();
        for shard in shards {
            self.tell(shard, mesh.clone());
        }
    }
}
