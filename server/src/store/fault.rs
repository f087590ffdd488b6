//! What can be wrong with a database while the server runs or starts, and what the operator does
//! about it.
//!
//! Source: SQLite's result codes, <https://www.sqlite.org/rescode.html>, whose low byte is the primary one;
//! PostgreSQL's, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use std::fmt;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use sqlx::postgres::PgDatabaseError;

/// The same fault is logged at most this often; in between it is counted.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Why a statement, a commit or a connection failed.
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
    /// Its schema is of a newer server.
    Newer,
    /// It took longer than the store waits.
    Slow,
    /// PostgreSQL: no connection, or it broke.
    Unreachable,
    /// PostgreSQL is starting or stopping.
    Starting,
    /// PostgreSQL refuses user or password.
    Password,
    /// PostgreSQL has no such database.
    NoDatabase,
    /// PostgreSQL: the user may not do what the store does.
    NotAllowed,
    /// PostgreSQL has no connection left.
    Crowded,
    /// PostgreSQL: a standby, or set to be read-only.
    Standby,
    /// PostgreSQL: TLS failed.
    Tls,
    /// PostgreSQL: another server has the advisory lock.
    Held,
    /// PostgreSQL: its encoding is not UTF-8.
    Encoding,
    /// PostgreSQL: there are tables of our names that we did not make.
    Foreign,
    /// PostgreSQL's own disk is full.
    ServerDiskFull,
    /// PostgreSQL's own files or disk are damaged.
    ServerDamaged,
    /// Anything else: most likely a job that breaks a constraint, which is a bug.
    Other,
}

impl Fault {
    /// Sorts an error by what can be done about it.
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => Fault::of_postgres(error.code()),
                None => Fault::of_sqlite(database.code().and_then(|code| code.parse().ok())),
            },
            sqlx::Error::Tls(_) => Fault::Tls,
            // So rustls says that it does not believe the other side.
            sqlx::Error::Io(error) if error.kind() == ErrorKind::InvalidData => Fault::Tls,
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => Fault::Unreachable,
            _ => Fault::Other,
        }
    }

    fn of_sqlite(code: Option<u32>) -> Self {
        match code.map(|code| code & 0xff) {
            Some(13) => Fault::DiskFull,
            Some(8) => Fault::ReadOnly,
            Some(5 | 6) => Fault::Locked,
            Some(11 | 26) => Fault::Damaged,
            Some(14) => Fault::CannotOpen,
            Some(10) => Fault::Disk,
            _ => Fault::Other,
        }
    }

    fn of_postgres(code: &str) -> Self {
        match code {
            "28000" | "28P01" => Fault::Password,
            "3D000" => Fault::NoDatabase,
            "42501" => Fault::NotAllowed,
            "42P07" => Fault::Foreign,
            "53100" => Fault::ServerDiskFull,
            "53300" => Fault::Crowded,
            "25006" => Fault::Standby,
            "57P03" => Fault::Starting,
            // A statement's or a lock's time is up.
            "57014" | "55P03" => Fault::Slow,
            "58030" | "XX001" | "XX002" => Fault::ServerDamaged,
            // 08: the connection; 57: ended by an administrator, a crash, or for being idle; 25P03: for being
            // idle in a transaction.
            "57P01" | "57P02" | "57P04" | "57P05" | "25P03" => Fault::Unreachable,
            _ if code.starts_with("08") => Fault::Unreachable,
            _ => Fault::Other,
        }
    }

    /// Whether the jobs of a failed batch may do better alone. Not while another process has the lock:
    /// each would wait for the whole busy timeout.
    pub fn may_spare_single_jobs(self) -> bool {
        !matches!(self, Fault::Locked | Fault::Slow) && !self.ends_connection()
    }

    /// Whether the connection is of no more use: it is broken, or leads to a server that is not the one to
    /// write to.
    pub fn ends_connection(self) -> bool {
        matches!(self, Fault::Unreachable | Fault::Starting | Fault::Standby | Fault::Tls)
    }

    /// What the operator should do.
    pub fn remedy(self) -> &'static str {
        match self {
            Fault::DiskFull => "the disk is full: free some space in the data directory's file system",
            Fault::ReadOnly => {
                "it is read-only: give this user write access to the file and its directory, and mount the file \
                 system read-write"
            }
            Fault::Locked => "another program holds a lock on it: close that program (an open SQLite shell)",
            Fault::Damaged => {
                "it is damaged, or no database of this server: stop the server and restore a backup with \
                 `echomesh-server restore FILE`, which keeps the old one (`sqlite3 OLD .recover` may save most of it)"
            }
            Fault::CannotOpen => {
                "it cannot be opened: see that the data directory exists and that this user may write there"
            }
            Fault::Disk => "the disk or its file system fails: look at the kernel's log (dmesg)",
            Fault::Newer => {
                "it was made by a newer echomesh-server: install that or a later one, or restore an older backup"
            }
            Fault::Slow => "it takes too long: look for a full or failing disk, for locks, and for what else it does",
            Fault::Unreachable => {
                "PostgreSQL does not answer: see that it runs, that host and port are right, and that no firewall is \
                 in between"
            }
            Fault::Starting => "PostgreSQL is starting or stopping: wait until it accepts connections",
            Fault::Password => {
                "PostgreSQL refuses the user or the password: correct them in the setting `database`, or allow the \
                 user in its pg_hba.conf"
            }
            Fault::NoDatabase => "make the database first: `createdb --encoding=UTF8 --owner=USER NAME`",
            Fault::NotAllowed => "the user lacks rights: make it the database's owner (ALTER DATABASE … OWNER TO …)",
            Fault::Crowded => "PostgreSQL has no connection left: raise its max_connections, or end other sessions",
            Fault::Standby => "it may only be read: name the primary server, not a standby, in the setting `database`",
            Fault::Tls => "TLS failed: see sslmode, host and sslrootcert in the setting `database`",
            Fault::Held => {
                "another echomesh-server uses it: stop that one, or give each a database of its own (a machine that \
                 has lost power holds it for half a minute more)"
            }
            Fault::Encoding => "make a database that can hold every name: `createdb --encoding=UTF8 -T template0 NAME`",
            Fault::Foreign => "it has tables of another program: give this server a database of its own",
            Fault::ServerDiskFull => "PostgreSQL's disk is full: free some space there",
            Fault::ServerDamaged => "PostgreSQL's disk or files are damaged: look at its log",
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
    /// One more job, batch or attempt to connect failed; clients are told to try again.
    pub fn report(&mut self, fault: Fault, error: &dyn fmt::Display) {
        if !self.is_due(fault, Instant::now()) {
            return;
        }
        let (remedy, unsaid) = (fault.remedy(), std::mem::take(&mut self.unsaid));
        tracing::error!(%error, unsaid, "the store cannot commit, clients are told to try again; {remedy}");
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

    /// Goal: the codes of the two databases are not mixed up, though both may be five digits.
    #[test]
    fn codes_are_sorted_by_database() {
        assert_eq!(Fault::of_sqlite(Some(13)), Fault::DiskFull);
        assert_eq!(Fault::of_sqlite(Some(10 | 4 << 8)), Fault::Disk);
        assert_eq!(Fault::of_postgres("53100"), Fault::ServerDiskFull);
        assert_eq!(Fault::of_postgres("08006"), Fault::Unreachable);
        assert_eq!(Fault::of_postgres("23503"), Fault::Other);
        assert!(Fault::of_postgres("57P01").ends_connection());
        assert!(!Fault::of_postgres("57014").may_spare_single_jobs());
    }
}
