//! What must be so when everything has come to rest.
//!
//! Checked while a seed runs, by `client`: nothing heard of a room it is not in, lines in order, one
//! answer to each request, nothing that a session must drop; by `voice`: keys, numbers, who hears whom; by the
//! world: bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use echomesh_proto::control::Member;
use echomesh_proto::ids::{RoomNumber, SessionId};
use echomesh_shard::chat_jobs::Place;
use echomesh_shard::{Drop, Shard};

use crate::client::Client;
use crate::store::Store;
use crate::world::World;

/// From a frame's saying to its hearing when all is well, microseconds: four ways, each at most a third of a
/// millisecond, and a tick in which it waits.
const HEARD_US_MAX: u64 = 60_000;

/// Longest round trip that is told when all is well, microseconds: two ways, and what a clock that is half a
/// millisecond a second off makes of the 5 s for which a report may wait.
const ROUND_TRIP_US_MAX: u64 = 4_000;

/// Each client heard each of these lines.
pub fn all_heard(clients: &[Client], lines: &[String]) -> Result<(), String> {
    for client in clients {
        if let Some(missing) = lines.iter().find(|line| !client.contents.contains(*line)) {
            return Err(format!("after healing {} did not hear {missing:?}", client.name));
        }
    }
    Ok(())
}

/// Every other client heard each of these frames of a speaker soon, without a gap in the numbers.
pub fn voice_heard(clients: &[Client], speaker: usize, frames: RangeInclusive<u32>) -> Result<(), String> {
    let speaker = &clients[speaker];
    let name = &speaker.name;
    for listener in clients.iter().filter(|client| client.name != *name) {
        let mut indices = Vec::new();
        for frame in frames.clone() {
            let Some((index, heard)) = listener.heard_frames.get(&(name.clone(), frame)) else {
                return Err(format!("{} did not hear frame {frame} of {name}", listener.name));
            };
            indices.push(*index);
            let late_us = heard.since_us(speaker.said[frame as usize - 1]);
            if late_us > HEARD_US_MAX {
                return Err(format!("{} heard frame {frame} of {name} after {late_us} us", listener.name));
            }
        }
        if indices.windows(2).any(|pair| pair[1] != pair[0] + 1) {
            return Err(format!("{}: a gap in the numbers of {name}: {indices:?}", listener.name));
        }
    }
    Ok(())
}

/// Each client was told how it is received, how far the server is, and what its listeners lose: nothing, in
/// the end.
pub fn reported(clients: &[Client]) -> Result<(), String> {
    for client in clients {
        let told = client.voice_statistics("hall").ok_or_else(|| format!("{} has no voice", client.name))?;
        let near = told.round_trip_us.is_some_and(|us| us < ROUND_TRIP_US_MAX);
        let alone = clients.len() == 1;
        if !near || told.uplink.is_none() || !(alone || told.listeners.is_some_and(|listeners| listeners.loss == 0)) {
            return Err(format!("{} was told {told:?}", client.name));
        }
    }
    Ok(())
}

/// No room was entered beyond what it takes; one that is set to take less keeps whom it has.
pub fn room_for_all(shard: &Shard, occupancy: &mut BTreeMap<RoomNumber, usize>) -> Result<(), String> {
    for (room, members, most) in shard.room_occupancy() {
        let before = occupancy.insert(room, members);
        if before.is_some_and(|before| members > before) && members > most {
            return Err(format!("room {} takes {most} and has {members} members", room.0));
        }
    }
    Ok(())
}

