//! Where the database is: a file in the data directory, or a PostgreSQL server by its URL.
//!
//! Not a connection. A URL holds a password: it is never shown, neither in logs nor in errors; what is shown
//! is user, host and database.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

/// Parameters that a URL may have after its `?`: sqlx's, without those that are this server's business.
const PARAMETERS: [&str; 11] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
];

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Place {
    /// SQLite.
    File(PathBuf),
    /// PostgreSQL.
    Postgres(PostgresPlace),
}

/// A PostgreSQL server, a database on it, and who we are there.
#[derive(Clone)]
pub struct PostgresPlace(Box<PgConnectOptions>);

impl PostgresPlace {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/NAME?sslmode=verify-full`. What it leaves out comes from
    /// PGHOST, PGPASSWORD and so on, and the password from ~/.pgpass.
    ///
    /// # Errors
    /// A sentence that says what is wrong, and never repeats the URL.
    pub fn parse(url: &str) -> Result<Self, String> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("postgres" | "postgresql")) {
            return Err(
                "database must be a URL such as postgres://USER:PASSWORD@HOST/NAME; leave it out for a SQLite \
                        file in the data directory"
                    .to_owned(),
            );
        }
        let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let name = parameter.split('=').next().unwrap_or_default();
            if !PARAMETERS.contains(&name) {
                return Err(format!(
                    "database has the parameter `{name}`, which is unknown. Known are: {}",
                    PARAMETERS.join(", ")
                ));
            }
        }
        let options = PgConnectOptions::from_str(url).map_err(|error| {
            // The innermost cause says what is wrong; none of them repeats the URL.
            format!("database is no valid URL: {error}. Write special characters of the password as %XX")
        })?;
        Ok(Self(Box::new(options.disable_statement_logging())))
    }

    /// For a connection.
    pub fn options(&self) -> &PgConnectOptions {
        &self.0
    }

    /// A URL for other programs: without the password.
    pub fn url(&self) -> String {
        let (user, port) = (self.0.get_username(), self.0.get_port());
        let database = self.0.get_database().unwrap_or(user);
        match self.0.get_socket() {
            Some(directory) => format!("postgres:///{database}?host={}&port={port}&user={user}", directory.display()),
            None if self.0.get_host().contains(':') => {
                format!("postgres://{user}@[{}]:{port}/{database}", self.0.get_host().trim_matches(['[', ']']))
            }
            None => format!("postgres://{user}@{}:{port}/{database}", self.0.get_host()),
        }
    }
}

impl fmt::Debug for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Postgres(place) => f.write_str(&place.url()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a password is shown nowhere, whatever is wrong with the URL around it.
    #[test]
    fn passwords_are_never_shown() {
        let good = PostgresPlace::parse("postgres://ada:tops3cret@db.example:5433/chat?sslmode=require").unwrap();
        assert_eq!(good.url(), "postgres://ada@db.example:5433/chat");
        let place = Place::Postgres(good);
        assert_eq!(format!("{place} {place:?}").matches("s3cret").count(), 0);
        let socket = PostgresPlace::parse("postgres:///chat?host=/run/postgresql&user=ada&password=tops3cret").unwrap();
        assert!(socket.url().starts_with("postgres:///chat?host=/run/postgresql&port="), "{socket:?}");
        for url in [
            "mysql://ada:tops3cret@db/chat",
            "/var/lib/tops3cret.sqlite3",
            "postgres://ada:tops3cret@db:port/chat",
            "postgres://ada:tops3cret/chat@db",
            "postgres://ada@db/chat?pasword=tops3cret",
            "postgres://ada:tops3cret@db/chat?sslmode=perhaps",
        ] {
            let error = PostgresPlace::parse(url).unwrap_err();
            assert!(error.starts_with("database ") && !error.contains("s3cret"), "{url}: {error}");
        }
    }
}
