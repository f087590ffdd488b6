//! The command line.
//!
//! Not what the workloads are: see `workload`.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, ValueEnum};

use crate::load::Talk;
use crate::payload::Payload;

const STYLES: Styles =
    Styles::styled().header(AnsiColor::Green.on_default().bold()).literal(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Each simulated client is a whole one: a TLS session with a login, in a room, with SRTP voice of its own on a socket of
its own. Latency is from the speaker's send to the kernel's receive stamp at the listener.

Examples:
  echomesh-loadtest                               a tour of about two minutes
  echomesh-loadtest w2 --runs 3 --json w2.json    one workload, three times, results in a file
  echomesh-loadtest w5 --shards 1,2               what one and two shards carry
  echomesh-loadtest voice --rooms 5 --members 20 --speakers 2 --payload opus-vbr --talk 1.5/3
  echomesh-loadtest w1 --server voice.example.org:8888 --fingerprint SHA256:…    a server elsewhere

A server elsewhere is loaded as if by that many people: ask its operator first. Its processor and memory are not known
here, its --speakers-max (8 by default) decides how many are heard in a room, and its --bitrate-kbit-max how much
each may say.
It stops in order on Ctrl-C. Exit codes: 0 done, 1 could not go on (the message says what to do), 2 wrong arguments.";

/// Load generator for EchoMesh servers: loss, latency, cost and capacity of voice, logins, chat and idle members.
///
/// Without --server it starts the echomesh-server beside this program, on loopback, with data of its own that it
/// removes, cheap password hashing (but for `logins`), --speakers-max 0 and --bitrate-kbit-max 0, so that
/// everything that is said is heard.
#[derive(Clone, Debug, Parser)]
#[command(name = "echomesh-loadtest", version, max_term_width = 100, styles = STYLES, after_help = AFTER_HELP)]
pub struct Args {
    /// What to run, in this order [default: a tour: w1 w2 w3 w5 logins idle chat, each kept short]
    #[arg(value_enum, value_name = "WORKLOAD")]
    pub workloads: Vec<Name>,
    /// The server's program [default: echomesh-server beside this one]
    #[arg(long, value_name = "PATH", help_heading = "Server")]
    pub server_binary: Option<PathBuf>,
    /// Its shards; several: each workload with each
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1", help_heading = "Server",
        value_parser = clap::value_parser!(u32).range(1..=64))]
    pub shards: Vec<u32>,
    /// An argument for it; may be repeated, and wins over this tool's own
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, help_heading = "Server")]
    pub server_arg: Vec<String>,
    /// A server that runs already, here or elsewhere
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["server_binary", "server_arg"], help_heading = "Server")]
    pub server: Option<String>,
    /// Its key, as it prints it at its start; without, any is taken
    #[arg(long, value_name = "SHA256", requires = "server", help_heading = "Server")]
    pub fingerprint: Option<String>,
    /// Its counters, http://HOST:PORT/metrics
    #[arg(long, value_name = "URL", requires = "server", help_heading = "Server")]
    pub metrics: Option<String>,
    /// Its process, if it is on this machine: for its processor time and memory
    #[arg(long, requires = "server", help_heading = "Server")]
    pub pid: Option<u32>,
    /// Cores of the server [default: the first ones, if there are enough for server and generator]
    #[arg(long, value_name = "CORE", value_delimiter = ',', help_heading = "Placement")]
    pub server_core: Option<Vec<u32>>,
    /// Cores of the generator, one a thread [default: those behind the server's]
    #[arg(long, value_name = "CORE", value_delimiter = ',', help_heading = "Placement")]
    pub core: Option<Vec<u32>>,
    /// Threads of the generator
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Placement",
        value_parser = clap::value_parser!(u32).range(1..=2))]
    pub threads: u32,
    /// Share of listeners that decrypt all they hear; the others count it by its clear header [default: 1, in ramps
    /// 1/16]
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Load")]
    pub opened: Option<f64>,
    /// Rooms of `voice` and `ramp`
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Load",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rooms: u32,
    /// Members of each room; of the room in chat workloads, 100 if not given
    #[arg(long, value_name = "N", help_heading = "Load", value_parser = clap::value_parser!(u32).range(2..=5_000))]
    pub members: Option<u32>,
    /// Speakers of each room in `voice`; in `ramp`, where it begins
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Load",
        value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub speakers: u32,
    /// Bytes of Opus in a packet, or opus-vbr: as real speech at 32 kbit/s has them
    #[arg(long, value_name = "N|opus-vbr", default_value = "100", help_heading = "Load")]
    pub payload: Payload,
    /// How speakers talk: continuous, or seconds of speech and of silence, such as 1.5/3
    #[arg(long, value_name = "TALK", default_value = "continuous", help_heading = "Load")]
    pub talk: Talk,
    /// Measured time of `voice`, idle, chat and churn workloads [default: 5, idle 4, chat 3, churn 10]
    #[arg(long, value_parser = measured, help_heading = "Load")]
    pub seconds: Option<f64>,
    /// Clients of `idle`
    #[arg(long, value_name = "N", default_value_t = 1_000, help_heading = "Load",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: u32,
    /// Lines under way in `chat`
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Load",
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub window: u32,
    /// Clients on their way at a time while connecting
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Load",
        value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub connecting: u32,
    /// Repeat everything so often
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Results",
        value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// All results, as one JSON document
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub json: Option<PathBuf>,
    /// The same for people, as one HTML page
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub report: Option<PathBuf>,
    /// Only results, no progress
    #[arg(long, help_heading = "Results")]
    pub quiet: bool,
    /// A self-check of about ten seconds: a little of each workload, and exit code 1 if any packet of an easy load is
    /// lost
    #[arg(long, conflicts_with = "workloads", help_heading = "Results")]
    pub smoke: bool,
}

