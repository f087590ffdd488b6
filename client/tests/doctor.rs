//! `echomesh doctor` finds what is wrong: faults are planted one at a time, and it must name each, with a remedy.
//!
//! The server is `echomesh-server` beside the program under test; cargo is asked to build it if it is missing. Sound
//! devices are ALSA's own and PulseAudio's null sinks; without PulseAudio those checks are skipped, loudly.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "running/planted.rs"]
mod planted;
mod running;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use planted::{Clinic, Seen, certified_server, pulse};

/// Goal: where nothing is wrong nothing is found, in the time that was promised, and nothing is changed.
#[test]
fn a_healthy_client_is_told_so() {
    let clinic = Clinic::open();
    let begun = Instant::now();
    let seen = clinic.doctor(&["--input", "none", "--output", "none"]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    for check in ["name", "connection", "server", "trust", "login", "clock", "voice by UDP", "voice path", "NAT"] {
        assert_eq!(seen.result(check), "ok", "{check}: {}", seen.all);
    }
    assert!(seen.found("voice path").contains("round trip") && seen.found("voice path").contains("jitter"));
    assert_eq!((seen.code, seen.faults()), (0, Vec::<String>::new()), "{}", seen.all);
    assert!(!clinic.home().join(".local").exists(), "no key is remembered");
    let rooms = clinic.client(&["rooms"]).output().unwrap();
    assert!(rooms.status.success() && rooms.stdout.is_empty(), "no room is left behind");
}

/// Goal: what is wrong with files is named, each by its own check: configuration, secrets, folders.
#[test]
fn planted_in_files() {
    let clinic = Clinic::open();
    let none = ["--input", "none", "--output", "none"];
    let config = clinic.home().join("config.toml");
    std::fs::write(&config, "server = \n").unwrap();
    clinic.doctor_with(&["--config", config.to_str().unwrap()], &none).names(
        "configuration",
        "config.toml",
        "correct",
        2,
    );

    let secret = clinic.home().join("secret");
    let named = ["--password-file", secret.to_str().unwrap()];
    clinic.doctor_with(&named, &none).names("secrets", "cannot read", "install -m 600", 2);
    std::fs::write(&secret, "a long secret\n").unwrap();
    for (mode, who) in [(0o644, "every user"), (0o640, "its group")] {
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(mode)).unwrap();
        let seen = clinic.doctor_with(&named, &none);
        seen.names("secrets", who, "chmod 600", 2);
        assert_eq!(seen.result("login"), "ok", "it is used all the same: {}", seen.all);
    }
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(clinic.doctor_with(&named, &none).result("secrets"), "ok");

    // A file where a folder is to be: this stops root, too.
    let mut command = clinic.command(&[]);
    let seen = Seen::of(command.args(none).env("XDG_STATE_HOME", secret.join("state")));
    seen.names("folders", "state", "move it away", 7);
}

/// Goal: what is wrong with the way to the server is named: name, port, another service there, a server that says
/// nothing.
#[test]
fn planted_on_the_way() {
    let clinic = Clinic::open();
    let none = ["--input", "none", "--output", "none"];
    let at = |server: &str| clinic.doctor_with(&["--server", server], &none);
    at("nowhere.invalid:8888").names("name", "nowhere.invalid", "getent hosts", 3);

    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    at(&address).names("connection", "refuses", "start the server", 3);

    for (greeting, wait) in [(&b"220 mail.example ESMTP\r\n"[..], 0), (b"", 10)] {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        let serving = std::thread::spawn(move || {
            let (mut stream, _): (TcpStream, _) = other.accept().unwrap();
            stream.write_all(greeting).unwrap();
            // Until the doctor hangs up.
            stream.set_read_timeout(Some(Duration::from_secs(1 + wait))).unwrap();
            while std::io::Read::read(&mut stream, &mut [0; 4_096]).is_ok_and(|count| count > 0) {}
        });
        at(&address).names("server", "no TLS", "ask the operator", 3);
        serving.join().unwrap();
    }
}

