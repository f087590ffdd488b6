//! Hostile traffic against a server on this machine: what its users feel of it is for another program to measure
//! (`scripts/bench/floods`).
//!
//! Not for any other machine: only loopback addresses are taken. Comes from 127.0.0.2, so that limits by address
//! are not those of honest load from 127.0.0.1.
//! Bounds: [`SECONDS_MAX`]; one thread; [`SILENT_MAX`] connections that say nothing.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use echomesh_proto::control::{Body, EchoMsg, LoginRequest, RoomAction, RoomActionType};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt};
use std::os::fd::{AsRawFd, OwnedFd};

/// Longest flood.
const SECONDS_MAX: u64 = 60;

/// Connections held that say nothing.
const SILENT_MAX: usize = 1_000;

/// Where hostile traffic comes from.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A voice datagram's bytes: 12 of RTP, about 80 of Opus, 16 of tag.
const DATAGRAM_BYTES: usize = 108;

/// Sends hostile traffic to a server on loopback, as fast as one thread can, and prints what it sent.
#[derive(Parser)]
struct Args {
    /// What to send
    #[arg(value_enum)]
    kind: Kind,
    /// The server's port on 127.0.0.1, TCP and UDP
    port: u16,
    /// For how long, up to 60
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Core to run on
    #[arg(long)]
    core: Option<usize>,
    /// Room whose speakers' SSRCs `forged` takes; its member's name is flood
    #[arg(long, default_value = "room0000")]
    room: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// UDP that is no RTP
    Noise,
    /// RTP of streams that nobody has, for all shards
    Strangers,
    /// The same, all for shard 0
    OneShard,
    /// RTP under the SSRC of somebody who talks, with a wrong tag
    Forged,
    /// TCP connections that end at once
    Connects,
    /// TCP connections with bytes that are no protocol
    Garbage,
    /// TLS handshakes, begun and left
    Hellos,
    /// TCP connections that say nothing, up to a thousand at a time
    Silent,
}

fn main() {
    let args = Args::parse();
    if let Some(core) = args.core {
        core_affinity::set_for_current(core_affinity::CoreId { id: core });
    }
    let end = Instant::now() + Duration::from_secs(args.seconds.min(SECONDS_MAX));
    let begun = Instant::now();
    let done = match args.kind {
        Kind::Noise | Kind::Strangers | Kind::OneShard | Kind::Forged => datagrams(&args, end),
        _ => connections(&args, end),
    };
    let (sent, failed) = done.unwrap_or_else(|error| {
        eprintln!("flood: {error}");
        std::process::exit(1);
    });
    let per_s = sent as f64 / begun.elapsed().as_secs_f64();
    println!("{{\"sent\":{sent},\"per_s\":{per_s:.0},\"failed\":{failed}}}");
}

/// A generator of Marsaglia (xorshift64): noise needs no more.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn datagrams(args: &Args, end: Instant) -> io::Result<(u64, u64)> {
    let socket = UdpSocket::bind((SOURCE, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, args.port))?;
    let known = if args.kind == Kind::Forged { live_ssrcs(args)? } else { vec![0] };
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut packet = [0x55; DATAGRAM_BYTES];
    let (mut sent, mut failed) = (0_u64, 0_u64);
    while Instant::now() < end {
        for _ in 0..64 {
            packet[12..20].copy_from_slice(&noise.next().to_be_bytes());
            if args.kind != Kind::Noise {
                // Version 2, payload type 111, a sequence number that goes on.
                packet[..4].copy_from_slice(&[0x80, 111, (sent >> 8) as u8, sent as u8]);
                let ssrc = match args.kind {
                    Kind::Forged => known[sent as usize % known.len()],
                    Kind::OneShard => noise.next() as u32 & !0xff,
                    _ => noise.next() as u32,
                };
                packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
            }
            match socket.send(&packet) {
                Ok(_) => sent += 1,
                Err(_) => failed += 1,
            }
        }
    }
    Ok((sent, failed))
}

/// The streams of a room, as its members see them.
fn live_ssrcs(args: &Args) -> io::Result<Vec<u32>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, args.port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let login = LoginRequest { username: "flood".to_owned(), password: "flood".to_owned(), ..LoginRequest::default() };
    let join =
        RoomAction { action_type: RoomActionType::RaJoin as i32, room_id: args.room.clone(), ..RoomAction::default() };
    let mut frames = Vec::new();
    EchoMsg::new(1, Body::LoginRequest(login)).append_frame(&mut frames);
    EchoMsg::new(2, Body::RoomAction(join)).append_frame(&mut frames);
    stream.write_all(&frames)?;
    let mut decoder = echomesh_proto::framing::FrameDecoder::default();
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Err(io::Error::other("the server closed before it told who is in the room"));
        }
        decoder.push(&bytes[..count]);
        while let Ok(Some(frame)) = decoder.next_frame() {
            let msg: EchoMsg = prost::Message::decode(frame).map_err(io::Error::other)?;
            if let Some(Body::RoomState(state)) = msg.body {
                let ssrcs: Vec<u32> =
                    state.members.iter().map(|member| member.ssrc).filter(|ssrc| *ssrc != 0).collect();
                return if ssrcs.is_empty() {
                    Err(io::Error::other(format!("nobody speaks in {}: {}", args.room, state.message)))
                } else {
                    Ok(ssrcs)
                };
            }
        }
    }
}

fn connections(args: &Args, end: Instant) -> io::Result<(u64, u64)> {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let hello = if args.kind == Kind::Hellos { client_hello()? } else { Vec::new() };
    let mut held = VecDeque::new();
    let (mut sent, mut failed) = (0_u64, 0_u64);
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    while Instant::now() < end {
        let Ok(mut stream) = connect_from(target) else {
            failed += 1;
            continue;
        };
        sent += 1;
        // What fails was refused, which is what is tried out.
        let _ = match args.kind {
            Kind::Garbage => {
                let bytes: Vec<u8> = (0..8).flat_map(|_| (noise.next() | 0x8080).to_le_bytes()).collect();
                stream.write_all(&bytes)
            }
            Kind::Hellos => stream.write_all(&hello).and_then(|()| {
                stream.set_read_timeout(Some(Duration::from_millis(20)))?;
                stream.read(&mut [0; 4096]).map(drop)
            }),
            _ => Ok(()),
        };
        if args.kind == Kind::Silent {
            held.push_back(stream);
            if held.len() > SILENT_MAX {
                held.pop_front();
            }
        }
    }
    Ok((sent, failed))
}

/// From `SOURCE`.
fn connect_from(target: SocketAddr) -> io::Result<TcpStream> {
    let SocketAddr::V4(target) = target else { return Err(io::Error::other("IPv4 only")) };
    let socket: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(std::net::SocketAddrV4::new(SOURCE, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(target))?;
    // Closed by a reset, or the ports of this side would be used up in seconds.
    setsockopt(&socket, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(TcpStream::from(socket))
}

/// The first bytes of a TLS client.
fn client_hello() -> io::Result<Vec<u8>> {
    let config = echomesh_loadtest::tls::config(None, echomesh_loadtest::tls::Tickets::Unused)
        .map_err(|failure| io::Error::other(failure.to_string()))?;
    let name = rustls::pki_types::ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let mut client = rustls::ClientConnection::new(Arc::clone(&config), name).map_err(io::Error::other)?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    Ok(hello)
}
