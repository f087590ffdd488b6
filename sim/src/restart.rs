//! The server of the simulated world: started, killed or stopped in order, and started again on what is in the store.
//!
//! A kill loses what is in the shards, in the rings, and on its way to and from store and hashers; what the store did is
//! done. Clients learn at once, as they do of a process that ends. A restart in order comes after `draining`.

use echomesh_proto::ids::ShardId;
use echomesh_shard::{Limits, Registration, Shard, ShardConfig};

use crate::store::Store;
use crate::voice::Downlink;
use crate::world::{Event, World};

/// The server's bounds: the usual ones, or hardly more than the clients need in the end.
pub fn limits(tight: bool) -> Limits {
    let usual = Limits { output_bytes_max: 64 * 1024, ..Limits::default() };
    if !tight {
        return usual;
    }
    Limits {
        streams_max: 33,
        account_sessions_max: 4,
        rooms_max: 4,
        session_rooms_max: 4,
        room_members_max: 9,
        store_requests_max: 12,
        reads_max: 4,
        hash_requests_max: 8,
        outbox_bytes_max: 128 * 1024,
        bans_max: 10,
        ..usual
    }
}

/// A server's configuration but for what is a shard's own.
pub fn config(speakers_max: u32, limits: Limits) -> ShardConfig {
    ShardConfig {
        shard: ShardId(0),
        shards: 0,
        seed: [0; 32],
        server_name: "sim".to_owned(),
        server_version: "0".to_owned(),
        motd: String::new(),
        voice_port: 1,
        registration: Registration::Open,
        guests: false,
        plaintext_anywhere: false,
        spread_after: 1,
        speakers_max,
        retention_days: 0,
        limits,
        rooms: Vec::new(),
        bans: Vec::new(),
        sessions: Vec::new(),
        ended_rooms: Vec::new(),
    }
}

/// The shards of a server that starts on this store. Seeds are never the same on two shards or runs, as the
/// configuration demands.
pub fn start(seeds: &[u8], run: u8, config: &ShardConfig, store: &mut Store) -> Vec<Shard> {
    let ended_rooms = store.begin();
    let shards = seeds.len() as u8;
    let kernel = |(shard, seed): (u8, &u8)| {
        Shard::new(ShardConfig {
            shard: ShardId(shard),
            shards,
            seed: [[*seed, shard, run, 0]; 8].concat().try_into().expect("8 times 4 are 32 bytes"),
            rooms: store.rooms(),
            sessions: store.sessions(),
            ended_rooms: if shard == 0 { ended_rooms.clone() } else { Vec::new() },
            ..config.clone()
        })
    };
    (0..shards).zip(seeds).map(kernel).collect()
}

impl World {
    /// SIGKILL or the end of a stop in order, and a start.
    pub fn restart(&mut self) {
        self.restarts += 1;
        self.ending = None;
        let seeds: Vec<u8> = (0..self.shards.len()).map(|_| self.below(256) as u8).collect();
        self.events.retain(|_, event| {
            !matches!(
                event,
                Event::Accepted(..)
                    | Event::ToServer(..)
                    | Event::Readable(..)
                    | Event::ToClient(..)
                    | Event::Drained(..)
                    | Event::ClientClosed(..)
                    | Event::ServerClosed(..)
                    | Event::Mesh(..)
                    | Event::MeshVoice(..)
                    | Event::StoreDoes(..)
                    | Event::Store(..)
                    | Event::Hash(..)
                    | Event::Drains(_)
                    | Event::Stops(_)
                    | Event::Restart
                    | Event::Reloads(_)
            )
        });
        self.connections.clear();
        self.attackers.connections.clear();
        self.unread.clear();
        self.told.clear();
        self.occupancy.clear();
        self.store_free.fill(0);
        self.store_answers.fill(0);
        self.stalled_until.fill(0);
        for ring in self.rings.values_mut() {
            ring.clear();
        }
        self.downlink = Downlink::after(&mut self.downlink);
        self.shards = start(&seeds, self.restarts as u8, &self.config, &mut self.store);
        self.refill(true);
        for client in 0..self.clients.len() {
            if self.clients[client].connection.take().is_some() {
                self.tell(client, echomesh_client::Input::Closed);
            }
        }
    }
}
