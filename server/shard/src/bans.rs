//! Who is banned, from the server or from a room, by account or by address, and until when.
//!
//! Every shard keeps all of it, so that a connection, a login and a join are checked without asking anyone.
//! Changes come from one shard (`moderation::STAFF_SHARD`) in one order. What is over counts no more, and is
//! forgotten when the next one comes.
//! Bounds: `Limits::bans_max`, kept by that shard. Cost: a look-up for the account, and one for each length of
//! prefix in use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use echomesh_proto::control::Role;
use echomesh_proto::ids::UserId;
use prost::Message;

/// Shortest prefixes that may be banned: a typing error must not take half the world.
const V4_BITS_MIN: u32 = 8;
const V6_BITS_MIN: u32 = 32;

/// Bits of an IPv6 address before a mapped IPv4 address begins (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u32 = 96;

/// One ban.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Ban {
    /// The store's number of it.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The room's number; 0: the whole server.
    #[prost(uint64, tag = "2")]
    pub room: u64,
    /// The account; 0: it is by address.
    #[prost(uint64, tag = "3")]
    pub user: u64,
    /// The account's name when it was banned.
    #[prost(string, tag = "4")]
    pub username: String,
    /// The addresses.
    #[prost(message, optional, tag = "5")]
    pub network: Option<Network>,
    /// For people.
    #[prost(string, tag = "6")]
    pub reason: String,
    /// Who did it.
    #[prost(string, tag = "7")]
    pub by: String,
    /// The role of who did it: as high a one lifts it, and is not thrown out by it.
    #[prost(enumeration = "Role", tag = "8")]
    pub by_role: i32,
    /// Unix milliseconds.
    #[prost(uint64, tag = "9")]
    pub time_ms: u64,
    /// Unix milliseconds; 0: never.
    #[prost(uint64, tag = "10")]
    pub expires_ms: u64,
}

impl Ban {
    /// Whether it still counts.
    #[must_use]
    pub fn is_live(&self, now_ms: u64) -> bool {
        self.expires_ms == 0 || now_ms < self.expires_ms
    }

    /// Whether it is about this account, or an address it came from. An address ban spares who has as high a
    /// role as the one who made it.
    #[must_use]
    pub fn hits(&self, user: UserId, role: Role, address: Option<IpAddr>) -> bool {
        match self.network {
            Some(network) => role < self.by_role() && address.is_some_and(|address| network.contains(address)),
            None => self.user == user.0,
        }
    }

    /// What the banned one is told.
    #[must_use]
    pub fn sentence(&self, place: &str, now_ms: u64) -> String {
        let until = match self.expires_ms.saturating_sub(now_ms).div_ceil(60_000) {
            _ if self.expires_ms == 0 => "until a moderator lifts it".to_owned(),
            minutes if minutes < 120 => format!("for another {minutes} min"),
            minutes if minutes < 48 * 60 => format!("for another {} h", minutes.div_ceil(60)),
            minutes => format!("for another {} days", minutes.div_ceil(24 * 60)),
        };
        let reason = if self.reason.is_empty() { "no reason was given" } else { &self.reason };
        format!("{} banned you from {place} {until}: {reason}", self.by)
    }
}

/// Addresses that begin alike. IPv4 is kept as the IPv6 addresses it is mapped to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct Network {
    /// How many bits are alike, of 128.
    #[prost(uint32, tag = "1")]
    pub bits: u32,
    /// The first 64.
    #[prost(fixed64, tag = "2")]
    pub high: u64,
    /// The last 64.
    #[prost(fixed64, tag = "3")]
    pub low: u64,
}

