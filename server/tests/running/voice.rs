//! A member's voice, as any client seals, sends and opens it.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use echomesh_proto::control::{Body, VoiceAnnounce};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::limits::OPUS_PAYLOAD_TYPE;
use echomesh_proto::rtcp::{REPORT_BYTES_MAX, Writer};
use echomesh_proto::rtp::{Header, Kind, OutgoingHeader, classify};
use echomesh_proto::srtp::{MasterKey, OpenKey, SealKey, TAG_BYTES, estimate_index};
use echomesh_proto::time::MediaTime;

use super::{Client, Server};

/// Between tries: UDP may be lost, and the shards learn of each other's streams by and by.
const TRY: Duration = Duration::from_millis(50);

fn socket(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", server.voice_port)).unwrap();
    socket.set_read_timeout(Some(TRY)).unwrap();
    socket
}

/// A member's voice.
pub struct Voice {
    socket: UdpSocket,
    pub ssrc: Ssrc,
    uplink: SealKey,
    downlink: OpenKey,
    sent: u64,
}

impl Voice {
    pub fn open(server: &Server, client: &mut Client, room: &str) -> Self {
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
    pub fn rebind(&mut self, server: &Server) {
        self.socket = socket(server);
    }

    /// As a client that changes its network: another address and port.
    pub fn rebind_from(&mut self, server: &Server, address: IpAddr) {
        self.socket = UdpSocket::bind((address, 0)).unwrap();
        self.socket.connect(("127.0.0.1", server.voice_port)).unwrap();
        self.socket.set_read_timeout(Some(TRY)).unwrap();
    }

    /// Shows the server where we are.
    pub fn report(&mut self) {
        let mut packet = [0; REPORT_BYTES_MAX + 32];
        let plain_bytes = Writer::new(&mut packet, self.ssrc, "test", &[]).finish();
        self.sent += 1;
        let bytes = self.uplink.seal_rtcp(&mut packet, plain_bytes, self.sent as u32);
        self.socket.send(&packet[..bytes]).unwrap();
    }

    pub fn say(&mut self, payload: &[u8]) {
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
    pub fn hear(&mut self) -> Option<(Ssrc, Vec<u8>)> {
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
