//! What this machine and this user's files need for EchoMesh: configuration, secrets, folders, clock, rights, terminal.
//!
//! Not the network, and not sound but for the right to be in time. In: where files are. Out: findings.
//! Bounds: a few files and one thread. A folder is tried with a file that is removed at once.

use std::io::{IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use echomesh_audio::thread::{DEVICE_PRIORITY, Rights, begin_real_time};
use rustix::process::{Resource, getrlimit};

use super::finding::{Finding, Report};
use crate::cli::clock;
use crate::cli::failure::Failure;
use crate::cli::settings::Sources;

/// Smallest terminal that the interface is made for.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// A clock before this was never set: 2025-01-01, Unix milliseconds.
const CLOCK_MS_MIN: u64 = 1_735_689_600_000;

/// Memory that is to be locked, KiB: as Rights' advice has it.
const MEMLOCK_BYTES: u64 = 64 * 1024 * 1024;

/// Looks at all of it.
pub fn check(report: &mut Report, sources: &Sources) {
    report.tell(configuration(sources));
    for secret in &sources.secrets {
        report.tell(secret_file(secret));
    }
    for (what, directory) in &sources.directories {
        report.tell(folder(what, directory.as_deref()));
    }
    report.tell(system_clock(clock::now().unix_ms));
    let rights = std::thread::spawn(|| begin_real_time(DEVICE_PRIORITY)).join();
    report.tell(real_time(rights.unwrap_or(Rights::Ordinary), getrlimit(Resource::Memlock).current));
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].map(|name| std::env::var(name).unwrap_or_default());
    let locale = set.into_iter().find(|locale| !locale.is_empty()).unwrap_or_default();
    let term = std::env::var("TERM").unwrap_or_default();
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| (size.ws_col, size.ws_row));
    report.tell(terminal(std::io::stdout().is_terminal(), &locale, &term, size));
}

fn configuration(sources: &Sources) -> Finding {
    let Some(path) = &sources.config else {
        return Finding::warning("configuration", "neither HOME nor XDG_CONFIG_HOME is set")
            .means("there is no configuration file, and nothing is remembered from one run to the next")
            .remedy("set HOME, or name a file by --config");
    };
    match &sources.problem {
        Some(problem) => Finding::fault("configuration", Failure::Usage, problem.to_string())
            .means("no command works while this file cannot be read")
            .remedy(format!("correct {}, or move it away and run `echomesh setup`", path.display())),
        None if path.exists() => Finding::ok("configuration", path.display().to_string()),
        None => Finding::ok("configuration", format!("no {}: flags and environment decide", path.display())),
    }
}

/// A password or token is for its owner alone.
fn secret_file(path: &Path) -> Finding {
    let shown = path.display();
    let metadata = match std::fs::File::open(path).and_then(|file| file.metadata()) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Finding::fault("secrets", Failure::Usage, format!("cannot read {shown}: {error}"))
                .means("the password or token in it cannot be had, so nobody is logged in")
                .remedy(match error.kind() {
                    std::io::ErrorKind::NotFound => format!(
                        "make it: `install -m 600 /dev/null {shown}`, then put the \
                                                             password on its first line"
                    ),
                    _ => format!("make it yours: `sudo chown $USER {shown} && chmod 600 {shown}`"),
                });
        }
    };
    let mode = metadata.permissions().mode();
    if metadata.is_dir() {
        return Finding::fault("secrets", Failure::Usage, format!("{shown} is a folder"))
            .means("there is no password or token in it")
            .remedy("name the file in it");
    }
    let others = match (mode & 0o077, mode & 0o007) {
        (0, _) => return Finding::ok("secrets", format!("{shown} is for user {} alone", metadata.uid())),
        (_, 0) => "its group",
        _ => "every user of this machine",
    };
    let remedy = format!("`chmod 600 {shown}`, and change the password if others use this machine");
    Finding::fault("secrets", Failure::Usage, format!("{shown} is open to {others} (mode {:03o})", mode & 0o777))
        .means("others can log in as you")
        .remedy(remedy)
}

/// What may be kept there: by trying it, for neither modes nor mounts tell all.
fn folder(what: &'static str, directory: Option<&Path>) -> Finding {
    let Some(directory) = directory else {
        return Finding::warning("folders", format!("no {what} folder: HOME is not set"))
            .means("nothing is kept there")
            .remedy("set HOME");
    };
    let there = directory.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(directory);
    let Err(error) = try_write(there) else {
        return Finding::ok("folders", format!("{what}: {}", directory.display()));
    };
    let means = match what {
        "configuration" => "`echomesh setup` cannot write a configuration file",
        "data" => "the keys of servers cannot be remembered, and a changed one would not be noticed",
        _ => "the volumes that were set for people are forgotten, and so is what went wrong",
    };
    let remedy = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            format!("make room on the disk of {}", there.display())
        }
        std::io::ErrorKind::NotADirectory => format!("{} is no folder: move it away", there.display()),
        std::io::ErrorKind::ReadOnlyFilesystem => {
            format!("mount {} for writing, or set XDG_* to another", there.display())
        }
        _ => format!("make it yours: `sudo chown -R $USER {}`", there.display()),
    };
    Finding::fault("folders", Failure::Local, format!("{what}: cannot write in {}: {error}", there.display()))
        .means(means)
        .remedy(remedy)
}

