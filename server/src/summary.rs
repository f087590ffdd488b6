//! What the operator reads at the start, on standard output; its last line is for scripts too.

use std::fmt;
use std::net::SocketAddr;

use crate::config::Config;
use crate::store::Place;
use crate::uring::Features;

/// All there is to say.
#[derive(Debug)]
pub struct Summary<'a> {
    /// The settings.
    pub config: &'a Config,
    /// What io_uring offers.
    pub features: &'a Features,
    /// Of each shard, its core's number; empty if they are not pinned.
    pub cores: &'a [usize],
    /// SHA-256 of the certificate, hexadecimal.
    pub fingerprint: &'a str,
    /// At the first start only.
    pub claim_code: Option<&'a str>,
    /// Rooms in the store.
    pub rooms: usize,
    /// Limits that are too low.
    pub advice: &'a [String],
    /// Where TCP listens.
    pub address: SocketAddr,
    /// Where voice arrives.
    pub voice_port: u16,
    /// Where the admin page is.
    pub admin: Option<&'a str>,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config;
        writeln!(f, "EchoMesh {}, {}", env!("CARGO_PKG_VERSION"), config.server_name)?;
        writeln!(f, "  shards       {}, {}", config.shards, self.placement())?;
        writeln!(f, "  control      {} (TLS 1.3; plaintext {})", self.address, self.plaintext())?;
        writeln!(f, "  voice        UDP port {} (SRTP)", self.voice_port)?;
        if let Some(url) = self.admin {
            writeln!(f, "  admin page   {url}")?;
            writeln!(f, "  metrics      {url}metrics")?;
        }
        let origin = if config.tls.is_some() { "your certificate" } else { "self-signed: tell it to your users" };
        writeln!(f, "  fingerprint  SHA256:{} ({origin})", self.fingerprint)?;
        if let Some(code) = self.claim_code {
            writeln!(f, "  claim code   {code} (told once: `echomesh claim {code}` makes you the owner)")?;
        }
        writeln!(f, "  data         {} ({} rooms)", config.data_dir.display(), self.rooms)?;
        if let Place::Postgres(_) = config.database {
            writeln!(f, "  database     {}", config.database)?;
        }
        if let Some(file) = &config.file {
            writeln!(f, "  settings     {}", file.display())?;
        }
        writeln!(f, "  kernel       {}", self.features)?;
        for sentence in self.advice {
            writeln!(f, "  limit        {sentence}")?;
        }
        writeln!(f, "listening on {} (voice udp {})", self.address, self.voice_port)
    }
}

impl Summary<'_> {
    fn placement(&self) -> String {
        if self.cores.is_empty() {
            return "not pinned".to_owned();
        }
        let cores: Vec<String> = self.cores.iter().map(usize::to_string).collect();
        format!("pinned to core {}", cores.join(", "))
    }

    fn plaintext(&self) -> &'static str {
        if self.config.plaintext_anywhere { "from ANYWHERE: passwords can be read" } else { "from this machine only" }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Flags;

    /// Goal: an operator finds what a client needs, and scripts find the last line.
    #[test]
    fn the_summary_tells_what_a_client_needs() {
        let flags = Flags::parse_from(["echomesh-server", "--data-dir", "/srv/echomesh", "--shards", "2"]);
        let config = crate::config::settle(flags).unwrap();
        let features = crate::uring::probe().unwrap();
        let summary = Summary {
            config: &config,
            features: &features,
            cores: &[0, 1],
            fingerprint: "ab12",
            claim_code: Some("c0de"),
            rooms: 3,
            advice: &["open files: 64".to_owned()],
            address: "[::1]:4000".parse().unwrap(),
            voice_port: 4001,
            admin: Some("http://127.0.0.1:9100/"),
        };
        let text = summary.to_string();
        for part in [
            "SHA256:ab12",
            "echomesh claim c0de",
            "/srv/echomesh (3 rooms)",
            "core 0, 1",
            "open files: 64",
            "http://127.0.0.1:9100/metrics",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.ends_with("\nlistening on [::1]:4000 (voice udp 4001)\n"), "{text}");
    }
}
