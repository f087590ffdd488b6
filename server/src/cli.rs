//! The settings as an operator writes them: flags, environment variables and TOML keys, one name for
//! each everywhere (`--voice-port`, `ECHOMESH_VOICE_PORT`, `voice-port = …`).
//!
//! Not what they amount to: `config` settles precedence, defaults and bounds. Nor what values they take: `keys`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::keys;
use crate::operator::args as operator;
use crate::settings_file;

const STYLES: Styles =
    Styles::styled().header(AnsiColor::Green.on_default().bold()).literal(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Each setting may also be an environment variable (shown in brackets) or a line of the configuration
file under the same name, e.g. `voice-port = 9000`. A flag wins over the environment, that over the
file, and that over the default. `echomesh-server check-config` tells what holds and what is wrong.

Examples:
  echomesh-server                                 serve on port 8888, data in your home directory
  echomesh-server --registration invitation       new accounts take an invitation's code
  echomesh-server --tls-cert C.pem --tls-key K.pem    your certificate instead of a self-signed one
  echomesh-server --address 127.0.0.1 --port 0    only this machine, any free port
  echomesh-server backup /backups/echomesh.sqlite3    copy the database; the server may run
  echomesh-server restore /backups/echomesh.sqlite3   put it back; the server must not run
  echomesh-server owner ada                       ada owns the server
  echomesh-server invite create --uses 5 --for 7d     a code for five new accounts
  echomesh-server user list --json                all accounts, for a program

SIGHUP has it read its settings again; the log tells what it took and what waits for a restart.
It stops in order on Ctrl-C or SIGTERM: answers what was begun, tells clients, which come back to their
rooms at the next start, and prints its totals; a second signal ends it at once. Exit codes: 0 stopped as asked, 1 could
not start or go on (the message says what to do), 2 wrong settings.";

/// Voice and chat server: one io_uring shard per core.
///
/// Without flags it listens on TCP and UDP port 8888 of all addresses, makes a self-signed certificate
/// at the first start and prints its fingerprint, and lets the first login with an unused name make the
/// account. The first start also prints a claim code: `echomesh claim CODE` makes you the owner.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "echomesh-server", version, max_term_width = 100, styles = STYLES, after_help = AFTER_HELP)]
pub struct Flags {
    /// Configuration file, TOML [default: server.toml in the data directory, else
    /// /etc/echomesh/server.toml, if there]
    #[arg(long, env = "ECHOMESH_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The rest, which the file may hold too.
    #[command(flatten)]
    pub settings: Settings,
    /// Instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings that are not the file's, and whose they are; what is missing here is a flag's.
    #[arg(skip)]
    pub sources: BTreeMap<&'static str, ValueSource>,
}

impl Flags {
    /// Those that the process was started with; ends it if they are wrong, or ask for help.
    #[must_use]
    pub fn read() -> Self {
        let matches = Self::command().get_matches();
        let mut flags = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let source = |name: &'static str| Some((name, matches.value_source(&name.replace('-', "_"))?));
        flags.sources = keys::names().filter_map(source).collect();
        flags
    }
}

/// What the program does instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Look at the settings without starting: print those that hold and where each is from, or say what is wrong
    ///
    /// Certificate, data directory and address are looked at, too. Run it as the user that the server runs as, with its
    /// flags and environment. Exit codes: 0 all is right, 1 the machine does not give what is needed, 2 wrong settings.
    CheckConfig {
        /// The file to look at, instead of the one that --config, the environment or the default names
        file: Option<PathBuf>,
    },
    /// Write man pages and shell completions into FOLDER, for packages
    #[command(hide = true)]
    Manual {
        /// Made if it is not there
        folder: PathBuf,
    },
    /// Copy the SQLite database to FILE, also while the server runs
    ///
    /// The copy is of one moment, is looked at before it counts, and appears under its name whole or not at all; a
    /// FILE that exists is replaced then. It holds everybody's chat and passwords' hashes: keep it as you keep those.
    /// Run it as the user that the server runs as. PostgreSQL is backed up with pg_dump: this says how.
    Backup {
        /// Where to
        file: PathBuf,
    },
    /// Put the backup FILE in the place of the SQLite database, while the server is stopped
    ///
    /// FILE is copied and looked at first; what is wrong with it leaves everything as it is. The old database is
    /// kept beside the new one. PostgreSQL is restored with pg_restore: this says how.
    Restore {
        /// Where from
        file: PathBuf,
    },
    /// List, make and change accounts, also while the server runs
    ///
    /// A running server takes a role, a password or a deletion within two seconds: sessions follow or end.
    User {
        /// Print JSON, an object on each line
        #[arg(long, global = true)]
        json: bool,
        /// What to do
        #[command(subcommand)]
        command: operator::User,
    },
    /// Make, list and take back invitations, also while the server runs
    Invite {
        /// Print JSON, an object on each line
        #[arg(long, global = true)]
        json: bool,
        /// What to do
        #[command(subcommand)]
        command: operator::Invite,
    },
    /// Ban accounts and addresses from the server, also while it runs: it takes the ban within two seconds
    Ban {
        /// Print JSON, an object on each line
        #[arg(long, global = true)]
        json: bool,
        /// What to do
        #[command(subcommand)]
        command: operator::Ban,
    },
    /// Make an account an owner, beside those there are; the claim code is of no use then
    Owner {
        /// Account
        name: String,
    },
}

