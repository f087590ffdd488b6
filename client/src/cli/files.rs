//! Small files that are this person's alone: written whole or not at all.
//!
//! Not their texts. In: a path and a text. Out: a file, mode 600, in a folder of mode 700 if that was not there yet.
//! A crash leaves the old file or the new one. Bounds: the caller's.

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Puts a new file in the old one's place.
///
/// # Errors
/// The system's; then nothing is left of the new one.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let new = path.with_extension(format!("new.{}", std::process::id()));
    // One of a process that had this number and was killed: its mode may be another.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.and_then(|()| std::fs::rename(&new, path)).inspect_err(|_| {
        // What went wrong is told; what is left of it is of no use.
        let _ = std::fs::remove_file(&new);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Goal: what is written is its owner's alone, though something wider was left behind, and failing leaves nothing.
    #[test]
    fn files_are_their_owners_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deep/er/secret");
        let left = path.with_extension(format!("new.{}", std::process::id()));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&left, "left by a killed process").unwrap();
        write_whole(&path, "first").unwrap();
        write_whole(&path, "second").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let folder = home.path().join("deep/folder");
        std::fs::create_dir_all(folder.join("full")).unwrap();
        assert!(write_whole(&folder, "no file").is_err(), "a folder that is not empty is in its place");
        assert_eq!(std::fs::read_dir(home.path().join("deep")).unwrap().count(), 2);
    }
}
