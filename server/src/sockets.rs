//! The server's sockets: for each shard one TCP listener and one UDP socket on the same port, bound in
//! shard order, and the filter that steers voice to the shard that owns its SSRC.
//!
//! Sockets live as long as the process: closing one would renumber the group that the filter indexes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use echomesh_proto::limits::{DATAGRAM_BYTES_MAX, OPUS_PAYLOAD_TYPE};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// After this long without an acknowledgement of what was sent a TCP peer is dead; minimal clients need not ping.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A silent TCP peer is probed after this long, so often and so many times before it is dead.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Asked for each UDP socket; without CAP_NET_ADMIN the kernel grants up to net.core.rmem_max and wmem_max.
const UDP_BUFFER_BYTES: libc::c_int = 4 << 20;

/// Connections that wait to be accepted, for each listener; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 1_024;

/// How often, and how far apart, a port is asked for while it is taken: a second in all.
const PORT_TRIES: u32 = 100;
const PORT_PAUSE: Duration = Duration::from_millis(10);

/// All sockets of a server, by shard.
pub struct Sockets {
    /// Control.
    pub tcp: Vec<TcpListener>,
    /// Voice.
    pub udp: Vec<UdpSocket>,
    /// Where TCP listens.
    pub address: SocketAddr,
    /// Where voice arrives.
    pub voice_port: u16,
}

/// Binds for `shards` shards. No address means all of IPv6 and IPv4. Port 0 takes a free one; voice
/// takes the same number as TCP unless it is given or, with port 0, that is taken.
///
/// # Errors
/// A sentence for the operator: the port is in use or needs privileges, or the address is not ours.
pub fn bind(address: Option<IpAddr>, port: u16, voice_port: Option<u16>, shards: usize) -> Result<Sockets, String> {
    let address = address.unwrap_or_else(any_address);
    let first = TcpListener::from(bind_patiently(address, port, Type::STREAM)?);
    let bound = first.local_addr().map_err(|error| explain(address, port, "TCP", &error))?.port();
    let first_udp = match voice_port {
        Some(voice_port) => bind_patiently(address, voice_port, Type::DGRAM)?,
        None if port == 0 => bind_first(address, bound, Type::DGRAM)
            .or_else(|_| bind_first(address, 0, Type::DGRAM))
            .map_err(|error| explain(address, 0, "UDP", &error))?,
        None => bind_patiently(address, bound, Type::DGRAM)?,
    };
    let first_udp = UdpSocket::from(first_udp);
    let voice_port = first_udp.local_addr().map_err(|error| explain(address, bound, "UDP", &error))?.port();
    let (mut tcp, mut udp) = (vec![first], vec![first_udp]);
    for _ in 1..shards {
        tcp.push(join(address, bound, Type::STREAM).map_err(|error| explain(address, bound, "TCP", &error))?.into());
        let joined = join(address, voice_port, Type::DGRAM);
        udp.push(joined.map_err(|error| explain(address, voice_port, "UDP", &error))?.into());
    }
    if shards > 1 {
        steer(&udp[0]).map_err(|error| format!("cannot attach the voice steering filter: {error}"))?;
    }
    Ok(Sockets { tcp, udp, address: SocketAddr::new(address, bound), voice_port })
}

/// All of IPv6 and IPv4, or where IPv6 is off, all of IPv4.
fn any_address() -> IpAddr {
    let ipv6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let works = socket(ipv6, Type::DGRAM).and_then(|socket| socket.bind(&SocketAddr::new(ipv6, 0).into()));
    if works.is_ok() { ipv6 } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
}

/// The first socket of a group is bound without SO_REUSEPORT, which would let a second server take the
/// port silently and half of the connections with it; then it is set, so that our others can join.
fn bind_first(address: IpAddr, port: u16, kind: Type) -> io::Result<Socket> {
    let socket = socket(address, kind)?;
    socket.bind(&SocketAddr::new(address, port).into())?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
    }
    socket.set_reuse_port(true)?;
    Ok(socket)
}

