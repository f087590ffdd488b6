//! The store: accounts, rooms and chat in one SQLite file, on a thread of its own.
//!
//! Not a cache: shards keep what they need. In: requests from the desks of all shards. Out: one reply
//! each, in order for each shard, and only after what it says is on disk: all requests that wait go
//! into one transaction (group commit), `Store` commits it with synchronous=FULL, then the replies
//! leave. A batch that fails is rolled back and its jobs are tried one by one, so that one bad job
//! fails nobody else's.
//! Bounds: `BATCH_MAX` requests a transaction, an equal share for each shard. Cost: one fdatasync a
//! batch, so the slower the disk, the larger the batches.
//!
//! Layout: `open` (file, schema, claim code), `work` (what each job does), `chat` (lines), `community` (roles, bans, the audit log), `fault` (what went wrong and
//! what to do about it).

mod chat;
mod community;
mod fault;
mod open;
#[cfg(test)]
mod tests;
mod work;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use echomesh_shard::{StoreJob, StoreOutcome, StoreReply, StoreRequest};
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

pub use open::Loaded;

use crate::jobs::StoreDesk;
use crate::start_error::StartError;
use fault::{Fault, FaultLog};

/// Most requests of one transaction: a commit of so many lines of chat is about 2 MB, some milliseconds.
const BATCH_MAX: usize = 512;

/// Lower priority than the shards' threads: `nice` steps.
const NICE: i32 = 2;

/// An open database.
pub struct Store {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
    faults: FaultLog,
}

/// Starts the store's thread: opens the database (made if missing) and serves these desks, one a shard,
/// until `stop` is set, the thread is unparked and nothing waits.
///
/// # Errors
/// The database cannot be used; the sentence says what to do. The thread has ended then.
pub fn spawn(
    path: PathBuf,
    desks: Vec<StoreDesk>,
    stop: Arc<AtomicBool>,
) -> Result<(JoinHandle<()>, Loaded), StartError> {
    let (opened, wait) = sync_channel(1);
    let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
        // SQLite's own thread, which the connection starts, inherits it.
        crate::resources::be_nice(NICE);
        let (store, outcome) = match Store::open(&path) {
            Ok((store, loaded)) => (Some(store), Ok(loaded)),
            Err(error) => (None, Err(error)),
        };
        opened.send(outcome).expect("the main thread waits for this");
        if let Some(store) = store {
            store.serve(desks, &stop);
        }
    });
    let thread = thread.map_err(|error| StartError::system("cannot start the store's thread", &error))?;
    let loaded = wait.recv().expect("the store's thread answers before anything else")?;
    Ok((thread, loaded))
}

impl Store {
    fn serve(mut self, mut desks: Vec<StoreDesk>, stop: &AtomicBool) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            // Read before the rings: what was asked before the stop is still done.
            let stopping = stop.load(Ordering::Acquire);
            take_batch(&mut desks, &mut batch);
            if !batch.is_empty() {
                self.answer(&mut desks, &mut batch);
            } else if stopping {
                break;
            } else {
                std::thread::park();
            }
        }
        if let Err(error) = self.runtime.block_on(self.connection.close()) {
            tracing::warn!(%error, "the database did not close cleanly; SQLite will recover it at the next start");
        }
    }

    fn answer(&mut self, desks: &mut [StoreDesk], batch: &mut Vec<(usize, StoreRequest)>) {
        let jobs: Vec<&StoreJob> = batch.iter().map(|(_, request)| &request.job).collect();
        let outcomes = self.carry_out(&jobs);
        for ((shard, request), outcome) in batch.drain(..).zip(outcomes) {
            desks[shard].reply(StoreReply { token: request.token, outcome });
        }
        desks.iter().for_each(StoreDesk::wake);
    }

    /// All jobs in one transaction; if that fails, each in its own. One outcome a job, in order.
    fn carry_out(&mut self, jobs: &[&StoreJob]) -> Vec<StoreOutcome> {
        let error = match self.runtime.block_on(work::transaction(&mut self.connection, jobs)) {
            Ok(outcomes) => return outcomes,
            Err(error) => error,
        };
        let fault = Fault::of(&error);
        if jobs.len() == 1 || !fault.may_spare_single_jobs() {
            self.faults.report(fault, &error);
            return vec![StoreOutcome::Failed; jobs.len()];
        }
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            match self.runtime.block_on(work::transaction(&mut self.connection, &[job])) {
                Ok(outcome) => outcomes.extend(outcome),
                Err(error) => {
                    self.faults.report(Fault::of(&error), &error);
                    outcomes.push(StoreOutcome::Failed);
                }
            }
        }
        outcomes
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
