//! The server's sockets: for each shard one TCP listener and one UDP socket on the same port, bound in
//! shard order, and the filter that steers voice to the shard that owns its SSRC.
//!
//! Sockets live as long as the process: closing one would renumber the group that the filter indexes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// After this long without an acknowledgement a TCP peer is dead; minimal clients need not ping.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Asked for each UDP socket; the kernel grants up to net.core.rmem_max.
const UDP_BUFFER_BYTES: usize = 4 << 20;

const BACKLOG: i32 = 1024;

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
/// takes the same number as TCP unless it is given.
pub fn bind(address: Option<IpAddr>, port: u16, voice_port: Option<u16>, shards: usize) -> Result<Sockets, String> {
    let address = match address {
        Some(address) => address,
        None if socket(IpAddr::V6(Ipv6Addr::UNSPECIFIED), Type::STREAM).is_ok() => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    // SO_REUSEPORT would let a second server bind silently and take half of the connections.
    let probe = |kind, port: u16| {
        let probe = socket(address, kind)?;
        if kind == Type::STREAM {
            probe.set_reuse_address(true)?;
        }
        probe.bind(&SocketAddr::new(address, port).into())
    };
    let explain = |what: &str, port: u16, error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{what} port {port} is in use, perhaps by another echomesh-server: stop it, or choose another --port"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "{what} port {port} needs privileges (below 1024): choose another --port or grant CAP_NET_BIND_SERVICE"
            )
        }
        _ => format!("cannot bind {what} {}: {error}", SocketAddr::new(address, port)),
    };
    if port != 0 {
        probe(Type::STREAM, port).map_err(|error| explain("TCP", port, error))?;
    }
    let first = tcp(address, port).map_err(|error| explain("TCP", port, error))?;
    let port = first.local_addr().map_err(|error| explain("TCP", port, error))?.port();
    let voice_port = voice_port.unwrap_or(port);
    if voice_port != 0 {
        probe(Type::DGRAM, voice_port).map_err(|error| explain("UDP", voice_port, error))?;
    }
    let first_udp = udp(address, voice_port).map_err(|error| explain("UDP", voice_port, error))?;
    let voice_port = first_udp.local_addr().map_err(|error| explain("UDP", voice_port, error))?.port();
    let (mut all_tcp, mut all_udp) = (vec![first], vec![first_udp]);
    for _ in 1..shards {
        all_tcp.push(tcp(address, port).map_err(|error| explain("TCP", port, error))?);
        all_udp.push(udp(address, voice_port).map_err(|error| explain("UDP", voice_port, error))?);
    }
    steer(&all_udp[0]).map_err(|error| format!("cannot attach the voice steering filter: {error}"))?;
    Ok(Sockets { tcp: all_tcp, udp: all_udp, address: SocketAddr::new(address, port), voice_port })
}

fn socket(address: IpAddr, kind: Type) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(SocketAddr::new(address, 0)), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

fn tcp(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit both.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    socket.bind(&SocketAddr::new(address, port).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn udp(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM)?;
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(UDP_BUFFER_BYTES)?;
    socket.set_send_buffer_size(UDP_BUFFER_BYTES)?;
    socket.bind(&SocketAddr::new(address, port).into())?;
    Ok(socket.into())
}

/// Classic BPF over the UDP payload (docs/PROTOCOL.md, voice): RTP has its SSRC at byte 8, RTCP
/// (second byte 192 to 223) at byte 4; the low byte of the SSRC is the shard. What is not RTP gets an
/// index out of range, so the kernel falls back to its hash and the shard there drops it, counted.
fn steer(first: &UdpSocket) -> io::Result<()> {
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const JUMP_GE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN_A: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
    const RETURN_K: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
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
        step(RETURN_K, 0, 0, u32::MAX),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: pointer and length are those of a live sock_fprog, whose program outlives the call.
    let outcome = unsafe {
        libc::setsockopt(
            first.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            std::ptr::from_ref(&filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
            let rtp = [0x90, 0x80 | 111, 0, 0, 0, 0, 0, 9, 1, 2, 3, shard, 0xAA];
            let rtcp = [0x80, 201, 0, 1, 1, 2, 3, shard, 0, 0, 0, 9, 0xBB];
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

    /// Goal: a second server on the port is refused with a sentence, although SO_REUSEPORT would let it.
    #[test]
    fn a_second_server_on_the_port_is_refused() {
        let localhost = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let first = bind(localhost, 0, None, 2).unwrap();
        let error = bind(localhost, first.address.port(), None, 2).err().unwrap();
        assert!(error.contains("in use"), "{error}");
    }
}
