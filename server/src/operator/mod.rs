//! Commands on the machine itself: accounts, invitations, bans, the owner. They change the store, also while a server
//! runs, which picks the change up within two seconds.
//!
//! Not `echomesh admin`, which asks a server as an account: whoever may run these has the server's files anyway.
//! In: a command. Out: lines for people, or with `--json` an object on each line.

pub mod args;

use std::fmt::Write;
use std::io::{BufRead, Read};
use std::path::Path;

use echomesh_proto::ids::UserId;
use echomesh_proto::limits::{PASSWORD_BYTES_MAX, REASON_BYTES_MAX};
use echomesh_shard::accounts::{hash_typed, secret_text};
use echomesh_shard::rights::Role;
use echomesh_shard::{Ban, Limits, Network, names};
use serde_json::Value;

use crate::config::Config;
use crate::hash;
use crate::start_error::StartError;
use crate::store::operator::{Change, Changed, Desk, OPERATOR, User, word};
use args::RoleName;

/// Random bytes of a password that is made, and of an invitation's code.
const SECRET_BYTES: usize = 10;

/// A command.
#[derive(Clone, Debug)]
pub enum Command {
    /// About accounts.
    User(args::User),
    /// About invitations.
    Invite(args::Invite),
    /// About bans.
    Ban(args::Ban),
    /// Makes an account an owner.
    Owner(String),
}

type Done<T> = Result<T, StartError>;

/// An entry: names and values, in the order to print them.
type Fields = Vec<(&'static str, Value)>;

/// What is printed: each entry a line.
struct Lines {
    json: bool,
    text: String,
}

impl Lines {
    /// An object, for people without what says nothing.
    fn add(&mut self, fields: &[(&str, Value)]) {
        let mut line = String::new();
        for (name, value) in fields {
            let said = match value {
                Value::String(text) if !self.json => printable(text),
                other => other.to_string(),
            };
            let written = match said.as_str() {
                _ if self.json => write!(line, "{}\"{name}\":{said}", if line.is_empty() { '{' } else { ',' }),
                "" | "0" => Ok(()),
                said => write!(line, "{name} {said}  "),
            };
            written.expect("a String grows as needed");
        }
        self.text.push_str(line.trim_end());
        self.text.push_str(if self.json { "}\n" } else { "\n" });
    }
}

/// Text of others as it may go to a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{FFFD}' } else { letter }).collect()
}

/// Does it; gives what to print.
///
/// # Errors
/// It cannot be done; the sentence says why and what to do.
pub fn run(config: &Config, command: Command, json: bool) -> Done<String> {
    let mut desk = Desk::open(&config.database)?;
    let mut lines = Lines { json, text: String::new() };
    match command {
        Command::User(command) => user(config, &mut desk, command, &mut lines)?,
        Command::Invite(command) => invite(&mut desk, command, &mut lines)?,
        Command::Ban(command) => ban(&mut desk, command, &mut lines)?,
        Command::Owner(name) => {
            let command = args::User::Role { name, role: RoleName::Owner };
            user(config, &mut desk, command, &mut lines)?;
        }
    }
    lines.text.truncate(lines.text.trim_end().len());
    Ok(lines.text)
}

