//! `echomesh-server check-config`: what holds, who says so, and whether the machine gives what it needs.
//!
//! Starts nothing, makes nothing and connects to nothing; a server that runs does not notice. In: settings that were
//! found right (`config` refuses others). Out: a table for people, or the first thing that is wrong. No password.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::cert;
use crate::config::{Config, Origin};
use crate::keys::KEYS;
use crate::logging;
use crate::start_error::StartError;

/// Looks at all; gives what there is to print.
///
/// # Errors
/// What a start would refuse, too.
pub fn check(config: &Config) -> Result<String, StartError> {
    logging::filter(&config.log)?;
    data_dir(&config.data_dir)?;
    address(config.address)?;
    let certificate = certificate(config)?;
    let mut told = String::new();
    let file = config.file.as_ref().map_or("none".to_owned(), |file| file.display().to_string());
    let mut say = |line: &str| writeln!(told, "{}", line.trim_end()).expect("a string takes all");
    say(&format!("file         {file}"));
    say(&format!("certificate  {certificate}"));
    say("");
    let rows: Vec<_> = config.shown().zip(&config.origins).collect();
    let longest = rows.iter().map(|((_, value), _)| value.chars().count()).max().unwrap_or(0).min(VALUE_COLUMN_MAX);
    for ((key, value), origin) in rows {
        say(&format!("{:<24} {value:<longest$}  {origin}", key.name));
    }
    if let Some(warning) = readable_password(config) {
        say(&format!("\nwarning: {warning}"));
    }
    say("\nall right");
    Ok(told.trim_end().to_owned())
}

/// Longer values push their origin to the right.
const VALUE_COLUMN_MAX: usize = 40;

fn certificate(config: &Config) -> Result<String, StartError> {
    let (files, data_dir) = (config.tls.as_ref(), &config.data_dir);
    if !cert::is_there(files, data_dir) {
        return Ok(format!("self-signed, made in {} at the first start", data_dir.display()));
    }
    let identity = cert::read(files, data_dir)?;
    let origin = if files.is_some() { "yours" } else { "self-signed" };
    Ok(format!("SHA256:{} ({origin})", identity.fingerprint))
}

/// The data directory, or the nearest above it that is there and would hold it, must be a directory to write to.
fn data_dir(path: &Path) -> Result<(), StartError> {
    let there = path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let cannot = |why: &str| StartError::Machine(format!("cannot keep data in {}: {why}", path.display()));
    if !there.is_dir() {
        return Err(cannot(&format!("{} is no directory", there.display())));
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        cannot(&format!("{}: {error}. This user needs write access, or give another --data-dir", there.display()))
    })
}

/// An address of another machine is refused at any port.
fn address(address: Option<IpAddr>) -> Result<(), StartError> {
    let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    TcpListener::bind((address, 0)).map(drop).map_err(|error| {
        StartError::Machine(format!("cannot listen on {address}: {error}. It must be an address of this machine"))
    })
}

/// A file that others can read, and that holds the database's password.
fn readable_password(config: &Config) -> Option<String> {
    let place = KEYS.iter().position(|key| key.name == "database")?;
    let Origin::File(file, _) = &config.origins[place] else { return None };
    let has_password = config.given.database.as_ref().is_some_and(|url| {
        let authority = url.0.split("://").nth(1).unwrap_or_default().split(['/', '?']).next().unwrap_or_default();
        authority.split_once('@').is_some_and(|(user, _)| user.contains(':')) || url.0.contains("password=")
    });
    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    (has_password && mode & 0o004 != 0).then(|| {
        format!(
            "{} holds a password that every user of this machine can read: take others' rights away (chmod o-r), or \
             use ECHOMESH_DATABASE or ~/.pgpass",
            file.display()
        )
    })
}
