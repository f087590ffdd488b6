//! What shards tell who looks at the admin page: each leaves a snapshot about once a second, while somebody looks.
//!
//! Not the metrics, which are left always. A shard never waits: it looks at one number a tick, and where the place for
//! its snapshot is being emptied it tries again at the next. The admin's thread takes snapshots out, so it is the one
//! that frees them.
//! Bounds: one snapshot a shard, as large as [`Overview`] may be. Cost to a shard: a relaxed load a tick while nobody
//! looks; else an [`Overview`] a second.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use echomesh_proto::ids::ShardId;
use echomesh_shard::Overview;

use crate::shard_thread::ShardTotals;

/// Between two snapshots of a shard.
const EVERY_MS: u64 = 1_000;

/// So long after somebody looked, shards leave none any more.
const WATCHED_MS: u64 = 3_000;

/// One shard at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// When, since the server's start.
    pub at: Duration,
    /// The kernel's.
    pub overview: Overview,
    /// Every figure.
    pub totals: ShardTotals,
}

/// Where one shard leaves its snapshot. Two cache lines of alignment, so that shards do not share any.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place {
    due_ms: AtomicU64,
    snapshot: Mutex<Option<Box<Snapshot>>>,
}

/// The snapshots of all shards.
#[derive(Debug)]
pub struct Overviews {
    started: Instant,
    /// Until when somebody looks, milliseconds since the start.
    watched_until_ms: AtomicU64,
    places: Vec<Place>,
}

impl Overviews {
    /// None yet; `started` is the origin of the shards' clock.
    pub fn new(shards: u8, started: Instant) -> Self {
        let places = (0..shards).map(|_| Place::default()).collect();
        Self { started, watched_until_ms: AtomicU64::new(0), places }
    }

    /// Since the server's start.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.places.len()
    }

    /// Somebody looks.
    pub fn look(&self) {
        self.watched_until_ms.store(self.now().as_millis() as u64 + WATCHED_MS, Ordering::Relaxed);
    }

    /// What a shard left since it was last taken.
    pub fn take(&self, shard: usize) -> Option<Box<Snapshot>> {
        self.places[shard].snapshot.lock().ok()?.take()
    }

    /// Leaves a snapshot if somebody looks and it is time for one. Only that shard's thread calls this.
    pub fn offer(&self, shard: ShardId, make: impl FnOnce() -> Snapshot) {
        let watched_until_ms = self.watched_until_ms.load(Ordering::Relaxed);
        if watched_until_ms != 0 {
            self.offer_at(self.now().as_millis() as u64, watched_until_ms, shard, make);
        }
    }

    fn offer_at(&self, now_ms: u64, watched_until_ms: u64, shard: ShardId, make: impl FnOnce() -> Snapshot) {
        let place = &self.places[shard.index()];
        if now_ms >= watched_until_ms || now_ms < place.due_ms.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(mut snapshot) = place.snapshot.try_lock() {
            place.due_ms.store(now_ms + EVERY_MS, Ordering::Relaxed);
            *snapshot = Some(Box::new(make()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(at_ms: u64) -> Snapshot {
        Snapshot { at: Duration::from_millis(at_ms), overview: Overview::default(), totals: ShardTotals::default() }
    }

    /// Goal: shards make nothing while nobody looks, and one snapshot a second while somebody does.
    #[test]
    fn snapshots_are_made_for_who_looks() {
        let overviews = Overviews::new(2, Instant::now());
        overviews.offer(ShardId(1), || panic!("nobody looks"));
        let mut made = Vec::new();
        for now_ms in (1_000..6_000).step_by(50) {
            overviews.offer_at(now_ms, 4_000, ShardId(1), || snapshot(now_ms));
            made.extend(overviews.take(1).map(|snapshot| snapshot.at.as_millis()));
        }
        assert_eq!(made, [1_000, 2_000, 3_000]);
        assert!(overviews.take(0).is_none());
    }

    /// Goal: a shard does not wait for who empties its place; it tries again.
    #[test]
    fn a_shard_does_not_wait() {
        let overviews = Overviews::new(1, Instant::now());
        let held = overviews.places[0].snapshot.lock().unwrap();
        overviews.offer_at(1_000, 4_000, ShardId(0), || panic!("the place is being emptied"));
        drop(held);
        overviews.offer_at(1_050, 4_000, ShardId(0), || snapshot(1_050));
        assert!(overviews.take(0).is_some());
    }
}
