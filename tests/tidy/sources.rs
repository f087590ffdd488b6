//! The repository's Rust sources, as far as the house rules ask: whole files, and lines without what
//! is not code.
//!
//! Not a parser: a string or comment that goes over several lines is taken for code.
//! In: the tree. Out: paths from the root and texts. Panics on a folder or file that cannot be read.

use std::path::Path;

/// A Rust source of the repository: its path from the root, and its text.
pub struct Source {
    /// With `/` between its parts.
    pub path: String,
    /// The whole file.
    pub text: String,
}

impl Source {
    /// Whether the whole file is test code.
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests") || self.path.ends_with("tests.rs")
    }

    /// The part of the file that is test code: all of a test file, what follows `#[cfg(test)]` elsewhere.
    pub fn test_part(&self) -> &str {
        let start = if self.is_test() { Some(0) } else { self.text.find("#[cfg(test)]") };
        start.map_or("", |start| &self.text[start..])
    }
}

/// Every source outside build output and hidden folders.
pub fn sources(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository can be read") {
            let path = entry.expect("an entry of the repository can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("a source is UTF-8");
                let path = path.strip_prefix(root).expect("the walk began at the root");
                found.push(Source { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    assert!(found.len() > 20, "the walk found only {} sources: it looks in the wrong place", found.len());
    found
}

/// A line without its comment and without what its string literals hold.
pub fn code_of(line: &str) -> String {
    let line = line.replace(r"\\", "").replace("\\\"", "").replace("'\"'", "");
    let without_strings: Vec<&str> = line.split('"').step_by(2).collect();
    let code = without_strings.join("\"\"");
    code.split("//").next().unwrap_or_default().to_owned()
}

/// Whether `word` stands in `code` as a word of its own.
pub fn has_word(code: &str, word: &str) -> bool {
    let part_of_name = |character: Option<char>| character.is_some_and(|it| it.is_alphanumeric() || it == '_');
    code.match_indices(word).any(|(at, _)| {
        !part_of_name(code[..at].chars().next_back()) && !part_of_name(code[at + word.len()..].chars().next())
    })
}
