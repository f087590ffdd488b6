//! The settings as the server runs by them: flags, then environment (clap joins the two), then the
//! file, then defaults; checked once, here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use echomesh_proto::limits::SHARDS_MAX;
use echomesh_shard::Limits;

use crate::bounds;
use crate::cli::{AdminSetting, DatabaseUrl, Flags, LogFormat, Registration, Settings};
use crate::hash::HashCost;
use crate::keys::{KEYS, Key};
use crate::settings_file::{self, Written};
use crate::start_error::StartError;
use crate::store::{Place, PostgresPlace};

/// TCP and UDP port of EchoMesh.
const PORT: u16 = 8888;

/// TCP port of the admin page, on loopback.
const ADMIN_PORT: u16 = 8889;

/// Voice streams on one shard before a room spreads: about what one core fans out (docs/ARCHITECTURE.md).
const SPREAD_AFTER: u32 = 256;

/// Longer than any request takes on a server that is well.
const DRAIN_SECONDS: u32 = 5;

/// Speakers of a room heard at once: more voices at a time nobody can follow.
const SPEAKERS_MAX: u32 = 8;

/// Two milliseconds fill messages well (docs/BENCHMARKS.md), microseconds.
const VOICE_WINDOW_US: u32 = 2_000;

/// The SQLite file in the data directory.
const DATABASE_FILE: &str = "echomesh.sqlite3";

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
    /// Told to who logs in; empty: nothing.
    pub motd: String,
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
    /// What was set, by whomever; the rest is default.
    pub given: Settings,
    /// Who set it, in the order of [`KEYS`].
    pub origins: Vec<Origin>,
}

/// Who set a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// That line of the file.
    File(PathBuf, usize),
    /// The environment.
    Environment(String),
    /// The command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Origin::Environment(name) | Origin::Flag(name) => f.write_str(name),
        }
    }
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
    let written = file.as_deref().map_or_else(|| Ok(Written::default()), read)?;
    let origins = origins(&flags, file.as_deref(), &written)?;
    let given = flags.settings.or(written.settings);
    check(&given, &origins)?;
    let of = |name: &str, wrong: String| {
        let place = KEYS.iter().position(|key| key.name == name).map(|place| &origins[place]);
        StartError::Settings(place.map_or(wrong.clone(), |origin| format!("{origin}: {wrong}")))
    };
    let shards = given.shards.unwrap_or_else(cores);
    let limits = bounds::limits(&given, shards).map_err(|wrong| of("memory-mib", wrong))?;
    let Some(data_dir) = given.data_dir.clone().or_else(default_data_dir) else {
        return Err(StartError::Settings("there is no HOME to keep data in: give --data-dir".to_owned()));
    };
    let cost = HashCost::default();
    Ok(Config {
        address: given.address,
        port: given.port.unwrap_or(PORT),
        voice_port: given.voice_port,
        shards,
        database: database(given.database.as_ref(), &data_dir).map_err(|wrong| of("database", wrong))?,
        data_dir,
        registration: given.registration.unwrap_or(Registration::Open),
        guests: given.guests.unwrap_or(false),
        server_name: given.server_name.clone().unwrap_or_else(|| "EchoMesh".to_owned()),
        motd: given.motd.clone().unwrap_or_default(),
        spread_after: given.spread_after.unwrap_or(SPREAD_AFTER),
        speakers_max: given.speakers_max.unwrap_or(SPEAKERS_MAX),
        retention_days: given.retention_days.unwrap_or(0),
        voice_window: Duration::from_micros(given.voice_window_us.unwrap_or(VOICE_WINDOW_US).into()),
        plaintext_anywhere: given.plaintext_anywhere.unwrap_or(false),
        tls: tls_files(&given)?,
        password: HashCost {
            memory_kib: given.password_memory_kib.unwrap_or(cost.memory_kib),
            passes: given.password_passes.unwrap_or(cost.passes),
        },
        drain: Duration::from_secs(given.drain_seconds.unwrap_or(DRAIN_SECONDS).into()),
        limits,
        admin: admin(given.admin),
        admin_host: given.admin_host.clone(),
        pin: !given.no_pin.unwrap_or(false),
        log: given.log.clone().unwrap_or_else(|| "info".to_owned()),
        log_format: given.log_format.unwrap_or(LogFormat::Text),
        file,
        given,
        origins,
    })
}

