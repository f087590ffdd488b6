//! Who is logged in to the admin page: cookies, tokens, how long they hold, and how often a login may be tried.
//!
//! Not rights: an account's role is the kernel's to know. A session is a cookie and a token, both 256 random bits, of
//! which only the hashes are kept. The cookie alone opens nothing: browsers send it to every port of a host, the token
//! only where the page asks for it.
//! Bounds: `SESSIONS_MAX` sessions, beyond which the one that was used longest ago ends; `IDLE_MAX` without use,
//! `LIFE_MAX` in all. Login attempts: `PEER_RATE` for each address (IPv4, or an IPv6 /64), `ALL_RATE` for all.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use echomesh_proto::control::{Role, Who};
use echomesh_proto::ids::SessionId;
use echomesh_proto::time::Time;
use echomesh_shard::Rate;
use echomesh_shard::rates::{Bucket, Buckets};
use ring::digest::{SHA256, digest};
use tokio::sync::Mutex;

use crate::hex::hex;

/// Sessions at a time.
const SESSIONS_MAX: usize = 8;

/// Longest that one lives without being used, and at all.
const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
const LIFE_MAX: Duration = Duration::from_secs(12 * 3_600);

/// Login attempts from one address: five at once, then one in ten seconds.
const PEER_RATE: Rate = Rate::one_in(10, 5);

/// Login attempts in all: twenty at once, then one in two seconds.
const ALL_RATE: Rate = Rate::one_in(2, 20);

/// Addresses whose attempts are counted apart.
const PEERS_MAX: usize = 1_024;

/// Bytes of a cookie or token.
const SECRET_BYTES: usize = 32;

/// Between two looks at what role an account has now.
const ROLE_LOOK: Duration = Duration::from_secs(2);

/// Someone who is logged in, by a connection of kind `C`.
pub struct Admin<C> {
    /// The account's name.
    pub name: String,
    /// Its role, as it was last seen.
    pub role: Role,
    /// The session of its connection.
    pub session: SessionId,
    /// Its connection to the server.
    pub control: Arc<Mutex<C>>,
    /// It is time to look at the role again.
    pub is_due: bool,
}

/// A cookie or a token, as the browser keeps it.
pub type Secret = String;

struct Session<C> {
    cookie: [u8; SECRET_BYTES],
    token: [u8; SECRET_BYTES],
    began: Instant,
    used: Instant,
    looked: Instant,
    name: String,
    role: Role,
    session: SessionId,
    control: Arc<Mutex<C>>,
}

/// All sessions.
pub struct Sessions<C> {
    open: Vec<Session<C>>,
    started: Instant,
    by_peer: Buckets<IpAddr>,
    all: Bucket,
}

/// An IPv6 client has a whole /64.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

