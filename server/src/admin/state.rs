//! What the page shows, as JSON: what the shards left last, put together.
//!
//! Not rates: the page has two states and divides. In: snapshots of each shard. Out: a [`State`]; rooms by name, with
//! their members and who of them is heard, sessions by name, sums of what was dropped and closed by reason.
//! Bounds: `ROOMS_SHOWN`, `PEOPLE_SHOWN` in rooms and `SESSIONS_SHOWN`, of those that the filter lets through, with how
//! many are left out. Session numbers are hexadecimal text: JavaScript's numbers have 53 bits.

use std::collections::{BTreeMap, HashMap};

use echomesh_proto::ids::{RoomNumber, SessionId};
use echomesh_shard::overview::{MemberOverview, Quality, RoomOverview, StreamOverview};
use echomesh_shard::rights::role_name;
use echomesh_shard::{CloseReason, Drop};
use serde::Serialize;

use super::log_lines::LogLine;
use super::overviews::Snapshot;

/// Rooms shown, those with the most members.
const ROOMS_SHOWN: usize = 200;

/// Members shown, in all rooms.
const PEOPLE_SHOWN: usize = 1_000;

/// Sessions shown.
const SESSIONS_SHOWN: usize = 300;

/// A shard whose snapshot is older than this stands still, or ends.
const STALE_MS: u64 = 3_000;

/// What the page asks for.
#[derive(Debug, Default)]
pub struct Wish {
    /// Part of a name of a room or an account, in lower case; empty: all.
    pub filter: String,
    /// The newest line of the log it has.
    pub log_after: u64,
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct State {
    pub server: Server,
    pub you: You,
    /// Upper bounds of the ranges in `ShardState::forwarding`, microseconds; the last range has none.
    pub forwarding_bounds_us: &'static [u64],
    pub shards: Vec<ShardState>,
    pub dropped: Vec<Reason>,
    pub closed: Vec<Reason>,
    pub rooms: Vec<Room>,
    pub rooms_left_out: usize,
    pub rooms_empty: usize,
    pub people_left_out: usize,
    pub sessions: Vec<SessionState>,
    pub sessions_left_out: usize,
    pub log: Vec<LogLine>,
    pub log_missed: u64,
}

/// The server.
#[derive(Debug, Serialize)]
pub struct Server {
    pub name: String,
    pub version: &'static str,
    pub uptime_ms: u64,
    /// Empty: all is well.
    pub trouble: String,
    pub stopping: bool,
    pub memory_bytes: u64,
}

/// Who looks.
#[derive(Debug, Serialize)]
pub struct You {
    pub name: String,
    pub role: &'static str,
    /// The session that the page itself has.
    pub session: String,
    pub may_drain: bool,
}

/// A shard. Totals only grow.
#[derive(Debug, Serialize)]
pub struct ShardState {
    pub shard: usize,
    pub at_ms: u64,
    /// It has not told anything for long.
    pub stale: bool,
    pub used_us: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// How long packets took to get through: counts by range.
    pub forwarding: Vec<u64>,
    pub connections: usize,
    pub connection_bytes: u64,
    pub sessions: u64,
    pub rooms: u64,
    pub streams: u64,
    pub talking: usize,
}

/// How often something happened.
#[derive(Debug, Serialize)]
pub struct Reason {
    pub reason: &'static str,
    pub count: u64,
}

/// A room that somebody is in.
#[derive(Debug, Serialize)]
pub struct Room {
    pub name: String,
    pub home: usize,
    pub closed: bool,
    pub hidden: bool,
    pub members: usize,
    pub talking: usize,
    pub people: Vec<Person>,
}

/// A member.
#[derive(Debug, Serialize)]
pub struct Person {
    pub session: String,
    pub name: String,
    pub role: &'static str,
    pub talking: bool,
    pub muted: bool,
    pub deafened: bool,
    pub server_muted: bool,
    pub server_deafened: bool,
    pub voice: Option<Voice>,
}

/// How a voice stream fares.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Voice {
    /// Through the control connection.
    pub tunnelled: bool,
    /// Per cent.
    pub uplink_loss: Option<f32>,
    pub downlink_loss: Option<f32>,
    pub jitter_ms: Option<f32>,
    pub round_trip_ms: Option<f32>,
}

/// A session.
#[derive(Debug, Serialize)]
pub struct SessionState {
    pub session: String,
    pub name: String,
    pub role: &'static str,
    pub shard: usize,
    pub address: String,
    pub connected: bool,
    pub age_ms: u64,
    pub rooms: Vec<String>,
    /// The worst of its streams.
    pub voice: Option<Voice>,
}

