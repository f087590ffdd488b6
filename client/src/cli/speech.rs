//! The audio thread: every 20 ms one frame is taken from the input and encoded, and one frame of what
//! was heard goes to the output. Channels tie it to the network's task.
//!
//! Not a device driver: input and output are files, and the pace is the system's monotonic clock, kept
//! absolute so that lateness of one turn does not move the next.
//! Bounds: `SPOKEN_MAX` frames to the network, `HEARD_MAX` packets from it; what finds a channel full is
//! dropped and counted, for late speech is worth nothing.

use std::sync::mpsc as blocking;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::MediaTime;
use tokio::sync::mpsc;

use super::args::Join;
use super::failure::Failure;
use super::link::HeardPacket;
use super::sound::{Sound, SoundTotals};

/// A frame's length.
const FRAME: Duration = Duration::from_millis(20);

/// Turns the thread may be behind before it gives up catching up: a stopped or suspended machine.
const BEHIND_MAX: u32 = 10;

/// Turns without voice after which nobody is talking: 300 ms bridges the gaps between words.
const TALKING_TURNS: u32 = 15;

/// RFC 6464 §4: the bit that says that the frame has voice.
const VOICE_ACTIVITY: u8 = 0x80;

/// Frames on their way to the network: 160 ms.
const SPOKEN_MAX: usize = 8;

/// Packets on their way from the network: over a second of 16 speakers.
const HEARD_MAX: usize = 1_024;

/// What the audio thread says in a turn.
#[derive(Debug)]
pub struct Spoken {
    /// Whether someone speaks, or did just now.
    pub talking: bool,
    /// A frame to send. None when there is only the end of talking to tell.
    pub frame: Option<SpokenFrame>,
}

/// An encoded frame.
#[derive(Debug)]
pub struct SpokenFrame {
    /// 48 kHz clock of its first sample.
    pub media_time: MediaTime,
    /// First of a talkspurt.
    pub marker: bool,
    /// RFC 6464 byte.
    pub audio_level: u8,
    /// Opus.
    pub payload: Vec<u8>,
}

/// What the network tells the audio thread.
enum Order {
    Begin,
    Hear(HeardPacket),
    Forget(Ssrc),
    Finish,
}

/// What the audio thread did.
#[derive(Clone, Debug, Default)]
pub struct SpeechTotals {
    sound: SoundTotals,
    /// Frames and packets that found their channel full.
    spoken_dropped: u64,
    heard_dropped: u64,
    /// Turns skipped because the machine did not run us.
    turns_skipped: u64,
}

impl std::fmt::Display for SpeechTotals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.sound)?;
        let counts = [
            ("frames not taken by the network", self.spoken_dropped),
            ("packets not taken by the audio thread", self.heard_dropped),
            ("turns skipped", self.turns_skipped),
        ];
        for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "audio: {count} {name}")?;
        }
        Ok(())
    }
}

/// The network's side of the audio thread.
#[derive(Debug)]
pub struct Speech {
    orders: blocking::SyncSender<Order>,
    thread: JoinHandle<Result<SpeechTotals, Failure>>,
    begun: bool,
    heard_dropped: u64,
}

impl Speech {
    /// Opens input and output and starts the thread, which waits for [`Speech::begin`].
    ///
    /// # Errors
    /// `Failure::Audio` if a file cannot be used.
    pub fn open(join: &Join) -> Result<(Self, mpsc::Receiver<Spoken>), Failure> {
        let sound = Sound::open(join)?;
        let (spoken, receiver) = mpsc::channel(SPOKEN_MAX);
        let (orders, inbox) = blocking::sync_channel(HEARD_MAX);
        let thread = std::thread::Builder::new()
            .name("audio".to_owned())
            .spawn(move || {
                Turns { sound, spoken, inbox, totals: SpeechTotals::default(), sent_last: false, quiet: TALKING_TURNS }
                    .run()
            })
            .map_err(|error| Failure::Local(format!("cannot start the audio thread: {error}")))?;
        Ok((Self { orders, thread, begun: false, heard_dropped: 0 }, receiver))
    }

