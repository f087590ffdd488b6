//! One connection to either database, and all that differs between them in running a statement.
//!
//! An enum of the two, not `sqlx::Any` (which copies each value into a form of its own and hides the
//! settings of both) and not generic code (whose bounds would be longer than this file). Statements are
//! the same for both: `$1` for values, all integers 64 bits, `ON CONFLICT`. What differs is here: how rows
//! are numbered, how a transaction begins, and that PostgreSQL ends one at the first error.
//! Not a transaction and no retry: `work` and `mod` have those.
//! Cost: what sqlx costs; statements stay prepared, sqlx keeps 100.

use std::borrow::Cow;

use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, Connection as _, Row as _};

/// A connection; the only writer of its database.
#[derive(Debug)]
pub(super) enum Connection {
    /// To a file.
    Sqlite(SqliteConnection),
    /// To a PostgreSQL server; it holds the advisory lock.
    Postgres(PgConnection),
}

/// A value for `$1` and so on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Number(i64),
    Text(&'a str),
}

/// A row of an answer. Columns count from 0.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// # Errors
    /// The column is no integer of 64 bits.
    pub(super) fn number(&self, column: usize) -> Result<i64, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(column),
            Row::Postgres(row) => row.try_get(column),
        }
    }

    /// # Errors
    /// The column is no text.
    pub(super) fn text(&self, column: usize) -> Result<String, sqlx::Error> {
        match self {
            Row::Sqlite(row) => row.try_get(column),
            Row::Postgres(row) => row.try_get(column),
        }
    }
}

impl Connection {
    /// All rows of an answer.
    pub(super) async fn rows(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, sqlx::Error> {
        match self {
            Connection::Sqlite(connection) => {
                Ok(sqlite_query(sql, values)?.fetch_all(connection).await?.into_iter().map(Row::Sqlite).collect())
            }
            Connection::Postgres(connection) => {
                Ok(postgres_query(sql, values)?.fetch_all(connection).await?.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// The first row of an answer.
    pub(super) async fn row(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>, sqlx::Error> {
        match self {
            Connection::Sqlite(connection) => {
                Ok(sqlite_query(sql, values)?.fetch_optional(connection).await?.map(Row::Sqlite))
            }
            Connection::Postgres(connection) => {
                Ok(postgres_query(sql, values)?.fetch_optional(connection).await?.map(Row::Postgres))
            }
        }
    }

    /// Gives how many rows it changed.
    pub(super) async fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, sqlx::Error> {
        match self {
            Connection::Sqlite(connection) => Ok(sqlite_query(sql, values)?.execute(connection).await?.rows_affected()),
            Connection::Postgres(connection) => {
                Ok(postgres_query(sql, values)?.execute(connection).await?.rows_affected())
            }
        }
    }

    /// An INSERT into a table with numbered rows. Gives their numbers, in the statement's order.
    ///
    /// SQLite numbers the rows of one statement in a run, and tells the last; to ask for the numbers would
    /// send each row between threads. PostgreSQL is asked: what others drew from a sequence, or a failed
    /// statement, leaves gaps.
    pub(super) async fn insert(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<u64>, sqlx::Error> {
        match self {
            Connection::Sqlite(connection) => {
                let done = sqlite_query(sql, values)?.execute(connection).await?;
                let end = done.last_insert_rowid() as u64 + 1;
                Ok((end - done.rows_affected().min(end)..end).collect())
            }
            Connection::Postgres(connection) => {
                let sql = format!("{sql} RETURNING id");
                let rows = postgres_query(&sql, values)?.fetch_all(connection).await?;
                let numbers = rows.iter().map(|row| row.try_get::<i64, _>(0).map(|number| number as u64));
                let mut numbers = numbers.collect::<Result<Vec<_>, _>>()?;
                // Rows are numbered in their order; the answer's order nothing promises.
                numbers.sort_unstable();
                Ok(numbers)
            }
        }
    }

    /// Statements without values, one after the other; none stays prepared.
    pub(super) async fn script(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        match self {
            Connection::Sqlite(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop),
            Connection::Postgres(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop),
        }
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        match self {
            // With the lock at once: to read first and be refused the lock then would undo everything.
            Connection::Sqlite(_) => self.script("BEGIN IMMEDIATE").await,
            Connection::Postgres(_) => self.script("BEGIN").await,
        }
    }

    /// In a transaction: the place to which [`Self::forgive`] returns.
    pub(super) async fn prepare_to_forgive(&mut self) -> Result<(), sqlx::Error> {
        match self {
            // A failed statement undoes itself, and the transaction goes on.
            Connection::Sqlite(_) => Ok(()),
            Connection::Postgres(_) => self.script("SAVEPOINT before").await,
        }
    }

    /// After a statement that failed in a transaction: lets the transaction go on without it.
    pub(super) async fn forgive(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Connection::Sqlite(_) => Ok(()),
            Connection::Postgres(_) => self.script("ROLLBACK TO SAVEPOINT before").await,
        }
    }

    /// What a numbered row's column is in this database.
    pub(super) fn numbered(&self) -> &'static str {
        match self {
            Connection::Sqlite(_) => "INTEGER PRIMARY KEY AUTOINCREMENT",
            Connection::Postgres(_) => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        }
    }

    /// Whether the database still answers; a file always does.
    pub(super) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Connection::Sqlite(_) => Ok(()),
            Connection::Postgres(connection) => connection.ping().await,
        }
    }

    /// Says goodbye.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Connection::Sqlite(connection) => connection.close().await,
            Connection::Postgres(connection) => connection.close().await,
        }
    }
}

/// Not by `Query::bind`, which moves the whole query for each of hundreds of values.
fn sqlite_query<'q>(sql: &'q str, values: &[Value<'q>]) -> Result<Query<'q, Sqlite, SqliteArguments<'q>>, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Number(number) => arguments.add(*number),
            Value::Text(text) => arguments.add(*text),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(sqlx::query_with(sql, arguments))
}

fn postgres_query<'q>(sql: &'q str, values: &[Value<'q>]) -> Result<Query<'q, Postgres, PgArguments>, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match value {
            Value::Number(number) => arguments.add(*number),
            Value::Text(text) => arguments.add(storable(text)),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(sqlx::query_with(sql, arguments))
}

/// PostgreSQL's text holds every character but NUL, which a client may send. It is shown as unknown, as
/// Unicode has it for what cannot be shown.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(text) }
}
