//! One step: what the server, the network, the driver or time does next.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use echomesh_client::{Announce, Input, OpenVoice, RequestError, RequestId, VoiceFrame};
use echomesh_proto::control::{Account, EchoMsg, Moderation, MsgType, RoomMessage, RoomProperties};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::limits::DATAGRAM_BYTES_MAX;
use echomesh_proto::rtcp::{ListenerLoss, REPORT_BYTES_MAX, ReportBlock, Writer};
use echomesh_proto::rtp::{HEADER_BYTES_MAX, OutgoingHeader};
use echomesh_proto::srtp::{MasterKey, RTCP_INDEX_BYTES, SealKey, TAG_BYTES};
use echomesh_proto::time::{MediaTime, Time};

use super::Stage;
use crate::messages::{Maker, framed};

/// Names that the driver uses of rooms and people.
const NAMES: [&str; 4] = ["lobby", "Lobby", "hall", "bob"];

/// Longest step of the clock, microseconds: over every deadline.
const STEP_US_MAX: u64 = 40_000_000;

/// Does one step.
pub fn step(stage: &mut Stage, input: &mut Unstructured<'_>) -> Result<()> {
    match input.int_in_range(0..=31_u8)? {
        0 | 1 => stage.handle(Input::Connected),
        2 => stage.handle(Input::Closed),
        3 => {
            let bytes: &[u8] = input.arbitrary()?;
            stage.handle(Input::Bytes(bytes));
        }
        4..=15 => message(stage, input)?,
        16..=21 => request(stage, input)?,
        22 | 23 => datagram(stage, input)?,
        24 => frame(stage, input)?,
        25..=27 => {
            let us = if input.ratio(1, 4)? { input.int_in_range(0..=STEP_US_MAX)? } else { 100_000 };
            stage.now.time = stage.now.time.after_us(us);
            stage.now.unix_ms += us / 1_000;
            stage.handle(Input::Tick);
        }
        _ => {
            let all = input.ratio(7, 8)?;
            stage.take_output(all);
        }
    }
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    while stage.session.held_voice(stage.now, &mut buffer).is_some() {}
    Ok(())
}

/// A message of the server: mostly the answer to something.
fn message(stage: &mut Stage, input: &mut Unstructured<'_>) -> Result<()> {
    let asked = match input.int_in_range(0..=7)? {
        0..=2 => None,
        _ if stage.wire.is_empty() => None,
        _ => {
            let at = input.choose_index(stage.wire.len())?;
            Some(stage.wire.swap_remove(at))
        }
    };
    let request_id = match &asked {
        Some(request) => request.request_id,
        None if input.ratio(1, 4)? => input.arbitrary()?,
        None => 0,
    };
    let request = asked.and_then(|request| request.body).filter(|_| input.ratio(31, 32).unwrap_or(false));
    let mut maker = Maker { input, known: &stage.known };
    let body = match request {
        Some(request) => maker.answer_to(&request)?,
        None => maker.answer()?,
    };
    stage.known.learn(&body);
    let mut message = EchoMsg::new(request_id, body);
    if input.ratio(1, 32)? {
        message.r#type = MsgType::MtPong as i32;
    }
    let Some(frame) = framed(&message) else { return Ok(()) };
    stage.inbound.extend(frame);
    let whole = input.ratio(7, 8)?;
    let length = if whole { stage.inbound.len() } else { stage.inbound.len().min(input.arbitrary::<u8>()?.into()) };
    let bytes: Vec<u8> = stage.inbound.drain(..length).collect();
    stage.handle(Input::Bytes(&bytes));
    Ok(())
}

fn request(stage: &mut Stage, input: &mut Unstructured<'_>) -> Result<()> {
    let name = *input.choose(&NAMES)?;
    let (now, session) = (stage.now, &mut stage.session);
    let flags = OpenVoice { muted: input.ratio(1, 4)?, deafened: input.ratio(1, 4)? };
    let asked = match input.int_in_range(0..=17)? {
        0..=3 => session.join(now, name),
        4 => session.join_with_password(now, name, "pass"),
        5 => session.leave(now, name),
        6 => session.roster(now, name),
        7 => session.chat(now, name, "hello", "id"),
        8..=10 => session.open_voice(now, name, flags),
        11 => {
            let talking = input.arbitrary()?;
            session.announce(now, name, Announce { talking, muted: flags.muted, deafened: flags.deafened })
        }
        12 => session.who(now),
        13 => session.list_rooms(now, name, Bytes::new()),
        14 => session.create_with(now, name, RoomProperties::default()),
        15 => session.moderate(now, Moderation { username: name.to_owned(), ..Moderation::default() }),
        16 => session.account(now, Account { action: input.int_in_range(0..=9)?, ..Account::default() }),
        _ => {
            let payload = vec![7; usize::from(input.arbitrary::<u16>()?) * 2].into();
            session.room_message(now, RoomMessage { room_id: name.to_owned(), payload, ..RoomMessage::default() })
        }
    };
    note(stage, asked);
    Ok(())
}

