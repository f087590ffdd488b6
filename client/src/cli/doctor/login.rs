//! The login: whether the server takes this account, and if not, what can be done.
//!
//! The rules are the server's. In: settings that name a server which is trusted. Out: a session, or a finding.
//! Bounds: `LOGIN_MAX`.

use std::time::Duration;

use echomesh_client::{DisconnectReason, Event};
use echomesh_proto::control::StatusCode;
use tokio::time::timeout;

use super::finding::{Finding, Report};
use crate::cli::commands::printable;
use crate::cli::failure::Failure;
use crate::cli::link::{Link, Use};
use crate::cli::settings::Settings;

/// Longest wait for connection and answer: a busy server hashes passwords one after the other.
const LOGIN_MAX: Duration = Duration::from_secs(6);

/// Logs in, and says how that went.
pub async fn log_in(report: &mut Report, settings: &Settings) -> Option<Link> {
    let mut link = match timeout(LOGIN_MAX, Link::connect(settings, Use::Stay)).await {
        Ok(Ok(link)) => link,
        outcome => {
            let text = match outcome {
                Ok(Err(failure)) => failure.to_string(),
                _ => format!("no connection within {} s", LOGIN_MAX.as_secs()),
            };
            let finding = Finding::fault("login", Failure::Connection, text)
                .means("a second connection did not work, though the first did")
                .remedy("wait a minute: the server may limit connections from one address; then try again");
            report.tell(finding);
            return None;
        }
    };
    let finding = match timeout(LOGIN_MAX, answer(&mut link)).await {
        Ok(Ok(finding)) => {
            report.tell(finding);
            return Some(link);
        }
        Ok(Err(finding)) => finding,
        Err(_) => Finding::fault("login", Failure::Connection, format!("no answer within {} s", LOGIN_MAX.as_secs()))
            .means("the server is very busy, or no EchoMesh server")
            .remedy("try again in a minute; if it stays so, ask the operator to look at the server's log"),
    };
    report.tell(finding);
    None
}

async fn answer(link: &mut Link) -> Result<Finding, Finding> {
    let mut notice = None;
    loop {
        match link.event().await {
            Event::LoggedIn(logged_in) => {
                let it = logged_in.response;
                let found = format!("{} at {}, EchoMesh {}", it.username, it.server_name, it.server_version);
                if it.account_created {
                    return Ok(Finding::warning("login", format!("{found}: the account was made just now"))
                        .means("if you had an account, its name is another one")
                        .remedy(
                            "if this is not the name you wanted: `echomesh account delete --yes`, and correct --user",
                        ));
                }
                return Ok(Finding::ok("login", found));
            }
            Event::LoginRefused { status, message, .. } => return Err(refused(status, &message)),
            Event::Notice { status, message, .. } => notice = Some((status, message)),
            Event::Disconnected(reason) => {
                return Err(notice.map_or_else(|| hung_up(reason), |(status, message)| refused(status, &message)));
            }
            _ => {}
        }
    }
}

fn refused(status: StatusCode, message: &str) -> Finding {
    let (end, means, remedy): (fn(String) -> Failure, _, _) = match status {
        StatusCode::StatusBadCredentials => (
            Failure::Credentials,
            "name and password, or the token, do not belong together; a server that makes no accounts by itself says the \
             same of a name that has none",
            "type the password anew; if you never were there, ask a moderator for an invitation and log in once with \
             --invitation CODE; a token that was revoked is replaced by `echomesh account token new`",
        ),
        StatusCode::StatusRegistrationClosed => (
            Failure::Credentials,
            "there is no account of this name, and the server makes none by itself",
            "ask a moderator for an invitation, and log in once with --invitation CODE",
        ),
        StatusCode::StatusNameInvalid => {
            (Failure::Credentials, "no account can have this name", "choose another --user")
        }
        StatusCode::StatusBanned | StatusCode::StatusKicked => {
            (Failure::Refused, "a moderator keeps this account or address out", "ask the moderators")
        }
        StatusCode::StatusTryAgain | StatusCode::StatusLimit | StatusCode::StatusShuttingDown => {
            (Failure::Refused, "the server takes no more just now", "wait as long as it says, and try again")
        }
        StatusCode::StatusTlsRequired => {
            (Failure::Usage, "plaintext is for clients on the server's machine", "leave --plaintext away")
        }
        _ => (Failure::Refused, "the server does not let this account in", "tell its operator this sentence"),
    };
    Finding::fault("login", end, format!("the server refused it: {}", printable(message))).means(means).remedy(remedy)
}

fn hung_up(reason: DisconnectReason) -> Finding {
    let (check, remedy) = match reason {
        DisconnectReason::BadFrame | DisconnectReason::Malformed => {
            ("server", "ask the operator for name and port of the EchoMesh server; it says them at its start")
        }
        DisconnectReason::WrongAnswer => ("server", "update client and server to the same version"),
        DisconnectReason::Closed | DisconnectReason::TimedOut => {
            ("login", "look whether the port is another service's; else ask the operator to look at the server's log")
        }
    };
    Finding::fault(check, Failure::Connection, reason.to_string())
        .means("what answers there does not do what an EchoMesh server does")
        .remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: whatever the server says, there is something to do; who is at fault decides how the program ends.
    #[test]
    fn each_refusal_has_a_remedy() {
        for status in (0..=23).filter_map(|code| StatusCode::try_from(code).ok()) {
            assert!(!refused(status, "because").remedy.is_empty(), "{status:?}");
        }
        for reason in [
            DisconnectReason::Closed,
            DisconnectReason::BadFrame,
            DisconnectReason::Malformed,
            DisconnectReason::WrongAnswer,
            DisconnectReason::TimedOut,
        ] {
            assert!(!hung_up(reason).remedy.is_empty(), "{reason:?}");
        }
    }
}
