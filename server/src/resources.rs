//! What the operating system allows this process: read, raised where that is ours to do, and where it
//! is not, told to the operator with the remedy.
//!
//! Not io_uring's own needs: `uring::probe` tells those.

use echomesh_shard::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Receive buffer that a burst of voice wants, bytes: 60 ms (the age at which voice is dropped) of
/// 50,000 packets a second, which the kernel accounts with about 1 KiB each.
const RMEM_BYTES: u64 = 4 << 20;

/// Descriptors of one shard that are not connections: rings, events, sockets, and some in reserve.
const DESCRIPTORS_SHARD: u64 = 16;

/// Memory of one shard's rings, bytes, where it counts as locked.
const MEMLOCK_BYTES_SHARD: u64 = 128 * 1024;

/// Raises the limit of open files to what the operator allows at most. Each connection takes one.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files to its maximum; fewer connections will fit");
    }
}

/// Lowers the calling thread's priority below the shards' threads. Threads it starts inherit it.
pub fn be_nice(steps: i32) {
    if let Err(error) = rustix::process::nice(steps) {
        tracing::debug!(%error, "this thread keeps its priority");
    }
}

/// Memory of this process that is resident, bytes.
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// How many password hashers: one, or two where there are cores to spare for them.
pub fn hashers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores >= 4 { 2 } else { 1 }
}

/// One sentence for each limit that is too low for `shards` shards, with how to raise it.
/// `counts_locked_memory`: as `uring::probe` found it.
pub fn advice(shards: u8, limits: &Limits, counts_locked_memory: bool) -> Vec<String> {
    let mut advice = Vec::new();
    let wanted = u64::from(shards) * (u64::from(limits.connections_max) + DESCRIPTORS_SHARD);
    advice.extend(open_files_advice(getrlimit(Resource::Nofile).current, wanted));
    let rmem = std::fs::read_to_string("/proc/sys/net/core/rmem_max");
    advice.extend(rmem.ok().and_then(|text| text.trim().parse().ok()).and_then(receive_buffer_advice));
    if counts_locked_memory {
        advice.extend(memlock_advice(getrlimit(Resource::Memlock).current, shards));
    }
    advice
}

fn open_files_advice(limit: Option<u64>, wanted: u64) -> Option<String> {
    let limit = limit.filter(|limit| *limit < wanted)?;
    Some(format!(
        "open files: {limit}, so about {} connections fit. For all {wanted}: LimitNOFILE={wanted} in the systemd \
         unit, or `ulimit -Hn {wanted}` as root before the start",
        limit.saturating_sub(DESCRIPTORS_SHARD)
    ))
}

fn receive_buffer_advice(rmem_max: u64) -> Option<String> {
    (rmem_max < RMEM_BYTES).then(|| {
        format!(
            "UDP receive buffer: net.core.rmem_max is {rmem_max}, and bursts of voice may be lost. For a large \
             server: `sysctl -w net.core.rmem_max={RMEM_BYTES}`, and the same line in /etc/sysctl.d"
        )
    })
}

fn memlock_advice(limit: Option<u64>, shards: u8) -> Option<String> {
    let needed = u64::from(shards) * MEMLOCK_BYTES_SHARD;
    let limit = limit.filter(|limit| *limit < needed)?;
    Some(format!(
        "locked memory: {limit} bytes, but io_uring wants {needed} on this kernel. LimitMEMLOCK={needed} in the \
         systemd unit, or `ulimit -l {}`",
        needed / 1024
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each limit that is too low is told with the setting that raises it, and none that is not.
    #[test]
    fn low_limits_name_their_remedy() {
        assert!(open_files_advice(Some(1024), 2000).unwrap().contains("LimitNOFILE=2000"));
        assert_eq!(open_files_advice(Some(2000), 2000), None);
        assert_eq!(open_files_advice(None, 2000), None);
        assert!(receive_buffer_advice(212_992).unwrap().contains("sysctl -w net.core.rmem_max=4194304"));
        assert_eq!(receive_buffer_advice(RMEM_BYTES), None);
        assert!(memlock_advice(Some(65_536), 4).unwrap().contains("LimitMEMLOCK=524288"));
        assert_eq!(memlock_advice(Some(524_288), 4), None);
        assert_eq!(memlock_advice(None, 4), None);
    }

    /// Goal: where rings do not count, as on Debian's 5.10, nobody is told to raise a limit in vain.
    #[test]
    fn locked_memory_is_no_matter_where_it_is_not_counted() {
        let told = |counts| advice(64, &Limits::default(), counts).iter().any(|told| told.contains("locked memory"));
        assert!(!told(false));
        let low = getrlimit(Resource::Memlock).current.is_some_and(|limit| limit < 64 * MEMLOCK_BYTES_SHARD);
        assert_eq!(told(true), low);
    }
}
