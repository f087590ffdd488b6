//! The global hotkey: one key that is heard whatever program has the keyboard, on X, Wayland and consoles alike, as the
//! kernel tells it in `/dev/input` (evdev).
//!
//! Not what it does. In: the folders of the devices and of their capabilities (sysfs), so that no device is opened that
//! has not this key, and no ioctl is needed. Out: pressed, let go; whether there is a keyboard that may be read.
//! Only the one key is looked at: of other keys nothing is kept or logged.
//! Bounds: `KEYBOARDS_MAX` devices, `EVENTS` of each at a time. Cost: a small file a device each `SCAN`, and a wake-up
//! for what is typed.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::descriptor::readable;
use super::hotkey_names::Hotkey;

/// Devices that are read.
const KEYBOARDS_MAX: usize = 32;

/// Devices that are looked at.
const DEVICES_MAX: usize = 512;

/// Between two looks for keyboards that were plugged in.
pub const SCAN: Duration = Duration::from_secs(3);

/// Bytes of a `struct input_event`: a time of two longs, type, code, value.
const LONG: usize = size_of::<usize>();
const EVENT_BYTES: usize = 2 * LONG + 8;

/// Events read at a time: as many as the kernel keeps.
const EVENTS: usize = 64;

/// Types, and what they tell (linux/input-event-codes.h).
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const SYN_DROPPED: u16 = 3;

/// Where the kernel has its devices, and what is known of them.
#[derive(Clone, Debug)]
pub struct Folders {
    pub devices: PathBuf,
    pub capabilities: PathBuf,
}

impl Default for Folders {
    fn default() -> Self {
        Self { devices: "/dev/input".into(), capabilities: "/sys/class/input".into() }
    }
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HotkeyEvent {
    Pressed,
    LetGo,
    /// Nothing can be read, and why.
    Fails(String),
    /// It can, again.
    Works(String),
}

/// What can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Works,
    /// No keyboard has the key.
    Absent,
    /// None may be read that has it.
    Denied,
}

/// A device that has the key.
struct Keyboard {
    name: OsString,
    file: AsyncFd<OwnedFd>,
    held: bool,
    /// The beginning of an event whose end has not come.
    begun: usize,
    bytes: [u8; EVENT_BYTES * EVENTS],
}

