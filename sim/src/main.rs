//! `echomesh-sim`: shards and clients in virtual time, drawn from one seed, with faults and checkers.
//!
//! Not a benchmark and not the driver: it runs `echomesh_shard`, `echomesh_client` and `echomesh_playout` as they are,
//! joined by rings that are late and full, TCP that splits bytes and resets, datagrams that are lost, doubled and
//! overtaken, readers that are slow, a store that is slow, away and fails, attackers, and a server that is killed,
//! drained and started again, or given other settings. Which of these a seed has is drawn from it (`faults`).
//! A seed that fails prints what broke and the command that replays it with a trace.
#![forbid(unsafe_code)]

mod acts;
mod attackers;
mod checks;
mod client;
mod draining;
mod faults;
mod healing;
mod listening;
mod mistakes;
mod moderation;
mod network;
mod reloading;
mod restart;
mod rooms;
mod runner;
mod store;
mod storing;
mod told;
mod voice;
mod world;

use clap::Parser;

/// Runs seeds and checks what EchoMesh promises: no line or packet outside its room, each line once and in order,
/// every request answered, replicas and rosters equal to their home, acknowledged lines stored, once, everything
/// within its bounds and at rest in the end.
#[derive(Parser)]
#[command(name = "echomesh-sim")]
struct Flags {
    /// How many seeds, from --seed on; those in sim/seeds.txt come first
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// First seed; without it 0
    #[arg(long)]
    seed: Option<u64>,
    /// Seeds that run at once
    #[arg(long, default_value_t = runner::cores())]
    jobs: usize,
    /// Print every input
    #[arg(long)]
    trace: bool,
    /// Plant each mistake in turn, run seeds until it is caught, and print a table
    #[cfg(feature = "mistakes")]
    #[arg(long)]
    mistakes: bool,
    /// Plant this one
    #[cfg(feature = "mistakes")]
    #[arg(long)]
    plant: Option<String>,
}

fn main() -> std::process::ExitCode {
    let flags = Flags::parse();
    runner::tell_seed_of_panics();
    #[cfg(feature = "mistakes")]
    {
        if flags.mistakes {
            return runner::mistakes(flags.seeds, flags.jobs);
        }
        if let Some(name) = &flags.plant {
            return runner::planted(name, flags.seed.unwrap_or(0), flags.seeds, flags.trace);
        }
    }
    // Whoever names a seed wants that one.
    let recorded = if flags.seed.is_none() { runner::recorded() } else { Vec::new() };
    let first = flags.seed.unwrap_or(0);
    let seeds: Vec<u64> = recorded.into_iter().chain(first..first + flags.seeds).collect();
    runner::run(&seeds, if flags.trace { 1 } else { flags.jobs }, flags.trace)
}