/// [`bind_first`]. The socket of a server that has just ended may outlive it for a moment, above all of one that was
/// killed: the kernel takes apart a ring, which holds the socket, after the process is gone.
fn bind_patiently(address: IpAddr, port: u16, kind: Type) -> Result<Socket, String> {
    let mut bound = bind_first(address, port, kind);
    for _ in 0..PORT_TRIES {
        if !bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
            break;
        }
        std::thread::sleep(PORT_PAUSE);
        bound = bind_first(address, port, kind);
    }
    bound.map_err(|error| explain(address, port, if kind == Type::STREAM { "TCP" } else { "UDP" }, &error))
}

/// A further socket of a group.
fn join(address: IpAddr, port: u16, kind: Type) -> io::Result<Socket> {
    let socket = socket(address, kind)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::new(address, port).into())?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

fn socket(address: IpAddr, kind: Type) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(SocketAddr::new(address, 0)), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if kind == Type::STREAM {
        // Connections of an earlier run in TIME_WAIT do not keep us from the port; a listener does.
        socket.set_reuse_address(true)?;
        // Accepted sockets inherit these. In a room where nobody says anything only probes find who is gone.
        let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY).with_retries(PROBES);
        socket.set_tcp_keepalive(&probes)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    } else {
        crate::uring::set_buffers(&socket, UDP_BUFFER_BYTES)?;
        socket.attach_filter(&only_voice())?;
    }
    Ok(socket)
}

fn explain(address: IpAddr, port: u16, what: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{what} port {port} is in use, perhaps by another echomesh-server: stop it, or choose another --port"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "{what} port {port} needs privileges: choose a --port of 1024 or more, or grant CAP_NET_BIND_SERVICE"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{address} is not an address of this machine: choose another, or none for all of them")
        }
        _ => format!("cannot bind {what} {}: {error}", SocketAddr::new(address, port)),
    }
}

const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const LOAD_LENGTH: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_LEN) as u16;
const JUMP_GE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP_EQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN_A: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
const RETURN_K: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Classic BPF over the datagram from its UDP header on: what cannot be ours takes no room in the receive buffer.
/// Ours has at least the header, tag and SRTCP index of an empty report, and no more than `DATAGRAM_BYTES_MAX`; is RTP
/// version 2; and RTCP or Opus by its second byte.
fn only_voice() -> [socket2::SockFilter; 13] {
    const UDP_HEADER: u32 = 8;
    const DATAGRAM_BYTES_MIN: u32 = 8 + 16 + 4;
    const MARKER: u32 = 0x80;
    let step = socket2::SockFilter::new;
    [
        step(LOAD_LENGTH, 0, 0, 0),
        step(JUMP_GE, 0, 10, UDP_HEADER + DATAGRAM_BYTES_MIN),
        step(JUMP_GE, 9, 0, UDP_HEADER + DATAGRAM_BYTES_MAX as u32 + 1),
        step(LOAD_BYTE, 0, 0, UDP_HEADER),
        step(JUMP_GE, 0, 7, 128),
        step(JUMP_GE, 6, 0, 192),
        step(LOAD_BYTE, 0, 0, UDP_HEADER + 1),
        step(JUMP_EQ, 3, 0, OPUS_PAYLOAD_TYPE.into()),
        step(JUMP_EQ, 2, 0, MARKER | u32::from(OPUS_PAYLOAD_TYPE)),
        step(JUMP_GE, 0, 2, 192),
        step(JUMP_GE, 1, 0, 224),
        step(RETURN_K, 0, 0, u32::MAX),
        step(RETURN_K, 0, 0, 0),
    ]
}

