//! TCP in the simulated world: connections between clients and shards, in order, in any pieces, at any time.
//!
//! Faults while the seed is young: bytes one by one, connections that are over for one side long before the other
//! learns of it, readers that are slow, clients that are cut off for seconds.
//! In: what sessions and kernels write. Out: events. Bounds: a slot a connection, `SLOTS` on a shard.

use std::collections::VecDeque;

use echomesh_proto::ids::ConnectionId;
use echomesh_shard::{Input, READ_BYTES_MAX, Security};

use crate::faults::Split;
use crate::told::Told;
use crate::world::{Event, World};

/// Connection slots of a shard.
const SLOTS: u32 = 64;

/// Bytes of a write that come one by one at most: a burst of long lines in bytes is a seed of minutes.
const SINGLE_BYTES: usize = 64;

/// Longest time until the other side learns that a connection is over, microseconds.
const LATE_CLOSE_US: u64 = 3_000_000;

/// Longest time that a client is cut off, microseconds: longer than a silent server is waited for.
const PARTITION_US: u64 = 25_000_000;

/// What is in the socket of a connection that is not read, or was not a moment ago.
#[derive(Default)]
pub struct Unread {
    is_paused: bool,
    pieces: VecDeque<Vec<u8>>,
}

impl World {
    /// Makes a connection at the server, if a slot is free.
    pub fn accept(&mut self, shard: usize) -> Option<ConnectionId> {
        self.slots += 1;
        let connection = ConnectionId { slot: self.slots % SLOTS, generation: self.slots };
        let is_taken = |(at, other): &(usize, ConnectionId)| *at == shard && other.slot == connection.slot;
        if self.connections.keys().any(is_taken) || self.attackers.connections.keys().any(is_taken) {
            return None;
        }
        self.later(0, Event::Accepted(shard, connection));
        Some(connection)
    }

    /// The server takes a connection.
    pub fn accepted(&mut self, shard: usize, connection: ConnectionId) {
        if self.is_open(shard, connection) {
            let address = "127.0.0.1:1".parse().expect("an address");
            self.input(shard, Input::Accepted { connection, remote: address, local: address });
        }
        // Unless it was refused.
        if self.is_open(shard, connection) {
            self.input(shard, Input::Opened { connection, security: Security::Plaintext });
        }
    }

    /// Whether a connection is open as the server sees it.
    pub fn is_open(&self, shard: usize, connection: ConnectionId) -> bool {
        let at = (shard, connection);
        self.connections.contains_key(&at) || self.attackers.connections.contains_key(&at)
    }

    /// Bytes are at the server: they are read, unless reading pauses.
    pub fn readable(&mut self, shard: usize, connection: ConnectionId, bytes: Vec<u8>) {
        if !self.is_open(shard, connection) {
            return;
        }
        match self.unread.get_mut(&(shard, connection)) {
            Some(unread) => unread.pieces.push_back(bytes),
            None => self.input(shard, Input::Bytes { connection, bytes: &bytes }),
        }
    }

    /// The kernel wants no more of a connection for now, or wants more again.
    pub fn set_reading(&mut self, shard: usize, connection: ConnectionId, is_paused: bool) {
        let unread = self.unread.entry((shard, connection)).or_default();
        unread.is_paused = is_paused;
        if !is_paused {
            self.later(0, Event::Readable(shard, connection));
        }
    }

    /// What waited is read, as long as the kernel wants it.
    pub fn read_on(&mut self, shard: usize, connection: ConnectionId) {
        while let Some(unread) = self.unread.get_mut(&(shard, connection)).filter(|unread| !unread.is_paused) {
            let Some(bytes) = unread.pieces.pop_front() else {
                self.unread.remove(&(shard, connection));
                return;
            };
            if self.is_open(shard, connection) {
                self.input(shard, Input::Bytes { connection, bytes: &bytes });
            }
        }
    }

    /// A client connects, to any shard.
    pub fn connect(&mut self, client: usize) {
        let shard = self.below(self.shards.len() as u64) as usize;
        let Some(connection) = self.accept(shard) else { return };
        self.connections.insert((shard, connection), client);
        let subject = &mut self.clients[client];
        subject.connection = Some((shard, connection));
        subject.arrives = self.time;
        subject.departs = self.time;
        self.tell(client, echomesh_client::Input::Connected);
    }