/// Everything else.
pub fn at_rest(world: &World) -> Result<(), String> {
    let World { shards, clients, store, .. } = world;
    for client in clients {
        chat(client, store)?;
        direct(client, clients, store)?;
        if client.unanswered() > 0 || !client.unsent.is_empty() {
            return Err(format!("{} has requests without an answer", client.name));
        }
    }
    stored_once(clients, store)?;
    for (key, stored) in store.rooms.iter().filter(|(_, stored)| !store.unknown.contains(&stored.number)) {
        room(key, stored.number, shards, clients)?;
    }
    for (shard, kernel) in shards.iter().enumerate() {
        counted(shard, kernel)?;
        if let Some(left) = kernel.not_at_rest() {
            return Err(format!("shard {shard} is not at rest: {left}"));
        }
    }
    if let Some(((source, target), _)) = world.rings.iter().find(|(_, ring)| ring.waiting() > 0) {
        return Err(format!("nobody takes what is in the ring from shard {source} to {target}"));
    }
    sessions(shards)?;
    bans(shards)
}

/// Each packet that was accepted went on or is counted by the reason why not.
fn counted(shard: usize, kernel: &Shard) -> Result<(), String> {
    let counters = kernel.counters();
    if counters.dropped(Drop::MeshBadRecord) > 0 {
        return Err(format!("shard {shard}: a mesh record that does not parse"));
    }
    let reasons = [
        Drop::Muted,
        Drop::ServerMuted,
        Drop::NotSelected,
        Drop::Withheld,
        Drop::TooLate,
        Drop::NoListener,
        Drop::PayloadType,
    ];
    let dropped: u64 = reasons.iter().map(|reason| counters.dropped(*reason)).sum();
    let accepted = counters.voice_received + counters.voice_from_mesh;
    if accepted != counters.voice_fanned_out + dropped {
        let went_on = counters.voice_fanned_out;
        return Err(format!("shard {shard}: {accepted} packets, {went_on} went on, {dropped} dropped"));
    }
    Ok(())
}

/// Acknowledged lines are stored, and while a client listened it missed none.
fn chat(client: &Client, store: &Store) -> Result<(), String> {
    let stored = |id: u64| store.lines.get((id as usize).checked_sub(1)?);
    for (id, line) in &client.acknowledged {
        if stored(*id).is_none_or(|stored| stored.content != line.content) {
            return Err(format!("{}: line {id} {:?} is acknowledged and not stored", client.name, line.content));
        }
    }
    let own = format!("{} ", client.name);
    for (name, ids) in &client.heard {
        // What was heard in a room that ended is not compared.
        let Some(room) = store.rooms.get(name) else { continue };
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { continue };
        for id in *first..=*last {
            let Some(line) = stored(id) else { return Err(format!("line {id} was heard and is not stored")) };
            // The acknowledgement of one of its own that was sent twice may have come at any time.
            if line.place == Place::Room(room.number)
                && !line.is_doubtful
                && !line.content.starts_with(&own)
                && ids.binary_search(&id).is_err()
            {
                return Err(format!(
                    "{} was in {name} and did not hear line {id} {:?}, between {:?}",
                    client.name, line.content, ids
                ));
            }
        }
    }
    Ok(())
}

/// Direct lines that are acknowledged are stored, and of each conversation none was missed that was stored after the
/// client came.
fn direct(client: &Client, clients: &[Client], store: &Store) -> Result<(), String> {
    let stored = |id: u64| store.direct.get((id as usize).checked_sub(1)?);
    if let Some((to, id)) = client.direct_acknowledged.iter().find(|(_, id)| stored(*id).is_none()) {
        return Err(format!("{}: line {id} to {to} is acknowledged and not stored", client.name));
    }
    let history = store.direct_history(&client.account);
    for (other, ids) in &client.direct_heard {
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { continue };
        let theirs = clients.iter().filter(|client| client.account == *other);
        let said = theirs.flat_map(|client| &client.direct_acknowledged);
        let said = said.filter(|(_, id)| stored(*id).is_some_and(|line| !line.is_doubtful));
        let mut said = said.filter(|(to, id)| *to == client.account && *id > history && (first..=last).contains(&id));
        if let Some((_, id)) = said.find(|(_, id)| ids.binary_search(id).is_err()) {
            return Err(format!("{} did not hear line {id} from {other}", client.name));
        }
    }
    Ok(())
}

