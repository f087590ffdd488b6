//! One line of text for each voice packet, so that two clients' logs show loss and latency.
//!
//! Columns: `sent` or `received`, CLOCK_MONOTONIC microseconds, SSRC, 48-bit index (a sender's is its own,
//! a receiver's the server's), media time. Packets of one SSRC are matched by media time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::{MediaTime, Time};

use super::failure::Failure;

/// A log that is being written.
#[derive(Debug)]
pub struct PacketLog {
    file: BufWriter<File>,
    path: PathBuf,
}

impl PacketLog {
    /// Makes the file anew.
    ///
    /// # Errors
    /// `Failure::Local`.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path)
            .map_err(|error| Failure::Local(format!("cannot write the packet log {}: {error}", path.display())))?;
        Ok(Self { file: BufWriter::new(file), path: path.to_owned() })
    }

    /// Notes a packet.
    ///
    /// # Errors
    /// `Failure::Local`, such as a full disk.
    pub fn note(
        &mut self,
        direction: &str,
        time: Time,
        ssrc: Ssrc,
        index: u64,
        media_time: MediaTime,
    ) -> Result<(), Failure> {
        writeln!(self.file, "{direction},{},{},{index},{}", time.0, ssrc.0, media_time.0)
            .map_err(|error| self.failed(&error))
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// `Failure::Local`.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.file.flush().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        Failure::Local(format!("cannot write the packet log {}: {error}", self.path.display()))
    }
}
