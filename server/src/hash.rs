//! The password hashers: Argon2id on threads of their own, so that no shard waits for one.
//!
//! Not a cache and not a rule of logins: it answers what it is asked.
//! In: requests from the desks of all shards. Out: one reply each, `Busy` included.
//! Bounds: `QUEUE_MAX` requests admitted; of them, waiting or worked on, one for each address prefix
//! (/24 or /56), or `LOOPBACK_MAX` for loopback, where bots and proxies of this machine come from. So
//! one guesser cannot keep others from logging in. Cost: 19 MiB and about 20 ms of a core a password,
//! unless the operator chose another [`HashCost`].
//! Source: OWASP Password Storage Cheat Sheet, Argon2id, first choice: m = 19 MiB, t = 2, p = 1.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use echomesh_shard::{HashOutcome, HashReply, HashRequest};

use crate::jobs::HashDesk;

/// Requests admitted at a time: 64 × 20 ms is under the 10 s a login may take.
const QUEUE_MAX: usize = 64;

/// Requests of one address prefix at a time.
const PREFIX_MAX: usize = 1;

/// Requests from loopback at a time.
const LOOPBACK_MAX: usize = 8;

/// Bytes of salt (RFC 9106 §3.1: 16 recommended).
const SALT_BYTES: usize = 16;

/// Lower priority than the shards' threads: `nice` steps.
const NICE: i32 = 5;

/// Memory a hash may take, KiB: from the least of RFC 9106 §3.1 (8 a lane) to 4 GiB.
pub const MEMORY_KIB: RangeInclusive<u32> = 8..=4_194_304;

/// Passes over it: one is Argon2's least; 64 over the default memory take most of a second.
pub const PASSES: RangeInclusive<u32> = 1..=64;

/// Argon2id's cost of a new hash. A stored hash names its own, by which it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    /// Within [`MEMORY_KIB`].
    pub memory_kib: u32,
    /// Within [`PASSES`].
    pub passes: u32,
}

impl Default for HashCost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2 }
    }
}

impl HashCost {
    fn argon2(self) -> Argon2<'static> {
        let params = Params::new(self.memory_kib, self.passes, 1, None).expect("config keeps the bounds of RFC 9106");
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
    }
}

/// What the hashers share. Locked for microseconds, and never by a shard.
struct Queue {
    desks: Vec<HashDesk>,
    waiting: VecDeque<Admitted>,
    /// Prefixes of all that is admitted, those being worked on included.
    shares: Vec<Prefix>,
}

struct Admitted {
    shard: usize,
    prefix: Prefix,
    request: HashRequest,
}

/// Addresses that share one part of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    Loopback,
    /// An IPv4 /24.
    V4([u8; 3]),
    /// An IPv6 /56: what one household or host gets at least (RFC 6177 §2).
    V6([u8; 7]),
}

/// Starts `threads` hashers that serve these desks (one a shard) until `stop` is set and they are
/// unparked.
///
/// # Errors
/// The system gives no thread.
pub fn spawn(
    threads: usize,
    cost: HashCost,
    desks: Vec<HashDesk>,
    stop: &Arc<AtomicBool>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let shares = Vec::with_capacity(QUEUE_MAX);
    let queue = Arc::new(Mutex::new(Queue { desks, waiting: VecDeque::with_capacity(QUEUE_MAX), shares }));
    (0..threads)
        .map(|number| {
            let (queue, stop) = (queue.clone(), stop.clone());
            std::thread::Builder::new().name(format!("hasher-{number}")).spawn(move || serve(&queue, cost, &stop))
        })
        .collect()
}

fn serve(queue: &Mutex<Queue>, cost: HashCost, stop: &AtomicBool) {
    crate::resources::be_nice(NICE);
    let argon2 = cost.argon2();
    let mut done: Option<(Admitted, HashOutcome)> = None;
    while !stop.load(Ordering::Acquire) {
        let next = {
            let mut queue = queue.lock().expect("a hasher that panics stops the process");
            if let Some((admitted, outcome)) = done.take() {
                queue.finish(&admitted, outcome);
            }
            queue.admit();
            queue.waiting.pop_front()
        };
        match next {
            Some(admitted) => {
                let outcome = hash(&argon2, &admitted.request);
                done = Some((admitted, outcome));
            }
            None => std::thread::park(),
        }
    }
}