impl Network {
    /// From `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/48`.
    ///
    /// # Errors
    /// A sentence for who typed it.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let (address, bits) = typed.split_once('/').map_or((typed, None), |(address, bits)| (address, Some(bits)));
        let sentence = || "the address must look like 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48".to_owned();
        let address: IpAddr = address.parse().map_err(|_| sentence())?;
        let (least, most) = match address {
            IpAddr::V4(_) => (V4_BITS_MIN, 32),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => (MAPPED_BITS + V4_BITS_MIN, 128),
            IpAddr::V6(_) => (V6_BITS_MIN, 128),
        };
        let bits: u32 = bits.map_or(Ok(most), str::parse).map_err(|_| sentence())?;
        if !(least..=most).contains(&bits) {
            return Err(format!("the prefix must have {least} to {most} bits"));
        }
        Ok(Self::new(mapped(address), bits + 128 - most))
    }

    /// Where one party's addresses are: an IPv4 address, or the IPv6 /64 of a link (RFC 4291 §2.5.4), whose last half
    /// anyone there may choose.
    pub(crate) fn of(address: IpAddr) -> Self {
        let mapped = mapped(address);
        let bits = if address.to_canonical().is_ipv4() { 128 } else { 64 };
        Self::new(mapped, bits)
    }

    fn new(address: u128, bits: u32) -> Self {
        let kept = address & mask(bits);
        Self { bits, high: (kept >> 64) as u64, low: kept as u64 }
    }

    /// Whether an address is among them.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Self::new(mapped(address), self.bits) == self
    }

    /// Whether some loopback address is among them.
    #[must_use]
    pub fn has_loopback(self) -> bool {
        let inside = |address: IpAddr| self.contains(address);
        let narrow = self.bits >= MAPPED_BITS + V4_BITS_MIN && self.address().is_loopback();
        narrow || inside(Ipv4Addr::LOCALHOST.into()) || inside(Ipv6Addr::LOCALHOST.into())
    }

    fn address(self) -> IpAddr {
        Ipv6Addr::from_bits(u128::from(self.high) << 64 | u128::from(self.low)).to_canonical()
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = self.address();
        let bits = if address.is_ipv4() { self.bits.saturating_sub(MAPPED_BITS) } else { self.bits };
        write!(f, "{address}/{bits}")
    }
}

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0)
}

/// All bans, and the ways to find one.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    by_id: BTreeMap<u64, Ban>,
    /// Account and ban.
    accounts: BTreeSet<(u64, u64)>,
    /// Network and ban.
    networks: BTreeSet<(Network, u64)>,
    /// Lengths of prefix in use, and how often.
    lengths: BTreeMap<u32, u32>,
}

impl Bans {
    pub(crate) fn new(bans: Vec<Ban>) -> Self {
        let mut all = Self::default();
        for ban in bans {
            all.insert(ban, 0);
        }
        all
    }

    /// Adds one, and forgets what is over.
    pub(crate) fn insert(&mut self, ban: Ban, now_ms: u64) {
        let over: Vec<u64> = self.by_id.values().filter(|ban| !ban.is_live(now_ms)).map(|ban| ban.id).collect();
        for id in over {
            self.remove(id);
        }
        self.remove(ban.id);
        match ban.network {
            Some(network) => {
                self.networks.insert((network, ban.id));
                *self.lengths.entry(network.bits).or_default() += 1;
            }
            None => {
                self.accounts.insert((ban.user, ban.id));
            }
        }
        self.by_id.insert(ban.id, ban);
    }

    pub(crate) fn remove(&mut self, id: u64) {
        let Some(ban) = self.by_id.remove(&id) else { return };
        let Some(network) = ban.network else {
            self.accounts.remove(&(ban.user, id));
            return;
        };
        self.networks.remove(&(network, id));
        let count = self.lengths.entry(network.bits).or_default();
        *count -= 1;
        if *count == 0 {
            self.lengths.remove(&network.bits);
        }
    }