/// Goal: a key that is not the one expected is named, by what was expected: a fingerprint, the key of before, a
/// certificate that has not expired. Who is not known is not told a password.
#[test]
fn planted_in_trust() {
    let clinic = Clinic::open();
    let none = ["--input", "none", "--output", "none"];
    let wrong = "00".repeat(32);
    clinic.doctor_with(&["--fingerprint", &wrong], &none).names("trust", "was asked for", "ask the operator", 4);

    let unknown = Seen::of(clinic.stranger(&["doctor"]).args(none));
    assert_eq!(unknown.result("trust"), "warning", "{}", unknown.all);
    assert!(unknown.remedy("trust").contains(&clinic.fingerprint), "{}", unknown.all);
    assert_eq!((unknown.result("login"), unknown.code), ("skipped".to_owned(), 0));

    let known = clinic.home().join(".local/share/echomesh/known_servers");
    std::fs::create_dir_all(known.parent().unwrap()).unwrap();
    std::fs::write(&known, format!("127.0.0.1:{} SHA256:{wrong}\n", clinic.port)).unwrap();
    let changed = Seen::of(clinic.stranger(&["doctor"]).args(none));
    changed.names("trust", "has changed", "delete the line", 4);

    let (address, authority) = certified_server(clinic.home());
    std::fs::write(&known, format!("{address} ca\n")).unwrap();
    let mut command = clinic.stranger(&["doctor", "--server", &address]);
    Seen::of(command.args(none).env("SSL_CERT_FILE", authority)).names("trust", "expired", "renew", 4);
}

/// Goal: a login that the server refuses is named by its reason.
#[test]
fn planted_in_the_login() {
    let clinic = Clinic::open();
    let none = ["--input", "none", "--output", "none"];
    let mut wrong = clinic.command(&[]);
    Seen::of(wrong.args(none).env("ECHOMESH_PASSWORD", "not this one")).names(
        "login",
        "refused",
        "type the password",
        5,
    );
    let mut made = clinic.command(&["--user", "misspelt"]);
    let made = Seen::of(made.args(none));
    assert_eq!(made.result("login"), "warning", "{}", made.all);
    assert!(made.remedy("login").contains("account delete"), "{}", made.all);

    let closed = Clinic::open_with(&["--registration", "closed"]);
    Seen::of(closed.command(&["--user", "nobody"]).args(none)).names("login", "refused", "invitation", 5);
}

/// Goal: where UDP does not get through, it is said that voice goes by TCP, and what to open. Method: TCP is forwarded from
/// another address of this machine, where nobody takes UDP.
#[test]
fn planted_in_udp() {
    let clinic = Clinic::open();
    let server = clinic.forwarded("127.0.0.2");
    let seen = clinic.doctor_with(&["--server", &server], &["--input", "none", "--output", "none"]);
    assert_eq!(seen.result("voice by UDP"), "warning", "{}", seen.all);
    assert!(seen.remedy("voice by UDP").contains("firewall"), "{}", seen.all);
    assert_eq!((seen.result("NAT"), seen.code), ("skipped".to_owned(), 0), "{}", seen.all);
}

/// Goal: a firewall that knows one UDP port of the client's and no other is named, and so is a way that loses packets.
/// Method: UDP is forwarded too, but only from the port that came first, or but for each tenth datagram.
#[test]
fn planted_behind_udp() {
    for (passes, loses) in [((|_| true) as fn(u64) -> bool, false), (|number| number % 10 != 9, true)] {
        let clinic = Clinic::open();
        let server = clinic.forwarded("127.0.0.3");
        clinic.forward_voice("127.0.0.3", passes);
        let seen = clinic.doctor_with(&["--server", &server], &["--input", "none", "--output", "none"]);
        assert_eq!(seen.result("voice by UDP"), "ok", "{}", seen.all);
        seen.names("NAT", "another UDP port", "firewall", 3);
        let expected = if loses { "warning" } else { "ok" };
        assert_eq!(seen.result("voice path"), expected, "{}", seen.all);
        assert!(!loses || seen.remedy("voice path").contains("Wi-Fi"), "{}", seen.all);
    }
}

