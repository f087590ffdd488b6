//! The server under test: one that this tool starts and stops, or one that runs already, here or elsewhere.
//!
//! In: where its program is, its arguments. Out: address, fingerprint, process, counters.
//! Bounds: `START_MAX` to be ready, `STOP_MAX` after SIGTERM before SIGKILL. Its data are temporary and removed.
//! A server that was started is stopped when its value is dropped, and when the tool panics.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::failure::{Failure, Outcome};
use crate::metrics::Url;

/// Longest wait for a started server to listen, and for one to stop in order.
const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(3);

/// Between two looks at whether it has stopped.
const STOP_LOOK: Duration = Duration::from_millis(20);

/// Cheap password hashing, so that setting up a thousand clients takes seconds: workloads other than password logins
/// do not measure it.
const CHEAP_HASHING: [&str; 4] = ["--password-memory-kib", "8", "--password-passes", "1"];

/// What a server limits by address and connection: all clients of a test come from one address, and some are as fast as
/// they can be.
const UNLIMITED: [&str; 4] =
    ["--connections-per-address", "--connects-per-second", "--requests-per-second", "--memory-mib"];

/// The server that runs, for `stop_running`; 0: none.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// How passwords are hashed by a server that the tool starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// As cheaply as the server allows.
    Cheap,
    /// By its defaults.
    Default,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The program.
    pub binary: &'a Path,
    /// Its shards.
    pub shards: u32,
    /// Cores its threads may use; empty: any.
    pub cores: Vec<u32>,
    /// How it hashes passwords.
    pub hashing: Hashing,
    /// The user's own arguments, last.
    pub arguments: &'a [String],
}

/// A server to be measured.
#[derive(Debug)]
pub struct Server {
    /// Of its control port.
    pub address: SocketAddr,
    /// What its key must be, if known.
    pub fingerprint: Option<String>,
    /// Its process, if it is on this machine and known.
    pub pid: Option<u32>,
    /// Its shards; 0: not known.
    pub shards: u32,
    /// Its cores, if its threads may use no others; empty: not known.
    pub cores: Vec<u32>,
    /// Where its counters are, if anywhere.
    pub metrics: Option<Url>,
    /// What it was started with.
    pub arguments: Vec<String>,
    child: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
    /// Removed with it.
    _data: TempDir,
}

impl Server {
    /// One that runs already.
    ///
    /// # Errors
    /// The address means nothing.
    pub fn running(
        address: &str,
        fingerprint: Option<String>,
        pid: Option<u32>,
        metrics: Option<&str>,
    ) -> Outcome<Self> {
        let unknown = || Failure(format!("cannot find {address}: give --server as HOST:PORT, and check the name"));
        let found = address.to_socket_addrs().map_err(|_| unknown())?.next().ok_or_else(unknown)?;
        if let Some(pid) = pid.filter(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            return Err(Failure(format!("there is no process {pid}: check --pid")));
        }
        let metrics = metrics.map(Url::parse).transpose()?;
        let shards = match &metrics {
            Some(url) => url.read()?.len() as u32,
            None => 0,
        };
        let (cores, arguments) = (Vec::new(), Vec::new());
        Ok(Self { address: found, fingerprint, pid, shards, cores, metrics, arguments, child: None })
    }

