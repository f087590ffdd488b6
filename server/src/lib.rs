//! The program `echomesh-server`: starts the shards and the threads beside them, and stops them in order.
//!
//! A library, so that what reads strangers' bytes is reached without a process around it: [`cli`] and [`tls_stream`] are
//! public for that alone (docs/TESTING.md, fuzz targets). All else is [`run`]'s.
//! Or makes or restores a backup (`store::backup`), looks at the settings (`check`), or does what the operator says
//! (`operator`), and serves nobody.
//! Not the rules of rooms, which are `echomesh_shard`'s. Start: settings, log, io_uring, data directory,
//! certificate, sockets, store and hashers, shards, summary. Stop: shards first, then the store, which
//! finishes what they asked, then the totals.
//! Exit codes: 0 stopped as asked, 1 could not start or go on, 2 wrong settings; the sentence on standard
//! error says what to do. SIGHUP: `reload`. A panic anywhere is a bug and aborts: acknowledged chat is on disk by then.
#![deny(unsafe_code)]

mod admin;
mod bounds;
mod cert;
mod check;
pub mod cli;
mod config;
#[cfg(test)]
#[path = "../shard/tests/allocations/alloc.rs"]
#[allow(unsafe_code, reason = "a test allocator")]
mod counting_alloc;
mod driver;
mod egress;
mod ending;
mod hash;
mod hex;
mod instance;
mod interleave;
mod jobs;
mod keys;
mod link;
mod logging;
#[path = "../../packaging/manual.rs"]
mod manual;
mod measures;
mod mesh;
mod metrics;
mod operator;
mod pace;
mod peers;
#[cfg(test)]
mod reference;
mod reload;
mod resources;
mod service;
mod settings_file;
mod shard_thread;
mod signals;
mod sockets;
mod start_error;
mod store;
mod summary;
mod tcp;
pub mod tls_stream;
mod totals;
#[allow(unsafe_code, reason = "the raw ring and a few system calls: see docs/ARCHITECTURE.md")]
mod uring;
mod wake;
mod watchdog;
mod workers;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::CommandFactory;
use core_affinity::CoreId;
use echomesh_proto::ids::ShardId;
use echomesh_shard::{Limits, ShardConfig};

use admin::{AdminSetup, Condition, Current, Overviews};
use cert::Identity;
use cli::Command;
use config::Config;
use ending::{Ending, Phase};
use instance::Instance;
use jobs::JobPort;
use metrics::Board;
use reload::{CHANGES_MAX, Change, Reload};
use shard_thread::{ShardError, ShardSetup, ShardTotals};
use signals::{Asked, Signals};
use sockets::Sockets;
use start_error::StartError;
use store::Loaded;
use summary::Summary;
use wake::Wake;
use watchdog::{Health, Pulse, Watchdog};
use workers::WorkerThreads;

/// How often the main thread looks after the shards.
const WATCH: Duration = Duration::from_millis(100);

/// The same at the end, when everybody waits for the next start.
const WATCH_ENDING: Duration = Duration::from_millis(10);

/// A shard's thread, and what it gives at its end.
type ShardThread = JoinHandle<Result<ShardTotals, ShardError>>;

