//! The client's session against a server that sends anything.
//!
//! In: the session's settings, then steps: connections made and lost, messages and bytes in any split, answers to what was
//! asked and to nothing, datagrams sealed with the session's keys, or not, requests of the driver, time. Checked: what it
//! sends is whole messages that a server could read; requests without an answer, packets kept, rooms, members and output
//! stay within their bounds; a request of the driver is answered once; nothing is sent while there is no connection.

mod steps;

use std::collections::BTreeSet;

use arbitrary::{Result, Unstructured};
use echomesh_client::session::{OUTPUT_BYTES_MAX, REQUESTS_MAX};
use echomesh_client::{Config, Event, Input, RequestId, Session};
use echomesh_proto::control::{Body, EchoMsg};
use echomesh_proto::framing::FrameDecoder;
use echomesh_proto::limits::{DATAGRAM_BYTES_MAX, FRAME_BYTES_MAX};
use echomesh_proto::time::{Now, Time};
use prost::Message;

use crate::messages::Known;

/// Steps of one script.
const STEPS_MAX: usize = 600;

/// Rooms a session may come to be in.
const ROOMS_MAX: usize = 1_024;

/// Bytes that one input may add to the output beyond the bound: a request for each message of a frame.
const OUTPUT_SLACK: usize = 4 * FRAME_BYTES_MAX;

/// A session, its clock, and what its driver and the server know.
struct Stage {
    session: Session,
    now: Now,
    events: Vec<Event>,
    /// Reads what it sends.
    decoder: FrameDecoder,
    /// Requests it has sent on this connection and the server has not answered.
    wire: Vec<EchoMsg>,
    /// Requests of the driver without an answer.
    unanswered: BTreeSet<RequestId>,
    known: Known,
    /// Bytes of messages that the session has not been given yet.
    inbound: Vec<u8>,
    /// Numbers of the server's packets.
    index: u64,
}

/// See the module.
pub fn client(data: &[u8]) {
    // Where bytes run out the script is over.
    let _ = script(&mut Unstructured::new(data));
}

fn script(input: &mut Unstructured<'_>) -> Result<()> {
    let config = Config {
        token: if input.ratio(1, 8)? { "token".to_owned() } else { String::new() },
        guest: input.ratio(1, 8)?,
        features: input.int_in_range(0..=3)?,
        direct: input.arbitrary()?,
        voice_index_seed: input.arbitrary()?,
        voice_by_another: input.ratio(1, 8)?,
        ..Config::new("ann", "secret")
    };
    let mut stage = Stage {
        session: Session::new(config),
        now: Now { unix_ms: 1_700_000_000_000, time: Time(1_000_000) },
        events: Vec::new(),
        decoder: FrameDecoder::default(),
        wire: Vec::new(),
        unanswered: BTreeSet::new(),
        known: Known::default(),
        inbound: Vec::new(),
        index: 100,
    };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        steps::step(&mut stage, input)?;
        stage.take_events();
        stage.check();
    }
    stage.take_output(true);
    stage.handle(Input::Closed);
    stage.take_events();
    assert!(stage.unanswered.is_empty(), "requests {:?} have no answer", stage.unanswered);
    assert_eq!(stage.session.unanswered(), 0);
    Ok(())
}

impl Stage {
    fn handle(&mut self, input: Input<'_>) {
        self.session.handle(self.now, input, &mut self.events);
    }

    fn take_events(&mut self) {
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Answer(answer) => {
                    assert!(self.unanswered.remove(&answer.request), "an answer to nothing: {answer:?}");
                }
                Event::Disconnected(_) => {
                    self.wire.clear();
                    self.decoder = FrameDecoder::default();
                    self.inbound.clear();
                }
                _ => {}
            }
        }
    }

    /// Reads what the session sends, some of it or all.
    fn take_output(&mut self, all: bool) {
        let output = self.session.output();
        let taken = if all { output.len() } else { output.len() / 2 };
        self.decoder.push(&output[..taken]);
        self.session.output_written(taken);
        while let Some(frame) = self.decoder.next_frame().expect("its frames are right") {
            let message = EchoMsg::decode(frame).expect("and its messages too");
            let body = message.body.as_ref().expect("they have a body");
            assert_eq!(message.r#type, body.msg_type() as i32, "that its type names");
            if !matches!(body, Body::VoiceFrame(_)) {
                assert_ne!(message.request_id, 0, "a request has an id");
                self.wire.push(message);
            }
        }
        while let Some(datagram) = self.session.next_datagram() {
            assert!(datagram.bytes.len() <= DATAGRAM_BYTES_MAX && datagram.udp_port != 0);
        }
    }

    fn check(&self) {
        let silent = self.session.output().is_empty();
        assert!(silent || self.session.is_connected(), "nothing is sent without a connection");
        assert!(self.session.output().len() <= OUTPUT_BYTES_MAX + OUTPUT_SLACK, "output grows without bound");
        let rooms = self.session.rooms().count();
        assert!(rooms <= ROOMS_MAX, "{rooms} rooms");
        // The session asks by itself for each room's roster and lines, and to leave rooms it does not know.
        let most = REQUESTS_MAX + 4 * ROOMS_MAX;
        assert!(self.session.unanswered() <= most, "{} requests without an answer", self.session.unanswered());
        assert!(self.unanswered.len() <= REQUESTS_MAX);
    }
}
