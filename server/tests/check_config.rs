//! `echomesh-server check-config`: what holds and who says so, or what is wrong, without starting anything.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Exit code, standard output and standard error.
fn check(data_dir: &Path, change: impl Fn(&mut Command)) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echomesh-server"));
    command.arg("--data-dir").arg(data_dir).arg("check-config");
    change(&mut command);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn write(data_dir: &Path, text: &str) {
    std::fs::write(data_dir.join("server.toml"), text).unwrap();
}

/// The words of a key's row.
fn row(told: &str, key: &str) -> Vec<String> {
    let line = told.lines().find(|line| line.split(' ').next() == Some(key)).unwrap_or_else(|| panic!("{key}: {told}"));
    line.split_whitespace().map(str::to_owned).collect()
}

/// Goal: each value is shown with who set it, and nothing is made.
#[test]
fn settings_are_told_with_their_origin() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "# mine\nserver-name = \"Club\"\nport = 9000\nguests = true\n");
    let (code, told, error) = check(directory.path(), |command| {
        command.env("ECHOMESH_GUESTS", "false").env("ECHOMESH_PORT", "9001").args(["--config"]);
        command.arg(directory.path().join("server.toml"));
    });
    assert_eq!(code, Some(0), "{error}");
    let file = directory.path().join("server.toml").display().to_string();
    assert_eq!(row(&told, "server-name")[1..], ["\"Club\"", &format!("{file},"), "line", "2"]);
    assert_eq!(row(&told, "port")[1..], ["9001", "ECHOMESH_PORT"]);
    assert_eq!(row(&told, "guests")[1..], ["false", "ECHOMESH_GUESTS"]);
    assert_eq!(row(&told, "speakers-max")[1..], ["8", "default"]);
    assert_eq!(row(&told, "data-dir").last().unwrap(), "--data-dir");
    assert!(told.contains("self-signed, made in") && told.ends_with("all right\n"), "{told}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing but the file");
}

/// Goal: a file named after the command is the one that is looked at, whatever else names one.
#[test]
fn a_named_file_is_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "port = 9000\n");
    let other = directory.path().join("other.toml");
    std::fs::write(&other, "port = 9001\n").unwrap();
    let (code, told, error) = check(directory.path(), |command| {
        command.env("ECHOMESH_CONFIG", directory.path().join("server.toml")).arg(&other);
    });
    assert_eq!(code, Some(0), "{error}");
    let file = other.display().to_string();
    assert_eq!(row(&told, "port")[1..], ["9001", &format!("{file},"), "line", "1"]);
    let (code, _, error) = check(directory.path(), |command| {
        command.arg(directory.path().join("none.toml"));
    });
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("none.toml"), "{error}");
}

/// Goal: what is wrong is told with its place, by exit code 2 where it is a setting and 1 where it is the machine.
#[test]
fn what_is_wrong_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let bad = directory.path().join("bad.pem");
    std::fs::write(&bad, "no certificate").unwrap();
    let certificate = format!("tls-cert = {bad:?}\ntls-key = {bad:?}\n");
    for (text, wanted, sentence) in [
        ("\n\nvioce-port = 1\n", 2, "unknown key `vioce-port`, line 3; did you mean `voice-port`?"),
        ("shards = 65\n", 2, "line 1: shards is 65: it must be 1 to 64"),
        ("tls-cert = \"c.pem\"\n", 2, "tls-cert and tls-key go together"),
        ("log = \"a=b=c\"\n", 2, "is no filter"),
        ("address = \"192.0.2.1\"\n", 1, "cannot listen on 192.0.2.1"),
        (&certificate, 1, "bad.pem"),
    ] {
        write(directory.path(), text);
        let (code, told, error) = check(directory.path(), |_| {});
        assert_eq!((code, told.as_str()), (Some(wanted), ""), "{error}");
        assert!(error.contains(sentence), "{error}");
    }
    write(directory.path(), "");
    let (code, _, error) = check(directory.path(), |command| {
        command.env("ECHOMESH_SHARDS", "65");
    });
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("ECHOMESH_SHARDS: shards is 65"), "{error}");
    let (code, _, error) = check(&bad.join("data"), |_| {});
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("is no directory"), "{error}");
}

/// Goal: a database's password is shown nowhere, and a file that lets others read it is warned of.
#[test]
fn passwords_are_hidden() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "database = \"postgres://ada:tops3cret@db.example/chat\"\n");
    let file = directory.path().join("server.toml");
    for (mode, is_warned) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let (code, told, error) = check(directory.path(), |_| {});
        assert_eq!(code, Some(0), "{error}");
        assert_eq!(row(&told, "database")[1], "postgres://ada@db.example:5432/chat");
        assert!(!told.contains("s3cret") && !error.contains("s3cret"), "{told}{error}");
        assert_eq!(told.contains("chmod o-r"), is_warned, "{told}");
    }
}
