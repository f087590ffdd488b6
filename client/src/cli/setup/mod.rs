//! `echomesh setup`, and the first start on a terminal: asks for server and name, explains the server's key once, lets the
//! person hear themselves, and writes the configuration.
//!
//! # Layout
//! `dialog`: how questions are asked. `way`: to the server, and in. `hearing`: the test of microphone and loudspeaker.
//! `config_file`: what is written.
//!
//! Nothing is written before the last question but the server's key, once it was agreed to.
//! Bounds: those of the parts; a person may take their time.

mod config_file;
mod dialog;
mod hearing;
mod way;

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use super::args::Args;
use super::failure::Failure;
use super::settings::{Environment, Settings, Sources};
use config_file::{Chosen, Keep};
use dialog::Dialog;

/// Whether this is a first start: no configuration, and nobody said who they are.
pub fn is_first_start<F: Fn(&str) -> Option<String>>(args: &Args, environment: &Environment<F>) -> bool {
    let sources = Settings::sources(args, environment);
    let is_there = |path: &PathBuf| path.exists();
    let is_named = args.user.is_some()
        || args.token_file.is_some()
        || ["ECHOMESH_USER", "ECHOMESH_TOKEN", "ECHOMESH_TOKEN_FILE"]
            .iter()
            .any(|name| environment.get(name).is_some());
    !is_named && args.config.is_none() && sources.config.is_some() && !sources.config.as_ref().is_some_and(is_there)
}

/// Asks, writes, and gives the settings to begin with.
///
/// # Errors
/// [`Failure`]: what could not be done.
pub fn run<F: Fn(&str) -> Option<String>>(
    mut args: Args,
    environment: &Environment<F>,
    runtime: &tokio::runtime::Runtime,
) -> Result<Settings, Failure> {
    if !std::io::stdin().is_terminal() {
        let text = "`echomesh setup` asks questions, so it wants a terminal; without one write the configuration file \
                    yourself, see docs/CLIENT.md";
        return Err(Failure::Usage(text.to_owned()));
    }
    let sources = Settings::sources(&args, environment);
    let path = sources
        .config
        .clone()
        .ok_or_else(|| Failure::Usage("neither HOME nor XDG_CONFIG_HOME is set: name a file by --config".to_owned()))?;
    let mut dialog = Dialog { input: std::io::stdin().lock(), output: std::io::stdout() };
    let (chosen, password) = ask(&mut dialog, &args, environment, &sources, runtime)?;
    let written = config_file::write(&path, &chosen)?;
    for file in &written {
        dialog.say(&format!("Written: {}", file.display()))?;
    }
    for file in config_file::left_over(&path, &written) {
        dialog.say(&format!("Not used any more, delete it if you like: {}", file.display()))?;
    }
    drop(dialog);
    // From here on as at every start, but for a password that was typed already.
    args.config = Some(path);
    let settings = Settings::resolve(&args, environment)?;
    settings.with_password(|_| Ok(password))
}

fn ask<F: Fn(&str) -> Option<String>>(
    dialog: &mut Dialog<impl BufRead, impl Write>,
    args: &Args,
    environment: &Environment<F>,
    sources: &Sources,
    runtime: &tokio::runtime::Runtime,
) -> Result<(Chosen, String), Failure> {
    dialog.say("EchoMesh: some questions, once. Enter takes what is in brackets, Ctrl-C ends it.\n")?;
    if let Some(path) = sources.config.as_ref().filter(|path| path.exists()) {
        let question = format!("{} is there already; write a new one, and keep it as config.toml.old?", path.display());
        if !dialog.choose(&question, &[("yes", true), ("no", false)])? {
            return Err(Failure::Usage("nothing was changed".to_owned()));
        }
    }
    // What was said on the command line, in the environment or the last time is offered.
    let (server, user) = Settings::resolve(args, environment).map_or_else(
        |_| (args.server.clone().or_else(|| environment.get("ECHOMESH_SERVER")), args.user.clone()),
        |before| (Some(before.server()), Some(before.user)),
    );
    let server = server.unwrap_or_else(|| "localhost".to_owned());
    let user = user.or_else(|| environment.get("USER")).unwrap_or_default();
    let mut settings = way::server(dialog, args, environment, &server, runtime)?;
    let keep = way::account(dialog, &mut settings, &user, runtime)?;
    let (input, output) = hearing::test(dialog, runtime)?;
    let (server, user) = (settings.server(), settings.user.clone());
    let password = if keep == Keep::Nothing { settings.password.clone() } else { String::new() };
    let Settings { plaintext, fingerprint, .. } = settings;
    let chosen = Chosen { server, user, keep, plaintext, fingerprint, input, output };
    Ok((chosen, password))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// Goal: questions are asked only of who has said nothing yet.
    #[test]
    fn a_first_start_is_without_file_and_name() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().display().to_string();
        let first = |args: &[&str], user: Option<&str>| {
            let args = Args::try_parse_from([&["echomesh"], args].concat()).unwrap();
            let variable = |name: &str| match name {
                "XDG_CONFIG_HOME" => Some(directory.clone()),
                "ECHOMESH_USER" => user.map(str::to_owned),
                _ => None,
            };
            is_first_start(&args, &Environment { variable })
        };
        assert!(first(&[], None) && first(&["--server", "voice.example"], None));
        assert!(!first(&["--user", "ann"], None) && !first(&[], Some("ann")) && !first(&["--config", "/x"], None));
        std::fs::create_dir(home.path().join("echomesh")).unwrap();
        std::fs::write(home.path().join("echomesh/config.toml"), "").unwrap();
        assert!(!first(&[], None));
    }
}
