//! Writes first inputs of the targets whose form random bytes do not find by themselves.
//!
//! The script targets (`shard`, `client`, `playout`) take any bytes: theirs are random, but long enough to get somewhere.
//! In: a folder, by default `corpus`. Out: `FOLDER/TARGET/seed-NAME`. To be run in `fuzz/`, once for a new target;
//! then `scripts/fuzz` goes on from there and keeps what adds coverage.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use echomesh_proto::control::{
    Body, ChatMsg, EchoMsg, LoginRequest, Member, Moderation, Ping, RoomAction, RoomState, VoiceAnnounce,
};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::rtcp::{ListenerLoss, REPORT_BYTES_MAX, ReportBlock, Writer};
use echomesh_proto::rtp::{HEADER_BYTES_MAX, OutgoingHeader, pad};
use echomesh_proto::time::{MediaTime, Time};
use prost::Message;

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "corpus".to_owned()));
    for (target, name, bytes) in seeds() {
        let path = folder.join(target);
        fs::create_dir_all(&path).expect("a folder for the target");
        fs::write(path.join(format!("seed-{name}")), bytes).expect("a file there");
    }
}

/// Bytes of a random script: some hundred steps.
const SCRIPT_BYTES: usize = 3_000;

type Seed = (&'static str, String, Vec<u8>);

fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (place, message) in messages().into_iter().enumerate() {
        let mut framed = vec![3];
        message.append_frame(&mut framed);
        message.append_frame(&mut framed);
        seeds.push(("framing", place.to_string(), framed));
        seeds.push(("echo_msg", place.to_string(), message.encode_to_vec()));
    }
    seeds.push(("framing", "long".to_owned(), vec![0, 0, 1, 0, 1, 0]));
    for (name, packet) in packets() {
        // The second check of `srtp`, with an index and a change.
        let mut script = vec![1, 0, 0, 0, 0, 1, 0, 3, 0, 255, 0];
        script.extend_from_slice(&packet);
        seeds.push(("srtp", name.clone(), script));
        seeds.push(("rtp", name, packet));
    }
    seeds.push(("srtp", "numbers".to_owned(), [2, 2, 1, 0, 2, 255, 255, 1, 3, 0].repeat(8)));
    seeds.push(("rtcp", "compound".to_owned(), compound()));
    seeds.extend(hellos());
    seeds.extend(sounds());
    seeds.extend(settings());
    seeds.extend(scripts());
    seeds
}

