//! The admin listener's requests, and what each is answered.
//!
//! Open: the metrics, health, and the files of the page, which show a login form and no more. For who is logged in:
//! the state, and acts. A session is looked up by cookie and token; its account's role is asked of the kernel every two
//! seconds, so that who is no admin any more is out. What changes something has to come from the page itself.
//! Bounds: `BODY_BYTES_MAX` of a request's body.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use echomesh_proto::control::{Body, Role, StatusCode as Code, Who};
use echomesh_shard::rights::role_name;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{COOKIE, HeaderName, HeaderValue, SET_COOKIE};
use hyper::{HeaderMap, Method, Request, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::control::{Control, LoginFailure, ask};
use super::reply::{self, Reply, data, refusal, refusal_until};
use super::sessions::{Admin, Secret};
use super::state::Wish;
use super::{Desk, acts, origin, page};
use crate::ending::Phase;

/// Most of a request's body: a name, a password or a reason.
const BODY_BYTES_MAX: usize = 8 * 1024;

/// Longest filter.
const FILTER_BYTES_MAX: usize = 64;

/// Where the page puts its token.
const TOKEN: HeaderName = HeaderName::from_static("x-echomesh-token");

/// Name of the cookie.
const COOKIE_NAME: &str = "echomesh-admin";

const LOG_IN: &str = "log in first";
const ENDED: &str = "you are logged out: the server ended your session, or was started again";
const FOREIGN: &str = "this request does not come from the admin page: open the page itself";
const NOT_ADMIN: &str = "only admins and owners of this server may enter";

/// An answer that ends the matter.
type Refusal = Box<Reply>;

/// What becomes of a request.
pub async fn answer(request: Request<Incoming>, peer: SocketAddr, desk: &Desk) -> Reply {
    let method = request.method().clone();
    let is_read = method == Method::GET || method == Method::HEAD;
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/metrics" | "/healthz" | "/readyz" if is_read => return open(&path, desk),
        _ => {}
    }
    if !desk.names.include_host_of(request.headers()) {
        let sentence = "this page has no such name: open it as localhost or 127.0.0.1, through `ssh -L` if it is on \
                        another machine; behind a proxy, set --admin-host";
        return reply::text(StatusCode::MISDIRECTED_REQUEST, sentence);
    }
    match (method.as_str(), path.as_str()) {
        ("GET" | "HEAD", path) if page::get(path).is_some() => page::get(path).expect("it was there"),
        ("GET", "/api/state") => state(request.headers(), request.uri().query().unwrap_or_default(), desk).await,
        ("POST", "/api/login" | "/api/logout" | "/api/act" | "/api/drain") => change(request, &path, peer, desk).await,
        _ => reply::text(StatusCode::NOT_FOUND, "not found: the page is at /, the figures are at /metrics"),
    }
}

fn open(path: &str, desk: &Desk) -> Reply {
    let known = match path {
        "/metrics" => return reply::metrics(desk.board.text()),
        "/healthz" => desk.condition.health(),
        _ => desk.condition.ready(),
    };
    match known {
        Ok(()) => reply::text(StatusCode::OK, "ok"),
        Err(sentence) => reply::text(StatusCode::SERVICE_UNAVAILABLE, sentence),
    }
}

