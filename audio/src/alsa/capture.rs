//! The real-time loop of a microphone: a period from the device to a ring, and the engine's bell.
//!
//! In real time from [`run`]'s start to its end, faults included: no allocation, no lock, no system call but
//! ALSA's and one write to the bell's eventfd. Who calls it opens and closes the device.
//! Bounds: a period a turn; samples that find the ring full are dropped and counted.

use std::sync::atomic::Ordering;

use rtrb::Producer;

use super::device::{Ended, Turns};
use super::port::{Fault, Port};
use super::shared::ThreadEnd;

/// Runs until the device fails for good, or the thread is told to stop. `tick`: samples of the device's rate
/// that the engine takes at a time; it is not woken for less.
pub fn run(
    port: &mut impl Port,
    ring: &mut Producer<i16>,
    samples: &mut [i16],
    tick: usize,
    end: &mut ThreadEnd,
) -> Ended {
    let mut turns = Turns::new(port.granted());
    if let Err(fault) = port.start() {
        return Ended::of(fault);
    }
    loop {
        match turn(port, ring, samples, tick, end, &mut turns) {
            Ok(()) => {}
            Err(Fault::Gone(number)) => return Ended::Gone(number),
            Err(fault) => {
                turns.fault(fault, end);
                // It does not start by itself: reading would, but waiting comes first.
                if let Err(fault) = port.recover(fault).and_then(|()| port.start()) {
                    return Ended::of(fault);
                }
            }
        }
        if let Some(ended) = turns.over(end) {
            return ended;
        }
    }
}

fn turn(
    port: &mut impl Port,
    ring: &mut Producer<i16>,
    samples: &mut [i16],
    tick: usize,
    end: &mut ThreadEnd,
    turns: &mut Turns,
) -> Result<(), Fault> {
    let ready = port.wait()?;
    turns.woke(ready, end);
    // If a second period waits, the next wait is none: asking for it here would be one more call each turn.
    let count = port.read(samples)?;
    turns.moved(count, end);
    let room = ring.slots().min(count);
    if let Ok(chunk) = ring.write_chunk_uninit(room) {
        chunk.fill_from_iter(samples[..room].iter().copied());
    }
    end.counters.dropped.fetch_add((count - room) as u64, Ordering::Relaxed);
    let waiting = ring.buffer().capacity() - ring.slots();
    if waiting >= tick {
        end.counters.waiting.store(waiting as u32, Ordering::Relaxed);
        end.bell.ring();
    }
    turns.worked();
    Ok(())
}
