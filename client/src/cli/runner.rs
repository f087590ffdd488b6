//! Commands that are run for what happens: `echomesh listen --exec`.
//!
//! Not a shell: the program is started with the arguments that were given, and nothing that others wrote is among them.
//! In: events. Out: processes, each with the event as JSON on its standard input and its fields in the environment.
//! Bounds: `jobs` at once, each for `patience`; [`WAITING_MAX`] events wait for them; what comes then is dropped and
//! counted. [`ENDING_MAX`] at the end.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::failure::Failure;
use super::fields::{Field, Fields, json};
use super::news::Kind;

/// Events that wait for a command to end.
const WAITING_MAX: usize = 256;

/// Longest wait for running commands at the end.
const ENDING_MAX: Duration = Duration::from_secs(2);

/// What this program may know by its environment, and a command need not.
const SECRETS: [&str; 4] = ["ECHOMESH_PASSWORD", "ECHOMESH_TOKEN", "ECHOMESH_ROOM_PASSWORD", "ECHOMESH_INVITATION"];

/// What is run, and for what.
pub struct RunnerSettings {
    /// The program and its arguments; not empty.
    pub command: Vec<String>,
    /// For these.
    pub on: Vec<Kind>,
    /// For lines of this account, too.
    pub own: bool,
    /// At once.
    pub jobs: usize,
    /// For each.
    pub patience: Duration,
}

/// An event that waits.
struct Job {
    text: String,
    environment: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
enum Ended {
    Status(ExitStatus),
    TimedOut,
    NotStarted(std::io::Error),
}

/// What became of all.
#[derive(Debug, Default)]
struct Counts {
    succeeded: u64,
    failed: u64,
    timed_out: u64,
    dropped: u64,
    unfinished: u64,
}

/// Runs them.
pub struct Runner {
    settings: RunnerSettings,
    waiting: VecDeque<Job>,
    running: JoinSet<Ended>,
    counts: Counts,
    /// The program cannot be started at all.
    failure: Option<String>,
}

impl Runner {
    /// Nothing runs yet.
    pub fn new(settings: RunnerSettings) -> Self {
        let (waiting, running) = (VecDeque::new(), JoinSet::new());
        Self { settings, waiting, running, counts: Counts::default(), failure: None }
    }

    /// Whether it runs for these.
    pub fn wants(&self, kind: Kind) -> bool {
        self.settings.on.contains(&kind)
    }

    /// Whether it runs for lines of this account.
    pub fn takes_own(&self) -> bool {
        self.settings.own
    }

    /// An event to run for.
    ///
    /// # Errors
    /// As [`Runner::failure`].
    pub fn push(&mut self, kind: Kind, fields: &Fields) -> Result<(), Failure> {
        if self.waiting.len() >= WAITING_MAX {
            if self.counts.dropped == 0 {
                eprintln!("echomesh: commands are slower than what happens: {kind:?} and others are dropped");
            }
            self.counts.dropped += 1;
            return Ok(());
        }
        self.waiting.push_back(Job { text: json(fields), environment: environment(fields) });
        self.start();
        self.failure()
    }

    fn start(&mut self) {
        while self.running.len() < self.settings.jobs {
            let Some(job) = self.waiting.pop_front() else { return };
            self.running.spawn(run(self.settings.command.clone(), job, self.settings.patience));
        }
    }

    /// Waits until a command has ended, and starts the next. Safe to drop.
    pub async fn ready(&mut self) {
        match self.running.join_next().await {
            Some(ended) => {
                self.note(ended.ok());
                self.start();
            }
            None => std::future::pending().await,
        }
    }

    fn note(&mut self, ended: Option<Ended>) {
        match ended {
            Some(Ended::Status(status)) if status.success() => self.counts.succeeded += 1,
            Some(Ended::Status(status)) => {
                tracing::debug!("the command ended with {status}");
                self.counts.failed += 1;
            }
            Some(Ended::TimedOut) => {
                eprintln!("echomesh: a command took longer than {:?} and was ended", self.settings.patience);
                self.counts.timed_out += 1;
            }
            Some(Ended::NotStarted(error)) => {
                let program = &self.settings.command[0];
                let text = format!("cannot run {program}: {error}");
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) {
                    self.failure = Some(text);
                } else {
                    eprintln!("echomesh: {text}");
                }
                self.counts.failed += 1;
            }
            // It panicked, which is a bug, and counts as a failure.
            None => self.counts.failed += 1,
        }
    }

    /// Why no command can be run.
    ///
    /// # Errors
    /// `Failure::Local` if the program is not there, or may not be run.
    pub fn failure(&mut self) -> Result<(), Failure> {
        self.failure.take().map_or(Ok(()), |text| Err(Failure::Local(format!("{text}; check the path"))))
    }

