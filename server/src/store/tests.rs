//! The store on a real file.

use std::path::Path;

use echomesh_proto::control::Role;
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::{JobToken, Limits, StoreJob, StoreOutcome, StoreRequest};

use super::chat::CLIENT_ID_MS;
use super::*;
use crate::jobs::{JobPort, JobReply, Workers, rings};
use crate::wake::Wake;

fn open(path: &Path) -> (Store, Loaded) {
    Store::open(path).unwrap()
}

fn one(store: &mut Store, job: &StoreJob) -> StoreOutcome {
    store.carry_out(&[job]).remove(0)
}

fn account(key: &str) -> StoreJob {
    StoreJob::CreateAccount { key: key.into(), name: "Ada".into(), password_hash: "h".into(), time_ms: 1 }
}

fn room(key: &str) -> StoreJob {
    StoreJob::CreateRoom { key: key.into(), name: "Hall".into(), capacity: 5, creator: UserId(1), time_ms: 1 }
}

fn line(room: u64, client_id: &str, content: &str, time_ms: u64) -> StoreJob {
    let (room, user) = (RoomNumber(room), UserId(1));
    StoreJob::AppendChat { room, user, client_id: client_id.into(), content: content.into(), time_ms }
}

/// A store with account 1 and room 1.
fn furnished(path: &Path) -> Store {
    let (mut store, _) = open(path);
    assert_eq!(one(&mut store, &account("ada")), StoreOutcome::AccountCreated { user: UserId(1) });
    assert_eq!(one(&mut store, &room("hall")), StoreOutcome::RoomCreated { room: RoomNumber(1) });
    store
}

/// Closes it and waits, so that all is in the one file.
fn close(store: Store) {
    store.runtime.block_on(store.connection.close()).unwrap();
}

/// Goal: what was answered is there after the file is opened again, keys are unique, and the claim code
/// is told once.
#[test]
fn answers_survive_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    assert!(open(&path).1.claim_code.is_some());
    let mut store = furnished(&path);
    assert_eq!(one(&mut store, &account("ada")), StoreOutcome::Exists);
    assert_eq!(one(&mut store, &room("hall")), StoreOutcome::Exists);
    close(store);
    let (mut store, loaded) = open(&path);
    assert_eq!((loaded.rooms.len(), loaded.rooms[0].name.as_str()), (1, "Hall"));
    assert!(loaded.claim_code.is_none(), "the code is told once");
    let found = one(&mut store, &StoreJob::FindAccount { key: "ada".into() });
    assert!(matches!(found, StoreOutcome::Account { user: UserId(1), role: Role::Member, .. }), "{found:?}");
    assert_eq!(one(&mut store, &StoreJob::FindAccount { key: "bob".into() }), StoreOutcome::NotFound);
}

/// Goal: a client's id names one line for 24 hours and is free again then (docs/PROTOCOL.md, chat).
#[test]
fn a_client_id_names_one_line_for_a_day() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = furnished(&directory.path().join("db"));
    assert_eq!(one(&mut store, &line(1, "a", "first", 1_000)), StoreOutcome::ChatStored { message_id: 1 });
    let again = one(&mut store, &line(1, "a", "second", 999 + CLIENT_ID_MS));
    assert!(
        matches!(again, StoreOutcome::ChatDuplicate { message_id: 1, time_ms: 1_000, ref content, .. } if content == "first")
    );
    let later = line(1, "a", "later", 1_000 + CLIENT_ID_MS);
    assert_eq!(one(&mut store, &later), StoreOutcome::ChatStored { message_id: 2 });
    assert!(matches!(one(&mut store, &later), StoreOutcome::ChatDuplicate { message_id: 2, .. }));
    assert_eq!(one(&mut store, &line(1, "", "x", 1)), StoreOutcome::ChatStored { message_id: 3 });
    assert_eq!(one(&mut store, &line(1, "", "x", 1)), StoreOutcome::ChatStored { message_id: 4 });
}