/// A workload's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Voice: 10 rooms of 10, one speaker in each
    W1,
    /// Voice: 20 rooms of 10, three speakers in each
    W2,
    /// Voice: one room of 100, three speakers
    W3,
    /// Voice: one room of 500, two speakers
    W4,
    /// Capacity: 100 rooms of 10, more and more speakers
    W5,
    /// Capacity: 4 rooms of 100, more and more speakers
    W5big,
    /// Memory and processor time of members who do nothing: --clients
    Idle,
    /// Password logins, TLS handshakes, session resumes, logins by device token
    Logins,
    /// Chat: one room, --window lines always under way
    Chat,
    /// Chat: one room, 50 lines a second
    ChatOpen,
    /// Voice as in w2 while others come, go and reconnect
    Churn,
    /// Voice of your own: --rooms --members --speakers --payload --talk --seconds
    Voice,
    /// Capacity of your own: --rooms --members, from --speakers on
    Ramp,
}

fn share(text: &str) -> Result<f64, String> {
    let fraction =
        text.split_once('/').and_then(|(part, whole)| Some(part.parse::<f64>().ok()? / whole.parse::<f64>().ok()?));
    fraction
        .or_else(|| text.parse().ok())
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "give a share from 0 to 1, such as 0.25 or 1/16".to_owned())
}

fn measured(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.5..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "give seconds, from 0.5 to 86400".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Goal: the command line is sound, and says what it wants where a value is wrong.
    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        let refused = |arguments: &[&str]| {
            Args::try_parse_from([&["echomesh-loadtest"], arguments].concat()).unwrap_err().to_string()
        };
        assert!(refused(&["w1", "--payload", "0"]).contains("opus-vbr"));
        assert!(refused(&["w1", "--opened", "2"]).contains("1/16"));
        assert!(refused(&["w9"]).contains("w5big"));
        assert!(refused(&["w1", "--pid", "7"]).contains("--server"));
    }

    /// Goal: lists, shares and hyphens are read as the help shows them.
    #[test]
    fn values_are_read() {
        let args = Args::parse_from([
            "echomesh-loadtest",
            "w1",
            "chat-open",
            "--shards",
            "1,2",
            "--opened",
            "1/16",
            "--server-arg",
            "--no-pin",
        ]);
        assert_eq!((args.workloads, args.shards), (vec![Name::W1, Name::ChatOpen], vec![1, 2]));
        assert_eq!((args.opened, args.server_arg), (Some(0.0625), vec!["--no-pin".to_owned()]));
    }
}
