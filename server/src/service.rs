//! What the service manager is told (sd_notify(3)): ready, alive, stopping. Without one, nothing.

use sd_notify::NotifyState;

/// The server takes connections.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// All shards live.
pub fn alive() {
    tell(NotifyState::Watchdog);
}

/// The server ends.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
