//! `echomesh listen`: being in a room without a voice, and running a command for what happens there.
//!
//! Not the stay, which is `join`'s, nor the commands, which `runner` runs. In: arguments. Bounds: the runner's.

use std::time::Duration;

use clap::Args as ClapArgs;
use echomesh_client::Announce;

use super::args::seconds;
use super::failure::Failure;
use super::join::{Plan, stay};
use super::news::{Kind, Teller};
use super::runner::{Runner, RunnerSettings};
use super::settings::Settings;

/// `echomesh listen`.
#[derive(Debug, ClapArgs)]
pub struct Listen {
    /// Room
    room: String,
    /// Command to run: a program and its arguments, up to the end of the line or to `;`. It gets the event as JSON on
    /// standard input, and its fields as ECHOMESH_EVENT_…
    #[arg(long, required = true, num_args = 1.., allow_hyphen_values = true, value_terminator = ";", value_name = "COMMAND")]
    exec: Vec<String>,
    /// For what it is run
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["line", "direct"], value_name = "EVENTS")]
    on: Vec<Kind>,
    /// For lines of this account, too, which a command may have written itself
    #[arg(long)]
    own: bool,
    /// How many run at once; 1 keeps their order
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Longest time for each
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    timeout: Duration,
    /// Make the room if it is not there
    #[arg(long)]
    create: bool,
    /// Never give up a server that does not answer
    #[arg(long)]
    forever: bool,
    /// End after so many seconds [default: at Ctrl-C, or SIGTERM]
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
}

/// Listens.
///
/// # Errors
/// [`Failure`].
pub async fn run(settings: &Settings, listen: &Listen) -> Result<(), Failure> {
    let runner = Runner::new(RunnerSettings {
        command: listen.exec.clone(),
        on: listen.on.clone(),
        own: listen.own,
        jobs: listen.jobs.into(),
        patience: listen.timeout,
    });
    let plan = Plan {
        room: &listen.room,
        create: listen.create,
        history: 0,
        keep_unread: true,
        speech: None,
        announce: Announce { talking: false, muted: true, deafened: true },
        packet_log: None,
        duration: listen.duration,
        forever: listen.forever,
        reads_lines: false,
        ends_with_sound: false,
    };
    stay(settings, plan, Teller::Commands(Box::new(runner))).await
}