impl Queue {
    /// Takes what the shards have asked, and answers `Busy` to what is over the bounds.
    fn admit(&mut self) {
        for (shard, desk) in self.desks.iter_mut().enumerate() {
            let mut refused = false;
            while let Some(request) = desk.take() {
                let prefix = Prefix::of(request.remote);
                let share = self.shares.iter().filter(|other| **other == prefix).count();
                if self.shares.len() < QUEUE_MAX && share < prefix.share_max() {
                    self.shares.push(prefix);
                    self.waiting.push_back(Admitted { shard, prefix, request });
                } else {
                    desk.reply(HashReply { token: request.token, outcome: HashOutcome::Busy });
                    refused = true;
                }
            }
            if refused {
                desk.wake();
            }
        }
    }

    fn finish(&mut self, admitted: &Admitted, outcome: HashOutcome) {
        let share = self.shares.iter().position(|prefix| *prefix == admitted.prefix);
        self.shares.swap_remove(share.expect("an admitted request has a share until it is answered"));
        let desk = &mut self.desks[admitted.shard];
        desk.reply(HashReply { token: admitted.request.token, outcome });
        desk.wake();
    }
}

impl Prefix {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Prefix::Loopback,
            IpAddr::V4(v4) => Prefix::V4(*v4.octets().first_chunk().expect("an IPv4 address has 4 bytes")),
            IpAddr::V6(v6) => Prefix::V6(*v6.octets().first_chunk().expect("an IPv6 address has 16 bytes")),
        }
    }

    fn share_max(self) -> usize {
        match self {
            Prefix::Loopback => LOOPBACK_MAX,
            Prefix::V4(_) | Prefix::V6(_) => PREFIX_MAX,
        }
    }
}

fn hash(argon2: &Argon2<'_>, request: &HashRequest) -> HashOutcome {
    let password = request.password.as_bytes();
    if let Some(phc) = &request.verify {
        let right = PasswordHash::new(phc).is_ok_and(|hash| argon2.verify_password(password, &hash).is_ok());
        return HashOutcome::Verified(right);
    }
    let mut salt = [0; SALT_BYTES];
    if let Err(error) = getrandom::fill(&mut salt) {
        tracing::error!(%error, "the system gives no random bytes for a password's salt; the client is told to try again");
        return HashOutcome::Busy;
    }
    let salt = SaltString::encode_b64(&salt).expect("16 bytes are within a salt's bounds");
    let hashed = argon2.hash_password(password, &salt).expect("the kernel bounds passwords far below 4 GiB");
    HashOutcome::Hashed(hashed.to_string())
}

#[cfg(test)]
mod tests {
    use echomesh_shard::{JobToken, Limits};

    use super::*;
    use crate::jobs::{JobPort, JobReply, PortRings, Workers, rings};
    use crate::wake::Wake;

    fn request(slot: u32, remote: &str, password: &str, verify: Option<String>) -> HashRequest {
        let token = JobToken { slot, generation: 0 };
        HashRequest { token, remote: remote.parse().unwrap(), password: password.into(), verify }
    }

    fn port(rings: PortRings) -> JobPort {
        let here = std::thread::current();
        JobPort::new(rings, Workers { store: here.clone(), hash: vec![here] })
    }

    /// Goal: what was hashed verifies, with a salt of its own, and nothing else does, a damaged record
    /// included (RFC 9106; PHC string format).
    #[test]
    fn passwords_verify() {
        let argon2 = HashCost::default().argon2();
        let outcome = |password: &str, verify| hash(&argon2, &request(0, "192.0.2.1", password, verify));
        let HashOutcome::Hashed(first) = outcome("secret", None) else { panic!("not hashed") };
        let HashOutcome::Hashed(second) = outcome("secret", None) else { panic!("not hashed") };
        assert_ne!(first, second);
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_eq!(outcome("secret", Some(first.clone())), HashOutcome::Verified(true));
        assert_eq!(outcome("Secret", Some(first)), HashOutcome::Verified(false));
        assert_eq!(outcome("secret", Some("damaged".into())), HashOutcome::Verified(false));
    }