impl Config {
    /// Each setting as it holds, for people: a value in TOML, or how it comes to be. No password.
    pub fn shown(&self) -> impl Iterator<Item = (&'static Key, String)> {
        let given = table(&self.given);
        KEYS.iter().map(move |key| {
            let value = match (key.name, given.get(key.name)) {
                ("data-dir", _) => self.data_dir.display().to_string(),
                ("database", _) => self.database.to_string(),
                ("shards", _) => self.shards.to_string(),
                // On one line, whatever it holds.
                (_, Some(toml::Value::String(text))) => format!("{text:?}"),
                (_, Some(value)) => value.to_string(),
                (_, None) => key.default().map_or_else(|| key.told().1, str::to_owned),
            };
            (key, value)
        })
    }
}

fn read(path: &Path) -> Result<Written, StartError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| StartError::Settings(format!("cannot read the configuration {}: {error}", path.display())))?;
    settings_file::parse(&text).map_err(|error| StartError::Settings(format!("in {}: {error}", path.display())))
}

fn table(settings: &Settings) -> toml::Table {
    toml::Table::try_from(settings).expect("settings were TOML, or could be")
}

/// Who set what.
fn origins(flags: &Flags, file: Option<&Path>, written: &Written) -> Result<Vec<Origin>, StartError> {
    let typed = toml::Table::try_from(&flags.settings);
    // A path that is no UTF-8 cannot be written in a file, nor printed here.
    let typed = typed.map_err(|error| StartError::Settings(format!("a flag or variable is no text: {error}")))?;
    let origin = |key: &Key| match (file, written.lines.get(key.name)) {
        _ if typed.contains_key(key.name) => match flags.sources.get(key.name) {
            Some(ValueSource::EnvVariable) => {
                Origin::Environment(format!("ECHOMESH_{}", key.name.replace('-', "_").to_uppercase()))
            }
            _ => Origin::Flag(format!("--{}", key.name)),
        },
        (Some(file), Some(line)) => Origin::File(file.to_owned(), *line),
        _ => Origin::Default,
    };
    Ok(KEYS.iter().map(origin).collect())
}

/// Values that no setting takes, which are flags' or the environment's here: the file's were refused with their lines.
fn check(given: &Settings, origins: &[Origin]) -> Result<(), StartError> {
    let given = table(given);
    for (key, origin) in KEYS.iter().zip(origins) {
        if let Some(wrong) = given.get(key.name).and_then(|value| key.wrong(value)) {
            return Err(StartError::Settings(format!("{origin}: {wrong}")));
        }
    }
    Ok(())
}

fn database(given: Option<&DatabaseUrl>, data_dir: &Path) -> Result<Place, String> {
    match given {
        None => Ok(Place::File(data_dir.join(DATABASE_FILE))),
        Some(DatabaseUrl(url)) => PostgresPlace::parse(url).map(Place::Postgres),
    }
}

fn cores() -> u8 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u8::try_from(cores.min(SHARDS_MAX)).expect("SHARDS_MAX fits a byte")
}

fn admin(given: Option<AdminSetting>) -> AdminAddress {
    match given {
        None => AdminAddress::Default(SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT))),
        Some(AdminSetting::Off) => AdminAddress::Off,
        Some(AdminSetting::At(address)) => AdminAddress::Given(address),
    }
}

fn tls_files(given: &Settings) -> Result<Option<TlsFiles>, StartError> {
    match (given.tls_cert.clone(), given.tls_key.clone()) {
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
            (["--password-passes", "0"], "--password-passes: password-passes is 0"),
            (["--motd", "a\tb"], "motd must be"),
            (["--config", "/nowhere/server.toml"], "/nowhere/server.toml"),
            (["--database", "server.sqlite3"], "database must be a URL"),
            (["--memory-mib", "7"], "memory-mib is 7: it must be 0, or at least 8 for each shard"),
        ] {
            assert!(refused(&flags).contains(name), "{}", refused(&flags));
        }
    }
}
