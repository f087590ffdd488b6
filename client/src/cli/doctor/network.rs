//! The way to the server: its name, its port, whether it is an EchoMesh server, and whose key it shows.
//!
//! Not the login, which `login` asks for once the server is trusted. Nothing is remembered of it.
//! Bounds: `LOOKUP_MAX` for the name, `CONNECT_MAX` for each of at most `ADDRESSES_MAX` addresses, `SHAKE_MAX` for TLS.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use rustls::CertificateError;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::finding::{Finding, Report};
use super::{login, voice};
use crate::cli::failure::Failure;
use crate::cli::settings::Settings;
use crate::cli::tls::Tls;
use crate::cli::transport::{Shaken, Transport, policy};
use crate::cli::trust::{Fingerprint, Known, Policy, Verdict};

/// Longest wait for the name's addresses.
const LOOKUP_MAX: Duration = Duration::from_secs(4);

/// Addresses that are tried, and the longest wait for each: together 6 s.
const ADDRESSES_MAX: usize = 3;
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Longest wait for a handshake.
const SHAKE_MAX: Duration = Duration::from_secs(4);

/// All that has to do with the server, as far as it goes.
pub async fn check(report: &mut Report, settings: &Settings, room: Option<&str>) {
    let Some(key) = way(report, settings).await else {
        return report.tell(Finding::skipped("login", "the server cannot be reached, or is not trusted"));
    };
    if settings.password.is_empty() && settings.token.is_empty() && !settings.guest {
        return report.tell(Finding::skipped("login", "there is no password and no token"));
    }
    // This very key, whatever is remembered: nothing is pinned on the way.
    let settings = Settings { fingerprint: key.or(settings.fingerprint), ..settings.clone() };
    let Some(mut link) = login::log_in(report, &settings).await else {
        return report.tell(Finding::skipped("voice", "nobody is logged in"));
    };
    voice::check(report, &mut link, room).await;
    link.close();
}

/// To a server that is trusted: its key, or `None` in it without TLS.
async fn way(report: &mut Report, settings: &Settings) -> Option<Option<Fingerprint>> {
    let addresses = addresses(report, settings).await?;
    let (stream, peer) = connect(report, settings, &addresses).await?;
    if settings.plaintext {
        report.tell(Finding::ok("trust", "plaintext to this machine: there is no key to look at"));
        return Some(None);
    }
    let local = |failure: Failure| Finding::fault("trust", Failure::Trust, failure.to_string());
    let (tls, policy) = match Tls::new(&settings.host).and_then(|tls| Ok((tls, policy(settings)?))) {
        Ok(both) => both,
        Err(failure) => {
            let finding = local(failure)
                .means("the server cannot be told from an impostor, so nothing connects")
                .remedy("correct the line that is named, or delete it");
            report.tell(finding);
            return None;
        }
    };
    let known = policy.clone();
    let shaken = timeout(SHAKE_MAX, Transport::shake(stream, peer, &tls, policy)).await;
    let shaken = shaken.unwrap_or_else(|_| Err(Failure::Connection("the server does not answer".to_owned())));
    match shaken {
        Ok(Shaken { transport, outcome, verdict }) => {
            transport.close();
            let Some((shown, verdict)) = verdict else {
                report.tell(no_server(settings, &outcome.err().unwrap_or(ErrorKind::InvalidData.into())));
                return None;
            };
            report.tell(Finding::ok("server", "speaks TLS 1.3"));
            let finding = trust(&known, shown, &verdict, tls.doubt());
            // A key that is not known is not told a password.
            let is_trusted = matches!(verdict, Verdict::Trusted | Verdict::Remember(Known::Authority));
            report.tell(finding);
            is_trusted.then_some(Some(shown))
        }
        Err(failure) => {
            report.tell(no_server(settings, &io::Error::other(failure.to_string())));
            None
        }
    }
}

