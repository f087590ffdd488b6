//! The voice path allocates nothing after start.
//!
//! Counts every allocation of the process, C's included: this binary's `malloc` and its kin are the ones
//! that the linker finds first, and pass on to the C library's own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
#[path = "allocations/alloc.rs"]
mod counting_alloc;

use std::ffi::{c_char, c_void};

use cluster::{Cluster, Microphone};
use echomesh_shard::{Effect, Effects, Input};

// SAFETY: as C declares them.
unsafe extern "C" {
    fn strdup(text: *const c_char) -> *mut c_char;
    fn free(old: *mut c_void);
}

/// Handles one of the microphone's packets. Returns how often that allocated, and what came of it.
fn packet(cluster: &mut Cluster, microphone: &mut Microphone, effects: &mut Effects) -> (u64, Option<Vec<u8>>) {
    let mut datagram = microphone.packet();
    let shard = &mut cluster.shards[microphone.ssrc.shard().index()];
    let (now, source) = (cluster.now, microphone.address);
    effects.clear();
    let before = counting_alloc::count();
    shard.handle(now, Input::Datagram { source, received: now.time, datagram: &mut datagram }, effects);
    let allocated = counting_alloc::count() - before;
    let record = effects.list.iter().find_map(|effect| match effect {
        Effect::Voice(voice) if !voice.relay.is_empty() => {
            Some([&voice.header.to_record()[..], &datagram[voice.payload.clone()]].concat())
        }
        _ => None,
    });
    (allocated, record)
}

/// Goal: a packet costs no allocation, from the datagram to the effects, on the shard that owns the stream and
/// on one that gets it from the mesh, with speakers chosen and withheld. Method: buffers grow to their size
/// in the first packets; from then on every allocation of this thread counts.
#[test]
fn voice_allocates_nothing() {
    let mut cluster = Cluster::with(2, |config| (config.spread_after, config.speakers_max) = (2, 2));
    let mut microphones: Vec<Microphone> = (0..4)
        .map(|place| {
            let client = cluster.member(place % 2, &format!("m{place}"), "hall");
            cluster.open_voice(client, "hall", &format!("127.0.0.1:{}", 5000 + place))
        })
        .collect();
    let (mut effects, mut from_mesh) = (Effects::default(), Effects::default());
    let (mut crossed, mut counted) = (0, 0);
    for turn in 0..400 {
        for microphone in &mut microphones {
            let (allocated, record) = packet(&mut cluster, microphone, &mut effects);
            if turn >= 100 {
                assert_eq!(allocated, 0, "packet {turn} of {:08x}", microphone.ssrc.0);
                counted += 1;
            }
            let Some(record) = record else { continue };
            let other = 1 - microphone.ssrc.shard().index();
            let now = cluster.now;
            from_mesh.clear();
            let before = counting_alloc::count();
            let source = microphone.ssrc.shard();
            cluster.shards[other].handle(now, Input::MeshVoice { source, record: &record }, &mut from_mesh);
            if turn >= 100 {
                assert_eq!(counting_alloc::count() - before, 0, "record {turn}");
                crossed += 1;
            }
        }
        cluster.pass(20_000);
    }
    assert!(counted == 1_200 && crossed > 300, "{counted} packets, {crossed} records");
}

/// Goal: the count sees allocations of both languages. Method: one of each.
#[test]
fn allocations_are_counted() {
    let before = counting_alloc::count();
    std::hint::black_box(Box::new(7_u64));
    let rust = counting_alloc::count();
    // SAFETY: strdup is given a C string, and what it gives is freed once.
    unsafe { free(std::hint::black_box(strdup(c"text".as_ptr())).cast()) };
    assert!(rust > before && counting_alloc::count() > rust);
}