fn hash(secret: &str) -> [u8; SECRET_BYTES] {
    digest(&SHA256, secret.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn secret() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

impl<C> Sessions<C> {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        Self { open: Vec::new(), started: now, by_peer: Buckets::new(PEERS_MAX), all: Bucket::default() }
    }

    /// Takes one login attempt.
    ///
    /// # Errors
    /// There were too many: when to try again.
    pub fn attempt(&mut self, now: Instant, peer: IpAddr) -> Result<(), Duration> {
        let time = Time(now.duration_since(self.started).as_micros() as u64);
        let (peer, wait) = (network(peer), Duration::from_micros);
        // Who is over its own rate takes nothing from the others.
        self.by_peer.take(time, PEER_RATE, peer).map_err(wait)?;
        self.all.take(time, ALL_RATE, 1).map_err(wait)
    }

    /// Opens a session: its cookie and its token.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn open(&mut self, now: Instant, who: Who, control: C) -> Result<(Secret, Secret), getrandom::Error> {
        self.expire(now);
        let (cookie, token) = (secret()?, secret()?);
        if self.open.len() >= SESSIONS_MAX
            && let Some(oldest) = (0..self.open.len()).min_by_key(|at| self.open[*at].used)
        {
            self.open.swap_remove(oldest);
        }
        self.open.push(Session {
            cookie: hash(&cookie),
            token: hash(&token),
            began: now,
            used: now,
            looked: now,
            role: who.role(),
            session: SessionId(who.session_id),
            name: who.username,
            control: Arc::new(Mutex::new(control)),
        });
        Ok((cookie, token))
    }

    /// Who has this cookie and this token; counts as use.
    pub fn find(&mut self, now: Instant, cookie: &str, token: &str) -> Option<Admin<C>> {
        self.expire(now);
        let (cookie, token) = (hash(cookie), hash(token));
        let session = self.open.iter_mut().find(|session| session.cookie == cookie && session.token == token)?;
        session.used = now;
        let is_due = now.duration_since(session.looked) >= ROLE_LOOK;
        if is_due {
            session.looked = now;
        }
        Some(Admin {
            name: session.name.clone(),
            role: session.role,
            session: session.session,
            control: session.control.clone(),
            is_due,
        })
    }

    /// The account's role is another now.
    pub fn set_role(&mut self, control: &Arc<Mutex<C>>, role: Role) {
        for session in self.open.iter_mut().filter(|session| Arc::ptr_eq(&session.control, control)) {
            session.role = role;
        }
    }

    /// Ends a session; its connection goes with it.
    pub fn close(&mut self, control: &Arc<Mutex<C>>) {
        self.open.retain(|session| !Arc::ptr_eq(&session.control, control));
    }

    fn expire(&mut self, now: Instant) {
        self.open.retain(|session| {
            now.duration_since(session.used) < IDLE_MAX && now.duration_since(session.began) < LIFE_MAX
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn who(name: &str, role: Role) -> Who {
        Who { username: name.to_owned(), role: role as i32, ..Who::default() }
    }

    fn peer(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    /// Goal: one address has five attempts, then waits as it is told; a flood from many is bounded in all, and an IPv6
    /// client cannot change its address within its network.
    #[test]
    fn attempts_are_bounded_by_address_and_in_all() {
        let start = Instant::now();
        let mut sessions = Sessions::<()>::new(start);
        for _ in 0..5 {
            assert_eq!(sessions.attempt(start, peer(1)), Ok(()));
        }
        let wait = sessions.attempt(start, peer(1)).unwrap_err();
        assert!(wait > 9 * SECOND && wait <= 10 * SECOND, "{wait:?}");
        assert_eq!(sessions.attempt(start + wait, peer(1)), Ok(()));
        let mut sessions = Sessions::<()>::new(start);
        let passed = (0..100).filter(|number| sessions.attempt(start, peer(*number)).is_ok()).count();
        assert_eq!(passed, 20);
        let mut sessions = Sessions::<()>::new(start);
        let addresses = (0..100_u128).map(|low| IpAddr::V6((0x2001_0db8_u128 << 96 | low).into()));
        assert_eq!(addresses.filter(|address| sessions.attempt(start, *address).is_ok()).count(), 5);
    }

    /// Goal: a session ends half an hour after its last use and twelve hours after its login, and at once when it is
    /// closed; a cookie without its token opens nothing, nor a token without its cookie.
    #[test]
    fn sessions_end() {
        let start = Instant::now();
        let mut sessions = Sessions::new(start);
        let (cookie, token) = sessions.open(start, who("ann", Role::Owner), ()).unwrap();
        let (other, _) = sessions.open(start, who("bob", Role::Admin), ()).unwrap();
        assert!(sessions.find(start, &other, &token).is_none());
        assert!(sessions.find(start, &cookie, "").is_none());
        let mut now = start;
        for _ in 0..24 {
            let found = sessions.find(now, &cookie, &token).unwrap();
            assert_eq!((found.name.as_str(), found.role), ("ann", Role::Owner));
            now += IDLE_MAX - SECOND;
        }
        assert!(now - start < LIFE_MAX && now - start > LIFE_MAX - IDLE_MAX);
        assert!(sessions.find(now, &cookie, &token).is_some());
        assert!(sessions.find(start + LIFE_MAX, &cookie, &token).is_none(), "twelve hours");
        let (cookie, token) = sessions.open(now, who("ann", Role::Owner), ()).unwrap();
        assert!(sessions.find(now + IDLE_MAX, &cookie, &token).is_none(), "half an hour");
        let (cookie, token) = sessions.open(now, who("ann", Role::Owner), ()).unwrap();
        let found = sessions.find(now, &cookie, &token).unwrap();
        sessions.set_role(&found.control, Role::Admin);
        assert_eq!(sessions.find(now, &cookie, &token).unwrap().role, Role::Admin);
        sessions.close(&found.control);
        assert!(sessions.find(now, &cookie, &token).is_none(), "closed");
    }

    /// Goal: there are never more sessions than the bound; the one that was used longest ago gives way.
    #[test]
    fn the_longest_unused_session_gives_way() {
        let start = Instant::now();
        let mut sessions = Sessions::new(start);
        let open = |sessions: &mut Sessions<()>, now| sessions.open(now, who("ann", Role::Owner), ()).unwrap();
        let secrets: Vec<_> =
            (0..SESSIONS_MAX as u32).map(|number| open(&mut sessions, start + number * SECOND)).collect();
        let now = start + 60 * SECOND;
        assert!(sessions.find(now, &secrets[0].0, &secrets[0].1).is_some());
        open(&mut sessions, now);
        assert_eq!(sessions.open.len(), SESSIONS_MAX);
        assert!(sessions.find(now, &secrets[0].0, &secrets[0].1).is_some());
        assert!(sessions.find(now, &secrets[1].0, &secrets[1].1).is_none());
    }

    /// Goal: secrets are random and 256 bits long.
    #[test]
    fn secrets_are_long_and_differ() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
    }
}
