//! Recordings: what speakers said is in their files, at the right times, whatever the network did; and files
//! that cannot be played are refused with a reason.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod signals;

use std::path::Path;

use echomesh_audio::codec::{Encoder, EncoderSettings};
use echomesh_audio::playout::{FRAME_SAMPLES, Packet};
use echomesh_audio::recording::{Format, Recording, Speaker};
use echomesh_audio::similarity::compare;
use echomesh_audio::source::Source;
use signals::{frames, speech};

const START_US: u64 = 5_000_000;

/// A packet to be recorded.
#[derive(Clone)]
struct Sent {
    arrival_us: u64,
    index: u64,
    media_time: u32,
    marker: bool,
    payload: Vec<u8>,
}

/// What a speaker sends who begins so many milliseconds after the recording; DTX is on.
fn say(samples: &[i16], begin_ms: u64) -> Vec<Sent> {
    let mut encoder = Encoder::new(&EncoderSettings::default()).unwrap();
    let mut sent = Vec::new();
    let mut before = false;
    for (frame, samples) in frames(samples).enumerate() {
        let mut payload = vec![0; 1_275];
        let length = encoder.encode(&samples, &mut payload).unwrap();
        payload.truncate(length);
        if length > 0 {
            sent.push(Sent {
                arrival_us: START_US + begin_ms * 1_000 + frame as u64 * 20_000,
                index: 900 + sent.len() as u64,
                media_time: (u32::MAX - 50_000).wrapping_add((frame * FRAME_SAMPLES) as u32),
                marker: !before,
                payload,
            });
        }
        before = length > 0;
    }
    sent
}

fn record(folder: &Path, format: Format, speakers: &[(&str, Vec<Sent>)], end_ms: u64) -> Vec<(String, u64)> {
    let mut recording = Recording::begin(folder, format, "lobby", START_US).unwrap();
    let mut all: Vec<(usize, &Sent)> =
        speakers.iter().enumerate().flat_map(|(at, (_, sent))| sent.iter().map(move |sent| (at, sent))).collect();
    all.sort_by_key(|(_, sent)| sent.arrival_us);
    for (at, Sent { arrival_us, index, media_time, marker, payload }) in all {
        let speaker = Speaker { key: at as u64, name: speakers[at].0, ssrc: 7 + at as u32 };
        let (arrival_us, index, media_time, marker) = (*arrival_us, *index, *media_time, *marker);
        recording.packet(speaker, Packet { arrival_us, index, media_time, marker, payload }).unwrap();
    }
    let tracks = recording.finish(START_US + end_ms * 1_000).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    tracks.iter().map(|track| (name(&track.path), track.packets)).collect()
}

fn load(path: &Path) -> Vec<i16> {
    let mut source = Source::open(path.to_str().unwrap()).unwrap();
    let (mut all, mut frame) = (Vec::new(), [0; FRAME_SAMPLES]);
    while source.frame(&mut frame).unwrap() {
        all.extend_from_slice(&frame);
    }
    all
}

/// Goal: two speakers, who begin 1.5 s apart, are in a file each, as they spoke, at their times, and the files
/// are of one length. Method: both formats; packets of the first lost, doubled and reordered.
#[test]
fn speakers_are_in_their_files_at_their_times() {
    let said = [speech(1, 2.5), [speech(2, 1.0), vec![0; 72_000], speech(5, 1.0)].concat()];
    let mut first = say(&said[0], 500);
    for at in (20..first.len()).step_by(25).rev() {
        first.remove(at);
    }
    first[10].arrival_us += 50_000;
    let copy = first[30].clone();
    first.insert(31, copy);
    let speakers = [("ann", first), ("bob/../x", say(&said[1], 2_000))];
    for (format, extension) in [(Format::Opus, "opus"), (Format::Wav, "wav")] {
        let folder = tempfile::tempdir().unwrap();
        let tracks = record(folder.path(), format, &speakers, 6_000);
        assert_eq!(tracks[0].0, format!("ann.{extension}"));
        assert_eq!(tracks[1], (format!("bob_.._x.{extension}"), speakers[1].1.len() as u64));
        for (at, begin_ms) in [(0, 500.0), (1, 2_000.0)] {
            let heard = load(&folder.path().join(&tracks[at].0));
            let length_ms = heard.len() as f32 / 48.0;
            assert!((length_ms - 6_000.0).abs() <= 25.0, "{extension} {at}: {length_ms} ms");
            let found = compare(&said[at], &heard).unwrap();
            println!("{extension} {at}: {found:?}");
            assert!(found.likeness > 0.85, "{extension} {at}: {found:?}");
            assert!((found.lag_ms - begin_ms).abs() < 10.0, "{extension} {at}: {found:?}");
            let other = compare(&said[1 - at], &heard).unwrap();
            assert!(other.likeness < 0.4, "{extension} {at} holds the other: {other:?}");
        }
        // Again into the same folder: nothing is written over.
        assert_eq!(record(folder.path(), format, &speakers, 6_000)[0].0, format!("ann-2.{extension}"));
    }
}

/// Goal: impossible clocks neither fill the disk nor end the recording. Method: media times at random.
#[test]
fn impossible_clocks_do_no_harm() {
    let mut sent = say(&speech(3, 4.0), 0);
    for (at, packet) in sent.iter_mut().enumerate() {
        packet.media_time = (at as u32).wrapping_mul(2_654_435_761);
    }
    for format in [Format::Opus, Format::Wav] {
        let folder = tempfile::tempdir().unwrap();
        let tracks = record(folder.path(), format, &[("ann", sent.clone())], 4_000);
        let heard = load(&folder.path().join(&tracks[0].0));
        assert!(heard.len() < 48_000 * 11, "{format:?}: {} samples", heard.len());
    }
}

/// Goal: files that are none, are cut, damaged or empty are refused before anything is said, in words that
/// help.
#[test]
fn bad_files_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), Format::Opus, &[("ann", say(&speech(3, 4.0), 0))], 4_000);
    let whole = std::fs::read(folder.path().join("ann.opus")).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    let vorbis = [&whole[..28], b"\x01vorbis\0\0\0\0\0\0\0\0\0\0\0\0", &whole[47..]].concat();
    let cases: [(&str, &[u8], &str); 6] = [
        ("cut.opus", &whole[..whole.len() - 100], "middle of a page"),
        ("damaged.opus", &damaged, "damaged"),
        ("vorbis.opus", &vorbis, "damaged"),
        ("headers.opus", &whole[..47], "no sound"),
        ("text.opus", b"this is a text, not a sound", "not a WAV file"),
        ("empty.opus", b"", "it is empty"),
    ];
    for (name, bytes, words) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = Source::open(path.to_str().unwrap()).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains(words) && error.contains(name)), "{name}: {error:?}");
    }
}

/// Goal: a recording cut off by a crash can be played up to its last whole page.
#[test]
fn a_file_without_an_end_is_played() {
    let folder = tempfile::tempdir().unwrap();
    let said = speech(3, 4.0);
    record(folder.path(), Format::Opus, &[("ann", say(&said, 0))], 4_000);
    let path = folder.path().join("ann.opus");
    let whole = std::fs::read(&path).unwrap();
    let last_page = whole.windows(4).rposition(|bytes| bytes == b"OggS").unwrap();
    std::fs::write(&path, &whole[..last_page]).unwrap();
    let heard = load(&path);
    assert!(heard.len() >= 48_000 * 2, "{} samples", heard.len());
    assert!(compare(&said[..heard.len().min(said.len())], &heard).unwrap().likeness > 0.9);
}
