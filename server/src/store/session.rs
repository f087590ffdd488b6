//! The store's hold on its database: a batch is carried out in bounded time, or its jobs fail; a lost
//! connection is had again in the background.
//!
//! Not the statements, which are `work`'s. In: a batch of jobs. Out: one outcome each; while the database is
//! away all are `Failed` at once. A job that fails by time or by a lost connection may still be stored: the
//! client that sends its line again is told so by its own id.
//! Bounds: `PATIENCE` a batch; attempts to connect follow each other after `WAIT_FIRST` to `WAIT_MAX`.
//! Cost: an allocation a batch, for the future that outlives it if a disk hangs.

use std::pin::Pin;
use std::time::{Duration, Instant};

use echomesh_shard::{StoreJob, StoreOutcome};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::connection::Connection;
use super::fault::{Fault, FaultLog};
use super::open::{OpenError, in_time};
use super::postgres::Client;
use super::work;

/// Longest that a batch may take before its jobs fail. A disk that takes a second to sync is just slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Longest that one attempt to connect again may take.
const AGAIN_MAX: Duration = Duration::from_secs(3);

/// Between attempts to connect again: doubled from the first to the last.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(1);

/// While the database is away, how long jobs may wait to be told so.
const SLICE: Duration = Duration::from_millis(20);

/// An idle connection is looked at this often, so that a restart of PostgreSQL is over before someone chats.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Gives the connection when it can be used again.
type Coming = Pin<Box<dyn Future<Output = Result<Connection, OpenError>>>>;

/// A database, whether it is there or not.
pub(super) struct Session {
    state: State,
    /// Who connects again; `None` for a file.
    client: Option<Client>,
    looked: Instant,
}

enum State {
    Open(Connection),
    Away(Away),
}

/// The database is not there, or a batch on a file hangs.
struct Away {
    coming: Coming,
    /// Before the next attempt.
    wait: Duration,
    since: Instant,
    /// Jobs that were told to try again.
    refused: u64,
}

/// What came of a batch.
struct Done {
    connection: Connection,
    outcomes: Vec<StoreOutcome>,
    errors: Vec<sqlx::Error>,
}

impl Session {
    pub(super) fn new(connection: Connection, client: Option<Client>) -> Self {
        Self { state: State::Open(connection), client, looked: Instant::now() }
    }

    /// All jobs in one transaction; if that fails, each in its own. One outcome a job, in order.
    pub(super) fn carry_out(
        &mut self,
        runtime: &Runtime,
        jobs: Vec<StoreJob>,
        faults: &mut FaultLog,
    ) -> Vec<StoreOutcome> {
        let failed = vec![StoreOutcome::Failed; jobs.len()];
        let away = State::Away(Away::until(Box::pin(std::future::pending())));
        let connection = match std::mem::replace(&mut self.state, away) {
            State::Open(connection) => connection,
            State::Away(mut away) => {
                away.refused += jobs.len() as u64;
                self.state = State::Away(away);
                return failed;
            }
        };
        self.looked = Instant::now();
        let mut batch = Box::pin(attempt(connection, jobs));
        match runtime.block_on(async { timeout(PATIENCE, &mut batch).await }) {
            Ok(Done { connection, outcomes, errors }) => {
                let lost = errors.iter().any(|error| Fault::of(error).ends_connection());
                errors.iter().for_each(|error| faults.report(Fault::of(error), error));
                self.state = match &self.client {
                    Some(client) if lost => State::Away(Away::until(again(client, Duration::ZERO))),
                    _ => State::Open(connection),
                };
                outcomes
            }
            Err(_) => {
                faults.report(Fault::Slow, &format_args!("no answer in {} s", PATIENCE.as_secs()));
                self.state = State::Away(Away::until(match &self.client {
                    // The batch is dropped, and its connection with it.
                    Some(client) => again(client, Duration::ZERO),
                    // A file cannot be left: nobody else could write it until the batch ends.
                    None => Box::pin(async move { Ok(batch.await.connection) }),
                }));
                failed
            }
        }
    }

    /// How long the store's thread may sleep; `None` is until it is woken.
    pub(super) fn nap(&self) -> Option<Duration> {
        self.client.as_ref().map(|_| LOOK_EVERY)
    }

    pub(super) fn is_away(&self) -> bool {
        matches!(self.state, State::Away(_))
    }

    /// Looks at an idle connection, if it is time to.
    pub(super) fn look(&mut self, runtime: &Runtime, faults: &mut FaultLog) {
        let (State::Open(connection), Some(client)) = (&mut self.state, &self.client) else { return };
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let error = match runtime.block_on(async { timeout(PATIENCE, connection.ping()).await }) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => OpenError::from(error),
            Err(_) => OpenError::slow(PATIENCE),
        };
        faults.report(error.fault, &error.what);
        self.state = State::Away(Away::until(again(client, Duration::ZERO)));
    }

    /// For a moment: waits for the database to come back. Only while it is away.
    pub(super) fn wait_for_return(&mut self, runtime: &Runtime, faults: &mut FaultLog) {
        let State::Away(away) = &mut self.state else { return };
        match runtime.block_on(async { timeout(SLICE, &mut away.coming).await }) {
            Ok(Ok(connection)) => {
                let (seconds, refused) = (away.since.elapsed().as_secs_f32(), away.refused);
                tracing::info!(refused, "the database is back after {seconds:.1} s");
                self.state = State::Open(connection);
            }
            Ok(Err(error)) => {
                faults.report(error.fault, &error.what);
                let client = self.client.as_ref().expect("only connecting fails");
                away.coming = again(client, away.wait);
                away.wait = (away.wait * 2).min(WAIT_MAX);
            }
            Err(_) => {}
        }
    }

    /// At the end.
    pub(super) fn close(self, runtime: &Runtime) -> Result<(), sqlx::Error> {
        match self.state {
            State::Open(connection) => runtime.block_on(connection.close()),
            State::Away(_) => Ok(()),
        }
    }
}

impl Away {
    fn until(coming: Coming) -> Self {
        Self { coming, wait: WAIT_FIRST, since: Instant::now(), refused: 0 }
    }
}

fn again(client: &Client, wait: Duration) -> Coming {
    let client = client.clone();
    Box::pin(async move {
        tokio::time::sleep(wait).await;
        in_time(AGAIN_MAX, client.connect_again()).await
    })
}

async fn attempt(mut connection: Connection, jobs: Vec<StoreJob>) -> Done {
    let error = match work::transaction(&mut connection, &jobs).await {
        Ok(outcomes) => return Done { connection, outcomes, errors: Vec::new() },
        Err(error) => error,
    };
    if jobs.len() == 1 || !Fault::of(&error).may_spare_single_jobs() {
        return Done { connection, outcomes: vec![StoreOutcome::Failed; jobs.len()], errors: vec![error] };
    }
    let (mut outcomes, mut errors) = (Vec::with_capacity(jobs.len()), Vec::new());
    for job in jobs.chunks(1) {
        match work::transaction(&mut connection, job).await {
            Ok(outcome) => outcomes.extend(outcome),
            Err(error) => {
                outcomes.push(StoreOutcome::Failed);
                errors.push(error);
            }
        }
    }
    Done { connection, outcomes, errors }
}

#[cfg(test)]
impl Session {
    /// For a test's own statements.
    pub(super) fn connection(&mut self) -> &mut Connection {
        match &mut self.state {
            State::Open(connection) => connection,
            State::Away(_) => panic!("the database is away"),
        }
    }
}
