//! Load generator for EchoMesh: many whole clients against one server, and what it costs them both.
//!
//! Not a test of correctness, though it notices: every copy of every packet is expected by someone and counted, and a
//! share of them is decrypted and authenticated; the server's own counters are compared with ours.
//!
//! # Layout
//! - [`args`], [`workload`], [`load`], [`payload`]: what to do, as data. [`run`]: doing it.
//! - [`server`], [`metrics`]: the server. [`mod@bench`], [`machine`], [`processor`]: this tool and its machine.
//! - [`client`], [`connection`], [`receive`], [`tls`]: one client. [`fleet`], `stages`, `sweep`: many on one thread.
//!   [`threads`]: threads with clients.
//! - [`streams`], [`talk`], [`heard`], [`crowd`], [`step`], [`ramp`]: voice.
//! - [`logins`], [`handshakes`], [`idle`], [`chat`], [`churn`]: the rest.
//! - [`results`]: what comes out. [`report`]: how it is told.
#![forbid(unsafe_code)]

pub mod args;
pub mod bench;
pub mod chat;
pub mod chat_counts;
pub mod churn;
pub mod client;
pub mod clock;
pub mod connection;
pub mod crowd;
pub mod failure;
pub mod fleet;
pub mod handshakes;
pub mod heard;
pub mod histogram;
pub mod idle;
pub mod interrupt;
pub mod load;
pub mod logins;
pub mod machine;
pub mod metrics;
mod opus_vbr;
pub mod payload;
pub mod processor;
pub mod progress;
pub mod ramp;
pub mod receive;
pub mod report;
pub mod results;
pub mod run;
pub mod server;
mod stages;
pub mod step;
pub mod streams;
mod sweep;
pub mod talk;
pub mod threads;
pub mod tls;
pub mod workload;
