//! What comes from outside the terminal: signals, the control socket, the global hotkey.
//!
//! In: those. Out: orders, and sentences. Bounds: theirs.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::app::App;
use super::input::take_order;
use super::view::Kind;
use crate::cli::clock;
use crate::cli::control::{self, Control, Order};
use crate::cli::failure::Failure;
use crate::cli::hotkey::{Folders, HotkeyEvent, Keyboards, SCAN};
use crate::cli::hotkey_names::Hotkey;

/// All that is waited for.
pub(super) struct Outside {
    control: Option<Control>,
    hotkey: Option<Keyboards>,
    /// SIGUSR1 and SIGUSR2.
    pressed: Signal,
    let_go: Signal,
}

/// What came.
pub(super) enum Came {
    Order(Order),
    Asked(control::Asked),
    Hotkey(HotkeyEvent),
}

impl Outside {
    /// Opens all of it; and why the control socket is not there.
    ///
    /// # Errors
    /// `Failure::Local`: the system gives no signals.
    pub(super) fn open(hotkey: Option<Hotkey>) -> Result<(Self, Option<String>), Failure> {
        let install = |kind| signal(kind).map_err(|error| Failure::Local(format!("cannot wait for signals: {error}")));
        let (pressed, let_go) = (install(SignalKind::user_defined1())?, install(SignalKind::user_defined2())?);
        let directory = std::env::var("XDG_RUNTIME_DIR").ok();
        let control = control::path(directory.as_deref()).map(|path| Control::open(&path)).transpose();
        let (control, problem) = match control {
            Ok(control) => (control, None),
            Err(text) => (None, Some(text)),
        };
        let hotkey = hotkey.map(|key| Keyboards::new(key, Folders::default(), SCAN));
        Ok((Self { control, hotkey, pressed, let_go }, problem))
    }

    /// What comes next. Safe to drop.
    pub(super) async fn next(&mut self) -> Came {
        let Self { control, hotkey, pressed, let_go } = self;
        tokio::select! {
            _ = pressed.recv() => Came::Order(Order::Talk),
            _ = let_go.recv() => Came::Order(Order::Quiet),
            asked = next_asked(control.as_mut()) => Came::Asked(asked),
            event = next_hotkey(hotkey.as_mut()) => Came::Hotkey(event),
        }
    }
}

async fn next_asked(control: Option<&mut Control>) -> control::Asked {
    match control {
        Some(control) => control.next().await,
        None => std::future::pending().await,
    }
}

async fn next_hotkey(hotkey: Option<&mut Keyboards>) -> HotkeyEvent {
    match hotkey {
        Some(hotkey) => hotkey.next().await,
        None => std::future::pending().await,
    }
}

/// Does what was ordered, and answers.
pub(super) fn take(app: &mut App, came: Came) {
    match came {
        Came::Order(order) => take_order(app, order),
        Came::Asked(asked) => {
            take_order(app, asked.order);
            asked.answer(&app.own.sentence());
        }
        Came::Hotkey(HotkeyEvent::Pressed) => take_order(app, Order::Talk),
        Came::Hotkey(HotkeyEvent::LetGo) => take_order(app, Order::Quiet),
        Came::Hotkey(HotkeyEvent::Fails(text)) => app.tell(Kind::Problem, clock::now().unix_ms, &text),
        Came::Hotkey(HotkeyEvent::Works(text)) => app.tell(Kind::Notice, clock::now().unix_ms, &text),
    }
}
