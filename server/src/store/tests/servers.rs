//! What only a server can suffer: it goes away, hangs, is somebody else's, or does not let us in.

use std::io::Write;
use std::process::{Child, Stdio};
use std::time::Instant;

use echomesh_shard::StoreOutcome;

use super::postgres::Postgres;
use super::{LONG, Store, close, furnished, line, one, server, stored, wait_for_return};
use crate::store::session::PATIENCE;

/// Another program's session that holds the lines' table until it is dropped.
struct Hold(Child);

impl Hold {
    fn take(postgres: &Postgres, database: &str) -> Self {
        let mut psql = postgres.psql(database).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let statements = b"BEGIN; LOCK TABLE chat_lines IN ACCESS EXCLUSIVE MODE; SELECT 'held';\n";
        psql.stdin.as_mut().unwrap().write_all(statements).unwrap();
        let mut said = [0; 5];
        std::io::Read::read_exact(psql.stdout.as_mut().unwrap(), &mut said).unwrap();
        assert_eq!(&said, b"held\n");
        Self(psql)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends with its input.
        let _ = self.0.wait();
    }
}

/// Goal: while PostgreSQL is away jobs fail at once, nothing acknowledged is lost, and it is in use again soon
/// after it is back, without a restart of ours. Method: an operator's stop, then one as if it were killed.
#[test]
fn an_absent_server_fails_jobs_and_returns() {
    let postgres = Postgres::start_new();
    let place = server(&postgres.database());
    let mut store = furnished(&place);
    for (turn, end) in [Postgres::stop, Postgres::crash].into_iter().enumerate() {
        let before = stored(&one(&mut store, &line(1, &format!("before {turn}"), "x", 1)));
        end(&postgres);
        for _ in 0..3 {
            let asked = Instant::now();
            assert_eq!(one(&mut store, &line(1, "while", "x", 1)), StoreOutcome::Failed);
            assert!(asked.elapsed() < PATIENCE);
        }
        postgres.start();
        wait_for_return(&mut store);
        assert!(stored(&one(&mut store, &line(1, &format!("after {turn}"), "x", 1))) > before);
        let again = one(&mut store, &line(1, &format!("before {turn}"), "", 2));
        assert!(matches!(again, StoreOutcome::ChatDuplicate { message_id, .. } if message_id == before), "{again:?}");
    }
}

/// Goal: an idle connection that broke is noticed and made again before anybody needs it.
#[test]
fn an_idle_connection_is_looked_at() {
    let postgres = Postgres::start_new();
    let mut store = furnished(&server(&postgres.database()));
    postgres.stop();
    postgres.start();
    let start = Instant::now();
    while !store.session.is_away() {
        assert!(start.elapsed() < LONG, "nobody notices");
        store.session.look(&store.runtime, &mut store.faults);
        std::thread::yield_now();
    }
    wait_for_return(&mut store);
    stored(&one(&mut store, &line(1, "", "x", 1)));
}

/// Goal: a database that hangs fails jobs after a bounded time, and later ones at once; afterwards it works on,
/// and a line whose fate was unknown is there once at most. Method: another session locks the table.
#[test]
fn a_hanging_database_fails_jobs_in_time() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let mut store = furnished(&server(&url));
    let hold = Hold::take(&postgres, &url);
    let asked = Instant::now();
    assert_eq!(one(&mut store, &line(1, "a", "x", 1)), StoreOutcome::Failed);
    assert!(asked.elapsed() < PATIENCE + LONG);
    let asked = Instant::now();
    assert_eq!(one(&mut store, &line(1, "a", "x", 1)), StoreOutcome::Failed);
    assert!(asked.elapsed() < PATIENCE, "it is known to be away");
    drop(hold);
    wait_for_return(&mut store);
    let outcome = one(&mut store, &line(1, "a", "x", 1));
    assert!(matches!(outcome, StoreOutcome::ChatStored { .. } | StoreOutcome::ChatDuplicate { .. }), "{outcome:?}");
    assert_eq!(postgres.sql(&url, "SELECT count(*) FROM chat_lines"), "1");
}

/// Goal: one server a database: the second is refused with what to do, the next one after the first is let in.
#[test]
fn a_second_server_is_refused() {
    let postgres = Postgres::shared();
    let place = server(&postgres.database());
    let first = furnished(&place);
    let refused = Store::open(&place).err().unwrap().to_string();
    assert!(refused.contains("another echomesh-server uses it"), "{refused}");
    close(first);
    close(Store::open(&place).unwrap().0);
}

/// Goal: a server that cannot be used is refused, each reason with its own remedy and without the password.
#[test]
fn unusable_servers_are_refused() {
    let postgres = Postgres::shared();
    let refused = |url: &str| {
        let refused = Store::open(&server(url)).err().unwrap().to_string();
        assert!(!refused.contains("s3cret"), "{refused}");
        refused
    };
    let wrong = refused(&postgres.url_of("mesh", "nots3cret", "postgres"));
    assert!(wrong.contains("refuses the user or the password"), "{wrong}");
    let missing = refused(&postgres.url("missing"));
    assert!(missing.contains("createdb"), "{missing}");
    let nowhere = refused("postgres:///chat?host=/nowhere&user=mesh&password=tops3cret");
    assert!(nowhere.contains("PostgreSQL does not answer"), "{nowhere}");
    postgres.sql("postgres", "CREATE USER guest PASSWORD 'guests3cret'");
    postgres.sql("postgres", "CREATE DATABASE guarded");
    let rights = refused(&postgres.url_of("guest", "guests3cret", "guarded"));
    assert!(rights.contains("lacks rights"), "{rights}");
    postgres.sql("postgres", "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0");
    let latin = refused(&postgres.url("latin"));
    assert!(latin.contains("encoding is LATIN1"), "{latin}");
    postgres.sql("postgres", "CREATE DATABASE taken");
    postgres.sql("taken", "CREATE TABLE accounts (id int)");
    let taken = refused(&postgres.url("taken"));
    assert!(taken.contains("tables of another program"), "{taken}");
    postgres.sql("postgres", "CREATE DATABASE standby");
    postgres.sql("postgres", "ALTER DATABASE standby SET default_transaction_read_only = on");
    let standby = refused(&postgres.url("standby"));
    assert!(standby.contains("not a standby"), "{standby}");
}
