//! Microphone and loudspeaker: whether they can be had, and whether what they do is good enough for a call.
//!
//! Not the measuring, which `measure` does on threads while the network is looked at.
//! In: names of devices. Out: findings. Bounds: a sound server that does not answer is given up.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use echomesh_audio::SAMPLE_RATE;
use echomesh_audio::alsa::{DeviceError, Direction, Problem};
use echomesh_audio::engine::Endpoint;

use super::finding::{Finding, Report};
use super::level::{Drift, Loudness};
use super::measure::{LENGTH, Measured, measure};
use crate::cli::failure::Failure;

/// Clocks further apart than this are not corrected, parts per million: what the jitter buffer believes.
const DRIFT_PPM_MAX: f64 = 500.0;

/// A slope is no better known than so many times its error.
const SURE: f64 = 4.0;

/// Where the kernel has its sound devices.
const NODES: &str = "/dev/snd";

type Outcome = Result<Measured, DeviceError>;

/// Devices that are being watched.
pub struct Sound {
    watched: Vec<(Direction, String, Option<Receiver<Outcome>>)>,
    until: Instant,
}

/// Begins to watch; `most` is the longest wait for what they find, from now.
pub fn begin(input: &str, output: &str, most: Duration) -> Sound {
    let watch = |direction, text: &str| {
        let (sender, outcome) = channel();
        let Endpoint::Device(name) = Endpoint::parse(text) else { return (direction, text.to_owned(), None) };
        let device = name.clone();
        // Not joined: one that hangs in a sound server ends with the program. Who does not wait is not told.
        let begun = std::thread::Builder::new()
            .name(format!("doctor-{direction}"))
            .spawn(move || drop(sender.send(measure(&device, direction))));
        (direction, name, begun.is_ok().then_some(outcome))
    };
    let watched = vec![watch(Direction::Capture, input), watch(Direction::Playback, output)];
    Sound { watched, until: Instant::now() + most }
}

fn part(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "microphone",
        Direction::Playback => "loudspeaker",
    }
}

impl Sound {
    /// Waits for what was found, and tells it.
    pub fn tell(self, report: &mut Report) {
        let mut drifts = Vec::new();
        for (direction, name, outcome) in self.watched {
            let Some(outcome) = outcome else {
                report.tell(Finding::skipped(part(direction), format!("{name}: only devices are looked at")));
                continue;
            };
            match outcome.recv_timeout(self.until.saturating_duration_since(Instant::now())) {
                Ok(Ok(measured)) => {
                    judge(direction, &name, &measured).into_iter().for_each(|finding| report.tell(finding));
                    drifts.push((direction, measured.drift));
                }
                Ok(Err(error)) => report.tell(unusable(&error)),
                Err(_) => report.tell(silent_server(direction, &name)),
            }
        }
        if let [(_, Some(microphone)), (_, Some(loudspeaker))] = drifts.as_slice() {
            report.tell(apart(*microphone, *loudspeaker));
        }
    }
}

fn silent_server(direction: Direction, name: &str) -> Finding {
    Finding::fault(part(direction), Failure::Audio, format!("{name} does not answer"))
        .means("ALSA waits for a sound server or a driver that hangs")
        .remedy("`systemctl --user restart pipewire pipewire-pulse` (or `pulseaudio -k`), or unplug the device")
}

/// A device that cannot be used: why, and one thing to do.
fn unusable(error: &DeviceError) -> Finding {
    let DeviceError { device, direction, problem } = error;
    let access = match problem {
        Problem::Unknown | Problem::Forbidden => Access::of(Path::new(NODES)),
        _ => Access::Free,
    };
    let (found, remedy) = match (problem, access) {
        (Problem::Forbidden, _) | (Problem::Unknown, Access::Forbidden) => {
            (format!("this user may not open {device}"), "`sudo usermod -aG audio $USER`, and log in again".to_owned())
        }
        (Problem::Unknown, Access::NoCard) => (
            format!("there is no {device}: the machine has no sound card"),
            format!(
                "plug one in, start a sound server (`systemctl --user start pipewire-pulse`), or do without: \
                 --{} none",
                option(*direction)
            ),
        ),
        (Problem::Unknown, Access::Free) => (
            format!("there is no {device}"),
            format!("`echomesh devices` lists what there is: take one of them, --{} alsa:NAME", option(*direction)),
        ),
        (Problem::Busy, _) => (
            format!("{device} is busy{}", holders(Path::new("/proc"))),
            "end the program that has it, or use a device that several may share, such as default".to_owned(),
        ),
        (Problem::Gone, _) => {
            (format!("{device} is gone"), "plug it in again, or start its sound server again".to_owned())
        }
        (Problem::NoServer, _) => (
            format!("{device} leads to a sound server that does not run"),
            "`systemctl --user start pipewire pipewire-pulse`, or name the hardware itself: alsa:plughw:0".to_owned(),
        ),
        (Problem::Unfit(what), _) => (
            format!("{device} has no {what} that can be used"),
            format!("try it through ALSA's converter: --{} \"alsa:plug:'{device}'\"", option(*direction)),
        ),
        (Problem::NoClock, _) => (
            format!("{device} takes and gives sound as fast as one likes: it is no real device"),
            "use another: `echomesh devices` lists what there is".to_owned(),
        ),
        (Problem::Stalled, _) => {
            (format!("{device} runs but moves no samples"), "unplug it and plug it in again".to_owned())
        }
        (Problem::Other(doing, number), _) => {
            let system = std::io::Error::from_raw_os_error(*number);
            (format!("{device} fails ({doing}: {system})"), "try another: `echomesh devices` lists them".to_owned())
        }
    };
    let means = match direction {
        Direction::Capture => "nobody hears you",
        Direction::Playback => "you hear nobody",
    };
    Finding::fault(part(*direction), Failure::Audio, found).means(means).remedy(remedy)
}

