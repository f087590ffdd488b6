//! Opening the SQLite file: settings, and a look at its health.
//!
//! Cost: the tables that logins and rooms live by are checked page by page at each start; chat, which
//! may be gigabytes, is not, and SQLite tells damage there when it is met.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use super::connection::{Connection, Value};
use super::fault::Fault;
use super::open::OpenError;

/// How long to wait for another process that holds the database: less than `super::PATIENCE`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Mode of a new file, and with it of its log: it has everybody's chat, and what passwords are guessed from.
pub(super) const MODE: u32 = 0o600;

/// Opens the file, makes it if it is missing, and looks for damage in its small tables.
///
/// # Errors
/// It cannot be read and written, or is damaged.
pub(super) async fn open(path: &Path) -> Result<Connection, OpenError> {
    // What goes wrong here goes wrong again below, and is told there; that it is there already is the rule.
    let _ = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        // What is deleted is overwritten, also where a page was divided before: so it must hold for all statements.
        .pragma("secure_delete", "ON")
        .disable_statement_logging();
    let mut connection = Connection::Sqlite(options.connect().await?);
    for table in ["accounts", "rooms", "claim"] {
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1";
        if connection.row(sql, &[Value::Text(table)]).await?.is_some() {
            quick_check(&mut connection, &format!("('{table}')")).await?;
        }
    }
    Ok(connection)
}

/// Opens the file to read beside the connection that writes.
///
/// # Errors
/// It cannot be read.
pub(super) async fn open_to_read(path: &Path) -> Result<Connection, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
    Ok(Connection::Sqlite(options.disable_statement_logging().connect().await?))
}

/// Looks for damage: in what the argument of the pragma names, or in everything.
pub(super) async fn quick_check(connection: &mut Connection, argument: &str) -> Result<(), OpenError> {
    let finding = connection.row(&format!("PRAGMA quick_check{argument}"), &[]).await?;
    let finding = finding.map_or_else(|| Ok("no answer".to_owned()), |row| row.text(0))?;
    match finding.as_str() {
        "ok" => Ok(()),
        _ => Err(OpenError { fault: Fault::Damaged, what: finding.replace('\n', ", ") }),
    }
}
