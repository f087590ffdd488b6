//! The store on a real file and on a real PostgreSQL: each test runs on both.

mod accounts;
mod chat;
mod community;
mod costs;
mod files;
#[path = "../../../tests/running/postgres.rs"]
mod postgres;
mod rooms;
mod servers;

use std::path::Path;
use std::time::{Duration, Instant};

use echomesh_proto::control::Role;
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_proto::time::Time;
use echomesh_shard::{JobToken, Limits, Properties, StoreJob, StoreOutcome, StoreRequest};

use sqlx::ConnectOptions;

use super::chat::CLIENT_ID_MS;
use super::connection::Connection;
use super::*;
use crate::ending::Ending;
use crate::jobs::{JobPort, JobReply, Workers, rings};
use crate::measures::Measures;
use crate::wake::Wake;
use postgres::Postgres;

/// Most that anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(30);

/// Lets the store find its database again, as its thread does.
fn wait_for_return(store: &mut Store) {
    let start = Instant::now();
    while store.session.is_away() {
        assert!(start.elapsed() < LONG, "the store does not come back");
        store.session.wait_for_return(&store.runtime, &mut store.faults);
    }
}

/// A test on an empty file and on an empty database.
fn on_both(test: impl Fn(&Place)) {
    let directory = tempfile::tempdir().unwrap();
    test(&file(&directory.path().join("db")));
    let postgres = Postgres::shared();
    test(&server(&postgres.database()));
}

fn file(path: &Path) -> Place {
    Place::File(path.to_owned())
}

fn server(url: &str) -> Place {
    Place::Postgres(PostgresPlace::parse(url).unwrap())
}

fn open(place: &Place) -> (Store, Loaded) {
    Store::open(place).unwrap()
}

fn one(store: &mut Store, job: &StoreJob) -> StoreOutcome {
    store.carry_out(vec![job.clone()]).remove(0)
}

fn account(key: &str) -> StoreJob {
    StoreJob::CreateAccount {
        key: key.into(),
        name: "Ada".into(),
        password_hash: "h".into(),
        time_ms: 1,
        invitation: String::new(),
    }
}

fn room(key: &str) -> StoreJob {
    StoreJob::CreateRoom {
        key: key.into(),
        name: "Hall".into(),
        properties: Properties { capacity: 5, ..Properties::default() },
        creator: UserId(1),
        time_ms: 1,
    }
}

fn line(room: u64, client_id: &str, content: &str, time_ms: u64) -> StoreJob {
    let (room, user) = (RoomNumber(room), UserId(1));
    let mentions = Vec::new();
    StoreJob::AppendChat { room, user, client_id: client_id.into(), content: content.into(), mentions, time_ms }
}

/// A store with account 1 and room 1.
fn furnished(place: &Place) -> Store {
    let (mut store, _) = open(place);
    assert_eq!(one(&mut store, &account("ada")), StoreOutcome::AccountCreated { user: UserId(1) });
    assert_eq!(one(&mut store, &room("hall")), StoreOutcome::RoomCreated { room: RoomNumber(1) });
    store
}

/// Closes it and waits, so that all is in the one file, and the lock is free.
fn close(store: Store) {
    store.session.close(&store.runtime).unwrap();
}

/// The number of a line that was stored now.
fn stored(outcome: &StoreOutcome) -> u64 {
    let StoreOutcome::ChatStored { message_id } = outcome else { panic!("{outcome:?}") };
    *message_id
}

/// Statements of the test's own, on the store's connection.
fn script(store: &mut Store, sql: &str) {
    store.runtime.block_on(store.session.connection().script(sql)).unwrap();
}

/// What such a statement finds, a number.
fn count(store: &mut Store, sql: &str) -> i64 {
    let connection = store.session.connection();
    store.runtime.block_on(connection.row(sql, &[])).unwrap().unwrap().number(0).unwrap()
}

