//! Voice of the session: what is sealed, opened, kept, reported, and which way it goes.

use echomesh_proto::rtcp::{self, Item, REPORT_BYTES_MAX, Writer};

use super::*;

/// Goal: what is sent is SRTP under the uplink key with rising indices from a start below 2^15, and a
/// payload that cannot fit is refused.
#[test]
fn frames_are_sealed_for_the_server() {
    let mut stage = Stage::with_voice();
    assert_eq!(stage.datagrams().len(), 1, "the report that opens the path");
    let frame = VoiceFrame { media_time: MediaTime(960), marker: true, audio_level: Some(0x80), payload: b"opus" };
    let first = stage.session.send_voice("lobby", frame).unwrap();
    let second = stage.session.send_voice("Lobby", frame).unwrap();
    assert_eq!((first.index, second.index), (0x7FFE, 0x7FFF));
    let mut packet = stage.datagrams().remove(0);
    let header = Header::parse(&packet).unwrap();
    assert_eq!((header.ssrc, header.sequence, header.marker), (Ssrc(0x0100), 0x7FFE, true));
    let plain = OpenKey::new(&uplink()).open_rtp(&mut packet, header.bytes, first.index).unwrap();
    assert_eq!(&packet[header.bytes..plain], b"opus");
    let long = [0; DATAGRAM_BYTES_MAX];
    let result = stage.session.send_voice("lobby", VoiceFrame { payload: &long, ..frame });
    assert_eq!(result, Err(VoiceError::TooLong));
    assert_eq!(stage.session.send_voice("elsewhere", frame), Err(VoiceError::NotOpen));
}

/// Goal: with voice in another program's hands no index of the uplink key is used here: no report, no frame,
/// whatever the clock says, and after a lost connection too; the keys are told, each set with its epoch.
#[test]
fn voice_by_another_is_never_sealed_here() {
    let mut stage = Stage::in_room();
    stage.session.config.voice_by_another = true;
    assert_eq!(stage.session.voice_keys("lobby"), None);
    let mut stage = stage.opens_voice();
    let told = stage.session.voice_keys("lobby").unwrap().clone();
    assert_eq!((told.ssrc, told.udp_port, told.epoch, told.first_index), (Ssrc(0x0100), 9, 1, 0x7FFE));
    assert_eq!((told.uplink, told.downlink), (uplink(), downlink()));
    let frame = VoiceFrame { media_time: MediaTime(0), marker: false, audio_level: None, payload: b"x" };
    for _ in 0..200 {
        stage.after(SECOND_US / 5);
        assert_eq!(stage.session.send_voice("lobby", frame), Err(VoiceError::ByAnother));
        for ping in stage.sent() {
            stage.reply(ping.request_id, ping.body.unwrap());
        }
    }
    stage.handle(Input::Closed);
    assert_eq!(stage.session.voice_keys("lobby"), None);
    assert_eq!((stage.datagrams().len(), stage.session.counters().rtcp_sent), (0, 0));
    assert_eq!(Stage::with_voice().session.voice_keys("lobby"), None, "a session keeps its keys otherwise");
}

/// Goal: a driver that takes no datagrams makes frames drop, counted, not memory grow.
#[test]
fn datagrams_are_bounded() {
    let mut stage = Stage::with_voice();
    let frame = VoiceFrame { media_time: MediaTime(0), marker: false, audio_level: None, payload: b"x" };
    let sent = (0..1_000).filter(|_| stage.session.send_voice("lobby", frame).is_ok()).count() as u64;
    assert_eq!(stage.session.counters().voice_sent, sent);
    assert_eq!(stage.session.counters().dropped(Drop::DatagramQueueFull), 1_000 - sent);
    assert!(sent < 100);
}

