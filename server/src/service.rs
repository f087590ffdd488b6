//! What the service manager is told (sd_notify(3)): ready, alive, reloading, stopping. Without one, nothing.

use sd_notify::NotifyState;

/// The server takes connections.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its settings again.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no clock for the service manager"),
    }
}

/// It has, with this outcome, which `systemctl status` shows.
pub fn reloaded(outcome: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(outcome)]);
}

/// All shards live.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The server ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
