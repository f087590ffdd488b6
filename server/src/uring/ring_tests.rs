//! The voice ring over real sockets.

use std::os::fd::AsRawFd;
use std::time::Duration;

use super::*;

fn pair() -> (VoiceRing, UdpSocket) {
    let ring = VoiceRing::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    peer.connect(ring.socket.local_addr().unwrap()).unwrap();
    (ring, peer)
}

/// Blocks until the next datagram is there.
fn next(ring: &mut VoiceRing, out: &mut [u8]) -> Received {
    loop {
        if let Some(got) = ring.receive(out) {
            return got;
        }
        let mut poll = libc::pollfd { fd: ring.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, borrowed for the call.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5_000) }, 1, "a datagram within 5 s");
    }
}

/// Goal: what arrives is given with its source and stamp, and what is sent arrives. Method: echo 300
/// datagrams of different lengths over the loopback, in batches larger than the receive slots.
#[test]
fn datagrams_go_both_ways() {
    let (mut ring, peer) = pair();
    let target = ring.target(peer.local_addr().unwrap());
    let mut out = [0; 2_048];
    for batch in 0..3u8 {
        let length = |number: u8| 1 + usize::from(number) + usize::from(batch);
        for number in 0..100u8 {
            peer.send(&vec![number; length(number)]).unwrap();
        }
        for number in 0..100u8 {
            let Received { source, bytes, stamp_ns } = next(&mut ring, &mut out);
            assert_eq!(source, peer.local_addr().unwrap());
            assert!(stamp_ns.is_some());
            assert_eq!(out[..bytes], vec![number; length(number)]);
            ring.send(&target, None, |slot| {
                slot[..bytes].copy_from_slice(&out[..bytes]);
                bytes
            });
        }
        ring.submit();
        assert_eq!(ring.receive(&mut [0; 9]), None);
        for number in 0..100u8 {
            let bytes = peer.recv(&mut out).unwrap();
            assert_eq!(out[..bytes], vec![number; length(number)]);
        }
    }
    // 1 to 100 bytes, then each one more, and one more again.
    let bytes = 3 * 5_050 + 100 + 200;
    let sends = SendCounters { sent: 300, sent_bytes: bytes, messages_sent: 300, ..SendCounters::default() };
    let counted = RingCounters { sends, received: 300, received_bytes: bytes, ..RingCounters::default() };
    assert_eq!(ring.counters(), counted);
    assert_eq!((ring.in_flight, ring.receives.free_count()), (0, RECEIVE_SLOTS as usize));
}

/// Goal: one packet to more listeners than there are slots reaches them all, since sends finish in
/// the call that makes them. Method: 3,000 copies, read as they come.
#[test]
fn a_fan_out_may_be_larger_than_the_slots() {
    let (mut ring, peer) = pair();
    let target = ring.target(peer.local_addr().unwrap());
    let reader = std::thread::spawn(move || {
        let mut out = [0; 64];
        let mut got = 0u32;
        peer.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        while got < 3_000 && peer.recv(&mut out).is_ok() {
            got += 1;
        }
        got
    });
    for number in 0..3_000u32 {
        ring.send(&target, None, |slot| {
            slot[..4].copy_from_slice(&number.to_le_bytes());
            4
        });
    }
    ring.submit();
    assert_eq!(
        ring.counters().sends,
        SendCounters { sent: 3_000, sent_bytes: 12_000, messages_sent: 3_000, ..SendCounters::default() }
    );
    // The reader's socket buffer may overflow on a busy machine; the ring's part is done above.
    assert!(reader.join().unwrap() > 0);
}

/// Goal: one message of three segments arrives as three datagrams, the last one shorter.
#[test]
fn a_message_may_be_several_datagrams() {
    let (mut ring, peer) = pair();
    let target = ring.target(peer.local_addr().unwrap());
    ring.send(&target, Some(100), |slot| {
        for (at, byte) in slot[..250].iter_mut().enumerate() {
            *byte = (at / 100) as u8;
        }
        250
    });
    ring.submit();
    let mut out = [0; 512];
    for (number, length) in [(0, 100), (1, 100), (2, 50)] {
        assert_eq!(peer.recv(&mut out).unwrap(), length);
        assert_eq!(out[..length], vec![number; length]);
    }
    assert_eq!(
        ring.counters().sends,
        SendCounters { sent: 3, sent_bytes: 250, messages_sent: 1, ..SendCounters::default() }
    );
    assert!(ring.can_segment());
}

/// Goal: a dual-stack socket hides IPv4-mapped addresses on the way in and uses them on the way
/// out, and a datagram that is too long is seen to be.
#[test]
fn a_dual_stack_socket_speaks_ipv4() {
    let Ok(socket) = UdpSocket::bind("[::]:0") else {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    };
    let port = socket.local_addr().unwrap().port();
    let mut ring = VoiceRing::new(socket).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    peer.send_to(&[7; 1_500], ("127.0.0.1", port)).unwrap();
    let mut out = [0; 2_048];
    let Received { source, bytes, .. } = next(&mut ring, &mut out);
    assert_eq!(source, peer.local_addr().unwrap());
    assert!(bytes > echomesh_proto::limits::DATAGRAM_BYTES_MAX);
    let target = ring.target(source);
    ring.send(&target, None, |slot| {
        slot[0] = 9;
        1
    });
    ring.submit();
    assert_eq!(peer.recv(&mut out).unwrap(), 1);
}

/// Goal: what the system itself drops is counted. Method: more datagrams than the smallest receive buffer
/// holds, before one is received.
#[test]
fn datagrams_the_system_drops_are_counted() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    socket2::SockRef::from(&socket).set_recv_buffer_size(1).unwrap();
    let ring = VoiceRing::new(socket).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..200 {
        sender.send_to(&[0; 1_000], address).unwrap();
    }
    assert!(ring.counters().receive_dropped > 100, "{:?}", ring.counters());
}
