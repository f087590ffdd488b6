//! The store: accounts, rooms and chat in one database, on a thread of its own: a SQLite file, or PostgreSQL.
//!
//! Not a cache: shards keep what they need. In: requests from the desks of all shards. Out: one reply
//! each, in order for each shard, and only after what it says is on disk: all requests that wait go
//! into one transaction (group commit), `Store` commits it durably (SQLite: synchronous=FULL), then the
//! replies leave. A batch that fails is rolled back and its jobs are tried one by one, so that one bad job
//! fails nobody else's. While the database hangs or is away, jobs fail at once, and clients try again.
//! Bounds: `BATCH_MAX` requests a transaction, an equal share for each shard; `session` has those in time.
//! Cost: one fdatasync a batch, so the slower the disk, the larger the batches.
//!
//! Layout: `place` (where the database is), `open` with `sqlite`, `postgres` and `schema` (getting hold of it),
//! `session` (keeping hold), `connection` (either database behind one set of statements), `work` (what each job
//! does), `chat` (lines of rooms), `changes` (direct lines, edits, what was seen), `sweep` (old lines), `history` with
//! `reader` (reads, on a thread of their own), `community` (roles, bans, the audit log), `accounts` (tokens,
//! invitations, passwords), `rooms`, `sessions` (that outlive the server), `fault` (what went wrong and what to do
//! about it), `backup` (copies of a file), `operator` (commands on the machine).

mod accounts;
mod backup;
mod changes;
mod chat;
mod community;
mod connection;
mod fault;
mod history;
mod open;
pub mod operator;
mod place;
mod postgres;
mod reader;
mod rooms;
mod schema;
mod session;
mod sessions;
mod sqlite;
mod sweep;
#[cfg(test)]
mod tests;
mod work;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use echomesh_shard::{JobToken, StoreJob, StoreOutcome, StoreReply, StoreRequest};

pub use accounts::now_ms;
pub use backup::{backup, restore};
pub use place::{Place, PostgresPlace};
pub use reader::spawn_reader;
pub use schema::Loaded;

use crate::admin::Condition;
use crate::jobs::StoreDesk;
use crate::start_error::StartError;
use fault::FaultLog;
use session::Session;

/// Most requests of one transaction: a commit of so many lines of chat is about 2 MB, some milliseconds.
const BATCH_MAX: usize = 512;

/// Lower priority than the shards' threads: `nice` steps.
const NICE: i32 = 2;

/// An open database.
pub struct Store {
    runtime: tokio::runtime::Runtime,
    session: Session,
    faults: FaultLog,
}

/// Starts the store's thread: opens the database (made if missing) and serves these desks, one a shard,
/// until `stop` is set, the thread is unparked and nothing waits.
///
/// # Errors
/// The database cannot be used; the sentence says what to do. The thread has ended then.
pub fn spawn(
    place: Place,
    desks: Vec<StoreDesk>,
    stop: Arc<AtomicBool>,
    condition: Arc<Condition>,
) -> Result<(JoinHandle<()>, Loaded), StartError> {
    let (opened, wait) = sync_channel(1);
    let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
        // SQLite's own thread, which the connection starts, inherits it; so does the one that asks the DNS.
        crate::resources::be_nice(NICE);
        let (store, outcome) = match Store::open(&place) {
            Ok((store, loaded)) => (Some(store), Ok(loaded)),
            Err(error) => (None, Err(error)),
        };
        opened.send(outcome).expect("the main thread waits for this");
        if let Some(store) = store {
            store.serve(desks, &stop, &condition);
        }
    });
    let thread = thread.map_err(|error| StartError::system("cannot start the store's thread", &error))?;
    let loaded = wait.recv().expect("the store's thread answers before anything else")?;
    Ok((thread, loaded))
}

impl Store {
    fn serve(mut self, mut desks: Vec<StoreDesk>, stop: &AtomicBool, condition: &Condition) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            // Read before the rings: what was asked before the stop is still done.
            let stopping = stop.load(Ordering::Acquire);
            if self.session.is_away() {
                self.session.wait_for_return(&self.runtime, &mut self.faults);
            }
            condition.store_away(self.session.is_away());
            take_batch(&mut desks, &mut batch);
            if !batch.is_empty() {
                self.answer(&mut desks, &mut batch);
            } else if stopping {
                break;
            } else {
                self.idle();
            }
        }
        if let Err(error) = self.session.close(&self.runtime) {
            tracing::warn!(%error, "the database did not close cleanly; it will recover by itself at the next start");
        }
    }

    /// Nothing to do until the thread is unparked, or the connection wants to be looked at.
    fn idle(&mut self) {
        if self.session.is_away() {
            return;
        }
        self.session.look(&self.runtime, &mut self.faults);
        match self.session.nap() {
            Some(nap) => std::thread::park_timeout(nap),
            None => std::thread::park(),
        }
    }

    fn answer(&mut self, desks: &mut [StoreDesk], batch: &mut Vec<(usize, StoreRequest)>) {
        let (asked, jobs): (Vec<(usize, JobToken)>, Vec<StoreJob>) =
            batch.drain(..).map(|(shard, request)| ((shard, request.token), request.job)).unzip();
        let outcomes = self.carry_out(jobs);
        for ((shard, token), outcome) in asked.into_iter().zip(outcomes) {
            desks[shard].reply(StoreReply { token, outcome });
        }
        desks.iter().for_each(StoreDesk::wake);
    }

    /// One outcome a job, in order.
    fn carry_out(&mut self, jobs: Vec<StoreJob>) -> Vec<StoreOutcome> {
        self.session.carry_out(&self.runtime, jobs, &mut self.faults)
    }
}

/// Takes what waits, an equal share from each shard so that a busy one does not starve the others.
fn take_batch(desks: &mut [StoreDesk], batch: &mut Vec<(usize, StoreRequest)>) {
    let share = (BATCH_MAX / desks.len()).max(1);
    for (shard, desk) in desks.iter_mut().enumerate() {
        let waiting = std::iter::from_fn(|| desk.take()).take(share);
        batch.extend(waiting.map(|request| (shard, request)));
    }
}

/// A runtime for the store's thread alone.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
