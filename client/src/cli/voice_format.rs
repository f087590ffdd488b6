//! What another program needs for its part in a room's voice, as JSON or as text for people.
//!
//! Pure: in, keys and streams; out, text. Not a JSON library: three flat objects, one a line, without
//! its last newline. JSON strings are as the server sent them, escaped; text for people has no control
//! characters.

use std::fmt::Write;
use std::net::IpAddr;

use echomesh_client::VoiceKeys;
use echomesh_proto::control::Member;
use echomesh_proto::limits::{AUDIO_LEVEL_EXTENSION_ID, OPUS_PAYLOAD_TYPE};
use echomesh_proto::srtp::MasterKey;
use echomesh_proto::text::is_forbidden;

use super::commands::printable;

/// RTP clock of Opus, RFC 7587 §4.1.
const CLOCK_RATE: u32 = 48_000;

/// The suite as SDP names it (RFC 7714 §14.2), and as GStreamer does; an AEAD has no second authentication.
const SUITE: &str = "AEAD_AES_128_GCM";
const CIPHER: &str = "aes-128-gcm";

/// A stream that may be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Whose.
    pub username: String,
    /// Never another's in a server's run.
    pub ssrc: u32,
    /// Its rollover counter when it was announced.
    pub roc: u32,
}

impl Stream {
    /// `None` without voice.
    pub fn of(member: &Member) -> Option<Self> {
        let Member { username, ssrc, roc, .. } = member;
        (*ssrc != 0).then(|| Self { username: username.clone(), ssrc: *ssrc, roc: *roc })
    }
}

/// Everything about one set of keys.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    /// The room, as the server writes it.
    pub room: &'a str,
    /// Where voice goes.
    pub server: IpAddr,
    /// Keys and numbers.
    pub keys: &'a VoiceKeys,
    /// The others' streams now.
    pub streams: &'a [Stream],
}

