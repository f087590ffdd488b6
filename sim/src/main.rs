//! `echomesh-sim`: shards and clients in virtual time, drawn from one seed, with faults and checkers.
//!
//! Not a benchmark and not the driver: it runs `echomesh_shard` and `echomesh_client` as they are, joined
//! by rings that are late and full, TCP that splits bytes and resets, readers that are slow, a store
//! that is slow and fails, and a server that is killed and started again.
//! A seed that fails prints what broke and the command that replays it with a trace.
#![forbid(unsafe_code)]

mod checks;
mod client;
mod healing;
mod moderation;
mod restart;
mod rooms;
mod store;
mod voice;
mod world;

use clap::Parser;

/// Runs seeds and checks what EchoMesh promises: no line outside its room, each line once and in order,
/// every request answered, replicas and rosters equal to their home, acknowledged lines stored, once.
#[derive(Parser)]
#[command(name = "echomesh-sim")]
struct Flags {
    /// How many seeds, from --seed on
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print every input
    #[arg(long)]
    trace: bool,
}

fn main() -> std::process::ExitCode {
    let flags = Flags::parse();
    let (mut failed, mut passed, mut lines, mut voice, mut resumed, mut full_rings, mut digest) = (0, 0, 0, 0, 0, 0, 0);
    let mut restarts = 0;
    for seed in flags.seed..flags.seed + flags.seeds {
        match world::run(seed, flags.trace) {
            Ok(summary) => {
                passed += 1;
                lines += summary.lines;
                voice += summary.voice;
                resumed += summary.resumed;
                full_rings += summary.full_rings;
                restarts += summary.restarts;
                digest ^= summary.digest;
            }
            Err(broken) => {
                failed += 1;
                eprintln!(
                    "seed {seed}: {broken}\n  replay: cargo run --release -p echomesh-sim -- --seed {seed} --trace"
                );
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    println!(
        "{lines} lines chatted, {voice} voice frames heard, {resumed} sessions resumed, {restarts} restarts, {full_rings} waits for rings, digest {digest:016x}"
    );
    if failed == 0 { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
