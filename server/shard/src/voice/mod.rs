//! Voice rules: who hears a packet, under which number and key.

mod audience;
mod budget;
mod header;
mod loudest;
mod numbering;
mod report;
mod sealed;
mod stream;
mod tunnel;

pub(crate) use audience::Audience;
pub use header::{VOICE_RECORD_HEADER_BYTES, VoiceHeader};
pub(crate) use loudest::{Selection, Speakers};
pub use sealed::{sealed_rtcp, sealed_rtp};
pub(crate) use stream::{Path, Stream};