fn try_write(directory: &Path) -> std::io::Result<()> {
    let path: PathBuf = directory.join(format!(".echomesh-doctor.{}", std::process::id()));
    let made = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
    let written = made.and_then(|mut file| file.write_all(b"can this be written?"));
    match std::fs::remove_file(&path) {
        Err(error) if written.is_ok() => Err(error),
        _ => written,
    }
}

fn system_clock(unix_ms: u64) -> Finding {
    if unix_ms >= CLOCK_MS_MIN {
        return Finding::ok("system clock", "is set");
    }
    Finding::fault("system clock", Failure::Local, "was never set: it is before 2025")
        .means("certificates seem not to be valid yet, and lines have wrong times")
        .remedy("`sudo timedatectl set-ntp true`, and wait until `timedatectl` says that it is synchronized")
}

fn real_time(rights: Rights, memlock: Option<u64>) -> Finding {
    let remedy = "write `@audio - rtprio 20` and `@audio - memlock 65536` into /etc/security/limits.d/audio.conf, \
                  `sudo usermod -aG audio $USER`, and log in again; for a service LimitRTPRIO=20, in a container \
                  --ulimit rtprio=20";
    let found = match rights {
        Rights::Fifo(priority) if priority >= DEVICE_PRIORITY => {
            let short = memlock.is_some_and(|bytes| bytes < MEMLOCK_BYTES) && !rustix::process::geteuid().is_root();
            if !short {
                return Finding::ok("real time", format!("sound runs with SCHED_FIFO {priority}"));
            }
            "real-time priority is granted, but little memory may be locked".to_owned()
        }
        Rights::Fifo(priority) => {
            format!("real-time priority is granted up to {priority}, {DEVICE_PRIORITY} is asked for")
        }
        Rights::Nice(nice) => format!("no real-time priority: sound runs with nice {nice}"),
        Rights::Ordinary => "no real-time priority: sound runs as any other program".to_owned(),
    };
    Finding::warning("real time", found).means("sound may crackle when the machine is busy").remedy(remedy)
}

fn terminal(is_terminal: bool, locale: &str, term: &str, size: Option<(u16, u16)>) -> Finding {
    if !is_terminal {
        return Finding::ok("terminal", "standard output is none: `echomesh join` is the way");
    }
    if term.is_empty() || term == "dumb" {
        return Finding::fault("terminal", Failure::Local, format!("TERM is {term:?}"))
            .means("the full-screen interface cannot draw on it")
            .remedy("set TERM to what it is, such as xterm-256color, or use `echomesh join`");
    }
    if !locale.to_lowercase().replace('-', "").contains("utf8") {
        return Finding::warning("terminal", format!("the locale {locale:?} has no UTF-8"))
            .means("meters are drawn with letters, and names of other scripts may look wrong")
            .remedy("`export LANG=C.UTF-8`");
    }
    match size {
        Some((columns, rows)) if columns < COLUMNS || rows < ROWS => {
            Finding::warning("terminal", format!("{columns}×{rows} letters"))
                .means("the interface leaves away what has no room")
                .remedy(format!("make it at least {COLUMNS}×{ROWS}, or its letters smaller"))
        }
        Some((columns, rows)) => Finding::ok("terminal", format!("UTF-8, {columns}×{rows} letters")),
        None => Finding::ok("terminal", "UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    /// Goal: each thing that can be wrong here is told with something to do, and what is right is ok.
    #[test]
    fn each_fault_has_a_remedy() {
        let size = Some((80, 24));
        let bad = [
            system_clock(0),
            real_time(Rights::Nice(-11), None),
            real_time(Rights::Ordinary, None),
            real_time(Rights::Fifo(DEVICE_PRIORITY - 1), None),
            terminal(true, "C", "xterm", size),
            terminal(true, "C.UTF-8", "dumb", size),
            terminal(true, "C.UTF-8", "xterm", Some((79, 24))),
            folder("state", None),
            folder("state", Some(Path::new("/proc/nowhere/echomesh"))),
            folder("data", Some(Path::new("/dev/null/echomesh"))),
            secret_file(Path::new("/proc/nowhere")),
            secret_file(Path::new("/")),
        ];
        for finding in bad {
            assert!(matches!(finding.verdict, Verdict::Warning | Verdict::Fault), "{finding:?}");
            assert!(!finding.remedy.is_empty() && !finding.means.is_empty(), "{finding:?}");
        }
        let home = tempfile::tempdir().unwrap();
        let good = [
            system_clock(clock::now().unix_ms),
            real_time(Rights::Fifo(DEVICE_PRIORITY), None),
            terminal(true, "de_DE.UTF-8", "xterm", size),
            terminal(false, "", "", None),
            folder("state", Some(&home.path().join("not/yet"))),
        ];
        for finding in good {
            assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
        }
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