/// Every setting, unset unless given.
#[derive(Clone, Debug, Default, Deserialize, Serialize, Args)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Address to listen on [default: all, IPv6 and IPv4]
    #[arg(long, env = "ECHOMESH_ADDRESS", value_name = "IP")]
    pub address: Option<IpAddr>,
    /// TCP port of the control protocol; 0 takes a free one [default: 8888]
    #[arg(long, env = "ECHOMESH_PORT")]
    pub port: Option<u16>,
    /// UDP port of voice [default: the same number as --port]
    #[arg(long, env = "ECHOMESH_VOICE_PORT", value_name = "PORT")]
    pub voice_port: Option<u16>,
    /// Shards, each a thread with a core of its own, 1 to 64 [default: one per core]
    #[arg(long, env = "ECHOMESH_SHARDS", value_name = "N")]
    pub shards: Option<u8>,
    /// Where certificate, lock and SQLite database live [default: $STATE_DIRECTORY, else
    /// $XDG_DATA_HOME/echomesh-server, else ~/.local/share/echomesh-server]
    #[arg(long, env = "ECHOMESH_DATA_DIR", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// PostgreSQL database to use, postgres://USER:PASSWORD@HOST/NAME; other users of this machine can read
    /// flags, so put a password into the environment, the file, or ~/.pgpass [default: a SQLite file in the
    /// data directory]
    #[arg(long, env = "ECHOMESH_DATABASE", hide_env_values = true, value_name = "URL", global = true)]
    pub database: Option<DatabaseUrl>,
    /// Who may make accounts [default: open]
    #[arg(long, env = "ECHOMESH_REGISTRATION", value_enum)]
    pub registration: Option<Registration>,
    /// Let people in without an account, to hear and to speak; they write no lines [default: false]
    #[arg(
        long, env = "ECHOMESH_GUESTS", value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub guests: Option<bool>,
    /// Name shown to clients, 1 to 64 bytes [default: EchoMesh]
    #[arg(long, env = "ECHOMESH_SERVER_NAME", value_name = "NAME")]
    pub server_name: Option<String>,
    /// Message of the day, told to people who log in; up to 1024 bytes, line breaks are allowed [default: none]
    #[arg(long, env = "ECHOMESH_MOTD", value_name = "TEXT")]
    pub motd: Option<String>,
    /// Voice streams a room has on one shard before it spreads to the next [default: 256]
    #[arg(long, env = "ECHOMESH_SPREAD_AFTER", value_name = "N")]
    pub spread_after: Option<u32>,
    /// Speakers heard at once in a room, the loudest; 0: all [default: 8]
    #[arg(long, env = "ECHOMESH_SPEAKERS_MAX", value_name = "N")]
    pub speakers_max: Option<u32>,
    /// Bit rate of a speaker's Opus on average, kbit/s, 6 to 510: clients keep to it, and what is over half as much
    /// again, or over 400 packets a second, is dropped; 0: neither has a bound. What a reload changes holds from the
    /// next opening of voice on [default: 128]
    #[arg(long, env = "ECHOMESH_BITRATE_KBIT_MAX", value_name = "N")]
    pub bitrate_kbit_max: Option<u32>,
    /// Days that lines of chat are kept, in rooms that say nothing else and between two people; 0: for ever
    /// [default: 0]
    #[arg(long, env = "ECHOMESH_RETENTION_DAYS", value_name = "DAYS")]
    pub retention_days: Option<u32>,
    /// Longest that voice may wait to go out together with others' while a shard is busy, microseconds, up to
    /// 5000; 0: it never waits [default: 2000]
    #[arg(long, env = "ECHOMESH_VOICE_WINDOW_US", value_name = "US")]
    pub voice_window_us: Option<u32>,
    /// Allow plaintext from anywhere, not only between loopback addresses: passwords can be read on the
    /// way [default: false]
    #[arg(
        long, env = "ECHOMESH_PLAINTEXT_ANYWHERE", value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub plaintext_anywhere: Option<bool>,
    /// Certificate chain, PEM [default: self-signed, made at the first start]
    #[arg(long, env = "ECHOMESH_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert, PEM
    #[arg(long, env = "ECHOMESH_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Memory that hashing a new password takes, KiB, 8 to 4194304. Fewer make a login cheap, and a stolen
    /// database cheap to guess: below 7168 with 5 passes is for tests. Passwords hashed before stay valid
    /// [default: 19456]
    #[arg(long, env = "ECHOMESH_PASSWORD_MEMORY_KIB", value_name = "N")]
    pub password_memory_kib: Option<u32>,
    /// Passes over that memory, 1 to 64 [default: 2]
    #[arg(long, env = "ECHOMESH_PASSWORD_PASSES", value_name = "N")]
    pub password_passes: Option<u32>,
    /// Longest that requests under way may take to be answered at a stop, 0 to 60 seconds; 0: they are not waited for
    /// [default: 5]
    #[arg(long, env = "ECHOMESH_DRAIN_SECONDS", value_name = "S")]
    pub drain_seconds: Option<u32>,
    /// Connections that one address may have on each shard, a quarter of them not logged in; an IPv6 /64 is one address;
    /// 0: any number [default: 256]
    #[arg(long, env = "ECHOMESH_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub connections_per_address: Option<u32>,
    /// Connections that one address may make in a second on each shard, four times as many at once; 0: any number
    /// [default: 50]
    #[arg(long, env = "ECHOMESH_CONNECTS_PER_SECOND", value_name = "N")]
    pub connects_per_second: Option<u32>,
    /// Requests that one connection may make in a second, eight times as many at once; beyond, they are answered with "try
    /// again". 0: any number, and any number of bytes [default: 50]
    #[arg(long, env = "ECHOMESH_REQUESTS_PER_SECOND", value_name = "N")]
    pub requests_per_second: Option<u32>,
    /// Memory that connections may hold in all, MiB, at least 8 for each shard: beyond three quarters new ones are
    /// refused, beyond all who does not read is closed; 0: any [default: 1024, or 8 for each shard]
    #[arg(long, env = "ECHOMESH_MEMORY_MIB", value_name = "N")]
    pub memory_mib: Option<u32>,
    /// Where the admin page is, with Prometheus metrics at /metrics, /healthz and /readyz; port 0 takes a free one, off
    /// none. Plain HTTP on loopback, HTTPS elsewhere. The page wants an admin's login; the figures do not, so prefer
    /// loopback or a private network [default: 127.0.0.1:8889]
    #[arg(long, env = "ECHOMESH_ADMIN", value_name = "IP:PORT")]
    pub admin: Option<AdminSetting>,
    /// The admin page's name where a proxy before it passes one on: voice.example [default: none but localhost and
    /// loopback addresses]
    #[arg(long, env = "ECHOMESH_ADMIN_HOST", value_name = "NAME")]
    pub admin_host: Option<String>,
    /// Let the scheduler move shards between cores [default: false]
    #[arg(
        long, env = "ECHOMESH_NO_PIN", value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub no_pin: Option<bool>,
    /// What to log, on standard error: error, warn, info, debug, or a filter such as
    /// warn,echomesh_server=debug [default: info]
    #[arg(long, env = "ECHOMESH_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How to log [default: text]
    #[arg(long, env = "ECHOMESH_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

