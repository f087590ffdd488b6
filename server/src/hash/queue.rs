//! The hashers' queue: whose password is next.
//!
//! Not the hashing. In: requests from the desks of all shards. Out: the next one; `Busy` to what finds no place.
//! Bounds: `waiting_max` requests wait. Address prefixes (/24 or /56) take turns, and when the queue is full,
//! the prefix with the most in it gives way to one with fewer: a flood from one place delays others by one
//! password, and those behind one address log in one after the other.
//! Cost: a look at each prefix that waits.

use std::collections::VecDeque;
use std::net::IpAddr;

use echomesh_shard::{HashOutcome, HashReply, HashRequest};

use crate::jobs::HashDesk;

/// What the hashers share. Locked for microseconds, and never by a shard.
pub(super) struct Queue {
    desks: Vec<HashDesk>,
    /// Whose turn it is, first the next. None is empty.
    turns: VecDeque<Turn>,
    /// Requests in all turns.
    waiting: usize,
    waiting_max: usize,
}

/// The requests of one prefix, in their order.
struct Turn {
    prefix: Prefix,
    requests: VecDeque<Admitted>,
}

/// A request with a place in the queue, and who asked.
pub(super) struct Admitted {
    shard: usize,
    pub(super) request: HashRequest,
}

/// Addresses that take one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    Loopback,
    /// An IPv4 /24.
    V4([u8; 3]),
    /// An IPv6 /56: what one household or host gets at least (RFC 6177 §2).
    V6([u8; 7]),
}

impl Queue {
    /// Empty, for these desks and this many requests.
    pub(super) fn new(desks: Vec<HashDesk>, waiting_max: usize) -> Self {
        Self { desks, turns: VecDeque::new(), waiting: 0, waiting_max }
    }

    /// Takes what the shards have asked, and answers `Busy` to what finds no place.
    pub(super) fn admit(&mut self) {
        for shard in 0..self.desks.len() {
            while let Some(request) = self.desks[shard].take() {
                let prefix = Prefix::of(request.remote);
                let admitted = Admitted { shard, request };
                match self.make_room(prefix) {
                    Ok(()) => self.add(prefix, admitted),
                    Err(Full) => self.answer(&admitted, HashOutcome::Busy),
                }
            }
        }
    }

    /// Makes room for a request of this prefix, if need be at the expense of the prefix with the most: of that
    /// the latest, which has waited least.
    fn make_room(&mut self, prefix: Prefix) -> Result<(), Full> {
        if self.waiting < self.waiting_max {
            return Ok(());
        }
        let own = self.turns.iter().find(|turn| turn.prefix == prefix).map_or(0, |turn| turn.requests.len());
        let most = self.turns.iter_mut().max_by_key(|turn| turn.requests.len()).ok_or(Full)?;
        if most.requests.len() <= own + 1 {
            return Err(Full);
        }
        let evicted = most.requests.pop_back().ok_or(Full)?;
        self.waiting -= 1;
        self.answer(&evicted, HashOutcome::Busy);
        Ok(())
    }

    fn add(&mut self, prefix: Prefix, admitted: Admitted) {
        self.waiting += 1;
        match self.turns.iter_mut().find(|turn| turn.prefix == prefix) {
            Some(turn) => turn.requests.push_back(admitted),
            None => self.turns.push_back(Turn { prefix, requests: VecDeque::from([admitted]) }),
        }
    }

    /// The first request of the prefix whose turn it is, which is then the last to have its next.
    pub(super) fn next(&mut self) -> Option<Admitted> {
        let mut turn = self.turns.pop_front()?;
        let next = turn.requests.pop_front()?;
        self.waiting -= 1;
        if !turn.requests.is_empty() {
            self.turns.push_back(turn);
        }
        Some(next)
    }

    /// Gives a request its answer, and wakes who asked.
    pub(super) fn answer(&mut self, admitted: &Admitted, outcome: HashOutcome) {
        let desk = &mut self.desks[admitted.shard];
        desk.reply(HashReply { token: admitted.request.token, outcome });
        desk.wake();
    }
}

/// The queue has no room for this prefix.
struct Full;

impl Prefix {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Prefix::Loopback,
            IpAddr::V4(v4) => Prefix::V4(*v4.octets().first_chunk().expect("an IPv4 address has 4 bytes")),
            IpAddr::V6(v6) => Prefix::V6(*v6.octets().first_chunk().expect("an IPv6 address has 16 bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use echomesh_proto::time::Time;
    use echomesh_shard::{JobToken, Limits};

    use super::*;
    use crate::jobs::{JobPort, JobReply, Workers, rings};
    use crate::measures::Measures;
    use crate::wake::Wake;

    const WAITING_MAX: usize = 64;

    fn request(slot: u32, remote: &str) -> HashRequest {
        let token = JobToken { slot, generation: 0 };
        HashRequest { token, remote: remote.parse().unwrap(), password: "x".into(), verify: None }
    }

    /// A queue with one desk, and the shard's port to it.
    fn queue() -> (Queue, JobPort) {
        let wake = Arc::new(Wake::new().unwrap());
        let (port_rings, _store, desk) = rings(&Limits::default(), &wake);
        let here = std::thread::current();
        let workers = Workers { store: here.clone(), reader: here.clone(), hash: vec![here] };
        (Queue::new(vec![desk], WAITING_MAX), JobPort::new(port_rings, workers))
    }

    fn next_slots(queue: &mut Queue) -> Vec<u32> {
        std::iter::from_fn(|| queue.next()).map(|admitted| admitted.request.token.slot).collect()
    }

    /// Goal: prefixes take turns, a /24, a /56 and loopback each one, mapped addresses with their own; a flood
    /// that came first delays another by one password.
    #[test]
    fn prefixes_take_turns() {
        let (mut queue, mut port) = queue();
        let flood = ["192.0.2.1", "192.0.2.9", "::ffff:192.0.2.7", "192.0.2.1"];
        let others = ["2001:db8:0:1::1", "127.0.0.1", "2001:db8:0:2::1", "::1", "198.51.100.1"];
        for (slot, remote) in flood.iter().chain(&others).enumerate() {
            port.hash(Time(0), request(slot as u32, remote));
        }
        queue.admit();
        assert_eq!(next_slots(&mut queue), [0, 4, 5, 8, 1, 6, 7, 2, 3]);
        assert_eq!((queue.waiting, queue.turns.len()), (0, 0));
    }

    /// Goal: one place in the full queue is always free to a newcomer, at the expense of whoever has the most,
    /// who is told; a flood gains nothing by going on, and the queue never grows past its bound.
    #[test]
    fn a_full_queue_gives_way_to_a_newcomer() {
        let (mut queue, mut port) = queue();
        let full = WAITING_MAX as u32;
        for slot in 0..=full {
            port.hash(Time(0), request(slot, "192.0.2.1"));
        }
        queue.admit();
        let busy = |slot| {
            Some(JobReply::Hash(HashReply { token: JobToken { slot, generation: 0 }, outcome: HashOutcome::Busy }))
        };
        assert_eq!(port.poll(Time(0), &mut Measures::default()), busy(full), "the flood's own is refused");
        port.hash(Time(0), request(full + 1, "198.51.100.1"));
        queue.admit();
        assert_eq!(port.poll(Time(0), &mut Measures::default()), busy(full - 1), "its latest gives way");
        assert_eq!(port.poll(Time(0), &mut Measures::default()), None);
        assert_eq!(queue.waiting, WAITING_MAX);
        let slots = next_slots(&mut queue);
        assert_eq!((slots.len(), slots[1]), (WAITING_MAX, full + 1));
    }
}
