//! The server of the simulated world: started, killed and started again on what is in the store.
//!
//! A kill loses what is in the shards, in the rings, and on its way from store and hashers; what the store did is
//! done. Clients learn at once, as they do of a process that ends. Bounds: a kill in `KILL_ONE_IN` actions.

use echomesh_proto::ids::ShardId;
use echomesh_shard::{Limits, Registration, Shard, ShardConfig};

use crate::store::Store;
use crate::voice::Downlink;
use crate::world::{Event, World};

/// How rare kills are.
pub const KILL_ONE_IN: u64 = 200;

/// The shards of a server that starts on this store. Seeds are never the same on two shards or runs, as the
/// configuration demands.
pub fn start(shards: u8, run: u8, seeds: &[u8], speakers_max: u32, store: &mut Store) -> Vec<Shard> {
    let ended_rooms = store.begin();
    let kernel = |(shard, seed): (u8, &u8)| {
        Shard::new(ShardConfig {
            shard: ShardId(shard),
            shards,
            seed: [[*seed, shard, run, 0]; 8].concat().try_into().expect("8 times 4 are 32 bytes"),
            server_name: "sim".to_owned(),
            server_version: "0".to_owned(),
            voice_port: 1,
            registration: Registration::Open,
            guests: false,
            plaintext_anywhere: false,
            spread_after: 1,
            speakers_max,
            retention_days: 0,
            limits: Limits { output_bytes_max: 64 * 1024, ..Limits::default() },
            rooms: store.rooms(),
            bans: Vec::new(),
            sessions: store.sessions(),
            ended_rooms: if shard == 0 { ended_rooms.clone() } else { Vec::new() },
        })
    };
    (0..shards).zip(seeds).map(kernel).collect()
}

impl World {
    /// SIGKILL, and a start.
    pub fn restart(&mut self) {
        self.restarts += 1;
        let seeds: Vec<u8> = (0..self.shards.len()).map(|_| self.below(256) as u8).collect();
        self.events.retain(|_, event| {
            !matches!(
                event,
                Event::ToServer(..)
                    | Event::ToClient(..)
                    | Event::ClientClosed(..)
                    | Event::ServerClosed(..)
                    | Event::Mesh(..)
                    | Event::MeshVoice(..)
                    | Event::Store(..)
                    | Event::Hash(..)
            )
        });
        self.connections.clear();
        self.store_free.iter_mut().for_each(|free| *free = 0);
        for ring in self.rings.values_mut() {
            ring.clear();
        }
        self.downlink = Downlink::after(&self.downlink);
        self.shards = start(seeds.len() as u8, self.restarts as u8, &seeds, self.speakers_max, &mut self.store);
        self.refill(true);
        for client in 0..self.clients.len() {
            if self.clients[client].connection.take().is_some() {
                self.tell(client, echomesh_client::Input::Closed);
            }
        }
    }
}
