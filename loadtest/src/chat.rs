//! Chat in one room: how many lines it takes, and how long they are under way.
//!
//! Members say lines in turn, so that no member's own allowance is what is measured. A line holds when it was said;
//! latency is to each delivery, and to the acknowledgement, which means stored. A refused line is counted and not
//! said again.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bench::Bench;
use crate::chat_counts::{self, ChatCounts};
use crate::client::Wanted;
use crate::clock::{self, SECOND, seconds};
use crate::crowd::{make_rooms, room_name};
use crate::failure::Outcome;
use crate::fleet::{Concurrency, Fleet, Pace};
use crate::processor::Reading;
use crate::results::ChatOutcome;
use crate::server::Server;
use crate::threads;
use crate::tls::{self, Tickets};

/// Bytes of a line, about: most are short.
const LINE_BYTES: usize = 80;

/// Lines a second where their number under way is not fixed.
const RATE: u64 = 50;

/// After the last line, nanoseconds.
const DRAIN: u64 = SECOND;

/// Runs it; `window` lines are always under way, or `RATE` a second are said.
///
/// # Errors
/// As for `Fleet::connect`.
pub fn run(bench: &Bench, server: &Server, members: u32, window: Option<u32>, measured_s: f64) -> Outcome<ChatOutcome> {
    let tls = tls::config(server.fingerprint.as_deref(), Tickets::Unused)?;
    make_rooms(&mut Fleet::new(server.address, tls.clone())?, 1)?;
    let mut fleet = Fleet::new(server.address, tls)?;
    let wanted: Vec<Wanted> = (0..members)
        .map(|member| Wanted {
            name: format!("lt{member:05}"),
            room: Some((0, room_name(0))),
            voice: false,
            opens: false,
            resumable: false,
            counted: false,
            token: None,
        })
        .collect();
    let limits = Concurrency { connections: bench.connections, logins: bench.logins };
    threads::alone(bench, "chat: clients connect", |done| fleet.connect(&wanted, limits, done))?;
    threads::alone(bench, "chat: lines", |done| {
        fleet.run_until(clock::real() + SECOND / 2, Pace::Wait)?;
        let epoch = clock::real();
        fleet.chat = ChatCounts { epoch, ..ChatCounts::default() };
        let first = Reading::take(server.pid);
        let end = epoch + seconds(measured_s);
        let sent = say(&mut fleet, window, end, done)?;
        let last = Reading::take(server.pid);
        let (stored, delivered) = (fleet.chat.stored, fleet.chat.deliveries);
        fleet.run_until(end + DRAIN, Pace::Wait)?;
        let wall = last.seconds_since(&first);
        Ok(ChatOutcome {
            mode: if window.is_some() { "closed" } else { "open" }.to_owned(),
            members,
            seconds: wall,
            lines_sent: sent,
            deliveries: fleet.chat.deliveries,
            deliveries_per_s: delivered as f64 / wall,
            lines_per_s: stored as f64 / wall,
            acknowledge_us: fleet.chat.acknowledge.percentiles_us(),
            deliver_us: fleet.chat.deliver.percentiles_us(),
            server_cpu: last.server_cpu_since(&first),
            generator_cpu: last.own_cpu_since(&first),
            refused: fleet.chat.refusals,
        })
    })
}

/// Says lines until `end`; gives how many.
fn say(fleet: &mut Fleet, window: Option<u32>, end: u64, done: &AtomicUsize) -> Outcome<u64> {
    let (mut sent, mut text, room) = (0, String::new(), room_name(0));
    let epoch = fleet.chat.epoch;
    loop {
        let mut until = end;
        loop {
            let now = clock::real();
            if now >= end {
                return Ok(sent);
            }
            let due = epoch + sent * SECOND / RATE;
            match window {
                Some(window) if sent >= fleet.chat.stored + fleet.chat.refusals + u64::from(window) => break,
                None if due > now => {
                    until = until.min(due);
                    break;
                }
                _ => {}
            }
            chat_counts::line(epoch, now, LINE_BYTES, &mut text);
            let member = sent as usize % fleet.clients.len();
            let said = fleet.handle(member, clock::now(), |client, now, _| client.session.chat(now, &room, &text, ""));
            sent += 1;
            if said.is_err() {
                fleet.chat.refused();
            }
        }
        fleet.turn(until, Pace::Wait)?;
        done.store(fleet.chat.stored as usize, Ordering::Relaxed);
    }
}
