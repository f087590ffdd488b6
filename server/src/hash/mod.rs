//! The password hashers: Argon2id on threads of their own, so that no shard waits for one.
//!
//! Not a cache and not a rule of logins: it answers what it is asked.
//! In: requests from the desks of all shards. Out: one reply each, `Busy` included.
//! Bounds: `queue` has them, and says whose turn it is.
//! Cost: 19 MiB and about 20 ms of a core a password, unless the operator chose another [`HashCost`].
//! Source: OWASP Password Storage Cheat Sheet, Argon2id, first choice: m = 19 MiB, t = 2, p = 1.

mod queue;

use std::io;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use echomesh_shard::{HashOutcome, HashRequest};

use crate::jobs::HashDesk;
use queue::{Admitted, Queue};

/// How long the last of a full queue waits for one hasher: far less than the 10 s a login may take.
const QUEUE_MS: usize = 1_300;

/// Requests that wait at most, however cheap or dear they are: what four shards may have unanswered, and enough
/// for prefixes to take turns.
const QUEUE_BOUNDS: (usize, usize) = (8, 1_024);

/// Milliseconds of a hash at the default cost, measured.
const DEFAULT_MS: usize = 20;

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
    /// Requests that fill a queue of `QUEUE_MS`; the time of a hash goes with memory times passes.
    fn queue_max(self) -> usize {
        let work = |cost: Self| cost.memory_kib as usize * cost.passes as usize;
        let (min, max) = QUEUE_BOUNDS;
        (QUEUE_MS / DEFAULT_MS * work(Self::default()) / work(self)).clamp(min, max)
    }

    fn argon2(self) -> Argon2<'static> {
        let params = Params::new(self.memory_kib, self.passes, 1, None).expect("config keeps the bounds of RFC 9106");
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
    }
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
    let queue = Arc::new(Mutex::new(Queue::new(desks, cost.queue_max())));
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
                queue.answer(&admitted, outcome);
            }
            queue.admit();
            queue.next()
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

/// Said once: each new password could say it again.
static NO_SALT_TOLD: AtomicBool = AtomicBool::new(false);

fn hash(argon2: &Argon2<'_>, request: &HashRequest) -> HashOutcome {
    let password = request.password.as_bytes();
    if let Some(phc) = &request.verify {
        let stored = PasswordHash::new(phc).ok();
        let Some(right) = stored.filter(|hash| argon2.verify_password(password, hash).is_ok()) else {
            return HashOutcome::Verified(false);
        };
        let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        let is_of_today = Params::try_from(&right).is_ok_and(|params| cost(&params) == cost(argon2.params()));
        return if is_of_today { HashOutcome::Verified(true) } else { HashOutcome::Outdated };
    }
    match new_hash(argon2, password) {
        Ok(hashed) => HashOutcome::Hashed(hashed),
        Err(error) => {
            if !NO_SALT_TOLD.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "the system gives no random bytes for a password's salt; clients are told to try again");
            }
            HashOutcome::Busy
        }
    }
}

/// A password's PHC string.
fn new_hash(argon2: &Argon2<'_>, password: &[u8]) -> Result<String, getrandom::Error> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt)?;
    let salt = SaltString::encode_b64(&salt).expect("16 bytes are within a salt's bounds");
    let hashed = argon2.hash_password(password, &salt).expect("callers bound passwords far below 4 GiB");
    Ok(hashed.to_string())
}

/// A password of at most some hundred bytes, hashed at this cost, for a command on the machine.
///
/// # Errors
/// The system gives no random bytes.
pub fn hash_now(cost: HashCost, password: &str) -> Result<String, getrandom::Error> {
    new_hash(&cost.argon2(), password.as_bytes())
}

#[cfg(test)]
mod tests {
    use echomesh_proto::time::Time;
    use echomesh_shard::{JobToken, Limits};

    use super::*;
    use crate::jobs::{JobPort, JobReply, Workers, rings};
    use crate::measures::Measures;
    use crate::wake::Wake;

    fn request(slot: u32, remote: &str, password: &str, verify: Option<String>) -> HashRequest {
        let token = JobToken { slot, generation: 0 };
        HashRequest { token, remote: remote.parse().unwrap(), password: password.into(), verify }
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

    /// Goal: a change of the cost leaves the stored passwords valid, in both directions, and tells those that are right
    /// apart as outdated (PROTOCOL M67).
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
                let expected = if right { HashOutcome::Outdated } else { HashOutcome::Verified(false) };
                assert_eq!(hash(&now.argon2(), &verify), expected);
                let same = request(0, "192.0.2.1", password, Some(phc.clone()));
                assert_eq!(hash(&stored.argon2(), &same), HashOutcome::Verified(right));
            }
        }
    }

    /// Goal: a full queue is worked off in about the same time whatever a hash costs, within bounds.
    #[test]
    fn cheap_hashes_make_a_long_queue() {
        let queue_max = |memory_kib, passes| HashCost { memory_kib, passes }.queue_max();
        assert_eq!(HashCost::default().queue_max(), 65);
        assert_eq!(queue_max(64 * 1024, 3), 12);
        assert_eq!((queue_max(8, 1), queue_max(4_194_304, 64)), (1_024, 8));
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
            reader: std::thread::current(),
            hash: threads.iter().map(|thread| thread.thread().clone()).collect(),
        };
        for (shard, rings) in all_rings.into_iter().enumerate() {
            let mut port = JobPort::new(rings, workers.clone());
            for slot in 0..2 {
                port.hash(Time(0), request(slot, "127.0.0.1", "secret", (shard == 1).then(|| "damaged".to_owned())));
            }
            let mut slots = Vec::new();
            while slots.len() < 2 {
                match port.poll(Time(0), &mut Measures::default()) {
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
