//! What can be wrong with a database while the server runs or starts, and what the operator does
//! about it.
//!
//! Source: SQLite's result codes, <https://www.sqlite.org/rescode.html>; the low byte is the primary one.

use std::time::{Duration, Instant};

/// The same fault is logged at most this often; in between it is counted.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Why a statement or a commit failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No space left for the database or its log.
    DiskFull,
    /// The file or its directory may not be written.
    ReadOnly,
    /// Another process holds a lock on it for longer than the busy timeout.
    Locked,
    /// The file's contents make no sense, or it is no database.
    Damaged,
    /// The file cannot be opened or made.
    CannotOpen,
    /// The disk or its file system failed.
    Disk,
    /// Anything else: most likely a job that breaks a constraint, which is a bug.
    Other,
}

impl Fault {
    /// Sorts an error by what can be done about it.
    pub fn of(error: &sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        match code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
            Some(13) => Fault::DiskFull,
            Some(8) => Fault::ReadOnly,
            Some(5 | 6) => Fault::Locked,
            Some(11 | 26) => Fault::Damaged,
            Some(14) => Fault::CannotOpen,
            Some(10) => Fault::Disk,
            _ => Fault::Other,
        }
    }

    /// Whether the jobs of a failed batch may do better alone. Not while another process has the lock:
    /// each would wait for the whole busy timeout.
    pub fn may_spare_single_jobs(self) -> bool {
        self != Fault::Locked
    }

    /// What the operator should do.
    pub fn remedy(self) -> &'static str {
        match self {
            Fault::DiskFull => "the disk is full: free some space in the data directory's file system",
            Fault::ReadOnly => {
                "it is read-only: give this user write access to the file and its directory, and mount the file \
                 system read-write"
            }
            Fault::Locked => "another program holds a lock on it: close that program (a backup, an open SQLite shell)",
            Fault::Damaged => {
                "it is damaged, or no database of this server: stop the server, move the file and its -wal and -shm \
                 away, and restore a backup (`sqlite3 OLD .recover` may save most of it)"
            }
            Fault::CannotOpen => {
                "it cannot be opened: see that the data directory exists and that this user may write there"
            }
            Fault::Disk => "the disk or its file system fails: look at the kernel's log (dmesg)",
            Fault::Other => "this is likely a bug of the server: please report it with this line",
        }
    }
}

/// Logs faults without flooding the log while a disk is full.
#[derive(Debug, Default)]
pub struct FaultLog {
    last: Option<(Fault, Instant)>,
    unsaid: u64,
}

impl FaultLog {
    /// One more job or batch failed; clients are told to try again.
    pub fn report(&mut self, fault: Fault, error: &sqlx::Error) {
        if !self.is_due(fault, Instant::now()) {
            return;
        }
        let (remedy, unsaid) = (fault.remedy(), std::mem::take(&mut self.unsaid));
        tracing::error!(%error, unsaid, "the store could not commit, clients are told to try again; {remedy}");
    }

    fn is_due(&mut self, fault: Fault, now: Instant) -> bool {
        if self.last.is_some_and(|(last, at)| last == fault && now.duration_since(at) < LOG_EVERY) {
            self.unsaid += 1;
            return false;
        }
        self.last = Some((fault, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a fault that lasts is logged once per period, and another fault at once.
    #[test]
    fn a_lasting_fault_is_logged_once_per_period() {
        let (mut log, start) = (FaultLog::default(), Instant::now());
        assert!(log.is_due(Fault::DiskFull, start));
        assert!(!log.is_due(Fault::DiskFull, start + LOG_EVERY / 2));
        assert_eq!(log.unsaid, 1);
        assert!(log.is_due(Fault::Damaged, start + LOG_EVERY / 2));
        assert!(log.is_due(Fault::Damaged, start + LOG_EVERY * 2));
    }
}