/// What honest clients say is stored once, however often it is sent.
fn stored_once(clients: &[Client], store: &Store) -> Result<(), String> {
    let honest: BTreeSet<_> = clients.iter().filter_map(|client| store.user(&client.account)).collect();
    let mut contents = BTreeSet::new();
    let mut lines = store.lines.iter().chain(&store.direct).filter(|line| honest.contains(&line.user));
    match lines.find(|line| !contents.insert(&line.content)) {
        Some(twice) => Err(format!("{:?} is stored twice", twice.content)),
        None => Ok(()),
    }
}

/// Members without what is told now and then only: a stream's rollovers go to who joins.
fn shown<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<Member> {
    members.into_iter().map(|member| Member { roc: 0, ..member.clone() }).collect()
}

/// A room's home, its replicas and its members' rosters say the same, and replicas are where they are needed.
fn room(name: &str, number: RoomNumber, shards: &[Shard], clients: &[Client]) -> Result<(), String> {
    let home = shards.iter().find_map(|shard| shard.home_members(number));
    let home = home.ok_or_else(|| format!("{name} has no home"))?;
    let wanted = shards.iter().find_map(|shard| shard.replica_shards(number)).unwrap_or_default();
    for (shard, kernel) in shards.iter().enumerate() {
        let replica = kernel.replica_members(number);
        if replica.is_some() != wanted.iter().any(|wanted| wanted.index() == shard) {
            return Err(format!("shard {shard}: a replica of {name} is kept for nobody, or is missing"));
        }
        if replica.is_some_and(|members| members != home) {
            return Err(format!("shard {shard}: the replica of {name} differs from its home"));
        }
    }
    let inside: BTreeSet<SessionId> = home.iter().map(|member| SessionId(member.session_id)).collect();
    for client in clients {
        let is_inside = inside.contains(&client.id());
        let Some(room) = client.rooms().find(|room| **room.name() == *name) else {
            if is_inside && !client.may_be_in(name) {
                return Err(format!("{} is in {name} and does not know", client.name));
            }
            continue;
        };
        if !is_inside || !room.is_complete() || shown(room.members()) != shown(&home) {
            let roster = shown(room.members());
            return Err(format!("{}: its roster of {name} is {roster:?}, home has {home:?}", client.name));
        }
    }
    match inside.iter().find(|session| !clients.iter().any(|client| client.id() == **session)) {
        Some(gone) => Err(format!("{name} has a member that is nobody's: {gone:?}")),
        None => Ok(()),
    }
}

/// Accounts' homes know of each session where it lives, and of no other.
fn sessions(shards: &[Shard]) -> Result<(), String> {
    let mut known: Vec<(SessionId, usize)> =
        shards.iter().flat_map(Shard::session_places).map(|(id, shard)| (id, shard.index())).collect();
    let here = shards.iter().enumerate().flat_map(|(shard, kernel)| kernel.sessions_here().map(move |id| (id, shard)));
    let mut there: Vec<(SessionId, usize)> = here.collect();
    let at_homes = shards.iter().flat_map(Shard::members_shards);
    if let Some((id, shard)) = at_homes.into_iter().find(|(id, at)| !there.contains(&(*id, at.index()))) {
        return Err(format!("a room's home believes {id:?} at shard {}; sessions live at {there:?}", shard.0));
    }
    known.sort_unstable();
    there.sort_unstable();
    if known == there { Ok(()) } else { Err(format!("sessions live at {there:?}, accounts' homes know {known:?}")) }
}

/// Every shard knows the newest ban; which of the older ones are over, each finds out by itself.
fn bans(shards: &[Shard]) -> Result<(), String> {
    let newest: Vec<Option<u64>> = shards.iter().map(|shard| shard.ban_ids().last().copied()).collect();
    if newest.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    Err(format!("the newest ban that each shard knows is {newest:?}"))
}
