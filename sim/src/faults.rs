//! What goes wrong in a seed, and how often: drawn once, each by itself, so that seeds differ in kind and not only in
//! order. A fault that is always there hides what happens without it.
//!
//! Not the faults themselves: the world looks here when something is on its way.
//! Out: plain numbers. One in 0 is never.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

/// How bytes of TCP are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// As they were written, as far as a read goes.
    Whole,
    /// A quarter of the pieces is one byte.
    Mixed,
    /// The first bytes of each write come one by one.
    Bytes,
}

/// A seed's faults while it is young.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Of so many datagrams one is lost, and one comes twice.
    pub lost_one_in: u64,
    pub doubled_one_in: u64,
    /// Usual delay of whatever is on its way, at most, microseconds: beyond a frame, voice is reordered.
    pub delay_us: u64,
    /// One in so many waits for up to `spike_us`: a late wake-up, a route that changes.
    pub spike_one_in: u64,
    pub spike_us: u64,
    pub split: Split,
    /// Room of a ring beyond its longest record, bytes.
    pub ring_spare: usize,
    /// Of so many records one finds the voice ring full.
    pub voice_full_one_in: u64,
    /// Of so many actions one stalls a shard, for up to half a second.
    pub stall_one_in: u64,
    /// Of so many actions one cuts a client off for a while, TCP and UDP.
    pub partition_one_in: u64,
    /// One client in so many reads this late, microseconds.
    pub slow_one_in: u64,
    pub slow_us: u64,
    /// How many times longer than other things the store takes.
    pub store_slowness: u64,
    /// Of so many jobs one fails; of those half were done all the same.
    pub store_fails_one_in: u64,
    /// Of so many actions one takes the store away for seconds.
    pub store_away_one_in: u64,
    /// Client's clocks are off by up to this, parts per million, and show another time.
    pub drift_ppm: u64,
    /// Of so many actions one is a kill, and one a restart in order.
    pub kill_one_in: u64,
    pub drain_one_in: u64,
    /// Likewise: everyone enters and leaves again and again; a speaker changes its address in the middle of a word.
    pub storm_one_in: u64,
    pub roam_one_in: u64,
    /// Likewise: everyone says long lines at once, while a shard stands still.
    pub flood_one_in: u64,
    /// Likewise: bytes of those who mean harm.
    pub attack_one_in: u64,
    /// Bounds are a few times what the clients need, not thousands.
    pub tight_limits: bool,
    /// Of so many actions one is a change of settings.
    pub reload_one_in: u64,
}

/// One of these.
fn pick<T: Copy>(random: &mut ChaCha8Rng, choices: &[T]) -> T {
    choices[random.next_u32() as usize % choices.len()]
}

impl Faults {
    /// Those of a seed. `other` is the seed's, too: for what came later and is not to change what recorded seeds do.
    pub fn draw(random: &mut ChaCha8Rng, other: &mut ChaCha8Rng) -> Self {
        Self {
            lost_one_in: pick(random, &[0, 10, 10, 3, 100]),
            doubled_one_in: pick(random, &[0, 10, 10, 4]),
            delay_us: pick(random, &[300, 300, 300, 5_000, 60_000]),
            spike_one_in: pick(random, &[0, 20, 20, 100]),
            spike_us: pick(random, &[500_000, 500_000, 50_000, 2_000_000]),
            split: pick(random, &[Split::Whole, Split::Mixed, Split::Mixed, Split::Bytes]),
            ring_spare: pick(random, &[0, 1, 500, 3_000, 1 << 20]),
            voice_full_one_in: pick(random, &[0, 0, 20, 3]),
            stall_one_in: pick(random, &[0, 0, 60, 20]),
            partition_one_in: pick(random, &[0, 0, 60, 30]),
            slow_one_in: pick(random, &[0, 4, 4, 2]),
            slow_us: pick(random, &[3_000_000, 3_000_000, 300_000]),
            store_slowness: pick(random, &[1, 10, 10, 100]),
            store_fails_one_in: pick(random, &[0, 30, 30, 5]),
            store_away_one_in: pick(random, &[0, 0, 100]),
            drift_ppm: pick(random, &[0, 50, 500]),
            kill_one_in: pick(random, &[0, 200, 200, 60]),
            drain_one_in: pick(random, &[0, 0, 200, 100]),
            storm_one_in: pick(random, &[0, 0, 40]),
            roam_one_in: pick(random, &[0, 50, 15]),
            flood_one_in: pick(random, &[0, 0, 100, 30]),
            attack_one_in: pick(random, &[0, 10, 3]),
            tight_limits: pick(random, &[false, true]),
            reload_one_in: pick(other, &[0, 0, 0, 40]),
        }
    }
}
