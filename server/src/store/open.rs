//! Opening the database, at start: a refusal is a sentence that says what to do.

use std::time::Duration;

use super::connection::Connection;
use super::fault::{Fault, FaultLog};
use super::place::Place;
use super::schema::{self, Loaded};
use super::session::Session;
use super::{Store, postgres, runtime, sqlite};
use crate::start_error::StartError;

/// How long PostgreSQL may take to let us in at start. Steps of the schema take what they take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Why a database is not used.
#[derive(Debug)]
pub(super) struct OpenError {
    /// Of which kind.
    pub(super) fault: Fault,
    /// In the database's words.
    pub(super) what: String,
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        OpenError { fault: Fault::of(&error), what: error.to_string() }
    }
}

impl OpenError {
    /// No answer in this time.
    pub(super) fn slow(waited: Duration) -> Self {
        OpenError { fault: Fault::Unreachable, what: format!("no answer in {} s", waited.as_secs()) }
    }
}

impl Store {
    /// Opens the database, or makes it.
    ///
    /// # Errors
    /// It cannot be read and written, is damaged, or was made by a newer server; the sentence says what
    /// to do.
    pub fn open(place: &Place) -> Result<(Self, Loaded), StartError> {
        let runtime = runtime().map_err(|error| StartError::system("cannot start the store's runtime", &error))?;
        let opened = runtime.block_on(async {
            let (client, mut connection) = match place {
                Place::File(path) => (None, sqlite::open(path).await?),
                Place::Postgres(place) => {
                    let random = |error: getrandom::Error| OpenError { fault: Fault::Other, what: error.to_string() };
                    let client = postgres::Client::new(place).map_err(random)?;
                    let connection = in_time(CONNECT_MAX, client.connect()).await?;
                    (Some(client), connection)
                }
            };
            schema::migrate(&mut connection).await?;
            let loaded = schema::load(&mut connection).await?;
            if client.is_some() {
                postgres::limit(&mut connection).await?;
            }
            Ok((Session::new(connection, client), loaded))
        });
        match opened {
            Ok((session, loaded)) => Ok((Self { runtime, session, faults: FaultLog::default() }, loaded)),
            Err(OpenError { fault, what }) => {
                let remedy = fault.remedy();
                Err(StartError::Machine(format!("cannot use the database {place}: {what}; {remedy}")))
            }
        }
    }
}

/// Connects, or gives up after so long.
pub(super) async fn in_time(
    longest: Duration,
    connecting: impl Future<Output = Result<Connection, OpenError>>,
) -> Result<Connection, OpenError> {
    tokio::time::timeout(longest, connecting).await.unwrap_or_else(|_| Err(OpenError::slow(longest)))
}