async fn change(request: Request<Incoming>, path: &str, peer: SocketAddr, desk: &Desk) -> Reply {
    if !origin::is_own(request.headers()) {
        return refusal(StatusCode::FORBIDDEN, FOREIGN);
    }
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "that is too long");
    };
    let body = body.to_bytes();
    if path == "/api/login" {
        return match read(&body) {
            Ok(login) => log_in(login, &head.headers, peer, desk).await,
            Err(refused) => *refused,
        };
    }
    let admin = match logged_in(&head.headers, desk).await {
        Ok(admin) => admin,
        Err(refused) => return *refused,
    };
    match path {
        "/api/logout" => {
            desk.sessions.lock().await.close(&admin.control);
            let mut response = data(&serde_json::json!({ "message": "you are logged out" }));
            response.headers_mut().insert(SET_COOKIE, cookie("", "; Max-Age=0", &head.headers, desk));
            response
        }
        "/api/drain" => drain(&admin, desk).await,
        _ => match read::<acts::Act>(&body).map(acts::Act::moderation) {
            Ok(Ok(moderation)) => {
                let answer = asked(&admin.control, Body::Moderation(moderation), desk).await;
                answer.map_or_else(|refused| *refused, acts::outcome)
            }
            Ok(Err(sentence)) => refusal(StatusCode::BAD_REQUEST, sentence),
            Err(refused) => *refused,
        },
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|_| Box::new(refusal(StatusCode::BAD_REQUEST, "that makes no sense to the server: reload the page")))
}

/// A name and a password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    name: String,
    password: String,
}

async fn log_in(login: Login, headers: &HeaderMap, peer: SocketAddr, desk: &Desk) -> Reply {
    if let Err(wait) = desk.sessions.lock().await.attempt(Instant::now(), peer.ip()) {
        let sentence = format!("too many login attempts: try again in {} s", wait.as_millis().div_ceil(1_000));
        return refusal_until(StatusCode::TOO_MANY_REQUESTS, &sentence, wait);
    }
    let (control, who) = match desk.port.log_in(login.name, login.password).await {
        Ok(logged_in) => logged_in,
        Err(failure) => {
            tracing::info!(peer = %peer.ip(), "a login to the admin page was refused");
            return login_refused(failure);
        }
    };
    let (name, role) = (who.username.clone(), who.role());
    let opened = desk.sessions.lock().await.open(Instant::now(), who, control);
    let Ok((cookie_secret, token)) = opened else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "the system gives no random bytes");
    };
    tracing::info!(peer = %peer.ip(), %name, "logged in to the admin page");
    let mut response = data(&serde_json::json!({ "name": name, "role": role_name(role), "token": token }));
    response.headers_mut().insert(SET_COOKIE, cookie(&cookie_secret, "", headers, desk));
    response
}

fn login_refused(failure: LoginFailure) -> Reply {
    match failure {
        LoginFailure::NotAdmin => refusal(StatusCode::FORBIDDEN, NOT_ADMIN),
        LoginFailure::Lost => refusal(StatusCode::SERVICE_UNAVAILABLE, "the server does not answer: try again"),
        LoginFailure::Refused(response) => {
            let wait = Duration::from_millis(response.retry_after_ms.into());
            match response.status_code() {
                Code::StatusTryAgain => refusal_until(StatusCode::TOO_MANY_REQUESTS, &response.message, wait),
                Code::StatusShuttingDown | Code::StatusLimit => {
                    refusal_until(StatusCode::SERVICE_UNAVAILABLE, &response.message, wait)
                }
                // Which names there are is nobody's business.
                Code::StatusNameInvalid | Code::StatusBadCredentials => {
                    refusal(StatusCode::UNAUTHORIZED, "wrong name or password")
                }
                _ => refusal(StatusCode::FORBIDDEN, &response.message),
            }
        }
    }
}

/// Scripts cannot read it, and no other site's request carries it.
fn cookie(secret: &str, end: &str, headers: &HeaderMap, desk: &Desk) -> HeaderValue {
    let secure = if desk.is_tls || origin::is_secure(headers) { "; Secure" } else { "" };
    let text = format!("{COOKIE_NAME}={secret}; HttpOnly; SameSite=Strict; Path=/{secure}{end}");
    HeaderValue::try_from(text).expect("hexadecimal digits are fit for a header")
}

/// The cookie and the token of a request.
fn secrets(headers: &HeaderMap) -> Option<(Secret, Secret)> {
    let token = origin::text(headers, &TOKEN)?;
    let mut cookies =
        headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    let cookie = cookies.find_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))?;
    Some((cookie.to_owned(), token.to_owned()))
}