    /// Starts one with data of its own, and waits until it listens.
    ///
    /// # Errors
    /// The program is not there, or it ended; its own message says why.
    pub fn start(start: &Start<'_>) -> Outcome<Self> {
        let known = options(start.binary)?;
        let data = tempfile::Builder::new()
            .prefix("echomesh-loadtest-")
            .tempdir()
            .map_err(|error| Failure::because("no temporary folder for the server's data; check TMPDIR", error))?;
        let mut arguments: Vec<String> =
            ["--address", "127.0.0.1", "--port", "0", "--speakers-max", "0", "--log"].map(str::to_owned).to_vec();
        arguments.extend(["warn".to_owned(), "--shards".to_owned(), start.shards.to_string()]);
        if known.contains("--password-memory-kib") && start.hashing == Hashing::Cheap {
            arguments.extend(CHEAP_HASHING.map(str::to_owned));
        }
        if known.contains("--bitrate-kbit-max") {
            arguments.extend(["--bitrate-kbit-max", "0"].map(str::to_owned));
        }
        // A server of before had its metrics by themselves.
        if let Some(flag) = ["--admin", "--metrics"].iter().find(|flag| known.contains(**flag)) {
            arguments.extend([(*flag).to_owned(), "127.0.0.1:0".to_owned()]);
        }
        for limit in UNLIMITED.iter().filter(|limit| known.contains(**limit)) {
            arguments.extend([(*limit).to_owned(), "0".to_owned()]);
        }
        arguments.extend(start.arguments.iter().cloned());
        let mut command = Command::new(start.binary);
        command.arg("--data-dir").arg(data.path()).args(&arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = on_cores(&start.cores, || command.spawn())?
            .map_err(|error| Failure::because(&cannot_run(start.binary), error))?;
        RUNNING.store(child.id().cast_signed(), Ordering::Relaxed);
        let output = BufReader::new(child.stdout.take().expect("its standard output was piped"));
        let pid = Some(child.id());
        let mut server = Self {
            address: ([127, 0, 0, 1], 0).into(),
            fingerprint: None,
            pid,
            shards: start.shards,
            cores: start.cores.clone(),
            metrics: None,
            arguments,
            child: Some(Running { child, output, _data: data }),
        };
        server.read_summary()?;
        Ok(server)
    }

    /// Reads what it prints at its start. A server that neither ends nor gets ready is the user's to interrupt.
    fn read_summary(&mut self) -> Outcome<()> {
        let running = self.child.as_mut().expect("it was started");
        let end = Instant::now() + START_MAX;
        loop {
            let mut line = String::new();
            let count = running.output.read_line(&mut line).unwrap_or(0);
            if count == 0 || Instant::now() > end {
                let text = "the server did not start: its message is above; try its arguments by hand";
                return Err(Failure(text.to_owned()));
            }
            let line = line.trim();
            if let Some(rest) = line.strip_prefix("fingerprint") {
                self.fingerprint = rest.split_whitespace().next().map(str::to_owned);
            } else if let Some(rest) = line.strip_prefix("metrics") {
                self.metrics = Url::parse(rest.trim()).ok();
            } else if let Some(rest) = line.strip_prefix("listening on ") {
                let address = rest.split_whitespace().next().and_then(|word| word.parse().ok());
                let unknown = || Failure(format!("the server's line is not understood: {line}"));
                self.address = address.ok_or_else(unknown)?;
                return Ok(());
            }
        }
    }

    /// Stops one that was started: in order, or after `STOP_MAX` at once.
    pub fn stop(&mut self) {
        let Some(mut running) = self.child.take() else { return };
        let pid = Pid::from_raw(running.child.id().cast_signed());
        // It may have ended already.
        let _ = kill(pid, Signal::SIGTERM);
        let end = Instant::now() + STOP_MAX;
        while Instant::now() < end && !matches!(running.child.try_wait(), Ok(Some(_)) | Err(_)) {
            std::thread::sleep(STOP_LOOK);
        }
        let _ = running.child.kill();
        let _ = running.child.wait();
        RUNNING.store(0, Ordering::Relaxed);
        let mut rest = String::new();
        let _ = running.output.read_to_string(&mut rest);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A panic ends the program without dropping anything: this stops the server first.
pub fn stop_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        stop_running();
        usual(panic);
    }));
}

/// Tells the server that runs, if any, to stop, without waiting for it.
pub fn stop_running() {
    let pid = RUNNING.load(Ordering::Relaxed);
    if pid > 0 {
        // It may have ended already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

fn cannot_run(binary: &Path) -> String {
    format!(
        "cannot run {}; build it with `cargo build --release -p echomesh-server`, or give --server-binary",
        binary.display()
    )
}

/// The options its help names: what an older server does not know is left out.
fn options(binary: &Path) -> Outcome<String> {
    let help = Command::new(binary).arg("--help").stdin(Stdio::null()).output();
    let help = help.map_err(|error| Failure::because(&cannot_run(binary), error))?;
    Ok(String::from_utf8_lossy(&help.stdout).into_owned())
}

/// Does something while this thread may use only these cores, for a child inherits that.
fn on_cores<T>(cores: &[u32], act: impl FnOnce() -> T) -> Outcome<T> {
    if cores.is_empty() {
        return Ok(act());
    }
    let this = Pid::from_raw(0);
    let refused =
        |error| Failure::because("this thread cannot be put on the server's cores; check --server-core", error);
    let before = sched_getaffinity(this).map_err(refused)?;
    let mut wanted = CpuSet::new();
    for core in cores {
        wanted.set(*core as usize).map_err(refused)?;
    }
    sched_setaffinity(this, &wanted).map_err(refused)?;
    let given = act();
    sched_setaffinity(this, &before).map_err(refused)?;
    Ok(given)
}
