//! Copies of the SQLite file: made while the server runs, and put back while it does not.
//!
//! Not for PostgreSQL, which has its own programs: the refusal names the exact command.
//! In: a place and a file. Out: a sentence for the operator. A file appears whole or not at all, is on disk when
//! this returns, and is never taken without a look at its health; what a restore replaces is kept.
//! Cost: a backup reads and writes the whole database once more to look at it; the server goes on meanwhile, and
//! only its write-ahead log grows.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use super::connection::{Connection, Value};
use super::fault::Fault;
use super::open::OpenError;
use super::place::Place;
use super::sqlite::MODE;
use super::{runtime, schema, sqlite};
use crate::start_error::StartError;

/// Most databases that restores have set aside in one directory.
const KEPT_MAX: u32 = 1_000;

/// Writes a copy of the database to a file, which is replaced if it exists.
///
/// # Errors
/// There is no database, or one of the two cannot be read, written or trusted; the sentence says what to do.
pub fn backup(place: &Place, target: &Path) -> Result<String, StartError> {
    let path = file_of(place, "pg_dump --format=custom --file=FILE", "back it up")?;
    if !path.exists() {
        return Err(StartError::Machine(format!(
            "there is no database {}: name the server's directory with --data-dir",
            path.display()
        )));
    }
    if ["", "-wal", "-shm"].iter().any(|part| is_same_file(target, &with_suffix(path, part))) {
        return Err(StartError::Settings(format!("{} is the database itself: name another file", target.display())));
    }
    let partial = with_suffix(target, ".partial");
    let cannot_write = |error: io::Error| {
        StartError::Machine(format!("cannot write {}: {error}. Choose another place", partial.display()))
    };
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&partial);
    let file = file.map_err(cannot_write)?;
    let contents = copy_into(path, &partial).inspect_err(|_| {
        // What is left of it is of no use; that it stays is no second error.
        let _ = fs::remove_file(&partial);
    })?;
    file.sync_all()
        .and_then(|()| fs::rename(&partial, target))
        .and_then(|()| sync_directory(target))
        .map_err(cannot_write)?;
    Ok(format!("backed up {} to {}: {contents}", path.display(), target.display()))
}

/// Puts a backup in the database's place. The caller holds the data directory, so no server uses it.
///
/// # Errors
/// The file is not a healthy database of this server, or cannot be copied; the old database is untouched then.
pub fn restore(place: &Place, source: &Path) -> Result<String, StartError> {
    let path = file_of(place, "pg_restore --clean --if-exists --single-transaction --dbname='URL' FILE", "restore it")?;
    if fs::metadata(with_suffix(source, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(StartError::Machine(format!(
            "{} has a write-ahead log beside it, so it is half of a database: make backups with `echomesh-server backup \
             FILE`",
            source.display()
        )));
    }
    let fresh = with_suffix(path, ".restoring");
    let contents = copy_checked(source, &fresh).inspect_err(|_| {
        // As above.
        let _ = fs::remove_file(&fresh);
    })?;
    let kept = set_aside(path)
        .and_then(|kept| fs::rename(&fresh, path).and_then(|()| sync_directory(path)).map(|()| kept))
        .map_err(|error| StartError::Machine(format!("cannot replace {}: {error}", path.display())))?;
    let kept = kept.map_or_else(String::new, |kept| format!("; the old one is kept as {}", kept.display()));
    Ok(format!("restored {} from {}: {contents}{kept}", path.display(), source.display()))
}

fn file_of<'a>(place: &'a Place, command: &str, purpose: &str) -> Result<&'a Path, StartError> {
    match place {
        Place::File(path) => Ok(path),
        Place::Postgres(postgres) => {
            let url = postgres.url();
            let command = match command.contains("URL") {
                true => command.replace("URL", &url),
                false => format!("{command} '{url}'"),
            };
            let stop = if purpose == "restore it" { " while the server is stopped" } else { "" };
            Err(StartError::Settings(format!(
                "the database is PostgreSQL's: {purpose} with its own program{stop}: {command}"
            )))
        }
    }
}

/// The database into an empty file, and a look at what arrived.
fn copy_into(path: &Path, partial: &Path) -> Result<String, StartError> {
    let name = partial.to_str().ok_or_else(|| StartError::Machine("name the backup's file in UTF-8".to_owned()))?;
    let runtime = runtime().map_err(|error| StartError::system("cannot start a runtime", &error))?;
    runtime.block_on(async {
        let written = async {
            let mut connection = connect(path).await?;
            connection.execute("VACUUM INTO $1", &[Value::Text(name)]).await?;
            Ok(connection.close().await?)
        };
        written.await.map_err(|error| refusal(path, &error))?;
        contents(partial).await.map_err(|error| refusal(partial, &error))
    })
}

