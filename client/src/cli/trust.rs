//! Whether to trust a server's certificate, and what was trusted before.
//!
//! Rules (docs/PROTOCOL.md): a certificate that the system's roots and the host name verify needs no
//! pin, and that server may never fall back to one. Otherwise its public key is pinned on first use
//! and a change is refused, as ssh does. `--fingerprint` trusts exactly one, and remembers nothing.
//! The file: one line a server, `HOST:PORT ca` or `HOST:PORT SHA256:HEX`; `#` begins a comment.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use super::failure::Failure;
use super::files::write_whole;

/// SHA-256 of a public key: SubjectPublicKeyInfo in DER, as RFC 7469 §2.4 pins it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of this SubjectPublicKeyInfo.
    pub fn of(public_key: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, public_key);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SHA256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    /// 64 hexadecimal digits of any case, colons allowed, `SHA256:` before them allowed.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no SHA-256 fingerprint: it has 64 hexadecimal digits");
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.strip_prefix("sha256:").unwrap_or(&lower);
        let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b':').collect();
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            let (high, low) = digit(0).zip(digit(1)).ok_or_else(wrong)?;
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(bytes))
    }
}

/// What is remembered of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A certificate authority vouched for it once.
    Authority,
    /// It showed this public key on first use.
    Pinned(Fingerprint),
}

/// What to do about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Trusted,
    /// Go on, and remember this once the handshake is done.
    Remember(Known),
    /// Hang up, with a sentence that says what to do.
    Refused(String),
}

/// What the person demands or allows for one connection.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `HOST:PORT`.
    pub server: String,
    /// `--fingerprint`.
    pub fingerprint: Option<Fingerprint>,
    /// What is remembered.
    pub known: Option<Known>,
    /// Shown in refusals.
    pub file: String,
}

impl Policy {
    /// Judges a certificate; `verified` is whether the system's roots and the host name verify it.
    pub fn judge(&self, shown: Fingerprint, verified: bool) -> Verdict {
        let Self { server, file, .. } = self;
        if let Some(wanted) = self.fingerprint {
            if shown == wanted {
                return Verdict::Trusted;
            }
            return Verdict::Refused(format!(
                "the key of {server} is not the one asked for.\n  wanted  {wanted}\n  shown   {shown}\n\
                 If the server has a new key, ask its operator for the new fingerprint."
            ));
        }
        match (verified, self.known) {
            (true, Some(Known::Authority)) => Verdict::Trusted,
            (true, _) => Verdict::Remember(Known::Authority),
            (false, None) => Verdict::Remember(Known::Pinned(shown)),
            (false, Some(Known::Pinned(pinned))) if pinned == shown => Verdict::Trusted,
            (false, Some(Known::Pinned(pinned))) => Verdict::Refused(format!(
                "THE KEY OF {server} HAS CHANGED. Someone may be listening in, or the operator made a new \
                 one.\n  known  {pinned}\n  shown  {shown}\nAsk the operator for the fingerprint the server prints \
                 at its start. If it is the one shown, delete the line of {server} from {file} and connect again."
            )),
            (false, Some(Known::Authority)) => Verdict::Refused(format!(
                "the certificate of {server} cannot be verified any more, though an authority vouched for it \
                 before.\n  shown  {shown}\nSomeone may be listening in, or it has expired. Ask the operator. If \
                 the server has given up that certificate on purpose, delete the line of {server} from {file}."
            )),
        }
    }
}

/// The file of known servers.
#[derive(Debug, Default)]
pub struct KnownServers {
    servers: BTreeMap<String, Known>,
}

impl KnownServers {
    /// Reads the file; none is an empty one.
    ///
    /// # Errors
    /// `Failure::Trust` if it cannot be read or understood: trusting anew would defeat its purpose.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(Failure::Trust(format!("cannot read the known servers, {}: {error}", path.display())));
            }
        };
        let mut servers = BTreeMap::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = parse_line(line).ok_or_else(|| {
                Failure::Trust(format!(
                    "{} line {number} cannot be understood: correct it or delete it",
                    path.display()
                ))
            })?;
            servers.insert(entry.0, entry.1);
        }
        Ok(Self { servers })
    }

    /// What is known of `HOST:PORT`.
    pub fn get(&self, server: &str) -> Option<Known> {
        self.servers.get(server).copied()
    }

    /// Remembers a server: reads the file again, so that another client's line is kept, and replaces it
    /// as a whole, so that a crash leaves the old or the new one.
    ///
    /// # Errors
    /// `Failure::Trust` if it cannot be written.
    pub fn remember(path: &Path, server: &str, known: Known) -> Result<(), Failure> {
        let mut all = Self::read(path)?;
        all.servers.insert(server.to_owned(), known);
        let mut text = String::from("# Servers that echomesh trusts: delete a line to forget one.\n");
        for (server, known) in &all.servers {
            match known {
                Known::Authority => text.push_str(&format!("{server} ca\n")),
                Known::Pinned(fingerprint) => text.push_str(&format!("{server} {fingerprint}\n")),
            }
        }
        write_whole(path, &text)
            .map_err(|error| Failure::Trust(format!("cannot write the known servers, {}: {error}", path.display())))
    }
}

