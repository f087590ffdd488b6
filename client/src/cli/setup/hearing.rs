//! The test of microphone and loudspeaker: a level meter while one speaks, and one's own voice back.
//!
//! Not a measurement: `loopback` and `doctor` measure. In: answers, and sound. Out: the devices that were chosen.
//! Bounds: [`LISTEN`] each time, `TRIES` times.

use std::io::{BufRead, Write};
use std::time::Duration;

use clap::Parser;
use echomesh_audio::alsa::Direction;
use echomesh_audio::alsa::list::devices;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::dialog::Dialog;
use crate::cli::args::SoundArgs;
use crate::cli::commands::printable;
use crate::cli::failure::Failure;
use crate::cli::loopback::Echo;
use crate::cli::sound::engine_settings;
use crate::cli::speech::Speech;

/// How long one hears oneself.
const LISTEN: Duration = Duration::from_secs(6);

/// Between two pictures of the meter.
const PICTURE: Duration = Duration::from_millis(100);

/// How often devices may be chosen anew.
const TRIES: u32 = 5;

/// Letters of the meter, and the levels at its ends, −dBov.
const LETTERS: u8 = 30;
const QUIETEST: u8 = 70;
const LOUDEST: u8 = 10;

/// Nothing louder was heard: −dBov.
const UNHEARD: u8 = 60;

#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    sound: SoundArgs,
}

/// The devices that were chosen; `None` is ALSA's default.
pub fn test(
    dialog: &mut Dialog<impl BufRead, impl Write>,
    runtime: &tokio::runtime::Runtime,
) -> Result<(Option<String>, Option<String>), Failure> {
    let question = "\nTest microphone and loudspeaker? Best with headphones";
    if !dialog.choose(question, &[("yes", true), ("no", false)])? {
        return Ok((None, None));
    }
    let (mut input, mut output) = (None, None);
    for _ in 0..TRIES {
        let outcome = runtime.block_on(listen(dialog, input.as_deref(), output.as_deref()));
        match outcome {
            Ok(loudest) if loudest > UNHEARD => dialog.say("The microphone heard nothing: is it muted?")?,
            Ok(_) => dialog.say("The microphone hears you.")?,
            Err(failure) => dialog.say(&format!("That does not work: {failure}."))?,
        }
        let is_well = outcome_is_well(dialog)?;
        match is_well {
            Next::Well => return Ok((input, output)),
            Next::Without => {
                dialog.say("You can read and write all the same; `echomesh doctor` says what is wrong with sound.")?;
                return Ok((input, output));
            }
            Next::Others => {
                input = pick(dialog, "Microphone", Direction::Capture)?;
                output = pick(dialog, "Loudspeaker", Direction::Playback)?;
            }
        }
    }
    dialog.say("`echomesh doctor` says what is wrong with sound; `echomesh setup` asks again.")?;
    Ok((input, output))
}

#[derive(Clone, Copy)]
enum Next {
    Well,
    Others,
    Without,
}

fn outcome_is_well(dialog: &mut Dialog<impl BufRead, impl Write>) -> Result<Next, Failure> {
    let choices = [("yes", Next::Well), ("other devices", Next::Others), ("go on without", Next::Without)];
    dialog.choose("Did you hear yourself?", &choices)
}

/// Gives back what is said, with a meter; the loudest that came, −dBov.
async fn listen(
    dialog: &mut Dialog<impl BufRead, impl Write>,
    input: Option<&str>,
    output: Option<&str>,
) -> Result<u8, Failure> {
    let mut sound = Defaults::parse_from(["echomesh"]).sound;
    sound.input = input.unwrap_or("default").to_owned();
    sound.output = output.unwrap_or("default").to_owned();
    let mut speech = Speech::open(&engine_settings(&sound, false)?)?;
    dialog.say(&format!("Speak: for {} seconds you hear yourself.", LISTEN.as_secs()))?;
    speech.begin(0);
    let (mut echo, mut loudest, end) = (Echo::default(), u8::MAX, Instant::now() + LISTEN);
    let mut pictures = interval(PICTURE);
    pictures.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        tokio::select! {
            () = speech.ready() => {}
            _ = pictures.tick() => {
                let level = speech.engine().input_level() & 0x7F;
                loudest = loudest.min(level);
                let drawn = write!(dialog.output, "\r  {}", meter(level)).and_then(|()| dialog.output.flush());
                drawn.map_err(|error| Failure::Local(format!("cannot write to the terminal: {error}")))?;
            }
        }
        echo.give_back(&mut speech);
    }
    dialog.say("")?;
    let mut news = Vec::new();
    while let Some(sentence) = speech.next_news() {
        news.push(sentence);
    }
    speech.finish()?;
    for sentence in news {
        dialog.say(&printable(&sentence))?;
    }
    Ok(loudest)
}

/// A bar, and the level in figures, always as long.
fn meter(level: u8) -> String {
    let above = QUIETEST.saturating_sub(level.max(LOUDEST));
    let full = usize::from(u16::from(above) * u16::from(LETTERS) / u16::from(QUIETEST - LOUDEST));
    let decibels = format!("-{level} dB");
    format!("[{}{}] {decibels:>7}", "#".repeat(full), ".".repeat(usize::from(LETTERS) - full))
}

/// One of the devices that can be used now.
fn pick(
    dialog: &mut Dialog<impl BufRead, impl Write>,
    title: &str,
    direction: Direction,
) -> Result<Option<String>, Failure> {
    let found = devices(direction).map_err(Failure::audio)?;
    let usable: Vec<_> = found.into_iter().filter(|device| device.abilities.is_ok()).collect();
    let mut list: Vec<String> =
        usable.iter().map(|device| printable(&format!("{}  {}", device.name, device.description))).collect();
    list.push("none".to_owned());
    let at = dialog.pick(title, &list)?;
    let Some(device) = usable.get(at) else { return Ok(Some("none".to_owned())) };
    Ok((device.name != "default").then(|| format!("alsa:{}", device.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the meter is as long at any level, empty in silence and full when somebody shouts.
    #[test]
    fn the_meter_fills_with_loudness() {
        let full = |level: u8| meter(level).matches('#').count();
        assert_eq!((full(127), full(70), full(10), full(0)), (0, 0, 30, 30));
        assert!((0..127).all(|level| full(level) >= full(level + 1)));
        assert!((0..=127).all(|level| meter(level).len() == meter(0).len()));
    }
}
