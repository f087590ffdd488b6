//! The store's second thread: reads of chat on a connection of its own, so that no page of history waits for a commit and
//! no commit for a page. SQLite's log and PostgreSQL's versions both let one read while another writes.
//!
//! Not the statements, which are `history`'s. In: `ReadChat` jobs of all shards, in turn. Out: one reply each.
//! Bounds: `PATIENCE` a read, then it fails; while the database is away reads fail at once, and a new connection is tried
//! at most every `AGAIN`. Cost: nice, so that voice and the writing thread come first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use echomesh_shard::{StoreJob, StoreOutcome, StoreReply};
use sqlx::ConnectOptions;
use tokio::time::timeout;

use super::connection::Connection;
use super::fault::{Fault, FaultLog};
use super::session::PATIENCE;
use super::{Place, history, sqlite};
use crate::jobs::StoreDesk;
use crate::start_error::StartError;

/// Lower priority than the store's: `nice` steps.
const NICE: i32 = 4;

/// Between attempts to connect.
const AGAIN: Duration = Duration::from_secs(1);

struct Reader {
    runtime: tokio::runtime::Runtime,
    place: Place,
    connection: Option<Connection>,
    /// When connecting failed last.
    failed: Option<Instant>,
    faults: FaultLog,
}

/// Starts the thread. It connects when it is first asked.
///
/// # Errors
/// The system gives no thread or no runtime.
pub fn spawn_reader(
    place: Place,
    mut desks: Vec<StoreDesk>,
    stop: Arc<AtomicBool>,
) -> Result<JoinHandle<()>, StartError> {
    let runtime = super::runtime().map_err(|error| StartError::system("cannot start the reader's runtime", &error))?;
    let mut reader = Reader { runtime, place, connection: None, failed: None, faults: FaultLog::default() };
    let serve = move || {
        crate::resources::be_nice(NICE);
        loop {
            // Read before the rings: what was asked before the stop is still answered.
            let stopping = stop.load(Ordering::Acquire);
            if reader.serve(&mut desks) == 0 {
                if stopping {
                    break;
                }
                std::thread::park();
            }
        }
    };
    let thread = std::thread::Builder::new().name("store-reader".to_owned()).spawn(serve);
    thread.map_err(|error| StartError::system("cannot start the reader's thread", &error))
}

impl Reader {
    /// One read of each shard. Gives how many.
    fn serve(&mut self, desks: &mut [StoreDesk]) -> usize {
        let mut served = 0;
        for desk in desks {
            let Some(request) = desk.take() else { continue };
            let outcome = self.read(&request.job);
            desk.reply(StoreReply { token: request.token, outcome });
            desk.wake();
            served += 1;
        }
        served
    }

    fn read(&mut self, job: &StoreJob) -> StoreOutcome {
        let StoreJob::ReadChat(read) = job else { unreachable!("only reads are given to the reader") };
        if self.connection.is_none() {
            self.connect();
        }
        let Some(connection) = &mut self.connection else { return StoreOutcome::Failed };
        let outcome = self.runtime.block_on(async { timeout(PATIENCE, history::read(connection, read)).await });
        match outcome {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(error)) => self.faults.report(Fault::of(&error), &error),
            Err(_) => self.faults.report(Fault::Slow, &format_args!("no answer in {} s", PATIENCE.as_secs())),
        }
        // Whatever state it is in: the next read has a new one.
        self.connection = None;
        StoreOutcome::Failed
    }

    fn connect(&mut self) {
        if self.failed.is_some_and(|failed| failed.elapsed() < AGAIN) {
            return;
        }
        let connecting = async {
            match &self.place {
                Place::File(path) => sqlite::open_to_read(path).await,
                Place::Postgres(place) => {
                    let options = place.options().clone().application_name("echomesh-server reader");
                    let mut connection = Connection::Postgres(options.connect().await?);
                    connection.script("SET statement_timeout = '5s'; SET default_transaction_read_only = on").await?;
                    Ok(connection)
                }
            }
        };
        match self.runtime.block_on(async { timeout(PATIENCE, connecting).await }) {
            Ok(Ok(connection)) => {
                (self.connection, self.failed) = (Some(connection), None);
                return;
            }
            Ok(Err(error)) => self.faults.report(Fault::of(&error), &error),
            Err(_) => self.faults.report(Fault::Unreachable, &"no answer in time"),
        }
        self.failed = Some(Instant::now());
    }
}

#[cfg(test)]
impl super::Store {
    /// Reads on the writer's connection: the statements are the same.
    pub(super) fn read(&mut self, read: &echomesh_shard::chat_jobs::ChatRead) -> StoreOutcome {
        let connection = self.session.connection();
        self.runtime.block_on(history::read(connection, read)).expect("the database answers")
    }
}
