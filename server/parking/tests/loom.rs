//! Every interleaving of producers and a sleeper that the memory model allows, by loom.
//!
//! Run with `cargo test --release -p echomesh-parking --features loom`. The rings are modelled by what they publish: a
//! count, stored with release and loaded with acquire, as rtrb does with its tail. The eventfd is loom's `Notify`: one
//! that is rung before the wait ends the wait. A wake-up that is lost leaves the sleeper waiting for ever, which
//! loom tells.

use echomesh_parking::Parking;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Notify};

/// What producers and the sleeper share.
struct Shared {
    parking: Parking,
    published: [AtomicUsize; 2],
    bell: Notify,
}

/// `producers` publish `records` each; the sleeper takes all of them, sleeping whenever there is none.
fn all_arrives(producers: usize, records: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let published = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let shared = Arc::new(Shared { parking: Parking::default(), published, bell: Notify::new() });
        for producer in 0..producers {
            let shared = shared.clone();
            loom::thread::spawn(move || {
                for record in 1..=records {
                    shared.published[producer].store(record, Ordering::Release);
                    if shared.parking.must_wake() {
                        shared.bell.notify();
                    }
                }
            });
        }
        let taken = || shared.published.iter().map(|count| count.load(Ordering::Acquire)).sum::<usize>();
        let mut seen = 0;
        while seen < producers * records {
            shared.parking.announce();
            let now = taken();
            if now == seen {
                shared.bell.wait();
            }
            shared.parking.stay_awake();
            seen = now;
        }
    });
}

/// Goal: no wake-up is lost between one producer and the sleeper.
#[test]
fn one_producer_is_always_heard() {
    all_arrives(1, 2);
}

/// Goal: the same if two producers race for who wakes it.
#[test]
fn two_producers_are_always_heard() {
    all_arrives(2, 1);
}
