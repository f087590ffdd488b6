//! The session against a server played by hand: what it sends, what it makes of what comes.

use echomesh_proto::control::{
    Body, ChatMsg, EchoMsg, LoginResponse, Member, MsgType, Ping, RoomActionType, RoomDelta, RoomEvent, RoomEventType,
    RoomState, Status, StatusCode, VoiceAnnounce, VoiceSuite,
};
use echomesh_proto::framing::FrameDecoder;
use echomesh_proto::ids::Ssrc;
use echomesh_proto::limits::DATAGRAM_BYTES_MAX;
use echomesh_proto::rtp::{Header, OutgoingHeader};
use echomesh_proto::srtp::{MasterKey, OpenKey, SealKey, TAG_BYTES};
use echomesh_proto::time::{MediaTime, Now, SECOND_US, Time};
use proptest::prelude::*;
use prost::Message;

use super::*;

mod accounts;
mod bounds;
mod lines;
mod rooms;
mod voice;

/// A session, its clock, and the server's end of its connection.
struct Stage {
    session: Session,
    now: Now,
    events: Vec<Event>,
    decoder: FrameDecoder,
}

impl Stage {
    fn new() -> Self {
        let config = Config { voice_index_seed: 0xFFFE, ..Config::new("ann", "secret") };
        let (events, decoder) = (Vec::new(), FrameDecoder::default());
        Self { session: Session::new(config), now: Now::default(), events, decoder }
    }

    /// Connected and logged in.
    fn logged_in() -> Self {
        let mut stage = Self::new();
        stage.handle(Input::Connected);
        let login = stage.sent();
        assert!(matches!(&login[0].body, Some(Body::LoginRequest(login)) if login.password == "secret"));
        stage.reply(login[0].request_id, welcome());
        assert!(matches!(stage.events.pop(), Some(Event::LoggedIn(LoggedIn { resumed: false, .. }))));
        stage
    }

    /// In a room named "Lobby", joined as "lobby", as member 1.
    fn in_room() -> Self {
        let mut stage = Self::logged_in();
        stage.session.join(stage.now, "lobby").unwrap();
        let join = stage.sent();
        stage.reply(join[0].request_id, roster(RoomActionType::RaJoin, 1, &[member(1, 0)], b""));
        stage.events.clear();
        stage
    }

    fn with_voice() -> Self {
        Self::in_room().opens_voice()
    }

    fn opens_voice(self) -> Self {
        let mut stage = self;
        stage.session.open_voice(stage.now, "lobby", OpenVoice::default()).unwrap();
        let open = stage.sent();
        stage.reply(open[0].request_id, keys());
        assert!(matches!(
            stage.events[0],
            Event::VoiceOpen { ssrc: Ssrc(0x0100), udp_port: 9, bitrate_max: 64_000, .. }
        ));
        stage.events.clear();
        stage
    }

    fn handle(&mut self, input: Input<'_>) {
        self.session.handle(self.now, input, &mut self.events);
    }

    fn after(&mut self, us: u64) {
        self.now.time = self.now.time.after_us(us);
        self.handle(Input::Tick);
    }

    /// What the session has sent since last asked.
    fn sent(&mut self) -> Vec<EchoMsg> {
        self.decoder.push(self.session.output());
        self.session.output_written(self.session.output().len());
        let mut messages = Vec::new();
        while let Some(frame) = self.decoder.next_frame().unwrap() {
            messages.push(EchoMsg::decode(frame).unwrap());
        }
        messages
    }

    fn reply(&mut self, request_id: u32, body: Body) {
        self.receive(&EchoMsg::new(request_id, body));
    }

    fn receive(&mut self, message: &EchoMsg) {
        let mut bytes = Vec::new();
        message.append_frame(&mut bytes);
        self.session.handle(self.now, Input::Bytes(&bytes), &mut self.events);
    }

    fn datagrams(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.session.next_datagram().map(|datagram| datagram.bytes.to_vec())).collect()
    }

    fn room(&self) -> &Room {
        self.session.room("lobby").unwrap()
    }

    fn members(&self) -> Vec<u64> {
        self.room().members().map(|member| member.session_id).collect()
    }
}