/// A database's URL as it was written. It holds a password, so it is never shown, nor is what is wrong with
/// it found out here, where clap would show it.
#[derive(Clone, Deserialize, PartialEq, Eq)]
pub struct DatabaseUrl(pub String);

impl std::str::FromStr for DatabaseUrl {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Where the admin page is to be.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(try_from = "String", into = "String")]
pub enum AdminSetting {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

impl std::str::FromStr for AdminSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| "give IP:PORT, such as 127.0.0.1:8889 or [::1]:0, or off".to_owned())
    }
}

impl From<AdminSetting> for String {
    fn from(setting: AdminSetting) -> Self {
        match setting {
            AdminSetting::Off => "off".to_owned(),
            AdminSetting::At(address) => address.to_string(),
        }
    }
}

impl TryFrom<String> for AdminSetting {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Who may make accounts.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Registration {
    /// The first login with an unused name makes the account.
    Open,
    /// Likewise, if it brings an invitation: `echomesh account invite new`, `echomesh-server invite create`.
    Invitation,
    /// Only accounts that exist may log in.
    Closed,
}

/// How to log.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Reads the text of a configuration file. The error says which line or key is wrong, and what was
    /// most likely meant.
    ///
    /// # Errors
    /// No TOML, an unknown key, or a value of the wrong kind.
    pub fn parse(text: &str) -> Result<Self, String> {
        settings_file::parse(text).map(|written| written.settings)
    }