    /// Goal: a change of the cost is for new passwords and leaves the stored ones valid, in both directions.
    #[test]
    fn a_stored_hash_is_verified_by_its_own_cost() {
        let costs = [HashCost { memory_kib: 8, passes: 1 }, HashCost { memory_kib: 64, passes: 3 }];
        for (stored, now) in [(costs[0], costs[1]), (costs[1], costs[0])] {
            let HashOutcome::Hashed(phc) = hash(&stored.argon2(), &request(0, "192.0.2.1", "secret", None)) else {
                panic!("not hashed")
            };
            assert!(phc.contains(&format!("$m={},t={},p=1$", stored.memory_kib, stored.passes)), "{phc}");
            for (password, right) in [("secret", true), ("Secret", false)] {
                let verify = request(0, "192.0.2.1", password, Some(phc.clone()));
                assert_eq!(hash(&now.argon2(), &verify), HashOutcome::Verified(right));
            }
        }
    }

    /// Goal: a flood from one /24 or /56 has one place in the queue, loopback eight, and a place is free
    /// again once its request is answered.
    #[test]
    fn the_queue_is_fair_by_prefix() {
        let wake = Arc::new(Wake::new().unwrap());
        let (port_rings, _store, desk) = rings(&Limits::default(), &wake);
        let mut port = port(port_rings);
        let flood =
            ["192.0.2.1", "192.0.2.9", "198.51.100.1", "2001:db8:0:1::1", "2001:db8:0:2::1", "::ffff:192.0.2.7"];
        for (slot, remote) in flood.iter().chain(&["127.0.0.1"; LOOPBACK_MAX + 1]).enumerate() {
            port.hash(request(slot as u32, remote, "x", None));
        }
        let mut queue = Queue { desks: vec![desk], waiting: VecDeque::new(), shares: Vec::new() };
        queue.admit();
        let admitted: Vec<u32> = queue.waiting.iter().map(|one| one.request.token.slot).collect();
        assert_eq!(admitted, [0, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13]);
        for slot in [1, 4, 5, 14] {
            let busy = HashReply { token: JobToken { slot, generation: 0 }, outcome: HashOutcome::Busy };
            assert_eq!(port.poll(), Some(JobReply::Hash(busy)));
        }
        let first = queue.waiting.pop_front().unwrap();
        queue.finish(&first, HashOutcome::Verified(true));
        port.hash(request(20, "192.0.2.1", "x", None));
        queue.admit();
        assert_eq!(queue.waiting.back().unwrap().request.token.slot, 20);
    }

    /// Goal: two hashers answer every request of two shards exactly once, and stop when told.
    #[test]
    fn hashers_serve_every_shard() {
        let (mut desks, mut all_rings) = (Vec::new(), Vec::new());
        let wakes: Vec<_> = (0..2).map(|_| Arc::new(Wake::new().unwrap())).collect();
        for wake in &wakes {
            let (rings, _store, desk) = rings(&Limits::default(), wake);
            all_rings.push(rings);
            desks.push(desk);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let threads = spawn(2, HashCost { memory_kib: 8, passes: 1 }, desks, &stop).unwrap();
        let workers = Workers {
            store: std::thread::current(),
            hash: threads.iter().map(|thread| thread.thread().clone()).collect(),
        };
        for (shard, rings) in all_rings.into_iter().enumerate() {
            let mut port = JobPort::new(rings, workers.clone());
            for slot in 0..2 {
                port.hash(request(slot, "127.0.0.1", "secret", (shard == 1).then(|| "damaged".to_owned())));
            }
            let mut slots = Vec::new();
            while slots.len() < 2 {
                match port.poll() {
                    Some(JobReply::Hash(reply)) => slots.push(reply.token.slot),
                    Some(JobReply::Store(reply)) => panic!("nobody asked: {reply:?}"),
                    None => std::thread::yield_now(),
                }
            }
            slots.sort_unstable();
            assert_eq!(slots, [0, 1]);
        }
        stop.store(true, Ordering::Release);
        for thread in threads {
            thread.thread().unpark();
            thread.join().unwrap();
        }
    }
}