/// What the program does.
#[must_use]
pub fn run() -> ExitCode {
    abort_on_panic();
    let mut flags = cli::Flags::read();
    let command = flags.command.take();
    if let Some(Command::Manual { folder }) = &command {
        return write_manual(folder);
    }
    if let Some(Command::CheckConfig { file: Some(file) }) = &command {
        flags.config = Some(file.clone());
    }
    let done = config::settle(flags.clone()).and_then(|config| match command {
        None => serve(&config, flags).map(|totals| totals::json(&totals)),
        Some(Command::Manual { .. }) => unreachable!("done above, without settings"),
        Some(Command::CheckConfig { .. }) => check::check(&config),
        Some(Command::Backup { file }) => store::backup(&config.database, &file),
        Some(Command::Restore { file }) => {
            let _instance = Instance::take(&config.data_dir)?;
            store::restore(&config.database, &file)
        }
        Some(Command::User { json, command }) => operator::run(&config, operator::Command::User(command), json),
        Some(Command::Invite { json, command }) => operator::run(&config, operator::Command::Invite(command), json),
        Some(Command::Ban { json, command }) => operator::run(&config, operator::Command::Ban(command), json),
        Some(Command::Owner { name }) => operator::run(&config, operator::Command::Owner(name), false),
    });
    match done {
        Ok(told) => {
            if !told.is_empty() {
                say(&format!("{told}\n"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("echomesh-server: {error}");
            error.exit_code()
        }
    }
}

fn write_manual(folder: &std::path::Path) -> ExitCode {
    match manual::write(cli::Flags::command(), "8", folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echomesh-server: cannot write to {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

/// A server with a dead shard would look alive and not be.
fn abort_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        eprintln!("echomesh-server: this is a bug; please report it with the lines above. Start the server again");
        std::process::abort();
    }));
}

/// Runs until a signal or a failure.
fn serve(config: &Config, flags: cli::Flags) -> Result<Vec<ShardTotals>, StartError> {
    let (log, lines) = logging::start(&config.log, config.log_format)?;
    resources::raise_open_files();
    let mut signals = Signals::catch().map_err(|error| StartError::system("cannot catch signals", &error))?;
    let features = uring::probe().map_err(|error| StartError::Machine(error.to_string()))?;
    let _instance = Instance::take(&config.data_dir)?;
    let identity = cert::load(config.tls.as_ref(), &config.data_dir)?;
    let sockets = sockets::bind(config.address, config.port, config.voice_port, usize::from(config.shards))
        .map_err(StartError::Machine)?;
    let (ending, started) = (Arc::new(Ending::new(config.shards)), Instant::now());
    let condition = Arc::new(Condition::new(ending.clone()));
    let pulses: Vec<Arc<Pulse>> = (0..config.shards).map(|_| Arc::default()).collect();
    let board = Arc::new(Board::new(pulses.clone(), started));
    let overviews = Arc::new(Overviews::new(config.shards, started));
    let current = Arc::new(Current::new(&identity, &config.server_name));
    let listener = admin::bind(config.admin)?;
    let admin_url = listener.as_ref().map(admin::Listener::url);
    let admin = listener.map(|listener| {
        admin::spawn(AdminSetup {
            listener,
            host: config.admin_host.clone(),
            control: sockets.address,
            current: current.clone(),
            board: board.clone(),
            condition: condition.clone(),
            overviews: overviews.clone(),
            lines,
        })
    });
    let admin = admin.transpose().map_err(|error| StartError::system("cannot start the admin's thread", &error))?;
    let (address, voice_port) = (sockets.address, sockets.voice_port);
    let limits = &config.limits;
    let wakes = wakes(config.shards)?;
    // The last thing that may fail for the machine's reasons: a first start must not lose its claim code.
    let (workers, ports, mut loaded) = WorkerThreads::start(config, limits, &wakes, &condition)?;
    let cores = cores(config);
    let rooms = loaded.rooms.len();
    let watchdog = Watchdog::new(pulses.clone(), started);
    let start = ShardsStart {
        config,
        limits,
        identity: &identity,
        cores: &cores,
        board: &board,
        overviews: &overviews,
        ending: &ending,
        pulses: &pulses,
        started,
    };
    let (changes, receivers) = (0..config.shards).map(|_| mpsc::sync_channel(CHANGES_MAX)).unzip();
    let mut reload = Reload::new(flags, config, &identity, current, log, changes);
    let shards = start.start(sockets, wakes, ports, receivers, &mut loaded)?;
    let summary = Summary {
        config,
        features: &features,
        cores: &cores.iter().map(|core| core.id).collect::<Vec<_>>(),
        fingerprint: &identity.fingerprint,
        claim_code: loaded.claim_code.as_deref(),
        rooms,
        advice: &resources::advice(config.shards, limits, features.counts_locked_memory),
        address,
        voice_port,
        admin: admin_url.as_deref(),
    };
    condition.serving();
    say(&summary.to_string());
    service::ready();
    until_the_end(&mut signals, &shards, watchdog, &ending, &condition, &mut reload);
    if let Some(admin) = admin {
        admin.stop();
    }
    let ends: Vec<_> = shards.into_iter().map(|shard| shard.join().expect("a panic has aborted")).collect();
    workers.stop();
    ends.into_iter().map(|end| end.map_err(|error| StartError::Machine(error.to_string()))).collect()
}

/// Serves until a signal or the end of a shard, then lets the shards answer what was begun. A second signal, or a
/// shard that failed, cuts that short. A shard that stands still is seen until the last has ended.
fn until_the_end(
    signals: &mut Signals,
    shards: &[ShardThread],
    mut watchdog: Watchdog,
    ending: &Ending,
    condition: &Condition,
    reload: &mut Reload,
) {
    let mut serve = || {
        signals.wait(WATCH, || {
            keep_watch(&mut watchdog, condition);
            shards.iter().any(JoinHandle::is_finished)
        })
    };
    let asked = loop {
        match serve() {
            Asked::Reload => reload.reload(),
            Asked::Stop => break true,
            Asked::Over => break false,
        }
    };
    tracing::info!("stopping: answering what was begun");
    service::stopping();
    ending.advance(if asked { Phase::Draining } else { Phase::Stopping });
    let mut watched = Instant::now();
    let mut all_over = || {
        if watched.elapsed() >= WATCH {
            watched = Instant::now();
            keep_watch(&mut watchdog, condition);
        }
        shards.iter().all(JoinHandle::is_finished)
    };
    loop {
        match signals.wait(WATCH_ENDING, &mut all_over) {
            Asked::Over => break,
            Asked::Stop => {
                tracing::warn!("asked again: stopping at once");
                ending.advance(Phase::Stopping);
            }
            Asked::Reload => tracing::warn!("the server stops: its settings are read at the next start"),
        }
    }
}

/// Tells the service manager that the shards live; ends the process if one will not go on.
fn keep_watch(watchdog: &mut Watchdog, condition: &Condition) {
    let health = watchdog.look();
    condition.shard_stands(health != Health::Well);
    match health {
        Health::Well => service::alive(),
        Health::Stalled => {}
        Health::Dead => {
            eprintln!(
                "echomesh-server: a shard stands still and will not go on: ending, so that it can be started again \
                 (acknowledged chat is stored). This is a bug, or the machine's fault; please report the log above"
            );
            std::process::abort();
        }
    }
}

fn wakes(shards: u8) -> Result<Vec<Arc<Wake>>, StartError> {
    let wakes = (0..shards).map(|_| Wake::new().map(Arc::new)).collect::<Result<_, _>>();
    wakes.map_err(|error| StartError::system("cannot make an eventfd; raise the limit of open files", &error))
}

/// The core of each shard; none if they are not pinned. More shards than cores share them in turn.
fn cores(config: &Config) -> Vec<CoreId> {
    let known = if config.pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
    known.iter().copied().cycle().take(if known.is_empty() { 0 } else { usize::from(config.shards) }).collect()
}

/// What all shards start with.
struct ShardsStart<'a> {
    config: &'a Config,
    limits: &'a Limits,
    identity: &'a Identity,
    cores: &'a [CoreId],
    board: &'a Arc<Board>,
    overviews: &'a Arc<Overviews>,
    ending: &'a Arc<Ending>,
    pulses: &'a [Arc<Pulse>],
    started: Instant,
}

impl ShardsStart<'_> {
    fn start(
        &self,
        sockets: Sockets,
        wakes: Vec<Arc<Wake>>,
        ports: Vec<JobPort>,
        changes: Vec<mpsc::Receiver<Change>>,
        loaded: &mut Loaded,
    ) -> Result<Vec<ShardThread>, StartError> {
        let voice_port = sockets.voice_port;
        let parts = sockets.tcp.into_iter().zip(sockets.udp).zip(mesh::mesh(wakes.len())).zip(ports).zip(changes);
        let mut shards = Vec::with_capacity(wakes.len());
        for (shard, ((((tcp, udp), mesh), jobs), changes)) in (0_u8..).zip(parts) {
            let setup = ShardSetup {
                config: self.shard_config(ShardId(shard), voice_port, loaded)?,
                core: self.cores.get(usize::from(shard)).copied(),
                tcp,
                udp,
                tls: self.identity.tls.clone(),
                mesh,
                jobs,
                wakes: wakes.clone(),
                started: self.started,
                voice_window: self.config.voice_window,
                board: self.board.clone(),
                overviews: self.overviews.clone(),
                ending: self.ending.clone(),
                drain: self.config.drain,
                pulse: self.pulses[usize::from(shard)].clone(),
                changes,
            };
            let thread = shard_thread::spawn(setup);
            shards.push(thread.map_err(|error| StartError::system("cannot start a shard's thread", &error))?);
        }
        Ok(shards)
    }

    fn shard_config(&self, shard: ShardId, voice_port: u16, loaded: &mut Loaded) -> Result<ShardConfig, StartError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| StartError::system("the system gives no random bytes", &error))?;
        let settings = reload::shard_settings(self.config, self.limits.clone());
        Ok(ShardConfig {
            shard,
            shards: self.config.shards,
            seed,
            server_name: settings.server_name,
            motd: settings.motd,
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            voice_port,
            registration: settings.registration,
            guests: settings.guests,
            plaintext_anywhere: self.config.plaintext_anywhere,
            spread_after: self.config.spread_after,
            speakers_max: settings.speakers_max,
            retention_days: settings.retention_days,
            limits: settings.limits,
            rooms: loaded.rooms.clone(),
            bans: loaded.bans.clone(),
            sessions: loaded.sessions.clone(),
            // One shard is enough to have their lines deleted.
            ended_rooms: std::mem::take(&mut loaded.ended_rooms),
        })
    }
}

/// Writes to standard output. That nobody reads it (any more) is no reason to stop serving.
fn say(text: &str) {
    let mut output = std::io::stdout();
    if let Err(error) = output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        tracing::debug!(%error, "nobody reads standard output");
    }
}
