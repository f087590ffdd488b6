//! `echomesh account`: one's own account, and invitations to the server; one request and its answer, or a list in all
//! its pages.
//!
//! Not the rules: the server says who may. In: arguments, and passwords from files or the terminal. Out: lines for
//! people, or with `--json` an object on each line; a secret is printed once, alone on its line.
//! Bounds: `PAGES_MAX` pages of a list.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use echomesh_client::Done;
use echomesh_proto::control::{Account as Request, AccountAction as Action, AccountState, DeviceToken, Invitation};

use super::admin::seconds;
use super::commands::print_line;
use super::failure::Failure;
use super::fields::{Field, Fields, json, owned, text};
use super::link::Link;
use super::settings::{Settings, first_line};
use super::{clock, prompt};

/// Pages of a list that are asked for.
const PAGES_MAX: usize = 1_000;

/// `echomesh account`.
#[derive(Debug, ClapArgs)]
pub struct Account {
    /// Print JSON, an object on each line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    act: Act,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Act {
    /// Change the password; sessions that others opened by the old one end
    Password {
        /// File whose first line is the new password [default: it is asked for]
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
    },
    /// End this account's sessions on other devices
    SignOutOthers,
    /// Delete this account: its name is free for others, its lines stay without a name
    Delete {
        /// Yes, delete it
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Tokens for devices that log in by themselves, with --token-file
    Token {
        #[command(subcommand)]
        act: Token,
    },
    /// Invitations to the server, from moderator up
    Invite {
        #[command(subcommand)]
        act: Invite,
    },
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Make a token, and print it: the only time that it is shown
    New {
        /// What it is for, to find it in the list
        #[arg(default_value = "", hide_default_value = true)]
        label: String,
    },
    /// List the tokens, when they were made and last used
    List,
    /// Revoke a token, and end the sessions it opened
    Revoke {
        /// Its number in the list
        token: u64,
    },
}

#[derive(Debug, Subcommand)]
enum Invite {
    /// Make an invitation, and print its code: the only time that it is shown
    New {
        /// Accounts that it makes
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// How long it counts: 30m, 12h, 7d
        #[arg(long = "for", value_name = "TIME", value_parser = seconds, default_value = "7d")]
        seconds: u64,
    },
    /// List the invitations that count
    List,
    /// Take an invitation back
    Revoke {
        /// Its number in the list
        invitation: u64,
    },
}

impl Account {
    /// Asks, and prints what comes.
    ///
    /// # Errors
    /// [`Failure`], with the server's sentence if it refused.
    pub async fn run(&self, link: &mut Link, settings: &Settings) -> Result<(), Failure> {
        let mut request = self.request();
        if matches!(request.action(), Action::AaChangePassword | Action::AaDelete) {
            request.password.clone_from(&settings.password);
            if request.password.is_empty() {
                request.password = prompt::password("Password of the account: ", prompt::ACCOUNT)?;
            }
        }
        if let Act::Password { new_password_file } = &self.act {
            request.new_password = new_password(new_password_file.as_deref())?;
        }
        for _ in 0..PAGES_MAX {
            let asked = link.session.account(clock::now(), request.clone());
            let Done::Account(state) = link.answer(asked).await? else { break };
            for line in self.lines(&state) {
                print_line(&line)?;
            }
            request.page = state.next_page;
            if request.page.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn request(&self) -> Request {
        let of = |action: Action| Request { action: action as i32, ..Request::default() };
        match &self.act {
            Act::Password { .. } => of(Action::AaChangePassword),
            Act::SignOutOthers => of(Action::AaSignOutOthers),
            Act::Delete { .. } => of(Action::AaDelete),
            Act::Token { act: Token::New { label } } => Request { label: label.clone(), ..of(Action::AaNewToken) },
            Act::Token { act: Token::List } => of(Action::AaListTokens),
            Act::Token { act: Token::Revoke { token } } => Request { id: *token, ..of(Action::AaRevokeToken) },
            Act::Invite { act: Invite::New { uses, seconds } } => {
                Request { uses: *uses, seconds: *seconds, ..of(Action::AaInvite) }
            }
            Act::Invite { act: Invite::List } => of(Action::AaListInvitations),
            Act::Invite { act: Invite::Revoke { invitation } } => {
                Request { id: *invitation, ..of(Action::AaRevokeInvitation) }
            }
        }
    }

    fn lines(&self, state: &AccountState) -> Vec<String> {
        let made = || vec![("id", Field::Number(state.id)), ("secret", owned(&state.secret))];
        let made = (!state.secret.is_empty()).then(made);
        if made.is_some() && !self.json {
            eprintln!("echomesh: number {}; it is shown this once:", state.id);
            return vec![state.secret.clone()];
        }
        let entries = state.tokens.iter().map(token_fields).chain(state.invitations.iter().map(invitation_fields));
        let line = |fields: Fields| if self.json { json(&fields) } else { text(&fields) };
        entries.chain(made).map(line).collect()
    }
}

/// From the file, or typed twice.
fn new_password(file: Option<&Path>) -> Result<String, Failure> {
    if let Some(file) = file {
        return first_line(file);
    }
    let typed = prompt::password("New password: ", prompt::NEW)?;
    if prompt::password("New password again: ", prompt::NEW)? != typed {
        return Err(Failure::Usage("the two differ: nothing was changed".to_owned()));
    }
    Ok(typed)
}

fn token_fields(token: &DeviceToken) -> Fields {
    vec![
        ("token", Field::Number(token.token_id)),
        ("label", owned(&token.label)),
        ("created_ms", Field::Number(token.created_ms)),
        ("last_used_ms", Field::Number(token.last_used_ms)),
    ]
}

fn invitation_fields(invitation: &Invitation) -> Fields {
    vec![
        ("invitation", Field::Number(invitation.invitation_id)),
        ("by", owned(&invitation.by)),
        ("uses_left", Field::Number(invitation.uses_left.into())),
        ("created_ms", Field::Number(invitation.created_ms)),
        ("expires_ms", Field::Number(invitation.expires_ms)),
    ]
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        account: Account,
    }

    fn parsed(line: &str) -> Account {
        Line::try_parse_from(std::iter::once("account").chain(line.split(' '))).map(|line| line.account).unwrap()
    }

    /// Goal: each command becomes the request that it says.
    #[test]
    fn commands_become_requests() {
        let request = |line: &str| parsed(line).request();
        assert_eq!(request("sign-out-others").action(), Action::AaSignOutOthers);
        assert_eq!(request("delete --yes").action(), Action::AaDelete);
        assert_eq!(request("token new radio").label, "radio");
        assert_eq!((request("token revoke 3").action(), request("token revoke 3").id), (Action::AaRevokeToken, 3));
        let invite = request("invite new --uses 5 --for 12h");
        assert_eq!((invite.action(), invite.uses, invite.seconds), (Action::AaInvite, 5, 43_200));
        assert_eq!(request("invite new").seconds, 604_800);
    }

    /// Goal: a secret is alone on its line for a script, an object for a program; lists show no secret.
    #[test]
    fn secrets_are_printed_for_scripts() {
        let state = AccountState { id: 3, secret: "0123".into(), ..AccountState::default() };
        assert_eq!(parsed("token new").lines(&state), ["0123"]);
        assert_eq!(parsed("token new --json").lines(&state), [r#"{"id":3,"secret":"0123"}"#]);
        let token = DeviceToken { token_id: 3, label: "radio".into(), created_ms: 7, last_used_ms: 0 };
        let list = AccountState { tokens: vec![token], ..AccountState::default() };
        assert_eq!(parsed("token list").lines(&list), ["token 3  label radio  created_ms 7"]);
    }
}
