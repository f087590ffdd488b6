//! The load test as a library: what a run found out, and how it is told.
//!
//! Not a test of correctness: the simulator and the server's own tests do that.
//! In: a [`results::Report`]. Out: a page and a summary by [`report`].
#![forbid(unsafe_code)]

pub mod report;
pub mod results;
