//! One run of the tool: a server for each workload, the workload, and what came of it.
//!
//! Each workload gets a fresh server, so that none sees what another left behind.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::args::Args;
use crate::bench::{self, Bench, Placement};
use crate::crowd::Crowd;
use crate::failure::{Failure, Outcome};
use crate::load::{Load, Times};
use crate::progress::Progress;
use crate::results::{self, Generator, Report, ServerUnderTest, VoiceOutcome};
use crate::server::{Hashing, Server, Start};
use crate::workload::{self, Workload};
use crate::{chat, churn, idle, logins, machine, ramp};

/// Name of the server's program.
const SERVER: &str = "echomesh-server";

/// Logins at a time: the server hashes so many passwords of loopback; others are told to try again.
const LOGINS: usize = 8;

/// Does everything that was asked for. What was found out before a failure is given with it.
pub fn all(args: &Args) -> (Report, Outcome<()>) {
    let started_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let server = ServerUnderTest {
        address: args.server.clone().unwrap_or_default(),
        started_by_tool: args.server.is_none(),
        shards: (args.server.is_none() && args.shards.len() == 1).then(|| args.shards[0]),
        arguments: Vec::new(),
    };
    let mut report = Report {
        tool: format!("echomesh-loadtest {}", env!("CARGO_PKG_VERSION")),
        started_unix_ms,
        machine: machine::read(),
        server,
        generator: Generator { threads: args.threads, cores: Vec::new(), opened_share: args.opened.unwrap_or(1.0) },
        outcomes: Vec::new(),
    };
    let done = run(args, &mut report);
    (report, done)
}

fn run(args: &Args, report: &mut Report) -> Outcome<()> {
    let workloads = workload::all(args);
    bench::allow_sockets(workloads.iter().map(sockets).max().unwrap_or(0))?;
    let shard_counts = if args.server.is_some() { vec![0] } else { args.shards.clone() };
    for _ in 0..args.runs {
        for workload in &workloads {
            for shards in &shard_counts {
                one(args, report, workload, *shards)?;
            }
        }
    }
    if args.smoke { report.outcomes.iter().try_for_each(is_sound) } else { Ok(()) }
}

/// Whether a load that any server carries left nothing to explain.
fn is_sound(outcome: &results::Outcome) -> Outcome<()> {
    let complaint = match outcome {
        results::Outcome::Voice(VoiceOutcome { measured, .. }) => {
            let agrees = measured.counters.as_ref().is_none_or(|counters| counters.agrees);
            if measured.received != measured.expected || measured.duplicates > 0 {
                "packets of an easy load were lost, or came twice"
            } else if measured.opened != measured.received || measured.open_failed > 0 {
                "packets did not decrypt"
            } else if !agrees {
                "the server's counters and the tool's do not agree"
            } else {
                return Ok(());
            }
        }
        results::Outcome::Chat(chat)
            if chat.refused > 0 || chat.deliveries != chat.lines_sent * u64::from(chat.members - 1) =>
        {
            "chat lines were refused or did not reach everyone"
        }
        _ => return Ok(()),
    };
    Err(Failure(format!("{complaint}: run it again without other load, and see --json for the figures")))
}

fn one(args: &Args, report: &mut Report, workload: &Workload, shards: u32) -> Outcome<()> {
    let placement = placement(args, shards);
    let bench = bench(args, placement.generator.clone());
    report.generator.cores.clone_from(&bench.cores);
    let hashing = if matches!(workload, Workload::Passwords { .. }) { Hashing::Default } else { Hashing::Cheap };
    let server = open_server(args, &bench, shards, placement, hashing)?;
    report.server.address = server.address.to_string();
    report.server.arguments.clone_from(&server.arguments);
    if report.server.shards.is_none() && args.server.is_some() && server.shards > 0 {
        report.server.shards = Some(server.shards);
    }
    perform(&bench, &server, workload, &mut report.outcomes)?;
    bench.progress.clear();
    Ok(())
}