async fn addresses(report: &mut Report, settings: &Settings) -> Option<Vec<SocketAddr>> {
    let host = settings.host.as_str();
    let found = timeout(LOOKUP_MAX, tokio::net::lookup_host((host, settings.port))).await;
    let found = found.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    match found.map(Iterator::collect::<Vec<_>>) {
        Ok(addresses) if !addresses.is_empty() => {
            let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            report.tell(Finding::ok("name", format!("{host} is {}", shown.join(", "))));
            Some(addresses)
        }
        outcome => {
            let error = outcome.err().map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
            let finding = Finding::fault("name", Failure::Connection, format!("{host} cannot be found: {error}"))
                .means("the name is wrong, or this machine asks no name server")
                .remedy(format!(
                    "look at the spelling; if `getent hosts {host}` finds nothing, but `ping 9.9.9.9` works, mend \
                     /etc/resolv.conf"
                ));
            report.tell(finding);
            None
        }
    }
}

async fn connect(
    report: &mut Report,
    settings: &Settings,
    addresses: &[SocketAddr],
) -> Option<(TcpStream, SocketAddr)> {
    let mut last = (addresses.first().copied()?, io::Error::from(ErrorKind::NotFound));
    for address in addresses.iter().take(ADDRESSES_MAX) {
        if settings.plaintext && !address.ip().to_canonical().is_loopback() {
            let finding = Finding::fault("connection", Failure::Usage, format!("{address} is not on this machine"))
                .means("plaintext would show the password to the network, and is refused")
                .remedy("leave --plaintext away: plaintext = true, ECHOMESH_PLAINTEXT");
            report.tell(finding);
            return None;
        }
        let connected = timeout(CONNECT_MAX, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                report.tell(match last.1.kind() {
                    ErrorKind::NotFound => Finding::ok("connection", format!("TCP to {address}")),
                    _ => Finding::warning("connection", format!("TCP to {address}, but not to {}: {}", last.0, last.1))
                        .means("each connection is late by that attempt")
                        .remedy(format!("take the address away that does not work, or name {} itself", address.ip())),
                });
                return Some((stream, *address));
            }
            Err(error) => last = (*address, error),
        }
    }
    report.tell(unreachable(&last.0, &last.1));
    None
}

fn unreachable(address: &SocketAddr, error: &io::Error) -> Finding {
    let port = address.port();
    let (found, means, remedy) = match error.kind() {
        ErrorKind::ConnectionRefused => (
            "refuses the connection".to_owned(),
            "the machine is there, but nothing listens on that port",
            format!(
                "start the server (`systemctl start echomesh-server`), or name its port: --server HOST:PORT, not {port}"
            ),
        ),
        ErrorKind::TimedOut => (
            format!("does not answer within {} s", CONNECT_MAX.as_secs()),
            "a firewall drops what is sent, or the machine is off",
            format!("let TCP port {port} in at the server's firewall and router"),
        ),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => (
            format!("cannot be reached: {error}"),
            "this machine has no way to that network",
            "look at this machine's network: `ip route get` the address".to_owned(),
        ),
        _ => (
            format!("cannot be reached: {error}"),
            "there is no connection",
            "look at this machine's network and firewall".to_owned(),
        ),
    };
    Finding::fault("connection", Failure::Connection, format!("{address} {found}")).means(means).remedy(remedy)
}

/// What answers there, but not as a server of ours.
fn no_server(settings: &Settings, error: &io::Error) -> Finding {
    let means = match error.kind() {
        ErrorKind::TimedOut => "something takes the connection and says nothing: another service, or a busy server",
        _ => "something else listens on that port, or a proxy is between",
    };
    Finding::fault("server", Failure::Connection, format!("no TLS with {}: {error}", settings.server()))
        .means(means)
        .remedy("ask the operator for name and port of the EchoMesh server; it says them at its start")
}

