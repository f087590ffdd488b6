//! `echomesh-server`: starts the shards and the threads beside them, and stops them in order.
//!
//! No rules of rooms here: those are `echomesh_shard`'s. Exit codes: 0 stopped as asked, 1 could not
//! start or go on (the message says what to do), 2 wrong flags.
#![deny(unsafe_code)]

mod cert;
mod config;
mod driver;
mod hash;
mod jobs;
mod link;
mod mesh;
mod peers;
mod shard_thread;
mod sockets;
mod store;
mod tcp;
mod tls_stream;
mod totals;
#[allow(unsafe_code, reason = "the raw ring and a few system calls: see docs/ARCHITECTURE.md")]
mod uring;
mod voice;
mod wake;

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use echomesh_proto::ids::ShardId;
use echomesh_shard::{Limits, ShardConfig};
use tokio::signal::unix::{SignalKind, signal};

use config::{Config, LogFormat, Registration};
use jobs::JobPort;
use shard_thread::{ShardError, ShardSetup, ShardTotals};
use wake::Wake;

/// How often the main thread looks whether a shard has ended by itself.
const WATCH: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let flags = config::Flags::parse();
    // A thread's panic is a bug: a server with a dead shard would look alive and not be.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        hook(info);
        std::process::abort();
    }));
    match config::settle(flags).and_then(|config| serve(&config)) {
        Ok(totals) => {
            println!("{}", totals::json(&totals));
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("echomesh-server: {message}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config) -> Result<Vec<ShardTotals>, String> {
    start_log(config)?;
    let features = uring::probe().map_err(|error| error.to_string())?;
    let _lock = lock(&config.data_dir)?;
    let identity = cert::load(config.tls.as_ref(), &config.data_dir)?;
    let (store, loaded) = store::Store::open(&config.data_dir.join("echomesh.sqlite3"))?;
    let sockets = sockets::bind(config.address, config.port, config.voice_port, usize::from(config.shards))?;
    let limits = Limits::default();
    let stop = Arc::new(AtomicBool::new(false));
    let workers_stop = Arc::new(AtomicBool::new(false));
    let system = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| format!("{what}: {error}")
    };

    let wakes: Vec<Arc<Wake>> = (0..config.shards)
        .map(|_| Wake::new().map(Arc::new))
        .collect::<Result<_, _>>()
        .map_err(system("cannot make an eventfd"))?;
    let (mut rings, mut store_desks, mut hash_desks) = (Vec::new(), Vec::new(), Vec::new());
    for wake in &wakes {
        let (ring, store_desk, hash_desk) = jobs::rings(&limits, wake);
        rings.push(ring);
        store_desks.push(store_desk);
        hash_desks.push(hash_desk);
    }
    let flag = workers_stop.clone();
    let store = std::thread::Builder::new().name("store".into()).spawn(move || store.run(store_desks, &flag));
    let store = store.map_err(system("cannot start the store's thread"))?;
    let flag = workers_stop.clone();
    let hasher = std::thread::Builder::new().name("hasher".into()).spawn(move || hash::run(hash_desks, &flag));
    let hasher = hasher.map_err(system("cannot start the hasher's thread"))?;
    let workers = jobs::Workers { store: store.thread().clone(), hash: vec![hasher.thread().clone()] };

    let started = Instant::now();
    let cores = if config.pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
    let mut shards = Vec::new();
    let parts = sockets.tcp.into_iter().zip(sockets.udp).zip(mesh::mesh(wakes.len())).zip(rings);
    for (number, (((tcp, udp), mesh), rings)) in parts.enumerate() {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| format!("the system gives no random bytes: {error}"))?;
        let setup = ShardSetup {
            config: ShardConfig {
                shard: ShardId(number as u8),
                shards: config.shards,
                seed,
                server_name: config.server_name.clone(),
                server_version: env!("CARGO_PKG_VERSION").to_owned(),
                voice_port: sockets.voice_port,
                registration: match config.registration {
                    Registration::Open => echomesh_shard::Registration::Open,
                    Registration::Closed => echomesh_shard::Registration::Closed,
                },
                plaintext_anywhere: config.plaintext_anywhere,
                spread_after: config.spread_after,
                limits: limits.clone(),
                rooms: loaded.rooms.clone(),
            },
            core: (!cores.is_empty()).then(|| cores[number % cores.len()]),
            tcp,
            udp,
            tls: identity.tls.clone(),
            mesh,
            jobs: JobPort::new(rings, workers.clone()),
            wakes: wakes.clone(),
            started,
            stop: stop.clone(),
        };
        shards.push(shard_thread::spawn(setup).map_err(system("cannot start a shard's thread"))?);
    }
    let mut signals = Signals::catch().map_err(system("cannot catch signals"))?;
    announce(config, &features, &identity.fingerprint, loaded.claim_code.as_deref(), cores.len());
    // The last line of the summary: scripts and tests wait for it.
    println!("listening on {} (voice udp {})", sockets.address, sockets.voice_port);

    signals.wait(&shards);
    tracing::info!("stopping");
    stop.store(true, Ordering::Relaxed);
    let mut totals = Vec::new();
    for shard in shards {
        totals.push(shard.join().map_err(|_| "a shard has panicked".to_owned())??);
    }
    workers_stop.store(true, Ordering::Relaxed);
    workers.store.unpark();
    workers.hash.iter().for_each(std::thread::Thread::unpark);
    let _ = (store.join(), hasher.join());
    Ok(totals)
}

