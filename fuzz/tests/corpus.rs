//! Every target on every input that is kept: what fuzzing has found reachable, and what it has found wrong.
//!
//! Not fuzzing: no new input is made, and no libfuzzer is needed. Inputs are `corpus/TARGET/*` and
//! `regressions/TARGET/*`; one that fails is named.

use std::collections::BTreeSet;
use std::fs::read_dir;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use echomesh_fuzz::TARGETS;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = read_dir(folder) else { return BTreeSet::new() };
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

/// Goal: what was right stays so, and what was wrong does not come back. Method: replay; a target without a corpus fails.
#[test]
fn every_kept_input_is_replayed() {
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let corpus = names(&here("corpus").join(name));
        if corpus.is_empty() {
            failed.push(format!("{name} has no corpus: run scripts/fuzz {name}, or cargo run --example seeds in fuzz"));
        }
        let regressions = names(&here("regressions").join(name));
        let kept = corpus.iter().map(|file| format!("corpus/{name}/{file}"));
        for file in kept.chain(regressions.iter().map(|file| format!("regressions/{name}/{file}"))) {
            let bytes = std::fs::read(here(&file)).unwrap();
            if catch_unwind(|| target(&bytes)).is_err() {
                failed.push(format!("fuzz/{file}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} failed, each says why above:\n  {}", failed.len(), failed.join("\n  "));
}

/// Goal: no target is only built, or only replayed. Method: names of programs, targets and kept inputs are alike.
#[test]
fn every_target_is_complete() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let programs: BTreeSet<String> =
        names(&here("fuzz_targets")).iter().map(|file| file.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(programs, targets, "fuzz_targets/ and TARGETS of src/lib.rs");
    assert_eq!(names(&here("corpus")), targets, "corpus/ and TARGETS of src/lib.rs");
    assert!(names(&here("regressions")).is_subset(&targets), "regressions/ of a target that is gone");
}
