//! Figures of the process, as the system has them: the names that Prometheus's own libraries use.
//!
//! Not of shards. Read when somebody asks, from /proc (proc(5)); what cannot be read is left out.
//! Source: "Standard and runtime collectors" of <https://prometheus.io/docs/instrumenting/writing_clientlibs/>.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// A figure.
pub struct ProcessFigure {
    /// The whole name.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Where it is.
    pub get: fn(&Process) -> Option<f64>,
}

/// All of them.
#[rustfmt::skip] // A table is read by its lines.
pub const PROCESS: &[ProcessFigure] = &[
    ProcessFigure { name: "process_cpu_seconds_total", kind: "counter", help: "Processor time of all threads, the system's work for them included.", get: |of| of.cpu_s },
    ProcessFigure { name: "process_start_time_seconds", kind: "gauge", help: "When the server started, Unix time.", get: |of| of.started_s },
    ProcessFigure { name: "process_resident_memory_bytes", kind: "gauge", help: "Memory that is in RAM.", get: |of| of.resident_bytes },
    ProcessFigure { name: "process_virtual_memory_bytes", kind: "gauge", help: "Address space in use.", get: |of| of.virtual_bytes },
    ProcessFigure { name: "process_open_fds", kind: "gauge", help: "File descriptors in use.", get: |of| of.open_fds },
    ProcessFigure { name: "process_max_fds", kind: "gauge", help: "File descriptors there may be.", get: |of| of.max_fds },
    ProcessFigure { name: "process_threads", kind: "gauge", help: "Threads.", get: |of| of.threads },
];

/// What the system says of this process now.
#[derive(Debug)]
pub struct Process {
    cpu_s: Option<f64>,
    started_s: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    threads: Option<f64>,
}

impl Process {
    /// Reads it. `started`: when it did, Unix time.
    pub fn read(started: Duration) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let cpu = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime));
        Self {
            cpu_s: cpu.ok().map(|cpu| cpu.as_secs_f64()),
            started_s: Some(started.as_secs_f64()),
            resident_bytes: number(&status, "VmRSS:").map(|kib| kib * 1024.0),
            virtual_bytes: number(&status, "VmSize:").map(|kib| kib * 1024.0),
            // One is of the look itself.
            open_fds: std::fs::read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1) as f64),
            max_fds: Some(getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |most| most as f64)),
            threads: number(&status, "Threads:"),
        }
    }
}

/// The number behind a key of /proc/self/status.
fn number(status: &str, key: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every figure can be read on this system, and those that a test knows the order of are right.
    #[test]
    fn the_system_tells_all() {
        let held: Vec<_> = (0..32).map(|_| std::fs::File::open("/proc/self/status").unwrap()).collect();
        let process = Process::read(Duration::from_secs(1));
        for figure in PROCESS {
            assert!((figure.get)(&process).is_some_and(|value| value > 0.0), "{}", figure.name);
        }
        let resident = process.resident_bytes.unwrap();
        assert!(resident > 1e6 && resident < process.virtual_bytes.unwrap(), "{process:?}");
        assert!(process.open_fds.unwrap() >= held.len() as f64, "{process:?}");
    }
}