fn user(config: &Config, desk: &mut Desk, command: args::User, lines: &mut Lines) -> Done<()> {
    match command {
        args::User::List => {
            let mut after = UserId(0);
            loop {
                let page = desk.users(after)?;
                let Some(last) = page.last() else { return Ok(()) };
                after = last.id;
                page.iter().for_each(|user| lines.add(&shown(user)));
            }
        }
        args::User::Show { name } => {
            let user = find(desk, &name)?;
            lines.add(&shown(&user));
            for token in desk.tokens(user.id)? {
                lines.add(&[
                    ("token", token.token_id.into()),
                    ("label", token.label.into()),
                    ("created_ms", token.created_ms.into()),
                    ("last_used_ms", token.last_used_ms.into()),
                ]);
            }
        }
        args::User::Create { name, role, password_file } => {
            let name = names::username(&name).map_err(StartError::Settings)?;
            let (password, made) = password(password_file.as_deref())?;
            let hash = hashed(config, &password)?;
            if !desk.create(&name.key, &name.shown, &hash, role.into())? {
                return Err(StartError::Machine(format!("there is an account {} already", printable(&name.shown))));
            }
            lines.add(&[("user", name.shown.into()), ("password", made.into())]);
        }
        args::User::Password { name, password_file } => {
            let user = find(desk, &name)?;
            let (password, made) = password(password_file.as_deref())?;
            let change = Change::Password(hashed(config, &password)?);
            changed(desk, &user, &change)?;
            lines.add(&[("user", user.name.into()), ("password", made.into())]);
        }
        args::User::Role { name, role } => {
            let user = find(desk, &name)?;
            let role = Role::from(role);
            changed(desk, &user, &Change::Role(role))?;
            lines.add(&[("user", user.name.into()), ("role", word(role.as_str_name()).into())]);
        }
        args::User::Delete { name } => {
            let user = find(desk, &name)?;
            changed(desk, &user, &Change::Delete)?;
            lines.add(&[("deleted", user.name.into()), ("id", user.id.0.into())]);
        }
    }
    Ok(())
}

fn changed(desk: &mut Desk, user: &User, change: &Change) -> Done<()> {
    let name = printable(&user.name);
    match desk.change_user(user, change)? {
        Changed::Done => Ok(()),
        Changed::OnlyOwner => Err(StartError::Machine(format!(
            "{name} is the only owner: make another first with `echomesh-server owner NAME`"
        ))),
        Changed::Gone => Err(nobody(&name)),
    }
}

fn nobody(name: &str) -> StartError {
    StartError::Machine(format!("there is no account {name}: `echomesh-server user list` shows them"))
}

fn shown(user: &User) -> Fields {
    vec![
        ("id", user.id.0.into()),
        ("name", user.name.as_str().into()),
        ("role", word(user.role.as_str_name()).into()),
        ("created_ms", user.created_ms.into()),
        ("invitation", user.invitation.into()),
    ]
}

fn find(desk: &mut Desk, typed: &str) -> Done<User> {
    let key = names::username(typed).map_err(StartError::Settings)?.key;
    desk.user(&key)?.ok_or_else(|| nobody(&printable(typed)))
}

fn secret() -> Done<String> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| StartError::system("the system gives no random bytes", &error))?;
    Ok(secret_text(&bytes))
}

fn hashed(config: &Config, password: &str) -> Done<String> {
    hash::hash_now(config.password, password)
        .map_err(|error| StartError::system("the system gives no random bytes", &error))
}

/// The password, and what is to be shown of it: one that was made.
fn password(file: Option<&Path>) -> Done<(String, String)> {
    let Some(file) = file else {
        let made = secret()?;
        return Ok((made.clone(), made));
    };
    let cannot = |error: std::io::Error| StartError::Settings(format!("cannot read {}: {error}", file.display()));
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(cannot)?)
    };
    let mut line = String::new();
    let bytes_max = PASSWORD_BYTES_MAX as u64 + 2;
    std::io::BufReader::new(source.take(bytes_max)).read_line(&mut line).map_err(cannot)?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        let text =
            format!("the first line of {} must be a password of 1 to {PASSWORD_BYTES_MAX} bytes", file.display());
        return Err(StartError::Settings(text));
    }
    Ok((password.to_owned(), String::new()))
}

