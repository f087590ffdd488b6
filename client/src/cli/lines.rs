//! Lines of standard input, read ahead.
//!
//! Not what becomes of them. Out: lines without their ends, none that is empty.
//! Bounds: `LINES_MAX` lines, each as long as the server takes one.

use std::io::{BufRead, BufReader, Read};

use echomesh_proto::limits::CHAT_BYTES_MAX;
use tokio::sync::mpsc;

/// Lines read and not yet taken.
const LINES_MAX: usize = 16;

/// Reads standard input on a thread of its own: a read of a terminal cannot be cancelled, only left
/// behind when the process ends.
pub fn read_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        let mut input = BufReader::new(std::io::stdin());
        loop {
            // A longer line comes in parts, which the server refuses with a sentence; it is not held whole.
            let mut bytes = Vec::new();
            let read = (&mut input).take(CHAT_BYTES_MAX as u64 + 2).read_until(b'\n', &mut bytes);
            if !matches!(read, Ok(count) if count > 0) {
                return;
            }
            let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
            if !line.is_empty() && sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// No lines.
pub fn no_lines() -> mpsc::Receiver<String> {
    mpsc::channel(1).1
}