/// Classic BPF over the UDP payload (docs/PROTOCOL.md, voice): RTP has its SSRC at byte 8, RTCP
/// (second byte 192 to 223) at byte 4; the low byte of the SSRC is the shard. What is not RTP gets an
/// index out of range, so the kernel falls back to its hash and the shard there drops it, counted.
fn steer(first: &UdpSocket) -> io::Result<()> {
    const OUT_OF_RANGE: u32 = u32::MAX;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        step(LOAD_BYTE, 0, 0, 0),
        step(JUMP_GE, 0, 8, 128),
        step(JUMP_GE, 7, 0, 192),
        step(LOAD_BYTE, 0, 0, 1),
        step(JUMP_GE, 0, 3, 192),
        step(JUMP_GE, 2, 0, 224),
        step(LOAD_BYTE, 0, 0, 7),
        step(RETURN_A, 0, 0, 0),
        step(LOAD_BYTE, 0, 0, 11),
        step(RETURN_A, 0, 0, 0),
        step(RETURN_K, 0, 0, OUT_OF_RANGE),
    ];
    crate::uring::attach_reuseport_filter(first, &mut program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each datagram reaches the shard its SSRC names, RTP and RTCP (PROTOCOL M32).
    #[test]
    fn voice_is_steered_by_ssrc() {
        let sockets = bind(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), 0, Some(0), 4).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for shard in [3_u8, 0, 2, 1] {
            let mut rtp = [0xAA; 60];
            rtp[..12].copy_from_slice(&[0x90, 0x80 | 111, 0, 0, 0, 0, 0, 9, 1, 2, 3, shard]);
            let mut rtcp = [0xBB; 60];
            rtcp[..8].copy_from_slice(&[0x80, 201, 0, 1, 1, 2, 3, shard]);
            for datagram in [&rtp, &rtcp] {
                sender.send_to(datagram, ("127.0.0.1", sockets.voice_port)).unwrap();
                let mut got = [0; 64];
                let socket = &sockets.udp[usize::from(shard)];
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let length = socket.recv(&mut got).unwrap();
                assert_eq!(&got[..length], datagram);
            }
        }
    }

    /// Goal: what cannot be voice of ours never takes room in the receive buffer, and all that can does: by length,
    /// version and type.
    #[test]
    fn what_cannot_be_ours_is_not_received() {
        let sockets = bind(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), 0, Some(0), 1).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let datagram = |first: u8, second: u8, bytes: usize| [&[first, second][..], &vec![7; bytes - 2][..]].concat();
        let foreign = [
            datagram(0x80, 111, 27),
            datagram(0x80, 111, 1_201),
            datagram(0x7f, 111, 60),
            datagram(0xc0, 111, 60),
            datagram(0x80, 110, 60),
            datagram(0x80, 0x80 | 110, 60),
            datagram(0x80, 191, 60),
            datagram(0x80, 224, 60),
        ];
        let ours = [
            datagram(0x80, 111, 28),
            datagram(0xbf, 0x80 | 111, 1_200),
            datagram(0x80, 192, 28),
            datagram(0x81, 223, 60),
        ];
        for sent in foreign.iter().chain(&ours) {
            sender.send_to(sent, ("127.0.0.1", sockets.voice_port)).unwrap();
        }
        sockets.udp[0].set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for wanted in &ours {
            let mut got = [0; 2_000];
            let length = sockets.udp[0].recv(&mut got).unwrap();
            assert_eq!(&got[..length], wanted);
        }
    }

    /// Goal: connections get the options that find dead peers and hold no small message back, which
    /// accepted sockets inherit, and every listener of the group may get them.
    #[test]
    fn accepted_connections_inherit_their_options() {
        let sockets = bind(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), 0, None, 2).unwrap();
        for listener in &sockets.tcp {
            assert_eq!(listener.local_addr().unwrap(), sockets.address);
            listener.set_nonblocking(true).unwrap();
        }
        let mut seen = [false; 2];
        while seen != [true; 2] {
            let _client = std::net::TcpStream::connect(sockets.address).unwrap();
            let (which, accepted) = loop {
                let accept = |(which, listener): (usize, &TcpListener)| Some((which, listener.accept().ok()?.0));
                if let Some(accepted) = sockets.tcp.iter().enumerate().find_map(accept) {
                    break accepted;
                }
                std::thread::yield_now();
            };
            let accepted = socket2::SockRef::from(&accepted);
            assert!(accepted.tcp_nodelay().unwrap());
            assert!(accepted.keepalive().unwrap());
            assert_eq!(accepted.tcp_keepalive_time().unwrap(), PROBE_AFTER);
            assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(TCP_USER_TIMEOUT));
            seen[which] = true;
        }
    }

    /// Goal: a second server on the port is refused with a sentence, although SO_REUSEPORT would let it.
    #[test]
    fn a_second_server_on_the_port_is_refused() {
        let localhost = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let first = bind(localhost, 0, None, 2).unwrap();
        let error = bind(localhost, first.address.port(), None, 2).err().unwrap();
        assert!(error.contains("in use"), "{error}");
    }
}