fn start_log(config: &Config) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log)
        .map_err(|error| format!("--log {:?} is not a filter: {error}", config.log))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// One server a data directory.
fn lock(data_dir: &Path) -> Result<File, String> {
    let explain = |error: &dyn std::fmt::Display| {
        format!(
            "cannot use the data directory {}: {error}. Give this user write access, or choose another --data-dir",
            data_dir.display()
        )
    };
    std::fs::create_dir_all(data_dir).map_err(|error| explain(&error))?;
    let lock = File::create(data_dir.join("lock")).map_err(|error| explain(&error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(format!(
            "another echomesh-server uses the data directory {}: stop it, or choose another --data-dir",
            data_dir.display()
        )),
        Err(std::fs::TryLockError::Error(error)) => Err(explain(&error)),
    }
}

fn announce(config: &Config, features: &uring::Features, fingerprint: &str, claim_code: Option<&str>, cores: usize) {
    println!("EchoMesh {} \u{2014} {}", env!("CARGO_PKG_VERSION"), config.server_name);
    let pinned = if config.pin && cores > 0 { "pinned" } else { "not pinned" };
    println!("  shards       {} ({pinned}, {cores} cores seen)", config.shards);
    println!("  kernel       {features}");
    println!("  data         {}", config.data_dir.display());
    println!("  fingerprint  SHA256:{fingerprint}");
    if let Some(code) = claim_code {
        println!("  claim code   {code}   (shown once: echomesh claim {code} makes you the owner)");
    }
    if let Some(rmem) =
        std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok().and_then(|text| text.trim().parse::<u64>().ok())
        && rmem < 4 << 20
    {
        println!(
            "  limit        net.core.rmem_max is {rmem}: for bursts of voice, sysctl -w net.core.rmem_max=4194304"
        );
    }
}

/// SIGINT and SIGTERM, caught from when this is made: before the server says that it listens.
struct Signals {
    runtime: tokio::runtime::Runtime,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        drop(guard);
        Ok(Self { runtime, interrupt, terminate })
    }

    /// Returns when one has come, or when a shard has ended by itself: its error is taken when it is joined.
    fn wait(&mut self, shards: &[std::thread::JoinHandle<Result<ShardTotals, ShardError>>]) {
        let Self { runtime, interrupt, terminate } = self;
        runtime.block_on(async {
            let mut watch = tokio::time::interval(WATCH);
            loop {
                tokio::select! {
                    _ = interrupt.recv() => return,
                    _ = terminate.recv() => return,
                    _ = watch.tick() => {
                        if shards.iter().any(std::thread::JoinHandle::is_finished) {
                            return;
                        }
                    }
                }
            }
        });
    }
}