impl Params<'_> {
    /// One object.
    pub fn json(&self) -> String {
        let Self { room, server, keys, streams } = self;
        let VoiceKeys { ssrc, udp_port, epoch, bitrate_max, first_index, .. } = keys;
        let streams: Vec<String> = streams.iter().map(|stream| format!("{{{}}}", fields(stream))).collect();
        let up = key_json(
            &keys.uplink,
            &format!(r#","roc":{},"first_sequence":{}"#, first_index >> 16, *first_index as u16),
        );
        [
            format!(r#"{{"event":"voice","room":{},"server":"{server}","port":{udp_port}"#, quoted(room)),
            format!(r#","epoch":{epoch},"ssrc":{},"payload_type":{OPUS_PAYLOAD_TYPE},"encoding":"OPUS""#, ssrc.0),
            format!(r#","clock_rate":{CLOCK_RATE},"channels":2,"audio_level_id":{AUDIO_LEVEL_EXTENSION_ID},"bitrate_max":{bitrate_max}"#),
            format!(r#","suite":"{SUITE}","cipher":"{CIPHER}","auth":"null""#),
            format!(r#","uplink":{up},"downlink":{}"#, key_json(&keys.downlink, "")),
            format!(r#","streams":[{}]}}"#, streams.join(",")),
        ]
        .concat()
    }

    /// A table.
    pub fn text(&self) -> String {
        let Self { room, server, keys, streams } = self;
        let row = |name: &str, value: String| format!("{name:<16} {value}\n");
        let inline = |key: &MasterKey| format!("{} (inline:{})", hex(&joined(key)), base64(&joined(key)));
        let mut text = [
            row("room", printable(room)),
            row("server", format!("{server}, UDP port {}", keys.udp_port)),
            row("ssrc", format!("{0} (0x{0:08x})", keys.ssrc.0)),
            row(
                "payload",
                format!(
                    "type {OPUS_PAYLOAD_TYPE}, OPUS/{CLOCK_RATE}/2, audio level extension {AUDIO_LEVEL_EXTENSION_ID}"
                ),
            ),
            row("bit rate", bitrate_text(keys.bitrate_max)),
            row("srtp", format!("{SUITE} ({CIPHER}, authentication null), keys of epoch {}", keys.epoch)),
            row("uplink key", inline(&keys.uplink)),
            row("uplink start", format!("ROC {}, sequence {}", keys.first_index >> 16, keys.first_index as u16)),
            row("downlink key", inline(&keys.downlink)),
        ]
        .concat();
        for stream in *streams {
            text += &row("stream", stream_text(stream));
        }
        text.trim_end().to_owned()
    }
}

fn bitrate_text(bitrate_max: u32) -> String {
    match bitrate_max {
        0 => "any".to_owned(),
        bits => format!("at most {} kbit/s on average", f64::from(bits) / 1_000.0),
    }
}

/// A stream that appeared or changed.
pub fn stream_line(room: &str, stream: &Stream, json: bool) -> String {
    if !json {
        return format!("{:<16} {}", "stream", stream_text(stream));
    }
    format!(r#"{{"event":"stream","room":{},{}}}"#, quoted(room), fields(stream))
}

/// A stream that is gone.
pub fn stream_gone_line(room: &str, stream: &Stream, json: bool) -> String {
    if !json {
        return format!("{:<16} {}", "stream gone", stream_text(stream));
    }
    format!(r#"{{"event":"stream_gone","room":{},{}}}"#, quoted(room), fields(stream))
}

fn fields(Stream { username, ssrc, roc }: &Stream) -> String {
    format!(r#""username":{},"ssrc":{ssrc},"roc":{roc}"#, quoted(username))
}

fn stream_text(Stream { username, ssrc, roc }: &Stream) -> String {
    format!("{ssrc} (0x{ssrc:08x}), ROC {roc}, {}", printable(username))
}

fn key_json(key: &MasterKey, more: &str) -> String {
    let bytes = joined(key);
    format!(r#"{{"key_salt_hex":"{}","key_salt_base64":"{}"{more}}}"#, hex(&bytes), base64(&bytes))
}

/// Key, then salt, as SDP and libsrtp take them (RFC 4568 §6.1).
fn joined(MasterKey { key, salt }: &MasterKey) -> Vec<u8> {
    [key.as_slice(), salt].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 4648 §4, padded.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[word >> (18 - 6 * at) & 63];
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// A JSON string, RFC 8259 §7: what must be escaped is, and what could drive a terminal.
pub fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() || is_forbidden(letter) => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use echomesh_proto::ids::Ssrc;

    use super::*;

    fn keys() -> VoiceKeys {
        VoiceKeys {
            ssrc: Ssrc(0xFFFF_FF01),
            udp_port: 8888,
            epoch: 2,
            uplink: MasterKey { key: *b"Hello, salted ke", salt: *b"y and voice!" },
            downlink: MasterKey { key: [0xFF; 16], salt: [0; 12] },
            bitrate_max: 64_000,
            first_index: 0x7FFE,
        }
    }

    fn stream(username: &str) -> Stream {
        Stream { username: username.to_owned(), ssrc: 256, roc: 3 }
    }

    /// Goal: a program that reads JSON finds everything on one line, under names that stay.
    #[test]
    fn the_json_line_is_complete() {
        let (keys, streams) = (keys(), [stream("a\"b\\c\u{1b}é"), stream("bob")]);
        let params = Params { room: "hall", server: [127, 0, 0, 1].into(), keys: &keys, streams: &streams };
        let wanted = concat!(
            r#"{"event":"voice","room":"hall","server":"127.0.0.1","port":8888,"epoch":2,"ssrc":4294967041,"#,
            r#""payload_type":111,"encoding":"OPUS","clock_rate":48000,"channels":2,"audio_level_id":1,"bitrate_max":64000,"#,
            r#""suite":"AEAD_AES_128_GCM","cipher":"aes-128-gcm","auth":"null","uplink":{"#,
            r#""key_salt_hex":"48656c6c6f2c2073616c746564206b657920616e6420766f69636521","#,
            r#""key_salt_base64":"SGVsbG8sIHNhbHRlZCBrZXkgYW5kIHZvaWNlIQ==","roc":0,"first_sequence":32766},"#,
            r#""downlink":{"key_salt_hex":"ffffffffffffffffffffffffffffffff000000000000000000000000","#,
            r#""key_salt_base64":"/////////////////////wAAAAAAAAAAAAAAAA=="},"streams":["#,
            r#"{"username":"a\"b\\c\u001bé","ssrc":256,"roc":3},{"username":"bob","ssrc":256,"roc":3}]}"#,
        );
        assert_eq!(params.json(), wanted);
    }

    /// Goal: later lines stand alone, and say the same of a stream as the first.
    #[test]
    fn streams_have_lines_of_their_own() {
        let bob = stream("bob");
        let wanted = r#"{"event":"stream","room":"hall","username":"bob","ssrc":256,"roc":3}"#;
        assert_eq!(stream_line("hall", &bob, true), wanted);
        assert_eq!(stream_gone_line("hall", &bob, true), wanted.replace("stream\"", "stream_gone\""));
        assert_eq!(stream_line("hall", &bob, false), "stream           256 (0x00000100), ROC 3, bob");
        assert_eq!(Stream::of(&Member::default()), None);
    }

    /// Goal: the table has the keys too, and names of others cannot drive the terminal.
    #[test]
    fn the_table_is_safe_to_print() {
        let (keys, streams) = (keys(), [stream("\u{1b}[2J")]);
        let text = Params { room: "hall", server: [127, 0, 0, 1].into(), keys: &keys, streams: &streams }.text();
        assert!(text.contains("inline:SGVsbG8sIHNhbHRlZCBrZXkgYW5kIHZvaWNlIQ==") && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("bit rate         at most 64 kbit/s on average\n"), "{text}");
    }

    /// Goal: RFC 4648 §10.
    #[test]
    fn base64_matches_rfc_4648() {
        let wanted = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        assert_eq!(std::array::from_fn(|length| base64(&b"foobar"[..length])), wanted.map(str::to_owned));
    }
}
