//! The command line. Settings that also come from the environment or the configuration file are
//! options without a default here; `settings` puts them together.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use echomesh_audio::recording::Format;

use super::account::Account;
use super::admin::Admin;
use super::bridge::Bridge;
use super::chat::{Change, History, Unread};
use super::control::Order;
use super::doctor::Doctor;
use super::failure::EXIT_CODES;
use super::hotkey_names::Hotkey;
use super::listen::Listen;
use super::processing_args::ProcessingArgs;
use super::room::{Room, Rooms};
use super::settings::Settings;
use super::talk_mode::TalkMode;
use super::threshold::Threshold;

/// A headless EchoMesh client: chat on standard input and output, voice from and to devices or files.
#[derive(Debug, Default, Parser)]
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
    /// Password of the room that is entered, made or set [env, for entering: ECHOMESH_ROOM_PASSWORD]
    #[arg(long, global = true, conflicts_with = "room_password_file")]
    pub room_password: Option<String>,
    /// File whose first line is the room's password [env, for entering: ECHOMESH_ROOM_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub room_password_file: Option<PathBuf>,
    /// File whose first line is a device token, which logs in instead of name and password; `echomesh account token
    /// new` makes one [env: ECHOMESH_TOKEN_FILE, or the token itself: ECHOMESH_TOKEN]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["password", "password_file"])]
    pub token_file: Option<PathBuf>,
    /// Code of an invitation, for the login that makes the account [env: ECHOMESH_INVITATION]
    #[arg(long, global = true, value_name = "CODE")]
    pub invitation: Option<String>,
    /// Come without an account, under the name of --user, where guests are let in
    #[arg(long, global = true, conflicts_with_all = ["password", "password_file", "token_file", "invitation"])]
    pub guest: bool,
    /// Trust exactly the server whose public key has this SHA-256 fingerprint, as it prints it at start
    /// [env: ECHOMESH_FINGERPRINT]
    #[arg(long, global = true, value_name = "SHA256", conflicts_with = "plaintext")]
    pub fingerprint: Option<String>,
    /// Connect without TLS; only to a server on this machine [env: ECHOMESH_PLAINTEXT=true]
    #[arg(long, global = true)]
    pub plaintext: bool,
    /// Configuration file with server, user, password, password_file, token_file, fingerprint, plaintext, input, output,
    /// threshold, hotkey, cues, mouse, keys
    /// [default: $XDG_CONFIG_HOME/echomesh/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say on standard error what happens
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The full-screen interface: rooms, chat and voice; without a command on a terminal, too
    Ui(Ui),
    /// Some questions, as at the first start: server, name, microphone; writes the configuration file, then `ui`
    Setup,
    /// Switch the microphone of the interface that runs: for keys of a window manager
    Control {
        /// What to do; it prints how it is then
        #[arg(value_enum)]
        order: Order,
    },
    /// Be in a room: lines of standard input are said there, what others say is printed
    Join(Join),
    /// Be in a room, and run a command for each line or other event there
    Listen(Listen),
    /// Bridge a room and another program by raw PCM: radios, intercoms
    Bridge(Bridge),
    /// Record a room's voice, a file for each speaker; the room is told
    Record(Record),
    /// Say a WAV or Ogg Opus file in a room, then leave
    Play(Play),
    /// Hold a place in a room's voice for another program, and print the keys it needs: secrets
    VoiceParams(VoiceParams),
    /// Say one line in a room, or to someone
    Say {
        /// Room, or @NAME for one person, who gets it when they are back if they are away
        room: String,
        /// The line
        text: String,
    },
    /// Show what was said in a room, or between you and someone
    History(History),
    /// Show where something was said since you last looked
    Unread(Unread),
    /// Change a line of yours
    Edit {
        /// Where it is
        #[command(flatten)]
        line: Change,
        /// The new line
        text: String,
    },
    /// Write man pages and shell completions into FOLDER, for packages
    #[command(hide = true)]
    Manual {
        /// Made if it is not there
        folder: PathBuf,
    },
    /// Delete a line of yours, or as a moderator
    Delete(Change),
    /// Make a room; `room create` has all that it can be set to
    Create {
        /// Its name
        room: String,
        /// Most members [default: as many as the server allows]
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        capacity: u32,
    },
    /// List the rooms
    Rooms(Rooms),
    /// Make, set or delete a room, and invite to it
    Room(Room),
    /// List the microphones and loudspeakers of this machine, and what they can do
    Devices {
        /// Those too that cannot be used now, and why
        #[arg(long)]
        all: bool,
    },
    /// Hear yourself, without a server, and see what each stage adds to the delay
    Loopback(Loopback),
    /// Find out what is wrong: settings, network, server, voice, sound; says what each means and what to do. Takes
    /// under 20 s, changes nothing, and ends as the first fault would end a call
    Doctor(Doctor),
    /// Say who the server takes this user for
    Whoami,
    /// This account: its password, its devices and their tokens, deleting it; and invitations to the server
    Account(Account),
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
    /// Show so many of the last lines first; 0: none
    #[arg(long, value_name = "LINES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=100))]
    pub history: u32,
    /// Do not mark what is shown as seen
    #[arg(long)]
    pub keep_unread: bool,
    /// Print what happens as JSON, an object on each line (docs/SCRIPTING.md)
    #[arg(long)]
    pub json: bool,
    /// Never give up a server that does not answer
    #[arg(long)]
    pub forever: bool,
    /// Where sound comes from and goes to
    #[command(flatten)]
    pub sound: SoundArgs,
    /// Say the WAV file again and again
    #[arg(long = "loop")]
    pub looped: bool,
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
        self.sound.input != "none" || self.sound.output != "none"
    }
}

