//! The command line. Settings that also come from the environment or the configuration file are
//! options without a default here; `settings` puts them together.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};

use super::admin::Admin;
use super::failure::EXIT_CODES;

/// A headless EchoMesh client: chat on standard input and output, voice from and to files.
#[derive(Debug, Parser)]
#[command(name = "echomesh", version, after_help = EXIT_CODES)]
pub struct Args {
    /// Server, HOST or HOST:PORT [env: ECHOMESH_SERVER] [default: localhost:8888]
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    pub server: Option<String>,
    /// Account name [env: ECHOMESH_USER]
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// Password; other users of this machine can see it: prefer --password-file or the prompt
    /// [env: ECHOMESH_PASSWORD]
    #[arg(long, global = true, conflicts_with = "password_file")]
    pub password: Option<String>,
    /// File whose first line is the password [env: ECHOMESH_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Trust exactly the server whose public key has this SHA-256 fingerprint, as it prints it at start
    /// [env: ECHOMESH_FINGERPRINT]
    #[arg(long, global = true, value_name = "SHA256", conflicts_with = "plaintext")]
    pub fingerprint: Option<String>,
    /// Connect without TLS; only to a server on this machine [env: ECHOMESH_PLAINTEXT=true]
    #[arg(long, global = true)]
    pub plaintext: bool,
    /// Configuration file with server, user, password, password_file, fingerprint, plaintext
    /// [default: $XDG_CONFIG_HOME/echomesh/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say on standard error what happens
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Be in a room: lines of standard input are said there, what others say is printed
    Join(Join),
    /// Hold a place in a room's voice for another program, and print the keys it needs: secrets
    VoiceParams(VoiceParams),
    /// Say one line in a room
    Say {
        /// Room
        room: String,
        /// The line
        text: String,
    },
    /// Make a room
    Create {
        /// Its name
        room: String,
        /// Most members [default: as many as the server allows]
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        capacity: u32,
    },
    /// List the rooms
    Rooms,
    /// Say who the server takes this user for
    Whoami,
    /// Moderate: mute, kick, ban, roles, rights of rooms, the audit log
    Admin(Admin),
    /// Make this account the server's owner
    Claim {
        /// Printed at the server's first start
        code: String,
    },
}

/// `echomesh voice-params`.
#[derive(Debug, ClapArgs)]
pub struct VoiceParams {
    /// Room
    pub room: String,
    /// Print JSON, an object on each line, instead of a table
    #[arg(long)]
    pub json: bool,
    /// Make the room if it is not there
    #[arg(long)]
    pub create: bool,
    /// End after so many seconds [default: at Ctrl-C, or SIGTERM]
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
}

/// `echomesh join`.
#[derive(Debug, ClapArgs)]
pub struct Join {
    /// Room
    pub room: String,
    /// Make the room if it is not there
    #[arg(long)]
    pub create: bool,
    /// What to say: a WAV file, `tone`, or `none`
    #[arg(long, value_name = "FILE.wav|tone|none", default_value = "none")]
    pub input: String,
    /// Say the WAV file again and again
    #[arg(long = "loop")]
    pub looped: bool,
    /// Where what is heard goes: a WAV file, or `none`
    #[arg(long, value_name = "FILE.wav|none", default_value = "none")]
    pub output: String,
    /// End after so many seconds [default: at Ctrl-C, or SIGTERM]
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// Write a line for each voice packet: sent|received,monotonic_us,ssrc,index,media_time
    #[arg(long, value_name = "FILE")]
    pub packet_log: Option<PathBuf>,
}

impl Join {
    /// Whether anything is said or heard.
    pub fn wants_voice(&self) -> bool {
        self.input != "none" || self.output != "none"
    }
}

/// A positive number of seconds, at most a year.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    if !(seconds > 0.0 && seconds <= 365.0 * 86_400.0) {
        return Err("give more than 0 seconds and at most a year".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Goal: the definition is sound, and global options are taken after the command as people type them.
    #[test]
    fn options_may_follow_the_command() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["echomesh", "join", "lobby", "--for", "1.5", "--user", "ann"]).unwrap();
        assert_eq!(args.user.as_deref(), Some("ann"));
        let Command::Join(join) = args.command else { panic!("join") };
        assert_eq!(join.duration, Some(Duration::from_millis(1_500)));
        assert!(!join.wants_voice());
    }

    /// Goal: mistakes are told before anything is connected.
    #[test]
    fn mistakes_are_usage_errors() {
        for wrong in [
            &["echomesh"][..],
            &["echomesh", "join"],
            &["echomesh", "join", "lobby", "--for", "0"],
            &["echomesh", "join", "lobby", "--for", "nan"],
            &["echomesh", "say", "lobby"],
            &["echomesh", "voice-params", "lobby", "--for", "-1"],
            &["echomesh", "rooms", "--password", "a", "--password-file", "b"],
            &["echomesh", "rooms", "--plaintext", "--fingerprint", "00"],
        ] {
            let error = Args::try_parse_from(wrong).unwrap_err();
            assert!(error.use_stderr(), "{wrong:?}");
        }
    }
}
