//! Wrong passwords, tokens, invitations and codes: how many from one address, and how many for one account.
//!
//! Only what was wrong counts, on all shards. Beyond a limit what is guessed is not even looked at. Who knows the right
//! one is hindered by others only through the account's limit, and not at all with a device token or a resume.
//! Not `Limits::connection_guesses`, after which a connection is closed: also counted here.
//! Bounds: `KEYS_MAX` addresses and names are remembered; each wrong one costs a hash or a look into the store, so more
//! are not wrong at once. Guesses that are under way when the limit is met are owed. Cost: two look-ups a guess.

use std::collections::BTreeMap;
use std::net::IpAddr;

use echomesh_proto::control::{Body, StatusCode};
use echomesh_proto::ids::{ConnectionId, ShardId};
use echomesh_proto::time::Now;
use prost::Message;

use crate::bans::Network;
use crate::connection::try_again;
use crate::counters::CloseReason;
use crate::effect::Effects;
use crate::jobs::{HashOutcome, HashReply, JobToken};
use crate::mesh::Mesh;
use crate::rates::Buckets;
use crate::{Shard, names, retry_ms};

/// Addresses, and names, that are remembered.
pub(crate) const KEYS_MAX: usize = 16_384;

/// Something wrong was tried: from one shard to the others.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Guess {
    #[prost(message, optional, tag = "1")]
    network: Option<Network>,
    /// The account's, as [`account`] has it; 0: none.
    #[prost(fixed64, tag = "2")]
    account: u64,
}

/// What was wrong of late.
#[derive(Debug)]
pub(crate) struct Guesses {
    networks: Buckets<Network>,
    accounts: Buckets<u64>,
    /// Secrets that are with the hashers: as many as `Limits::hash_requests_max`.
    hashed: BTreeMap<JobToken, Guess>,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { networks: Buckets::new(KEYS_MAX), accounts: Buckets::new(KEYS_MAX), hashed: BTreeMap::new() }
    }
}

/// A guess that is refused unseen.
pub(crate) struct TooMany {
    text: String,
    retry_after_ms: u32,
}

impl TooMany {
    pub(crate) fn status(&self) -> Body {
        try_again(&self.text, self.retry_after_ms)
    }

    pub(crate) fn login_response(&self) -> Body {
        crate::login::refusal_until(StatusCode::StatusTryAgain, &self.text, self.retry_after_ms)
    }
}

/// What stands for the account of this name, whether there is one or not: the refusal shall not tell.
pub(crate) fn account(key: &str) -> u64 {
    names::spread(key).max(1)
}

impl Shard {
    /// Whether a secret from this connection may be looked at; for an account of [`account`], or 0.
    pub(crate) fn too_many_guesses(&mut self, now: Now, id: ConnectionId, account: u64) -> Option<TooMany> {
        let (by_address, by_account) = (self.config.limits.address_guesses, self.config.limits.account_guesses);
        let network = Network::of(self.connection(id)?.remote);
        let address_us = self.guesses.networks.wait_us(now.time, by_address, network);
        let account_us = if account == 0 { 0 } else { self.guesses.accounts.wait_us(now.time, by_account, account) };
        if address_us.max(account_us) == 0 {
            return None;
        }
        self.counters.guesses_refused += 1;
        let retry_after_ms = retry_ms(address_us.max(account_us));
        let seconds = retry_after_ms.div_ceil(1_000);
        let text = if account_us > address_us {
            format!(
                "too many wrong passwords were tried for this account: wait {seconds} s; a device token and a session \
                 that is resumed still work"
            )
        } else {
            format!("too many wrong passwords or codes came from your address: wait {seconds} s")
        };
        Some(TooMany { text, retry_after_ms })
    }

    /// A secret is with the hashers: whoever it is from, it counts if it is wrong, though its connection be gone by then.
    pub(crate) fn guess_is_hashed(&mut self, token: JobToken, remote: IpAddr, account: u64) {
        self.guesses.hashed.insert(token, Guess { network: Some(Network::of(remote)), account });
    }

    /// The hashers have answered.
    pub(crate) fn guess_was_hashed(&mut self, now: Now, reply: &HashReply) {
        let guess = self.guesses.hashed.remove(&reply.token);
        if let Some(guess) = guess.filter(|_| reply.outcome == HashOutcome::Verified(false)) {
            self.charge_guess(now, &guess);
        }
    }

    /// Something was wrong that the hashers did not see: for an account of [`account`], or 0.
    pub(crate) fn count_guess(&mut self, now: Now, id: ConnectionId, account: u64, effects: &mut Effects) {
        let Some(connection) = self.connection(id) else { return };
        let guess = Guess { network: Some(Network::of(connection.remote)), account };
        self.charge_guess(now, &guess);
        self.count_guess_here(now, id, effects);
    }

    /// A connection has a few guesses.
    pub(crate) fn count_guess_here(&mut self, now: Now, id: ConnectionId, effects: &mut Effects) {
        let rate = self.config.limits.connection_guesses;
        let Some(connection) = self.connection(id) else { return };
        connection.guesses.charge(now.time, rate, 1);
        if connection.guesses.wait_us(now.time, rate, 1) > 0 {
            self.close(now, id, CloseReason::Guessing, effects);
        }
    }

    /// On every shard.
    fn charge_guess(&mut self, now: Now, guess: &Guess) {
        for shard in (0..self.config.shards).map(ShardId) {
            // One that is not told knows of fewer: better than to hold a login up.
            if shard != self.config.shard && !self.is_congested(shard) {
                self.tell(shard, Mesh::Guess(guess.clone()));
            }
        }
        self.note_guess(now, guess);
    }

    /// Here or on another shard.
    pub(crate) fn note_guess(&mut self, now: Now, guess: &Guess) {
        let (by_address, by_account) = (self.config.limits.address_guesses, self.config.limits.account_guesses);
        if let Some(network) = guess.network {
            self.guesses.networks.charge(now.time, by_address, network);
        }
        if guess.account != 0 {
            self.guesses.accounts.charge(now.time, by_account, guess.account);
        }
    }
}
