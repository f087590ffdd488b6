//! The terminal: taken over, drawn on, and given back as it was, whatever ends the program.
//!
//! Drawing never waits for the terminal: a frame is made in memory, and a thread of its own writes it; while that one
//! is still writing no other is made. So a slow terminal (SSH) slows the picture and nothing else. Keys come from a
//! thread, too, for a read cannot be cancelled. What libraries write to standard error meanwhile would tear the picture,
//! so it goes to a file.
//! Bounds: one frame in flight; `KEYS_MAX` keys that wait.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture, Event,
    KeyboardEnhancementFlags, PopKeyboardEnhancementFlags, PushKeyboardEnhancementFlags,
};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, supports_keyboard_enhancement,
};
use ratatui::crossterm::{cursor, execute, queue};
use ratatui::{Frame, Terminal};
use tokio::sync::mpsc;

use crate::cli::failure::Failure;

/// Keys read and not looked at yet.
const KEYS_MAX: usize = 256;

/// What is to be put right when the program ends; `None`: nothing.
static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

/// Held while a frame is written; whether none is to be written any more.
static CLOSED: Mutex<bool> = Mutex::new(false);

/// How often, and how long apart, a frame that is being written is waited for at the end: 0.5 s in all.
const CLOSE_TRIES: u32 = 50;
const CLOSE_PAUSE: Duration = Duration::from_millis(10);

struct Taken {
    tells_release: bool,
    has_mouse: bool,
    /// Standard error as it was.
    stderr: Option<OwnedFd>,
}

fn failed(what: &str) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| Failure::Local(format!("cannot {what}: {error}"))
}

/// Gives the terminal back. Does nothing the second time.
fn give_back() {
    let Some(taken) = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    // What is still to be drawn would take the terminal over again. One that takes nothing is not waited for.
    for _ in 0..CLOSE_TRIES {
        if let Ok(mut closed) = CLOSED.try_lock() {
            *closed = true;
            break;
        }
        std::thread::sleep(CLOSE_PAUSE);
    }
    let mut out = io::stdout();
    // Nothing can be done where it fails: the terminal is gone.
    if taken.tells_release {
        let _ = queue!(out, PopKeyboardEnhancementFlags);
    }
    if taken.has_mouse {
        let _ = queue!(out, DisableMouseCapture);
    }
    let _ = execute!(out, DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
    if let Some(stderr) = taken.stderr {
        let _ = rustix::stdio::dup2_stderr(stderr);
    }
}

/// Where a frame is made, shared with the backend.
#[derive(Clone, Default)]
struct Page(Rc<RefCell<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    // A frame is written whole, when it is done.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The terminal while it is ours.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Page>>,
    page: Page,
    frames: SyncSender<Vec<u8>>,
    is_writing: Arc<AtomicBool>,
    /// It says when a key is let go.
    pub tells_release: bool,
    /// Keys, the mouse, pastes, changes of size.
    pub events: mpsc::Receiver<Event>,
}

impl Screen {
    /// Takes the terminal over, and its mouse. `log` gets what would be written to standard error.
    ///
    /// # Errors
    /// `Failure::Local` if it is no terminal.
    pub fn take(log: Option<PathBuf>, has_mouse: bool) -> Result<Self, Failure> {
        let failed_to_take = failed("use this terminal");
        // What is wrong is told before anything is changed.
        ratatui::crossterm::terminal::size().map_err(&failed_to_take)?;
        let log = log.map(open_log).transpose()?;
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            earlier(panic);
        }));
        enable_raw_mode().map_err(&failed_to_take)?;
        let tells_release = supports_keyboard_enhancement().unwrap_or(false);
        let stderr = log.and_then(|log| {
            let before = rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3).ok()?;
            rustix::stdio::dup2_stderr(log).ok().map(|()| before)
        });
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(Taken { tells_release, has_mouse, stderr });
        let page = Page::default();
        *CLOSED.lock().unwrap_or_else(PoisonError::into_inner) = false;
        let mut out = io::stdout();
        let begun = execute!(out, EnterAlternateScreen, EnableBracketedPaste).and_then(|()| {
            if has_mouse {
                execute!(out, EnableMouseCapture)?;
            }
            let flags =
                KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES | KeyboardEnhancementFlags::REPORT_EVENT_TYPES;
            if tells_release { execute!(out, PushKeyboardEnhancementFlags(flags)) } else { Ok(()) }
        });
        let terminal = begun.and_then(|()| Terminal::new(CrosstermBackend::new(page.clone())));
        let terminal = terminal.map_err(|error| {
            give_back();
            failed_to_take(error)
        })?;
        let (frames, is_writing) = write_frames();
        Ok(Self { terminal, page, frames, is_writing, tells_release, events: read_events() })
    }

    /// Whether a frame may be made now: the one before is written.
    pub fn is_ready(&self) -> bool {
        !self.is_writing.load(Ordering::Acquire)
    }

    /// Makes a frame and has it written.
    ///
    /// # Errors
    /// `Failure::Local` if the terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Failure> {
        self.terminal.draw(draw).map_err(failed("draw"))?;
        let frame = std::mem::take(&mut *self.page.0.borrow_mut());
        if !frame.is_empty() {
            self.is_writing.store(true, Ordering::Release);
            self.frames.send(frame).map_err(|_| Failure::Local("the terminal is gone".to_owned()))?;
        }
        Ok(())
    }

    /// All of it is drawn with the next frame: something else wrote on the terminal.
    pub fn redraw(&mut self) {
        // It only writes to memory.
        let _ = self.terminal.clear();
    }

    /// A sound or a flash, as the terminal has it.
    pub fn ring(&mut self) {
        self.page.0.borrow_mut().push(0x07);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// The last run's is overwritten.
fn open_log(path: PathBuf) -> Result<File, Failure> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed(&format!("make {}", directory.display())))?;
    }
    let opened = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
    opened.map_err(failed(&format!("write {}", path.display())))
}

