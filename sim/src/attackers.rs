//! Those who mean harm, beside the honest clients: garbage, mutated frames and datagrams, replays from another address,
//! sessions resumed without their secret, connections that begin a frame and wait.
//!
//! One has an account and so may send the mutated frames of others as its own; it makes no room, asks for nothing of
//! moderators, and has no session left when the seed heals. It knows everything but secrets: it reads along, TCP and UDP.
//! Checked: without a login nothing is told but refusals, no session is had without its secret, and no datagram ever
//! goes to an address that only replays.
//! Bounds: `OVERHEARD` writes and datagrams are kept.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use echomesh_proto::control::{Body, EchoMsg, LoginRequest, ResumeRequest, RoomActionType, StatusCode};
use echomesh_proto::framing::FrameDecoder;
use echomesh_proto::ids::ConnectionId;
use prost::Message;

use crate::world::{Event, World};

/// Writes and datagrams kept to be mutated.
const OVERHEARD: usize = 24;

/// Longest write that is kept, bytes.
const OVERHEARD_BYTES: usize = 600;

/// Where attackers' datagrams come from.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);

/// Account of the one that has one.
pub const MALLORY: &str = "mallory";

/// How long an attacker's connection is left open at most, microseconds.
const PATIENCE_US: u64 = 4_000_000;

/// One connection of an attacker.
#[derive(Default)]
pub struct Attacker {
    /// Knows a password.
    logs_in: bool,
    decoder: FrameDecoder,
}

/// All of them, and what they read.
#[derive(Default)]
pub struct Attackers {
    pub connections: BTreeMap<(usize, ConnectionId), Attacker>,
    writes: VecDeque<Vec<u8>>,
    datagrams: VecDeque<Vec<u8>>,
}

fn keep(list: &mut VecDeque<Vec<u8>>, bytes: &[u8]) {
    if bytes.len() <= OVERHEARD_BYTES {
        list.truncate(OVERHEARD - 1);
        list.push_front(bytes.to_vec());
    }
}

impl Attackers {
    /// An honest client writes this, after its login.
    pub fn overhear(&mut self, bytes: &[u8]) {
        keep(&mut self.writes, bytes);
    }

    /// An honest datagram has arrived, and was taken.
    pub fn overhear_datagram(&mut self, datagram: &[u8]) {
        keep(&mut self.datagrams, datagram);
    }
}

/// What would give the attacker a place that honest clients must be able to take back, or an account of theirs.
fn goes_too_far(bytes: &[u8]) -> bool {
    let mut decoder = FrameDecoder::default();
    decoder.push(bytes);
    while let Ok(Some(frame)) = decoder.next_frame() {
        let Ok(msg) = EchoMsg::decode(frame) else { return false };
        match msg.body {
            Some(Body::RoomAction(action)) if action.action_type() == RoomActionType::RaCreate => return true,
            Some(Body::LoginRequest(_) | Body::ResumeRequest(_) | Body::Moderation(_)) => return true,
            _ => {}
        }
    }
    false
}

impl World {
    /// Some attack.
    pub fn attack(&mut self) {
        match self.below(8) {
            0 => {
                let garbage = self.garbage(64);
                self.attack_by_tcp(Attacker::default(), vec![garbage]);
            }
            1 => {
                let writes = (0..3).filter_map(|_| self.mutated()).collect();
                self.attack_by_tcp(Attacker::default(), writes);
            }
            2 => self.attack_by_tcp(Attacker::default(), vec![vec![0, 0, 1]]),
            3 => {
                let token = self.forged_token();
                let resume = Body::ResumeRequest(ResumeRequest { resume_token: token.into() });
                self.attack_by_tcp(Attacker::default(), vec![frame(resume)]);
            }
            4 | 5 => {
                let username = MALLORY.to_owned();
                let login = LoginRequest { username, password: "guess".to_owned(), ..LoginRequest::default() };
                let mut writes = vec![frame(Body::LoginRequest(login))];
                writes.extend((0..4).filter_map(|_| self.mutated()));
                self.attack_by_tcp(Attacker { logs_in: true, ..Attacker::default() }, writes);
            }
            6 => {
                let datagram = if self.below(2) == 0 { Some(self.garbage(200)) } else { self.mutated_datagram() };
                self.attack_by_udp(datagram);
            }
            _ => {
                let at = self.below(OVERHEARD as u64) as usize;
                self.attack_by_udp(self.attackers.datagrams.get(at).cloned());
            }
        }
    }

