//! Tells a person what a run found out: a page to keep and to send, and a summary for the terminal.
//!
//! Not a measurement and no I/O: pure functions of a [`Report`]. The plots are our own SVG: three kinds
//! of axis, lines and marks. A plotting library would bring fonts, image codecs or a scripting runtime
//! for that, and would not follow the reader's light or dark colours.
//! In: a report, whose texts are not trusted. Out: HTML with everything inline and no script, or plain
//! text. Bounds: a page grows with the number of outcomes and steps only.

mod bars;
mod findings;
mod headline;
mod html;
mod markup;
mod numbers;
mod plot;
mod ramps;
mod scale;
mod table;
mod voice;

pub use html::html;
pub use table::summary;

#[cfg(doc)]
use crate::results::Report;