/// `echomesh ui`.
#[derive(Debug, ClapArgs)]
pub struct Ui {
    /// Room to enter first
    pub room: Option<String>,
    /// Make the room if it is not there
    #[arg(long)]
    pub create: bool,
    /// Microphone: default, alsa:NAME (`echomesh devices` lists them), a WAV file, or none [default: input of the
    /// configuration file, or default]
    #[arg(long, value_name = "default|alsa:NAME|FILE.wav|none")]
    pub input: Option<String>,
    /// Loudspeaker: likewise
    #[arg(long, value_name = "default|alsa:NAME|FILE.wav|none")]
    pub output: Option<String>,
    /// Less delay: packets of 10 ms and shorter buffers, for twice the packets and no repair of lost ones
    #[arg(long)]
    pub low_delay: bool,
    /// When the microphone is open: while somebody speaks, while a key is held, while it is not, always
    #[arg(long, value_enum, default_value_t)]
    pub talk: TalkMode,
    /// While the microphone is open for who speaks (`--talk voice`): how loud one has to be at least, decibels from full
    /// scale as on the meter, such as -45; auto: what a detector takes for voice, however soft [default: threshold of the
    /// configuration file, or auto]
    #[arg(long, value_name = "DB|auto", allow_hyphen_values = true)]
    pub threshold: Option<Threshold>,
    /// A key that is heard whatever program has the keyboard, for `--talk push` and `mute`: a name of
    /// linux/input-event-codes.h without KEY_, such as f9, rightctrl, pause. It needs the right to read keyboards: the
    /// group `input`, with which each program of yours can read all keys [default: hotkey of the configuration file]
    #[arg(long, value_name = "KEY")]
    pub hotkey: Option<Hotkey>,
    /// Begin muted
    #[arg(long)]
    pub muted: bool,
    /// No short sounds when somebody comes or goes, or the microphone or the loudspeaker is switched
    #[arg(long)]
    pub no_cues: bool,
    /// The mouse does something: a click looks at a room, a conversation or somebody, the wheel scrolls. The terminal
    /// selects text with Shift then
    #[arg(long)]
    pub mouse: bool,
    /// What is done to a microphone's sound
    #[command(flatten)]
    pub processing: ProcessingArgs,
}

/// The interface's options of old, where no command was given.
#[derive(Debug, Parser)]
pub struct UiAlone {
    #[command(flatten)]
    pub ui: Ui,
}

impl Ui {
    /// Sound as other commands have it.
    pub fn sound(&self, settings: &Settings) -> SoundArgs {
        let device = |named: &Option<String>, set: &Option<String>| {
            named.as_ref().or(set.as_ref()).map_or_else(|| "default".to_owned(), String::clone)
        };
        SoundArgs {
            input: device(&self.input, &settings.input),
            output: device(&self.output, &settings.output),
            low_delay: self.low_delay,
            processing: self.processing,
        }
    }
}

