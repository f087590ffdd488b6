//! What a simulator asks of a shard's state: who is where, what is over its bound, what has not come home.
//!
//! Not a part of what the server does: nothing here changes anything, and no driver calls it.
//! Out: plain data, and sentences about what is wrong. Cost: a pass over all there is.

use std::collections::{BTreeMap, BTreeSet};

use echomesh_proto::control::Member;
use echomesh_proto::ids::{ConnectionId, PeerId, RoomNumber, SessionId, ShardId, Ssrc};

use crate::Shard;
use crate::connection::Connection;
use crate::home::{HomeRoom, MemberVoice};
use crate::replica::{Replica, member};

impl Shard {
    /// A room's members as its home knows them.
    #[must_use]
    pub fn home_members(&self, number: RoomNumber) -> Option<Vec<Member>> {
        let home = self.homes.get(&number)?;
        Some(home.members.keys().filter_map(|id| home.view(*id)).map(|view| member(&view)).collect())
    }

    /// A room's members as this shard's replica has them, if it keeps one.
    #[must_use]
    pub fn replica_members(&self, number: RoomNumber) -> Option<Vec<Member>> {
        Some(self.replicas.get(&number)?.members.values().map(member).collect())
    }

    /// Shards that keep a replica, as the room's home knows.
    #[must_use]
    pub fn replica_shards(&self, number: RoomNumber) -> Option<Vec<ShardId>> {
        Some(self.homes.get(&number)?.interested().collect())
    }

    /// How many are in each room that lives here, and how many may be.
    pub fn room_occupancy(&self) -> impl Iterator<Item = (RoomNumber, usize, usize)> {
        let members_max = self.config.limits.room_members_max;
        self.homes.iter().map(move |(number, home)| {
            let capacity = home.properties.capacity;
            let most = if capacity == 0 { members_max } else { capacity.min(members_max) };
            (*number, home.members.len(), most as usize)
        })
    }

    /// Whether the room's home has told this shard that a stream is muted.
    #[must_use]
    pub fn is_server_muted(&self, ssrc: Ssrc) -> bool {
        let replica = self.stream_rooms.get(&ssrc).and_then(|number| self.replicas.get(number));
        let views = replica.into_iter().flat_map(|replica| replica.members.values());
        views.filter(|view| view.ssrc == ssrc.0).any(|view| view.flags.server_muted)
    }

    /// The room in which a stream is heard, as this shard knows.
    #[must_use]
    pub fn stream_room(&self, ssrc: Ssrc) -> Option<RoomNumber> {
        self.stream_rooms.get(&ssrc).copied()
    }

    /// Whether the listener behind a peer is a member of a room, as this shard knows.
    #[must_use]
    pub fn is_peer_in(&self, peer: PeerId, number: RoomNumber) -> bool {
        let mut streams = self.streams.values().filter(|stream| stream.peer == peer);
        let replica = self.replicas.get(&number);
        streams.any(|stream| replica.is_some_and(|replica| replica.members.contains_key(&stream.session)))
    }

    /// Where accounts whose home this is have their sessions.
    pub fn session_places(&self) -> impl Iterator<Item = (SessionId, ShardId)> {
        self.accounts.values().flatten().map(|(id, place)| (*id, place.shard))
    }

    /// Where the members of rooms that live here have their sessions.
    pub fn members_shards(&self) -> impl Iterator<Item = (SessionId, ShardId)> {
        self.homes.values().flat_map(|home| &home.members).map(|(id, member)| (*id, member.shard))
    }

    /// Requests that were begun and are not answered.
    pub fn begun_requests(&self) -> impl Iterator<Item = (ConnectionId, u32)> {
        self.connections.iter().flatten().flat_map(|connection| connection.unanswered().map(|id| (connection.id, id)))
    }

