//! `echomesh record` and `play` from outside, against the real server: two files are said, both are recorded,
//! and the room is told.
//!
//! The server is `echomesh-server` beside the program under test; cargo is asked to build it if it is missing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use echomesh_audio::playout::FRAME_SAMPLES;
use echomesh_audio::similarity::compare;
use echomesh_audio::sink::Sink;
use echomesh_audio::source::Source;

#[path = "../../audio/tests/signals/mod.rs"]
mod signals;

mod running;

use running::{Running, await_line, client, server, succeeded, text};

fn write_wav(path: &Path, samples: &[i16]) {
    let mut sink = Sink::open(path.to_str().unwrap()).unwrap();
    signals::frames(samples).for_each(|frame| sink.write(&frame).unwrap());
    sink.finish().unwrap();
}

fn load(path: &Path) -> Vec<i16> {
    let mut source = Source::open(path.to_str().unwrap()).unwrap_or_else(|error| panic!("{error}"));
    let (mut all, mut frame) = (Vec::new(), [0; FRAME_SAMPLES]);
    while source.frame(&mut frame).unwrap() {
        all.extend_from_slice(&frame);
    }
    all
}

/// Goal: two speakers at once are recorded into a file each, in both formats, which hold what was said; the
/// room is told of the beginning and the end; what was recorded can be said again.
#[test]
fn a_room_is_recorded_and_told() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let arg = |name: &str| at(name).to_str().unwrap().to_owned();
    let (_server, _output, port) = server(home.path(), 0);
    let said = [signals::speech(1, 4.0), signals::speech(2, 4.0)];
    write_wav(&at("ann.wav"), &said[0]);
    write_wav(&at("bob.wav"), &said[1]);

    let mut witness = client(home.path(), port, "witness", &["join", "lobby", "--create"])
        .stdin(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    let mut witness_news = BufReader::new(witness.0.stderr.take().unwrap());
    await_line(&mut witness_news, "in lobby");

    let mut recorders = ["opus", "wav"].map(|format| {
        let arguments = ["record", "lobby", &arg(format), "--format", format];
        let mut recorder = client(home.path(), port, format, &arguments).spawn().map(Running).unwrap();
        let mut news = BufReader::new(recorder.0.stderr.take().unwrap());
        await_line(&mut news, "the room was told");
        (recorder, news)
    });
    let players = ["ann", "bob"].map(|name| {
        let file = arg(&format!("{name}.wav"));
        client(home.path(), port, name, &["play", "lobby", &file]).spawn().unwrap()
    });
    for player in players {
        succeeded(&player.wait_with_output().unwrap());
    }
    for (recorder, news) in &mut recorders {
        recorder.terminate();
        let (mut list, mut rest) = (String::new(), String::new());
        recorder.0.stdout.take().unwrap().read_to_string(&mut list).unwrap();
        news.read_to_string(&mut rest).unwrap();
        assert!(recorder.0.wait().unwrap().success(), "{rest}");
        assert!(list.contains("ann.") && list.contains("bob."), "{list} {rest}");
    }
    let mut lines = BufReader::new(witness.0.stdout.take().unwrap());
    for words in ["opus: I am recording", "wav: I am recording", "opus: I no longer", "wav: I no longer"] {
        await_line(&mut lines, words);
    }
    witness.terminate();

    for format in ["opus", "wav"] {
        let heard = ["ann", "bob"].map(|name| load(&at(format).join(format!("{name}.{format}"))));
        assert!(heard[0].len().abs_diff(heard[1].len()) <= 2 * FRAME_SAMPLES, "{format}: of one length");
        for own in [0, 1] {
            let likeness = |said: &[i16]| compare(said, &heard[own]).map_or(0.0, |found| found.likeness);
            let (own_likeness, other) = (likeness(&said[own]), likeness(&said[1 - own]));
            println!("{format} {own}: {own_likeness:.3}, the other {other:.3}");
            assert!(own_likeness > 0.8 && other < 0.5, "{format} {own}: {own_likeness} and {other}");
        }
    }
    let again = at("opus").join("ann.opus");
    let output = client(home.path(), port, "again", &["play", "lobby", again.to_str().unwrap(), "--for", "1"]).output();
    succeeded(&output.unwrap());
}

/// Goal: a file that cannot be said is told before anything is connected, with code 6 and what to do.
#[test]
fn bad_files_end_with_6() {
    let home = tempfile::tempdir().unwrap();
    write_wav(&home.path().join("whole.wav"), &[1; 9_600]);
    let whole = std::fs::read(home.path().join("whole.wav")).unwrap();
    let cases: [(&str, &[u8]); 4] = [
        ("empty.wav", b""),
        ("cut.opus", b"OggS\0\x02"),
        ("text.wav", b"no sound at all"),
        ("cut.wav", &whole[..whole.len() - 5_000]),
    ];
    for (name, bytes) in cases {
        let path = home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        // Nobody listens there: connecting would be another code.
        let output = client(home.path(), 1, "ann", &["play", "lobby", path.to_str().unwrap()]).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{name}: {said}");
        assert!(said.contains(name), "{said}");
    }
    let output = client(home.path(), 1, "ann", &["record", "lobby", "/dev/null/folder"]).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
}

/// Goal: who says something keeps to the bit rate that the server allows (PROTOCOL M100), by `play` as by `join`: nothing
/// is dropped for it.
#[test]
fn the_bit_rate_that_is_allowed_is_kept() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("data")).unwrap();
    std::fs::write(home.path().join("data/server.toml"), "bitrate-kbit-max = 8\n").unwrap();
    let (server, mut output, port) = server(home.path(), 0);
    let (said, heard) = (home.path().join("said.wav"), home.path().join("heard.wav"));
    write_wav(&said, &signals::speech(1, 4.0));
    let (said, heard) = (said.to_str().unwrap(), heard.to_str().unwrap());
    let join = ["join", "lobby", "--input", said, "--output", heard, "--no-voice-detection", "--for", "4"];
    for arguments in [&["play", "lobby", said, "--create"][..], &join] {
        succeeded(&client(home.path(), port, "ann", arguments).output().unwrap());
    }
    server.terminate();
    let totals = await_line(&mut output, "\"totals\"");
    let figure = |name: &str| -> u64 {
        let (_, rest) = totals.split_once(&format!("\"{name}\":")).unwrap();
        rest.split([',', '}']).next().unwrap().parse().unwrap()
    };
    let packets = figure("voice_received");
    assert!(packets > 300, "{totals}");
    // Header, extension and tag; RTCP is counted, too, and is little.
    let opus_bytes = figure("udp_received_bytes") - packets * (12 + 8 + 16);
    let kbit = opus_bytes as f64 * 8.0 / (packets as f64 * 20.0);
    assert!(kbit < 10.0, "{kbit} kbit/s: {totals}");
    assert!(!totals.contains("stream_rate"), "{totals}");
}
