//! Voice while others come and go: does it harm those that stay, and how long does a join take then?
//!
//! Those that stay talk as in w2 and are measured as there. The others leave their room, enter the next, lose their
//! connection and resume, each in turn, at a bounded rate; what they hear is not expected by anyone.
//! Bounds: one move each `EVERY`.

use crate::bench::Bench;
use crate::client::{Stage, Wanted};
use crate::clock::{self, MILLISECOND, SECOND};
use crate::crowd::{Crowd, room_name};
use crate::failure::Outcome;
use crate::fleet::{Concurrency, Fleet, SetUp};
use crate::load::{Load, Times};
use crate::results::ChurnOutcome;
use crate::server::Server;
use crate::threads;

/// Clients that come and go.
pub const VISITORS: usize = 60;

/// Between two moves, nanoseconds: 20 a second.
const EVERY: u64 = 50 * MILLISECOND;

/// Longest wait for all to have left at the end, nanoseconds.
const GOODBYE: u64 = SECOND;

/// Of its moves, each so many a visitor loses its connection instead of leaving the room.
const RECONNECT_EACH: u64 = 3;

/// Who moves next, and what was done.
#[derive(Debug)]
pub struct Churn {
    /// The visitors' places among the fleet's clients.
    visitors: std::ops::Range<usize>,
    rooms: u32,
    limits: Concurrency,
    due: u64,
    moves: u64,
    leaves: u64,
    reconnects: u64,
}

impl Fleet {
    /// The moves that are due.
    pub(crate) fn churn(&mut self, real: u64) -> Outcome<()> {
        let Some(mut churn) = self.churn.take() else { return Ok(()) };
        self.start_logins(churn.limits);
        let mut moved = Ok(());
        while churn.due <= real && moved.is_ok() {
            churn.due += EVERY;
            moved = self.move_one(&mut churn);
        }
        self.churn = Some(churn);
        moved
    }

    /// Visitors leave for good, each once it is where it was going, so that none stays in a room as one whose
    /// connection was lost.
    fn send_away(&mut self, visitors: std::ops::Range<usize>, limits: Concurrency) -> Outcome<()> {
        let end = clock::real() + GOODBYE;
        while clock::real() < end {
            for at in visitors.clone().filter(|at| self.clients[*at].stage == Stage::Ready).collect::<Vec<_>>() {
                self.leave_room(at);
            }
            if self.clients[visitors.clone()].iter().all(|client| client.stage == Stage::Away) {
                break;
            }
            self.serve_until(end, limits)?;
        }
        Ok(())
    }

    fn leave_room(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some((_, room)) = client.wanted.room.clone() else { return };
        client.stage = Stage::Leaving;
        let asked = self.handle(at, clock::now(), |client, now, _| client.session.leave(now, &room));
        self.must(at, asked);
    }

    fn move_one(&mut self, churn: &mut Churn) -> Outcome<()> {
        let visitors = churn.visitors.len() as u64;
        let at = churn.visitors.start + (churn.moves % visitors) as usize;
        // Neighbours are at different points of the same round.
        let round = churn.moves / visitors + at as u64;
        churn.moves += 1;
        let now = clock::now();
        let client = &mut self.clients[at];
        match client.stage {
            Stage::Ready if round % RECONNECT_EACH == RECONNECT_EACH - 1 => {
                churn.reconnects += 1;
                self.close(at);
                return self.open_again(at);
            }
            Stage::Ready => {
                churn.leaves += 1;
                self.leave_room(at);
            }
            Stage::Away => {
                let room = (at as u32 + churn.moves as u32) % churn.rooms;
                client.wanted.room = Some((room, room_name(room)));
                client.stage = Stage::Entering;
                client.started = clock::real();
                let asked = self.handle(at, now, |client, now, _| client.session.join(now, &room_name(room)));
                self.must(at, asked);
            }
            // Still on its way: it is passed over.
            _ => {}
        }
        Ok(())
    }
}

/// Runs it.
///
/// # Errors
/// As for `Crowd::gather` and `Crowd::step`.
pub fn run(bench: &Bench, server: &Server, load: Load, seconds: f64) -> Outcome<ChurnOutcome> {
    let mut crowd = Crowd::gather(bench, server, load)?;
    let limits = Concurrency { connections: bench.connections, logins: bench.logins };
    let visitors: Vec<Wanted> = (0..VISITORS)
        .map(|number| {
            let room = number as u32 % load.rooms;
            Wanted {
                name: format!("lt-visitor{number:03}"),
                room: Some((room, room_name(room))),
                voice: true,
                opens: false,
                resumable: true,
                counted: false,
                token: None,
            }
        })
        .collect();
    let fleet = &mut crowd.fleets[0];
    let first = fleet.clients.len();
    threads::alone(bench, "churn: visitors connect", |done| fleet.connect(&visitors, limits, done))?;
    fleet.set_up = SetUp::default();
    fleet.churn = Some(Churn {
        visitors: first..first + VISITORS,
        rooms: load.rooms,
        limits,
        due: clock::real(),
        moves: 0,
        leaves: 0,
        reconnects: 0,
    });
    bench.progress.say("churn: voice while others come and go");
    let times = Times { warm_s: 1.0, measured_s: seconds, drain_s: 0.5 };
    let mut voice = crowd.step((load.rooms * load.speakers) as usize, times)?;
    // Copies under way to a client as it drops its connection are counted by nobody.
    voice.counters = None;
    let fleet = &mut crowd.fleets[0];
    let (leaves, reconnects) = fleet.churn.take().map_or((0, 0), |churn| (churn.leaves, churn.reconnects));
    let join_us = fleet.set_up.ready.percentiles_us();
    fleet.send_away(first..first + VISITORS, limits)?;
    let joins = join_us.count - fleet.set_up.resumed.min(join_us.count);
    Ok(ChurnOutcome { seconds, joins, leaves, reconnects, voice, join_us })
}
