//! All clients of a voice workload, on one thread or several, and one step of load after another.
//!
//! In: a server and a `Load`. Out: a `Step` for each stretch, with the server's cost and counters.
//! The main thread only waits and reads the kernel's tables, which takes half a millisecond.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::bench::Bench;
use crate::client::{Stage, Wanted};
use crate::clock::{self, MILLISECOND, SECOND};
use crate::failure::{Failure, Outcome};
use crate::fleet::{Concurrency, Fleet, Pace};
use crate::heard::Heard;
use crate::load::{self, Load, Times};
use crate::metrics;
use crate::processor::Reading;
use crate::results::{ShardCount, Step, VoiceLoad};
use crate::server::Server;
use crate::step::{self, Measured};
use crate::streams::Streams;
use crate::talk::{Plan, Speaker, Spurts};
use crate::threads::{self, join, on_core};
use crate::tls::{self, Tickets};

/// Longest wait for the server's first report to every client: it sends one each 2 s.
const PATH_WAIT: u64 = 4 * SECOND;

/// Between the start of the threads and a step's first packet: each is there by then.
const LEAD: u64 = 5 * MILLISECOND;

/// The server's counters are refreshed each 50 ms.
const REFRESH: Duration = Duration::from_millis(120);

/// Clients with voice.
pub struct Crowd {
    /// One a thread; client `n` is on thread `n % threads`.
    pub fleets: Vec<Fleet>,
    /// What they do.
    pub load: Load,
    /// How long it took to gather them, seconds.
    pub setup_s: f64,
    pids: Option<u32>,
    cores: Vec<u32>,
    server_cores: Vec<u32>,
    metrics: Option<metrics::Url>,
}

/// The name of a room.
#[must_use]
pub fn room_name(number: u32) -> Arc<str> {
    format!("room{number:04}").into()
}

impl Crowd {
    /// Makes the rooms, connects everyone, opens voice, and waits until the server knows all their addresses.
    ///
    /// # Errors
    /// What `Fleet::connect` says.
    pub fn gather(bench: &Bench, server: &Server, load: Load) -> Outcome<Self> {
        let tls = tls::config(server.fingerprint.as_deref(), Tickets::Unused)?;
        let threads = bench.threads;
        let mut fleets = Vec::with_capacity(threads);
        for _ in 0..threads {
            fleets.push(Fleet::new(server.address, tls.clone())?);
        }
        make_rooms(&mut Fleet::new(server.address, tls)?, load.rooms)?;
        let mut crowd = Self {
            fleets,
            load,
            setup_s: 0.0,
            pids: server.pid,
            cores: bench.cores.clone(),
            server_cores: bench.server_cores_alone(server),
            metrics: server.metrics.clone(),
        };
        let begun = clock::real();
        crowd.connect(bench)?;
        crowd.setup_s = (clock::real() - begun) as f64 / SECOND as f64;
        crowd.share_streams();
        crowd.await_paths()?;
        Ok(crowd)
    }

    fn connect(&mut self, bench: &Bench) -> Outcome<()> {
        let load = self.load;
        threads::connect(bench, &mut self.fleets, load.clients(), |client| {
            let room = client as u32 / load.members;
            Wanted {
                name: format!("lt{client:05}"),
                room: Some((room, room_name(room))),
                voice: true,
                opens: load.opens(client),
                resumable: false,
                counted: true,
                token: None,
            }
        })
    }

    /// Every stream becomes known to every listener.
    fn share_streams(&mut self) {
        let clients = (0..self.load.clients()).map(|number| {
            let client = &self.fleets[number % self.fleets.len()].clients[number / self.fleets.len()];
            (client.ssrc, client.wanted.room.as_ref().map_or(0, |(room, _)| *room))
        });
        let streams = Arc::new(Streams::new(clients));
        for fleet in &mut self.fleets {
            fleet.streams = streams.clone();
        }
    }

    /// Waits until each client has had a datagram from the server, which means that it knows their addresses.
    fn await_paths(&mut self) -> Outcome<()> {
        let end = clock::real() + PATH_WAIT;
        for fleet in &mut self.fleets {
            while clock::real() < end && fleet.clients.iter().any(|client| client.session.counters().rtcp_received == 0)
            {
                fleet.turn(end, Pace::Wait)?;
            }
        }
        let clients = || self.fleets.iter().flat_map(|fleet| &fleet.clients);
        let silent = clients().filter(|client| client.session.counters().rtcp_received == 0).count();
        if silent == 0 {
            return Ok(());
        }
        Err(Failure(format!(
            "{silent} of {} clients got no datagram from the server: is its UDP port open on the way?",
            clients().count()
        )))
    }

