//! The password hashers: Argon2id on a thread of their own, so that no shard waits for one.
//!
//! Bounds: `QUEUE_MAX` requests, of them `PREFIX_MAX` from one address prefix (/24 or /56; loopback has
//! the whole queue), so that one guesser cannot keep others from logging in. Cost: 19 MiB and about
//! 20 ms a password (OWASP's first choice: m = 19 MiB, t = 2, p = 1, which are argon2's defaults).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use echomesh_shard::{HashOutcome, HashReply, HashRequest};

use crate::jobs::HashDesk;

const QUEUE_MAX: usize = 64;
const PREFIX_MAX: usize = 1;

/// Looks for the stop flag at least this often.
const PARK: Duration = Duration::from_millis(200);

/// Serves all shards until stopped.
pub fn run(mut desks: Vec<HashDesk>, stop: &Arc<AtomicBool>) {
    let mut queue: VecDeque<(usize, HashRequest)> = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        admit(&mut desks, &mut queue);
        match queue.pop_front() {
            Some((shard, request)) => {
                let outcome = work(&request);
                desks[shard].reply(HashReply { token: request.token, outcome });
                desks[shard].wake();
            }
            None => std::thread::park_timeout(PARK),
        }
    }
}

fn admit(desks: &mut [HashDesk], queue: &mut VecDeque<(usize, HashRequest)>) {
    for (shard, desk) in desks.iter_mut().enumerate() {
        let mut refused = false;
        while let Some(request) = desk.take() {
            let prefix = prefix(request.remote);
            let waiting = queue.iter().filter(|(_, other)| self::prefix(other.remote) == prefix).count();
            let share = if request.remote.is_loopback() { QUEUE_MAX } else { PREFIX_MAX };
            if queue.len() < QUEUE_MAX && waiting < share {
                queue.push_back((shard, request));
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

fn prefix(address: IpAddr) -> [u8; 7] {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            [4, a, b, c, 0, 0, 0]
        }
        IpAddr::V6(v6) => *v6.octets().first_chunk().expect("an IPv6 address has 16 bytes"),
    }
}

fn work(request: &HashRequest) -> HashOutcome {
    let argon2 = Argon2::default();
    let password = request.password.as_bytes();
    if let Some(phc) = &request.verify {
        let right = PasswordHash::new(phc).is_ok_and(|hash| argon2.verify_password(password, &hash).is_ok());
        return HashOutcome::Verified(right);
    }
    let mut salt = [0; 16];
    let hashed = getrandom::fill(&mut salt).ok().and_then(|()| SaltString::encode_b64(&salt).ok()).and_then(|salt| {
        let hash = argon2.hash_password(password, &salt).ok()?;
        Some(HashOutcome::Hashed(hash.to_string()))
    });
    // No entropy or no memory: the client is told to try again.
    hashed.unwrap_or(HashOutcome::Busy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use echomesh_shard::JobToken;

    fn request(password: &str, verify: Option<String>) -> HashRequest {
        let token = JobToken { slot: 0, generation: 0 };
        HashRequest { token, remote: "192.0.2.1".parse().unwrap(), password: password.into(), verify }
    }

    /// Goal: what was hashed verifies, with salt, and nothing else does, a damaged record included.
    #[test]
    fn passwords_verify() {
        let HashOutcome::Hashed(first) = work(&request("secret", None)) else { panic!("busy") };
        let HashOutcome::Hashed(second) = work(&request("secret", None)) else { panic!("busy") };
        assert_ne!(first, second);
        assert!(first.starts_with("$argon2id$"));
        assert_eq!(work(&request("secret", Some(first.clone()))), HashOutcome::Verified(true));
        assert_eq!(work(&request("Secret", Some(first))), HashOutcome::Verified(false));
        assert_eq!(work(&request("secret", Some("damaged".into()))), HashOutcome::Verified(false));
    }

    /// Goal: one address prefix has its share of the queue and no more.
    #[test]
    fn the_queue_is_fair_by_prefix() {
        let wake = Arc::new(crate::wake::Wake::new().unwrap());
        let (rings, _store, desk) = crate::jobs::rings(&echomesh_shard::Limits::default(), &wake);
        let here = std::thread::current();
        let mut port = crate::jobs::JobPort::new(rings, crate::jobs::Workers { store: here.clone(), hash: vec![here] });
        for host in ["192.0.2.1", "192.0.2.9", "198.51.100.1"] {
            port.hash(HashRequest { remote: host.parse().unwrap(), ..request("x", None) });
        }
        let mut queue = VecDeque::new();
        admit(&mut [desk], &mut queue);
        assert_eq!(queue.len(), 2);
        let Some(crate::jobs::JobReply::Hash(reply)) = port.poll() else { panic!("no answer") };
        assert_eq!(reply.outcome, HashOutcome::Busy);
    }
}