/// Goal: what was answered is there after the database is opened again, keys are unique, and the claim code
/// is told once.
#[test]
fn answers_survive_reopening() {
    on_both(|place| {
        let (store, loaded) = open(place);
        assert!(loaded.claim_code.is_some());
        close(store);
        let mut store = furnished(place);
        assert_eq!(one(&mut store, &account("ada")), StoreOutcome::Exists);
        assert_eq!(one(&mut store, &room("hall")), StoreOutcome::RoomExists { room: RoomNumber(1) });
        close(store);
        let (mut store, loaded) = open(place);
        let [hall] = &loaded.rooms[..] else { panic!("one room") };
        assert_eq!((hall.name.as_str(), hall.number, hall.properties.capacity), ("Hall", RoomNumber(1), 5));
        assert!(loaded.claim_code.is_none(), "the code is told once");
        let found = one(&mut store, &StoreJob::FindAccount { key: "ada".into() });
        assert!(matches!(found, StoreOutcome::Account { user: UserId(1), role: Role::Member, .. }), "{found:?}");
        assert_eq!(one(&mut store, &StoreJob::FindAccount { key: "bob".into() }), StoreOutcome::NotFound);
    });
}

/// Goal: a client's id names one line for 24 hours and is free again then (docs/PROTOCOL.md, chat).
#[test]
fn a_client_id_names_one_line_for_a_day() {
    on_both(|place| {
        let mut store = furnished(place);
        let first = stored(&one(&mut store, &line(1, "a", "first", 1_000)));
        let again = one(&mut store, &line(1, "a", "second", 999 + CLIENT_ID_MS));
        assert!(matches!(again, StoreOutcome::ChatDuplicate { message_id, time_ms: 1_000, ref content, .. }
                if message_id == first && content == "first"));
        let later = line(1, "a", "later", 1_000 + CLIENT_ID_MS);
        let second = stored(&one(&mut store, &later));
        assert!(second > first);
        assert!(
            matches!(one(&mut store, &later), StoreOutcome::ChatDuplicate { message_id, .. } if message_id == second)
        );
        let third = stored(&one(&mut store, &line(1, "", "x", 1)));
        assert!(stored(&one(&mut store, &line(1, "", "x", 1))) > third);
    });
}

/// Goal: lines of one batch are numbered in its order, whatever its length and whatever else is in it, and
/// each number names its line. Method: runs of lines around the lengths of statements, then each is asked
/// for again by its client's id.
#[test]
fn a_batch_of_lines_is_numbered_in_order() {
    on_both(|place| {
        let mut store = furnished(place);
        let mut last = 0;
        for count in [1, 2, 15, 16, 17, 63, 64, 65, 200] {
            let id = |at: usize| format!("{count}-{at}");
            let mut jobs: Vec<StoreJob> = (0..count).map(|at| line(1, &id(at), &id(at), 1)).collect();
            let middle = jobs.len() / 2;
            jobs.insert(middle, room("hall"));
            let mut outcomes = store.carry_out(jobs);
            assert_eq!(outcomes.remove(middle), StoreOutcome::RoomExists { room: RoomNumber(1) });
            let numbers: Vec<u64> = outcomes.iter().map(stored).collect();
            assert!(numbers[0] > last && numbers.is_sorted_by(|one, next| one < next), "{count} lines: {numbers:?}");
            last = numbers[count - 1];
            for (at, number) in numbers.into_iter().enumerate() {
                let again = one(&mut store, &line(1, &id(at), "", 2));
                let right = matches!(&again, StoreOutcome::ChatDuplicate { message_id, content, .. }
                    if *message_id == number && *content == id(at));
                assert!(right, "{again:?}");
            }
        }
    });
}