    /// The connection is gone for the client; the server learns it now or much later, so that the session
    /// may come back while its old connection still seems alive.
    pub fn reset(&mut self, client: usize, shard: usize, connection: ConnectionId) {
        let delay = if self.below(2) == 0 { 0 } else { self.below(LATE_CLOSE_US) };
        self.later(delay, Event::ServerClosed(shard, connection));
        self.clients[client].connection = None;
        self.tell(client, echomesh_client::Input::Closed);
    }

    /// Cuts a client off for a while.
    pub fn partition(&mut self, client: usize) {
        let bound = if self.below(4) == 0 { PARTITION_US } else { LATE_CLOSE_US };
        self.clients[client].cut_until = self.time + self.below(bound);
    }

    /// The next piece of what was written.
    fn piece(&mut self, bytes: usize, written: usize) -> usize {
        let single = match self.faults.split {
            _ if self.is_healed() => false,
            Split::Whole => false,
            Split::Mixed => self.below(4) == 0,
            Split::Bytes => written < SINGLE_BYTES,
        };
        if single { 1 } else { bytes.min(READ_BYTES_MAX) }
    }

    /// TCP to the server.
    pub fn transmit(&mut self, client: usize) {
        let bytes = self.clients[client].take_output();
        let Some((shard, connection)) = self.clients[client].connection else { return };
        if !bytes.is_empty() && self.clients[client].is_ready() {
            self.attackers.overhear(&bytes);
        }
        let mut at = 0;
        while at < bytes.len() {
            let length = self.piece(bytes.len() - at, at);
            let earliest = self.clients[client].arrives.max(self.clients[client].cut_until);
            let arrives = earliest.max(self.time + self.delay());
            self.clients[client].arrives = arrives;
            self.later(arrives - self.time, Event::ToServer(shard, connection, bytes[at..at + length].to_vec()));
            at += length;
        }
    }

    /// TCP from the server.
    pub fn deliver(&mut self, shard: usize, connection: ConnectionId, bytes: &[u8]) {
        if self.attackers.connections.contains_key(&(shard, connection)) {
            return self.attacker_told(shard, connection, bytes);
        }
        let Some(client) = self.connections.get(&(shard, connection)).copied() else { return };
        let id = self.clients[client].id();
        let is_ending = self.is_ending(shard);
        let told = self.told.entry((shard, connection)).or_insert_with(|| Told::new(is_ending));
        if let Err(broken) = told.told(id, bytes) {
            let name = &self.clients[client].name;
            self.break_with(format!("{name} is told {broken}"));
        }
        let slow = self.clients[client].slow && !self.is_healed();
        let mut at = 0;
        while at < bytes.len() {
            let length = self.piece(bytes.len() - at, at);
            let delay = if slow && at == 0 { self.below(self.faults.slow_us) } else { self.delay() };
            let earliest = self.clients[client].departs.max(self.clients[client].cut_until);
            let departs = earliest.max(self.time + delay);
            self.clients[client].departs = departs;
            let piece = bytes[at..at + length].to_vec();
            self.later(departs - self.time, Event::ToClient(client, shard, connection, piece));
            at += length;
        }
    }

    /// A client gets bytes, and the server's socket room for as many.
    pub fn arrived(&mut self, client: usize, shard: usize, connection: ConnectionId, bytes: &[u8]) {
        if self.clients[client].connection == Some((shard, connection)) {
            self.digest(bytes);
            self.tell(client, echomesh_client::Input::Bytes(bytes));
        }
        self.later(0, Event::Drained(shard, connection, bytes.len()));
    }

    /// Gives a client's session an input, and its bytes to TCP.
    pub fn tell(&mut self, client: usize, input: echomesh_client::Input<'_>) {
        if self.is_traced() && !matches!(input, echomesh_client::Input::Tick) {
            eprintln!("{:>10} us {}: {input:?}", self.time, self.clients[client].name);
        }
        let now = self.now();
        if let Err(broken) = self.clients[client].handle(now, input) {
            self.break_with(broken);
        }
        self.transmit(client);
        self.transmit_voice(client);
        // A session that gave its connection up has its driver close it.
        if let Some((shard, connection)) = self.clients[client].given_up() {
            self.reset(client, shard, connection);
        }
    }
}
