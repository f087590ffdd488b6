//! The program `echomesh`: one driver of the session kernel, with sockets, TLS, files and a terminal.
//!
//! # Layout
//! - `args`, `processing_args`, `settings`, `prompt`: what the person wants. `failure`: how it may end, and exit codes.
//! - `trust`, `tls`, `transport`: the control connection. `link`: a session over it and its UDP socket.
//!   `roaming`: when this machine's address changes.
//! - `commands`: one request and its answer. `chat`: history, what is unread, changes of lines. `admin`: what
//!   moderators do; `account`: one's own; `room`: rooms themselves. `fields`: how lists are printed. `join`: being in
//!   a room. `lines`: lines of standard input; `outgoing`: lines on their way.
//! - `listen`, `bridge`: stays for other programs; `runner`: commands that are run for what happens. `news`: what is
//!   told, and to whom; `roster`: what of the members is news.
//! - `speech`: the audio engine; `sound`: its settings and news.
//! - `devices`, `loopback`: sound without a server. `doctor`: what is wrong.
//! - `setup`: the first start. `files`: what is kept.
//! - `tui`: the full-screen interface; `talk_mode`, `threshold`: when its microphone is open; `control`, `hotkey`:
//!   switching it from outside. `descriptor`: waiting for one.
//! - `record`, `play`: a room into files, a file into a room; `network_report`: what adapts how it is encoded.
//! - `voice_params`: holding a place for another program; `voice_format`: how it is told.
//! - `packet_log`, `statistics`, `clock`: what is measured.

mod account;
mod admin;
mod args;
mod bridge;
mod chat;
mod clock;
mod commands;
mod control;
mod descriptor;
mod devices;
mod doctor;
mod failure;
mod fields;
mod files;
mod hotkey;
mod hotkey_names;
mod join;
mod lines;
mod link;
mod listen;
mod loopback;
#[path = "../../../packaging/manual.rs"]
mod manual;
mod network_report;
mod news;
mod outgoing;
mod packet_log;
mod play;
mod processing_args;
mod prompt;
mod record;
mod roaming;
mod room;
mod roster;
mod runner;
mod settings;
mod setup;
mod sound;
mod speech;
mod statistics;
mod stay;
mod talk_mode;
mod threshold;
mod tls;
mod transport;
mod trust;
mod tui;
mod voice_format;
mod voice_params;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command, UiAlone};
use failure::Failure;
use settings::{Environment, Settings};

/// Runs the program: reads arguments, does what they say, prints what went wrong.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let verbosity = if args.verbose { tracing::Level::DEBUG } else { tracing::Level::WARN };
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_ansi(colours)
        .with_max_level(verbosity)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("echomesh: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The interface without options.
fn interface() -> Command {
    Command::Ui(UiAlone::parse_from(["echomesh"]).ui)
}

fn run(mut args: Args) -> Result<(), Failure> {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Local(format!("cannot start: {error}")))
    };
    let environment = Environment { variable: |name| std::env::var(name).ok() };
    let command = match args.command.take() {
        Some(command) => command,
        None if std::io::stdin().is_terminal()
            && std::io::stdout().is_terminal()
            && setup::is_first_start(&args, &environment) =>
        {
            Command::Setup
        }
        None if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() => interface(),
        None => {
            let text = "say what to do: `echomesh --help` lists the commands; on a terminal it is `echomesh ui`";
            return Err(Failure::Usage(text.to_owned()));
        }
    };
    match &command {
        Command::Control { order } => {
            let directory = std::env::var("XDG_RUNTIME_DIR").ok();
            return control::run(*order, control::path(directory.as_deref()).as_deref());
        }
        Command::Devices { all } => return devices::run(*all),
        Command::Manual { folder } => {
            return manual::write(Args::command(), "1", folder)
                .map_err(|error| Failure::Local(format!("cannot write to {}: {error}", folder.display())));
        }
        Command::Loopback(loopback) => return runtime()?.block_on(loopback::run(loopback)),
        Command::Doctor(doctor) => {
            let runtime = runtime()?;
            let outcome = doctor::run(doctor, args, &runtime);
            // A name server that does not answer is not waited for.
            runtime.shutdown_background();
            return outcome;
        }
        _ => {}
    }
    let runtime = runtime()?;
    let (settings, command) = if matches!(command, Command::Setup) {
        (setup::run(args, &environment, &runtime)?, interface())
    } else {
        let settings = Settings::resolve(&args, &environment)?;
        (settings.with_password(|question| prompt::password(question, prompt::ACCOUNT))?, command)
    };
    let outcome = runtime.block_on(async {
        match &command {
            Command::Ui(ui) => tui::run(&settings, ui).await,
            Command::Join(join) => join::run(&settings, join).await,
            Command::Listen(listen) => listen::run(&settings, listen).await,
            Command::Bridge(bridge) => bridge::run(&settings, bridge).await,
            Command::Record(record) => record::run(&settings, record).await,
            Command::Play(play) => play::run(&settings, play).await,
            Command::VoiceParams(params) => voice_params::run(&settings, params).await,
            command => commands::run(&settings, command).await,
        }
    });
    // A read of standard input cannot be cancelled: do not wait for its thread.
    runtime.shutdown_background();
    outcome
}
