//! One step of a script: what a peer, the network, a thread beside the shards, or time does next.

use std::net::SocketAddr;

use arbitrary::{Result, Unstructured};
use echomesh_proto::control::{Body, EchoMsg, Role, VoiceFrame};
use echomesh_proto::ids::{ConnectionId, UserId};
use echomesh_proto::rtcp::{REPORT_BYTES_MAX, ReportBlock, Writer};
use echomesh_proto::rtp::{HEADER_BYTES_MAX, OutgoingHeader, pad};
use echomesh_proto::srtp::{RTCP_INDEX_BYTES, TAG_BYTES};
use echomesh_proto::time::{MediaTime, Time};
use echomesh_shard::accounts::OperatorAct;
use echomesh_shard::voice::VOICE_RECORD_HEADER_BYTES;
use echomesh_shard::{ClosedCause, Input, READ_BYTES_MAX, Security, TICK_US};

use super::checks;
use super::driver::{Microphone, SHARDS, World};
use crate::messages::{Maker, framed};

/// Where connections and datagrams come from.
pub const ADDRESSES: [&str; 5] =
    ["127.0.0.1:4000", "127.0.0.1:4001", "192.0.2.7:5000", "[2001:db8::1]:6000", "[::1]:7"];

/// Slots used: less than small scripts reach, more than small bounds allow.
const SLOTS: u32 = 8;

/// Longest step of the clock, microseconds: over every deadline.
const STEP_US_MAX: u64 = 70_000_000;

/// Does one step.
pub fn step(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    match input.int_in_range(0..=31_u8)? {
        0..=2 => accept(world, input),
        3..=13 => message(world, input),
        14 if input.ratio(1, 8)? => bytes(world, input),
        15 => drained(world, input),
        16 => close(world, input),
        17..=19 => datagram(world, input),
        20 => tunnelled(world, input),
        21 => mesh(world, input),
        22 => voice(world, input),
        23 | 24 => store(world, input),
        25 => hash(world, input),
        26 | 27 => time(world, input),
        28 => operator(world, input),
        29 if input.ratio(1, 255)? => shutdown(world),
        _ => {
            checks::run(world);
            Ok(())
        }
    }
}

fn shard_of(input: &mut Unstructured<'_>) -> Result<usize> {
    input.int_in_range(0..=SHARDS - 1)
}

fn address(input: &mut Unstructured<'_>) -> Result<SocketAddr> {
    Ok(input.choose(&ADDRESSES)?.parse().expect("an address"))
}

fn accept(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let (shard, slot, remote) = (shard_of(input)?, input.int_in_range(0..=SLOTS - 1)?, address(input)?);
    let security = if input.ratio(1, 4)? { Security::Plaintext } else { Security::Tls };
    accept_as(world, shard, slot, remote, security);
    Ok(())
}

/// A connection in a slot, if it is free.
pub fn accept_as(world: &mut World, shard: usize, slot: u32, remote: SocketAddr, security: Security) {
    if world.lines.iter().any(|line| line.shard == shard && line.id.slot == slot) {
        return;
    }
    world.generation += 1;
    let connection = ConnectionId { slot, generation: world.generation };
    let local = "127.0.0.1:8888".parse().expect("an address");
    let opens = slot < world.limits.connections_max && !world.is_stopping;
    if opens {
        world.add_line(shard, connection);
    }
    world.input(shard, Input::Accepted { connection, remote, local });
    if opens {
        world.input(shard, Input::Opened { connection, security });
    }
}

/// A connection of the script's choice; `None` if there is none.
fn line(world: &World, input: &mut Unstructured<'_>) -> Result<Option<usize>> {
    if world.lines.is_empty() { Ok(None) } else { input.choose_index(world.lines.len()).map(Some) }
}

fn message(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let Some(at) = line(world, input)? else { return accept(world, input) };
    let body = Maker { input, known: &world.known }.request()?;
    let request_id = if matches!(body, Body::VoiceFrame(_)) { 0 } else { input.int_in_range(0..=5)? };
    let Some(frame) = framed(&EchoMsg::new(request_id, body)) else { return Ok(()) };
    if request_id != 0 {
        world.lines[at].asked.push(request_id);
    }
    world.lines[at].inbound.extend(frame);
    deliver(world, at, input)
}