impl Keyboard {
    /// Reads what there is. Ready: whether it is held changed, or, `Err`, the device is gone.
    fn poll(&mut self, context: &mut Context<'_>, code: u16) -> Poll<Result<(), ()>> {
        loop {
            let mut guard = match ready!(self.file.poll_read_ready(context)) {
                Ok(guard) => guard,
                Err(_) => return Poll::Ready(Err(())),
            };
            match rustix::io::read(guard.get_inner(), &mut self.bytes[self.begun..]) {
                Ok(0) => return Poll::Ready(Err(())),
                Ok(count) => {
                    let until = self.begun + count;
                    let held = self.bytes[..until]
                        .chunks_exact(EVENT_BYTES)
                        .fold(self.held, |held, event| is_held(event, code).unwrap_or(held));
                    self.begun = until % EVENT_BYTES;
                    self.bytes.copy_within(until - self.begun..until, 0);
                    self.bytes[self.begun..].fill(0);
                    if std::mem::replace(&mut self.held, held) != held {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                Err(_) => return Poll::Ready(Err(())),
            }
        }
    }
}

/// Whether the key is held after an event; `None`: the event says nothing of it.
fn is_held(event: &[u8], code: u16) -> Option<bool> {
    let short = |at: usize| u16::from_ne_bytes([event[2 * LONG + at], event[2 * LONG + at + 1]]);
    match (short(0), short(2)) {
        // 1: pressed, 2: repeated, which says that it is held.
        (EV_KEY, of) if of == code => Some(event[2 * LONG + 4..].iter().any(|byte| *byte != 0)),
        // Events were lost, the release perhaps: a microphone that stays open is worse than one that closes.
        (EV_SYN, SYN_DROPPED) => Some(false),
        _ => None,
    }
}

/// Waits for what a keyboard tells; which one it was, and whether it is gone. Safe to drop.
async fn any(keyboards: &mut [Keyboard], code: u16) -> (usize, Result<(), ()>) {
    std::future::poll_fn(|context| {
        for (at, keyboard) in keyboards.iter_mut().enumerate() {
            if let Poll::Ready(outcome) = keyboard.poll(context, code) {
                return Poll::Ready((at, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

/// Whether a bit is set in a bitmap as sysfs prints it: hexadecimal longs, the highest first.
fn has_bit(bitmap: &str, bit: u16) -> bool {
    let word = bitmap.split_whitespace().rev().nth(usize::from(bit) / (8 * LONG));
    let word = word.and_then(|word| usize::from_str_radix(word, 16).ok());
    word.is_some_and(|word| word >> (usize::from(bit) % (8 * LONG)) & 1 == 1)
}

/// The keyboards that have the hotkey.
pub struct Keyboards {
    key: Hotkey,
    folders: Folders,
    keyboards: Vec<Keyboard>,
    state: State,
    held: bool,
    look: Interval,
    events: VecDeque<HotkeyEvent>,
}

impl Keyboards {
    /// Looks for them at once, and so often. Within a runtime.
    pub fn new(key: Hotkey, folders: Folders, every: Duration) -> Self {
        let mut look = interval(every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (keyboards, events) = (Vec::new(), VecDeque::new());
        // What works from the start is not told.
        Self { key, folders, keyboards, state: State::Works, held: false, look, events }
    }

    /// What happens next. Safe to drop.
    pub async fn next(&mut self) -> HotkeyEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            tokio::select! {
                biased;
                (at, outcome) = any(&mut self.keyboards, self.key.code()) => {
                    if outcome.is_err() {
                        self.keyboards.swap_remove(at);
                    }
                    let held = self.keyboards.iter().any(|keyboard| keyboard.held);
                    if std::mem::replace(&mut self.held, held) != held {
                        self.events.push_back(if held { HotkeyEvent::Pressed } else { HotkeyEvent::LetGo });
                    }
                }
                _ = self.look.tick() => self.look(),
            }
        }
    }

    /// Opens what was plugged in, and tells if that changed whether there is any.
    fn look(&mut self) {
        let mut denied = false;
        for entry in std::fs::read_dir(&self.folders.devices).into_iter().flatten().flatten().take(DEVICES_MAX) {
            let name = entry.file_name();
            let is_new = self.keyboards.iter().all(|keyboard| keyboard.name != name);
            if !is_new || self.keyboards.len() == KEYBOARDS_MAX || !name.as_encoded_bytes().starts_with(b"event") {
                continue;
            }
            let bitmap = self.folders.capabilities.join(&name).join("device/capabilities/key");
            if !std::fs::read_to_string(bitmap).is_ok_and(|bitmap| has_bit(&bitmap, self.key.code())) {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            match rustix::fs::open(entry.path(), flags, Mode::empty()) {
                Ok(file) => self.open(name, file),
                Err(Errno::ACCESS | Errno::PERM) => denied = true,
                // Gone again.
                Err(_) => {}
            }
        }
        let state = match () {
            () if !self.keyboards.is_empty() => State::Works,
            () if denied => State::Denied,
            () => State::Absent,
        };
        if std::mem::replace(&mut self.state, state) != state {
            self.events.push_back(self.news(state));
        }
    }

    fn open(&mut self, name: OsString, file: OwnedFd) {
        // What cannot be waited for is no device.
        let Ok(file) = readable(file) else { return };
        self.keyboards.push(Keyboard { name, file, held: false, begun: 0, bytes: [0; EVENT_BYTES * EVENTS] });
    }

    fn news(&self, state: State) -> HotkeyEvent {
        let (key, folder) = (&self.key, self.folders.devices.display());
        match state {
            State::Works => HotkeyEvent::Works(format!("the hotkey {key} works")),
            State::Absent => HotkeyEvent::Fails(format!(
                "the hotkey {key} waits for a keyboard: none in {folder} has that key (it is looked for every {} s)",
                self.look.period().as_secs()
            )),
            State::Denied => HotkeyEvent::Fails(format!(
                "the hotkey {key} does not work: no keyboard in {folder} may be read; `sudo usermod -aG input $USER` \
                 and a new login allow it, and then each program of yours can read all keys, passwords too \
                 (`echomesh control` and a key of the window manager need no such right)"
            )),
        }
    }
}

#[cfg(test)]
#[path = "hotkey_tests.rs"]
mod tests;
