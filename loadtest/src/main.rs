//! The program `echomesh-loadtest`: see its --help, and the library's head for how it is made.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use echomesh_loadtest::args::Args;
use echomesh_loadtest::failure::{Failure, Outcome};
use echomesh_loadtest::results::Report;
use echomesh_loadtest::{interrupt, report, run, server};

fn main() -> ExitCode {
    let args = Args::parse();
    server::stop_on_panic();
    let done = interrupt::take_signals().and_then(|()| {
        let (results, done) = run::all(&args);
        print!("{}", report::summary(&results));
        done.and(write(&args, &results))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("echomesh-loadtest: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Everything is tried, so that a page that cannot be written does not cost the JSON.
fn write(args: &Args, results: &Report) -> Outcome<()> {
    let json = args.json.as_deref().map_or(Ok(()), |path| {
        let text = serde_json::to_string_pretty(results)
            .map_err(|error| Failure::because("the results are no JSON", error))?;
        save(path, &(text + "\n"), "--json")
    });
    let page = args.report.as_deref().map_or(Ok(()), |path| save(path, &report::html(results), "--report"));
    json.and(page)
}

fn save(path: &Path, text: &str, option: &str) -> Outcome<()> {
    std::fs::write(path, text)
        .map_err(|error| Failure::because(&format!("cannot write {}; check {option}", path.display()), error))
}