/// Goal: a stream whose numbers rolled over is heard from the first packet on: late, when the roster tells the
/// counter after the packet came, and again after a long silence (PROTOCOL M43).
#[test]
fn rollovers_that_were_not_heard_are_found() {
    let speaker = |roc: u32| Member { roc, ..member(7, 0x0201) };
    let mut stage = Stage::with_voice();
    let index = (5 << 16) + 12;
    assert!(stage.session.datagram(stage.now, &mut downlink_packet(0x0201, index, b"first")).is_none());
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    assert!(stage.session.held_voice(stage.now, &mut buffer).is_none(), "not announced yet");
    stage.receive(&delta(2, RoomEventType::ReJoined, speaker(5)));
    assert_eq!(stage.session.held_voice(stage.now, &mut buffer).unwrap().index, index);
    stage.after(3 * SECOND_US);
    stage.receive(&delta(3, RoomEventType::ReChanged, speaker(9)));
    let index = (9 << 16) + 40_000;
    let mut packet = downlink_packet(0x0201, index, b"later");
    assert_eq!(stage.session.datagram(stage.now, &mut packet).unwrap().index, index);
    // The counter was told just before it went on.
    stage.after(3 * SECOND_US);
    let index = (10 << 16) + 3;
    let mut packet = downlink_packet(0x0201, index, b"wrapped");
    assert_eq!(stage.session.datagram(stage.now, &mut packet).unwrap().index, index);
}

/// Goal: UDP that is silent for 4 s is given up for the control connection, with the same packets both ways,
/// while probes go on; the first datagram ends that (PROTOCOL M46).
#[test]
fn blocked_udp_falls_back_and_returns() {
    let mut stage = Stage::with_voice();
    let frame = VoiceFrame { media_time: MediaTime(960), marker: true, audio_level: None, payload: b"opus" };
    stage.after(3 * SECOND_US);
    assert!(!stage.session.voice_is_tunnelled("lobby"));
    stage.after(SECOND_US);
    assert!(stage.session.voice_is_tunnelled("lobby"));
    let frames = |stage: &mut Stage| -> Vec<(Vec<u8>, u32)> {
        let bodies = stage.sent().into_iter().filter_map(|message| message.body);
        let frames = bodies.filter_map(|body| if let Body::VoiceFrame(frame) = body { Some(frame) } else { None });
        frames.map(|frame| (frame.packet.to_vec(), frame.ssrc)).collect()
    };
    assert_eq!(frames(&mut stage).len(), 1, "a report, so that a listener too is found");
    stage.datagrams();
    let sent = stage.session.send_voice("lobby", frame).unwrap();
    assert!(stage.datagrams().is_empty());
    let (mut packet, _) = frames(&mut stage).remove(0);
    let header = Header::parse(&packet).unwrap();
    let plain = OpenKey::new(&uplink()).open_rtp(&mut packet, header.bytes, sent.index).unwrap();
    assert_eq!(&packet[header.bytes..plain], b"opus");
    let heard = control_frame(downlink_packet(0x0201, 100, b"hello"));
    stage.receive(&heard);
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    assert_eq!(stage.session.held_voice(stage.now, &mut buffer).unwrap().payload, b"hello");
    stage.receive(&heard);
    assert!(stage.session.held_voice(stage.now, &mut buffer).is_none(), "one replay window for both ways");
    stage.after(3 * SECOND_US);
    assert!(!stage.datagrams().is_empty(), "probes");
    frames(&mut stage);
    stage.session.datagram(stage.now, &mut downlink_packet(0x0201, 101, b"by UDP")).unwrap();
    assert!(!stage.session.voice_is_tunnelled("lobby"));
    assert_eq!(frames(&mut stage), [(Vec::new(), 0x0100)], "the end of the tunnel");
}

fn control_frame(packet: Vec<u8>) -> EchoMsg {
    EchoMsg::new(0, Body::VoiceFrame(echomesh_proto::control::VoiceFrame { packet: packet.into(), ssrc: 0 }))
}

/// Goal: a copy of a packet is not heard again after its speaker left (RFC 3711 §3.3.2).
#[test]
fn a_copy_is_not_heard_after_its_speaker_left() {
    let mut stage = Stage::with_voice();
    stage.receive(&delta(2, RoomEventType::ReJoined, member(7, 0x0201)));
    let packet = downlink_packet(0x0201, 100, b"once");
    assert!(stage.session.datagram(stage.now, &mut packet.clone()).is_some());
    stage.receive(&delta(3, RoomEventType::ReLeft, member(7, 0x0201)));
    assert!(stage.session.datagram(stage.now, &mut packet.clone()).is_none());
    assert_eq!(stage.session.counters().dropped(Drop::Replayed), 1);
}

