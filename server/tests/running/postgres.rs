//! A real PostgreSQL for tests, from the machine's packages: durable as in earnest, and nobody else's.
//!
//! In a temporary directory, on a Unix socket there, so that no port is taken; as another user if we are root,
//! which PostgreSQL refuses to be. It ends with the last test that holds it.

#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What its only user logs in with.
const PASSWORD: &str = "tops3cret";

/// Most it may take to start or stop on a busy machine, seconds.
const PATIENCE_S: &str = "60";

pub struct Postgres {
    directory: tempfile::TempDir,
    programs: PathBuf,
    /// User and group to run as.
    user: Option<(u32, u32)>,
    databases: AtomicU32,
}

/// See [`Postgres::hold_lines`].
pub struct Held {
    holder: Child,
    orders: Option<ChildStdin>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // It ends with its orders, and what it held is free.
        drop(self.orders.take());
        self.holder.wait().unwrap();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may be stopped already.
        self.control("stop", &["-m", "immediate"]);
    }
}

impl Postgres {
    /// The one that this program's tests share, started if none runs.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start_new());
        *shared = Arc::downgrade(&started);
        started
    }

    /// One for a test that stops it.
    pub fn start_new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let user = rustix::process::geteuid().is_root().then(postgres_user);
        if let Some((user, group)) = user {
            chown(directory.path(), Some(user), Some(group)).unwrap();
        }
        let postgres = Self { programs: programs(), user, databases: AtomicU32::new(0), directory };
        let password_file = postgres.path("password");
        std::fs::write(&password_file, PASSWORD).unwrap();
        let mut initdb = postgres.command("initdb");
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--username=mesh"]);
        initdb.arg("--pwfile").arg(password_file).arg("-D").arg(postgres.path("data"));
        assert!(run(&mut initdb), "initdb failed");
        postgres.start();
        postgres
    }

    pub fn start(&self) {
        let socket = format!("-c listen_addresses= -c unix_socket_directories={}", self.directory.path().display());
        let log = self.path("log");
        assert!(self.control("start", &["-o", &socket, "-l", log.to_str().unwrap()]), "PostgreSQL does not start");
    }

    /// As an operator does: connections are ended.
    pub fn stop(&self) {
        assert!(self.control("stop", &["-m", "fast"]), "PostgreSQL does not stop");
    }

    /// As if it were killed.
    pub fn crash(&self) {
        assert!(self.control("stop", &["-m", "immediate"]), "PostgreSQL does not stop");
    }

    /// A new database's URL.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    pub fn url(&self, database: &str) -> String {
        self.url_of("mesh", PASSWORD, database)
    }

    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres:///{database}?host={}&user={user}&password={password}", self.directory.path().display())
    }

    /// What another program does to a database, by name or URL: statements, and what they say.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let output = self.psql(database).args(["-c", statements]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A session that reads statements from its standard input.
    pub fn psql(&self, database: &str) -> Command {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h"]).arg(self.directory.path());
        psql.args(["-U", "mesh", "-d", database]).env("PGPASSWORD", PASSWORD);
        psql
    }

    /// Another program's hold of the table that lines are stored in, until it is dropped.
    pub fn hold_lines(&self, database: &str) -> Held {
        let mut holder = self.psql(database).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut orders = holder.stdin.take().unwrap();
        orders.write_all(b"BEGIN; LOCK TABLE chat_lines; SELECT 'held';\n").unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        Held { holder, orders: Some(orders) }
    }

    fn control(&self, what: &str, arguments: &[&str]) -> bool {
        let mut control = self.command("pg_ctl");
        control.args([what, "-s", "-w", "-t", PATIENCE_S, "-D"]).arg(self.path("data")).args(arguments);
        run(&mut control)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // A place where that user may be.
        command.current_dir("/");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Without a terminal or pipe that the server would keep open.
fn run(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Where Debian has the newest version's programs.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.filter(|entry| entry.path().join("bin/initdb").exists());
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    newest.expect("install the package postgresql (scripts/test does): tests run a real one").path().join("bin")
}

/// Whom the package made.
fn postgres_user() -> (u32, u32) {
    let users = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("install the package postgresql");
    let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
    (fields.next().unwrap(), fields.next().unwrap())
}
