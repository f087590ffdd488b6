//! Two shards of the kernel, joined by their mesh, driven by a script of bytes.
//!
//! In: a header that settles registration, bounds and rings and who is there already, then steps: connections, messages and bytes in any split,
//! datagrams sealed with keys that the shards gave, or not, mesh records, answers of store and hashers, time. Peers are
//! hostile; driver and store behave, but take their time, and the store may fail. Checked: at every effect what `driver`
//! says; after every step the bounds (`checks`); in the end, that every request was answered once, and that nothing is
//! left when all is closed.

mod checks;
mod driver;
#[allow(dead_code, reason = "of the kernel's own tests, which look at more of it")]
#[path = "../../../server/shard/tests/cluster/memory.rs"]
mod memory;
mod prologue;
mod steps;
mod store;

use arbitrary::{Result, Unstructured};
use echomesh_proto::ids::ShardId;
use echomesh_shard::{Limits, RECORD_BYTES_MAX, RECORD_PREFIX_BYTES, Rate, Registration, ShardConfig};

use driver::{SHARDS, World};

/// Steps of one script.
const STEPS_MAX: usize = 400;

/// See the module.
pub fn shard(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(mut world) = begin(&mut input) else { return };
    // Where bytes run out the script is over, here too.
    let _ = prologue::people(&mut world, &mut input);
    for _ in 0..STEPS_MAX {
        // Where bytes run out the script is over.
        if input.is_empty() || steps::step(&mut world, &mut input).is_err() {
            break;
        }
        world.refill();
        checks::within_bounds(&world);
    }
    checks::end(&mut world);
}

fn begin(input: &mut Unstructured<'_>) -> Result<World> {
    let registration = match input.int_in_range(0..=7)? {
        0 => Registration::Invitation,
        1 => Registration::Closed,
        _ => Registration::Open,
    };
    let (guests, plaintext_anywhere, speakers_max) =
        (input.arbitrary()?, input.arbitrary()?, input.int_in_range(0..=2)?);
    let spread_after = input.int_in_range(1..=3)?;
    let limits = if input.arbitrary()? { small() } else { Limits::default() };
    let ring_bytes = RECORD_BYTES_MAX + RECORD_PREFIX_BYTES + if input.arbitrary()? { 0 } else { 1 << 20 };
    let config = |shard: u8| ShardConfig {
        shard: ShardId(shard),
        shards: SHARDS as u8,
        seed: [shard + 1; 32],
        server_name: "fuzzed".to_owned(),
        server_version: "0".to_owned(),
        motd: String::new(),
        voice_port: 8888,
        registration,
        guests,
        plaintext_anywhere,
        spread_after,
        speakers_max,
        retention_days: 0,
        limits: limits.clone(),
        rooms: Vec::new(),
        bans: Vec::new(),
        sessions: Vec::new(),
        ended_rooms: Vec::new(),
    };
    Ok(World::new([config(0), config(1)], ring_bytes))
}

/// Bounds that a short script reaches.
fn small() -> Limits {
    Limits {
        connections_max: 6,
        streams_max: 2,
        account_sessions_max: 2,
        rooms_max: 3,
        session_rooms_max: 2,
        room_members_max: 3,
        output_bytes_max: 24 * 1024,
        chat_in_flight_max: 2,
        store_requests_max: 4,
        reads_max: 1,
        marks_max: 2,
        direct_lines_max: 3,
        hash_requests_max: 2,
        connection_guesses: Rate::one_in(60, 2),
        room_standings_max: 2,
        bans_max: 2,
        reports_max: 1,
        account_tokens_max: 1,
        invitations_max: 1,
        ..Limits::default()
    }
}
