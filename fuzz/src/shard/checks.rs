//! What must be so after every step, and when a script is over.

use echomesh_shard::{ClosedCause, Drop, Held, Input, TICK_US};

use super::driver::{SHARDS, World};

/// Ticks in which the store catches up and every connection's deadlines are looked at more than once: 5 s.
const REST_TICKS: u32 = 100;

/// Turns in which everything that is under way must have come to rest.
const TURNS_MAX: u32 = 1_000_000;

/// Nothing is over its bound.
pub fn within_bounds(world: &World) {
    let limits = &world.limits;
    for (shard, kernel) in world.shards.iter().enumerate() {
        let held = kernel.held();
        let open = world.lines.iter().filter(|line| line.shard == shard).count();
        assert_eq!(held.connections, open, "driver and shard {shard} have the same connections");
        assert!(held.connections <= limits.connections_max as usize);
        assert!(held.streams <= limits.streams_max as usize, "{held:?}");
        assert!(held.outbox_bytes <= 2 * limits.outbox_bytes_max, "{held:?}");
        let desk = &world.desks[shard];
        assert_eq!(held.jobs, desk.store.len() + desk.reads.len() + desk.hashes.len(), "{held:?}");
    }
}

/// Everything that is under way arrives; the store does not fail.
pub fn run(world: &mut World) {
    for _ in 0..TURNS_MAX {
        world.refill();
        let mut moved = false;
        for shard in 0..SHARDS {
            moved |= world.deliver(shard);
            moved |= world.answer_store(shard, None, false);
            moved |= world.answer_store(shard, Some(0), false);
            moved |= world.answer_hash(shard, 0, false, false);
            if let Some(record) = world.voice[shard].pop_front() {
                world.voice_record(shard, &record);
                moved = true;
            }
        }
        for at in 0..world.lines.len() {
            moved |= drain(world, at);
        }
        if !moved {
            return;
        }
    }
    panic!("it does not come to rest");
}

fn drain(world: &mut World, at: usize) -> bool {
    let Some(line) = world.lines.get_mut(at) else { return false };
    let (shard, connection, bytes) = (line.shard, line.id, std::mem::take(&mut line.unread));
    if bytes > 0 {
        world.input(shard, Input::Drained { connection, bytes });
    }
    bytes > 0
}

fn pass(world: &mut World, us: u64) {
    world.now.time = world.now.time.after_us(us);
    world.now.unix_ms += us / 1_000;
}

fn tick(world: &mut World) {
    pass(world, TICK_US);
    for shard in 0..SHARDS {
        world.input(shard, Input::Tick);
    }
    run(world);
}

/// The script is over: all that waits is answered, then all is closed, and nothing is left.
pub fn end(world: &mut World) {
    run(world);
    for _ in 0..REST_TICKS {
        tick(world);
    }
    for line in &world.lines {
        let begun = !line.inbound.is_empty() || line.is_wild;
        assert!(begun || line.asked.is_empty(), "requests {:?} have no answer", line.asked);
        assert!(!line.is_paused, "a connection is paused, and nothing waits");
    }
    while let Some(line) = world.lines.pop() {
        world.input(line.shard, Input::Closed { connection: line.id, cause: ClosedCause::PeerClosed });
    }
    run(world);
    pass(world, world.limits.resume_us_max + 1);
    for _ in 0..REST_TICKS {
        tick(world);
    }
    for (shard, kernel) in world.shards.iter().enumerate() {
        if !world.is_stopping {
            assert_eq!(kernel.held(), Held::default(), "shard {shard} holds what nobody has");
        }
        assert_eq!(kernel.held().connections, 0);
        let bad = kernel.counters().dropped(Drop::MeshBadRecord);
        assert_eq!(bad, world.bad_records[shard], "shard {shard}: a mesh record that does not parse");
    }
    if !world.is_stopping {
        assert_eq!(world.peers(), 0, "peers are left in the drivers' tables");
        assert_eq!(world.store.saved_sessions(), 0, "sessions are left in the store");
    }
}
