//! Settings read again while the server runs, at SIGHUP.
//!
//! All of it or nothing: file, certificate and log filter are looked at first, and what is wrong with one of them leaves
//! everything as it is. Then each shard is told (`Input::Settings`, within a tick), new connections meet the new
//! certificate, and the log says which keys changed, which of them hold now and which wait for a restart.
//! Flags and environment are those of the start. Not what a setting does. Runs on the main thread.
//! Bounds: a shard holds `CHANGES_MAX` that it has not taken; beyond, one that stands still is logged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::time::{Duration, Instant};

use echomesh_shard::{Limits, ShardSettings};

use crate::admin::Current;
use crate::bounds;
use crate::cert::{self, Identity};
use crate::cli::{Flags, Registration, Settings};
use crate::config::{self, Config};
use crate::logging::{self, LogFilter};
use crate::service;
use crate::start_error::StartError;

/// Changes that wait for a shard's tick.
pub const CHANGES_MAX: usize = 16;

/// How long all shards may take to take a change: some ticks, and less than what the watchdog takes for standing still.
const TAKING_MAX: Duration = Duration::from_millis(300);

/// What a shard is told.
pub struct Change {
    /// For its kernel.
    pub settings: Box<ShardSettings>,
    /// For new connections, if the certificate is another one.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// To say that it holds.
    pub taken: SyncSender<()>,
}

/// What a running server needs to know to change.
pub struct Reload {
    flags: Flags,
    /// Each setting as it holds, by its key.
    running: BTreeMap<&'static str, String>,
    /// Where it holds a password, which is not shown.
    database: Settings,
    shards: u8,
    data_dir: std::path::PathBuf,
    fingerprint: String,
    chain: String,
    current: Arc<Current>,
    log: LogFilter,
    changes: Vec<SyncSender<Change>>,
}

/// What came of a reload.
#[derive(Debug, Default)]
struct Outcome {
    taken: Vec<&'static str>,
    waiting: Vec<&'static str>,
    certificate: Option<String>,
}

/// What shards may be told while they run.
pub fn shard_settings(config: &Config, limits: Limits) -> ShardSettings {
    ShardSettings {
        server_name: config.server_name.clone(),
        motd: config.motd.clone(),
        registration: match config.registration {
            Registration::Open => echomesh_shard::Registration::Open,
            Registration::Invitation => echomesh_shard::Registration::Invitation,
            Registration::Closed => echomesh_shard::Registration::Closed,
        },
        guests: config.guests,
        speakers_max: config.speakers_max,
        retention_days: config.retention_days,
        limits,
    }
}

impl Reload {
    /// For a server that starts with these; `changes` are the shards'.
    pub fn new(
        flags: Flags,
        config: &Config,
        identity: &Identity,
        current: Arc<Current>,
        log: LogFilter,
        changes: Vec<SyncSender<Change>>,
    ) -> Self {
        Self {
            flags,
            running: config.shown().map(|(key, value)| (key.name, value)).collect(),
            database: Settings { database: config.given.database.clone(), ..Settings::default() },
            shards: config.shards,
            data_dir: config.data_dir.clone(),
            fingerprint: identity.fingerprint.clone(),
            chain: identity.chain.clone(),
            current,
            log,
            changes,
        }
    }

    /// Reads all again, and says what came of it.
    pub fn reload(&mut self) {
        service::reloading();
        match self.take() {
            Ok(Outcome { taken, waiting, certificate: None }) if taken.is_empty() && waiting.is_empty() => {
                tracing::info!("the settings were read again: nothing changed");
                service::reloaded("settings read again: nothing changed");
            }
            Ok(Outcome { taken, waiting, certificate }) => {
                let (taken, waiting) = (listed(&taken), listed(&waiting));
                let certificate = certificate.as_deref().unwrap_or("as before");
                tracing::info!(taken, needs_restart = waiting, certificate, "the settings were read again");
                let told = format!("settings read again: taken: {taken}; need a restart: {waiting}");
                service::reloaded(&told);
            }
            Err(error) => {
                tracing::error!("nothing was reloaded, all settings stay as they were: {error}");
                service::reloaded("settings wrong, nothing was reloaded: see the log");
            }
        }
    }

    fn take(&mut self) -> Result<Outcome, StartError> {
        let config = config::settle(self.flags.clone())?;
        // For the shards that run, however many there would be.
        let limits = bounds::limits(&config.given, self.shards).map_err(StartError::Settings)?;
        let identity = cert::read(config.tls.as_ref(), &self.data_dir)?;
        let filter = logging::filter(&config.log)?;

        let mut outcome = Outcome::default();
        for (key, value) in config.shown() {
            let password_changed = key.name == "database" && config.given.database != self.database.database;
            if self.running.get(key.name) == Some(&value) && !password_changed {
                continue;
            }
            if key.reload {
                outcome.taken.push(key.name);
                self.running.insert(key.name, value);
            } else {
                outcome.waiting.push(key.name);
            }
        }
        let tls = (identity.chain != self.chain).then_some(&identity.tls);
        if tls.is_some() {
            let same = if identity.fingerprint == self.fingerprint { "same key" } else { "another key" };
            outcome.certificate = Some(format!("renewed, {same}: SHA256:{}", identity.fingerprint));
        }
        self.log.set(filter);
        self.tell(&shard_settings(&config, limits), tls);
        self.current.renew(tls.map(|_| &identity), &config.server_name);
        (self.fingerprint, self.chain) = (identity.fingerprint, identity.chain);
        Ok(outcome)
    }

    /// Tells all shards, and waits until it holds, so that what the log says then is so.
    fn tell(&self, settings: &ShardSettings, tls: Option<&Arc<rustls::ServerConfig>>) {
        let (taken, answers) = mpsc::sync_channel(self.changes.len());
        for changes in &self.changes {
            let change = Change { settings: Box::new(settings.clone()), tls: tls.cloned(), taken: taken.clone() };
            // One that holds as many already, or has ended, is missed below.
            let _ = changes.try_send(change);
        }
        drop(taken);
        let deadline = Instant::now() + TAKING_MAX;
        let wait = || answers.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok();
        let taken = std::iter::from_fn(wait).count();
        if taken < self.changes.len() {
            let missing = self.changes.len() - taken;
            tracing::warn!(missing, "shards that stand still or end have not taken the settings yet");
        }
    }
}

fn listed(keys: &[&str]) -> String {
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}
