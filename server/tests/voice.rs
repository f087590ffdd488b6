//! Voice through the real server: sockets, steering, sealing and the mesh, as two clients see them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use echomesh_proto::control::{Body, VoiceAnnounce};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::limits::OPUS_PAYLOAD_TYPE;
use echomesh_proto::rtcp::{REPORT_BYTES_MAX, Writer};
use echomesh_proto::rtp::{Header, Kind, OutgoingHeader, classify};
use echomesh_proto::srtp::{MasterKey, OpenKey, SealKey, TAG_BYTES, estimate_index};
use echomesh_proto::time::MediaTime;
use running::{Client, Server};

/// Between tries: UDP may be lost, and the shards learn of each other's streams by and by.
const TRY: Duration = Duration::from_millis(50);

/// Most that all may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn socket(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", server.voice_port)).unwrap();
    socket.set_read_timeout(Some(TRY)).unwrap();
    socket
}

/// A member's voice.
struct Voice {
    socket: UdpSocket,
    ssrc: Ssrc,
    uplink: SealKey,
    downlink: OpenKey,
    sent: u64,
}

impl Voice {
    fn open(server: &Server, client: &mut Client, room: &str) -> Self {
        let ask = VoiceAnnounce { room_id: room.into(), open: true, ..VoiceAnnounce::default() };
        client.send(Body::VoiceAnnounce(ask));
        let given = loop {
            match client.next().expect("an answer") {
                Body::VoiceAnnounce(given) if given.ssrc != 0 => break given,
                _ => {}
            }
        };
        let key = |key: &[u8], salt: &[u8]| MasterKey { key: key.try_into().unwrap(), salt: salt.try_into().unwrap() };
        Self {
            socket: socket(server),
            ssrc: Ssrc(given.ssrc),
            uplink: SealKey::new(&key(&given.uplink_key, &given.uplink_salt)),
            downlink: OpenKey::new(&key(&given.downlink_key, &given.downlink_salt)),
            sent: 0,
        }
    }

    /// As a NAT that rebinds: another port from now on.
    fn rebind(&mut self, server: &Server) {
        self.socket = socket(server);
    }

    /// Shows the server where we are.
    fn report(&mut self) {
        let mut packet = [0; REPORT_BYTES_MAX + 32];
        let plain_bytes = Writer::new(&mut packet, self.ssrc, "test", &[]).finish();
        self.sent += 1;
        let bytes = self.uplink.seal_rtcp(&mut packet, plain_bytes, self.sent as u32);
        self.socket.send(&packet[..bytes]).unwrap();
    }

    fn say(&mut self, payload: &[u8]) {
        let mut packet = [0; 256];
        self.sent += 1;
        let header = OutgoingHeader {
            marker: self.sent == 1,
            payload_type: OPUS_PAYLOAD_TYPE,
            sequence: self.sent as u16,
            media_time: MediaTime(self.sent as u32 * 960),
            ssrc: self.ssrc,
            audio_level: Some(0x80 | 20),
        };
        let head = header.write(&mut packet);
        let plain_bytes = head + payload.len();
        packet[head..plain_bytes].copy_from_slice(payload);
        assert!(plain_bytes + TAG_BYTES <= packet.len());
        let bytes = self.uplink.seal_rtp(&mut packet, head, plain_bytes, self.sent);
        self.socket.send(&packet[..bytes]).unwrap();
    }

    /// The next voice packet: whose, and what it says. `None` when nothing comes in `TRY`.
    fn hear(&mut self) -> Option<(Ssrc, Vec<u8>)> {
        let mut packet = [0; 2_048];
        let bytes = self.socket.recv(&mut packet).ok()?;
        let packet = &mut packet[..bytes];
        if classify(packet) == Kind::Rtcp {
            self.downlink.open_rtcp(packet).expect("a report for this client");
            return None;
        }
        assert_eq!(classify(packet), Kind::Rtp);
        let header = Header::parse(packet).unwrap();
        let index = estimate_index(None, header.sequence);
        let plain_bytes = self.downlink.open_rtp(packet, header.bytes, index).expect("sealed for this listener");
        Some((header.ssrc, packet[header.bytes..plain_bytes].to_vec()))
    }
}

/// Goal: members on one shard and across the mesh hear each other, each packet sealed for them, and
/// nobody hears themselves. Method: three members of a room that spreads after one stream over two
/// shards; each speaks until both others have heard it.
#[test]
fn members_hear_each_other_across_shards() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "2", "--spread-after", "1"]);
    let mut clients: Vec<Client> = ["ada", "bob", "eve"].map(|name| server.member(name, "hall")).into();
    let mut voices: Vec<Voice> = clients.iter_mut().map(|client| Voice::open(&server, client, "hall")).collect();
    let shards: std::collections::BTreeSet<_> = voices.iter().map(|voice| voice.ssrc.shard()).collect();
    assert_eq!(shards.len(), 2, "the room has spread");
    let deadline = Instant::now() + PATIENCE;
    for speaker in 0..voices.len() {
        let mut missing: Vec<usize> = (0..voices.len()).filter(|listener| *listener != speaker).collect();
        let (ssrc, payload) = (voices[speaker].ssrc, vec![speaker as u8 + 1; 80]);
        while !missing.is_empty() {
            assert!(Instant::now() < deadline, "{missing:?} do not hear {speaker}");
            for listener in &missing {
                voices[*listener].report();
            }
            voices[speaker].say(&payload);
            missing.retain(|listener| match voices[*listener].hear() {
                Some((heard, said)) if heard == ssrc => {
                    assert_eq!(said, payload);
                    false
                }
                // Late packets of an earlier speaker.
                Some((heard, _)) => {
                    assert_ne!(heard, voices[*listener].ssrc, "a member hears itself");
                    true
                }
                None => true,
            });
        }
    }
    drop(clients);
    let totals = server.stop();
    assert!(!totals.contains("\"voice_from_mesh\":0"), "{totals}");
    assert!(totals.contains("\"send_failed\":0") && !totals.contains("auth_failed"), "{totals}");
}

/// Goal: after a NAT rebinding a client is heard with its next packet, and hears what follows (PROTOCOL M33).
/// Method: its socket is another one in mid-talk; UDP on loopback loses nothing, but each step may be tried
/// again.
#[test]
fn a_rebinding_heals_with_the_next_packet() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1"]);
    let mut clients: Vec<Client> = ["ada", "bob"].map(|name| server.member(name, "hall")).into();
    let mut voices: Vec<Voice> = clients.iter_mut().map(|client| Voice::open(&server, client, "hall")).collect();
    let deadline = Instant::now() + PATIENCE;
    for turn in 0..5_u8 {
        let [ada, bob] = &mut voices[..] else { panic!("two voices") };
        bob.report();
        ada.rebind(&server);
        let payload = [turn; 40];
        // Ada's first packet from the new port reaches Bob, and makes Bob's reach Ada.
        ada.say(&payload);
        while bob.hear() != Some((ada.ssrc, payload.to_vec())) {
            assert!(Instant::now() < deadline, "Bob does not hear turn {turn}");
            ada.say(&payload);
            bob.report();
        }
        bob.say(&payload);
        while ada.hear() != Some((bob.ssrc, payload.to_vec())) {
            assert!(Instant::now() < deadline, "Ada does not hear turn {turn}");
            bob.say(&payload);
        }
    }
    drop(clients);
    server.stop();
}
