//! Libfuzzer's program for `echomesh_fuzz::shard`, which says what it checks.
#![forbid(unsafe_code)]
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echomesh_fuzz::shard(data));
