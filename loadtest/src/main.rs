//! The program `echomesh-loadtest`: see its --help, and the library's head for how it is made.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use echomesh_loadtest::args::Args;
use echomesh_loadtest::failure::{Failure, Outcome};
use echomesh_loadtest::results::Report;
use echomesh_loadtest::{interrupt, run, server, summary};

fn main() -> ExitCode {
    let args = Args::parse();
    server::stop_on_panic();
    let done = interrupt::take_signals().and_then(|()| {
        let (report, done) = run::all(&args);
        print!("{}", summary::text(&report));
        done.and(write(&args, &report))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("echomesh-loadtest: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn write(args: &Args, report: &Report) -> Outcome<()> {
    let Some(path) = &args.json else { return Ok(()) };
    let text =
        serde_json::to_string_pretty(report).map_err(|error| Failure::because("the results are no JSON", error))?;
    std::fs::write(path, text + "\n")
        .map_err(|error| Failure::because(&format!("cannot write {}; check --json", path.display()), error))
}