/// `echomesh record`.
#[derive(Debug, ClapArgs)]
pub struct Record {
    /// Room
    pub room: String,
    /// Folder for the files; made if it is not there, and no file in it is written over
    pub folder: PathBuf,
    /// Kind of the files
    #[arg(long, value_enum, default_value_t)]
    pub format: RecordFormat,
    /// End after so many seconds [default: at Ctrl-C, or SIGTERM]
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
}

/// Kind of recorded files.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum RecordFormat {
    /// Ogg Opus: the very packets that were sent
    #[default]
    Opus,
    /// WAV: decoded, 48 kHz, mono, 16 bits
    Wav,
}

impl From<RecordFormat> for Format {
    fn from(format: RecordFormat) -> Self {
        match format {
            RecordFormat::Opus => Self::Opus,
            RecordFormat::Wav => Self::Wav,
        }
    }
}

/// `echomesh play`.
#[derive(Debug, ClapArgs)]
pub struct Play {
    /// Room
    pub room: String,
    /// A WAV file of any rate, or an Ogg Opus file
    pub file: String,
    /// Make the room if it is not there
    #[arg(long)]
    pub create: bool,
    /// End after so many seconds [default: at the file's end]
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
}

/// Where sound comes from and goes to.
#[derive(Debug, ClapArgs)]
pub struct SoundArgs {
    /// What to say: a microphone (`default`, or `alsa:` and a name that `echomesh devices` lists), a WAV
    /// or Ogg Opus file, `tone`, or `none`
    #[arg(long, value_name = "default|alsa:NAME|FILE|tone|none", default_value = "none")]
    pub input: String,
    /// Where what is heard goes: a loudspeaker (`default`, or `alsa:` and a name), a WAV file, or `none`
    #[arg(long, value_name = "default|alsa:NAME|FILE.wav|none", default_value = "none")]
    pub output: String,
    /// Less delay: packets of 10 ms and shorter buffers, for twice the packets and no repair of lost ones
    #[arg(long)]
    pub low_delay: bool,
    /// What is done to a microphone's sound
    #[command(flatten)]
    pub processing: ProcessingArgs,
}

/// `echomesh loopback`.
#[derive(Debug, ClapArgs)]
pub struct Loopback {
    /// Where sound comes from and goes to
    #[command(flatten)]
    pub sound: SoundArgs,
    /// End after so many seconds [default: at Ctrl-C, or SIGTERM]
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
}

/// A positive number of seconds, at most a year.
pub fn seconds(text: &str) -> Result<Duration, String> {
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
        let Some(Command::Join(join)) = args.command else { panic!("join") };
        assert_eq!(join.duration, Some(Duration::from_millis(1_500)));
        assert!(!join.wants_voice());
    }

    /// Goal: mistakes are told before anything is connected.
    #[test]
    fn mistakes_are_usage_errors() {
        for wrong in [
            &["echomesh", "join"][..],
            &["echomesh", "join", "lobby", "--for", "0"],
            &["echomesh", "join", "lobby", "--for", "nan"],
            &["echomesh", "say", "lobby"],
            &["echomesh", "edit", "lobby", "text"],
            &["echomesh", "history", "lobby", "--before", "1", "--after", "2"],
            &["echomesh", "join", "lobby", "--history", "101"],
            &["echomesh", "listen", "lobby"],
            &["echomesh", "listen", "lobby", "--on", "thunder", "--exec", "true"],
            &["echomesh", "bridge", "lobby", "--rate", "7999"],
            &["echomesh", "bridge", "lobby", "--channels", "9"],
            &["echomesh", "record", "lobby"],
            &["echomesh", "record", "lobby", "folder", "--format", "mp3"],
            &["echomesh", "play", "lobby"],
            &["echomesh", "voice-params", "lobby", "--for", "-1"],
            &["echomesh", "rooms", "--password", "a", "--password-file", "b"],
            &["echomesh", "rooms", "--plaintext", "--fingerprint", "00"],
            &["echomesh", "rooms", "--guest", "--token-file", "t"],
            &["echomesh", "account", "delete"],
            &["echomesh", "account", "token", "revoke"],
        ] {
            let error = Args::try_parse_from(wrong).unwrap_err();
            assert!(error.use_stderr(), "{wrong:?}");
        }
    }
}
