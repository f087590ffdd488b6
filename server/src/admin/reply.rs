//! Answers of the admin listener, with the headers that keep a browser to the rules: nothing from elsewhere runs in the
//! page, nobody frames it, and what it shows is not kept.
//!
//! Source: Content Security Policy Level 3, Fetch (nosniff), RFC 9111 §5.2.2.5 (no-store).

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

/// What is sent.
pub type Reply = Response<Full<Bytes>>;

/// With every answer.
const ALWAYS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
];

/// Prometheus's text format.
pub const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Sentences.
const TEXT: &str = "text/plain; charset=utf-8";

fn reply(status: StatusCode, content_type: &'static str, cache: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

/// A file of the page: asked for anew by each version of the server.
pub fn file(content_type: &'static str, body: &'static [u8]) -> Reply {
    reply(StatusCode::OK, content_type, "no-cache", body)
}

/// The metrics.
pub fn metrics(text: String) -> Reply {
    reply(StatusCode::OK, METRICS, "no-store", text)
}

/// A sentence.
pub fn text(status: StatusCode, sentence: &str) -> Reply {
    reply(status, TEXT, "no-store", format!("{sentence}\n"))
}

/// Data for the page.
pub fn data(value: &impl Serialize) -> Reply {
    let text = serde_json::to_string(value).expect("plain data is JSON");
    reply(StatusCode::OK, "application/json", "no-store", text)
}

/// Why the page does not get what it wants, in a sentence for whoever sits before it.
pub fn refusal(status: StatusCode, sentence: &str) -> Reply {
    let text = json!({ "message": sentence }).to_string();
    reply(status, "application/json", "no-store", text)
}

/// The same, and when to try again.
pub fn refusal_until(status: StatusCode, sentence: &str, wait: Duration) -> Reply {
    let mut response = refusal(status, sentence);
    let seconds = wait.as_millis().div_ceil(1_000).max(1) as u64;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}