/// Plays one workload.
fn perform(bench: &Bench, server: &Server, workload: &Workload, outcomes: &mut Vec<results::Outcome>) -> Outcome<()> {
    use results::Outcome as Of;
    match workload {
        Workload::Voice(name, load, times) => outcomes.push(Of::Voice(voice(bench, server, name, *load, *times)?)),
        Workload::Ramp(name, load, search) => {
            outcomes.push(Of::Ramp(ramp::run(bench, server, name, *load, search)?));
        }
        Workload::Idle { clients, seconds } => {
            outcomes.push(Of::Idle(idle::run(bench, server, *clients, *seconds)?));
        }
        Workload::Passwords { share } => outcomes.push(Of::Logins(logins::passwords(bench, server, *share)?)),
        Workload::Handshakes { share } => {
            outcomes.extend(logins::others(bench, server, *share)?.into_iter().map(Of::Logins));
        }
        Workload::Chat { members, window, seconds } => {
            outcomes.push(Of::Chat(chat::run(bench, server, *members, *window, *seconds)?));
        }
        Workload::Churn { load, seconds } => outcomes.push(Of::Churn(churn::run(bench, server, *load, *seconds)?)),
    }
    Ok(())
}

/// Steady voice.
///
/// # Errors
/// As for `Crowd::gather` and `Crowd::step`.
pub fn voice(bench: &Bench, server: &Server, name: &str, load: Load, times: Times) -> Outcome<VoiceOutcome> {
    let mut crowd = Crowd::gather(bench, server, load)?;
    bench.progress.say(&format!("{name}: {} s of voice", times.measured_s));
    let measured = crowd.step((load.rooms * load.speakers) as usize, times)?;
    Ok(VoiceOutcome { name: name.to_owned(), shards: server.shards, load: crowd.described(load.speakers), measured })
}

/// Sockets that a workload's clients have at most: each one for control, and one for voice.
fn sockets(workload: &Workload) -> u64 {
    match workload {
        Workload::Voice(_, load, _) | Workload::Ramp(_, load, _) => load.clients() as u64 * 2,
        Workload::Churn { load, .. } => (load.clients() + churn::VISITORS) as u64 * 2,
        Workload::Idle { clients, .. } => u64::from(*clients),
        Workload::Chat { members, .. } => u64::from(*members),
        Workload::Passwords { .. } | Workload::Handshakes { .. } => logins::SOCKETS_MAX,
    }
}

fn placement(args: &Args, shards: u32) -> Placement {
    let (server, generator) = (args.server_core.as_deref(), args.core.as_deref());
    if args.server.is_some() {
        // Where a running server runs is for its operator to say.
        let cores = |wish: Option<&[u32]>| wish.map(<[u32]>::to_vec).unwrap_or_default();
        return Placement { server: cores(server), generator: cores(generator) };
    }
    bench::place(machine::cores(), shards, args.threads, server, generator)
}

fn bench(args: &Args, cores: Vec<u32>) -> Bench {
    Bench {
        threads: args.threads as usize,
        cores,
        connections: args.connecting as usize,
        logins: LOGINS,
        progress: Progress::new(args.quiet),
    }
}

fn open_server(args: &Args, bench: &Bench, shards: u32, place: Placement, hashing: Hashing) -> Outcome<Server> {
    if let Some(address) = &args.server {
        let mut server = Server::running(address, args.fingerprint.clone(), args.pid, args.metrics.as_deref())?;
        server.cores = place.server;
        if args.fingerprint.is_none() {
            bench.progress.note("the server's key is not checked: no --fingerprint was given");
        }
        return Ok(server);
    }
    let binary = match &args.server_binary {
        Some(path) => path.clone(),
        None => beside_this()?,
    };
    bench.progress.say("starting the server");
    let start = Start { binary: &binary, shards, cores: place.server, hashing, arguments: &args.server_arg };
    Server::start(&start)
}

fn beside_this() -> Outcome<PathBuf> {
    let this = std::env::current_exe()
        .map_err(|error| Failure::because("where this program is, is not known; give --server-binary", error))?;
    let path = this.with_file_name(SERVER);
    if path.exists() {
        return Ok(path);
    }
    Err(Failure(format!(
        "there is no {}: build it with `cargo build --release -p echomesh-server`, or give --server-binary or --server",
        path.display()
    )))
}
