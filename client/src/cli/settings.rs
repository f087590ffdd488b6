//! Settings: flags over environment over configuration file over defaults, one name for each.
//!
//! Nothing here reads the terminal; the environment comes in as a function, so that tests need none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::args::Args;
use super::failure::Failure;
use super::hotkey_names::Hotkey;
use super::threshold::Threshold;
use super::trust::Fingerprint;

/// Default TCP port of a server.
const PORT: u16 = 8888;

/// Largest configuration or password file read, bytes: beyond, it is the wrong file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The process's environment.
pub struct Environment<F: Fn(&str) -> Option<String>> {
    /// Value of a variable, if it is set and UTF-8.
    pub variable: F,
}

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    /// A variable that is set to something.
    pub fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// A directory of the XDG base directory specification, which wants absolute paths and a default
    /// below $HOME.
    fn directory(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let given = self.get(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let directory = given.or_else(|| Some(PathBuf::from(self.get("HOME")?).join(below_home)));
        directory.map(|directory| directory.join("echomesh"))
    }
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Option<String>,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    fingerprint: Option<String>,
    plaintext: Option<bool>,
    input: Option<String>,
    output: Option<String>,
    mouse: Option<bool>,
    cues: Option<bool>,
    threshold: Option<Threshold>,
    hotkey: Option<Hotkey>,
    #[serde(default)]
    keys: BTreeMap<String, OneOrMore>,
}

/// A key, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// What the commands need.
#[derive(Clone)]
pub struct Settings {
    /// Name or address of the server, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Account name; may be empty where there is a token.
    pub user: String,
    /// Empty until [`Settings::with_password`], and where it is not needed.
    pub password: String,
    /// Of the room that is entered; empty: none.
    pub room_password: String,
    /// It was an option: a room that is made or set has it too.
    pub room_password_is_typed: bool,
    /// Device token, instead of name and password; empty: none.
    pub token: String,
    /// Invitation's code; empty: none.
    pub invitation: String,
    /// Without an account.
    pub guest: bool,
    /// No TLS.
    pub plaintext: bool,
    /// The one certificate to trust.
    pub fingerprint: Option<Fingerprint>,
    /// Where pinned certificates are kept; `None` without a home directory.
    pub known_servers: Option<PathBuf>,
    /// Keys of the full-screen interface, by action.
    pub keys: BTreeMap<String, Vec<String>>,
    /// Where this program keeps what it may lose; `None` without a home directory.
    pub state: Option<PathBuf>,
    /// Microphone and loudspeaker of the interface, where no option names another.
    pub input: Option<String>,
    pub output: Option<String>,
    /// The interface's mouse does something.
    pub mouse: bool,
    /// It tells by sounds who comes and goes.
    pub cues: bool,
    /// Voice activation's, where no option says another.
    pub threshold: Threshold,
    /// The interface's key that is heard everywhere, where no option says another.
    pub hotkey: Option<Hotkey>,
}