/// A session's number as the page has it.
pub fn digits(id: SessionId) -> String {
    format!("{:016x}", id.0)
}

fn percent(loss: u8) -> f32 {
    f32::from(loss) * 100.0 / 256.0
}

fn voice(stream: &StreamOverview) -> Voice {
    let Quality { uplink, downlink_loss, round_trip_us } = stream.quality;
    let ms = |us: u64| us as f32 / 1_000.0;
    Voice {
        tunnelled: stream.is_tunnelled,
        uplink_loss: uplink.map(|(loss, _)| percent(loss)),
        downlink_loss: downlink_loss.map(percent),
        jitter_ms: uplink.map(|(_, jitter_us)| ms(jitter_us)),
        round_trip_ms: round_trip_us.map(ms),
    }
}

/// The worse of two, figure by figure.
fn worse(one: Voice, other: Voice) -> Voice {
    let worst = |one: Option<f32>, other: Option<f32>| one.into_iter().chain(other).reduce(f32::max);
    Voice {
        tunnelled: one.tunnelled || other.tunnelled,
        uplink_loss: worst(one.uplink_loss, other.uplink_loss),
        downlink_loss: worst(one.downlink_loss, other.downlink_loss),
        jitter_ms: worst(one.jitter_ms, other.jitter_ms),
        round_trip_ms: worst(one.round_trip_ms, other.round_trip_ms),
    }
}

/// The newest snapshot of each shard, `None` before the first.
pub type Snapshots = [Option<Box<Snapshot>>];

/// The streams of all shards, by room and session.
type Streams<'a> = HashMap<(RoomNumber, SessionId), &'a StreamOverview>;

/// Puts together what the shards told, `now_ms` after the server's start.
pub fn state(server: Server, you: You, snapshots: &Snapshots, wish: &Wish) -> State {
    let known = || snapshots.iter().enumerate().filter_map(|(shard, told)| Some((shard, told.as_deref()?)));
    let streams: Streams<'_> = known()
        .flat_map(|(_, told)| &told.overview.streams)
        .map(|stream| ((stream.room, stream.session), stream))
        .collect();
    let forwarding = known().next().map(|(_, told)| told.totals.measures.forwarding.bounds());
    let mut state = State {
        forwarding_bounds_us: forwarding.unwrap_or_default(),
        shards: known().map(|(shard, told)| shard_state(shard, told, server.uptime_ms)).collect(),
        dropped: by_reason(
            known().map(|(_, told)| told),
            Drop::ALL,
            |reason| reason.as_str(),
            |told, reason| told.totals.counters.dropped(reason),
        ),
        closed: by_reason(
            known().map(|(_, told)| told),
            CloseReason::ALL,
            |reason| reason.as_str(),
            |told, reason| told.totals.counters.closed(reason),
        ),
        rooms: Vec::new(),
        rooms_left_out: known().map(|(_, told)| told.overview.rooms_left_out).sum(),
        rooms_empty: known().map(|(_, told)| told.overview.rooms_empty).sum(),
        people_left_out: 0,
        sessions: Vec::new(),
        sessions_left_out: known().map(|(_, told)| told.overview.sessions_left_out).sum(),
        log: Vec::new(),
        log_missed: 0,
        server,
        you,
    };
    add_rooms(&mut state, known(), &streams, &wish.filter);
    add_sessions(&mut state, known(), &wish.filter);
    state
}

fn shard_state(shard: usize, told: &Snapshot, uptime_ms: u64) -> ShardState {
    let at_ms = told.at.as_millis() as u64;
    ShardState {
        shard,
        at_ms,
        stale: uptime_ms.saturating_sub(at_ms) > STALE_MS,
        used_us: told.totals.measures.cpu_us,
        packets_in: told.totals.counters.voice_received,
        packets_out: told.totals.datagrams_sent,
        bytes_in: told.totals.udp_received_bytes,
        bytes_out: told.totals.udp_sent_bytes,
        forwarding: told.totals.measures.forwarding.counts().to_vec(),
        connections: told.overview.connections,
        connection_bytes: told.totals.occupancy.memory_bytes,
        sessions: told.totals.occupancy.sessions,
        rooms: told.totals.occupancy.rooms,
        streams: told.totals.occupancy.streams,
        talking: told.overview.talking,
    }
}