/// What is to be thought of the key that was shown.
fn trust(policy: &Policy, shown: Fingerprint, verdict: &Verdict, doubt: Option<rustls::Error>) -> Finding {
    let Policy { server, file, fingerprint, known } = policy;
    match (verdict, fingerprint, known) {
        (Verdict::Trusted, Some(_), _) => Finding::ok("trust", format!("the key is the one asked for, {shown}")),
        (Verdict::Trusted, None, Some(Known::Pinned(_))) => Finding::ok("trust", format!("the known key, {shown}")),
        (Verdict::Trusted | Verdict::Remember(Known::Authority), ..) => {
            Finding::ok("trust", "an authority that this system trusts vouches for it")
        }
        (Verdict::Remember(Known::Pinned(_)), ..) => {
            let why = doubt.as_ref().and_then(authority_problem);
            let found = why.map_or_else(String::new, |why| format!(", and its certificate {why}"));
            Finding::warning("trust", format!("the key {shown} is not known yet{found}"))
                .means("whoever answers there is trusted at the first login; no password was sent")
                .remedy(format!(
                    "compare it with what the server printed at its start; if it is the same, `echomesh whoami` \
                     remembers it, and `echomesh doctor --fingerprint {shown}` looks at the rest now"
                ))
        }
        (Verdict::Refused(_), Some(wanted), _) => {
            Finding::fault("trust", Failure::Trust, format!("the fingerprint {wanted} was asked for, {shown} is shown"))
                .means("another server answers, the server has a new key, or the fingerprint was copied wrongly")
                .remedy("ask the operator for the fingerprint that the server prints at its start, and set that one")
        }
        (Verdict::Refused(_), None, Some(Known::Authority)) => {
            let why = doubt.as_ref().and_then(authority_problem).unwrap_or("is vouched for by no authority any more");
            Finding::fault("trust", Failure::Trust, format!("the certificate of {server} {why}"))
                .means("the server did not renew it, this machine's clock is wrong, or someone is between")
                .remedy(format!(
                    "look at `date`; if it is right, ask the operator to renew the certificate; only if it was given \
                     up on purpose, delete the line of {server} from {file}"
                ))
        }
        (Verdict::Refused(_), ..) => Finding::fault(
            "trust",
            Failure::Trust,
            format!("the key of {server} has changed to {shown}"),
        )
        .means("someone may be listening in, or the operator made a new one")
        .remedy(format!(
            "ask the operator for the fingerprint; if it is the one shown, delete the line of {server} from {file}"
        )),
    }
}

/// Of a certificate that an authority made: one that nobody made is no surprise.
fn authority_problem(doubt: &rustls::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(error) = doubt else { return None };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Some("has expired"),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Some("is not valid yet"),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some("is for another name")
        }
        CertificateError::Revoked => Some("was revoked"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict as How;
    use super::*;

    fn policy(fingerprint: Option<Fingerprint>, known: Option<Known>) -> Policy {
        Policy { server: "voice.example:8888".into(), fingerprint, known, file: "/known".into() }
    }

    /// Goal: each way to be trusted or not is told apart, and what is wrong has a remedy.
    #[test]
    fn trust_is_told_by_its_reason() {
        let (shown, other) = (Fingerprint::of(b"shown"), Fingerprint::of(b"other"));
        let expired = Some(rustls::Error::InvalidCertificate(CertificateError::Expired));
        let told = |policy: Policy, verified: bool, doubt| trust(&policy, shown, &policy.judge(shown, verified), doubt);
        for (finding, how, word) in [
            (told(policy(None, None), false, None), How::Warning, "not known yet"),
            (told(policy(None, None), false, expired.clone()), How::Warning, "expired"),
            (told(policy(None, None), true, None), How::Ok, "authority"),
            (told(policy(None, Some(Known::Pinned(shown))), false, None), How::Ok, "known key"),
            (told(policy(None, Some(Known::Pinned(other))), false, None), How::Fault, "has changed"),
            (told(policy(None, Some(Known::Authority)), false, expired), How::Fault, "expired"),
            (told(policy(None, Some(Known::Authority)), false, None), How::Fault, "no authority"),
            (told(policy(Some(other), None), true, None), How::Fault, "asked for"),
            (told(policy(Some(shown), None), false, None), How::Ok, "asked for"),
        ] {
            assert_eq!(finding.verdict, how, "{finding:?}");
            assert!(finding.found.contains(word), "{finding:?}");
            assert_eq!(finding.remedy.is_empty(), how == How::Ok, "{finding:?}");
        }
    }

    /// Goal: a port that is closed, one that is filtered and a missing route are three things.
    #[test]
    fn what_cannot_be_reached_says_why() {
        let address = SocketAddr::from(([192, 0, 2, 1], 8888));
        let told = |kind: ErrorKind| unreachable(&address, &kind.into()).remedy;
        assert!(told(ErrorKind::ConnectionRefused).contains("start the server"));
        assert!(told(ErrorKind::TimedOut).contains("firewall"));
        assert!(told(ErrorKind::NetworkUnreachable).contains("ip route"));
    }
}