fn welcome() -> Body {
    Body::LoginResponse(LoginResponse {
        user_id: 7,
        session_id: 1,
        resume_token: b"token".to_vec().into(),
        ..LoginResponse::default()
    })
}

fn refusal(status: StatusCode) -> Body {
    Body::LoginResponse(LoginResponse { status_code: status as i32, ..LoginResponse::default() })
}

fn member(session_id: u64, ssrc: u32) -> Member {
    Member { session_id, ssrc, ..Member::default() }
}

fn roster(kind: RoomActionType, sequence: u64, members: &[Member], next_page: &'static [u8]) -> Body {
    Body::RoomState(RoomState {
        action_type: kind as i32,
        room_id: "Lobby".to_owned(),
        members: members.to_vec(),
        next_page: next_page.into(),
        sequence,
        ..RoomState::default()
    })
}

fn delta(sequence: u64, kind: RoomEventType, who: Member) -> EchoMsg {
    let deltas = vec![RoomDelta { event_type: kind as i32, member: Some(who), ..RoomDelta::default() }];
    EchoMsg::new(0, Body::RoomEvent(RoomEvent { room_id: "Lobby".to_owned(), sequence, deltas }))
}

fn uplink() -> MasterKey {
    MasterKey { key: [1; 16], salt: [2; 12] }
}

fn downlink() -> MasterKey {
    MasterKey { key: [3; 16], salt: [4; 12] }
}

fn keys() -> Body {
    Body::VoiceAnnounce(VoiceAnnounce {
        room_id: "Lobby".to_owned(),
        open: true,
        ssrc: 0x0100,
        udp_port: 9,
        suite: VoiceSuite::VsAeadAes128Gcm as i32,
        uplink_key: uplink().key.to_vec().into(),
        uplink_salt: uplink().salt.to_vec().into(),
        downlink_key: downlink().key.to_vec().into(),
        downlink_salt: downlink().salt.to_vec().into(),
        epoch: 1,
        bitrate_max: 64_000,
        ..VoiceAnnounce::default()
    })
}

/// A packet as the server would send it.
fn downlink_packet(ssrc: u32, index: u64, payload: &[u8]) -> Vec<u8> {
    let header = OutgoingHeader {
        marker: false,
        payload_type: OPUS_PAYLOAD_TYPE,
        sequence: index as u16,
        media_time: MediaTime(index as u32 * 960),
        ssrc: Ssrc(ssrc),
        audio_level: Some(0x85),
    };
    let mut packet = vec![0; DATAGRAM_BYTES_MAX];
    let header_bytes = header.write(&mut packet);
    let plain = header_bytes + payload.len();
    packet[header_bytes..plain].copy_from_slice(payload);
    let sealed = SealKey::new(&downlink()).seal_rtp(&mut packet, header_bytes, plain, index);
    packet.truncate(sealed);
    packet
}

/// Goal: a lost connection is resumed with the token; a session that is gone is made anew and enters
/// its rooms again, with voice.
#[test]
fn a_lost_session_comes_back_to_its_rooms() {
    let mut stage = Stage::with_voice();
    stage.handle(Input::Closed);
    assert_eq!(stage.events.pop(), Some(Event::Disconnected(DisconnectReason::Closed)));
    stage.handle(Input::Connected);
    let resume = stage.sent();
    assert!(matches!(&resume[0].body, Some(Body::ResumeRequest(resume)) if resume.resume_token == "token"));
    stage.reply(resume[0].request_id, refusal(StatusCode::StatusSessionGone));
    let login = stage.sent();
    assert!(matches!(&login[0].body, Some(Body::LoginRequest(_))));
    stage.reply(login[0].request_id, welcome());
    let join = stage.sent();
    assert!(matches!(&join[0].body, Some(Body::RoomAction(action)) if action.action_type() == RoomActionType::RaJoin));
    stage.reply(join[0].request_id, roster(RoomActionType::RaJoin, 5, &[member(1, 0)], b""));
    assert!(stage.events.iter().any(|event| matches!(event, Event::Rejoined { .. })));
    let open = stage.sent();
    stage.reply(open[0].request_id, keys());
    assert!(stage.events.iter().any(|event| matches!(event, Event::VoiceOpen { bitrate_max: 64_000, .. })));
    assert!(!stage.events.iter().any(|event| matches!(event, Event::Answer(_))), "the driver asked for nothing");
}

