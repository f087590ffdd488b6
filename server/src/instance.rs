//! One server a data directory: a lock that the operating system gives back whenever the process ends.
//!
//! SO_REUSEPORT would let two servers share a port, and SQLite would let them share a database; both
//! would then answer half of the clients.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::start_error::StartError;

/// Mode of a data directory that is made: keys and chat are nobody else's.
const MODE: u32 = 0o700;

/// Holds the data directory until it is dropped.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

impl Instance {
    /// Makes the data directory if it is missing, and takes it for this process.
    ///
    /// # Errors
    /// Another server has it, or it cannot be made or written; the sentence says what to do.
    pub fn take(data_dir: &Path) -> Result<Self, StartError> {
        let cannot = |error: std::io::Error| {
            StartError::Machine(format!(
                "cannot use the data directory {}: {error}. Give this user write access there, or choose another \
                 with --data-dir",
                data_dir.display()
            ))
        };
        DirBuilder::new().recursive(true).mode(MODE).create(data_dir).map_err(cannot)?;
        let lock = File::create(data_dir.join("lock")).map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::Machine(format!(
                "another echomesh-server uses the data directory {}: stop it, or choose another with --data-dir",
                data_dir.display()
            ))),
            Err(TryLockError::Error(error)) => Err(cannot(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a data directory has one server at a time, and the next may have it afterwards.
    #[test]
    fn a_data_directory_has_one_server() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new").join("data");
        let first = Instance::take(&path).unwrap();
        let refused = Instance::take(&path).unwrap_err().to_string();
        assert!(refused.contains(path.to_str().unwrap()) && refused.contains("--data-dir"), "{refused}");
        drop(first);
        assert!(Instance::take(&path).is_ok());
    }

    /// Goal: a place that cannot be written is named, with what to do. Method: a path below a file, which
    /// not even root can make.
    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = Instance::take(&file.path().join("data")).unwrap_err().to_string();
        assert!(refused.contains("write access"), "{refused}");
    }
}
