//! What a shard tells an operator who looks: rooms and who is in them, sessions, streams and how they fare.
//!
//! Not the counters, and not what rules are made by: nothing here changes anything. The driver asks for it about once
//! a second while somebody looks, and never else.
//! Out: plain data, of the moment it was asked for. Bounds: `ROOMS_MAX` rooms, `MEMBERS_MAX` members of rooms,
//! `SESSIONS_MAX` sessions and `STREAMS_MAX` streams, with a count of those left out. Cost: a pass over all rooms and
//! streams, and an allocation for each name: 0.6 ms for 1,000 members who all have voice, measured.

use std::net::IpAddr;

use echomesh_proto::control::Role;
use echomesh_proto::ids::{RoomNumber, SessionId, Ssrc};
use echomesh_proto::time::{Now, Time};

use crate::Shard;
use crate::home::HomeRoom;
use crate::voice::Stream;

/// Rooms told of a shard: those with the most members.
const ROOMS_MAX: usize = 256;

/// Members told of a shard's rooms, in all.
const MEMBERS_MAX: usize = 1_024;

/// Sessions told of a shard.
const SESSIONS_MAX: usize = 1_024;

/// Streams told of a shard: those that are heard now come first.
const STREAMS_MAX: usize = 1_024;

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Rooms whose home this is and that somebody is in.
    pub rooms: Vec<RoomOverview>,
    /// Such rooms beyond the bound.
    pub rooms_left_out: usize,
    /// Rooms that nobody is in.
    pub rooms_empty: usize,
    /// Sessions that live here.
    pub sessions: Vec<SessionOverview>,
    /// Sessions beyond the bound.
    pub sessions_left_out: usize,
    /// Streams that live here.
    pub streams: Vec<StreamOverview>,
    /// Streams beyond the bound.
    pub streams_left_out: usize,
    /// Streams that are heard now, those left out included.
    pub talking: usize,
    /// Open connections.
    pub connections: usize,
}

/// A room, told by its home.
#[derive(Clone, Debug)]
pub struct RoomOverview {
    /// Its number.
    pub number: RoomNumber,
    /// Its name.
    pub name: String,
    /// It has a password, or lets in by invitation only.
    pub is_closed: bool,
    /// It is not listed to everyone.
    pub is_hidden: bool,
    /// How many are in it.
    pub member_count: usize,
    /// Members, in no order that means anything, as far as `MEMBERS_MAX` goes.
    pub members: Vec<MemberOverview>,
}

/// A member, told by the room's home.
#[derive(Clone, Debug)]
pub struct MemberOverview {
    /// Its session.
    pub session: SessionId,
    /// Its account's name.
    pub username: String,
    /// Its account's role.
    pub role: Role,
    /// By itself.
    pub is_muted: bool,
    /// By itself.
    pub is_deafened: bool,
    /// By a moderator, or without the right to speak.
    pub is_server_muted: bool,
    /// By a moderator.
    pub is_server_deafened: bool,
}

/// A session, told by the shard where it lives.
#[derive(Clone, Debug)]
pub struct SessionOverview {
    /// Its number.
    pub id: SessionId,
    /// Its account's name.
    pub username: String,
    /// Its account's role.
    pub role: Role,
    /// The address of its connection, or of the last one.
    pub remote: Option<IpAddr>,
    /// It has a connection; else it waits to be resumed.
    pub is_connected: bool,
    /// Since its login, microseconds.
    pub age_us: u64,
    /// Names of the rooms it is in.
    pub rooms: Vec<String>,
}

/// A voice stream, told by the shard where it lives.
#[derive(Clone, Debug)]
pub struct StreamOverview {
    /// Its number.
    pub ssrc: Ssrc,
    /// Whose it is.
    pub session: SessionId,
    /// In which room.
    pub room: RoomNumber,
    /// Sound came from it within the last second and went on to others.
    pub is_talking: bool,
    /// It comes through a control connection.
    pub is_tunnelled: bool,
    /// How it fares.
    pub quality: Quality,
}

/// How a stream fares on its way, as it was reported last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Of its packets here: lost, 256ths, and jitter, microseconds.
    pub uplink: Option<(u8, u64)>,
    /// The most that its client loses of a stream it hears, 256ths.
    pub downlink_loss: Option<u8>,
    /// To its client and back, microseconds.
    pub round_trip_us: Option<u64>,
}

impl Shard {
    /// What there is now.
    #[must_use]
    pub fn overview(&self, now: Now) -> Overview {
        let connections = self.connections.iter().flatten().count();
        let mut overview = Overview { connections, ..Overview::default() };
        self.overview_rooms(&mut overview);
        self.overview_streams(now.time, &mut overview);
        overview.sessions_left_out = self.sessions.len().saturating_sub(SESSIONS_MAX);
        let sessions = self.sessions.values().take(SESSIONS_MAX).map(|session| SessionOverview {
            id: session.id,
            username: session.username.clone(),
            role: session.role,
            remote: session.remote,
            is_connected: session.connection.is_some(),
            age_us: session.age_us(now),
            rooms: session.rooms.values().map(|room| room.name.clone()).collect(),
        });
        overview.sessions = sessions.collect();
        overview
    }

    fn overview_rooms(&self, overview: &mut Overview) {
        let mut rooms: Vec<(&RoomNumber, &HomeRoom)> =
            self.homes.iter().filter(|(_, home)| !home.members.is_empty()).collect();
        overview.rooms_empty = self.homes.len() - rooms.len();
        if rooms.len() > ROOMS_MAX {
            overview.rooms_left_out = rooms.len() - ROOMS_MAX;
            rooms.select_nth_unstable_by_key(ROOMS_MAX, |(_, home)| usize::MAX - home.members.len());
            rooms.truncate(ROOMS_MAX);
        }
        // Where members are left out, it is of the largest room.
        rooms.sort_unstable_by_key(|(_, home)| home.members.len());
        let mut members_left = MEMBERS_MAX;
        for (number, home) in rooms {
            let members = home.members.iter().take(members_left).map(|(id, member)| MemberOverview {
                session: *id,
                username: member.username.clone(),
                role: member.role,
                is_muted: member.flags.muted,
                is_deafened: member.flags.deafened,
                is_server_muted: member.flags.server_muted,
                is_server_deafened: member.flags.server_deafened,
            });
            let members: Vec<MemberOverview> = members.collect();
            members_left -= members.len();
            overview.rooms.push(RoomOverview {
                number: *number,
                name: home.name.clone(),
                is_closed: home.properties.invite_only || !home.properties.password_hash.is_empty(),
                is_hidden: home.properties.hidden,
                member_count: home.members.len(),
                members,
            });
        }
    }

    fn overview_streams(&self, now: Time, overview: &mut Overview) {
        let told = |ssrc: &Ssrc, stream: &Stream, is_talking: bool| StreamOverview {
            ssrc: *ssrc,
            session: stream.session,
            room: stream.room,
            is_talking,
            is_tunnelled: stream.is_tunnelled(),
            quality: stream.quality(),
        };
        let (talking, silent): (Vec<_>, Vec<_>) = self.streams.iter().partition(|(_, stream)| stream.is_talking(now));
        overview.talking = talking.len();
        overview.streams_left_out = self.streams.len().saturating_sub(STREAMS_MAX);
        let first = talking.iter().map(|(ssrc, stream)| told(ssrc, stream, true));
        let then = silent.iter().map(|(ssrc, stream)| told(ssrc, stream, false));
        overview.streams = first.chain(then).take(STREAMS_MAX).collect();
    }
}
