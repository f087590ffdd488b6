//! Who may connect: how many from one address, how fast, and how many who have not logged in.
//!
//! Decided when TCP has accepted, before a byte is read and before TLS costs anything. Who comes beyond a limit is kept
//! until it can be told why, and then closed; who comes far beyond it is closed without words.
//! Not bans, which `connection` looks at. An address is an IPv4 address or an IPv6 /64.
//! Bounds: those of `Limits`, on each shard; as many as may be strangers may wait to be told. Cost: two look-ups for
//! each connection accepted, one when it logs in or ends.

use std::collections::BTreeMap;

use echomesh_proto::control::{Body, EchoMsg, StatusCode};
use echomesh_proto::ids::ConnectionId;
use echomesh_proto::time::Time;

use crate::bans::Network;
use crate::config::Limits;
use crate::connection::{RETRY_AFTER_MS, status, try_again};
use crate::counters::CloseReason;
use crate::effect::Effects;
use crate::memory::Memory;
use crate::rates::Buckets;
use crate::{Shard, retry_ms};

/// Addresses whose rates are remembered: each is forgotten in `burst / rate` seconds of silence.
const NETWORKS_MAX: usize = 16_384;

/// When to come again where memory is short: someone must leave first.
const MEMORY_RETRY_MS: u32 = 10_000;

/// What a connection counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not logged in.
    Stranger,
    LoggedIn,
    /// Beyond a limit, to be told so.
    Refused(Refusal),
}

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The address has as many connections as it may.
    Connections,
    /// Likewise, that have not logged in.
    AddressStrangers,
    /// The address connects too fast; when it may again.
    TooFast { retry_after_ms: u32 },
    /// There are as many strangers on this shard as there may be.
    Strangers,
    /// Memory is short.
    Memory,
}

impl Refusal {
    fn reason(self) -> CloseReason {
        match self {
            Refusal::Connections | Refusal::AddressStrangers => CloseReason::AddressLimit,
            Refusal::TooFast { .. } => CloseReason::ConnectRate,
            Refusal::Strangers => CloseReason::StrangersLimit,
            Refusal::Memory => CloseReason::MemoryShort,
        }
    }

    fn told(self) -> Body {
        match self {
            Refusal::Connections => {
                let text = "there are too many connections from your address: close one, then connect again";
                status(StatusCode::StatusLimit, text)
            }
            Refusal::AddressStrangers => {
                let text = "too many connections from your address have not logged in: wait until they have";
                try_again(text, RETRY_AFTER_MS)
            }
            Refusal::TooFast { retry_after_ms } => {
                try_again("your address connects too often: wait before you connect again", retry_after_ms)
            }
            Refusal::Strangers => {
                try_again("too many others are logging in: connect again in a moment", RETRY_AFTER_MS)
            }
            Refusal::Memory => {
                try_again("the server is short of memory: connect again when others have left", MEMORY_RETRY_MS)
            }
        }
    }
}

/// Open connections of an address.
#[derive(Debug, Default)]
struct Open {
    strangers: u32,
    logged_in: u32,
    refused: u32,
}

impl Open {
    fn of(&mut self, place: Place) -> &mut u32 {
        match place {
            Place::Stranger => &mut self.strangers,
            Place::LoggedIn => &mut self.logged_in,
            Place::Refused(_) => &mut self.refused,
        }
    }

    fn is_empty(&self) -> bool {
        self.strangers + self.logged_in + self.refused == 0
    }
}

/// The open connections of a shard, counted.
#[derive(Debug)]
pub(crate) struct Admission {
    networks: BTreeMap<Network, Open>,
    all: Open,
    connects: Buckets<Network>,
    /// Of those beyond a limit: who may be told.
    told: Buckets<Network>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            networks: BTreeMap::new(),
            all: Open::default(),
            connects: Buckets::new(NETWORKS_MAX),
            told: Buckets::new(NETWORKS_MAX),
        }
    }
}

impl Admission {
    /// Gives a new connection its place; `None`: it is to be closed without words.
    pub(crate) fn admit(&mut self, now: Time, network: Network, limits: &Limits, memory: &Memory) -> Option<Place> {
        let place = match self.refusal(now, network, limits, memory) {
            None => Place::Stranger,
            Some(refusal) => {
                let waiting = self.networks.get(&network).map_or(0, |open| open.refused);
                let is_far = reaches(waiting, limits.address_strangers_max)
                    || reaches(self.all.refused, limits.strangers_max)
                    || memory.is_over(limits)
                    || self.told.take(now, limits.connects, network).is_err();
                if is_far {
                    return None;
                }
                Place::Refused(refusal)
            }
        };
        *self.networks.entry(network).or_default().of(place) += 1;
        *self.all.of(place) += 1;
        Some(place)
    }

    fn refusal(&mut self, now: Time, network: Network, limits: &Limits, memory: &Memory) -> Option<Refusal> {
        // Also of those that are refused for another reason: it is their rate.
        let rate = self.connects.take(now, limits.connects, network);
        let (strangers, logged_in) =
            self.networks.get(&network).map_or((0, 0), |open| (open.strangers, open.logged_in));
        if memory.is_short(limits) {
            return Some(Refusal::Memory);
        }
        if reaches(strangers + logged_in, limits.address_connections_max) {
            return Some(Refusal::Connections);
        }
        if reaches(strangers, limits.address_strangers_max) {
            return Some(Refusal::AddressStrangers);
        }
        if let Err(wait_us) = rate {
            return Some(Refusal::TooFast { retry_after_ms: retry_ms(wait_us) });
        }
        reaches(self.all.strangers, limits.strangers_max).then_some(Refusal::Strangers)
    }

    /// It is logged in.
    pub(crate) fn logged_in(&mut self, network: Network, place: &mut Place) {
        self.leave(network, *place);
        *place = Place::LoggedIn;
        *self.networks.entry(network).or_default().of(*place) += 1;
        *self.all.of(*place) += 1;
    }

    /// It is gone.
    pub(crate) fn leave(&mut self, network: Network, place: Place) {
        *self.all.of(place) -= 1;
        let Some(open) = self.networks.get_mut(&network) else { return };
        *open.of(place) -= 1;
        if open.is_empty() {
            self.networks.remove(&network);
        }
    }
}

/// Whether a count is at its limit; 0 is none.
fn reaches(count: u32, max: u32) -> bool {
    max > 0 && count >= max
}

impl Shard {
    /// Tells a connection beyond a limit why, and closes it.
    pub(crate) fn tell_refused(&mut self, id: ConnectionId, refusal: Refusal, effects: &mut Effects) {
        self.send(id, &EchoMsg::new(0, refusal.told()), effects);
        let now = self.now;
        if self.connection(id).is_some() {
            self.close(now, id, refusal.reason(), effects);
        }
    }
}