fn invite(desk: &mut Desk, command: args::Invite, lines: &mut Lines) -> Done<()> {
    match command {
        args::Invite::Create { uses, seconds } => {
            let code = secret()?;
            let made = desk.invite(&hash_typed(&code), uses, seconds, Limits::default().invitations_max)?;
            let full = || StartError::Machine("there are too many invitations: revoke some first".to_owned());
            lines.add(&[("invitation", made.ok_or_else(full)?.into()), ("code", code.into())]);
        }
        args::Invite::List => {
            let mut after = 0;
            loop {
                let page = desk.invitations(after)?;
                let Some(last) = page.last() else { return Ok(()) };
                after = last.invitation_id;
                for one in page {
                    lines.add(&[
                        ("invitation", one.invitation_id.into()),
                        ("by", one.by.into()),
                        ("uses_left", one.uses_left.into()),
                        ("created_ms", one.created_ms.into()),
                        ("expires_ms", one.expires_ms.into()),
                    ]);
                }
            }
        }
        args::Invite::Revoke { invitation } => {
            if !desk.revoke(invitation)? {
                return Err(StartError::Machine(format!("there is no invitation {invitation}: list them")));
            }
            lines.add(&[("revoked", invitation.into())]);
        }
    }
    Ok(())
}

fn ban(desk: &mut Desk, command: args::Ban, lines: &mut Lines) -> Done<()> {
    match command {
        args::Ban::List => {
            let mut after = 0;
            loop {
                let page = desk.bans(after)?;
                let Some(last) = page.last() else { return Ok(()) };
                after = last.id;
                page.iter().for_each(|ban| lines.add(&shown_ban(ban)));
            }
        }
        args::Ban::Add { name, address, seconds, reason } => {
            let ban = new_ban(desk, name.as_deref(), address.as_deref(), (seconds, reason))?;
            let made = desk.ban(&ban, Limits::default().bans_max)?;
            let full = || StartError::Machine("there are as many bans as there may be: lift old ones first".to_owned());
            lines.add(&[("ban", made.ok_or_else(full)?.into())]);
        }
        args::Ban::Remove { ban } => {
            if !desk.unban(ban)? {
                return Err(StartError::Machine(format!("there is no ban {ban}: list them")));
            }
            lines.add(&[("lifted", ban.into())]);
        }
    }
    Ok(())
}

fn shown_ban(ban: &Ban) -> Fields {
    vec![
        ("ban", ban.id.into()),
        ("user", ban.username.as_str().into()),
        ("address", ban.network.map(|network| network.to_string()).unwrap_or_default().into()),
        ("room_number", ban.room.into()),
        ("by", ban.by.as_str().into()),
        ("time_ms", ban.time_ms.into()),
        ("expires_ms", ban.expires_ms.into()),
        ("reason", ban.reason.as_str().into()),
    ]
}

fn new_ban(desk: &mut Desk, name: Option<&str>, address: Option<&str>, (seconds, reason): (u64, String)) -> Done<Ban> {
    if reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        return Err(StartError::Settings(format!("a reason is one line of at most {REASON_BYTES_MAX} bytes")));
    }
    let network = address.map(Network::parse).transpose().map_err(StartError::Settings)?;
    if network.is_some_and(Network::has_loopback) {
        return Err(StartError::Settings("the server's own machine cannot be banned".to_owned()));
    }
    let user = name.map(|name| find(desk, name)).transpose()?;
    if user.as_ref().is_some_and(|user| user.role == Role::Owner) {
        return Err(StartError::Settings("an owner is not banned: give the account another role first".to_owned()));
    }
    let time_ms = crate::store::now_ms();
    let expires_ms = if seconds == 0 { 0 } else { time_ms.saturating_add(seconds.saturating_mul(1_000)) };
    Ok(Ban {
        user: user.as_ref().map_or(0, |user| user.id.0),
        username: user.map(|user| user.name).unwrap_or_default(),
        network,
        reason,
        by: OPERATOR.to_owned(),
        by_role: Role::Owner as i32,
        time_ms,
        // The store's numbers are signed.
        expires_ms: expires_ms.min(i64::MAX as u64),
        ..Ban::default()
    })
}