fn option(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "input",
        Direction::Playback => "output",
    }
}

/// Whether the kernel's devices can be had: a name that leads to a card is "not there" when the card may not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    NoCard,
    Forbidden,
    Free,
}

impl Access {
    fn of(nodes: &Path) -> Self {
        let is_card = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("controlC"));
        let cards: Vec<_> = std::fs::read_dir(nodes)
            .map(|entries| entries.flatten().map(|entry| entry.path()).filter(|path| is_card(path)).collect())
            .unwrap_or_default();
        if cards.is_empty() {
            return Self::NoCard;
        }
        let forbidden = |path: &std::path::PathBuf| {
            std::fs::File::open(path).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
        };
        if cards.iter().all(forbidden) { Self::Forbidden } else { Self::Free }
    }
}

/// Programs that have a sound device open, of those one may look at.
fn holders(processes: &Path) -> String {
    let has_sound = |process: &Path| {
        let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok())
            .any(|target| target.starts_with(NODES) && target.to_string_lossy().contains("/pcm"))
    };
    let own = std::process::id().to_string();
    let names: Vec<String> = std::fs::read_dir(processes)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|process| process.file_name().to_string_lossy() != own)
        .map(|process| process.path())
        .filter(|process| has_sound(process))
        .filter_map(|process| std::fs::read_to_string(process.join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    if names.is_empty() { String::new() } else { format!(": {} has it", names.join(", ")) }
}

/// A device that works, in all that can be said of it.
fn judge(direction: Direction, name: &str, measured: &Measured) -> Vec<Finding> {
    let part = part(direction);
    let granted = &measured.granted;
    let mut findings = vec![if granted.rate == SAMPLE_RATE {
        Finding::ok(part, format!("{name}: {granted}"))
    } else {
        Finding::warning(part, format!("{name} has {} Hz, not {SAMPLE_RATE}", granted.rate))
            .means("sound is converted: a little more work and delay, and nothing above half its rate is heard")
            .remedy("use another device, or let the sound server convert it: --input default, --output default")
    }];
    if direction == Direction::Capture {
        findings.push(loudness(measured));
    }
    let seconds = LENGTH.as_secs();
    findings.push(match measured.xruns {
        0 => Finding::ok("sound in time", format!("{part}: no xrun in {seconds} s")),
        xruns => Finding::warning("sound in time", format!("{part}: xruns in {seconds} s: {xruns}"))
            .means("sound is cut for a moment each time: this machine did not run the program in time")
            .remedy("allow real-time priority (see there), and end what keeps the processor busy"),
    });
    if let Some(drift) = measured.drift {
        findings.push(clock(part, drift));
    }
    findings
}

fn loudness(measured: &Measured) -> Finding {
    let db = measured.level.loudest_db();
    let mixer = "turn it up in the mixer: `alsamixer -V capture`, or `pavucontrol`";
    match measured.level.judge() {
        Loudness::Good => Finding::ok("microphone level", format!("the loudest was at {db:.0} dB of full scale")),
        Loudness::Nothing | Loudness::Silent => {
            Finding::fault("microphone level", Failure::Audio, "the microphone gives nothing but silence")
                .means("it is muted, not plugged in, or another one is meant: nobody will hear you")
                .remedy(
                    "unmute it (a switch on the cable, `alsamixer -V capture`, or `pavucontrol`), or choose another of \
                     `echomesh devices`",
                )
        }
        Loudness::Quiet => {
            Finding::warning("microphone level", format!("nothing louder than {db:.0} dB of full scale was heard"))
                .means("if you spoke, others will hardly hear you; if not, all may be well")
                .remedy(mixer)
        }
        Loudness::Clipping => Finding::warning("microphone level", "the loudest parts are cut off at full scale")
            .means("you sound hoarse to others, and words are harder to tell")
            .remedy("turn it down in the mixer: `alsamixer -V capture`, or `pavucontrol`; switch off a +20 dB boost"),
    }
}

fn clock(part: &str, drift: Drift) -> Finding {
    let Drift { ppm, error_ppm } = drift;
    let found = format!("{part}: {ppm:+.0} ppm beside the system's clock, give or take {:.0}", SURE * error_ppm);
    if ppm.abs() <= DRIFT_PPM_MAX + SURE * error_ppm {
        return Finding::ok("sound clock", found);
    }
    Finding::warning("sound clock", found)
        .means("more than can be corrected: now and then a piece of sound is left out or stretched")
        .remedy("use another device, or another clock for the machine if it is a virtual one")
}

fn apart(microphone: Drift, loudspeaker: Drift) -> Finding {
    let apart = microphone.ppm - loudspeaker.ppm;
    let error = SURE * microphone.error_ppm.hypot(loudspeaker.error_ppm);
    let found = format!("microphone beside loudspeaker: {apart:+.0} ppm, give or take {error:.0}");
    if apart.abs() <= DRIFT_PPM_MAX + error {
        return Finding::ok("sound clock", found);
    }
    Finding::warning("sound clock", found)
        .means("echo cancellation cannot follow")
        .remedy("use a microphone and a loudspeaker of one device, or a headset")
}

#[cfg(test)]
mod tests {
    use echomesh_audio::alsa::open::{Granted, SampleFormat};

    use super::super::finding::Verdict;
    use super::super::level::Level;
    use super::*;

    fn measured() -> Measured {
        let granted = Granted { rate: 48_000, channels: 1, period: 480, buffer: 1_440, format: SampleFormat::S16 };
        let mut level = Level::default();
        level.push(&[3_000; 4_800]);
        Measured { granted, xruns: 0, drift: Some(Drift { ppm: 30.0, error_ppm: 5.0 }), level }
    }

    fn worst(measured: &Measured) -> Finding {
        let findings = judge(Direction::Capture, "hw:1", measured);
        findings.into_iter().max_by_key(|finding| finding.verdict as u8).unwrap()
    }

    /// Goal: what is wrong with a device that works is named, with something to do.
    #[test]
    fn each_weakness_of_a_device_is_named() {
        assert_eq!(worst(&measured()).verdict, Verdict::Ok);
        let of = |samples: &[i16]| {
            let mut level = Level::default();
            level.push(samples);
            Measured { level, ..measured() }
        };
        let slow = Granted { rate: 8_000, ..measured().granted };
        for (measured, word) in [
            (of(&[0; 4_800]), "silence"),
            (of(&[20; 4_800]), "nothing louder"),
            (of(&[i16::MAX; 4_800]), "cut off"),
            (Measured { xruns: 3, ..measured() }, "xruns in 5 s: 3"),
            (Measured { granted: slow, ..measured() }, "8000 Hz"),
            (Measured { drift: Some(Drift { ppm: -900.0, error_ppm: 5.0 }), ..measured() }, "-900 ppm"),
        ] {
            let finding = worst(&measured);
            assert!(finding.found.contains(word), "{finding:?}");
            assert!(finding.verdict != Verdict::Ok && !finding.remedy.is_empty(), "{finding:?}");
        }
        let (near, far) = (Drift { ppm: 0.0, error_ppm: 5.0 }, Drift { ppm: 900.0, error_ppm: 5.0 });
        assert_eq!((apart(near, near).verdict, apart(far, near).verdict), (Verdict::Ok, Verdict::Warning));
    }

    /// Goal: a device that cannot be used says why, and what to do.
    #[test]
    fn each_problem_has_a_remedy() {
        let all = [
            Problem::Busy,
            Problem::Unknown,
            Problem::Gone,
            Problem::NoServer,
            Problem::Forbidden,
            Problem::Unfit("sample format"),
            Problem::NoClock,
            Problem::Stalled,
            Problem::Other("snd_pcm_open", 5),
        ];
        for problem in all {
            let finding = unusable(&DeviceError { device: "hw:7".into(), direction: Direction::Capture, problem });
            assert!(finding.verdict == Verdict::Fault && !finding.remedy.is_empty(), "{finding:?}");
            assert!(finding.found.contains("hw:7"), "{finding:?}");
        }
    }

    /// Goal: a machine without a card is told from one whose cards may not be opened. Method: folders for /dev/snd.
    #[test]
    fn cards_that_are_not_there_are_told_from_forbidden_ones() {
        let nodes = tempfile::tempdir().unwrap();
        assert_eq!(Access::of(nodes.path()), Access::NoCard);
        assert_eq!(Access::of(&nodes.path().join("none")), Access::NoCard);
        std::fs::write(nodes.path().join("controlC0"), "").unwrap();
        assert_eq!(Access::of(nodes.path()), Access::Free);
    }
}