/// Sums over the shards, without those that never happened, the most frequent first.
fn by_reason<'a, R: Copy>(
    shards: impl Iterator<Item = &'a Snapshot>,
    all: &[R],
    name: impl Fn(R) -> &'static str,
    count: impl Fn(&Snapshot, R) -> u64,
) -> Vec<Reason> {
    let mut sums = vec![0; all.len()];
    for told in shards {
        for (sum, reason) in sums.iter_mut().zip(all) {
            *sum += count(told, *reason);
        }
    }
    let counted = all.iter().zip(sums).filter(|(_, count)| *count > 0);
    let mut reasons: Vec<Reason> = counted.map(|(reason, count)| Reason { reason: name(*reason), count }).collect();
    reasons.sort_by_key(|reason| u64::MAX - reason.count);
    reasons
}

fn add_rooms<'a>(
    state: &mut State,
    shards: impl Iterator<Item = (usize, &'a Snapshot)>,
    streams: &Streams<'_>,
    filter: &str,
) {
    let fits = |name: &str| filter.is_empty() || name.to_lowercase().contains(filter);
    let mut rooms: Vec<(usize, &RoomOverview)> = shards
        .flat_map(|(shard, told)| told.overview.rooms.iter().map(move |room| (shard, room)))
        .filter(|(_, room)| fits(&room.name) || room.members.iter().any(|member| fits(&member.username)))
        .collect();
    rooms.sort_by_key(|(_, room)| usize::MAX - room.member_count);
    state.rooms_left_out += rooms.len().saturating_sub(ROOMS_SHOWN);
    rooms.truncate(ROOMS_SHOWN);
    rooms.sort_by_cached_key(|(_, room)| room.name.to_lowercase());
    let mut people_left = PEOPLE_SHOWN;
    for (home, room) in rooms {
        let shown = |member: &&MemberOverview| fits(&room.name) || fits(&member.username);
        let person = |member: &MemberOverview| {
            let stream = streams.get(&(room.number, member.session));
            Person {
                session: digits(member.session),
                name: member.username.clone(),
                role: role_name(member.role),
                talking: stream.is_some_and(|stream| stream.is_talking),
                muted: member.is_muted,
                deafened: member.is_deafened,
                server_muted: member.is_server_muted,
                server_deafened: member.is_server_deafened,
                voice: stream.map(|stream| voice(stream)),
            }
        };
        let mut people: Vec<Person> = room.members.iter().filter(shown).map(person).collect();
        let talking = people.iter().filter(|person| person.talking).count();
        people.sort_by_cached_key(|person| (person.name.to_lowercase(), person.session.clone()));
        if people.len() > people_left {
            // Who is heard is shown before who is not.
            people.sort_by_key(|person| !person.talking);
            people.truncate(people_left);
        }
        people_left -= people.len();
        state.people_left_out += room.member_count.saturating_sub(people.len());
        state.rooms.push(Room {
            name: room.name.clone(),
            home,
            closed: room.is_closed,
            hidden: room.is_hidden,
            members: room.member_count,
            talking,
            people,
        });
    }
}

fn add_sessions<'a>(state: &mut State, shards: impl Iterator<Item = (usize, &'a Snapshot)> + Clone, filter: &str) {
    let mut voices: BTreeMap<SessionId, Voice> = BTreeMap::new();
    for stream in shards.clone().flat_map(|(_, told)| &told.overview.streams) {
        let own = voice(stream);
        voices.entry(stream.session).and_modify(|known| *known = worse(*known, own)).or_insert(own);
    }
    let fits = |name: &str| filter.is_empty() || name.to_lowercase().contains(filter);
    let mut sessions: Vec<SessionState> = shards
        .flat_map(|(shard, told)| told.overview.sessions.iter().map(move |session| (shard, session)))
        .filter(|(_, session)| fits(&session.username) || session.rooms.iter().any(|room| fits(room)))
        .map(|(shard, session)| SessionState {
            session: digits(session.id),
            name: session.username.clone(),
            role: role_name(session.role),
            shard,
            address: session.remote.map(|remote| remote.to_string()).unwrap_or_default(),
            connected: session.is_connected,
            age_ms: session.age_us / 1_000,
            rooms: session.rooms.clone(),
            voice: voices.get(&session.id).copied(),
        })
        .collect();
    sessions.sort_by_cached_key(|session| (session.name.to_lowercase(), session.session.clone()));
    state.sessions_left_out += sessions.len().saturating_sub(SESSIONS_SHOWN);
    sessions.truncate(SESSIONS_SHOWN);
    state.sessions = sessions;
}