    /// The sessions that live here.
    pub fn sessions_here(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    /// Numbers of the bans known here, those that are over included.
    #[must_use]
    pub fn ban_ids(&self) -> Vec<u64> {
        self.bans.ids().collect()
    }

    /// What is over its bound.
    #[must_use]
    pub fn over_its_bound(&self) -> Option<String> {
        let limits = &self.config.limits;
        let connections = || self.connections.iter().flatten();
        let most = |counts: &mut dyn Iterator<Item = usize>| counts.max().unwrap_or(0);
        let bounds = [
            ("connections", connections().count(), limits.connections_max as usize),
            ("streams", self.streams.len(), limits.streams_max as usize),
            ("rooms", self.directory.len(), limits.rooms_max as usize),
            (
                "members",
                most(&mut self.room_occupancy().map(|(_, members, _)| members)),
                limits.room_members_max as usize,
            ),
            (
                "sessions of an account",
                most(&mut self.accounts.values().map(BTreeMap::len)),
                limits.account_sessions_max as usize,
            ),
            (
                "rooms of a session",
                most(&mut self.sessions.values().map(|session| session.rooms.len())),
                limits.session_rooms_max as usize,
            ),
            ("bytes unread", most(&mut connections().map(|connection| connection.unread())), limits.output_bytes_max),
            (
                "bytes not taken",
                most(&mut connections().map(|connection| connection.waiting())),
                limits.input_bytes_max,
            ),
            ("requests to the store", self.jobs.storing() as usize, limits.store_requests_max as usize),
            ("requests to the reader", self.jobs.reading() as usize, limits.reads_max as usize),
            ("requests to the hashers", self.jobs.hashing() as usize, limits.hash_requests_max as usize),
            ("bytes for a ring", most(&mut self.outboxes.iter().map(|outbox| outbox.bytes())), limits.outbox_bytes_max),
            ("bans", self.bans.len(), limits.bans_max as usize),
        ];
        let over = bounds.into_iter().find(|(_, count, most)| count > most);
        over.map(|(what, count, most)| format!("{count} {what}, and {most} is the bound"))
    }

    /// What is still under way or not where it belongs, though nothing has happened for long.
    #[must_use]
    pub fn not_at_rest(&self) -> Option<String> {
        let connections = || self.connections.iter().flatten();
        let counts = [
            ("records that wait for a ring", self.outboxes.iter().filter(|outbox| outbox.is_waiting()).count()),
            ("messages to ourselves", self.local.len()),
            ("connections with frames", self.ready.len() + self.held_back.len()),
            ("connections that are not idle", connections().filter(|connection| !connection.is_idle()).count()),
            ("connections of no session", connections().filter(|connection| !self.is_attached(connection)).count()),
            ("requests to the store", self.jobs.storing() as usize),
            ("requests to the reader", self.jobs.reading() as usize),
            ("requests to the hashers", self.jobs.hashing() as usize),
            ("sessions that direct lines wait for", self.direct_desk.waits_for()),
            ("sessions on their way", self.accounts.values().flatten().filter(|(_, place)| place.moving).count()),
            ("streams of no member", self.orphans()),
        ];
        let left = counts.into_iter().find(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}"));
        left.or_else(|| self.homes.iter().find_map(|(number, home)| self.home_is_wrong(*number, home)))
            .or_else(|| self.replicas.iter().find_map(|(number, replica)| self.replica_is_wrong(*number, replica)))
            .or_else(|| self.peers_are_wrong())
    }

    fn is_attached(&self, connection: &Connection) -> bool {
        let session = connection.session.and_then(|id| self.sessions.get(&id));
        session.is_some_and(|session| session.connection == Some(connection.id))
    }

    /// Streams whose session is not in their room with them.
    fn orphans(&self) -> usize {
        let is_known = |ssrc: &Ssrc, room: RoomNumber, session: SessionId| {
            let view = self.replicas.get(&room).and_then(|replica| replica.members.get(&session));
            view.is_some_and(|view| view.ssrc == ssrc.0)
                && self.session_streams.get(&(room, session)) == Some(ssrc)
                && self.stream_rooms.get(ssrc) == Some(&room)
        };
        self.streams.iter().filter(|(ssrc, stream)| !is_known(ssrc, stream.room, stream.session)).count()
    }

    fn home_is_wrong(&self, number: RoomNumber, home: &HomeRoom) -> Option<String> {
        let mut interest = vec![0; usize::from(self.config.shards)];
        for member in home.members.values() {
            interest[member.shard.index()] += 1;
            if let Some(shard) = member.voice.shard() {
                interest[shard.index()] += 1;
            }
        }
        let opening = home.members.values().any(|member| matches!(member.voice, MemberVoice::Opening(_)));
        if !home.closing.is_empty() || opening {
            return Some(format!("room {}: a stream that is neither open nor closed", number.0));
        }
        let wrong = home.interest != interest;
        wrong.then(|| format!("room {}: interest of shards {:?}, members say {interest:?}", number.0, home.interest))
    }

    fn replica_is_wrong(&self, number: RoomNumber, replica: &Replica) -> Option<String> {
        let own = self.config.shard;
        let mut here = BTreeSet::new();
        let mut elsewhere = vec![0; usize::from(self.config.shards)];
        for view in replica.members.values().filter(|view| view.ssrc != 0 && view.flags.hears()) {
            let ssrc = Ssrc(view.ssrc);
            if ssrc.shard() == own {
                here.insert(ssrc);
            } else {
                elsewhere[ssrc.shard().index()] += 1;
            }
        }
        let listeners: BTreeSet<Ssrc> = replica.listeners.iter().copied().collect();
        let is_twice = listeners.len() != replica.listeners.len();
        if is_twice || listeners != here || replica.remote_listeners != elsewhere {
            return Some(format!("room {}: its listeners are not its members that hear", number.0));
        }
        let is_in = |id: &SessionId| {
            let session = self.sessions.get(id);
            session.is_some_and(|session| session.rooms.values().any(|room| room.number == number))
        };
        if let Some(id) = replica.locals.iter().find(|id| !is_in(id)) {
            return Some(format!("room {}: session {:016x} is told of it and is not in it", number.0, id.0));
        }
        None
    }

    /// Each peer belongs to one stream, or to none.
    fn peers_are_wrong(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        let used = self.streams.values().map(|stream| stream.peer);
        let twice = used.chain(self.free_peers.iter().copied()).find(|peer| !seen.insert(peer.0));
        twice.map(|peer| format!("peer {} is used twice", peer.0))
    }
}