/// A backup beside the database, on disk, owned as the directory is, and healthy.
fn copy_checked(source: &Path, fresh: &Path) -> Result<String, StartError> {
    let copied = || {
        let mut from = File::open(source)?;
        let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(fresh)?;
        io::copy(&mut from, &mut to)?;
        let directory = fs::metadata(fresh.parent().unwrap_or(Path::new(".")))?;
        if to.metadata()?.uid() != directory.uid() {
            chown(fresh, Some(directory.uid()), Some(directory.gid()))?;
        }
        to.sync_all()
    };
    copied().map_err(|error: io::Error| {
        StartError::Machine(format!("cannot copy {} to {}: {error}", source.display(), fresh.display()))
    })?;
    let runtime = runtime().map_err(|error| StartError::system("cannot start a runtime", &error))?;
    let looked = async {
        let told = contents(fresh).await?;
        forget_sessions(fresh).await?;
        Ok(told)
    };
    runtime.block_on(looked).map_err(|OpenError { fault, what }| {
        let remedy = match fault {
            Fault::Damaged | Fault::Other => "it is no healthy database of this server: choose another backup",
            _ => fault.remedy(),
        };
        StartError::Machine(format!("cannot use the backup {}: {what}; {remedy}", source.display()))
    })
}

/// The old database under another name, and its log if it could not be closed properly. A crash at any moment
/// leaves a database in its place.
fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    // This moves its log into it, and closing it removes the log; if it is too damaged for that, the log is kept too.
    let closed = runtime()?.block_on(async {
        let mut connection = connect(path).await?;
        connection.rows("PRAGMA wal_checkpoint(TRUNCATE)", &[]).await?;
        connection.close().await
    });
    if let Err(error) = closed {
        tracing::warn!(%error, "the old database is damaged; it is kept as it is");
    }
    let names = (1..=KEPT_MAX).map(|number| with_suffix(path, &format!(".before-restore-{number}")));
    let Some(kept) = names.into_iter().find(|name| !name.exists()) else {
        return Err(io::Error::other("there are too many databases set aside: delete some of *.before-restore-*"));
    };
    fs::hard_link(path, &kept)?;
    for log in ["-wal", "-shm"] {
        let beside = with_suffix(path, log);
        if beside.exists() {
            fs::rename(beside, with_suffix(&kept, log))?;
        }
    }
    sync_directory(path)?;
    Ok(Some(kept))
}

/// Only what is there, and with its own settings.
async fn connect(path: &Path) -> Result<Connection, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).disable_statement_logging();
    Ok(Connection::Sqlite(options.connect().await?))
}

/// What a file holds, in words, if it is a healthy database of this server.
async fn contents(path: &Path) -> Result<String, OpenError> {
    let mut connection = connect(path).await?;
    sqlite::quick_check(&mut connection, "").await?;
    let steps = schema::version(&mut connection).await?;
    if steps == 0 {
        return Err(OpenError { fault: Fault::Damaged, what: "it has no schema".to_owned() });
    }
    let sql = "SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM rooms), (SELECT count(*) FROM chat_lines)";
    let Some(row) = connection.row(sql, &[]).await? else { return Err(sqlx::Error::RowNotFound.into()) };
    let [accounts, rooms, lines] = [row.number(0)?, row.number(1)?, row.number(2)?];
    connection.close().await?;
    Ok(format!("{accounts} accounts, {rooms} rooms, {lines} chat lines, schema {steps}"))
}

/// Sessions of the backup's time are not resumed: some may have been ended since, by a stolen device's owner, say.
async fn forget_sessions(path: &Path) -> Result<(), OpenError> {
    let mut connection = connect(path).await?;
    // Older schemas have none.
    if connection.row("SELECT 1 FROM sqlite_master WHERE name = 'sessions'", &[]).await?.is_some() {
        connection.execute("DELETE FROM sessions", &[]).await?;
    }
    Ok(connection.close().await?)
}

fn refusal(path: &Path, error: &OpenError) -> StartError {
    StartError::Machine(format!("cannot use {}: {}; {}", path.display(), error.what, error.fault.remedy()))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a new name durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