/// Goal: a busy server is no reason to give the session up; a room that refuses is told as lost.
#[test]
fn a_busy_server_keeps_the_token() {
    let mut stage = Stage::in_room();
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
    let resume = stage.sent();
    stage.reply(resume[0].request_id, refusal(StatusCode::StatusTryAgain));
    assert!(matches!(stage.events.last(), Some(Event::LoginRefused { status: StatusCode::StatusTryAgain, .. })));
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
    let resume = stage.sent();
    assert!(matches!(&resume[0].body, Some(Body::ResumeRequest(_))));
    stage.reply(resume[0].request_id, welcome());
    let join = stage.sent();
    let full = Status { status_code: StatusCode::StatusRoomFull as i32, ..Status::default() };
    stage.reply(join[0].request_id, Body::Status(full));
    assert!(matches!(stage.events.last(), Some(Event::RoomLost { .. })));
    assert!(stage.session.room("lobby").is_none());
}

/// Goal: who is put out of a room is told by whom and why, and is not in it any more; who is expelled tells its
/// driver, does not resume and enters no room again (PROTOCOL M52).
#[test]
fn being_put_out_is_told_and_believed() {
    let mut stage = Stage::with_voice();
    let mut removed = delta(6, RoomEventType::ReRemoved, member(1, 0));
    let Some(Body::RoomEvent(event)) = &mut removed.body else { panic!("a delta") };
    (event.deltas[0].by, event.deltas[0].reason) = ("mia".into(), "noise".into());
    stage.receive(&removed);
    let lost = stage.events.iter().find_map(|event| match event {
        Event::RoomLost { message, .. } => Some(message.clone()),
        _ => None,
    });
    assert_eq!(lost.as_deref(), Some("mia put you out: noise"));
    assert!(stage.session.room("lobby").is_none());
    let mut stage = Stage::in_room();
    let kicked = Status { status_code: StatusCode::StatusKicked as i32, ..Status::default() };
    stage.receive(&EchoMsg::new(0, Body::Status(kicked)));
    assert!(matches!(stage.events.last(), Some(Event::Expelled { status: StatusCode::StatusKicked, .. })));
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
    let login = stage.sent();
    assert!(matches!(&login[0].body, Some(Body::LoginRequest(_))));
    stage.reply(login[0].request_id, welcome());
    assert!(stage.sent().is_empty());
}

/// A room's name as the action of a request, if it is one of this kind.
fn about(message: &EchoMsg, kind: RoomActionType) -> Option<&str> {
    match &message.body {
        Some(Body::RoomAction(action)) if action.action_type() == kind => Some(&action.room_id),
        _ => None,
    }
}

/// Goal: a join whose answer was lost did not happen: a resumed session leaves the room, and what is said
/// there meanwhile is nobody's business.
#[test]
fn a_join_whose_answer_was_lost_is_undone() {
    let mut stage = Stage::logged_in();
    stage.session.join(stage.now, "Lobby").unwrap();
    stage.sent();
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
    assert_eq!(stage.session.join(stage.now, "Lobby"), Err(RequestError::NotLoggedIn), "it may yet be another session");
    let resume = stage.sent();
    let Body::LoginResponse(resumed) = welcome() else { panic!("a login response") };
    let resumed = LoginResponse { rooms: vec!["Lobby".into()], ..resumed };
    stage.reply(resume[0].request_id, Body::LoginResponse(resumed));
    let leave = stage.sent();
    assert_eq!(about(&leave[0], RoomActionType::RaLeave), Some("Lobby"));
    stage.events.clear();
    let line = ChatMsg { room_id: "Lobby".to_owned(), content: "hi".to_owned(), ..ChatMsg::default() };
    stage.receive(&EchoMsg::new(0, Body::ChatMsg(line)));
    assert_eq!(stage.events, [], "it is in no room");
    assert_eq!(stage.session.counters().dropped(Drop::UnknownRoom), 0);
}