    /// One stretch of load by the first `speakers` speakers.
    ///
    /// # Errors
    /// A client was cut off, the metrics cannot be read, or the user wants to stop.
    pub fn step(&mut self, speakers: usize, times: Times) -> Outcome<Step> {
        let threads = self.fleets.len();
        let mut parts = self.speakers(speakers);
        let before = self.counters()?;
        let failures = self.open_failures();
        let rooms = self.load.rooms;
        let plan = Plan { start: clock::real() + LEAD, times, payload: self.load.payload, rooms };
        let (fleets, cores, pid) = (&mut self.fleets, &self.cores, self.pids);
        let (readings, done) = std::thread::scope(|scope| -> Outcome<_> {
            let mut handles = Vec::with_capacity(threads);
            for (thread, (fleet, part)) in fleets.iter_mut().zip(&mut parts).enumerate() {
                let work = move || {
                    let used = clock::thread();
                    let said = fleet.talk(&plan, part)?;
                    Ok((said, clock::thread() - used))
                };
                handles.push(on_core(scope, cores.get(thread).copied(), work)?);
            }
            let measured = plan.measured();
            sleep_until(measured.start);
            let first = Reading::take(pid);
            sleep_until(measured.end);
            let last = Reading::take(pid);
            let done = join(handles)?;
            Ok(((first, last, Reading::take(pid)), done))
        })?;
        let busiest = done.iter().map(|(_, used)| *used).max().unwrap_or(0);
        let mut said = vec![0; rooms as usize];
        for (part, _) in &done {
            said.iter_mut().zip(part).for_each(|(sum, count)| *sum += count);
        }
        let after = self.counters_now()?;
        let shards = metrics::between(&before, &after);
        let opened_badly = self.open_failures() - failures;
        let busiest = busiest as f64 / (plan.end() - plan.start) as f64;
        let measured = self.measured(speakers, times.measured_s, &said, opened_badly, busiest);
        Ok(step::assemble(&measured, &readings, shards, &self.server_cores, &self.cores))
    }

    /// Who speaks, by thread.
    fn speakers(&self, speakers: usize) -> Vec<Vec<Speaker>> {
        let threads = self.fleets.len();
        let mut parts = vec![Vec::new(); threads];
        for turn in 0..speakers {
            let (room, member) = self.load.speaker(turn);
            let client = (room * self.load.members + member) as usize;
            let phase = turn as u64 * crate::talk::FRAME / speakers as u64;
            let spurts = Spurts::new(self.load.talk, turn);
            parts[client % threads].push(Speaker { client: client / threads, stream: client, phase, spurts });
        }
        parts
    }

    fn measured(&self, speakers: usize, seconds: f64, said: &[u64], open_failed: u64, busiest: f64) -> Measured {
        let mut heard = Heard::default();
        let (mut expected, mut worst) = (0, 0.0_f64);
        for fleet in &self.fleets {
            heard.add(&fleet.heard);
            for client in fleet.clients.iter().filter(|client| client.wanted.counted) {
                let Some((room, _)) = client.wanted.room else { continue };
                let due = load::expected_of(said[room as usize], u64::from(client.sent));
                expected += due;
                worst = worst.max(load::loss(due, u64::from(client.received)));
            }
        }
        Measured { speakers, seconds, heard, expected, worst_listener_loss: worst, open_failed, busiest }
    }

    fn open_failures(&self) -> u64 {
        self.fleets.iter().flat_map(|fleet| &fleet.clients).map(crate::client::Client::open_failures).sum()
    }

    fn counters(&self) -> Outcome<Vec<ShardCount>> {
        self.metrics.as_ref().map_or(Ok(Vec::new()), metrics::Url::read)
    }

    /// The same, once the server has refreshed them.
    fn counters_now(&self) -> Outcome<Vec<ShardCount>> {
        if self.metrics.is_some() {
            std::thread::sleep(REFRESH);
        }
        self.counters()
    }

    /// Serves everyone for a while without load.
    ///
    /// # Errors
    /// As for `Fleet::turn`.
    pub fn rest(&mut self, nanoseconds: u64) -> Outcome<()> {
        let end = clock::real() + nanoseconds;
        self.fleets.iter_mut().try_for_each(|fleet| fleet.run_until(end.max(clock::real() + MILLISECOND), Pace::Wait))
    }

    /// The load, for the report.
    #[must_use]
    pub fn described(&self, speakers: u32) -> VoiceLoad {
        VoiceLoad {
            rooms: self.load.rooms,
            members: self.load.members,
            speakers,
            payload: self.load.payload.to_string(),
            talk: self.load.talk.to_string(),
            clients: self.load.clients() as u32,
            setup_s: self.setup_s,
        }
    }
}

/// One client makes all rooms and goes; rooms that are there already will do.
///
/// # Errors
/// The login was refused, or the server does not answer.
pub fn make_rooms(fleet: &mut Fleet, rooms: u32) -> Outcome<()> {
    let host = Wanted {
        name: "lt-host".to_owned(),
        room: None,
        voice: false,
        opens: false,
        resumable: false,
        counted: false,
        token: None,
    };
    let limits = Concurrency { connections: 1, logins: 1 };
    fleet.connect(&[host], limits, &AtomicUsize::new(0))?;
    let mut made = 0;
    while made < rooms || fleet.clients[0].session.unanswered() > 0 {
        fleet.handle(0, clock::now(), |client, now, _| {
            while made < rooms && client.session.create(now, &room_name(made), 0).is_ok() {
                made += 1;
            }
        });
        fleet.serve_until(clock::real() + MILLISECOND, limits)?;
        if fleet.clients[0].stage == Stage::Ended {
            return Err(Failure("the server closed the connection that makes the rooms: see its log".to_owned()));
        }
    }
    if fleet.chat.refusals > 0 {
        return Err(Failure(format!("the server refused {} of {rooms} rooms: see its limits", fleet.chat.refusals)));
    }
    fleet.close(0);
    Ok(())
}

fn sleep_until(time: u64) {
    std::thread::sleep(Duration::from_nanos(time.saturating_sub(clock::real())));
}
