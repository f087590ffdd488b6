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

/// Locked memory of one shard's rings before Linux 5.12, bytes.
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

/// How many password hashers: one, or two where there are cores to spare for them.
pub fn hashers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores >= 4 { 2 } else { 1 }
}

/// One sentence for each limit that is too low for `shards` shards, with how to raise it. `kernel` is
/// the release as `uname -r` shows it.
pub fn advice(shards: u8, limits: &Limits, kernel: &str) -> Vec<String> {
    let mut advice = Vec::new();
    let wanted = u64::from(shards) * (u64::from(limits.connections_max) + DESCRIPTORS_SHARD);
    advice.extend(open_files_advice(getrlimit(Resource::Nofile).current, wanted));
    let rmem = std::fs::read_to_string("/proc/sys/net/core/rmem_max");
    advice.extend(rmem.ok().and_then(|text| text.trim().parse().ok()).and_then(receive_buffer_advice));
    advice.extend(memlock_advice(getrlimit(Resource::Memlock).current, shards, kernel));
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

fn memlock_advice(limit: Option<u64>, shards: u8, kernel: &str) -> Option<String> {
    let needed = u64::from(shards) * MEMLOCK_BYTES_SHARD;
    let limit = limit.filter(|limit| *limit < needed && counts_locked_memory(kernel))?;
    Some(format!(
        "locked memory: {limit} bytes, but io_uring wants {needed} on Linux before 5.12. LimitMEMLOCK={needed} in \
         the systemd unit, or `ulimit -l {}`",
        needed / 1024
    ))
}

/// Whether io_uring's rings count against RLIMIT_MEMLOCK: before Linux 5.12.
fn counts_locked_memory(kernel: &str) -> bool {
    let mut numbers = kernel.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) < (5, 12))
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
        assert!(memlock_advice(Some(65_536), 4, "5.10.0-28-amd64").unwrap().contains("LimitMEMLOCK=524288"));
        assert_eq!(memlock_advice(Some(65_536), 4, "6.1.0"), None);
        assert_eq!(memlock_advice(Some(65_536), 4, "of unknown release"), None);
    }
}
