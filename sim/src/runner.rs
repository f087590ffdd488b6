//! Runs seeds, several at once, and tells what became of them.
//!
//! Not the seeds themselves: each is a world of its own, and what it does depends on nothing else. Every
//! `TWICE_ONE_IN`th is run twice, and has to do the same. Seeds that found a bug are in `seeds.txt` and come first.
//! Out: a sentence and a command for each that fails, and sums.

use std::cell::Cell;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::world::{self, Summary};

/// Seeds that found bugs, which are fixed.
const SEEDS: &str = include_str!("../seeds.txt");

/// After so many seeds it is told how many are done.
const TOLD_EVERY: u64 = 1_000;

/// One seed in so many is run twice.
const TWICE_ONE_IN: u64 = 50;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Processors there are.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Numbers of the seeds on record.
pub fn recorded() -> Vec<u64> {
    let numbers = SEEDS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next());
    numbers.map(|number| number.parse().expect("a line of seeds.txt begins with a number")).collect()
}

fn replay(seed: u64) -> String {
    format!("  replay: cargo run --release -p echomesh-sim -- --seed {seed} --trace")
}

/// A panic ends the process: it is told which seed it was.
pub fn tell_seed_of_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        if let Some(seed) = SEED.get() {
            eprintln!("seed {seed}: a panic\n{}", replay(seed));
        }
    }));
}

fn one(seed: u64, trace: bool) -> Result<Summary, String> {
    SEED.set(Some(seed));
    let first = world::run(seed, trace)?;
    if !trace && seed.is_multiple_of(TWICE_ONE_IN) && world::run(seed, false)? != first {
        return Err("another run of it did something else".to_owned());
    }
    Ok(first)
}

/// Runs these seeds.
pub fn run(seeds: &[u64], jobs: usize, trace: bool) -> ExitCode {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((Summary::default(), 0_u64, 0_u64));
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, seeds.len().max(1)) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = one(*seed, trace);
                    let mut results = results.lock().expect("a panic ends the process");
                    match outcome {
                        Ok(summary) => {
                            results.0.add(&summary);
                            results.1 += 1;
                        }
                        Err(broken) => {
                            results.2 += 1;
                            eprintln!("seed {seed}: {broken}\n{}", replay(*seed));
                        }
                    }
                    let (_, passed, failed) = *results;
                    if (passed + failed).is_multiple_of(TOLD_EVERY) {
                        eprintln!("{passed} passed, {failed} failed so far");
                    }
                }
            });
        }
    });
    let (sum, passed, failed) = results.into_inner().expect("a panic ends the process");
    println!("{passed} passed, {failed} failed");
    println!(
        "{} lines chatted, {} voice frames heard, {} played, {} sessions resumed, {} restarts, {} waits for rings, \
         digest {:016x}",
        sum.lines, sum.voice, sum.played, sum.resumed, sum.restarts, sum.full_rings, sum.digest
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs seeds with a mistake planted until one fails, and says which and why.
#[cfg(feature = "mistakes")]
pub fn planted(name: &str, first: u64, seeds: u64, trace: bool) -> ExitCode {
    crate::mistakes::plant(name);
    for seed in first..first + seeds {
        SEED.set(Some(seed));
        if let Err(broken) = world::run(seed, trace) {
            eprintln!("seed {seed}: {broken}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Plants each mistake in a process of its own, for some end in a panic, and prints what caught it.
#[cfg(feature = "mistakes")]
pub fn mistakes(seeds: u64, jobs: usize) -> ExitCode {
    let names = crate::mistakes::names();
    let (next, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    println!("| mistake | caught at seed | by | seconds |\n|---|---|---|---|");
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, names.len()) {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = std::time::Instant::now();
                    let caught = catch(name, seeds);
                    let seconds = start.elapsed().as_secs_f64();
                    match caught {
                        Some((seed, by)) => println!("| {name} | {seed} | {by} | {seconds:.1} |"),
                        None => {
                            missed.fetch_add(1, Ordering::Relaxed);
                            println!("| {name} | not in {seeds} | | {seconds:.1} |");
                        }
                    }
                }
            });
        }
    });
    if missed.into_inner() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first seed that fails with a mistake planted, and what it says.
#[cfg(feature = "mistakes")]
fn catch(name: &str, seeds: u64) -> Option<(String, String)> {
    /// Longest sentence in the table, characters.
    const SENTENCE_MAX: usize = 100;
    let program = std::env::current_exe().expect("a running program has a path");
    let ran = std::process::Command::new(program)
        .args(["--plant", name, "--seeds", &seeds.to_string()])
        .output()
        .expect("this program starts");
    let told = String::from_utf8_lossy(&ran.stderr);
    let (seed, what) = told.lines().rev().find_map(|line| line.strip_prefix("seed ")?.split_once(": "))?;
    let by = match what {
        // The sentence of a panic is on the line after its place.
        "a panic" => told.lines().skip_while(|line| !line.contains("panicked at")).nth(1).unwrap_or(what),
        broken => broken,
    };
    Some((seed.to_owned(), by.chars().take(SENTENCE_MAX).collect()))
}
