//! The program `echomesh`: a headless client. Everything but the process's start and end is in `cli`.
#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
