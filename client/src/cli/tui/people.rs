//! How loud somebody is for this person, and who is not heard: kept between runs.
//!
//! In and out: a TOML file, a table for each name. Bounds: `FILE_BYTES_MAX`; `PEOPLE_MAX` names.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::app::Person;
use crate::cli::failure::Failure;
use crate::cli::files::write_whole;

/// Largest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Names kept.
const PEOPLE_MAX: usize = 2_000;

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    percent: u32,
    ignored: bool,
}

impl Default for Kept {
    fn default() -> Self {
        let Person { percent, ignored } = Person::default();
        Self { percent, ignored }
    }
}

/// What is kept. A file that is not there is empty.
///
/// # Errors
/// A sentence: it cannot be read.
pub fn read(path: &Path) -> Result<BTreeMap<String, Person>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("volumes are not kept: {}: {error}", path.display());
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Ok(about) if about.len() > FILE_BYTES_MAX => return Err(wrong(&"it is too large")),
        _ => {}
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let kept: BTreeMap<String, Kept> = toml::from_str(&text).map_err(|error| wrong(&error))?;
    let person = |Kept { percent, ignored }| Person { percent, ignored };
    Ok(kept.into_iter().take(PEOPLE_MAX).map(|(name, kept)| (name, person(kept))).collect())
}

/// Keeps it: a new file takes the old one's place.
///
/// # Errors
/// `Failure::Local`.
pub fn write(path: &Path, people: &BTreeMap<String, Person>) -> Result<(), Failure> {
    let kept: BTreeMap<&String, Kept> = people
        .iter()
        .take(PEOPLE_MAX)
        .map(|(name, person)| (name, Kept { percent: person.percent, ignored: person.ignored }))
        .collect();
    let text = toml::to_string(&kept).map_err(|error| Failure::Local(format!("cannot keep volumes: {error}")))?;
    write_whole(path, &text).map_err(|error| Failure::Local(format!("cannot keep {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what was wanted of people is there again, whatever their names; a broken file is told.
    #[test]
    fn wishes_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("echomesh/people.toml");
        assert!(read(&path).unwrap().is_empty());
        let people = BTreeMap::from([
            ("ann \"the\" 世界.".to_owned(), Person { percent: 150, ignored: false }),
            ("bob".to_owned(), Person { percent: 100, ignored: true }),
        ]);
        write(&path, &people).unwrap();
        assert_eq!(read(&path).unwrap(), people);
        std::fs::write(&path, "= broken").unwrap();
        assert!(read(&path).is_err_and(|text| text.contains("people.toml")));
    }
}
