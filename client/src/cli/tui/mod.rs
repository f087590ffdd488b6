//! The full-screen interface: `echomesh`, or `echomesh ui`, on a terminal.
//!
//! # Layout
//! - `app`: what there is to see and what follows from keys and events; `view` a place's lines, `editor` the line that is
//!   typed, `slash` commands, `keys` keys, `meters` levels. All of it without terminal, network and clock.
//! - `draw`, `side`, `microphone`, `wrap`, `theme`: the picture. `status`: members and figures, as they are now.
//! - `terminal`: the terminal itself, `input` its keys. `interface`: the one task that moves everything; `acts`: what it does for the
//!   person, and the answers.
//! - `cues`: when a sound tells something. `outside`: orders that come from elsewhere: signals, the control socket, the global hotkey.
//!
//! It never holds up sound: that has threads of its own, and writing to the terminal has one, too.
//! Bounds: those of the parts.

mod acts;
mod app;
mod cues;
mod draw;
mod editor;
mod input;
mod interface;
mod keys;
mod meters;
mod microphone;
mod outside;
mod people;
mod side;
mod slash;
mod status;
mod terminal;
mod theme;
mod view;
mod wrap;

pub use interface::run;
