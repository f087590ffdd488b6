//! Figures for Prometheus: where shards leave them, and their text.
//!
//! Not who serves it: that is `admin`.

mod board;
mod process;

pub use board::Board;

#[cfg(test)]
mod reference;