/// Goal: resends among new lines, of this batch and of earlier ones, give the line as stored and store
/// nothing twice. Method: one batch that is a statement of itself, and one that is more.
#[test]
fn resends_in_a_batch_are_found() {
    on_both(|place| {
        let mut store = furnished(place);
        let first = stored(&one(&mut store, &line(1, "a", "first", 1)));
        for turn in ["alone", "beside a room"] {
            let mut jobs: Vec<_> =
                [("b", "two"), ("a", "again"), ("", "free"), ("b", "again"), ("", "free"), ("c", "three")]
                    .map(|(id, content)| match id {
                        "" | "a" => line(1, id, content, 2),
                        _ => line(1, &format!("{id} {turn}"), content, 2),
                    })
                    .into();
            if turn == "beside a room" {
                jobs.push(room("hall"));
            }
            let outcomes = store.carry_out(jobs);
            let [two, again, free, two_again, free_too, three, ..] = &outcomes[..] else { panic!("{outcomes:?}") };
            assert!(matches!(again, StoreOutcome::ChatDuplicate { message_id, content, .. }
                if *message_id == first && content == "first"));
            assert!(matches!(two_again, StoreOutcome::ChatDuplicate { message_id, content, .. }
                if *message_id == stored(two) && content == "two"));
            assert!([two, free, free_too, three].map(stored).is_sorted_by(|one, next| one < next), "{outcomes:?}");
        }
    });
}

/// Goal: the claim code works once, for one account, and copying it with blanks does no harm.
#[test]
fn the_claim_code_works_once() {
    on_both(|place| {
        let (store, loaded) = open(place);
        close(store);
        let code = loaded.claim_code.unwrap();
        let mut store = furnished(place);
        let claim = |code: &str| StoreJob::Claim { user: UserId(1), code: code.into(), entry: Box::default() };
        assert_eq!(one(&mut store, &claim("wrong")), StoreOutcome::Denied);
        assert_eq!(one(&mut store, &claim(&format!(" {code}\n"))), StoreOutcome::Claimed);
        assert_eq!(one(&mut store, &claim(&code)), StoreOutcome::Denied);
        let found = one(&mut store, &StoreJob::FindAccount { key: "ada".into() });
        assert!(matches!(found, StoreOutcome::Account { role: Role::Owner, .. }), "{found:?}");
    });
}

/// Goal: one job that cannot be done fails alone; the rest of its batch is stored. Method: a line for a
/// room that is not there.
#[test]
fn a_bad_job_fails_alone() {
    on_both(|place| {
        let mut store = furnished(place);
        let outcomes =
            store.carry_out(vec![line(1, "a", "one", 1), line(99, "b", "nowhere", 1), line(1, "c", "two", 1)]);
        assert!(stored(&outcomes[2]) > stored(&outcomes[0]));
        assert_eq!(outcomes[1], StoreOutcome::Failed);
        close(store);
        let (mut store, _) = open(place);
        for client_id in ["a", "c"] {
            let again = one(&mut store, &line(1, client_id, "", 2));
            assert!(matches!(again, StoreOutcome::ChatDuplicate { .. }), "{again:?}");
        }
    });
}

/// Goal: what a client may send can be stored, NUL included, which PostgreSQL's text cannot hold.
#[test]
fn every_character_can_be_stored() {
    on_both(|place| {
        let mut store = furnished(place);
        let odd = line(1, "i\0d", "a\0b \u{FFFF} \u{10FFFF} ' \\", 1);
        let number = stored(&one(&mut store, &odd));
        let again = one(&mut store, &odd);
        assert!(matches!(again, StoreOutcome::ChatDuplicate { message_id, .. } if message_id == number), "{again:?}");
    });
}

/// Goal: a database of a newer server is refused with a sentence that says what to do, and left as it is.
#[test]
fn a_newer_schema_is_refused() {
    on_both(|place| {
        let mut store = furnished(place);
        script(
            &mut store,
            match place {
                Place::File(_) => "PRAGMA user_version = 1000",
                Place::Postgres(_) => "UPDATE echomesh_schema SET version = 1000",
            },
        );
        close(store);
        for _ in 0..2 {
            let refused = Store::open(place).err().unwrap().to_string();
            assert!(refused.contains("schema is 1000") && refused.contains("newer echomesh-server"), "{refused}");
        }
    });
}

