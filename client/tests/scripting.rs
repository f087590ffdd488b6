//! What scripts and other programs can do with `echomesh`, from outside and against the real server: JSON events,
//! commands, raw PCM, waiting for a server, and the bot of `examples`.
//!
//! The server is `echomesh-server` beside the program under test; cargo is asked to build it if it is missing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use echomesh_audio::similarity::compare;
use echomesh_audio::wav;

#[path = "../examples/bot.rs"]
mod bot;
mod running;
#[path = "../../audio/tests/signals/mod.rs"]
mod signals;

use running::{Running, await_line, client, server, succeeded, text};

/// Started with standard input open; its standard output and error.
fn start(mut command: Command) -> (Running, BufReader<ChildStdout>, BufReader<ChildStderr>) {
    let mut child: Child = command.stdin(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let errors = BufReader::new(child.stderr.take().unwrap());
    (Running(child), output, errors)
}

fn say(speaker: &mut Running, line: &str) {
    writeln!(speaker.0.stdin.as_mut().unwrap(), "{line}").unwrap();
}

fn pcm(samples: &[i16], channels: usize) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes().repeat(channels)).collect()
}

fn samples(pcm: &[u8]) -> Vec<i16> {
    pcm.chunks_exact(2).map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]])).collect()
}

/// Goal: a script sees who comes, talks and goes, what is said, and that its own lines are stored; nothing but JSON is on
/// standard output, and no secret.
#[test]
fn events_are_told_as_json() {
    let home = tempfile::tempdir().unwrap();
    let (_server, _output, port) = server(home.path(), 0);
    let (mut ann, mut events, _news) = start(client(home.path(), port, "ann", &["join", "hall", "--create", "--json"]));
    let mut all = await_line(&mut events, r#"{"event":"in","#);
    let arguments = ["join", "hall", "--input", "tone"];
    let (mut bob, mut heard, mut bob_news) = start(client(home.path(), port, "bob", &arguments));
    all += &await_line(&mut events, r#"{"event":"joined","#);
    all += &await_line(&mut events, r#"{"event":"talking","#);
    say(&mut ann, "hello \"bob\"");
    all += &await_line(&mut events, r#"{"event":"said","line":1,"#);
    await_line(&mut heard, "ann: hello \"bob\"");
    say(&mut bob, "hello ann");
    let line = await_line(&mut events, r#"{"event":"line","#);
    assert!(line.contains(r#""user":"bob""#) && line.contains(r#""content":"hello ann","own":false,"old":false}"#));
    succeeded(&client(home.path(), port, "bob", &["say", "@ann", "psst"]).output().unwrap());
    all += &await_line(&mut events, r#"{"event":"direct","#);
    succeeded(&client(home.path(), port, "bob", &["edit", "hall", "2", "hello, ann"]).output().unwrap());
    all += &await_line(&mut events, r#""content":"hello, ann""#);
    bob.terminate();
    await_line(&mut bob_news, "packets sent");
    all += &await_line(&mut events, r#"{"event":"left","#);
    ann.terminate();
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert!(rest.lines().last().unwrap().starts_with(r#"{"event":"end","time_ms":"#), "{rest}");
    assert!(ann.0.wait().unwrap().success());
    all += &rest;
    assert!(all.lines().all(|line| line.starts_with(r#"{"event":""#) && line.ends_with('}')), "{all}");
    assert!(!all.contains("a long secret"));
}

/// Goal: a command is run for a line, with the event on standard input and in the environment; no password is handed on,
/// what others write is no command, and lines of the own account run nothing.
#[test]
fn commands_are_run_for_lines() {
    let home = tempfile::tempdir().unwrap();
    let (_server, _output, port) = server(home.path(), 0);
    let environment = [("ECHOMESH_SERVER", format!("127.0.0.1:{port}")), ("ECHOMESH_PLAINTEXT", "true".to_owned())];
    let arguments = ["listen", "hall", "--create", "--jobs", "1", "--exec", "sh", "-c", "env; cat; echo the end"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_echomesh"));
    command.args(arguments).env_clear().envs(environment).env("PATH", std::env::var("PATH").unwrap());
    command.env("HOME", home.path()).env("ECHOMESH_USER", "ann").env("ECHOMESH_PASSWORD", "a long secret");
    let (mut listener, mut output, mut news) = start({
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    });
    await_line(&mut news, "in hall");
    succeeded(&client(home.path(), port, "ann", &["say", "hall", "from myself"]).output().unwrap());
    succeeded(&client(home.path(), port, "bob", &["say", "hall", "$(echo owned) `id`"]).output().unwrap());
    let mut given = String::new();
    while !given.ends_with("the end\n") {
        assert!(output.read_line(&mut given).unwrap() > 0, "{given}");
    }
    assert!(given.contains("ECHOMESH_EVENT_CONTENT=$(echo owned) `id`\n"), "{given}");
    assert!(given.contains(r#"{"event":"line","line":2,"#), "{given}");
    assert!(!given.contains("a long secret") && !given.contains("from myself"), "{given}");
    listener.terminate();
    await_line(&mut news, "commands: 1 succeeded, 0 failed");
    assert!(listener.0.wait().unwrap().success());
}

/// Goal: raw PCM of any rate and channel count, given as fast as a pipe takes it, is heard in the room as it was, by a
/// client and by another bridge; it ends in order at the input's end.
#[test]
fn sound_goes_through_bridges() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (_server, _output, port) = server(home.path(), 0);
    let said = signals::speech(1, 4.0);
    // Every third sample: what is above 8 kHz is little in speech.
    let given: Vec<i16> = said.chunks_exact(3).map(|three| three[1]).collect();

    let arguments = ["join", "hall", "--create", "--output", &at("heard.wav")];
    let (listener, _lines, mut news) = start(client(home.path(), port, "listener", &arguments));
    await_line(&mut news, "in hall");
    let arguments = ["bridge", "hall", "--input", "none"];
    let (bridge, mut bridged, mut bridge_news) = start(client(home.path(), port, "radio", &arguments));
    await_line(&mut bridge_news, "in hall");
    let heard = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        bridged.read_to_end(&mut bytes).map(|_| bytes)
    });

    let arguments = ["bridge", "hall", "--output", "none", "--rate", "16000", "--channels", "2", "--talk", "always"];
    let mut speaker = client(home.path(), port, "ann", &arguments).stdin(Stdio::piped()).spawn().unwrap();
    speaker.stdin.take().unwrap().write_all(&pcm(&given, 2)).unwrap();
    succeeded(&speaker.wait_with_output().unwrap());
    for mut other in [listener, bridge] {
        other.terminate();
        assert!(other.0.wait().unwrap().success());
    }
    let by_client = wav::load(Path::new(&at("heard.wav"))).unwrap();
    let by_bridge = samples(&heard.join().unwrap().unwrap());
    for (name, heard) in [("client", by_client), ("bridge", by_bridge)] {
        let likeness = compare(&said, &heard).map_or(0.0, |found| found.likeness);
        println!("{name}: {likeness:.3}");
        assert!(likeness > 0.8, "{name}: {likeness}");
    }
}

/// Goal: with VOX nothing is sent of a silence, and the end of its file is an end in order.
#[test]
fn vox_sends_no_silence() {
    let home = tempfile::tempdir().unwrap();
    let (_server, _output, port) = server(home.path(), 0);
    let file = home.path().join("silence.pcm");
    std::fs::write(&file, pcm(&[3; 48_000], 1)).unwrap();
    let arguments = ["bridge", "hall", "--create", "--output", "none", "--input", file.to_str().unwrap()];
    let output = client(home.path(), port, "ann", &arguments).output().unwrap();
    succeeded(&output);
    let said = text(&output.stderr);
    assert!(said.contains("voice: 0 packets sent") && said.contains("said: 51 frames, 51 of them silence"), "{said}");
}

/// Goal: who ends at the other end of a pipe is told by an exit code of its own; with `--forever` a named pipe outlives
/// its readers.
#[test]
fn the_end_of_a_reader_is_told_or_outlived() {
    let home = tempfile::tempdir().unwrap();
    let (_server, _output, port) = server(home.path(), 0);
    let arguments = ["bridge", "hall", "--create", "--input", "none"];
    let (mut bridge, mut sound, mut news) = start(client(home.path(), port, "ann", &arguments));
    sound.read_exact(&mut [0; 960]).unwrap();
    drop(sound);
    await_line(&mut news, "standard output: the program that read it has ended");
    assert_eq!(bridge.0.wait().unwrap().code(), Some(8));

    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let arguments = ["bridge", "hall", "--forever", "--input", "none", "--output", pipe.to_str().unwrap()];
    let (mut bridge, _sound, mut news) = start(client(home.path(), port, "bob", &arguments));
    await_line(&mut news, "in hall");
    for _ in 0..2 {
        File::open(&pipe).unwrap().read_exact(&mut [0; 96_000]).unwrap();
    }
    bridge.terminate();
    assert!(bridge.0.wait().unwrap().success());
}

/// Goal: a named pipe may be opened before anybody writes to it, and its writer's end is the bridge's.
#[test]
fn a_named_pipe_is_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let (_server, _output, port) = server(home.path(), 0);
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let arguments = ["bridge", "hall", "--create", "--talk", "always", "--output", "none", "--input"];
    let arguments = [&arguments[..], &[pipe.to_str().unwrap()]].concat();
    let (mut bridge, _sound, mut news) = start(client(home.path(), port, "ann", &arguments));
    await_line(&mut news, "in hall");
    OpenOptions::new().write(true).open(&pipe).unwrap().write_all(&pcm(&[1_000; 24_000], 1)).unwrap();
    await_line(&mut news, "voice: 26 packets sent");
    assert!(bridge.0.wait().unwrap().success());
}

/// Goal: `--forever` waits for a server that is not there yet, and for one that went.
#[test]
fn a_server_is_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let (running, output, port) = server(home.path(), 0);
    drop((running, output));
    let arguments = ["join", "hall", "--create", "--json", "--forever"];
    let (mut ann, mut events, _news) = start(client(home.path(), port, "ann", &arguments));
    await_line(&mut events, r#"{"event":"waiting","#);
    let (running, output, _) = server(home.path(), port);
    await_line(&mut events, r#"{"event":"in","#);
    drop((running, output));
    await_line(&mut events, r#"{"event":"connection_lost","#);
    let (_running, _output, _) = server(home.path(), port);
    await_line(&mut events, r#"{"event":"connection_back","#);
    await_line(&mut events, r#""again":true}"#);
    ann.terminate();
    assert!(ann.0.wait().unwrap().success());

    let (mut eve, mut events, _news) = start(client(home.path(), 1, "eve", &arguments));
    await_line(&mut events, r#"{"event":"waiting","#);
    eve.terminate();
    assert!(eve.0.wait().unwrap().success(), "it can be stopped while it waits");
}

/// Goal: the example works as its description says.
#[test]
fn the_bot_answers() {
    let home = tempfile::tempdir().unwrap();
    let (_server, _output, port) = server(home.path(), 0);
    let (mut ann, mut lines, mut news) = start(client(home.path(), port, "ann", &["join", "hall", "--create"]));
    await_line(&mut news, "in hall");
    std::thread::spawn(move || bot::run(&format!("127.0.0.1:{port}"), "bot", "a long secret", "hall"));
    await_line(&mut news, "bot joined");
    say(&mut ann, "!ping");
    await_line(&mut lines, "bot: ann: pong");
    say(&mut ann, "!time");
    await_line(&mut lines, " UTC");
}