    /// Waits for what runs, not for long, and says what became of all.
    pub async fn finish(mut self) {
        self.counts.dropped += self.waiting.len() as u64;
        self.waiting.clear();
        let rest = async {
            while let Some(ended) = self.running.join_next().await {
                self.note(ended.ok());
            }
        };
        let _ = tokio::time::timeout(ENDING_MAX, rest).await;
        self.counts.unfinished = self.running.len() as u64;
        self.running.shutdown().await;
        let Counts { succeeded, failed, timed_out, dropped, unfinished } = self.counts;
        eprintln!(
            "commands: {succeeded} succeeded, {failed} failed, {timed_out} took too long, {unfinished} ended with \
             this program; {dropped} events dropped"
        );
    }
}

/// `ECHOMESH_EVENT` is the kind, `ECHOMESH_EVENT_ROOM` and so on the fields.
fn environment(fields: &Fields) -> Vec<(String, String)> {
    let variable = |(name, field): &(&str, Field)| {
        let name = if *name == "event" { String::new() } else { format!("_{}", name.to_ascii_uppercase()) };
        let value = match field {
            Field::Number(number) => number.to_string(),
            // The system's strings end there.
            Field::Text(text) => text.replace('\0', "\u{FFFD}"),
            Field::Flag(flag) => flag.to_string(),
        };
        (format!("ECHOMESH_EVENT{name}"), value)
    };
    fields.iter().map(variable).collect()
}

/// Ends a command and what it started, unless it ended by itself.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended this very moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn run(command: Vec<String>, job: Job, patience: Duration) -> Ended {
    let mut process = Command::new(&command[0]);
    process.args(&command[1..]).envs(job.environment).stdin(Stdio::piped()).kill_on_drop(true);
    // Its own group: it is ended with what it started, and a Ctrl-C is for this program.
    process.process_group(0);
    for secret in SECRETS {
        process.env_remove(secret);
    }
    let mut child = match process.spawn() {
        Ok(child) => child,
        Err(error) => return Ended::NotStarted(error),
    };
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
    let input = child.stdin.take();
    let work = async {
        if let Some(mut input) = input {
            // Who does not read it need not.
            let _ = input.write_all(format!("{}\n", job.text).as_bytes()).await;
        }
        child.wait().await
    };
    let ended = tokio::time::timeout(patience, work).await;
    match ended {
        Ok(Ok(status)) => {
            group.0 = None;
            Ended::Status(status)
        }
        Ok(Err(error)) => Ended::NotStarted(error),
        Err(_) => Ended::TimedOut,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::owned;
    use super::*;

    fn runner(script: &str, jobs: usize, patience: Duration) -> Runner {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Runner::new(RunnerSettings { command, on: vec![Kind::Line], own: false, jobs, patience })
    }

    fn block_on(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    /// Goal: a command gets the event by standard input and environment, however the text looks, and no secret.
    #[test]
    fn commands_are_given_the_event() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let script = format!(
            r#"cat > {0}; printf '%s|%s|%s' "$ECHOMESH_EVENT" "$ECHOMESH_EVENT_CONTENT" "$ECHOMESH_EVENT_OWN" >> {0}"#,
            out.display()
        );
        let text = "$(touch /tmp/never) `x` \"q\" 'p' ; \\";
        let fields: Fields = vec![("event", owned("line")), ("content", owned(text)), ("own", Field::Flag(false))];
        block_on(async {
            let mut runner = runner(&script, 1, Duration::from_secs(20));
            runner.push(Kind::Line, &fields).unwrap();
            runner.ready().await;
            assert_eq!((runner.counts.succeeded, runner.counts.failed), (1, 0));
        });
        let given = std::fs::read_to_string(out).unwrap();
        assert_eq!(given, format!("{}\nline|{text}|false", json(&fields)));
        assert!(environment(&fields).iter().all(|(name, _)| !SECRETS.contains(&name.as_str())));
    }

    /// Goal: a flood is bounded: so many at once, so many wait, the rest is counted; what takes too long is ended with
    /// what it started.
    #[test]
    fn floods_are_bounded_and_slow_ones_ended() {
        block_on(async {
            let fields: Fields = vec![("event", owned("line"))];
            let mut runner = runner("sleep 1000 & wait", 2, Duration::from_millis(50));
            for _ in 0..WAITING_MAX + 12 {
                runner.push(Kind::Line, &fields).unwrap();
            }
            assert_eq!((runner.running.len(), runner.waiting.len(), runner.counts.dropped), (2, WAITING_MAX, 10));
            runner.ready().await;
            runner.ready().await;
            assert_eq!(runner.counts.timed_out, 2);
            runner.finish().await;
        });
    }

    /// Goal: a program that is not there ends the stay with a sentence, instead of failing for each line.
    #[test]
    fn a_program_that_is_not_there_is_told() {
        block_on(async {
            let command = vec!["/nowhere/at/all".to_owned()];
            let (on, patience) = (vec![Kind::Line], Duration::from_secs(1));
            let mut runner = Runner::new(RunnerSettings { command, on, own: false, jobs: 1, patience });
            runner.push(Kind::Line, &vec![("event", owned("line"))]).unwrap();
            runner.ready().await;
            assert!(runner.failure().is_err_and(|failure| failure.to_string().contains("/nowhere/at/all")));
        });
    }
}
