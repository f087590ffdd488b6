//! Figures for Prometheus: where shards leave them, and their text.
//!
//! Not who serves it: that is `admin`.

mod board;

pub use board::Board;
