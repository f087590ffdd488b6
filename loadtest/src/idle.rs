//! Members who do nothing: how fast they come, what memory and what processor time they cost the server.
//!
//! They are whole clients without voice, over 100 rooms.

use std::sync::atomic::AtomicUsize;

use crate::bench::Bench;
use crate::client::Wanted;
use crate::clock::{self, seconds};
use crate::crowd::{make_rooms, room_name};
use crate::failure::Outcome;
use crate::fleet::{Fleet, Pace};
use crate::processor::Reading;
use crate::results::IdleOutcome;
use crate::server::Server;
use crate::threads;
use crate::tls::{self, Tickets};

/// Rooms they are spread over.
const ROOMS: u32 = 100;

/// After the last has come, until its coming is over for all, as a share of the time that nothing is then measured.
const SETTLE: f64 = 0.5;

/// Runs it; nothing is measured for so many seconds.
///
/// # Errors
/// As for `Fleet::connect`.
pub fn run(bench: &Bench, server: &Server, clients: u32, measured_s: f64) -> Outcome<IdleOutcome> {
    let tls = tls::config(server.fingerprint.as_deref(), Tickets::Unused)?;
    let rooms = ROOMS.min(clients);
    make_rooms(&mut Fleet::new(server.address, tls.clone())?, rooms)?;
    let mut fleets = Vec::with_capacity(bench.threads);
    for _ in 0..bench.threads {
        fleets.push(Fleet::new(server.address, tls.clone())?);
    }
    let base = Reading::take(server.pid);
    threads::connect(bench, &mut fleets, clients as usize, |client| {
        let room = client as u32 % rooms;
        Wanted {
            name: format!("lt{client:05}"),
            room: Some((room, room_name(room))),
            voice: false,
            opens: false,
            resumable: false,
            counted: false,
            token: None,
        }
    })?;
    let joined = Reading::take(server.pid);
    let readings = threads::alone(bench, "idle", |_: &AtomicUsize| {
        serve(&mut fleets, seconds(measured_s * SETTLE))?;
        let before = Reading::take(server.pid);
        serve(&mut fleets, seconds(measured_s))?;
        Ok((before, Reading::take(server.pid)))
    })?;
    let messages = fleets.iter().flat_map(|fleet| &fleet.clients);
    let grown = readings.1.server_rss_kib.saturating_sub(base.server_rss_kib);
    Ok(IdleOutcome {
        clients,
        rooms,
        joined_s: joined.seconds_since(&base),
        base_rss_kib: base.server_rss_kib,
        rss_kib: readings.1.server_rss_kib,
        kib_per_client: grown as f64 / f64::from(clients),
        idle_cpu: readings.1.server_cpu_since(&readings.0).unwrap_or(0.0),
        messages_received: messages.map(|client| client.session.counters().messages_received).sum(),
    })
}

/// All fleets in turn: nobody has much to do.
fn serve(fleets: &mut [Fleet], nanoseconds: u64) -> Outcome<()> {
    let end = clock::real() + nanoseconds;
    while clock::real() < end {
        for fleet in &mut *fleets {
            fleet.turn(end, Pace::Wait)?;
        }
    }
    Ok(())
}