/// Scripts of random bytes.
fn scripts() -> Vec<Seed> {
    let mut state = 1_u64;
    let mut random = |_| {
        // Knuth's constants; the high bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut found = Vec::new();
    for target in ["shard", "client", "playout"] {
        for place in 0..16 {
            found.push((target, place.to_string(), (0..SCRIPT_BYTES).map(&mut random).collect()));
        }
    }
    found
}

fn messages() -> Vec<EchoMsg> {
    let (room_id, username) = ("hall".to_owned(), "ann".to_owned());
    let login = LoginRequest { username: username.clone(), password: "secret".to_owned(), ..LoginRequest::default() };
    let line =
        ChatMsg { room_id: room_id.clone(), content: "hé".to_owned(), mentions: vec![1, 2], ..ChatMsg::default() };
    let members = vec![Member { session_id: 1, username: username.clone(), role: 4, ..Member::default() }];
    let bodies = [
        Body::LoginRequest(login),
        Body::ChatMsg(line),
        Body::RoomAction(RoomAction { action_type: 2, room_id: room_id.clone(), ..RoomAction::default() }),
        Body::RoomState(RoomState { room_id: room_id.clone(), members, sequence: 9, ..RoomState::default() }),
        Body::VoiceAnnounce(VoiceAnnounce { uplink_key: vec![1; 16].into(), open: true, ..VoiceAnnounce::default() }),
        Body::Moderation(Moderation { action: 6, username, room_id, ..Moderation::default() }),
        Body::Ping(Ping { nonce: u64::MAX }),
    ];
    (1..).zip(bodies).map(|(id, body)| EchoMsg::new(id, body)).collect()
}

fn packets() -> Vec<(String, Vec<u8>)> {
    let header = OutgoingHeader {
        marker: true,
        payload_type: 111,
        sequence: 0xFFFE,
        media_time: MediaTime(960),
        ssrc: Ssrc(0x0100),
        audio_level: Some(0x85),
    };
    let mut packet = vec![0; HEADER_BYTES_MAX + 5 + 7];
    let head = header.write(&mut packet);
    packet[head..head + 5].copy_from_slice(b"voice");
    let plain = packet[..head + 5].to_vec();
    let padded_bytes = pad(&mut packet, head + 5, 7);
    let mut sources = vec![0x92, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    sources.extend_from_slice(&[9; 8]);
    sources.extend_from_slice(&[0xBE, 0xDE, 0, 2, 0x31, 7, 7, 0, 0x10, 0xAA, 0, 0, 1, 2]);
    vec![
        ("plain".to_owned(), plain),
        ("padded".to_owned(), packet[..padded_bytes].to_vec()),
        ("sources".to_owned(), sources),
    ]
}

fn compound() -> Vec<u8> {
    let block = ReportBlock { ssrc: Ssrc(5), fraction_lost: 25, lost: -3, highest_sequence: 0x0001_FFFE, jitter: 77 };
    let mut out = [0; REPORT_BYTES_MAX];
    let writer = Writer::new(&mut out, Ssrc(0x0102_0304), "ann", &[block, block]).reference_time(Time(1_500_000));
    let length = writer.echo(Ssrc(7), 1, 2).loss(ListenerLoss { ssrc: Ssrc(9), loss: 12, burst_ms: 60 }).finish();
    out[..length].to_vec()
}

fn hellos() -> Vec<Seed> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a right configuration");
    let mut hello = vec![0, 255, 1];
    client.write_tls(&mut hello).expect("a Vec takes all");
    let of = |name: &str, bytes: &[u8]| ("tls_sniff", name.to_owned(), bytes.to_vec());
    vec![
        of("hello", &hello),
        of("plaintext", &[0, 7, 1, 0, 0, 0, 2, 8, 10]),
        of("http", b"\x00\x10\x00GET / HTTP/1.1\r\n\r\n"),
        of("handshake", b"\x01\xFF\x00\x00\x00hello, hello, hello"),
        of("handshake-cut", b"\x01\x00\x00\x00\x00hello, hello, hello"),
        of("handshake-changed", b"\x01\x40\x80\x00\x01hello, hello, hello"),
        of("record-changed", b"\x01\x40\x40\x01\x01hello, hello, hello"),
    ]
}

/// A WAV file of one format chunk and so much sound.
fn wav(format: u16, channels: u16, rate: u32, bits: u16, sound: &[u8]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let bytes = u32::from(bits / 8);
    let mut put = |part: &[u8]| file.write_all(part).expect("a Vec takes all");
    put(b"RIFF");
    put(&(36 + sound.len() as u32).to_le_bytes());
    put(b"WAVEfmt \x10\0\0\0");
    put(&format.to_le_bytes());
    put(&channels.to_le_bytes());
    put(&rate.to_le_bytes());
    put(&(rate * bytes * u32::from(channels)).to_le_bytes());
    put(&((bytes as u16) * channels).to_le_bytes());
    put(&bits.to_le_bytes());
    put(b"data");
    put(&(sound.len() as u32).to_le_bytes());
    put(sound);
    file.into_inner()
}

fn sounds() -> Vec<Seed> {
    let sound: Vec<u8> = (0..=255).collect();
    let of = |name: &str, bytes: Vec<u8>| ("wav", name.to_owned(), bytes);
    vec![
        of("8-bit", wav(1, 1, 8_000, 8, &sound)),
        of("16-bit", wav(1, 2, 44_100, 16, &sound)),
        of("24-bit", wav(1, 1, 48_000, 24, &sound[..255])),
        of("32-bit", wav(1, 1, 384_000, 32, &sound)),
        of("float", wav(3, 1, 96_000, 32, &sound)),
        of("cut", wav(1, 1, 48_000, 16, &sound)[..100].to_vec()),
    ]
}

fn settings() -> Vec<Seed> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let mut found = Vec::new();
    for entry in fs::read_dir(examples).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|it| it == "toml") {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.push(("config", name, fs::read(entry.path()).expect("an example can be read")));
        }
    }
    let of = |name: &str, text: &str| ("config", name.to_owned(), text.as_bytes().to_vec());
    found.extend([
        of("all", "port = 9000\nshards = 2\nregistration = \"closed\"\nno-pin = true\naddress = \"::1\"\n"),
        of("typo", "voice_prot = 1\n"),
        of("secret", "port = 1\ndatabase = \"postgres://ada:tops3cret@db/chat\nshards = 1"),
        of("wrong", "shards = \"two\"\nmetrics = \"127.0.0.1:9\"\nlog-format = \"json\"\n"),
    ]);
    found
}
