//! The settings as the server runs by them: flags, then environment (clap joins the two), then the
//! file, then defaults; checked once, here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use echomesh_proto::limits::SHARDS_MAX;
use echomesh_shard::Limits;

use crate::bounds;
use crate::cli::{AdminSetting, DatabaseUrl, Flags, LogFormat, Registration, Settings};
use crate::hash::{HashCost, MEMORY_KIB, PASSES};
use crate::start_error::StartError;
use crate::store::{Place, PostgresPlace};

/// TCP and UDP port of EchoMesh.
const PORT: u16 = 8888;

/// TCP port of the admin page, on loopback.
const ADMIN_PORT: u16 = 8889;

/// Voice streams on one shard before a room spreads: about what one core fans out (docs/ARCHITECTURE.md).
const SPREAD_AFTER: u32 = 256;

/// Longer than any request takes on a server that is well; and the most that makes sense.
const DRAIN_SECONDS: u32 = 5;
const DRAIN_SECONDS_MAX: u32 = 60;

/// The SQLite file in the data directory.
const DATABASE_FILE: &str = "echomesh.sqlite3";

/// Longest server name, bytes.
const SERVER_NAME_BYTES_MAX: usize = 64;

/// Read if no `--config` is given and the data directory has none.
const SYSTEM_FILE: &str = "/etc/echomesh/server.toml";

/// Every setting, settled.
#[derive(Debug)]
pub struct Config {
    /// Where to listen; `None` is everywhere.
    pub address: Option<IpAddr>,
    /// TCP; 0 takes a free one.
    pub port: u16,
    /// UDP; `None` is the same number as TCP.
    pub voice_port: Option<u16>,
    /// 1..=`SHARDS_MAX`.
    pub shards: u8,
    /// Where certificate and lock live, and the database by default.
    pub data_dir: PathBuf,
    /// Where accounts, rooms and chat are.
    pub database: Place,
    /// Who may make accounts.
    pub registration: Registration,
    /// Let people in without an account.
    pub guests: bool,
    /// Shown to clients.
    pub server_name: String,
    /// Voice streams a room has on one shard before it spreads, at least 1.
    pub spread_after: u32,
    /// Speakers heard at once in a room; 0: all.
    pub speakers_max: u32,
    /// Days that lines are kept where a room says nothing; 0: for ever.
    pub retention_days: u32,
    /// How long voice may wait on a busy shard; zero: not at all.
    pub voice_window: Duration,
    /// Allow plaintext between any addresses.
    pub plaintext_anywhere: bool,
    /// The operator's; `None` is self-signed.
    pub tls: Option<TlsFiles>,
    /// What hashing a new password costs.
    pub password: HashCost,
    /// Longest that answering what was begun may take at a stop.
    pub drain: Duration,
    /// What the shards bear.
    pub limits: Limits,
    /// Where the admin page and the metrics are.
    pub admin: AdminAddress,
    /// A name of the admin page besides its address.
    pub admin_host: Option<String>,
    /// Pin shards to cores.
    pub pin: bool,
    /// A tracing filter.
    pub log: String,
    /// How to log.
    pub log_format: LogFormat,
    /// The file that was read, for the summary.
    pub file: Option<PathBuf>,
}

