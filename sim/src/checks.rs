//! What must be so when everything has come to rest.
//!
//! Checked while a seed runs, by `client`: nothing heard of a room it is not in, lines in order, one
//! answer to each request, nothing that a session must drop.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use echomesh_proto::ids::{RoomNumber, SessionId};
use echomesh_shard::chat_jobs::Place;
use echomesh_shard::{Drop, Shard};

use crate::client::Client;
use crate::store::Store;

/// Each client heard each of these lines.
pub fn all_heard(clients: &[Client], lines: &[String]) -> Result<(), String> {
    for client in clients {
        if let Some(missing) = lines.iter().find(|line| !client.contents.contains(*line)) {
            return Err(format!("after healing {} did not hear {missing:?}", client.name));
        }
    }
    Ok(())
}

/// Every other client heard each of these frames of a speaker, without a gap in the numbers.
pub fn voice_heard(clients: &[Client], speaker: usize, frames: RangeInclusive<u32>) -> Result<(), String> {
    let name = &clients[speaker].name;
    for listener in clients.iter().filter(|client| client.name != *name) {
        let mut indices = Vec::new();
        for frame in frames.clone() {
            match listener.heard_frames.get(&(name.clone(), frame)) {
                Some(index) => indices.push(*index),
                None => return Err(format!("{} did not hear frame {frame} of {name}", listener.name)),
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
        let near = told.round_trip_us.is_some_and(|us| us < 1_000);
        let alone = clients.len() == 1;
        if !near || told.uplink.is_none() || !(alone || told.listeners.is_some_and(|listeners| listeners.loss == 0)) {
            return Err(format!("{} was told {told:?}", client.name));
        }
    }
    Ok(())
}

/// Everything else.
pub fn at_rest(shards: &[Shard], clients: &[Client], store: &Store) -> Result<(), String> {
    for client in clients {
        chat(client, store)?;
        direct(client, clients, store)?;
        if client.unanswered() > 0 || !client.unsent.is_empty() {
            return Err(format!("{} has requests without an answer", client.name));
        }
    }
    stored_once(store)?;
    for (key, stored) in &store.rooms {
        room(key, stored.number, shards, clients)?;
    }
    for (shard, kernel) in shards.iter().enumerate() {
        if kernel.counters().dropped(Drop::MeshBadRecord) > 0 {
            return Err(format!("shard {shard}: a mesh record that does not parse"));
        }
        let counters = kernel.counters();
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
            return Err(format!(
                "shard {shard}: {accepted} packets, {} went on, {dropped} dropped",
                counters.voice_fanned_out
            ));
        }
        if !kernel.waits_for_rings().is_empty() {
            return Err(format!("shard {shard}: records still wait"));
        }
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
    let history = store.direct_history(&client.name);
    for (other, ids) in &client.direct_heard {
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { continue };
        let theirs = clients.iter().find(|client| client.name == *other);
        let said = theirs.into_iter().flat_map(|client| &client.direct_acknowledged);
        let mut said = said.filter(|(to, id)| *to == client.name && *id > history && (first..=last).contains(&id));
        if let Some((_, id)) = said.find(|(_, id)| ids.binary_search(id).is_err()) {
            return Err(format!("{} did not hear line {id} from {other}", client.name));
        }
    }
    Ok(())
}

fn stored_once(store: &Store) -> Result<(), String> {
    let mut contents = BTreeSet::new();
    match store.lines.iter().chain(&store.direct).find(|line| !contents.insert(&line.content)) {
        Some(twice) => Err(format!("{:?} is stored twice", twice.content)),
        None => Ok(()),
    }
}

/// A room's home, its replicas and its members' rosters say the same.
fn room(name: &str, number: RoomNumber, shards: &[Shard], clients: &[Client]) -> Result<(), String> {
    let home = shards.iter().find_map(|shard| shard.home_members(number));
    let home = home.ok_or_else(|| format!("{name} has no home"))?;
    for (shard, replica) in shards.iter().enumerate() {
        if replica.replica_members(number).is_some_and(|members| members != home) {
            return Err(format!("shard {shard}: the replica of {name} differs from its home"));
        }
    }
    let members: BTreeSet<SessionId> = home.iter().map(|(session, _)| *session).collect();
    for client in clients {
        let inside = members.contains(&client.id());
        let Some(room) = client.rooms().find(|room| **room.name() == *name) else {
            if inside && !client.may_be_in(name) {
                return Err(format!("{} is in {name} and does not know", client.name));
            }
            continue;
        };
        let roster: BTreeSet<SessionId> = room.members().map(|member| SessionId(member.session_id)).collect();
        if !inside || !room.is_complete() || roster != members {
            return Err(format!("{}: its roster of {name} is {roster:?}, home has {members:?}", client.name));
        }
    }
    match members.iter().find(|session| !clients.iter().any(|client| client.id() == **session)) {
        Some(gone) => Err(format!("{name} has a member that is nobody's: {gone:?}")),
        None => Ok(()),
    }
}