/// Goal: what is kept for a roster is bounded in number and time, and counted when given up.
#[test]
fn unannounced_packets_are_kept_for_a_while() {
    let mut stage = Stage::with_voice();
    for sequence in 0..20 {
        assert!(stage.session.datagram(stage.now, &mut downlink_packet(0x0301, (5 << 16) + sequence, b"x")).is_none());
    }
    assert_eq!(stage.session.counters().dropped(Drop::NotAnnounced), 4);
    stage.after(SECOND_US);
    assert!(stage.session.held_voice(stage.now, &mut [0; DATAGRAM_BYTES_MAX]).is_none());
    assert_eq!(stage.session.counters().dropped(Drop::NotAnnounced), 20);
}

/// Goal: a packet is heard once; forged, replayed, foreign and over-long ones are dropped by reason.
#[test]
fn only_the_servers_packets_are_heard_and_only_once() {
    let mut stage = Stage::with_voice();
    let packet = downlink_packet(0x0201, 100, b"hello");
    let mut copy = packet.clone();
    let voice = stage.session.datagram(stage.now, &mut copy).unwrap();
    assert_eq!((voice.index, voice.payload, voice.audio_level), (100, &b"hello"[..], Some(0x85)));
    assert!(stage.session.datagram(stage.now, &mut packet.clone()).is_none());
    let mut forged = downlink_packet(0x0201, 101, b"hello");
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(stage.session.datagram(stage.now, &mut forged).is_none());
    assert!(stage.session.datagram(stage.now, &mut downlink_packet(0x0201, 101, b"x")).is_some(), "not spoilt");
    assert!(stage.session.datagram(stage.now, &mut [0x80; DATAGRAM_BYTES_MAX + 1]).is_none());
    assert!(stage.session.datagram(stage.now, &mut [0x16, 3, 1]).is_none());
    let counters = stage.session.counters();
    assert_eq!(counters.voice_received, 2);
    for (reason, count) in [(Drop::Replayed, 1), (Drop::AuthFailed, 1), (Drop::BadPacket, 1), (Drop::NotRtp, 1)] {
        assert_eq!(counters.dropped(reason), count, "{reason:?}");
    }
}

/// Goal: a stream is followed over a rollover of its sequence, found by a late joiner from the roster's
/// `roc`, and found again after a pause in which it rolled over unheard.
#[test]
fn streams_are_followed_over_rollovers() {
    let mut stage = Stage::with_voice();
    for index in 65_530..65_545 {
        let heard =
            stage.session.datagram(stage.now, &mut downlink_packet(0x0201, index, b"x")).map(|voice| voice.index);
        assert_eq!(heard, Some(index));
    }
    let late = Member { roc: 9, ..member(5, 0x0301) };
    stage.receive(&delta(2, RoomEventType::ReJoined, late));
    let index = 9 << 16 | 1_234;
    let heard = stage.session.datagram(stage.now, &mut downlink_packet(0x0301, index, b"x")).map(|voice| voice.index);
    assert_eq!(heard, Some(index));
    let after_pause = index + 60_000;
    assert!(stage.session.datagram(stage.now, &mut downlink_packet(0x0301, after_pause, b"x")).is_none());
    stage.after(3 * SECOND_US);
    let heard =
        stage.session.datagram(stage.now, &mut downlink_packet(0x0301, after_pause, b"x")).map(|voice| voice.index);
    assert_eq!(heard, Some(after_pause));
}

/// Goal: until something is heard a report goes out each 200 ms, five in all; where nothing comes at all, UDP is
/// tried again every 2 s, so that the server and every NAT on the way learn the address.
#[test]
fn reports_open_and_keep_the_path() {
    let mut stage = Stage::with_voice();
    let mut times = Vec::new();
    for _ in 0..400 {
        for mut datagram in stage.datagrams() {
            assert!(OpenKey::new(&uplink()).open_rtcp(&mut datagram).is_ok());
            times.push(stage.now.time.0 / 1_000);
        }
        stage.after(TICK_US);
    }
    assert_eq!(times[..8], [0, 200, 400, 600, 800, 3_600, 5_600, 7_600]);
    let mut stage = Stage::with_voice();
    stage.session.datagram(stage.now, &mut downlink_packet(0x0201, 1, b"x"));
    stage.after(SECOND_US);
    stage.datagrams();
    stage.after(SECOND_US);
    assert!(stage.datagrams().is_empty(), "heard: the path is open");
}