fn note(stage: &mut Stage, asked: std::result::Result<RequestId, RequestError>) {
    if let Ok(request) = asked {
        assert!(stage.unanswered.insert(request), "an id is used twice");
    }
}

/// As `messages` gives them to the session.
fn key() -> MasterKey {
    MasterKey { key: [7; 16], salt: [7; 12] }
}

fn datagram(stage: &mut Stage, input: &mut Unstructured<'_>) -> Result<()> {
    let mut packet = match input.int_in_range(0..=7)? {
        0 => input.arbitrary::<&[u8]>()?.to_vec(),
        1 | 2 => report(stage, input)?,
        _ => speech(stage, input)?,
    };
    if !packet.is_empty() && input.ratio(1, 16)? {
        let at = input.choose_index(packet.len())?;
        packet[at] ^= input.arbitrary::<u8>()?;
    }
    if let Some(voice) = stage.session.datagram(stage.now, &mut packet) {
        assert!(voice.payload.len() <= DATAGRAM_BYTES_MAX && voice.index < 1 << 48, "index {}", voice.index);
    }
    Ok(())
}

fn ssrc(stage: &Stage, input: &mut Unstructured<'_>) -> Result<Ssrc> {
    let numbers = &stage.known.numbers;
    Ok(Ssrc(if numbers.is_empty() || input.ratio(1, 8)? { input.arbitrary()? } else { *input.choose(numbers)? as u32 }))
}

fn speech(stage: &mut Stage, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let step = if input.ratio(3, 4)? { 1 } else { input.arbitrary::<i32>()?.into() };
    stage.index = stage.index.saturating_add_signed(step).min((1 << 48) - 1);
    if input.ratio(1, 32)? {
        stage.index = (1 << 48) - 1 - u64::from(input.arbitrary::<u8>()?);
    }
    let header = OutgoingHeader {
        marker: input.arbitrary()?,
        payload_type: if input.ratio(1, 16)? { 0 } else { 111 },
        sequence: stage.index as u16,
        media_time: MediaTime(input.arbitrary()?),
        ssrc: ssrc(stage, input)?,
        audio_level: input.arbitrary()?,
    };
    let length = usize::from(input.arbitrary::<u8>()?);
    let mut packet = vec![0; HEADER_BYTES_MAX + length + TAG_BYTES];
    let head = header.write(&mut packet);
    let sealed = SealKey::new(&key()).seal_rtp(&mut packet, head, head + length, stage.index);
    packet.truncate(sealed);
    Ok(packet)
}

fn report(stage: &mut Stage, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let own = ssrc(stage, input)?;
    let block = ReportBlock {
        ssrc: own,
        fraction_lost: input.arbitrary()?,
        lost: input.arbitrary()?,
        highest_sequence: input.arbitrary()?,
        jitter: input.arbitrary()?,
    };
    let mut packet = vec![0; REPORT_BYTES_MAX + TAG_BYTES + RTCP_INDEX_BYTES];
    let writer = Writer::new(&mut packet, ssrc(stage, input)?, "", &[block]).reference_time(Time(input.arbitrary()?));
    let writer = writer.echo(own, input.arbitrary()?, input.arbitrary()?);
    let loss = ListenerLoss { ssrc: own, loss: input.arbitrary()?, burst_ms: input.arbitrary()? };
    let length = writer.loss(loss).finish();
    let sealed = SealKey::new(&key()).seal_rtcp(&mut packet, length, input.arbitrary::<u32>()? >> 1);
    packet.truncate(sealed);
    Ok(packet)
}

/// The driver says a frame, in a room it may not have.
fn frame(stage: &mut Stage, input: &mut Unstructured<'_>) -> Result<()> {
    let name = *input.choose(&NAMES)?;
    let payload = vec![7; usize::from(input.arbitrary::<u16>()?) % 1_300];
    let frame = VoiceFrame {
        media_time: MediaTime(input.arbitrary()?),
        marker: input.arbitrary()?,
        audio_level: input.arbitrary()?,
        payload: &payload,
    };
    // Refused without a key, with too long a frame, or with a full queue.
    let _ = stage.session.send_voice(name, frame);
    Ok(())
}
