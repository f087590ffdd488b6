//! What a playout did, counted. Every packet inserted ends in exactly one of `played`, `undecodable`,
//! `late`, `duplicate`, `skipped`, `dropped_overflow` and `dropped_invalid`, or is still buffered.

/// Counts of one speaker, or sums over several; counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets decoded and played.
    pub played: u64,
    /// Gaps filled from the copy in the next packet (in-band FEC).
    pub recovered: u64,
    /// Packets made from the history in a later one (DRED); libopus guesses where that does not reach.
    pub recovered_deep: u64,
    /// Times the decoder guessed up to 10 ms, for a loss or because nothing had arrived yet.
    pub concealed: u64,
    /// Packets that had not arrived when their turn was over; some of them are counted `late` afterwards.
    pub missing: u64,
    /// Packets that arrived after their turn.
    pub late: u64,
    /// Packets that were here before.
    pub duplicate: u64,
    /// Packets of which nothing was heard: their time was over, or the delay had to come down at once.
    pub skipped: u64,
    /// Packets thrown away because a much later one arrived, or the stream began anew.
    pub dropped_overflow: u64,
    /// Packets with an empty or too long payload, or an index past 48 bits.
    pub dropped_invalid: u64,
    /// Packets the decoder refused; their time was concealed.
    pub undecodable: u64,
    /// Times playing began after silence.
    pub talkspurts: u64,
    /// Times the stream began anew: the index jumped farther than the buffer reaches.
    pub restarts: u64,
    /// Samples of sound repeated to make the delay longer, and left out to make it shorter.
    pub stretched: u64,
    pub compressed: u64,
    /// Time packets wait from arrival to play, microseconds: a running mean over about 16 packets. In a sum,
    /// the greatest.
    pub delay_us: u64,
    /// Delay aimed at, microseconds. In a sum, the greatest.
    pub target_us: u64,
    /// How fast the speaker's clock is against ours, parts per million; corrected. In a sum, that farthest off.
    pub drift_ppm: i64,
}

impl Statistics {
    /// Adds another speaker's counts.
    pub fn add(&mut self, other: &Statistics) {
        self.played += other.played;
        self.recovered += other.recovered;
        self.recovered_deep += other.recovered_deep;
        self.stretched += other.stretched;
        self.compressed += other.compressed;
        if other.drift_ppm.abs() > self.drift_ppm.abs() {
            self.drift_ppm = other.drift_ppm;
        }
        self.concealed += other.concealed;
        self.missing += other.missing;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.skipped += other.skipped;
        self.dropped_overflow += other.dropped_overflow;
        self.dropped_invalid += other.dropped_invalid;
        self.undecodable += other.undecodable;
        self.talkspurts += other.talkspurts;
        self.restarts += other.restarts;
        self.delay_us = self.delay_us.max(other.delay_us);
        self.target_us = self.target_us.max(other.target_us);
    }
}
