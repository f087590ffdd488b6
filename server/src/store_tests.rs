//! The store on a real file.

use super::*;

fn open(path: &Path) -> (Store, Loaded) {
    Store::open(path).unwrap()
}

fn one(store: &mut Store, job: &StoreJob) -> StoreOutcome {
    store.runtime.block_on(commit(&mut store.connection, &[job])).remove(0)
}

fn line(client_id: &str, content: &str, time_ms: u64) -> StoreJob {
    let (room, user) = (RoomNumber(1), UserId(1));
    StoreJob::AppendChat { room, user, client_id: client_id.into(), content: content.into(), time_ms }
}

/// Goal: what was answered is there after the file is opened again; keys are unique.
#[test]
fn answers_survive_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let (mut store, loaded) = open(&path);
    assert!(loaded.rooms.is_empty() && loaded.claim_code.is_some());
    let account =
        StoreJob::CreateAccount { key: "ada".into(), name: "Ada".into(), password_hash: "h".into(), time_ms: 1 };
    assert_eq!(one(&mut store, &account), StoreOutcome::AccountCreated { user: UserId(1) });
    assert_eq!(one(&mut store, &account), StoreOutcome::Exists);
    let room =
        StoreJob::CreateRoom { key: "hall".into(), name: "Hall".into(), capacity: 5, creator: UserId(1), time_ms: 1 };
    assert_eq!(one(&mut store, &room), StoreOutcome::RoomCreated { room: RoomNumber(1) });
    assert_eq!(one(&mut store, &room), StoreOutcome::Exists);
    drop(store);
    let (mut store, loaded) = open(&path);
    assert_eq!(loaded.rooms[0].name, "Hall");
    assert!(loaded.claim_code.is_none(), "the code is shown once");
    let found = one(&mut store, &StoreJob::FindAccount { key: "ada".into() });
    assert!(matches!(found, StoreOutcome::Account { owner: false, .. }));
}

/// Goal: a client's id names one line for 24 hours, then is free again (docs/PROTOCOL.md).
#[test]
fn a_client_id_names_one_line_for_a_day() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&directory.path().join("db"));
    assert_eq!(one(&mut store, &line("a", "first", 1_000)), StoreOutcome::ChatStored { message_id: 1 });
    let again = one(&mut store, &line("a", "second", 2_000));
    assert!(matches!(again, StoreOutcome::ChatDuplicate { message_id: 1, ref content, .. } if content == "first"));
    assert_eq!(one(&mut store, &line("a", "later", 1_000 + CLIENT_ID_MS)), StoreOutcome::ChatStored { message_id: 2 });
    assert_eq!(one(&mut store, &line("", "x", 1)), StoreOutcome::ChatStored { message_id: 3 });
    assert_eq!(one(&mut store, &line("", "x", 1)), StoreOutcome::ChatStored { message_id: 4 });
}

/// Goal: the claim code works once, for one account.
#[test]
fn the_claim_code_works_once() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, loaded) = open(&directory.path().join("db"));
    let code = loaded.claim_code.unwrap();
    let claim = |user: u64, code: &str| StoreJob::Claim { user: UserId(user), code: code.into() };
    assert_eq!(one(&mut store, &claim(1, "wrong")), StoreOutcome::Denied);
    assert_eq!(one(&mut store, &claim(1, &code)), StoreOutcome::Claimed);
    assert_eq!(one(&mut store, &claim(2, &code)), StoreOutcome::Denied);
}

/// Goal: a damaged database is refused with a sentence that says what to do.
#[test]
fn a_damaged_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    std::fs::write(&path, [0x55; 8192]).unwrap();
    let error = Store::open(&path).err().unwrap();
    assert!(error.contains("restore a backup"), "{error}");
}
