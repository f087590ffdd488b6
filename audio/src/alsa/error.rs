//! What can be wrong with a device, told so that a person knows what to do.
//!
//! In: the number ALSA gave, and the step at which it did. Out: a sentence. Errors of the real-time loops are
//! plain numbers until one of these is made of them, outside.

use super::Direction;

/// A device that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceError {
    /// As the person named it.
    pub device: String,
    /// Which way.
    pub direction: Direction,
    /// Why.
    pub problem: Problem,
}

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Another program has it.
    Busy,
    /// ALSA knows no device of this name, or the machine has no sound card.
    Unknown,
    /// It was unplugged, or its sound server ended.
    Gone,
    /// The sound server it leads to does not answer.
    NoServer,
    /// The user may not open it.
    Forbidden,
    /// It can do nothing that we can.
    Unfit(&'static str),
    /// It takes and gives samples as fast as one likes.
    NoClock,
    /// It takes or gives no samples although it runs.
    Stalled,
    /// Anything else: what ALSA was doing, and the system's number.
    Other(&'static str, i32),
}

impl Problem {
    /// Of an error number while opening or setting up.
    pub(super) fn of(error: &::alsa::Error) -> Self {
        match error.errno() {
            libc::EBUSY | libc::EAGAIN => Problem::Busy,
            // ENODEV is what ALSA says of a card by a name that no card has. What ran before is gone instead (`device`).
            libc::ENOENT | libc::ENXIO | libc::ENODEV => Problem::Unknown,
            libc::EIO | libc::EBADFD | libc::ENOTCONN | libc::EPIPE => Problem::Gone,
            libc::ECONNREFUSED | libc::EHOSTDOWN | libc::ETIMEDOUT => Problem::NoServer,
            libc::EACCES | libc::EPERM => Problem::Forbidden,
            number => Problem::Other(error.func(), number),
        }
    }
}

impl std::fmt::Display for DeviceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { device, direction, problem } = self;
        write!(f, "the {direction} device {device} ")?;
        match problem {
            Problem::Busy => f.write_str(
                "is busy: another program has it; end that program, or use a device that several may share, such as \
                 default",
            ),
            Problem::Unknown => f.write_str(
                "is not there: `echomesh devices` lists those that are; on a machine without sound card use a WAV \
                 file, or none",
            ),
            Problem::Gone => f.write_str("is gone: plug it in again, or start its sound server again"),
            Problem::NoServer => f.write_str(
                "leads to a sound server that does not answer: start PipeWire or PulseAudio, or name the hardware \
                 itself, such as alsa:plughw:0",
            ),
            Problem::Forbidden => f.write_str(
                "may not be opened by this user: join the group that may (`sudo usermod -aG audio $USER`, then log in \
                 again)",
            ),
            Problem::Unfit(what) => {
                write!(f, "has no {what} that EchoMesh can use: try it through ALSA's converter, alsa:plug:'{device}'")
            }
            Problem::NoClock => f.write_str(
                "has no clock: it takes and gives sound as fast as it can; use another device, a WAV file, or none",
            ),
            Problem::Stalled => f.write_str("runs but moves no samples: unplug it and plug it in again"),
            Problem::Other(doing, number) => {
                let error = std::io::Error::from_raw_os_error(*number);
                write!(f, "fails ({doing}: {error}); try another one: `echomesh devices` lists them")
            }
        }
    }
}

impl std::error::Error for DeviceError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a card's name that is wrong is told to be unknown, not to be plugged in again. Method: the real library.
    #[test]
    fn a_card_that_never_was_is_not_gone() {
        let opened = super::super::open::open("hw:NoSuchCard", Direction::Capture, 10_000);
        assert_eq!(opened.err().map(|error| error.problem), Some(Problem::Unknown));
    }

    /// Goal: whatever is wrong, the sentence names the device and something to do.
    #[test]
    fn every_problem_says_what_to_do() {
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
            let error = DeviceError { device: "hw:7".to_owned(), direction: Direction::Capture, problem };
            let text = error.to_string();
            assert!(text.starts_with("the capture device hw:7 "), "{text}");
            let advice = ["end that", "lists", "plug it in", "start ", "use another", "join the group", "try "];
            assert!(advice.iter().any(|advice| text.contains(advice)), "{text}");
        }
    }
}
