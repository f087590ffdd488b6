//! What only a file can suffer.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Instant;

use echomesh_shard::StoreOutcome;

use super::{Store, close, file, furnished, line, one, script, stored, wait_for_return};
use crate::store::session::PATIENCE;

/// Goal: a full disk loses nothing that was acknowledged, and the store works on once there is space.
/// Method: SQLite's own bound on pages, which gives the error that a full disk gives.
#[test]
fn a_full_disk_fails_jobs_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = furnished(&file(&directory.path().join("db")));
    let bound = |store: &mut Store, pages: u32| {
        script(store, &format!("PRAGMA max_page_count = {pages}"));
    };
    bound(&mut store, 1);
    let content = "x".repeat(4_000);
    let mut stored = 0;
    let mut outcome = one(&mut store, &line(1, "0", &content, 1));
    while outcome != StoreOutcome::Failed {
        stored += 1;
        assert!(stored < 100, "the bound has no effect");
        outcome = one(&mut store, &line(1, &stored.to_string(), &content, 1));
    }
    let jobs = [line(1, "y", &content, 1), line(1, "z", &content, 1)];
    assert_eq!(store.carry_out(jobs.into()), [StoreOutcome::Failed, StoreOutcome::Failed]);
    bound(&mut store, 1_000_000);
    let after = one(&mut store, &line(1, &stored.to_string(), &content, 1));
    assert!(matches!(after, StoreOutcome::ChatStored { .. }), "{after:?}");
    for client_id in 0..stored {
        let again = one(&mut store, &line(1, &client_id.to_string(), "", 2));
        assert!(matches!(again, StoreOutcome::ChatDuplicate { .. }), "{again:?}");
    }
}

/// Goal: a file that hangs, as on a disk that stalls, fails jobs after a bounded time and later ones at once; when
/// it goes on so does the store, and the line whose fate was unknown is there once. Method: another connection has
/// SQLite's lock, for which ours is made to wait longer than the store does.
#[test]
fn a_hanging_file_fails_jobs_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let place = file(&directory.path().join("db"));
    let (mut store, mut other) = (furnished(&place), Store::open(&place).unwrap().0);
    script(&mut store, "PRAGMA busy_timeout = 600000");
    script(&mut other, "BEGIN IMMEDIATE");
    assert_eq!(one(&mut store, &line(1, "a", "x", 1)), StoreOutcome::Failed);
    let asked = Instant::now();
    assert_eq!(one(&mut store, &line(1, "b", "x", 1)), StoreOutcome::Failed);
    assert!(asked.elapsed() < PATIENCE, "it is known to hang");
    script(&mut other, "ROLLBACK");
    wait_for_return(&mut store);
    let again = one(&mut store, &line(1, "a", "y", 1));
    assert!(matches!(again, StoreOutcome::ChatDuplicate { message_id: 1, .. }), "{again:?}");
    assert_eq!(stored(&one(&mut store, &line(1, "b", "x", 1))), 2);
}

/// Goal: nobody else on the machine reads chat and passwords' hashes, whoever may look into the directory.
#[test]
fn the_files_are_the_servers_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("db");
    let store = furnished(&file(&path));
    let files = std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap);
    let modes: Vec<_> = files.map(|file| (file.file_name(), file.metadata().unwrap().mode() & 0o777)).collect();
    assert!(modes.len() > 1 && modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
    close(store);
    // What an operator has set stays.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    close(Store::open(&file(&path)).unwrap().0);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
}

/// Goal: damage and a missing directory are refused with a sentence that says what to do.
#[test]
fn unusable_databases_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &Path| Store::open(&file(path)).err().unwrap().to_string();
    let garbage = directory.path().join("garbage");
    std::fs::write(&garbage, [0x55; 8_192]).unwrap();
    assert!(refused(&garbage).contains("restore a backup"), "{}", refused(&garbage));

    let damaged = directory.path().join("damaged");
    close(furnished(&file(&damaged)));
    let mut bytes = std::fs::read(&damaged).unwrap();
    // All pages but the first, which names the tables: 4,096 bytes each.
    bytes[4_096..].fill(0x55);
    std::fs::write(&damaged, bytes).unwrap();
    assert!(refused(&damaged).contains("restore a backup"), "{}", refused(&damaged));

    let nowhere = directory.path().join("none").join("db");
    assert!(refused(&nowhere).contains("data directory exists"), "{}", refused(&nowhere));
}
