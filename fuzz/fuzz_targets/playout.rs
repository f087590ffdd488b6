//! Libfuzzer's program for `echomesh_fuzz::playout`, which says what it checks.
#![forbid(unsafe_code)]
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echomesh_fuzz::playout(data));