/// Goal: devices that are not there, that are none, or that do less than a call wants are named. Method: ALSA's own
/// plugins, which need no card.
#[test]
fn planted_in_devices() {
    let clinic = Clinic::open();
    let config = clinic.home().join("asound.conf");
    let text = "</usr/share/alsa/alsa.conf>\n\
                pcm.noserver { type pulse server \"unix:/nonexistent/native\" }\n\
                pcm.folder { type file slave.pcm null file /nonexistent/out infile /dev/zero format raw }\n";
    std::fs::write(&config, text).unwrap();
    let of = |input: &str, output: &str| {
        let mut command = clinic.command(&["--server", "127.0.0.1:1"]);
        Seen::of(command.args(["--input", input, "--output", output]).env("ALSA_CONFIG_PATH", &config))
    };
    let seen = of("alsa:nosuchdevice", "alsa:null");
    seen.names("microphone", "nosuchdevice", "--input", 3);
    seen.names("loudspeaker", "no real device", "echomesh devices", 3);
    let seen = of("alsa:folder", "none");
    assert_eq!(seen.result("microphone"), "fault", "{}", seen.all);
    assert_eq!(seen.result("loudspeaker"), "skipped", "{}", seen.all);
    if Path::new("/usr/bin/pulseaudio").exists() {
        of("alsa:noserver", "none").names("microphone", "sound server", "pipewire", 3);
    }
}

/// Goal: a microphone that is silent and one that is overdriven are named, and devices that work are found to. Method: a
/// null sink of PulseAudio's, nothing and then a square wave at full scale played to it.
#[test]
fn planted_in_the_microphone() {
    let clinic = Clinic::open();
    let Some(pulse) = pulse(clinic.home()) else {
        eprintln!("SKIPPED: no PulseAudio, so no microphone was listened to");
        return;
    };
    let doctor = || {
        let mut command = clinic.command(&["--server", "127.0.0.1:1"]);
        Seen::of(command.args(["--input", "alsa:mic", "--output", "alsa:ear"]).env("ALSA_CONFIG_PATH", &pulse.config))
    };
    let seen = doctor();
    assert_eq!((seen.result("microphone"), seen.result("loudspeaker")), ("ok".into(), "ok".into()), "{}", seen.all);
    seen.names("microphone level", "silence", "unmute", 3);
    assert!(seen.all.contains("ppm beside the system's clock"), "{}", seen.all);
    let playing = pulse.overdrive();
    let seen = doctor();
    drop(playing);
    assert_eq!(seen.result("microphone level"), "warning", "{}", seen.all);
    assert!(seen.remedy("microphone level").contains("turn it down"), "{}", seen.all);
}

/// Goal: without real-time rights, what to write where is said. Method: a limit of 0, and a user who may not do without.
#[test]
fn planted_in_rights() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root || Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("SKIPPED: only root can give rights away, by setpriv");
        return;
    }
    // Where another user may run it.
    let program = home.path().join("echomesh");
    std::fs::copy(env!("CARGO_BIN_EXE_echomesh"), &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "prlimit"]);
    command.args(["--rtprio=0", "--nice=0"]).arg(&program).arg("doctor").arg("--json").env_clear();
    command.args(["--input", "none", "--output", "none", "--server", "127.0.0.1:1", "--user", "ann"]);
    let seen = Seen::of(command.env("PATH", "/usr/bin:/bin").env("HOME", home.path()).env("ECHOMESH_PASSWORD", "x"));
    assert_eq!(seen.result("real time"), "warning", "{}", seen.all);
    assert!(seen.remedy("real time").contains("limits.d"), "{}", seen.all);
}

/// Goal: people read sentences, not objects, and a sum at the end.
#[test]
fn people_are_told_in_lines() {
    let clinic = Clinic::open();
    let mut command = clinic.client(&["--server", "127.0.0.1:1", "doctor"]);
    let told = command.args(["--input", "none", "--output", "none"]).output().unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.contains("FAULT   connection") && text.contains("to do: start the server"), "{text}");
    assert!(text.lines().last().unwrap().ends_with("1 fault"), "{text}");
    assert!(String::from_utf8_lossy(&told.stderr).contains("1 fault: connection"));
    assert_eq!(told.status.code(), Some(3));
}