/// Where the admin page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// Nowhere.
    Off,
    /// Where it is by default: if it can be.
    Default(SocketAddr),
    /// Where the operator wants it.
    Given(SocketAddr),
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Settles flags and file.
///
/// # Errors
/// The file cannot be read, or a setting is out of its bounds; the sentence says which and why.
pub fn settle(flags: Flags) -> Result<Config, StartError> {
    let own_file = || -> Option<PathBuf> {
        let data_dir = flags.settings.data_dir.clone().or_else(default_data_dir)?;
        [data_dir.join("server.toml"), PathBuf::from(SYSTEM_FILE)].into_iter().find(|path| path.exists())
    };
    let file = flags.config.clone().or_else(own_file);
    let written = file.as_deref().map_or_else(|| Ok(Settings::default()), read)?;
    let given = flags.settings.or(written);
    let shards = shards(given.shards)?;
    let limits = bounds::limits(&given, shards)?;
    let Some(data_dir) = given.data_dir.or_else(default_data_dir) else {
        return Err(StartError::Settings("there is no HOME to keep data in: give --data-dir".to_owned()));
    };
    Ok(Config {
        address: given.address,
        port: given.port.unwrap_or(PORT),
        voice_port: given.voice_port,
        shards,
        database: database(given.database, &data_dir)?,
        data_dir,
        registration: given.registration.unwrap_or(Registration::Open),
        guests: given.guests.unwrap_or(false),
        server_name: server_name(given.server_name)?,
        spread_after: spread_after(given.spread_after)?,
        speakers_max: given.speakers_max.unwrap_or(SPEAKERS_MAX),
        retention_days: given.retention_days.unwrap_or(0),
        voice_window: voice_window(given.voice_window_us)?,
        plaintext_anywhere: given.plaintext_anywhere.unwrap_or(false),
        tls: tls_files(given.tls_cert, given.tls_key)?,
        password: password(given.password_memory_kib, given.password_passes)?,
        drain: drain(given.drain_seconds)?,
        limits,
        admin: admin(given.admin),
        admin_host: given.admin_host,
        pin: !given.no_pin.unwrap_or(false),
        log: given.log.unwrap_or_else(|| "info".to_owned()),
        log_format: given.log_format.unwrap_or(LogFormat::Text),
        file,
    })
}

fn read(path: &Path) -> Result<Settings, StartError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| StartError::Settings(format!("cannot read the configuration {}: {error}", path.display())))?;
    Settings::parse(&text).map_err(|error| StartError::Settings(format!("in {}: {error}", path.display())))
}

fn database(given: Option<DatabaseUrl>, data_dir: &Path) -> Result<Place, StartError> {
    match given {
        None => Ok(Place::File(data_dir.join(DATABASE_FILE))),
        Some(DatabaseUrl(url)) => PostgresPlace::parse(&url).map(Place::Postgres).map_err(StartError::Settings),
    }
}

fn shards(given: Option<u8>) -> Result<u8, StartError> {
    match given {
        Some(shards) if (1..=SHARDS_MAX).contains(&usize::from(shards)) => Ok(shards),
        Some(shards) => Err(StartError::Settings(format!("shards is {shards}: it must be 1 to {SHARDS_MAX}"))),
        None => {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            Ok(u8::try_from(cores.min(SHARDS_MAX)).expect("SHARDS_MAX fits a byte"))
        }
    }
}

fn drain(given: Option<u32>) -> Result<Duration, StartError> {
    match given.unwrap_or(DRAIN_SECONDS) {
        seconds @ ..=DRAIN_SECONDS_MAX => Ok(Duration::from_secs(seconds.into())),
        seconds => {
            Err(StartError::Settings(format!("drain-seconds is {seconds}: it must be 0 to {DRAIN_SECONDS_MAX}")))
        }
    }
}

fn admin(given: Option<AdminSetting>) -> AdminAddress {
    match given {
        None => AdminAddress::Default(SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT))),
        Some(AdminSetting::Off) => AdminAddress::Off,
        Some(AdminSetting::At(address)) => AdminAddress::Given(address),
    }
}

fn server_name(given: Option<String>) -> Result<String, StartError> {
    let name = given.unwrap_or_else(|| "EchoMesh".to_owned());
    if name.is_empty() || name.len() > SERVER_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(StartError::Settings(format!(
            "server-name must be 1 to {SERVER_NAME_BYTES_MAX} bytes without control characters"
        )));
    }
    Ok(name)
}

/// Speakers of a room heard at once: more voices at a time nobody can follow.
const SPEAKERS_MAX: u32 = 8;