fn bytes(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let Some(at) = line(world, input)? else { return Ok(()) };
    let bytes: &[u8] = input.arbitrary()?;
    world.lines[at].is_wild = true;
    world.lines[at].inbound.extend_from_slice(bytes);
    deliver(world, at, input)
}

/// Some or all of what the peer has sent reaches the shard.
fn deliver(world: &mut World, at: usize, input: &mut Unstructured<'_>) -> Result<()> {
    let whole = input.ratio(7, 8)?;
    let mut left = if whole { usize::MAX } else { input.arbitrary::<u8>()?.into() };
    let (shard, connection) = (world.lines[at].shard, world.lines[at].id);
    while left > 0 {
        // It may have been closed by what came before.
        let found = world.lines.iter_mut().find(|line| line.shard == shard && line.id == connection);
        let Some(line) = found.filter(|line| !line.is_paused && !line.inbound.is_empty()) else { break };
        let length = line.inbound.len().min(READ_BYTES_MAX).min(left);
        let part: Vec<u8> = line.inbound.drain(..length).collect();
        left -= length;
        world.input(shard, Input::Bytes { connection, bytes: &part });
    }
    Ok(())
}

fn drained(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let Some(at) = line(world, input)? else { return Ok(()) };
    let line = &mut world.lines[at];
    let bytes = input.int_in_range(0..=line.unread)?;
    line.unread -= bytes;
    let (shard, connection) = (line.shard, line.id);
    world.input(shard, Input::Drained { connection, bytes });
    deliver(world, at, input)
}

fn close(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let Some(at) = line(world, input)? else { return Ok(()) };
    let causes = [ClosedCause::PeerClosed, ClosedCause::Network, ClosedCause::NotOurProtocol, ClosedCause::TlsFailed];
    let cause = *input.choose(&causes)?;
    let line = world.lines.swap_remove(at);
    world.input(line.shard, Input::Closed { connection: line.id, cause });
    Ok(())
}

/// A packet of a stream, sealed with its key; perhaps changed afterwards.
fn packet(microphone: &mut Microphone, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut packet = if input.ratio(1, 4)? { report(microphone, input)? } else { speech(microphone, input)? };
    if input.ratio(1, 16)? {
        let at = input.choose_index(packet.len())?;
        packet[at] ^= input.arbitrary::<u8>()?;
    }
    Ok(packet)
}

fn speech(microphone: &mut Microphone, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let step: i64 = if input.ratio(7, 8)? { 1 } else { i64::from(input.arbitrary::<i16>()?) * 4 };
    microphone.index = microphone.index.saturating_add_signed(step).min((1 << 48) - 1);
    let header = OutgoingHeader {
        marker: input.arbitrary()?,
        payload_type: if input.ratio(1, 16)? { 0 } else { 111 },
        sequence: microphone.index as u16,
        media_time: MediaTime(input.arbitrary()?),
        ssrc: microphone.ssrc,
        audio_level: input.arbitrary()?,
    };
    let length = usize::from(input.arbitrary::<u8>()?) * if input.ratio(1, 16)? { 6 } else { 1 };
    let padding = if input.ratio(1, 8)? { input.arbitrary()? } else { 0 };
    let mut packet = vec![0; HEADER_BYTES_MAX + length + usize::from(padding) + TAG_BYTES];
    let head = header.write(&mut packet);
    let plain = pad(&mut packet, head + length, padding);
    let sealed = microphone.seal.seal_rtp(&mut packet, head, plain, microphone.index);
    packet.truncate(sealed);
    Ok(packet)
}

fn report(microphone: &mut Microphone, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    microphone.rtcp_index += u32::from(input.ratio(7, 8)?);
    let mut packet = vec![0; REPORT_BYTES_MAX + TAG_BYTES + RTCP_INDEX_BYTES];
    let length = if input.ratio(1, 4)? {
        // Authentic, and nonsense.
        let bytes: &[u8] = input.arbitrary()?;
        let bytes = &bytes[..bytes.len().min(400)];
        packet[8..8 + bytes.len()].copy_from_slice(bytes);
        packet[..2].copy_from_slice(&[0x81, 201]);
        packet[4..8].copy_from_slice(&microphone.ssrc.0.to_be_bytes());
        8 + bytes.len()
    } else {
        let block = ReportBlock {
            ssrc: microphone.ssrc,
            fraction_lost: input.arbitrary()?,
            lost: input.arbitrary()?,
            highest_sequence: input.arbitrary()?,
            jitter: input.arbitrary()?,
        };
        let writer = Writer::new(&mut packet, microphone.ssrc, "x", &[block]).reference_time(Time(input.arbitrary()?));
        writer.echo(microphone.ssrc, input.arbitrary()?, input.arbitrary()?).finish()
    };
    let sealed = microphone.seal.seal_rtcp(&mut packet, length, microphone.rtcp_index);
    packet.truncate(sealed);
    Ok(packet)
}