/// Goal: a leave whose answer was lost is sent again, and the room is not entered again.
#[test]
fn a_leave_whose_answer_was_lost_is_sent_again() {
    let mut stage = Stage::in_room();
    stage.session.leave(stage.now, "lobby").unwrap();
    stage.sent();
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
    let resume = stage.sent();
    stage.reply(resume[0].request_id, welcome());
    let again = stage.sent();
    assert_eq!(about(&again[0], RoomActionType::RaLeave), Some("Lobby"));
    assert_eq!(again.len(), 1);
}

/// Goal: answers find their requests whatever their order, each once; the driver learns of every request
/// what became of it, a lost connection and silence included.
#[test]
fn every_request_gets_one_answer() {
    let mut stage = Stage::in_room();
    let ids: Vec<RequestId> =
        (0..4).map(|line| stage.session.chat(stage.now, "lobby", &line.to_string(), "").unwrap()).collect();
    let stored = |text: &str| Body::ChatMsg(ChatMsg { content: text.to_owned(), ..ChatMsg::default() });
    stage.reply(ids[1].0, stored("1"));
    stage.reply(ids[0].0, stored("0"));
    stage.reply(ids[0].0, stored("0"));
    let answered: Vec<RequestId> = stage
        .events
        .drain(..)
        .map(|event| match event {
            Event::Answer(Answer { request, outcome: Outcome::Done(Done::Chat(_)) }) => request,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(answered, [ids[1], ids[0]]);
    assert_eq!(stage.session.counters().dropped(Drop::UnknownAnswer), 1);
    stage.after(REQUEST_US_MAX);
    assert_eq!(stage.events.remove(0), Event::Answer(Answer { request: ids[2], outcome: Outcome::TimedOut }));
    stage.events.clear();
    let last = stage.session.who(stage.now).unwrap();
    stage.handle(Input::Closed);
    assert_eq!(stage.events[0], Event::Answer(Answer { request: last, outcome: Outcome::ConnectionLost }));
    assert_eq!(stage.session.who(stage.now), Err(RequestError::NotLoggedIn));
}

/// Goal: no more than `REQUESTS_MAX` requests wait, whatever the driver does.
#[test]
fn unanswered_requests_are_bounded() {
    let mut stage = Stage::logged_in();
    for _ in 0..REQUESTS_MAX {
        stage.session.who(stage.now).unwrap();
    }
    assert_eq!(stage.session.who(stage.now), Err(RequestError::Busy));
    let long = "x".repeat(echomesh_proto::limits::FRAME_BYTES_MAX);
    let mut stage = Stage::logged_in();
    assert_eq!(stage.session.chat(stage.now, "lobby", &long, ""), Err(RequestError::TooLong));
}

/// Goal: a silent server is pinged, and given up if it does not answer; one that answers is kept.
#[test]
fn a_dead_server_is_noticed() {
    let mut stage = Stage::logged_in();
    stage.after(PING_US);
    let ping = stage.sent();
    let Some(Body::Ping(body)) = ping[0].body else { panic!("a ping") };
    let pong = EchoMsg { r#type: MsgType::MtPong as i32, ..EchoMsg::new(ping[0].request_id, Body::Ping(body)) };
    stage.receive(&pong);
    assert!(stage.events.is_empty() && stage.session.is_connected());
    stage.after(PING_US);
    stage.after(REQUEST_US_MAX);
    assert_eq!(stage.events.pop(), Some(Event::Disconnected(DisconnectReason::TimedOut)));
}

/// Goal: a client never stays wrong about where it is. Method: a leave is not answered in time, though it took effect;
/// the connection is given up, and when the session is back it leaves once more.
#[test]
fn a_leave_without_an_answer_ends_the_connection() {
    let mut stage = Stage::in_room();
    let leave = stage.session.leave(stage.now, "lobby").unwrap();
    stage.sent();
    stage.after(REQUEST_US_MAX);
    assert_eq!(stage.events.remove(0), Event::Answer(Answer { request: leave, outcome: Outcome::ConnectionLost }));
    assert_eq!(stage.events.remove(0), Event::Disconnected(DisconnectReason::TimedOut));
    stage.handle(Input::Connected);
    let resume = stage.sent();
    stage.reply(resume[0].request_id, welcome());
    assert!(stage.sent().iter().any(|msg| about(msg, RoomActionType::RaLeave).is_some()));
}

/// Goal: pages and deltas in the order they come make the true roster, and members that neither names
/// are gone after a fetch.
#[test]
fn rosters_follow_pages_and_deltas() {
    let mut stage = Stage::logged_in();
    stage.session.join(stage.now, "lobby").unwrap();
    let join = stage.sent();
    stage.reply(join[0].request_id, roster(RoomActionType::RaJoin, 3, &[member(1, 0), member(2, 0)], b"next"));
    assert!(matches!(&stage.events[0], Event::Answer(_)));
    stage.receive(&delta(4, RoomEventType::ReLeft, member(2, 0)));
    stage.receive(&delta(6, RoomEventType::ReJoined, member(9, 0)));
    let page = stage.sent();
    assert!(matches!(&page[0].body, Some(Body::RoomAction(action)) if action.page == "next"));
    stage.reply(page[0].request_id, roster(RoomActionType::RaRoster, 6, &[member(5, 0), member(9, 0)], b""));
    assert_eq!(stage.members(), [1, 5, 9]);
    assert!(stage.room().is_complete());
    // The server's copy began anew: its sequence falls.
    stage.receive(&delta(2, RoomEventType::ReChanged, member(5, 77)));
    let again = stage.sent();
    stage.reply(again[0].request_id, roster(RoomActionType::RaRoster, 2, &[member(5, 77), member(1, 0)], b""));
    assert_eq!(stage.members(), [1, 5]);
    assert_eq!(stage.room().speaker(Ssrc(77)).map(|member| member.session_id), Some(5));
}

/// Goal: an answer of the wrong kind, a body its type does not name, and an impossible length each end
/// the connection with their reason.
#[test]
fn nonsense_ends_the_connection_with_a_reason() {
    let mut stage = Stage::logged_in();
    let who = stage.session.who(stage.now).unwrap();
    stage.reply(who.0, Body::ChatMsg(ChatMsg::default()));
    assert_eq!(stage.events.last(), Some(&Event::Disconnected(DisconnectReason::WrongAnswer)));
    let mut stage = Stage::logged_in();
    stage.receive(&EchoMsg { r#type: MsgType::MtWho as i32, ..EchoMsg::new(0, Body::Ping(Ping::default())) });
    assert_eq!(stage.events.last(), Some(&Event::Disconnected(DisconnectReason::Malformed)));
    let mut stage = Stage::logged_in();
    stage.handle(Input::Bytes(&[0xFF; 4]));
    assert_eq!(stage.events.last(), Some(&Event::Disconnected(DisconnectReason::BadFrame)));
}

proptest! {
    /// Goal: no bytes of a server, on either path, make the session panic, or give events without end.
    #[test]
    fn hostile_bytes_are_survived(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        bodies in prop::collection::vec((0u32..6, prop::collection::vec(any::<u8>(), 0..60)), 0..20),
        seal in any::<bool>(),
    ) {
        let mut stage = Stage::with_voice();
        for (request_id, bytes) in bodies {
            // Whatever decodes is a message some server might send.
            if let Ok(message) = EchoMsg::decode(&bytes[..]) {
                stage.receive(&EchoMsg { request_id, ..message });
            }
        }
        for chunk in &chunks {
            let mut datagram = chunk.clone();
            if seal && datagram.len() >= 32 {
                datagram[0] = 0x80 | datagram[0] & 0x3F;
                let plain = datagram.len() - TAG_BYTES;
                SealKey::new(&downlink()).seal_rtp(&mut datagram, 12, plain, 5);
            }
            stage.session.datagram(Now { time: Time(1), unix_ms: 0 }, &mut datagram);
        }
        let bytes: usize = chunks.iter().map(Vec::len).sum();
        for chunk in &chunks {
            stage.handle(Input::Bytes(chunk));
        }
        prop_assert!(stage.events.len() <= bytes + 40);
    }
}