    /// The room is no more.
    pub(crate) fn remove_room(&mut self, room: u64) {
        let ids: Vec<u64> = self.by_id.values().filter(|ban| ban.room == room).map(|ban| ban.id).collect();
        for id in ids {
            self.remove(id);
        }
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Ban> {
        self.by_id.get(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> {
        self.by_id.keys().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Live bans of a room (0: of the server) after this one, in order.
    pub(crate) fn after(&self, id: u64, room: u64, now_ms: u64) -> impl Iterator<Item = &Ban> {
        let range = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        self.by_id.range(range).map(|(_, ban)| ban).filter(move |ban| ban.room == room && ban.is_live(now_ms))
    }

    /// What keeps an address out of the server.
    pub(crate) fn of_address(&self, address: IpAddr, now_ms: u64) -> Option<&Ban> {
        self.networks_of(address).find(|ban| ban.room == 0 && ban.is_live(now_ms))
    }

    /// What keeps an account that came from this address out of a room (0: of the server).
    pub(crate) fn find(
        &self,
        room: u64,
        user: UserId,
        role: Role,
        address: Option<IpAddr>,
        now_ms: u64,
    ) -> Option<&Ban> {
        let of_account = self.accounts.range((user.0, 0)..=(user.0, u64::MAX)).map(|(_, id)| &self.by_id[id]);
        let of_address = address.into_iter().flat_map(|address| self.networks_of(address));
        let live = |ban: &&Ban| ban.room == room && ban.is_live(now_ms);
        of_account.chain(of_address.filter(|ban| role < ban.by_role())).find(live)
    }

    fn networks_of(&self, address: IpAddr) -> impl Iterator<Item = &Ban> {
        self.lengths.keys().flat_map(move |bits| {
            let network = Network::new(mapped(address), *bits);
            self.networks.range((network, 0)..=(network, u64::MAX)).map(|(_, id)| &self.by_id[id])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_address(id: u64, typed: &str) -> Ban {
        let network = Some(Network::parse(typed).unwrap());
        Ban { id, network, by_role: Role::Admin as i32, ..Ban::default() }
    }

    /// Goal: a prefix holds the addresses that begin so and no others, in both families, and shows as typed.
    #[test]
    fn prefixes_hold_what_begins_alike() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("10.0.0.0/8", "10.9.8.7", "11.0.0.0"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::1/128", "2001:db8::1", "2001:db8::2"),
        ];
        for (typed, inside, outside) in cases {
            let network = Network::parse(typed).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{typed}");
            assert!(!network.contains(outside.parse().unwrap()), "{typed}");
            assert_eq!(network.to_string(), typed);
        }
        for bad in [
            "",
            "x",
            "10.0.0.0/7",
            "10.0.0.0/33",
            "2001::/31",
            "2001::/129",
            "10.0.0.0/-1",
            "10.0.0.1/24/1",
            "::ffff:0:0/96",
        ] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
        for (typed, has) in
            [("127.0.0.0/8", true), ("127.3.0.0/16", true), ("::1", true), ("::/32", true), ("126.0.0.0/8", false)]
        {
            assert_eq!(Network::parse(typed).unwrap().has_loopback(), has, "{typed}");
        }
    }

    /// Goal: a ban counts in its place, for its account or addresses, and until it is over or lifted; an address
    /// ban spares its maker's equals.
    #[test]
    fn bans_are_found_where_and_while_they_count() {
        let mut bans = Bans::new(vec![by_address(1, "192.0.2.0/24")]);
        bans.insert(Ban { id: 2, user: 7, room: 3, expires_ms: 100, ..Ban::default() }, 0);
        let (inside, member) = (Some("192.0.2.9".parse().unwrap()), Role::Member);
        let found = |bans: &Bans, room, user, role, address, now| {
            bans.find(room, UserId(user), role, address, now).map(|ban| ban.id)
        };
        assert_eq!(found(&bans, 0, 7, member, None, 0), None);
        assert_eq!(found(&bans, 3, 7, member, None, 99), Some(2));
        assert_eq!(found(&bans, 3, 7, member, None, 100), None);
        assert_eq!(found(&bans, 0, 8, member, inside, 0), Some(1));
        assert_eq!(found(&bans, 0, 8, Role::Admin, inside, 0), None);
        assert_eq!(bans.of_address("192.0.2.1".parse().unwrap(), 0).map(|ban| ban.id), Some(1));
        bans.remove(1);
        assert_eq!(found(&bans, 0, 8, member, inside, 0), None);
        bans.insert(by_address(3, "198.51.100.0/24"), 100);
        assert_eq!(bans.len(), 1, "what is over is forgotten");
    }
}