    /// Voice is open: start saying and playing.
    pub fn begin(&mut self) {
        if !self.begun {
            self.begun = self.orders.try_send(Order::Begin).is_ok();
        }
    }

    /// A packet that was heard.
    pub fn hear(&mut self, packet: HeardPacket) {
        if self.orders.try_send(Order::Hear(packet)).is_err() {
            self.heard_dropped += 1;
        }
    }

    /// A stream is gone.
    pub fn forget(&mut self, ssrc: Ssrc) {
        // Lost only when packets are lost too; the speaker's place is then free a little later.
        if self.orders.try_send(Order::Forget(ssrc)).is_err() {
            self.heard_dropped += 1;
        }
    }

    /// Ends the thread and the output file.
    ///
    /// # Errors
    /// `Failure::Audio` if a file failed.
    pub fn finish(self) -> Result<SpeechTotals, Failure> {
        // If the thread has ended by itself, why is in its outcome.
        drop(self.orders.send(Order::Finish));
        let outcome = self.thread.join();
        let totals = outcome.map_err(|_| Failure::Local("the audio thread panicked: this is a bug".to_owned()))??;
        Ok(SpeechTotals { heard_dropped: self.heard_dropped, ..totals })
    }
}

/// The audio thread's own state.
struct Turns {
    sound: Sound,
    spoken: mpsc::Sender<Spoken>,
    inbox: blocking::Receiver<Order>,
    totals: SpeechTotals,
    /// The last turn had a frame to send.
    sent_last: bool,
    /// Turns since the last one with voice, up to `TALKING_TURNS`.
    quiet: u32,
}

impl Turns {
    fn run(mut self) -> Result<SpeechTotals, Failure> {
        loop {
            match self.inbox.recv() {
                Ok(Order::Begin) => break,
                Ok(Order::Hear(packet)) => self.sound.hear(&packet),
                Ok(Order::Forget(ssrc)) => self.sound.forget(ssrc),
                Ok(Order::Finish) | Err(_) => return self.end(),
            }
        }
        let mut due = Instant::now();
        loop {
            if !self.wait_until(due) {
                return self.end();
            }
            self.turn()?;
            due += FRAME;
            let behind = Instant::now().saturating_duration_since(due);
            if behind > FRAME * BEHIND_MAX {
                let skipped = behind.as_millis() as u64 / FRAME.as_millis() as u64;
                self.totals.turns_skipped += skipped;
                self.sound.skip(skipped);
                due += FRAME * u32::try_from(skipped).unwrap_or(u32::MAX);
            }
        }
    }

    /// Takes packets until it is time; late, those that wait, and no more than the channel holds.
    /// `false` if it is the end.
    fn wait_until(&mut self, due: Instant) -> bool {
        for _ in 0..HEARD_MAX {
            let wait = due.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(wait) {
                Ok(Order::Hear(packet)) => self.sound.hear(&packet),
                Ok(Order::Forget(ssrc)) => self.sound.forget(ssrc),
                Ok(Order::Begin) => {}
                Err(blocking::RecvTimeoutError::Timeout) => return true,
                Ok(Order::Finish) | Err(blocking::RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    fn turn(&mut self) -> Result<(), Failure> {
        let frame = self.sound.say(!self.sent_last)?;
        self.sent_last = frame.is_some();
        let was_talking = self.quiet < TALKING_TURNS;
        let voice = frame.as_ref().is_some_and(|frame| frame.audio_level & VOICE_ACTIVITY != 0);
        self.quiet = if voice { 0 } else { (self.quiet + 1).min(TALKING_TURNS) };
        let talking = self.quiet < TALKING_TURNS;
        let news = frame.is_some() || talking != was_talking;
        if news && self.spoken.try_send(Spoken { talking, frame }).is_err() {
            self.totals.spoken_dropped += 1;
        }
        self.sound.play()
    }

    fn end(mut self) -> Result<SpeechTotals, Failure> {
        self.totals.sound = self.sound.finish()?;
        Ok(self.totals)
    }
}
