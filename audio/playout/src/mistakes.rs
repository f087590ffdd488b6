//! A mistake planted on purpose, which the simulator has to catch (docs/TESTING.md): the delay never shrinks.
//!
//! Not in what ships: without the feature `mistakes`, which only the simulator's own feature of that name turns on,
//! [`never_shrinks`] is the constant `false`.

/// Whether the delay is never to become shorter.
#[cfg(not(feature = "mistakes"))]
pub(crate) const fn never_shrinks() -> bool {
    false
}

#[cfg(feature = "mistakes")]
thread_local! {
    static NEVER_SHRINKS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whether the delay is never to become shorter.
#[cfg(feature = "mistakes")]
pub(crate) fn never_shrinks() -> bool {
    NEVER_SHRINKS.get()
}

/// Makes every playout of this thread make the mistake, or not.
#[cfg(feature = "mistakes")]
pub fn never_shrink(planted: bool) {
    NEVER_SHRINKS.set(planted);
}
