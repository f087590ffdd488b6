//! The store's part about rooms and sessions, what clients ask of rooms, and a server that is started again.

use std::collections::BTreeMap;

use echomesh_proto::control::{Body, Room, RoomAction, RoomActionType, RoomProperties, RoomState, Who};
use echomesh_proto::ids::{RoomNumber, ShardId};
use echomesh_shard::{
    Act, HashReply, Input, Properties, SavedSession, Shard, ShardConfig, StoreJob, StoreOutcome, StoreReply,
    StoreRequest, StoredRoom,
};

use super::{Client, Cluster};

/// What is stored of rooms and sessions.
#[derive(Default)]
pub struct Rooms {
    pub rooms: BTreeMap<String, StoredRoom>,
    numbers: u64,
    /// Rooms that ended and whose lines are there.
    pub ended: Vec<RoomNumber>,
    pub sessions: BTreeMap<u64, SavedSession>,
    /// The shard whose sessions the store is slow to take, and what it was asked.
    pub slow_for: Option<usize>,
    pub held: Vec<StoreRequest>,
}

impl Rooms {
    pub fn is_held(&self, shard: usize, request: &StoreRequest) -> bool {
        self.slow_for == Some(shard) && matches!(request.job, StoreJob::SaveSessions { .. })
    }

    pub fn carry_out(&mut self, job: StoreJob) -> StoreOutcome {
        match job {
            StoreJob::CreateRoom { key, name, properties, creator, .. } => {
                if let Some(taken) = self.rooms.get(&key) {
                    return StoreOutcome::RoomExists { room: taken.number };
                }
                self.numbers += 1;
                let number = RoomNumber(self.numbers);
                let standings = Vec::new();
                self.rooms.insert(
                    key.clone(),
                    StoredRoom { number, key, name, properties, creator, newest_line: 0, standings },
                );
                StoreOutcome::RoomCreated { room: number }
            }
            StoreJob::EndRoom { room } => {
                self.end(room);
                StoreOutcome::Swept { is_done: false }
            }
            StoreJob::SweepRoom { room } => {
                self.ended.retain(|ended| *ended != room);
                StoreOutcome::Swept { is_done: true }
            }
            StoreJob::SaveSessions { sessions, gone } => {
                for session in sessions {
                    self.sessions.insert(session.id.0, session);
                }
                for id in gone {
                    self.sessions.remove(&id.0);
                }
                StoreOutcome::SessionsSaved
            }
            other => panic!("not about rooms: {other:?}"),
        }
    }

    pub fn act(&mut self, act: &Act) {
        match act {
            Act::SetRoom { room, properties } => {
                let found = self.rooms.values_mut().find(|stored| stored.number == *room);
                found.expect("a room").properties.clone_from(properties);
            }
            Act::DeleteRoom { room } => self.end(*room),
            _ => {}
        }
    }

    fn end(&mut self, room: RoomNumber) {
        self.rooms.retain(|_, stored| stored.number != room);
        self.ended.push(room);
    }

    pub fn properties(&self, key: &str) -> Properties {
        self.rooms[key].properties.clone()
    }
}

impl Cluster {
    /// SIGKILL, and a start on what is stored; temporary rooms are gone.
    pub fn restart(&mut self, change: impl Fn(&mut ShardConfig)) {
        let shards = self.shards.len() as u8;
        let temporary: Vec<RoomNumber> =
            self.stored.rooms.values().filter(|room| room.properties.temporary).map(|room| room.number).collect();
        for room in temporary {
            self.stored.end(room);
        }
        let mut rooms: Vec<StoredRoom> = self.stored.rooms.values().cloned().collect();
        rooms.sort_by_key(|room| room.number);
        let sessions: Vec<SavedSession> = self.stored.sessions.values().cloned().collect();
        let kernel = |shard: u8| {
            let mut config = super::config(shard, shards);
            config.seed = [shard + 101; 32];
            config.rooms.clone_from(&rooms);
            config.sessions.clone_from(&sessions);
            change(&mut config);
            Shard::new(config)
        };
        self.shards = (0..shards).map(kernel).collect();
        self.forget_what_is_under_way();
        for shard in 0..usize::from(shards) {
            for target in 0..shards {
                self.input(shard, Input::RingFree { target: ShardId(target), bytes: 1 << 20 });
            }
        }
        self.pass(1);
    }

    /// The store does what it was slow to.
    pub fn release_sessions(&mut self) {
        let shard = self.stored.slow_for.take().unwrap();
        for StoreRequest { token, job } in std::mem::take(&mut self.stored.held) {
            let outcome = self.stored.carry_out(job);
            self.input(shard, Input::Store(StoreReply { token, outcome }));
        }
        self.run();
    }

    /// A new server: what was on its way to and in the old one is gone.
    fn forget_what_is_under_way(&mut self) {
        self.control.clear();
        self.voice.clear();
        self.jobs.clear();
        self.hashes.clear();
        self.decoders.clear();
        self.inbox.clear();
        self.peers.iter_mut().for_each(BTreeMap::clear);
    }

    pub fn room_state(&mut self, client: Client, body: Body) -> RoomState {
        match self.ask(client, body) {
            Body::RoomState(state) => state,
            other => panic!("{other:?}"),
        }
    }

    /// The rooms that a client is shown.
    pub fn listed(&mut self, client: Client, prefix: &str) -> Vec<Room> {
        let mut rooms = Vec::new();
        let mut action =
            RoomAction { action_type: RoomActionType::RaList as i32, prefix: prefix.into(), ..RoomAction::default() };
        loop {
            let state = self.room_state(client, Body::RoomAction(action.clone()));
            rooms.extend(state.rooms);
            if state.next_page.is_empty() {
                return rooms;
            }
            action.page = state.next_page;
        }
    }

    pub fn names(&mut self, client: Client, prefix: &str) -> Vec<String> {
        self.listed(client, prefix).into_iter().map(|room| room.room_id).collect()
    }

    /// The hashers answer what was held back.
    pub fn release(&mut self, held: Vec<(usize, HashReply)>) {
        self.hashes.extend(held);
    }

    pub fn who(&mut self, client: Client) -> Who {
        match self.ask(client, Body::Who(Who::default())) {
            Body::Who(who) => who,
            other => panic!("{other:?}"),
        }
    }
}

pub fn create(room: &str, properties: RoomProperties) -> Body {
    with(RoomActionType::RaCreate, room, properties)
}

pub fn set(room: &str, properties: RoomProperties) -> Body {
    with(RoomActionType::RaSet, room, properties)
}

fn with(kind: RoomActionType, room: &str, properties: RoomProperties) -> Body {
    let properties = Some(properties);
    Body::RoomAction(RoomAction { action_type: kind as i32, room_id: room.into(), properties, ..RoomAction::default() })
}

pub fn join_with(room: &str, password: &str) -> Body {
    let action_type = RoomActionType::RaJoin as i32;
    Body::RoomAction(RoomAction {
        action_type,
        room_id: room.into(),
        password: password.into(),
        ..RoomAction::default()
    })
}

pub fn about(kind: RoomActionType, room: &str, username: &str) -> Body {
    let username = username.into();
    Body::RoomAction(RoomAction { action_type: kind as i32, room_id: room.into(), username, ..RoomAction::default() })
}
