//! Who is there when a script begins: people in rooms, with voice, so that what follows is about something.
//!
//! All of it could be steps, but a fuzzer would be long in finding them. In: bytes that say how many, where, and how far
//! each gets. Out: a world at rest.

use arbitrary::{Result, Unstructured};
use echomesh_proto::control::{
    Body, ClaimRequest, EchoMsg, LoginRequest, RoomAction, RoomActionType, RoomProperties, VoiceAnnounce,
};
use echomesh_shard::{Input, READ_BYTES_MAX, Security};

use super::checks;
use super::driver::{SHARDS, World};
use super::steps::{ADDRESSES, accept_as};
use crate::messages::{CLAIM_CODE, PASSWORD, PEOPLE, ROOMS, framed};

/// They come, each as far as the bytes say.
pub fn people(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    for place in 0..input.int_in_range(0..=PEOPLE.len())? {
        let shard = input.int_in_range(0..=SHARDS - 1)?;
        let remote = ADDRESSES[place].parse().expect("an address");
        accept_as(world, shard, place as u32, remote, Security::Tls);
        say(world, login(PEOPLE[place], input.ratio(3, 4)?));
        if place == 0 && input.arbitrary()? {
            say(world, Body::ClaimRequest(ClaimRequest { code: CLAIM_CODE.to_owned() }));
        }
        for room in ROOMS.iter().take(input.int_in_range(0..=2)?) {
            let properties = RoomProperties {
                temporary: Some(input.ratio(1, 4)?),
                speakers: Some(input.int_in_range(0..=2)?),
                ..RoomProperties::default()
            };
            say(world, room_action(RoomActionType::RaCreate, room, Some(properties)));
            say(world, room_action(RoomActionType::RaJoin, room, None));
            if input.ratio(3, 4)? {
                let open = VoiceAnnounce { room_id: (*room).to_owned(), open: true, ..VoiceAnnounce::default() };
                say(world, Body::VoiceAnnounce(open));
            }
        }
    }
    Ok(())
}

fn login(name: &str, resumable: bool) -> Body {
    Body::LoginRequest(LoginRequest {
        username: name.to_owned(),
        password: PASSWORD.to_owned(),
        protocol_version: 1,
        features: resumable.into(),
        ..LoginRequest::default()
    })
}

fn room_action(kind: RoomActionType, room: &str, properties: Option<RoomProperties>) -> Body {
    let room_id = room.to_owned();
    Body::RoomAction(RoomAction { action_type: kind as i32, room_id, properties, ..RoomAction::default() })
}

/// The connection that came last says it, and all that follows from it happens.
fn say(world: &mut World, body: Body) {
    let Some(line) = world.lines.last_mut() else { return };
    let frame = framed(&EchoMsg::new(9, body)).expect("it is short");
    assert!(frame.len() <= READ_BYTES_MAX);
    line.asked.push(9);
    let (shard, connection) = (line.shard, line.id);
    world.input(shard, Input::Bytes { connection, bytes: &frame });
    checks::run(world);
}
