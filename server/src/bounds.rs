//! What the operator says of limits against abuse, as the shards have it.
//!
//! Not the limits themselves, which are the kernel's, nor those that nobody sets.

use echomesh_shard::{Limits, Rate};

use crate::cli::Settings;

/// Connections made, and requests, that may come at once, by those a second: what a person's program does at its start.
const CONNECTS_BURST: u32 = 4;
const REQUESTS_BURST: u32 = 8;

/// Of an address's connections, those that may be without a login: one in so many.
const STRANGERS: u32 = 4;

/// What connections may hold in all, and the least of a shard, MiB.
const MEMORY_MIB: u32 = 1_024;
const MEMORY_MIB_MIN: u32 = 8;

/// The limits of a shard.
///
/// # Errors
/// Less memory than a shard can do with.
pub fn limits(given: &Settings, shards: u8) -> Result<Limits, String> {
    let mut limits = Limits::default();
    if let Some(connections) = given.connections_per_address {
        limits.address_connections_max = connections;
        limits.address_strangers_max = connections.div_ceil(STRANGERS);
        if connections == 0 {
            limits.strangers_max = 0;
        }
    }
    if let Some(connects) = given.connects_per_second {
        limits.connects = Rate::per_second(connects, connects.saturating_mul(CONNECTS_BURST));
        if connects == 0 {
            limits.address_accounts = Rate::NONE;
        }
    }
    if let Some(requests) = given.requests_per_second {
        limits.requests = Rate::per_second(requests, requests.saturating_mul(REQUESTS_BURST));
        if requests == 0 {
            limits.bytes = Rate::NONE;
        }
    }
    if let Some(kbit) = given.bitrate_kbit_max {
        limits.bitrate_max = kbit * 1_000;
    }
    limits.memory_bytes_max = memory(given.memory_mib, u32::from(shards))?;
    Ok(limits)
}

fn memory(given: Option<u32>, shards: u32) -> Result<usize, String> {
    let least = MEMORY_MIB_MIN * shards;
    let mib = given.unwrap_or(MEMORY_MIB.max(least));
    if (1..least).contains(&mib) {
        return Err(format!(
            "memory-mib is {mib}: it must be 0, or at least {MEMORY_MIB_MIN} for each shard, here {least}"
        ));
    }
    Ok((u64::from(mib) * 1024 * 1024 / u64::from(shards)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what nobody set is as the kernel has it, memory is shared out, and 0 lifts a limit.
    #[test]
    fn settings_become_limits() {
        let (default, kernel) = (limits(&Settings::default(), 4).unwrap(), Limits::default());
        assert_eq!(
            (default.connects, default.requests, default.bytes),
            (kernel.connects, kernel.requests, kernel.bytes)
        );
        assert_eq!(default.memory_bytes_max, 256 * 1024 * 1024);
        let (by_address, strangers) = (default.address_connections_max, default.address_strangers_max);
        let same = Settings {
            connections_per_address: Some(by_address),
            connects_per_second: Some(50),
            requests_per_second: Some(50),
            bitrate_kbit_max: Some(128),
            ..Settings::default()
        };
        let same = limits(&same, 64).unwrap();
        assert_eq!((same.address_strangers_max, same.strangers_max), (strangers, kernel.strangers_max));
        assert_eq!((default.bitrate_max, same.bitrate_max), (kernel.bitrate_max, kernel.bitrate_max));
        assert_eq!((same.connects, same.requests, same.bytes), (kernel.connects, kernel.requests, kernel.bytes));
        let none = Settings {
            connections_per_address: Some(0),
            connects_per_second: Some(0),
            requests_per_second: Some(0),
            memory_mib: Some(0),
            bitrate_kbit_max: Some(0),
            ..Settings::default()
        };
        let none = limits(&none, 64).unwrap();
        assert_eq!((none.address_connections_max, none.address_strangers_max, none.strangers_max), (0, 0, 0));
        assert_eq!((none.connects, none.requests, none.bytes), (Rate::NONE, Rate::NONE, Rate::NONE));
        assert_eq!((none.memory_bytes_max, none.bitrate_max), (0, 0));
    }
}
