//! A shard's thread: pins itself, starts the runtime, and runs the tasks that feed the core.
//!
//! Tasks: accepting and the connections (`tcp`), the voice socket, the rings, and here the tick and the
//! end. Bounds: what was begun has `ShardSetup::drain` to be answered, then the connections `STOP_US` to close, then
//! their tasks `END_TICKS` to end.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use echomesh_proto::time::SECOND_US;
use echomesh_shard::{ShardConfig, TICK_US};
use socket2::SockRef;
use tokio::time::{Interval, MissedTickBehavior};

use crate::admin::Overviews;
pub use crate::driver::ShardTotals;
use crate::driver::{Core, Parts, SharedCore};
use crate::ending::{Ending, Phase};
use crate::jobs::JobPort;
use crate::mesh::MeshEndpoint;
use crate::metrics::Board;
use crate::pace::{Pace, RoundTimer};
use crate::reload::Change;
use crate::tcp;
use crate::uring::{self, VoiceRing};
use crate::wake::{Sleeper, Wake};
use crate::watchdog::Pulse;

/// How long connections may take to close when the server stops, microseconds.
const STOP_US: u64 = 2 * SECOND_US;

/// Ticks left to the tasks of connections that were shut.
const END_TICKS: u32 = 4;

/// What a shard thread is made of.
pub struct ShardSetup {
    /// For the kernel.
    pub config: ShardConfig,
    /// Where to run.
    pub core: Option<core_affinity::CoreId>,
    /// Control.
    pub tcp: TcpListener,
    /// Voice.
    pub udp: UdpSocket,
    /// For control connections.
    pub tls: Arc<rustls::ServerConfig>,
    /// Rings to and from the other shards.
    pub mesh: MeshEndpoint,
    /// Rings to and from store and hashers.
    pub jobs: JobPort,
    /// Of all shards, in their order.
    pub wakes: Vec<Arc<Wake>>,
    /// Origin of the clock all shards share.
    pub started: Instant,
    /// How long voice may wait while the shard is busy; zero: not at all.
    pub voice_window: Duration,
    /// Where it leaves its figures once a tick.
    pub board: Arc<Board>,
    /// Where it leaves what there is, while somebody looks.
    pub overviews: Arc<Overviews>,
    /// Seen within a tick.
    pub ending: Arc<Ending>,
    /// Longest that answering what was begun may take once the end has.
    pub drain: Duration,
    /// Shows that it lives.
    pub pulse: Arc<Pulse>,
    /// What the operator changes, looked at once a tick.
    pub changes: Receiver<Change>,
}

/// Why a shard ended before it was asked to: the machine's doing.
#[derive(Debug)]
pub struct ShardError {
    shard: u8,
    what: &'static str,
    error: io::Error,
}

impl fmt::Display for ShardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShardError { shard, what, error } = self;
        write!(f, "shard {shard}: {what}: {error}; see docs/OPERATIONS.md for the limits a server needs")
    }
}

impl std::error::Error for ShardError {}

impl From<ShardError> for String {
    fn from(error: ShardError) -> String {
        error.to_string()
    }
}

/// Starts the thread of one shard; it gives its totals at the end.
///
/// # Errors
/// The system has no room for another thread.
pub fn spawn(setup: ShardSetup) -> io::Result<JoinHandle<Result<ShardTotals, ShardError>>> {
    let shard = setup.config.shard.0;
    std::thread::Builder::new().name(format!("shard-{shard}")).spawn(move || {
        setup.pulse.begin();
        if let Some(core) = setup.core
            && !core_affinity::set_for_current(core)
        {
            tracing::warn!(shard, core = core.id, "cannot pin the shard's thread; it runs where the scheduler likes");
        }
        let runtime = tokio_uring::Runtime::new(&tokio_uring::builder()).map_err(|error| ShardError {
            shard,
            what: "cannot start its io_uring runtime",
            error,
        })?;
        runtime.block_on(run(setup))
    })
}