fn password(memory_kib: Option<u32>, passes: Option<u32>) -> Result<HashCost, StartError> {
    let default = HashCost::default();
    let (memory_kib, passes) = (memory_kib.unwrap_or(default.memory_kib), passes.unwrap_or(default.passes));
    let bounded = |name: &str, value: u32, bounds: RangeInclusive<u32>| {
        let (min, max) = (bounds.start(), bounds.end());
        let sentence = || StartError::Settings(format!("{name} is {value}: it must be {min} to {max}"));
        bounds.contains(&value).then_some(()).ok_or_else(sentence)
    };
    bounded("password-memory-kib", memory_kib, MEMORY_KIB)?;
    bounded("password-passes", passes, PASSES)?;
    Ok(HashCost { memory_kib, passes })
}

/// Two milliseconds fill messages well (docs/BENCHMARKS.md); more would be heard as delay for little.
const VOICE_WINDOW_US: u32 = 2_000;
const VOICE_WINDOW_US_MAX: u32 = 5_000;

fn voice_window(given: Option<u32>) -> Result<Duration, StartError> {
    match given.unwrap_or(VOICE_WINDOW_US) {
        us @ 0..=VOICE_WINDOW_US_MAX => Ok(Duration::from_micros(us.into())),
        us => Err(StartError::Settings(format!("voice-window-us is {us}: it must be 0 to {VOICE_WINDOW_US_MAX}"))),
    }
}

fn spread_after(given: Option<u32>) -> Result<u32, StartError> {
    match given.unwrap_or(SPREAD_AFTER) {
        0 => Err(StartError::Settings("spread-after is 0: it must be at least 1".to_owned())),
        streams => Ok(streams),
    }
}

fn tls_files(certificate: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<TlsFiles>, StartError> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (None, None) => Ok(None),
        _ => Err(StartError::Settings("tls-cert and tls-key go together: give both, or neither".to_owned())),
    }
}

/// systemd's, then XDG's (XDG Base Directory Specification).
fn default_data_dir() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("STATE_DIRECTORY")
        .or_else(|| of("XDG_DATA_HOME").map(|home| home.join("echomesh-server")))
        .or_else(|| of("HOME").map(|home| home.join(".local/share/echomesh-server")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn settled(data_dir: &Path, flags: &[&str]) -> Result<Config, StartError> {
        let always = ["echomesh-server", "--data-dir", data_dir.to_str().unwrap()];
        settle(Flags::try_parse_from(always.iter().chain(flags)).unwrap())
    }

    /// Goal: a flag wins over the file, the file over the default; the file in the data directory is
    /// found without being named.
    #[test]
    fn flags_win_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = "port = 9000\nserver-name = \"Club\"\nregistration = \"closed\"\nplaintext-anywhere = true\n";
        std::fs::write(directory.path().join("server.toml"), file).unwrap();
        let config = settled(directory.path(), &["--port", "9001", "--plaintext-anywhere=false"]).unwrap();
        assert_eq!((config.port, config.server_name.as_str()), (9001, "Club"));
        assert_eq!((config.registration, config.spread_after), (Registration::Closed, 256));
        assert!(!config.plaintext_anywhere);
    }

    /// Goal: settings out of bounds are refused with a sentence that names them.
    #[test]
    fn bad_settings_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |flags: &[&str]| settled(directory.path(), flags).unwrap_err().to_string();
        for (flags, name) in [
            (["--shards", "0"], "shards"),
            (["--shards", "65"], "shards"),
            (["--spread-after", "0"], "spread-after"),
            (["--voice-window-us", "5001"], "voice-window-us"),
            (["--server-name", ""], "server-name"),
            (["--tls-cert", "c.pem"], "tls-key"),
            (["--password-memory-kib", "7"], "password-memory-kib is 7: it must be 8 to"),
            (["--password-passes", "0"], "password-passes is 0"),
            (["--config", "/nowhere/server.toml"], "/nowhere/server.toml"),
            (["--database", "server.sqlite3"], "database must be a URL"),
            (["--memory-mib", "7"], "memory-mib is 7: it must be 0, or at least 8 for each shard"),
        ] {
            assert!(refused(&flags).contains(name), "{}", refused(&flags));
        }
    }
}
