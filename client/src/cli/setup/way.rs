//! The way to a server and in, for one who does it for the first time: where it is, whose key it shows, who one is.
//!
//! The rules of trust are `trust`'s. In: answers. Out: settings that worked, and what to keep for the next login.
//! Bounds: `TRIES` for the server and for name and password.

use std::io::{BufRead, Write};

use echomesh_client::Done;
use echomesh_proto::control::{Account, AccountAction};

use super::config_file::Keep;
use super::dialog::Dialog;
use crate::cli::args::Args;
use crate::cli::commands::printable;
use crate::cli::failure::Failure;
use crate::cli::link::{Link, Use};
use crate::cli::settings::{Environment, Settings};
use crate::cli::tls::Tls;
use crate::cli::transport::{Shaken, Transport, policy};
use crate::cli::trust::{Fingerprint, Known, KnownServers, Verdict};
use crate::cli::{clock, prompt};

/// How often one may get it wrong.
const TRIES: u32 = 5;

/// Where this machine's name is.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// How the next login is made.
#[derive(Clone, Copy)]
enum Next {
    Asked,
    ByToken,
    ByPassword,
}

/// Asks for a server until one is reached and trusted.
pub fn server<F: Fn(&str) -> Option<String>>(
    dialog: &mut Dialog<impl BufRead, impl Write>,
    args: &Args,
    environment: &Environment<F>,
    default: &str,
    runtime: &tokio::runtime::Runtime,
) -> Result<Settings, Failure> {
    let mut default = default.to_owned();
    for _ in 0..TRIES {
        let settings = dialog.ask("Server, HOST or HOST:PORT", &default, |answer| {
            Settings::of_server(args, environment, answer).map_err(|failure| failure.to_string())
        })?;
        default = settings.server();
        match reach(dialog, &settings, runtime) {
            Ok(true) => return Ok(settings),
            Ok(false) => return Err(Failure::Trust("the server is not trusted: nothing was written".to_owned())),
            Err(failure @ Failure::Trust(_)) => return Err(failure),
            Err(failure) => dialog.say(&format!("{failure}\n"))?,
        }
    }
    Err(Failure::Connection("no server was reached; `echomesh doctor --server HOST` says why".to_owned()))
}

/// Whether the person trusts it, which is asked where nobody else vouches for it.
fn reach(
    dialog: &mut Dialog<impl BufRead, impl Write>,
    settings: &Settings,
    runtime: &tokio::runtime::Runtime,
) -> Result<bool, Failure> {
    let Some(shown) = runtime.block_on(unknown_key(settings))? else { return Ok(true) };
    dialog.say(&format!(
        "\nThe key of {} is not known here yet. Its fingerprint is\n  {shown}\n\
         The server prints the same at its start, and its operator can tell you. If both\n\
         are equal, nobody is listening in between. You are asked this once: from then\n\
         on this key is the server's, and another one is refused.",
        settings.server()
    ))?;
    if !dialog.choose("Is it the server's?", &[("no", false), ("yes", true)])? {
        return Ok(false);
    }
    if let Some(file) = &settings.known_servers {
        KnownServers::remember(file, &settings.server(), Known::Pinned(shown))?;
    }
    Ok(true)
}

/// The key of a server that nothing is known of; `None` if it is trusted already.
async fn unknown_key(settings: &Settings) -> Result<Option<Fingerprint>, Failure> {
    if settings.plaintext {
        Transport::connect(settings, None).await?.close();
        return Ok(None);
    }
    let tls = Tls::new(&settings.host)?;
    let (stream, peer) = crate::cli::transport::connect_tcp(settings).await?;
    let Shaken { transport, outcome, verdict } = Transport::shake(stream, peer, &tls, policy(settings)?).await?;
    transport.close();
    match (verdict, outcome) {
        (Some((_, Verdict::Refused(text))), _) => Err(Failure::Trust(text)),
        (Some((shown, Verdict::Remember(Known::Pinned(_)))), Ok(())) => Ok(Some(shown)),
        (Some(_), Ok(())) => Ok(None),
        (_, outcome) => {
            let why = outcome.err().map_or_else(|| "it showed no certificate".to_owned(), |error| error.to_string());
            let text = format!("no TLS connection to {}: {why}. Is it an EchoMesh server?", settings.server());
            Err(Failure::Connection(text))
        }
    }
}

/// Asks for name and password until the server takes them, and how the next login is made.
pub fn account(
    dialog: &mut Dialog<impl BufRead, impl Write>,
    settings: &mut Settings,
    default: &str,
    runtime: &tokio::runtime::Runtime,
) -> Result<Keep, Failure> {
    let mut link = log_in(dialog, settings, default, runtime)?;
    dialog.say(
        "\nHow do you log in the next time? The password can be asked for (ask). Or this\n\
         machine gets a token of its own, which can be revoked alone (token). Or the\n\
         password is kept here (password). What is kept is in a file for you alone.",
    )?;
    let choices = [("ask", Next::Asked), ("token", Next::ByToken), ("password", Next::ByPassword)];
    let keep = match dialog.choose("How", &choices)? {
        Next::Asked => Keep::Nothing,
        Next::ByPassword => Keep::Password(settings.password.clone()),
        Next::ByToken => Keep::Token(runtime.block_on(token(&mut link))?),
    };
    // Dropping it needs the runtime's reactor.
    runtime.block_on(async { link.close() });
    Ok(keep)
}

fn log_in(
    dialog: &mut Dialog<impl BufRead, impl Write>,
    settings: &mut Settings,
    default: &str,
    runtime: &tokio::runtime::Runtime,
) -> Result<Link, Failure> {
    let server = settings.server();
    dialog.say(&format!(
        "\nWho are you at {server}?\nIf there is no account of this name yet, many servers make one now."
    ))?;
    let mut default = default.to_owned();
    for _ in 0..TRIES {
        let name =
            |answer: &str| if answer.is_empty() { Err("Give a name.".to_owned()) } else { Ok(answer.to_owned()) };
        settings.user = dialog.ask("Name", &default, name)?;
        default.clone_from(&settings.user);
        settings.password = prompt::password("Password (it is not shown): ", "type one")?;
        match runtime.block_on(Link::log_in(settings, Use::Requests)) {
            Ok(link) => {
                dialog.say(&format!("Logged in as {}.", settings.user))?;
                return Ok(link);
            }
            Err(failure @ (Failure::Credentials(_) | Failure::Refused(_))) => dialog.say(&failure.to_string())?,
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::Credentials("the server took no name with its password: nothing was written".to_owned()))
}

/// A new token of this machine's.
async fn token(link: &mut Link) -> Result<String, Failure> {
    let machine = std::fs::read_to_string(HOSTNAME).unwrap_or_default();
    let label = format!("echomesh on {}", printable(machine.trim()));
    let request = Account { action: AccountAction::AaNewToken as i32, label, ..Account::default() };
    let asked = link.session.account(clock::now(), request);
    match link.answer(asked).await? {
        Done::Account(state) if !state.secret.is_empty() => Ok(state.secret),
        _ => Err(Failure::Refused("the server gave no token".to_owned())),
    }
}