fn datagram(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let source = address(input)?;
    let age_us = if input.ratio(1, 8)? { input.int_in_range(0..=100_000)? } else { 0 };
    let received = Time(world.now.time.0.saturating_sub(age_us));
    let is_stranger = world.microphones.is_empty() || input.ratio(1, 8)?;
    let (shard, datagram) = if is_stranger {
        let bytes: &[u8] = input.arbitrary()?;
        (shard_of(input)?, bytes.to_vec())
    } else {
        let at = input.choose_index(world.microphones.len())?;
        let microphone = &mut world.microphones[at];
        (microphone.ssrc.shard().index(), packet(microphone, input)?)
    };
    world.datagram(shard, source, received, datagram);
    Ok(())
}

/// Voice in a control connection.
fn tunnelled(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let Some(at) = line(world, input)?.filter(|_| !world.microphones.is_empty()) else { return Ok(()) };
    let of = input.choose_index(world.microphones.len())?;
    let microphone = &mut world.microphones[of];
    let ends = input.ratio(1, 8)?;
    let frame = VoiceFrame {
        packet: if ends { Vec::new() } else { packet(microphone, input)? }.into(),
        ssrc: if ends { microphone.ssrc.0 } else { 0 },
    };
    if let Some(frame) = framed(&EchoMsg::new(0, Body::VoiceFrame(frame))) {
        world.lines[at].inbound.extend(frame);
        deliver(world, at, input)?;
    }
    Ok(())
}

fn mesh(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let shard = shard_of(input)?;
    for _ in 0..input.int_in_range(1..=8)? {
        world.deliver(shard);
    }
    Ok(())
}

/// Voice that crosses, is lost as a full ring loses it, or is not voice at all.
fn voice(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let shard = shard_of(input)?;
    match input.int_in_range(0..=7)? {
        0 => {
            let record: &[u8] = input.arbitrary()?;
            world.bad_records[shard] += 1;
            world.voice_record(shard, &record[..record.len().min(VOICE_RECORD_HEADER_BYTES - 1)]);
        }
        1 => drop(world.voice[shard].pop_front()),
        _ => {
            if let Some(record) = world.voice[shard].pop_front() {
                world.voice_record(shard, &record);
            }
        }
    }
    Ok(())
}

fn store(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let (shard, fails) = (shard_of(input)?, input.ratio(1, 8)?);
    let read = if input.ratio(1, 4)? { Some(input.arbitrary::<u8>()?.into()) } else { None };
    world.answer_store(shard, read, fails);
    Ok(())
}

fn hash(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let (shard, at) = (shard_of(input)?, input.arbitrary::<u8>()?.into());
    world.answer_hash(shard, at, input.ratio(1, 8)?, input.ratio(1, 8)?);
    Ok(())
}

fn time(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let us = match input.int_in_range(0..=7)? {
        0 => input.int_in_range(0..=STEP_US_MAX)?,
        1 => 1_000_000,
        _ => TICK_US,
    };
    world.now.time = world.now.time.after_us(us);
    world.now.unix_ms += us / 1_000;
    for _ in 0..input.int_in_range(0..=24)? {
        for shard in 0..SHARDS {
            world.input(shard, Input::Tick);
            world.refill();
        }
    }
    Ok(())
}

/// A command on the machine.
fn operator(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let user = UserId(input.int_in_range(1..=4)?);
    let roles = [Role::Member, Role::Moderator, Role::Admin, Role::Owner];
    let act = match input.int_in_range(0..=2)? {
        0 => OperatorAct::SignOut { user },
        1 => OperatorAct::Unban { ban: input.int_in_range(0..=8)? },
        _ => OperatorAct::Role { user, role: *input.choose(&roles)? },
    };
    world.store.operator_acts.push(act);
    Ok(())
}

fn shutdown(world: &mut World) -> Result<()> {
    world.is_stopping = true;
    for input in [|| Input::Drain, || Input::Shutdown] {
        for shard in 0..SHARDS {
            world.input(shard, input());
        }
    }
    Ok(())
}
