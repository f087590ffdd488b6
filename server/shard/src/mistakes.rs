//! Mistakes planted on purpose, one at a time: the simulator has to catch each of them (docs/TESTING.md).
//!
//! Not in what ships: without the feature `mistakes`, which only the simulator's own feature of that name turns on,
//! [`planted`] is the constant `false` and the compiler removes what hangs on it.
//! In: `plant`, for the thread that runs the kernel. Out: [`planted`], where the mistake would be made.

/// Declares the mistakes with a stable name each.
macro_rules! mistakes {
    ($($(#[$meta:meta])* $variant:ident => $text:literal,)+) => {
        /// A mistake that the kernel can be made to make.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mistake { $($(#[$meta])* $variant,)+ }

        #[cfg(feature = "mistakes")]
        impl Mistake {
            /// All of them.
            pub const ALL: &'static [Mistake] = &[$(Mistake::$variant,)+];

            /// Its name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Mistake::$variant => $text,)+ }
            }
        }
    };
}

mistakes! {
    /// Who left a room is still told its lines.
    DeliverToLeaver => "deliver-to-leaver",
    /// The list of who hears a room is not made anew when a listener goes.
    VoiceToLeaver => "voice-to-leaver",
    /// A packet that was here before is taken again.
    SkipReplay => "skip-replay",
    /// A line that could not be stored is acknowledged.
    AcknowledgeUnstored => "acknowledge-unstored",
    /// After a new key some output numbers are given again.
    ReuseIndex => "reuse-index",
    /// Not all of what a connection has read counts as read.
    ForgetCredit => "forget-credit",
    /// The stream of who leaves stays open.
    LeaveStreamOpen => "leave-stream-open",
    /// A change of a member is told as one of another room.
    DeltaToWrongRoom => "delta-to-wrong-room",
    /// A session is given to whoever knows its number.
    ResumeWithoutSecret => "resume-without-secret",
    /// One shard does not hear of bans.
    BanSkipsShard => "ban-skips-shard",
    /// What a moderator's mute should stop goes on.
    MutedVoicePasses => "muted-voice-passes",
    /// A direct line that waited for a session that moved is told twice.
    DirectToldTwice => "direct-told-twice",
    /// Now and then a change does not reach the replicas.
    DropDelta => "drop-delta",
    /// No ring is ever taken for congested.
    UnboundOutbox => "unbound-outbox",
    /// After a mute the output numbers leave a gap.
    MuteOffByOne => "mute-off-by-one",
    /// Voice that is opened again keeps its downlink key.
    KeepKey => "keep-key",
    /// A roster lacks its last member.
    ShortRoster => "short-roster",
    /// A full room takes more.
    IgnoreCapacity => "ignore-capacity",
    /// History begins one line too late.
    HistoryOffByOne => "history-off-by-one",
    /// Of an account's devices, one is told a direct line.
    DirectToOneDevice => "direct-to-one-device",
    /// A home believes what a session's former shard says.
    BelieveOldShard => "believe-old-shard",
    /// Connections held back by a full ring are not served when it has room.
    ForgetHeldBack => "forget-held-back",
    /// A withheld packet is not counted.
    DropUncounted => "drop-uncounted",
    /// A server that ends begins what comes.
    BeginAtTheEnd => "begin-at-the-end",
    /// A shard that ends does not wait for what it has begun.
    QuietTooSoon => "quiet-too-soon",
}

/// Whether this mistake is to be made.
#[cfg(not(feature = "mistakes"))]
pub(crate) const fn planted(_: Mistake) -> bool {
    false
}

#[cfg(feature = "mistakes")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mistake>> = const { std::cell::Cell::new(None) };
}

/// Whether this mistake is to be made.
#[cfg(feature = "mistakes")]
pub(crate) fn planted(mistake: Mistake) -> bool {
    PLANTED.get() == Some(mistake)
}

/// Makes every kernel that this thread runs make this mistake from now on.
#[cfg(feature = "mistakes")]
pub fn plant(mistake: Option<Mistake>) {
    PLANTED.set(mistake);
}
