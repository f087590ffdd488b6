//! Coming in: password logins, TLS handshakes with and without tickets, sessions that resume, and device tokens.
//!
//! Each part alone, so that each cost shows: a password login is nearly all hashing, a handshake nearly all
//! signatures, a resume neither; a login by device token is a handshake and a look-up in the store.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use echomesh_client::RequestError;
use echomesh_proto::control::{Account, AccountAction};

use crate::bench::Bench;
use crate::client::{Stage, Wanted};
use crate::clock::{self, MILLISECOND, SECOND};
use crate::crowd::{make_rooms, room_name};
use crate::failure::{Failure, Outcome};
use crate::fleet::{Concurrency, Fleet, SetUp};
use crate::handshakes;
use crate::processor::Reading;
use crate::results::LoginsOutcome;
use crate::server::Server;
use crate::threads;
use crate::tls::{self, Tickets};

/// How many of each, and how many at a time. rustls keeps eight tickets of a server, and a handshake takes one and
/// brings two.
const PASSWORDS: f64 = 100.0;
const HANDSHAKES: f64 = 1_000.0;
const HANDSHAKES_AT_ONCE: usize = 16;
const RESUMED_AT_ONCE: usize = 4;
const RESUMES: f64 = 500.0;

/// Sockets of all of them at a time.
pub const SOCKETS_MAX: u64 = 2_048;

/// Logins by token, and the accounts that they are of: ten sessions each, where a server allows sixteen.
const TOKENS: f64 = 1_000.0;
const TOKEN_ACCOUNTS: f64 = 100.0;

/// Longest wait for all tokens.
const TOKENS_MAX: u64 = 30 * SECOND;

/// Rooms that the sessions to be resumed are in.
const RESUME_ROOMS: u32 = 50;

/// Longest time for all resumes: a session waits a minute for its client.
const RESUMES_MAX: u64 = 50 * SECOND;

fn wanted(number: usize, resumable: bool) -> Wanted {
    Wanted {
        name: format!("lt{number:05}"),
        room: None,
        voice: false,
        opens: false,
        resumable,
        counted: false,
        token: None,
    }
}

fn outcome(name: &str, count: usize, at_once: usize, set_up: &SetUp, from: &Reading, to: &Reading) -> LoginsOutcome {
    let seconds = to.seconds_since(from);
    LoginsOutcome {
        name: name.to_owned(),
        count: count as u32,
        concurrency: at_once as u32,
        seconds,
        per_s: count as f64 / seconds,
        latency_us: set_up.ready.percentiles_us(),
        server_cpu: to.server_cpu_since(from),
        generator_cpu: to.own_cpu_since(from),
        refused_busy: set_up.busy,
    }
}

/// Logins of accounts that exist, by password. `share` of the usual count.
///
/// # Errors
/// As for `Fleet::connect`.
pub fn passwords(bench: &Bench, server: &Server, share: f64) -> Outcome<LoginsOutcome> {
    let count = (PASSWORDS * share).max(1.0) as usize;
    let tls = tls::config(server.fingerprint.as_deref(), Tickets::Unused)?;
    let limits = Concurrency { connections: bench.logins, logins: bench.logins };
    let all: Vec<Wanted> = (0..count).map(|number| wanted(number, false)).collect();
    let mut fleet = Fleet::new(server.address, tls)?;
    threads::alone(bench, "logins: new accounts", |done| {
        fleet.connect(&all, limits, done)?;
        (0..fleet.clients.len()).for_each(|at| fleet.close(at));
        Ok(())
    })?;
    threads::alone(bench, "logins: passwords", |done| {
        fleet.set_up = SetUp::default();
        let first = Reading::take(server.pid);
        fleet.connect(&all, limits, done)?;
        let last = Reading::take(server.pid);
        Ok(outcome("password", count, bench.logins, &fleet.set_up, &first, &last))
    })
}

/// TLS handshakes only, without tickets and with, resumes of sessions, and logins by token.
///
/// # Errors
/// A handshake or a login failed.
pub fn others(bench: &Bench, server: &Server, share: f64) -> Outcome<Vec<LoginsOutcome>> {
    Ok(vec![
        handshake(bench, server, share, Tickets::Unused)?,
        handshake(bench, server, share, Tickets::Used)?,
        resumes(bench, server, share)?,
        tokens(bench, server, share)?,
    ])
}

fn handshake(bench: &Bench, server: &Server, share: f64, tickets: Tickets) -> Outcome<LoginsOutcome> {
    let count = (HANDSHAKES * share).max(1.0) as usize;
    let used = tickets == Tickets::Used;
    let (name, at_once) = if used { ("handshake_resumed", RESUMED_AT_ONCE) } else { ("handshake", HANDSHAKES_AT_ONCE) };
    let tls = tls::config(server.fingerprint.as_deref(), tickets)?;
    threads::alone(bench, name, |done| {
        if used {
            // The first tickets.
            handshakes::run(server.address, &tls, at_once, 1, true, &AtomicUsize::new(0))?;
        }
        let first = Reading::take(server.pid);
        let shaken = handshakes::run(server.address, &tls, count, at_once, used, done)?;
        let last = Reading::take(server.pid);
        // One now and then finds that the others have taken all.
        if used && shaken.resumed < count * 9 / 10 {
            let text = format!(
                "{} of {count} handshakes did not use their ticket: does the server give any?",
                count - shaken.resumed
            );
            return Err(Failure(text));
        }
        let set_up = SetUp { ready: shaken.latency, ..SetUp::default() };
        Ok(outcome(name, count, at_once, &set_up, &first, &last))
    })
}

