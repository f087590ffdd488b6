//! Hostile bytes for everything of EchoMesh that reads a stranger's, one function a target.
//!
//! Not a fuzzer: libfuzzer (`fuzz_targets/`, `scripts/fuzz`) makes the bytes; `tests/corpus.rs` replays those that are
//! kept, on the stable compiler. A function returns if all is well and panics with what is not; the same bytes do the
//! same each time.
//!
//! # Layout
//! - [`framing`], [`echo_msg`], [`rtp`], [`rtcp`], [`srtp`]: the wire. [`tls_sniff`]: the first byte and TLS behind it.
//! - [`shard`]: two shards, driven by a script of bytes through a driver that behaves. [`client`]: the client's session
//!   against a server that does not. [`playout`]: packets at any time. `messages`: protobuf messages from bytes.
//! - [`wav`], [`config`]: files of the user and the operator.
#![forbid(unsafe_code)]

mod client;
mod config;
mod echo_msg;
mod framing;
mod messages;
mod playout;
mod rtcp;
mod rtp;
mod shard;
mod srtp;
mod tls_sniff;
mod wav;

pub use client::client;
pub use config::config;
pub use echo_msg::echo_msg;
pub use framing::framing;
pub use playout::playout;
pub use rtcp::rtcp;
pub use rtp::rtp;
pub use shard::shard;
pub use srtp::srtp;
pub use tls_sniff::tls_sniff;
pub use wav::wav;

/// A target's body.
pub type Target = fn(&[u8]);

/// Every target, by the name of its program, its corpus and its regressions.
pub const TARGETS: [(&str, Target); 11] = [
    ("client", client),
    ("config", config),
    ("echo_msg", echo_msg),
    ("framing", framing),
    ("playout", playout),
    ("rtcp", rtcp),
    ("rtp", rtp),
    ("shard", shard),
    ("srtp", srtp),
    ("tls_sniff", tls_sniff),
    ("wav", wav),
];
