//! Settings: flags, then environment, then the TOML file, then defaults; one name for each everywhere.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Deserialize;

/// Voice and chat server: one io_uring shard per core.
///
/// Without flags it listens on TCP and UDP port 8888 of all addresses, keeps its data in
/// ~/.local/share/echomesh-server (or $STATE_DIRECTORY), makes a self-signed certificate at the first
/// start and prints its fingerprint, and lets the first login with an unused name make the account.
#[derive(Debug, Default, Parser)]
#[command(name = "echomesh-server", version, max_term_width = 100)]
pub struct Flags {
    /// TOML file with these same names [default: config.toml in the data directory, if there]
    #[arg(long, env = "ECHOMESH_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// Every setting, unset unless given.
#[derive(Debug, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Address to listen on [default: all, IPv6 and IPv4]
    #[arg(long, env = "ECHOMESH_ADDRESS", value_name = "IP")]
    address: Option<IpAddr>,
    /// TCP port of the control protocol; 0 takes a free one [default: 8888]
    #[arg(long, env = "ECHOMESH_PORT")]
    port: Option<u16>,
    /// UDP port of voice [default: the same number as --port]
    #[arg(long, env = "ECHOMESH_VOICE_PORT", value_name = "PORT")]
    voice_port: Option<u16>,
    /// Shards, each a thread pinned to a core, 1 to 64 [default: one per core]
    #[arg(long, env = "ECHOMESH_SHARDS", value_name = "N")]
    shards: Option<u8>,
    /// Where database, certificate and lock live
    #[arg(long, env = "ECHOMESH_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Who may make accounts [default: open]
    #[arg(long, env = "ECHOMESH_REGISTRATION", value_enum)]
    registration: Option<Registration>,
    /// Name shown to clients [default: EchoMesh]
    #[arg(long, env = "ECHOMESH_SERVER_NAME", value_name = "NAME")]
    server_name: Option<String>,
    /// Voice streams a room has on one shard before it spreads to the next [default: 256]
    #[arg(long, env = "ECHOMESH_SPREAD_AFTER", value_name = "N")]
    spread_after: Option<u32>,
    /// Allow plaintext from anywhere, not only between loopback addresses [default: false]
    #[arg(long, env = "ECHOMESH_PLAINTEXT_ANYWHERE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    plaintext_anywhere: Option<bool>,
    /// Certificate chain, PEM [default: self-signed, made at the first start]
    #[arg(long, env = "ECHOMESH_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert, PEM
    #[arg(long, env = "ECHOMESH_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Do not pin shards to cores [default: false]
    #[arg(long, env = "ECHOMESH_NO_PIN", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    no_pin: Option<bool>,
    /// What to log: error, warn, info, debug or a tracing filter [default: info]
    #[arg(long, env = "ECHOMESH_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How to log, on standard error [default: text]
    #[arg(long, env = "ECHOMESH_LOG_FORMAT", value_enum)]
    log_format: Option<LogFormat>,
}

/// Who may make accounts.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Registration {
    /// The first login with an unused name makes the account.
    Open,
    /// Only accounts that exist.
    Closed,
}

/// How to log.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Every setting, settled.
#[derive(Debug)]
pub struct Config {
    pub address: Option<IpAddr>,
    pub port: u16,
    pub voice_port: Option<u16>,
    pub shards: u8,
    pub data_dir: PathBuf,
    pub registration: Registration,
    pub server_name: String,
    pub spread_after: u32,
    pub plaintext_anywhere: bool,
    /// Certificate and key files.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub pin: bool,
    pub log: String,
    pub log_format: LogFormat,
}

/// Settles flags (the environment is in them) and file. The error says what to change.
pub fn settle(flags: Flags) -> Result<Config, String> {
    let given = flags.settings;
    let data_dir = given.data_dir.clone().map_or_else(default_data_dir, Ok)?;
    let (path, required) = match flags.config {
        Some(path) => (path, true),
        None => (data_dir.join("config.toml"), false),
    };
    let file = match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text).map_err(|error| format!("in {}: {error}", path.display()))?,
        Err(error) if required => return Err(format!("cannot read the config file {}: {error}", path.display())),
        Err(_) => Settings::default(),
    };
    let shards = given.shards.or(file.shards).unwrap_or_else(default_shards);
    if !(1..=echomesh_proto::limits::SHARDS_MAX).contains(&usize::from(shards)) {
        return Err(format!("shards is {shards}: it must be 1 to {}", echomesh_proto::limits::SHARDS_MAX));
    }
    Ok(Config {
        address: given.address.or(file.address),
        port: given.port.or(file.port).unwrap_or(8888),
        voice_port: given.voice_port.or(file.voice_port),
        shards,
        data_dir: given.data_dir.or(file.data_dir).unwrap_or(data_dir),
        registration: given.registration.or(file.registration).unwrap_or(Registration::Open),
        server_name: given.server_name.or(file.server_name).unwrap_or_else(|| "EchoMesh".to_owned()),
        spread_after: given.spread_after.or(file.spread_after).unwrap_or(256),
        plaintext_anywhere: given.plaintext_anywhere.or(file.plaintext_anywhere).unwrap_or(false),
        tls: given.tls_cert.or(file.tls_cert).zip(given.tls_key.or(file.tls_key)),
        pin: !given.no_pin.or(file.no_pin).unwrap_or(false),
        log: given.log.or(file.log).unwrap_or_else(|| "info".to_owned()),
        log_format: given.log_format.or(file.log_format).unwrap_or(LogFormat::Text),
    })
}

fn parse(text: &str) -> Result<Settings, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn default_shards() -> u8 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.min(echomesh_proto::limits::SHARDS_MAX) as u8
}

/// systemd's, then XDG's.
fn default_data_dir() -> Result<PathBuf, String> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("STATE_DIRECTORY")
        .or_else(|| of("XDG_DATA_HOME").map(|home| home.join("echomesh-server")))
        .or_else(|| of("HOME").map(|home| home.join(".local/share/echomesh-server")))
        .ok_or_else(|| "there is no HOME to keep data in: give --data-dir".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: flags win over the file, the file over defaults.
    #[test]
    fn flags_win_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        std::fs::write(&path, "port = 9000\nserver-name = \"Club\"\nregistration = \"closed\"\n").unwrap();
        let arguments = ["x", "--port", "9001", "--config", path.to_str().unwrap(), "--data-dir", "/nowhere"];
        let config = settle(Flags::parse_from(arguments)).unwrap();
        assert_eq!((config.port, config.server_name.as_str()), (9001, "Club"));
        assert_eq!((config.registration, config.spread_after), (Registration::Closed, 256));
    }

    /// Goal: a misspelt key is refused, with the keys there are.
    #[test]
    fn unknown_keys_are_refused() {
        let error = parse("prot = 1").err().unwrap();
        assert!(error.contains("prot") && error.contains("`port`"), "{error}");
    }
}
