//! What was chosen, as files: the configuration, and a secret beside it that only its owner reads.
//!
//! Not the choosing. An old configuration is kept beside the new one.
//! In: what was chosen. Out: files, each whole or not there. Bounds: two small files.

use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::cli::files::write_whole;
use crate::cli::trust::Fingerprint;

/// What is remembered for the next login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: it is asked for.
    Nothing,
    /// The password.
    Password(String),
    /// A token of this device's.
    Token(String),
}

/// What was chosen.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub server: String,
    pub user: String,
    pub keep: Keep,
    pub plaintext: bool,
    /// The one key to trust, if it was named.
    pub fingerprint: Option<Fingerprint>,
    /// `None`: ALSA's default.
    pub input: Option<String>,
    pub output: Option<String>,
}

/// The configuration's text, where the secret is in this file.
fn text(chosen: &Chosen, secret: &Path) -> String {
    let mut table = toml::Table::new();
    let mut set = |name: &str, value: toml::Value| drop(table.insert(name.to_owned(), value));
    set("server", chosen.server.clone().into());
    set("user", chosen.user.clone().into());
    let secret = secret.display().to_string();
    match chosen.keep {
        Keep::Nothing => {}
        Keep::Password(_) => set("password_file", secret.into()),
        Keep::Token(_) => set("token_file", secret.into()),
    }
    if chosen.plaintext {
        set("plaintext", true.into());
    }
    if let Some(fingerprint) = chosen.fingerprint {
        set("fingerprint", fingerprint.to_string().into());
    }
    for (name, device) in [("input", &chosen.input), ("output", &chosen.output)] {
        if let Some(device) = device {
            set(name, device.clone().into());
        }
    }
    format!("# Written by `echomesh setup`; `echomesh --help` says what may stand here.\n{table}")
}

/// Writes it, and says what was written.
///
/// # Errors
/// `Failure::Local`.
pub fn write(path: &Path, chosen: &Chosen) -> Result<Vec<PathBuf>, Failure> {
    let failed =
        |path: &Path, error: std::io::Error| Failure::Local(format!("cannot write {}: {error}", path.display()));
    let mut written = Vec::new();
    let (name, secret) = match &chosen.keep {
        Keep::Nothing => ("", ""),
        Keep::Password(secret) => ("password", secret.as_str()),
        Keep::Token(secret) => ("token", secret.as_str()),
    };
    let secret_path = path.with_file_name(name);
    if !name.is_empty() {
        write_whole(&secret_path, &format!("{secret}\n")).map_err(|error| failed(&secret_path, error))?;
        written.push(secret_path.clone());
    }
    if path.exists() {
        let old = path.with_extension("toml.old");
        std::fs::rename(path, &old).map_err(|error| failed(&old, error))?;
    }
    write_whole(path, &text(chosen, &secret_path)).map_err(|error| failed(path, error))?;
    written.push(path.to_owned());
    Ok(written)
}

/// Secrets that an earlier setup wrote, and that this one has no use of.
pub fn left_over(path: &Path, written: &[PathBuf]) -> Vec<PathBuf> {
    let secrets = ["password", "token"].map(|name| path.with_file_name(name));
    secrets.into_iter().filter(|secret| secret.exists() && !written.contains(secret)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;

    use super::*;
    use crate::cli::args::Args;
    use crate::cli::settings::{Environment, Settings};

    /// Goal: what was chosen is what the next start reads, and a secret is its owner's alone; the old file is kept.
    #[test]
    fn what_was_chosen_is_read_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("echomesh/config.toml");
        let args = Args::try_parse_from(["echomesh"]).unwrap();
        let variable = |name: &str| (name == "XDG_CONFIG_HOME").then(|| home.path().display().to_string());
        let odd = "a \"quoted\" \\ name";
        for keep in [Keep::Nothing, Keep::Password("a secret".into()), Keep::Token("0123".into())] {
            let chosen = Chosen {
                server: "voice.example:9".into(),
                user: odd.into(),
                keep: keep.clone(),
                plaintext: false,
                fingerprint: Some(Fingerprint::of(b"a key")),
                input: Some("alsa:plughw:1".into()),
                output: None,
            };
            let written = write(&path, &chosen).unwrap();
            for file in &written {
                assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
            }
            let read = Settings::resolve(&args, &Environment { variable }).unwrap();
            assert_eq!((read.server().as_str(), read.user.as_str()), ("voice.example:9", odd));
            assert_eq!(read.fingerprint, chosen.fingerprint);
            assert_eq!((read.input.as_deref(), read.output), (Some("alsa:plughw:1"), None));
            let left = matches!(keep, Keep::Token(_)).then(|| path.with_file_name("password"));
            assert_eq!(left_over(&path, &written), left.into_iter().collect::<Vec<_>>(), "what is left is told");
            let secret = (read.password.as_str(), read.token.as_str());
            match &keep {
                Keep::Nothing => assert_eq!((secret, written.len()), (("", ""), 1)),
                Keep::Password(password) => assert_eq!(secret, (password.as_str(), "")),
                Keep::Token(token) => assert_eq!(secret, ("", token.as_str())),
            }
        }
        assert!(path.with_extension("toml.old").exists());
    }
}