/// Where settings come from, and where the program keeps things.
pub struct Sources {
    /// The configuration file, there or not; `None` without a home directory.
    pub config: Option<PathBuf>,
    /// What is wrong with it.
    pub problem: Option<Failure>,
    /// Files that hold a password or a token; not all of them need be used.
    pub secrets: Vec<PathBuf>,
    /// For what, and which; `None` without a home directory.
    pub directories: [(&'static str, Option<PathBuf>); 3],
}

impl Settings {
    /// Puts everything together but a password that must be asked for.
    ///
    /// # Errors
    /// `Failure::Usage` for what the person can correct, `Failure::Local` for unreadable files.
    pub fn resolve<F: Fn(&str) -> Option<String>>(args: &Args, environment: &Environment<F>) -> Result<Self, Failure> {
        Self::combine(args, environment, read_config(args, environment)?)
    }

    /// For a server that somebody just named and has no account at yet; no configuration file counts.
    ///
    /// # Errors
    /// `Failure::Usage`.
    pub fn of_server<F: Fn(&str) -> Option<String>>(
        args: &Args,
        environment: &Environment<F>,
        server: &str,
    ) -> Result<Self, Failure> {
        let args = Args {
            server: Some(server.to_owned()),
            user: Some(String::new()),
            guest: true,
            invitation: args.invitation.clone(),
            fingerprint: args.fingerprint.clone(),
            plaintext: args.plaintext,
            ..Args::default()
        };
        Ok(Self { guest: false, ..Self::combine(&args, environment, File::default())? })
    }

    fn combine<F: Fn(&str) -> Option<String>>(
        args: &Args,
        environment: &Environment<F>,
        file: File,
    ) -> Result<Self, Failure> {
        let server = args.server.clone().or_else(|| environment.get("ECHOMESH_SERVER")).or(file.server);
        let (host, port) = split_server(server.as_deref().unwrap_or("localhost"))?;
        let user = args.user.clone().or_else(|| environment.get("ECHOMESH_USER")).or(file.user);
        let path = |name: &str| environment.get(name).map(PathBuf::from);
        // Each place may name a token, a password or a file with either; the first place that names one decides.
        let places = [
            [(None, args.token_file.clone()), (args.password.clone(), args.password_file.clone())],
            [
                (environment.get("ECHOMESH_TOKEN"), path("ECHOMESH_TOKEN_FILE")),
                (environment.get("ECHOMESH_PASSWORD"), path("ECHOMESH_PASSWORD_FILE")),
            ],
            [(None, file.token_file), (file.password, file.password_file)],
        ];
        let is_named = |(text, file): &(Option<String>, Option<PathBuf>)| text.is_some() || file.is_some();
        let place = places.into_iter().find(|place| place.iter().any(is_named)).filter(|_| !args.guest);
        let [token, password] = place.unwrap_or_default();
        let by_token = is_named(&token);
        let token = secret(token)?;
        let password = if by_token { String::new() } else { secret(password)? };
        let user = if by_token { Some(user.unwrap_or_default()) } else { user };
        let user = user.ok_or_else(|| {
            Failure::Usage(
                "no user name: give --user NAME, set ECHOMESH_USER, or put user = \"NAME\" into the configuration file"
                    .to_owned(),
            )
        })?;
        let invitation = args.invitation.clone().or_else(|| environment.get("ECHOMESH_INVITATION")).unwrap_or_default();
        let room_password_is_typed = args.room_password.is_some() || args.room_password_file.is_some();
        let (of_room, file_of_room) = ("ECHOMESH_ROOM_PASSWORD", "ECHOMESH_ROOM_PASSWORD_FILE");
        let room_password = first_password([
            (args.room_password.clone(), args.room_password_file.clone()),
            (environment.get(of_room), environment.get(file_of_room).map(PathBuf::from)),
        ])?;
        let plaintext =
            args.plaintext || flag(environment.get("ECHOMESH_PLAINTEXT"))?.or(file.plaintext).unwrap_or(false);
        let fingerprint =
            args.fingerprint.clone().or_else(|| environment.get("ECHOMESH_FINGERPRINT")).or(file.fingerprint);
        let fingerprint = fingerprint.as_deref().map(str::parse).transpose().map_err(Failure::Usage)?;
        let known_servers = environment.directory("XDG_DATA_HOME", ".local/share").map(|dir| dir.join("known_servers"));
        let guest = args.guest;
        let state = environment.directory("XDG_STATE_HOME", ".local/state");
        let more = |(action, keys)| match keys {
            OneOrMore::One(key) => (action, vec![key]),
            OneOrMore::More(keys) => (action, keys),
        };
        let keys = file.keys.into_iter().map(more).collect();
        Ok(Self {
            host,
            port,
            user,
            password,
            room_password,
            room_password_is_typed,
            token,
            invitation,
            guest,
            plaintext,
            fingerprint,
            known_servers,
            keys,
            state,
            input: file.input,
            output: file.output,
            mouse: file.mouse.unwrap_or(false),
            cues: file.cues.unwrap_or(true),
            threshold: file.threshold.unwrap_or_default(),
            hotkey: file.hotkey,
        })
    }

    /// The files that settings are read from.
    pub fn sources<F: Fn(&str) -> Option<String>>(args: &Args, environment: &Environment<F>) -> Sources {
        let path = config_path(args, environment);
        let (file, problem) = match read_config(args, environment) {
            Ok(file) => (file, None),
            Err(failure) => (File::default(), Some(failure)),
        };
        let named = |name: &str| environment.get(name).map(PathBuf::from);
        let secrets = [
            args.password_file.clone(),
            args.token_file.clone(),
            named("ECHOMESH_PASSWORD_FILE"),
            named("ECHOMESH_TOKEN_FILE"),
            file.password_file,
            file.token_file,
        ];
        let mut secrets: Vec<PathBuf> = secrets.into_iter().flatten().collect();
        if file.password.is_some() {
            secrets.extend(path.clone());
        }
        let [config, data, state] =
            [("XDG_CONFIG_HOME", ".config"), ("XDG_DATA_HOME", ".local/share"), ("XDG_STATE_HOME", ".local/state")]
                .map(|(variable, below_home)| environment.directory(variable, below_home));
        Sources {
            config: path,
            problem,
            secrets,
            directories: [("configuration", config), ("data", data), ("state", state)],
        }
    }

    /// Asks for the password if none was given.
    ///
    /// # Errors
    /// As `ask`.
    pub fn with_password(mut self, ask: impl FnOnce(&str) -> Result<String, Failure>) -> Result<Self, Failure> {
        if self.password.is_empty() && self.token.is_empty() && !self.guest {
            self.password = ask(&format!("Password of {} at {}: ", self.user, self.host))?;
        }
        Ok(self)
    }

    /// The server as people write it, and as it is known by.
    pub fn server(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The password of the first place that names one, or a file with it.
fn first_password(places: impl IntoIterator<Item = (Option<String>, Option<PathBuf>)>) -> Result<String, Failure> {
    match places.into_iter().find(|(password, file)| password.is_some() || file.is_some()) {
        Some((Some(password), _)) => Ok(password),
        Some((None, Some(path))) => first_line(&path),
        _ => Ok(String::new()),
    }
}

fn config_path<F: Fn(&str) -> Option<String>>(args: &Args, environment: &Environment<F>) -> Option<PathBuf> {
    let usual = || environment.directory("XDG_CONFIG_HOME", ".config").map(|directory| directory.join("config.toml"));
    args.config.clone().or_else(usual)
}

fn read_config<F: Fn(&str) -> Option<String>>(args: &Args, environment: &Environment<F>) -> Result<File, Failure> {
    let Some(path) = config_path(args, environment) else { return Ok(File::default()) };
    match read_small(&path) {
        Ok(text) => toml::from_str(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && args.config.is_none() => Ok(File::default()),
        Err(error) => Err(Failure::Usage(format!("cannot read {}: {error}", path.display()))),
    }
}

fn read_small(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has over {FILE_BYTES_MAX} bytes; is it the right file?")));
    }
    Ok(text)
}

/// What was written, or the first line of the file.
fn secret((text, file): (Option<String>, Option<PathBuf>)) -> Result<String, Failure> {
    match (text, file) {
        (Some(text), _) => Ok(text),
        (None, Some(path)) => first_line(&path),
        (None, None) => Ok(String::new()),
    }
}

/// The first line of a file.
///
/// # Errors
/// `Failure::Usage`: it cannot be read, or has none.
pub fn first_line(path: &Path) -> Result<String, Failure> {
    let text = read_small(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::Usage(format!("{}: the first line must be the password or token", path.display())));
    }
    Ok(line.to_owned())
}

fn flag(value: Option<String>) -> Result<Option<bool>, Failure> {
    value
        .map(|value| match value.as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(Failure::Usage("ECHOMESH_PLAINTEXT must be true or false".to_owned())),
        })
        .transpose()
}

/// `HOST`, `HOST:PORT`, `[V6]:PORT` or a bare IPv6 address.
fn split_server(server: &str) -> Result<(String, u16), Failure> {
    let wrong = || Failure::Usage(format!("{server:?} is no server: write HOST or HOST:PORT"));
    let (host, port) = if let Some(rest) = server.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(wrong)?) };
        (host, port)
    } else if server.parse::<std::net::Ipv6Addr>().is_ok() {
        (server, None)
    } else {
        server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port)))
    };
    let port = port.map_or(Ok(PORT), str::parse).map_err(|_| wrong())?;
    if host.is_empty() || port == 0 || host.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