    /// Whether an address is an attacker's.
    pub fn is_attackers(address: &SocketAddr) -> bool {
        address.ip() == ADDRESS
    }

    /// What the server says to an attacker.
    pub fn attacker_told(&mut self, shard: usize, connection: ConnectionId, bytes: &[u8]) {
        let Some(attacker) = self.attackers.connections.get_mut(&(shard, connection)) else { return };
        attacker.decoder.push(bytes);
        let mut broken = None;
        while let Ok(Some(frame)) = attacker.decoder.next_frame() {
            match EchoMsg::decode(frame).ok().and_then(|msg| msg.body) {
                _ if attacker.logs_in => {}
                Some(Body::LoginResponse(answer)) if answer.status_code() == StatusCode::StatusOk => {
                    broken = Some("a session was resumed without its secret".to_owned());
                }
                Some(Body::Status(_) | Body::LoginResponse(_) | Body::Ping(_)) => {}
                other => broken = Some(format!("someone without a login was told {other:?}")),
            }
        }
        if let Some(broken) = broken {
            self.break_with(broken);
        }
        let delay = self.delay();
        self.later(delay, Event::Drained(shard, connection, bytes.len()));
    }

    /// All attackers go.
    pub fn attackers_leave(&mut self) {
        for (shard, connection) in self.attackers.connections.keys().copied().collect::<Vec<_>>() {
            self.later(0, Event::ServerClosed(shard, connection));
        }
    }

    fn attack_by_tcp(&mut self, attacker: Attacker, writes: Vec<Vec<u8>>) {
        let shard = self.below(self.shards.len() as u64) as usize;
        let Some(connection) = self.accept(shard) else { return };
        self.attackers.connections.insert((shard, connection), attacker);
        let mut delay = 0;
        for bytes in writes {
            delay += self.below(20_000);
            self.later(delay, Event::ToServer(shard, connection, bytes));
        }
        let patience = self.below(PATIENCE_US);
        self.later(delay + patience, Event::ServerClosed(shard, connection));
    }

    fn attack_by_udp(&mut self, datagram: Option<Vec<u8>>) {
        let Some(datagram) = datagram else { return };
        let source = (ADDRESS, 1 + self.below(60_000) as u16).into();
        let delay = self.delay();
        self.later(delay, Event::Uplink(source, self.time + delay, datagram));
    }

    fn garbage(&mut self, bytes_max: u64) -> Vec<u8> {
        let length = 1 + self.below(bytes_max);
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// A write of someone honest, with some bits another way, or shorter.
    fn mutated(&mut self) -> Option<Vec<u8>> {
        let at = self.below(OVERHEARD as u64) as usize;
        let mut bytes = self.attackers.writes.get(at)?.clone();
        self.mutate(&mut bytes);
        (!goes_too_far(&bytes)).then_some(bytes)
    }

    fn mutated_datagram(&mut self) -> Option<Vec<u8>> {
        let at = self.below(OVERHEARD as u64) as usize;
        let mut bytes = self.attackers.datagrams.get(at)?.clone();
        self.mutate(&mut bytes);
        Some(bytes)
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(3) {
            let at = self.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.below(8);
        }
        if self.below(4) == 0 {
            let length = 1 + self.below(bytes.len() as u64) as usize;
            bytes.truncate(length);
        }
    }

    /// The token of someone's session, but for its secret.
    fn forged_token(&mut self) -> Vec<u8> {
        let client = self.below(self.clients.len() as u64) as usize;
        let (session, user) = (self.clients[client].id(), self.clients[client].user());
        let secret: Vec<u8> = (0..16).map(|_| self.below(256) as u8).collect();
        [&session.0.to_be_bytes()[..], &user.0.to_be_bytes()[..], &secret[..]].concat()
    }
}

fn frame(body: Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    EchoMsg::new(1, body).append_frame(&mut bytes);
    bytes
}