/// Goal: lines of one batch are numbered in its order, whatever its length and whatever else is in it, and
/// each number names its line. Method: runs of lines around the lengths of statements, then each is asked
/// for again by its client's id.
#[test]
fn a_batch_of_lines_is_numbered_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = furnished(&directory.path().join("db"));
    let mut next = 1;
    for count in [1, 2, 15, 16, 17, 63, 64, 65, 200] {
        let id = |at: u64| format!("{count}-{at}");
        let mut jobs: Vec<StoreJob> = (0..count).map(|at| line(1, &id(at), &id(at), 1)).collect();
        let middle = jobs.len() / 2;
        jobs.insert(middle, room("hall"));
        let mut outcomes = store.carry_out(&jobs.iter().collect::<Vec<_>>());
        assert_eq!(outcomes.remove(middle), StoreOutcome::Exists);
        let numbers = (next..).take(count as usize);
        let expected: Vec<_> = numbers.map(|message_id| StoreOutcome::ChatStored { message_id }).collect();
        assert_eq!(outcomes, expected, "{count} lines");
        for at in 0..count {
            let again = one(&mut store, &line(1, &id(at), "", 2));
            let right = matches!(&again, StoreOutcome::ChatDuplicate { message_id, content, .. }
                if *message_id == next + at && *content == id(at));
            assert!(right, "{again:?}");
        }
        next += count;
    }
}

/// Goal: resends among new lines, of this batch and of earlier ones, give the line as stored and store
/// nothing twice.
#[test]
fn resends_in_a_batch_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = furnished(&directory.path().join("db"));
    assert_eq!(one(&mut store, &line(1, "a", "first", 1)), StoreOutcome::ChatStored { message_id: 1 });
    let jobs = [("b", "two"), ("a", "again"), ("", "free"), ("b", "again"), ("", "free"), ("c", "three")]
        .map(|(id, content)| line(1, id, content, 2));
    let outcomes = store.carry_out(&jobs.iter().collect::<Vec<_>>());
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            StoreOutcome::ChatStored { message_id } => (*message_id, ""),
            StoreOutcome::ChatDuplicate { message_id, content, .. } => (*message_id, content.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(2, ""), (1, "first"), (3, ""), (2, "two"), (4, ""), (5, "")]);
}

/// Goal: the claim code works once, for one account, and copying it with blanks does no harm.
#[test]
fn the_claim_code_works_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let code = open(&path).1.claim_code.unwrap();
    let mut store = furnished(&path);
    let claim = |code: &str| StoreJob::Claim { user: UserId(1), code: code.into() };
    assert_eq!(one(&mut store, &claim("wrong")), StoreOutcome::Denied);
    assert_eq!(one(&mut store, &claim(&format!(" {code}\n"))), StoreOutcome::Claimed);
    assert_eq!(one(&mut store, &claim(&code)), StoreOutcome::Denied);
    let found = one(&mut store, &StoreJob::FindAccount { key: "ada".into() });
    assert!(matches!(found, StoreOutcome::Account { role: Role::Owner, .. }), "{found:?}");
}

/// Goal: one job that cannot be done fails alone; the rest of its batch is stored. Method: a line for a
/// room that is not there.
#[test]
fn a_bad_job_fails_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let mut store = furnished(&path);
    let jobs = [line(1, "a", "one", 1), line(99, "b", "nowhere", 1), line(1, "c", "two", 1)];
    let outcomes = store.carry_out(&jobs.iter().collect::<Vec<_>>());
    assert!(matches!(outcomes[0], StoreOutcome::ChatStored { .. }), "{outcomes:?}");
    assert_eq!(outcomes[1], StoreOutcome::Failed);
    assert!(matches!(outcomes[2], StoreOutcome::ChatStored { .. }), "{outcomes:?}");
    close(store);
    let (mut store, _) = open(&path);
    for client_id in ["a", "c"] {
        let again = one(&mut store, &line(1, client_id, "", 2));
        assert!(matches!(again, StoreOutcome::ChatDuplicate { .. }), "{again:?}");
    }
}

