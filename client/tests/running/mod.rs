//! Programs in child processes: the real server, which cargo is asked to build if it is missing, and `echomesh`.

#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

/// A process that a failing test does not leave behind.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }
}

/// Reads lines until one holds these words; gives that line.
pub fn await_line(lines: &mut impl BufRead, words: &str) -> String {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it said {words:?}: {all}");
        if line.contains(words) {
            return line;
        }
        all.push_str(&line);
    }
}

/// The port that a server on 127.0.0.1 says it listens on.
pub fn await_port(lines: &mut impl BufRead) -> u16 {
    let said = "listening on 127.0.0.1:";
    let line = await_line(lines, said);
    let digits: String = line.trim_start_matches(said).chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// The server's program, beside the one under test.
pub fn server_program() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_echomesh")).with_file_name("echomesh-server");
    if !path.exists() {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let built = Command::new(cargo).args(["build", "-q", "-p", "echomesh-server"]).status().unwrap();
        assert!(built.success() && path.exists(), "no {}: cargo build -p echomesh-server", path.display());
    }
    path
}

/// A server with its data below `home`, on this port (0: any), and the port it has. Its output must stay open.
pub fn server(home: &Path, port: u16) -> (Running, BufReader<ChildStdout>, u16) {
    let mut child = Command::new(server_program())
        .arg("--data-dir")
        .arg(home.join("data"))
        .args(["--address", "127.0.0.1", "--shards", "1", "--log", "warn", "--port", &port.to_string()])
        .args(["--admin", "off", "--password-memory-kib", "8", "--password-passes", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let running = Running(child);
    let port = await_port(&mut output);
    (running, output, port)
}

/// What a program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn succeeded(output: &Output) {
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
}

/// `echomesh` as this user, with nothing to read.
pub fn client(home: &Path, port: u16, user: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echomesh"));
    command
        .args(arguments)
        .args(["--plaintext", "--server", &format!("127.0.0.1:{port}")])
        .env_clear()
        .env("HOME", home)
        .env("ECHOMESH_USER", user)
        .env("ECHOMESH_PASSWORD", "a long secret")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