/// Who asks, with the role the account has now.
async fn logged_in(headers: &HeaderMap, desk: &Desk) -> Result<Admin<Control>, Refusal> {
    let refused = || Box::new(refusal(StatusCode::UNAUTHORIZED, LOG_IN));
    let (cookie, token) = secrets(headers).ok_or_else(refused)?;
    let found = desk.sessions.lock().await.find(Instant::now(), &cookie, &token);
    let mut admin = found.ok_or_else(refused)?;
    // Who stops answers nothing new.
    if admin.is_due && desk.condition.phase() == Phase::Serving {
        admin.role = role_now(&admin.control, desk).await?;
    }
    Ok(admin)
}

/// The role that the account of this connection has; a session of one that is no admin ends.
async fn role_now(control: &Arc<Mutex<Control>>, desk: &Desk) -> Result<Role, Refusal> {
    match asked(control, Body::Who(Who::default()), desk).await? {
        Body::Who(who) if who.role() >= Role::Admin => {
            desk.sessions.lock().await.set_role(control, who.role());
            Ok(who.role())
        }
        _ => {
            desk.sessions.lock().await.close(control);
            Err(Box::new(refusal(StatusCode::UNAUTHORIZED, NOT_ADMIN)))
        }
    }
}

/// Asks the kernel. Without an answer the session is over.
async fn asked(control: &Arc<Mutex<Control>>, body: Body, desk: &Desk) -> Result<Body, Refusal> {
    match ask(control, body).await {
        Ok(answer) => Ok(answer),
        Err(_) => {
            desk.sessions.lock().await.close(control);
            Err(Box::new(refusal(StatusCode::UNAUTHORIZED, ENDED)))
        }
    }
}

async fn state(headers: &HeaderMap, query: &str, desk: &Desk) -> Reply {
    if !origin::is_same_site(headers) {
        return refusal(StatusCode::FORBIDDEN, FOREIGN);
    }
    match logged_in(headers, desk).await {
        Ok(admin) => data(&desk.state(&admin, &wish(query)).await),
        Err(refused) => *refused,
    }
}

/// `filter=` and `log=`; what is neither is ignored.
fn wish(query: &str) -> Wish {
    let mut wish = Wish::default();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "filter" => wish.filter = plain(value).to_lowercase(),
            "log" => wish.log_after = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    wish
}

/// A value as it was before `encodeURIComponent`, cut to its bound.
fn plain(encoded: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = encoded.as_bytes();
    while let Some((first, after)) = rest.split_first().filter(|_| bytes.len() < FILTER_BYTES_MAX) {
        let escaped = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Stops the server as SIGTERM does, by that signal.
async fn drain(admin: &Admin<Control>, desk: &Desk) -> Reply {
    match role_now(&admin.control, desk).await {
        Ok(Role::Owner) => {}
        Ok(_) => return refusal(StatusCode::FORBIDDEN, "only owners stop the server"),
        Err(refused) => return *refused,
    }
    tracing::warn!(name = %admin.name, "stopped from the admin page");
    match rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM) {
        Ok(()) => data(&serde_json::json!({ "message": "the server answers what was begun, and stops" })),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &format!("the system does not stop it: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a filter arrives as it was typed, and whatever else stands in a query does no harm.
    #[test]
    fn a_query_is_read() {
        let read = wish("filter=J%C3%BCrgen%20%26%2B&log=17&other=1&x");
        assert_eq!((read.filter.as_str(), read.log_after), ("jürgen &+", 17));
        for query in ["filter=%", "filter=%zz%4", "log=x", "=", "&&", "filter=%ff"] {
            wish(query);
        }
        assert_eq!(wish(&format!("filter={}", "x".repeat(1_000))).filter.len(), FILTER_BYTES_MAX);
    }
}
