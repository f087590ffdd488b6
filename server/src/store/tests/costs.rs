//! What statements that run often cost as tables grow: steps of SQLite's machine, which are the same on every computer.

use std::sync::atomic::AtomicU64;

use echomesh_proto::control::AuditEntry;
use echomesh_shard::accounts::{AccountsJob, AccountsOutcome};
use echomesh_shard::chat_jobs::{ChatRead, ChatWrite, Mark, View};

use super::super::connection::Connection;
use super::*;

/// Steps between two counts.
const STEPS: i32 = 100;

/// An account, beside those that the tables are filled with.
const ADA: UserId = UserId(1);

fn peopled(place: &Place) -> Store {
    let mut store = furnished(place);
    one(&mut store, &account("tim"));
    store
}

/// Steps, in hundreds, that this takes.
fn cost(store: &mut Store, work: impl FnOnce(&mut Store)) -> u64 {
    fn observe(store: &mut Store, act: impl FnOnce(&mut sqlx::sqlite::LockedSqliteHandle<'_>)) {
        let Store { runtime, session, .. } = store;
        let Connection::Sqlite(connection) = session.connection() else { panic!("only SQLite counts") };
        act(&mut runtime.block_on(connection.lock_handle()).unwrap());
    }
    let steps = Arc::new(AtomicU64::new(0));
    let counter = steps.clone();
    observe(store, |handle| {
        handle.set_progress_handler(STEPS, move || {
            counter.fetch_add(1, Ordering::Relaxed);
            true
        });
    });
    work(store);
    observe(store, |handle| handle.remove_progress_handler());
    steps.load(Ordering::Relaxed)
}

/// Does it on an empty store, then on one that the statement has filled; it may not cost more than a little then.
fn costs_the_same(fill: &str, work: impl Fn(&mut Store)) {
    let directory = tempfile::tempdir().unwrap();
    let mut small = peopled(&file(&directory.path().join("small")));
    let mut large = peopled(&file(&directory.path().join("large")));
    script(&mut large, fill);
    let before = cost(&mut small, &work);
    let after = cost(&mut large, &work);
    assert!(after <= 2 * before + 200, "{after} instead of {before} hundred steps");
}

/// `INSERT INTO table SELECT values`, where `n` counts to 100,000.
fn rows(table: &str, values: &str) -> String {
    format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000)
         INSERT INTO {table} SELECT {values} FROM numbers"
    )
}

/// Goal: a mark in a long conversation is as cheap as in a short one.
#[test]
fn a_mark_does_not_read_the_conversation() {
    let lines = rows("direct_lines (low, high, account, client_id, content, time_ms)", "1, 2, 2, '', 'hi', n");
    costs_the_same(&lines, |store| {
        let mark = Mark { user: ADA, view: View::With("tim".into()), seen: 7 };
        one(store, &StoreJob::Chat(Box::new(ChatWrite::Mark(vec![mark]))));
    });
}

/// Goal: a room that ended is swept without a look at what was seen of others.
#[test]
fn a_sweep_does_not_read_all_marks() {
    let marks = rows("chat_seen (account, room, peer, seen)", "n, 2, 0, 1");
    costs_the_same(&marks, |store| {
        one(store, &StoreJob::EndRoom { room: RoomNumber(1) });
        let swept = one(store, &StoreJob::SweepRoom { room: RoomNumber(1) });
        assert_eq!(swept, StoreOutcome::Swept { is_done: true });
    });
}

/// Goal: an account is deleted without a look at all others, and at all that rooms say of accounts.
#[test]
fn a_deletion_does_not_read_all_accounts() {
    let accounts = rows("accounts (key, name, password_hash, created_ms)", "'u' || n, 'U', 'h', 1");
    let standings = rows("room_standings (room, role, account, allow)", "1, -1, n + 9, 1");
    costs_the_same(&format!("{accounts}; {standings}"), |store| {
        let delete = AccountsJob::Delete { user: ADA, time_ms: 9, entry: AuditEntry::default() };
        let deleted = one(store, &StoreJob::Accounts(Box::new(delete)));
        assert_eq!(deleted, StoreOutcome::Accounts(AccountsOutcome::Done));
    });
}

/// Goal: what is unread is counted in bounded time, however much an account wrote itself since its mark.
#[test]
fn own_lines_are_not_all_read() {
    let lines = rows("chat_lines (room, account, client_id, content, time_ms)", "1, 1, '', 'own', n");
    let directory = tempfile::tempdir().unwrap();
    let mut store = peopled(&file(&directory.path().join("db")));
    script(&mut store, &lines);
    let steps = cost(&mut store, |store| {
        store.read(&ChatRead::Unread { user: ADA, view: Some(View::Room(RoomNumber(1))), fresh: Vec::new() });
    });
    assert!(steps < 2_000, "{steps} hundred steps");
}