/// Goal: a database of the first schema, with what people have in it, is brought up to date and is whole.
#[test]
fn an_old_database_keeps_what_it_has() {
    on_both(|place| {
        let runtime = runtime().unwrap();
        runtime.block_on(async {
            let mut connection = match place {
                Place::File(path) => sqlite::open(path).await.unwrap(),
                Place::Postgres(place) => Connection::Postgres(place.options().connect().await.unwrap()),
            };
            let first = include_str!("../../../migrations/0001_first.sql").replace("{NUMBERED}", connection.numbered());
            connection.script(&first).await.unwrap();
            let done = match place {
                Place::File(_) => "PRAGMA user_version = 1",
                Place::Postgres(_) => {
                    "CREATE TABLE echomesh_schema (version BIGINT NOT NULL); INSERT INTO echomesh_schema VALUES (1)"
                }
            };
            connection.script(done).await.unwrap();
            for sql in [
                "INSERT INTO accounts (key, name, password_hash, owner, created_ms) VALUES ('ada', 'Ada', 'h', 1, 1)",
                "INSERT INTO accounts (key, name, password_hash, created_ms) VALUES ('tim', 'Tim', 'h', 1)",
                "INSERT INTO rooms (key, name, capacity, creator, created_ms) VALUES ('hall', 'Hall', 5, 1, 1)",
                "INSERT INTO chat_lines (room, account, client_id, content, time_ms) VALUES (1, 1, 'a', 'first', 1)",
                "INSERT INTO claim VALUES ('x', 1)",
            ] {
                connection.script(sql).await.unwrap();
            }
            connection.close().await.unwrap();
        });
        let (mut store, loaded) = open(place);
        let [hall] = &loaded.rooms[..] else { panic!("one room") };
        let expected = Properties { capacity: 5, ..Properties::default() };
        assert_eq!((hall.newest_line, &hall.properties), (1, &expected));
        for (key, expected) in [("ada", Role::Owner), ("tim", Role::Member)] {
            let found = one(&mut store, &StoreJob::FindAccount { key: key.into() });
            assert!(matches!(found, StoreOutcome::Account { role, .. } if role == expected), "{found:?}");
        }
        let again = one(&mut store, &line(1, "a", "", 2));
        assert!(matches!(again, StoreOutcome::ChatDuplicate { message_id: 1, edited_ms: 0, .. }), "{again:?}");
        assert!(stored(&one(&mut store, &line(1, "b", "second", 2))) > 1);
        close(store);
        close(open(place).0);
    });
}

/// Of each shard: more than a batch.
const JOBS: u32 = 700;

/// Goal: the thread answers two shards, each in its order, and finishes what was asked before the stop.
#[test]
fn shards_are_answered_in_order() {
    on_both(answer_in_order);
}

fn answer_in_order(place: &Place) {
    close(furnished(place));
    let wakes: Vec<_> = (0..2).map(|_| Arc::new(Wake::new().unwrap())).collect();
    let (mut all_rings, mut desks) = (Vec::new(), Vec::new());
    for wake in &wakes {
        let (rings, desk, _hash) = rings(&Limits::default(), wake);
        all_rings.push(rings);
        desks.push(desk.writer);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let condition = Arc::new(Condition::new(Arc::new(Ending::new(2))));
    let (thread, loaded) = spawn(place.clone(), desks, stop.clone(), condition).unwrap();
    assert_eq!(loaded.rooms.len(), 1);
    let workers = Workers { store: thread.thread().clone(), reader: thread.thread().clone(), hash: Vec::new() };
    let mut ports: Vec<_> = all_rings.into_iter().map(|rings| JobPort::new(rings, workers.clone())).collect();
    for slot in 0..JOBS {
        for port in &mut ports {
            port.store(Time(0), StoreRequest { token: JobToken { slot, generation: 0 }, job: line(1, "", "hi", 1) });
        }
    }
    stop.store(true, Ordering::Release);
    thread.thread().unpark();
    thread.join().unwrap();
    for port in &mut ports {
        let mut last = 0;
        for slot in 0..JOBS {
            let Some(JobReply::Store(reply)) = port.poll(Time(0), &mut Measures::default()) else {
                panic!("job {slot} has no answer")
            };
            assert_eq!(reply.token.slot, slot);
            let number = stored(&reply.outcome);
            assert!(number > last);
            last = number;
        }
    }
}