fn parse_line(line: &str) -> Option<(String, Known)> {
    let (server, known) = line.split_once(char::is_whitespace)?;
    let known = match known.trim() {
        "ca" => Known::Authority,
        pin if pin.starts_with("SHA256:") => Known::Pinned(pin.parse().ok()?),
        _ => return None,
    };
    Some((server.to_owned(), known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(known: Option<Known>) -> Policy {
        Policy { server: "voice.example:8888".into(), fingerprint: None, known, file: "/known".into() }
    }

    fn print(byte: u8) -> Fingerprint {
        Fingerprint([byte; 32])
    }

    /// Goal: the rules of trust, each case once: first use, same, changed, authority, its loss.
    #[test]
    fn a_pin_holds_and_an_authority_is_never_given_up() {
        let pinned = Known::Pinned(print(1));
        assert_eq!(policy(None).judge(print(1), false), Verdict::Remember(pinned));
        assert_eq!(policy(Some(pinned)).judge(print(1), false), Verdict::Trusted);
        let Verdict::Refused(changed) = policy(Some(pinned)).judge(print(2), false) else { panic!("changed") };
        assert!(changed.contains("CHANGED") && changed.contains("/known") && changed.contains(&print(2).to_string()));
        assert_eq!(policy(None).judge(print(1), true), Verdict::Remember(Known::Authority));
        assert_eq!(policy(Some(pinned)).judge(print(2), true), Verdict::Remember(Known::Authority));
        assert_eq!(policy(Some(Known::Authority)).judge(print(3), true), Verdict::Trusted);
        assert!(matches!(policy(Some(Known::Authority)).judge(print(1), false), Verdict::Refused(_)));
    }

    /// Goal: a demanded fingerprint is the only thing that counts, even against an authority.
    #[test]
    fn a_demanded_fingerprint_decides_alone() {
        let demanding = Policy { fingerprint: Some(print(7)), ..policy(Some(Known::Authority)) };
        assert_eq!(demanding.judge(print(7), false), Verdict::Trusted);
        assert!(matches!(demanding.judge(print(8), true), Verdict::Refused(_)));
    }

    /// Goal: what is remembered is found again, beside what others wrote, and only its owner reads it.
    #[test]
    fn the_file_keeps_all_servers() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("echomesh/known_servers");
        assert_eq!(KnownServers::read(&path).unwrap().get("a:1"), None);
        KnownServers::remember(&path, "a:1", Known::Pinned(print(0xA5))).unwrap();
        KnownServers::remember(&path, "[::1]:2", Known::Authority).unwrap();
        KnownServers::remember(&path, "a:1", Known::Pinned(print(0x5A))).unwrap();
        let known = KnownServers::read(&path).unwrap();
        assert_eq!(known.get("a:1"), Some(Known::Pinned(print(0x5A))));
        assert_eq!(known.get("[::1]:2"), Some(Known::Authority));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// Goal: a damaged file is never taken for "nothing known".
    #[test]
    fn a_damaged_file_trusts_nobody() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("known_servers");
        for damaged in ["a:1\n", "a:1 SHA256:12\n", "a:1 maybe\n", "# fine\nb:2 ca\nx\n"] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(KnownServers::read(&path), Err(Failure::Trust(_))), "{damaged:?}");
            assert!(KnownServers::remember(&path, "c:3", Known::Authority).is_err());
        }
    }

    /// Goal: fingerprints are taken as servers and openssl print them.
    #[test]
    fn fingerprints_are_read_in_usual_forms() {
        let plain = "ab".repeat(32);
        let colons = "AB:".repeat(32);
        for text in [plain.clone(), format!("sha256:{plain}"), colons.trim_end_matches(':').into()] {
            assert_eq!(text.parse::<Fingerprint>().unwrap(), print(0xAB));
        }
        assert!("abc".parse::<Fingerprint>().is_err());
        assert!("zz".repeat(32).parse::<Fingerprint>().is_err());
        assert!("é".repeat(32).parse::<Fingerprint>().is_err());
    }
}