/// The thread that writes. It ends when the screen is gone, or the terminal is.
fn write_frames() -> (SyncSender<Vec<u8>>, Arc<AtomicBool>) {
    let (sender, receiver) = sync_channel::<Vec<u8>>(1);
    let is_writing = Arc::new(AtomicBool::new(false));
    let done = is_writing.clone();
    std::thread::spawn(move || {
        let mut out = io::stdout();
        while let Ok(frame) = receiver.recv() {
            let closed = CLOSED.lock().unwrap_or_else(PoisonError::into_inner);
            if *closed || out.write_all(&frame).and_then(|()| out.flush()).is_err() {
                return;
            }
            drop(closed);
            done.store(false, Ordering::Release);
        }
    });
    (sender, is_writing)
}

/// The thread that reads. It stays behind in its read when the program ends.
fn read_events() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while let Ok(event) = ratatui::crossterm::event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What `a_panic_gives_the_terminal_back` runs on a terminal of its own.
    #[test]
    #[ignore = "takes the terminal over and panics"]
    fn panics() {
        let mut screen = Screen::take(None, true).unwrap();
        screen.draw(|frame| frame.render_widget("drawn", frame.area())).unwrap();
        panic!("planted");
    }

    /// Goal: after a panic the terminal is as it was, and what went wrong can be read on it.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        let program = std::env::current_exe().unwrap();
        let test = "--ignored --exact cli::tui::terminal::tests::panics --nocapture";
        let line = format!("{} {test}; stty -a", program.display());
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let (entered, left) = (text.find("\u{1b}[?1049h").unwrap(), text.rfind("\u{1b}[?1049l").unwrap());
        assert!(text.contains("\u{1b}[?1000h") && text[entered..left].contains("\u{1b}[?1000l"), "the mouse: {text}");
        assert!(text.find("planted").unwrap() > left && left > entered, "{text}");
        let modes = &text[left..];
        for mode in ["icanon", "echo", "isig", "opost"] {
            assert!(modes.split_whitespace().any(|is| is == mode), "{mode}: {modes}");
        }
    }
}