/// Goal: keys of wrong length, no port and unknown suites end the connection instead of panicking, and who asked is told.
#[test]
fn senseless_voice_parameters_end_the_connection() {
    let Body::VoiceAnnounce(good) = keys() else { panic!("keys") };
    for wrong in [
        VoiceAnnounce { uplink_key: vec![1; 15].into(), ..good.clone() },
        VoiceAnnounce { downlink_salt: bytes::Bytes::new(), ..good.clone() },
        VoiceAnnounce { udp_port: 0, ..good.clone() },
        VoiceAnnounce { udp_port: 65_536, ..good.clone() },
        VoiceAnnounce { suite: 0, ..good.clone() },
        VoiceAnnounce { ssrc: 0, ..good },
    ] {
        let mut stage = Stage::in_room();
        let request = stage.session.open_voice(stage.now, "lobby", OpenVoice::default()).unwrap();
        let open = stage.sent();
        stage.reply(open[0].request_id, Body::VoiceAnnounce(wrong));
        assert_eq!(stage.events.last(), Some(&Event::Disconnected(DisconnectReason::Malformed)));
        assert_eq!(stage.events[0], Event::Answer(Answer { request, outcome: Outcome::ConnectionLost }));
    }
}

/// Goal: while someone talks and nothing is heard for 400 ms, the server is told at once where we are: after a NAT
/// has forgotten a listener, it hears again without having to speak.
#[test]
fn a_listener_that_misses_voice_reports_at_once() {
    let mut stage = Stage::with_voice();
    stage.session.datagram(stage.now, &mut downlink_packet(0x0201, 1, b"x"));
    stage.after(5 * SECOND_US);
    stage.session.datagram(stage.now, &mut downlink_packet(0x0201, 2, b"x"));
    stage.datagrams();
    stage.after(SECOND_US / 2);
    assert!(stage.datagrams().is_empty(), "nobody speaks");
    stage.receive(&delta(2, RoomEventType::ReChanged, Member { talking: true, ..member(7, 0x0201) }));
    stage.after(TICK_US);
    let mut report = stage.datagrams().remove(0);
    assert!(OpenKey::new(&uplink()).open_rtcp(&mut report).is_ok());
}

/// Goal: the server's clock comes back once, in the next report, with how long it was kept, so that the server can tell
/// the round trip (RFC 3611 §4.5; PROTOCOL M45).
#[test]
fn the_servers_clock_is_given_back() {
    let mut stage = Stage::with_voice();
    stage.datagrams();
    let mut packet = [0; REPORT_BYTES_MAX + 32];
    let plain = Writer::new(&mut packet, Ssrc(1), "server", &[]).reference_time(Time(7 * SECOND_US)).finish();
    let sealed = SealKey::new(&downlink()).seal_rtcp(&mut packet, plain, 1);
    stage.session.datagram(stage.now, &mut packet[..sealed]);
    let came = stage.now.time;
    let mut echoes = Vec::new();
    for _ in 0..400 {
        for mut datagram in stage.datagrams() {
            let (plain, _) = OpenKey::new(&uplink()).open_rtcp(&mut datagram).unwrap();
            let mut echo = None;
            assert!(rtcp::read(&datagram[..plain], |item| {
                if let Item::Echo { ssrc, reference, delay } = item {
                    echo = Some((ssrc, reference, delay));
                }
            }));
            echoes.push((echo, stage.now.time.since_us(came)));
        }
        stage.after(TICK_US);
    }
    let given: Vec<_> = echoes.iter().filter_map(|(echo, after)| Some((echo.as_ref()?, *after))).collect();
    let [((ssrc, reference, delay), after)] = given[..] else { panic!("{echoes:?}") };
    assert_eq!((*ssrc, *reference), (Ssrc(1), rtcp::compact_ntp(Time(7 * SECOND_US))));
    assert_eq!(*delay, rtcp::compact_ntp(Time(after)));
    assert!(echoes[0].0.is_some(), "in the next report");
}