    /// These settings, and those of `other` where these say nothing.
    pub fn or(self, other: Self) -> Self {
        Self {
            address: self.address.or(other.address),
            port: self.port.or(other.port),
            voice_port: self.voice_port.or(other.voice_port),
            shards: self.shards.or(other.shards),
            data_dir: self.data_dir.or(other.data_dir),
            database: self.database.or(other.database),
            registration: self.registration.or(other.registration),
            guests: self.guests.or(other.guests),
            server_name: self.server_name.or(other.server_name),
            motd: self.motd.or(other.motd),
            spread_after: self.spread_after.or(other.spread_after),
            speakers_max: self.speakers_max.or(other.speakers_max),
            bitrate_kbit_max: self.bitrate_kbit_max.or(other.bitrate_kbit_max),
            retention_days: self.retention_days.or(other.retention_days),
            drain_seconds: self.drain_seconds.or(other.drain_seconds),
            voice_window_us: self.voice_window_us.or(other.voice_window_us),
            plaintext_anywhere: self.plaintext_anywhere.or(other.plaintext_anywhere),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            password_memory_kib: self.password_memory_kib.or(other.password_memory_kib),
            password_passes: self.password_passes.or(other.password_passes),
            connections_per_address: self.connections_per_address.or(other.connections_per_address),
            connects_per_second: self.connects_per_second.or(other.connects_per_second),
            requests_per_second: self.requests_per_second.or(other.requests_per_second),
            memory_mib: self.memory_mib.or(other.memory_mib),
            admin: self.admin.or(other.admin),
            admin_host: self.admin_host.or(other.admin_host),
            no_pin: self.no_pin.or(other.no_pin),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
        }
    }
}
