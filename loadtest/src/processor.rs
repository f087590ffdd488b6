//! What the kernel says of processor time, memory and dropped datagrams: readings to be taken twice and compared.
//!
//! The idle columns of /proc/stat are exact where the busy ones are sampled, so a core's use is what it was not idle:
//! the kernel's work in interrupts for the server's datagrams is in it. Cost: about half a millisecond.

use std::fs;

use crate::clock;

/// Ticks a second in /proc (USER_HZ, the same on all Linux).
const TICKS_PER_SECOND: f64 = 100.0;

/// One reading.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// When, nanoseconds of the real-time clock.
    pub at: u64,
    /// Processor time of the server's process, seconds; `None`: no such process here.
    pub server_s: Option<f64>,
    /// Its resident memory, KiB.
    pub server_rss_kib: u64,
    /// Context switches of all its threads.
    pub switches: u64,
    /// Processor time of this process, seconds.
    pub own_s: f64,
    /// Idle time of each core, seconds.
    pub idle_s: Vec<f64>,
    /// Datagrams dropped on this machine for want of buffer.
    pub buffer_drops: u64,
}

impl Reading {
    /// Now, of this server.
    #[must_use]
    pub fn take(server: Option<u32>) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut reading = Self { at: clock::real(), own_s: clock::process() as f64 / 1e9, ..Self::default() };
        if let Some(pid) = server {
            reading.server_s = process_seconds(&text(&format!("/proc/{pid}/stat")));
            reading.server_rss_kib = field(&text(&format!("/proc/{pid}/status")), "VmRSS:").unwrap_or(0);
            reading.switches = switches(pid);
        }
        reading.idle_s = idle_seconds(&text("/proc/stat"));
        reading.buffer_drops = buffer_drops(&text("/proc/net/snmp"));
        reading
    }

    /// Seconds since `earlier`.
    #[must_use]
    pub fn seconds_since(&self, earlier: &Self) -> f64 {
        self.at.saturating_sub(earlier.at) as f64 / 1e9
    }

    /// Cores' worth of time that the server used since `earlier`.
    #[must_use]
    pub fn server_cpu_since(&self, earlier: &Self) -> Option<f64> {
        Some((self.server_s? - earlier.server_s?) / self.seconds_since(earlier))
    }

    /// Cores' worth of time that this process used since `earlier`.
    #[must_use]
    pub fn own_cpu_since(&self, earlier: &Self) -> f64 {
        (self.own_s - earlier.own_s) / self.seconds_since(earlier)
    }

    /// How much these cores were busy since `earlier`, cores.
    #[must_use]
    pub fn busy_since(&self, earlier: &Self, cores: &[u32]) -> f64 {
        let wall = self.seconds_since(earlier);
        let idle = |of: &Self, core: u32| of.idle_s.get(core as usize).copied().unwrap_or(0.0);
        cores.iter().map(|core| 1.0 - (idle(self, *core) - idle(earlier, *core)) / wall).sum()
    }
}

/// utime and stime, fields 14 and 15; the name before them may hold anything, a bracket too.
fn process_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .map(|task| {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let count = |name| field(&status, name).unwrap_or(0);
            count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:")
        })
        .sum()
}

fn idle_seconds(stat: &str) -> Vec<f64> {
    let cores = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    cores
        .map(|line| {
            // idle and iowait.
            let ticks: u64 = line.split_whitespace().skip(4).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
            ticks as f64 / TICKS_PER_SECOND
        })
        .collect()
}

fn buffer_drops(snmp: &str) -> u64 {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Udp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(name, _)| *name == "RcvbufErrors").and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the kernel's tables are read by their names and columns.
    #[test]
    fn the_kernels_tables_are_read() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 150 0 0 20 0 9 0 1 2 3";
        assert_eq!(process_seconds(stat), Some(4.0));
        assert_eq!(field("Name:\tx\nVmRSS:\t  1234 kB\n", "VmRSS:"), Some(1_234));
        let cores = "cpu  1 1 1 900 100 0\ncpu0 1 1 1 400 50 0 0\ncpu1 1 1 1 500 50 0 0\nintr 5\n";
        assert_eq!(idle_seconds(cores), [4.5, 5.5]);
        let snmp = "Tcp: a\nTcp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 1 2 3 4 5\n";
        assert_eq!(buffer_drops(snmp), 5);
    }

    /// Goal: two readings give shares of cores.
    #[test]
    fn readings_compare() {
        let earlier = Reading { at: 0, server_s: Some(1.0), idle_s: vec![1.0, 5.0], ..Reading::default() };
        let later = Reading { at: 2_000_000_000, server_s: Some(2.0), idle_s: vec![1.5, 7.0], ..Reading::default() };
        assert_eq!(later.server_cpu_since(&earlier), Some(0.5));
        assert!((later.busy_since(&earlier, &[0]) - 0.75).abs() < 1e-9);
        assert!(later.busy_since(&earlier, &[1]).abs() < 1e-9);
        assert_eq!(Reading::default().server_cpu_since(&earlier), None);
    }
}
