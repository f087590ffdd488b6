//! `echomesh bridge`: another program's sound in a room, and the room's sound in another program: radios, intercoms.
//!
//! Not the stay, which is `join`'s, nor the pipes, which are `echomesh_audio::pcm`'s.
//! In: raw PCM. Out: raw PCM. Bounds: those of `pcm`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use echomesh_audio::engine::{Endpoint, EngineSettings};
use echomesh_audio::pcm::{CHANNELS, PcmSettings, RATES};
use echomesh_audio::processing::ProcessingSettings;
use echomesh_audio::talkspurt::TalkspurtSettings;
use echomesh_client::Announce;

use super::args::{SoundArgs, seconds};
use super::failure::Failure;
use super::join::{Plan, stay};
use super::news::Teller;
use super::processing_args::ProcessingArgs;
use super::settings::Settings;
use super::sound::engine_settings;
use super::speech::Speech;

/// No sound in that direction.
const NONE: &str = "none";

/// `echomesh bridge`.
#[derive(Debug, ClapArgs)]
pub struct Bridge {
    /// Room
    room: String,
    /// Raw PCM to say, 16 bits, little-endian: `-` is standard input; or a named pipe, a file, or `none`
    #[arg(long, value_name = "-|PATH|none", default_value = "-")]
    input: String,
    /// Where raw PCM of what is heard goes: `-` is standard output; or a named pipe, a file, or `none`
    #[arg(long, value_name = "-|PATH|none", default_value = "-")]
    output: String,
    /// Rate of both, Hz
    #[arg(long, value_name = "HZ", default_value_t = 48_000,
          value_parser = clap::value_parser!(u32).range(i64::from(*RATES.start())..=i64::from(*RATES.end())))]
    rate: u32,
    /// Channels of both, interleaved; the room has one
    #[arg(long, default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(i64::from(*CHANNELS.start())..=i64::from(*CHANNELS.end())))]
    channels: u16,
    /// When the input is sent: while somebody speaks in it (VOX), or always
    #[arg(long, value_enum, default_value_t)]
    talk: BridgeTalk,
    /// Less delay: packets of 10 ms and shorter buffers, for twice the packets and no repair of lost ones
    #[arg(long)]
    low_delay: bool,
    /// Make the room if it is not there
    #[arg(long)]
    create: bool,
    /// Never give up a server that does not answer; named pipes outlive the programs at their other ends
    #[arg(long)]
    forever: bool,
    /// End after so many seconds [default: at the input's end, Ctrl-C, or SIGTERM]
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
}

/// When a bridge's input is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum BridgeTalk {
    /// While somebody speaks in it
    #[default]
    Voice,
    /// Always
    Always,
}

impl Bridge {
    fn endpoint(&self, path: &str) -> Endpoint {
        if path == NONE {
            return Endpoint::Nothing;
        }
        let Self { rate, channels, forever, .. } = *self;
        Endpoint::Pcm(PcmSettings { path: PathBuf::from(path), rate, channels, stays_open: forever })
    }

    fn engine_settings(&self) -> Result<EngineSettings, Failure> {
        let none = || NONE.to_owned();
        let processing = ProcessingArgs::default();
        let sound = SoundArgs { input: none(), output: none(), low_delay: self.low_delay, processing };
        let voice_only = self.talk == BridgeTalk::Voice;
        Ok(EngineSettings {
            input: self.endpoint(&self.input),
            output: self.endpoint(&self.output),
            // The sound stays as it is.
            processing: ProcessingSettings { detect_voice: voice_only, ..ProcessingSettings::off() },
            talkspurts: TalkspurtSettings { voice_only, ..TalkspurtSettings::default() },
            ..engine_settings(&sound, false)?
        })
    }

    fn check(&self) -> Result<(), Failure> {
        if self.input == NONE && self.output == NONE {
            return Err(Failure::Usage("a bridge needs --input or --output".to_owned()));
        }
        let advice = "give it a pipe, or a path or none";
        if self.input == "-" && std::io::stdin().is_terminal() {
            return Err(Failure::Usage(format!("standard input is a terminal: {advice} by --input")));
        }
        if self.output == "-" && std::io::stdout().is_terminal() {
            return Err(Failure::Usage(format!("standard output is a terminal: {advice} by --output")));
        }
        Ok(())
    }
}

/// Bridges.
///
/// # Errors
/// [`Failure`]; `PeerEnded` if the program that reads the output ended.
pub async fn run(settings: &Settings, bridge: &Bridge) -> Result<(), Failure> {
    bridge.check()?;
    let speech = Speech::open(&bridge.engine_settings()?)?;
    let (muted, deafened) = (bridge.input == NONE, bridge.output == NONE);
    let plan = Plan {
        room: &bridge.room,
        create: bridge.create,
        history: 0,
        keep_unread: true,
        speech: Some(speech),
        announce: Announce { talking: false, muted, deafened },
        packet_log: None,
        duration: bridge.duration,
        forever: bridge.forever,
        reads_lines: false,
        ends_with_sound: true,
    };
    stay(settings, plan, Teller::Listener).await
}
