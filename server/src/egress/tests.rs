//! Copies over real sockets: each listener opens what it gets.

use std::net::UdpSocket;
use std::time::Duration;

use echomesh_proto::ids::Ssrc;
use echomesh_proto::rtp::{Header, payload_without_padding};
use echomesh_proto::srtp::{MasterKey, OpenKey};
use echomesh_proto::time::{MediaTime, Time};

use super::*;
use crate::counting_alloc;

fn header(ssrc: u32, index: u64) -> VoiceHeader {
    VoiceHeader {
        received: Time(0),
        ssrc: Ssrc(ssrc),
        index,
        media_time: MediaTime(960),
        marker: true,
        payload_type: 111,
        audio_level: Some(0x80 | 30),
    }
}

fn master(number: u32) -> MasterKey {
    MasterKey { key: [number as u8; 16], salt: [7; 12] }
}

struct Listeners {
    sockets: Vec<UdpSocket>,
    table: Peers,
    ring: VoiceRing,
    egress: Egress,
}

fn listeners(count: u32) -> Listeners {
    let ring = VoiceRing::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    let mut table = Peers::default();
    let sockets = (0..count)
        .map(|number| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            table.set(PeerId(number), ring.target(socket.local_addr().unwrap()), &master(number));
            socket
        })
        .collect();
    Listeners { sockets, table, ring, egress: Egress::with_capacity(count as usize) }
}

impl Listeners {
    fn flush(&mut self) {
        self.egress.flush(&self.table, &mut self.ring);
        self.ring.submit();
    }

    /// The next datagram of a listener, opened: stream, payload, and how long it was on the wire.
    fn opened(&self, number: u32, index: u64) -> (u32, Vec<u8>, usize) {
        let mut packet = [0; 2_048];
        let bytes = self.sockets[number as usize].recv(&mut packet).unwrap();
        let parsed = Header::parse(&packet[..bytes]).unwrap();
        assert_eq!((parsed.sequence, parsed.marker, parsed.audio_level), (index as u16, true, Some(0x80 | 30)));
        let plain = OpenKey::new(&master(number)).open_rtp(&mut packet[..bytes], parsed.bytes, index).unwrap();
        let payload = payload_without_padding(&packet[parsed.bytes..plain], parsed.padding).unwrap();
        (parsed.ssrc.0, payload.to_vec(), bytes)
    }
}

/// Goal: each listener gets the packet under its own key, with the stream's numbering; one that is
/// gone is counted.
#[test]
fn each_listener_can_open_its_copy() {
    let mut listeners = listeners(2);
    listeners.egress.voice(&header(0xABCD_EF00, 0x1_0005), &[5; 80], &[PeerId(0), PeerId(1), PeerId(2)]);
    listeners.flush();
    assert_eq!(listeners.egress.peer_unknown(), 1);
    for number in [0, 1] {
        assert_eq!(listeners.opened(number, 0x1_0005), (0xABCD_EF00, vec![5; 80], 20 + 80 + 16));
    }
}

/// Goal: several speakers' packets reach a listener whole, in order and once, whatever their lengths, in fewer
/// messages; nobody gets its own (PROTOCOL M47). Method: packets of three speakers, of which one is far
/// longer, to three listeners who are also the speakers.
#[test]
fn several_packets_go_in_one_message() {
    let mut listeners = listeners(3);
    let lengths = [(0_u32, 60_usize), (1, 100), (2, 90), (0, 300), (1, 61)];
    for (index, (speaker, length)) in (10_u64..).zip(lengths) {
        let others: Vec<PeerId> = (0..3).filter(|number| *number != speaker).map(PeerId).collect();
        listeners.egress.voice(&header(speaker << 8, index), &vec![speaker as u8; length], &others);
    }
    listeners.flush();
    for number in 0..3 {
        for (index, (speaker, length)) in (10_u64..).zip(lengths).filter(|(_, (speaker, _))| *speaker != number) {
            let (ssrc, payload, _) = listeners.opened(number, index);
            assert_eq!((ssrc, payload), (speaker << 8, vec![speaker as u8; length]), "listener {number}");
        }
    }
    // Of the first: 100 + 90, then 300 is too far from both, 61. Of the others as many, or one more.
    let counters = listeners.ring.counters().sends;
    assert_eq!(counters.sent, 10);
    assert!(counters.messages_sent <= 8, "{counters:?}");
    // Nothing is left over for the next flush.
    listeners.flush();
    assert_eq!(listeners.ring.counters().sends.sent, 10);
}

/// Goal: padding is bounded, and what cannot be joined goes alone. Method: lengths at both sides of the bound.
#[test]
fn padding_is_bounded() {
    for (lengths, messages) in [([80, 144], 1), ([80, 145], 2), ([1_000, 1_000], 2)] {
        let mut listeners = listeners(1);
        for (index, length) in (0_u64..).zip(lengths) {
            listeners.egress.voice(&header(0x100, index), &vec![1; length], &[PeerId(0)]);
        }
        listeners.flush();
        assert_eq!(listeners.ring.counters().sends.messages_sent, messages, "{lengths:?}");
        for (index, length) in (0_u64..).zip(lengths) {
            assert_eq!(listeners.opened(0, index).1.len(), length);
        }
    }
}

/// Goal: receiving, sealing and sending cost no allocation, C's included, one packet a turn or several. Method:
/// the ring sends to its own socket's peer and back, and after the first every allocation counts.
#[test]
fn forwarding_allocates_nothing() {
    let (near, far) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let near_address = near.local_addr().unwrap();
    far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut ring = VoiceRing::new(near).unwrap();
    let mut table = Peers::default();
    for peer in 0..3 {
        table.set(PeerId(peer), ring.target(far.local_addr().unwrap()), &master(peer));
    }
    let mut egress = Egress::with_capacity(3);
    let (payload, mut received, mut datagram) = ([5; 80], [0; 2_048], [0; 512]);
    for index in 0..200 {
        far.send_to(&payload, near_address).unwrap();
        let before = counting_alloc::count();
        while ring.receive(&mut received).is_none() {}
        for turn in 0..=index % 2 {
            let peers = [PeerId(0), PeerId(1), PeerId(2)];
            egress.voice(&header(0xABCD_EF00, 2 * index + turn), &payload, &peers);
        }
        egress.flush(&table, &mut ring);
        ring.submit();
        let allocated = counting_alloc::count() - before;
        assert!(index < 50 || allocated == 0, "packet {index}: {allocated} allocations");
        for _ in 0..3 * (1 + index % 2) {
            far.recv(&mut datagram).unwrap();
        }
    }
    assert_eq!(egress.peer_unknown(), 0);
}
