//! How the program may fail: whose fault, what to do, and the exit code.

/// Shown by `--help`; the codes are stable.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the server refused the request
  2  wrong arguments or settings
  3  cannot connect, or the connection was lost
  4  the server's certificate or key is not trusted
  5  wrong user name or password, or no account
  6  an audio file or device cannot be used
  7  another local file or the system failed
  8  the program that read a bridge's output has ended";

/// Why the program ends without success. Each carries a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server refused a request.
    Refused(String),
    /// Arguments, environment or configuration file.
    Usage(String),
    /// No connection, or it was lost.
    Connection(String),
    /// The certificate.
    Trust(String),
    /// The login.
    Credentials(String),
    /// A WAV file or a sound device.
    Audio(String),
    /// Another local file, or the system.
    Local(String),
    /// The other end of a bridge.
    PeerEnded(String),
}

impl Failure {
    /// A file or device that cannot be used.
    pub fn audio(error: impl std::fmt::Display) -> Self {
        Self::Audio(error.to_string())
    }

    /// As [`EXIT_CODES`] says.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Refused(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Connection(_) => 3,
            Failure::Trust(_) => 4,
            Failure::Credentials(_) => 5,
            Failure::Audio(_) => 6,
            Failure::Local(_) => 7,
            Failure::PeerEnded(_) => 8,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Failure::Refused(text)
        | Failure::Usage(text)
        | Failure::Connection(text)
        | Failure::Trust(text)
        | Failure::Credentials(text)
        | Failure::Audio(text)
        | Failure::Local(text)
        | Failure::PeerEnded(text)) = self;
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each documented code belongs to one failure. Method: the codes of the help text, in order.
    #[test]
    fn every_failure_has_a_documented_code() {
        let all: [fn(String) -> Failure; 8] = [
            Failure::Refused,
            Failure::Usage,
            Failure::Connection,
            Failure::Trust,
            Failure::Credentials,
            Failure::Audio,
            Failure::Local,
            Failure::PeerEnded,
        ];
        for (failure, code) in all.iter().zip(1..) {
            assert_eq!(failure(String::new()).exit_code(), code);
            assert!(EXIT_CODES.contains(&format!("\n  {code}  ")));
        }
    }
}
