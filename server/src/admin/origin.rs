//! Whether a request comes from the page itself, and to a name that is this server's.
//!
//! Another site in the same browser may send requests here. Its own page would have to be at our origin to read the
//! answers (so its name, pointed at 127.0.0.1, is not taken for ours), and its requests carry another `Origin`.
//! On loopback the page is at an address or `localhost`, under any port (a tunnel has its own), or at the name that the
//! operator gave. Elsewhere TLS binds name and key, so any name is taken.
//! Source: RFC 6454 (Origin), RFC 9110 §7.2 (Host), Fetch Metadata.

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};

/// What browsers say of where a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names this page may have.
#[derive(Clone, Debug)]
pub struct Names {
    /// Any, for TLS has looked at it.
    pub any: bool,
    /// What the operator's proxy is called.
    pub given: Option<String>,
}

impl Names {
    /// Whether the request is to a name of ours.
    pub fn include_host_of(&self, headers: &HeaderMap) -> bool {
        let Some(host) = text(headers, &HOST) else { return false };
        let name = without_port(host);
        let is_given = self.given.as_ref().is_some_and(|given| given.eq_ignore_ascii_case(name));
        let is_local = name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]";
        self.any || is_local || is_given
    }
}

/// Whether a request that changes something was made by the page: JSON, which no form sends, and from our own origin.
pub fn is_own(headers: &HeaderMap) -> bool {
    let is_json = text(headers, &CONTENT_TYPE).is_some_and(|kind| kind.split(';').next() == Some("application/json"));
    let host = text(headers, &HOST);
    let same_origin = text(headers, &ORIGIN).is_none_or(|origin| {
        let (_, of_origin) = origin.split_once("://").unwrap_or_default();
        host.is_some_and(|host| host.eq_ignore_ascii_case(of_origin))
    });
    is_json && same_origin && is_same_site(headers)
}

/// Whether the browser, if it is one that says, says that our own page asks.
pub fn is_same_site(headers: &HeaderMap) -> bool {
    text(headers, &FETCH_SITE).is_none_or(|site| site == "same-origin")
}

/// Whether the page was fetched over TLS, ours or a proxy's.
pub fn is_secure(headers: &HeaderMap) -> bool {
    text(headers, &ORIGIN).is_some_and(|origin| origin.starts_with("https://"))
}

/// A header's value.
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    /// Goal: on loopback a name that somebody points at 127.0.0.1 is not ours; addresses, tunnels and the operator's
    /// own name are.
    #[test]
    fn names_on_loopback_are_known() {
        let names = Names { any: false, given: Some("voice.example".to_owned()) };
        let takes = |host: &str| names.include_host_of(&headers(&[(HOST, host)]));
        for host in ["127.0.0.1:8889", "localhost:9000", "LOCALHOST", "[::1]:8889", "[::1]", "voice.example"] {
            assert!(takes(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8889", "127.0.0.1.evil.example", "localhost.evil.example", ""] {
            assert!(!takes(host), "{host}");
        }
        assert!(!names.include_host_of(&headers(&[])));
        assert!(Names { any: true, given: None }.include_host_of(&headers(&[(HOST, "any.example")])));
    }

    /// Goal: what another site's page or form may send is not taken for the page's own.
    #[test]
    fn requests_of_other_sites_are_known() {
        let host = (HOST, "127.0.0.1:8889");
        let json = (CONTENT_TYPE, "application/json");
        let own = |more: &[(HeaderName, &str)]| is_own(&headers(&[&[host.clone(), json.clone()], more].concat()));
        assert!(own(&[]) && own(&[(ORIGIN, "http://127.0.0.1:8889"), (FETCH_SITE, "same-origin")]));
        for origin in ["http://127.0.0.1:8890", "http://evil.example", "null", "http://localhost:8889", ""] {
            assert!(!own(&[(ORIGIN, origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site", "none"] {
            assert!(!own(&[(FETCH_SITE, site)]), "{site}");
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            assert!(!is_own(&headers(&[host.clone(), (CONTENT_TYPE, kind)])), "{kind}");
        }
        assert!(!is_own(&headers(&[host])));
    }
}