/// Sessions whose connections are dropped, all at once, come back, each into its room: one in no room would end with
/// its connection.
fn resumes(bench: &Bench, server: &Server, share: f64) -> Outcome<LoginsOutcome> {
    let count = (RESUMES * share).max(1.0) as usize;
    let tls = tls::config(server.fingerprint.as_deref(), Tickets::Used)?;
    make_rooms(&mut Fleet::new(server.address, tls.clone())?, RESUME_ROOMS)?;
    let limits = Concurrency { connections: bench.connections, logins: bench.logins };
    let room = |number: usize| (number as u32 % RESUME_ROOMS, room_name(number as u32 % RESUME_ROOMS));
    let all: Vec<Wanted> =
        (0..count).map(|number| Wanted { room: Some(room(number)), ..wanted(number, true) }).collect();
    let mut fleet = Fleet::new(server.address, tls)?;
    threads::alone(bench, "resume: logins", |done| fleet.connect(&all, limits, done))?;
    threads::alone(bench, "resume", |done| {
        (0..count).for_each(|at| fleet.close(at));
        fleet.set_up = SetUp::default();
        let first = Reading::take(server.pid);
        let limits = Concurrency { connections: HANDSHAKES_AT_ONCE, logins: HANDSHAKES_AT_ONCE };
        let (mut begun, mut back, end) = (0, 0, clock::real() + RESUMES_MAX);
        while back < count {
            while begun < count && begun < back + limits.connections {
                fleet.open_again(begun)?;
                begun += 1;
            }
            fleet.serve_until(clock::real() + 5 * MILLISECOND, limits)?;
            back = fleet.clients[..begun].iter().filter(|client| client.stage == Stage::Ready).count();
            done.store(back, std::sync::atomic::Ordering::Relaxed);
            if clock::real() > end {
                return Err(Failure(format!("{back} of {count} sessions came back within 50 s: see the server's log")));
            }
        }
        let last = Reading::take(server.pid);
        if (fleet.set_up.resumed as usize) < count {
            let text = format!(
                "{} of {count} sessions were not resumed but made anew: see the server's log",
                count - fleet.set_up.resumed as usize
            );
            return Err(Failure(text));
        }
        Ok(outcome("resume", count, limits.connections, &fleet.set_up, &first, &last))
    })
}

/// Logins by device token, each with a full handshake, as a headless client does after a restart. The tokens are
/// revoked afterwards.
fn tokens(bench: &Bench, server: &Server, share: f64) -> Outcome<LoginsOutcome> {
    let (count, accounts) = ((TOKENS * share).max(1.0) as usize, (TOKEN_ACCOUNTS * share).max(1.0) as usize);
    let tls = tls::config(server.fingerprint.as_deref(), Tickets::Unused)?;
    let limits = Concurrency { connections: bench.connections, logins: bench.logins };
    let mut holders = Fleet::new(server.address, tls.clone())?;
    let all: Vec<Wanted> = (0..accounts).map(|number| wanted(number, false)).collect();
    threads::alone(bench, "tokens: accounts", |done| holders.connect(&all, limits, done))?;
    let new = Account { action: AccountAction::AaNewToken as i32, ..Account::default() };
    let given = ask_all(&mut holders, limits, |_| new.clone())?;
    let by_token = |number: usize| {
        let account = number % accounts;
        Wanted { token: Some(given[account].1.clone()), ..wanted(account, false) }
    };
    let all: Vec<Wanted> = (0..count).map(by_token).collect();
    let limits = Concurrency { connections: HANDSHAKES_AT_ONCE, logins: HANDSHAKES_AT_ONCE };
    let mut fleet = Fleet::new(server.address, tls)?;
    let outcome = threads::alone(bench, "tokens", |done| {
        let first = Reading::take(server.pid);
        fleet.connect(&all, limits, done)?;
        let last = Reading::take(server.pid);
        Ok(outcome("token", count, HANDSHAKES_AT_ONCE, &fleet.set_up, &first, &last))
    })?;
    drop(fleet);
    let revoke =
        |at: usize| Account { action: AccountAction::AaRevokeToken as i32, id: given[at].0, ..Account::default() };
    ask_all(&mut holders, limits, revoke)?;
    Ok(outcome)
}

/// One request about the account of each client; gives what each was given.
fn ask_all(
    fleet: &mut Fleet,
    limits: Concurrency,
    request: impl Fn(usize) -> Account,
) -> Outcome<Vec<(u64, Arc<str>)>> {
    let refused = |error: RequestError| Failure(format!("a request about an account was not sent: {error}"));
    for at in 0..fleet.clients.len() {
        fleet.clients[at].given = None;
        fleet.handle(at, clock::now(), |client, now, _| client.session.account(now, request(at))).map_err(refused)?;
    }
    let end = clock::real() + TOKENS_MAX;
    loop {
        let given: Option<Vec<_>> = fleet.clients.iter().map(|client| client.given.clone()).collect();
        if let Some(given) = given {
            return Ok(given);
        }
        if clock::real() > end {
            return Err(Failure("not all accounts were given a token within 30 s: see the server's log".to_owned()));
        }
        fleet.serve_until(clock::real() + 5 * MILLISECOND, limits)?;
    }
}