async fn run(setup: ShardSetup) -> Result<ShardTotals, ShardError> {
    let shard = setup.config.shard;
    let fail = |what| move |error| ShardError { shard: shard.0, what, error };
    let voice = VoiceRing::new(setup.udp).map_err(fail("cannot make the voice ring"))?;
    let socket = voice.watched().map_err(fail("cannot watch the voice socket"))?;
    let rounds = RoundTimer::new(setup.voice_window).map_err(fail("cannot make its timer"))?;
    let sleeper = setup.wakes[shard.index()].sleeper().map_err(fail("cannot watch its wake-ups"))?;
    let stop_accepting = setup.tcp.try_clone().map_err(fail("cannot hold its listener"))?;
    let listener = tokio_uring::net::TcpListener::from_std(setup.tcp);
    let ShardSetup { mesh, jobs, wakes, started, voice_window, pulse, ending, changes, .. } = setup;
    let parts = Parts { voice, mesh, jobs, wakes, started, gathers: !voice_window.is_zero(), pulse: pulse.clone() };
    let core = Rc::new(RefCell::new(Core::new(setup.config, parts)));
    let tls = Rc::new(RefCell::new(setup.tls));
    tokio_uring::spawn(tcp::accept(core.clone(), listener, tls.clone()));
    let serving = core.clone();
    tokio_uring::spawn(async move {
        if let Err(error) = serve_voice(serving, socket, rounds).await {
            tracing::error!(shard = shard.0, %error, "voice is no longer received: restart the server");
        }
    });
    tokio_uring::spawn(serve_rings(core.clone(), sleeper));
    let mut tick = tokio::time::interval(Duration::from_micros(TICK_US));
    // A late tick is one tick: deadlines are by the clock, not by their number.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while ending.phase() == Phase::Serving {
        tick.tick().await;
        core.borrow_mut().tick();
        while let Ok(change) = changes.try_recv() {
            core.borrow_mut().change(change.settings);
            if let Some(new) = change.tls {
                tls.replace(new);
            }
            // Who asked may have given up.
            let _ = change.taken.try_send(());
        }
        if core.borrow().is_measuring() {
            setup.board.publish(shard, &core.borrow().totals());
        }
        setup.overviews.offer(shard, || core.borrow().snapshot());
    }
    drain(&core, &mut tick, &ending, setup.drain).await;
    core.borrow_mut().stop();
    // Completes the accept under way. An error means that the listener is gone already.
    let _ = SockRef::from(&stop_accepting).shutdown(Shutdown::Both);
    for _ in 0..STOP_US / TICK_US {
        if core.borrow().is_idle() {
            break;
        }
        tick.tick().await;
        core.borrow_mut().tick();
    }
    core.borrow().shut_all();
    for _ in 0..END_TICKS {
        tick.tick().await;
        if core.borrow().is_idle() {
            break;
        }
    }
    pulse.end();
    Ok(core.borrow().totals())
}

/// Answers what was begun, until all shards have or there is no more time.
async fn drain(core: &SharedCore, tick: &mut Interval, ending: &Ending, longest: Duration) {
    let deadline = Instant::now() + longest;
    core.borrow_mut().drain();
    let mut told = false;
    while ending.phase() == Phase::Draining && Instant::now() < deadline {
        if !told && core.borrow().is_quiet() {
            told = true;
            ending.shard_is_quiet();
        } else {
            tick.tick().await;
            core.borrow_mut().tick();
        }
    }
}

/// Datagrams as they come, or in rounds while there are many.
///
/// # Errors
/// The system has no memory to watch the socket; or the runtime ends.
async fn serve_voice(core: SharedCore, mut socket: File, timer: RoundTimer) -> io::Result<()> {
    loop {
        let watched = uring::watch_readable(socket)?;
        while core.borrow().pace() == Pace::Prompt {
            watched.readable().await?.clear_ready();
            take_voice(&core).await;
        }
        // Nobody is to be woken for single datagrams now.
        socket = watched.into_inner();
        timer.run(true)?;
        while core.borrow().pace() == Pace::Rounds {
            timer.round().await?;
            take_voice(&core).await;
        }
        timer.run(false)?;
    }
}

/// All that waits in the voice socket; between two turns the connections get theirs.
async fn take_voice(core: &SharedCore) {
    while core.borrow_mut().turn_voice() {
        tokio::task::yield_now().await;
    }
}

/// Rings of the other shards, the store and the hashers.
async fn serve_rings(core: SharedCore, sleeper: Sleeper) {
    loop {
        sleeper.announce();
        if core.borrow_mut().turn_rings() {
            sleeper.stay_awake();
            tokio::task::yield_now().await;
        } else if sleeper.sleep().await.is_err() {
            // It ends with the runtime.
            return;
        } else {
            core.borrow_mut().measures.wakeups += 1;
        }
    }
}