/// Goal: a full disk loses nothing that was acknowledged, and the store works on once there is space.
/// Method: SQLite's own bound on pages, which gives the error that a full disk gives.
#[test]
fn a_full_disk_fails_jobs_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = furnished(&directory.path().join("db"));
    let bound = |store: &mut Store, pages: u32| {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        store.runtime.block_on(sqlx::raw_sql(&pragma).execute(&mut store.connection)).unwrap();
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
    assert_eq!(store.carry_out(&jobs.iter().collect::<Vec<_>>()), [StoreOutcome::Failed, StoreOutcome::Failed]);
    bound(&mut store, 1_000_000);
    let after = one(&mut store, &line(1, &stored.to_string(), &content, 1));
    assert!(matches!(after, StoreOutcome::ChatStored { .. }), "{after:?}");
    for client_id in 0..stored {
        let again = one(&mut store, &line(1, &client_id.to_string(), "", 2));
        assert!(matches!(again, StoreOutcome::ChatDuplicate { .. }), "{again:?}");
    }
}

/// Goal: damage and a schema of the future are refused with a sentence that says what to do.
#[test]
fn unusable_databases_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &Path| Store::open(path).err().unwrap().to_string();
    let garbage = directory.path().join("garbage");
    std::fs::write(&garbage, [0x55; 8_192]).unwrap();
    assert!(refused(&garbage).contains("restore a backup"), "{}", refused(&garbage));

    let damaged = directory.path().join("damaged");
    close(furnished(&damaged));
    let mut bytes = std::fs::read(&damaged).unwrap();
    // All pages but the first, which names the tables: 4,096 bytes each.
    bytes[4_096..].fill(0x55);
    std::fs::write(&damaged, bytes).unwrap();
    assert!(refused(&damaged).contains("restore a backup"), "{}", refused(&damaged));

    let newer = directory.path().join("newer");
    let mut store = furnished(&newer);
    store.runtime.block_on(sqlx::raw_sql("PRAGMA user_version = 1000").execute(&mut store.connection)).unwrap();
    close(store);
    assert!(refused(&newer).contains("newer echomesh-server"), "{}", refused(&newer));

    let nowhere = directory.path().join("none").join("db");
    assert!(refused(&nowhere).contains("data directory exists"), "{}", refused(&nowhere));
}

/// Goal: the thread answers two shards, each in its order, and finishes what was asked before the stop.
#[test]
fn shards_are_answered_in_order() {
    const JOBS: u32 = 700;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    close(furnished(&path));
    let wakes: Vec<_> = (0..2).map(|_| Arc::new(Wake::new().unwrap())).collect();
    let (mut all_rings, mut desks) = (Vec::new(), Vec::new());
    for wake in &wakes {
        let (rings, desk, _hash) = rings(&Limits::default(), wake);
        all_rings.push(rings);
        desks.push(desk);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (thread, loaded) = spawn(path, desks, stop.clone()).unwrap();
    assert_eq!(loaded.rooms.len(), 1);
    let workers = Workers { store: thread.thread().clone(), hash: Vec::new() };
    let mut ports: Vec<_> = all_rings.into_iter().map(|rings| JobPort::new(rings, workers.clone())).collect();
    for slot in 0..JOBS {
        for port in &mut ports {
            port.store(StoreRequest { token: JobToken { slot, generation: 0 }, job: line(1, "", "hi", 1) });
        }
    }
    stop.store(true, Ordering::Release);
    thread.thread().unpark();
    thread.join().unwrap();
    for port in &mut ports {
        let mut last = 0;
        for slot in 0..JOBS {
            let Some(JobReply::Store(reply)) = port.poll() else { panic!("job {slot} has no answer") };
            assert_eq!(reply.token.slot, slot);
            let StoreOutcome::ChatStored { message_id } = reply.outcome else { panic!("{reply:?}") };
            assert!(message_id > last);
            last = message_id;
        }
    }
}
