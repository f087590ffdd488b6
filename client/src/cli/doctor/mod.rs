//! `echomesh doctor`: looks at all that a call needs, one thing after the other, and says of each what was found, what
//! it means and what to do.
//!
//! Nothing is changed: no key is pinned, and the room that voice is tried in ends with its one member. A server whose
//! key is not known yet is not told a password.
//!
//! # Layout
//! `finding`: what a check says. `machine`: files, rights, terminal. `network`: to a server that is trusted. `login`: and
//! in. `voice`: UDP, round trip, loss, the clock. `sound`: devices, whose samples `measure` moves and `level` judges.
//! Bounds: each check has a longest time of its own, all of the network `NETWORK_MAX`, sound, which is looked at
//! meanwhile, `SOUND_MAX`: under 20 s.

mod finding;
mod level;
mod login;
mod machine;
mod measure;
mod network;
mod sound;
mod voice;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::args::Args;
use super::failure::Failure;
use super::prompt;
use super::settings::{Environment, Settings};
use finding::{Finding, Report};

/// Longest time for all that has to do with the server.
const NETWORK_MAX: Duration = Duration::from_secs(16);

/// Likewise for sound, both from the start on.
const SOUND_MAX: Duration = Duration::from_secs(17);

/// `echomesh doctor`.
#[derive(Debug, ClapArgs)]
pub struct Doctor {
    /// Print JSON, an object on each line
    #[arg(long)]
    json: bool,
    /// Microphone to check: default, alsa:NAME, or none [default: as the interface has it]
    #[arg(long, value_name = "default|alsa:NAME|none")]
    input: Option<String>,
    /// Loudspeaker to check: likewise
    #[arg(long, value_name = "default|alsa:NAME|none")]
    output: Option<String>,
    /// Room to try voice in, where one may not make rooms; nothing is said there [default: a hidden one of its own]
    #[arg(long)]
    room: Option<String>,
}

/// Checks all, and says so.
///
/// # Errors
/// [`Failure`] of the first fault.
pub fn run(doctor: &Doctor, mut args: Args, runtime: &tokio::runtime::Runtime) -> Result<(), Failure> {
    let environment = Environment { variable: |name| std::env::var(name).ok() };
    let sources = Settings::sources(&args, &environment);
    let mut report = Report::new(doctor.json);
    machine::check(&mut report, &sources);
    let settings = settings(&mut report, &mut args, &environment, sources.problem.is_some());
    let device = |named: &Option<String>, set: fn(&Settings) -> &Option<String>| {
        let set = settings.as_ref().and_then(|settings| set(settings).as_ref());
        named.as_ref().or(set).map_or_else(|| "default".to_owned(), String::clone)
    };
    let (input, output) =
        (device(&doctor.input, |settings| &settings.input), device(&doctor.output, |settings| &settings.output));
    if std::io::stderr().is_terminal() && input != "none" {
        eprintln!("echomesh: speak as you would in a call for the next five seconds: the microphone is listened to");
    }
    let sound = sound::begin(&input, &output, SOUND_MAX);
    match settings {
        Some(settings) => {
            let checks = network::check(&mut report, &settings, doctor.room.as_deref());
            if runtime.block_on(async { tokio::time::timeout(NETWORK_MAX, checks).await }).is_err() {
                let text = format!("the checks of the network took over {} s and were given up", NETWORK_MAX.as_secs());
                let finding = Finding::fault("network", Failure::Connection, text)
                    .means("each step works, but the way to the server is very slow")
                    .remedy("try a wire instead of Wi-Fi, or another network, and run `echomesh doctor` again");
                report.tell(finding);
            }
        }
        None => report.tell(Finding::skipped("network", "without settings there is no server to look for")),
    }
    sound.tell(&mut report);
    report.end()
}

/// Settings, as far as they can be had: where the password is at fault, the server can be looked at all the same.
fn settings<F: Fn(&str) -> Option<String>>(
    report: &mut Report,
    args: &mut Args,
    environment: &Environment<F>,
    config_is_broken: bool,
) -> Option<Settings> {
    let (failure, settings) = match Settings::resolve(args, environment) {
        Ok(settings) => match settings.clone().with_password(|question| prompt::password(question, prompt::ACCOUNT)) {
            Ok(settings) => {
                report.tell(Finding::ok("settings", format!("server {}, user {}", settings.server(), user(&settings))));
                return Some(settings);
            }
            Err(failure) => (failure, Some(settings)),
        },
        Err(failure) => {
            // What is told of a broken file already is not told again.
            if config_is_broken {
                return None;
            }
            args.guest = true;
            (args.password, args.password_file, args.token_file) = (None, None, None);
            args.user.get_or_insert_default();
            let rest = Settings::resolve(args, environment).ok();
            (failure, rest.map(|rest| Settings { guest: false, password: String::new(), ..rest }))
        }
    };
    let finding = Finding::fault("settings", Failure::Usage, failure.to_string())
        .means("nobody can be logged in with these settings")
        .remedy("correct what is named, or run `echomesh setup`, which writes a configuration file");
    report.tell(finding);
    settings
}

fn user(settings: &Settings) -> &str {
    if settings.user.is_empty() { "by token" } else { &settings.user }
}
