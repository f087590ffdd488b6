//! The real server in a child process, and a minimal plaintext client: the ground of the end-to-end tests.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod log;
pub mod page;
pub mod postgres;
pub mod voice;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use echomesh_proto::control::{Body, ChatMsg, EchoMsg, LoginRequest, RoomAction, RoomActionType};
use prost::Message;

/// Most any answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Server {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    /// Everything up to the line that says where it listens.
    pub summary: String,
    pub port: u16,
    pub voice_port: u16,
}

pub fn command(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echomesh-server"));
    command.arg("--data-dir").arg(data_dir).args(["--address", "127.0.0.1"]).args(arguments);
    // Tests run beside each other: one that wants the admin page says where. A flag wins.
    command.env("ECHOMESH_ADMIN", "off");
    command
}

/// A test that fails leaves no server behind.
impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        Self::start_with(&mut command(data_dir, arguments))
    }

    pub fn start_with(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, output, summary: String::new(), port: 0, voice_port: 0 };
        while server.port == 0 {
            let mut line = String::new();
            assert!(server.output.read_line(&mut line).unwrap() > 0, "the server ended: {}", server.summary);
            if let Some(rest) = line.strip_prefix("listening on 127.0.0.1:") {
                let mut ports = rest.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
                server.port = ports.next().unwrap();
                server.voice_port = ports.next().unwrap();
            }
            server.summary.push_str(&line);
        }
        server
    }

    /// SIGTERM, and no more.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    pub fn signal(&self, name: &str) {
        let killed = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// SIGKILL.
    pub fn kill(self) {}

    /// SIGTERM; gives the totals it prints.
    pub fn stop(self) -> String {
        self.terminate();
        self.ended()
    }

    /// Waits for its end in order; gives the totals it prints.
    pub fn ended(mut self) -> String {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        rest
    }

    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream }
    }

    /// The same, whose session can be resumed by the token.
    pub fn resumable(&self, name: &str, room: &str) -> (Client, Vec<u8>) {
        let mut client = self.connect();
        let Body::LoginRequest(request) = login(name, "secret") else { unreachable!("login makes one") };
        client.send(Body::LoginRequest(LoginRequest { features: 1, ..request }));
        let Some(Body::LoginResponse(response)) = client.next() else { panic!("no login") };
        for kind in [RoomActionType::RaCreate, RoomActionType::RaJoin] {
            client.send(action(kind, room));
            client.next().expect("an answer");
        }
        (client, response.resume_token.to_vec())
    }

    /// A client that is logged in and in the room.
    pub fn member(&self, name: &str, room: &str) -> Client {
        let mut client = self.connect();
        client.send(login(name, "secret"));
        client.send(action(RoomActionType::RaCreate, room));
        client.send(action(RoomActionType::RaJoin, room));
        for _ in 0..3 {
            client.next().expect("an answer");
        }
        client
    }
}

pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub fn send(&mut self, body: Body) {
        let mut frame = Vec::new();
        EchoMsg::new(0, body).append_frame(&mut frame);
        // A killed server's reset shows at the next read.
        let _ = self.stream.write_all(&frame);
    }

    /// The next message; `None` when the connection is over.
    pub fn next(&mut self) -> Option<Body> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).ok()?;
        EchoMsg::decode(&frame[..]).unwrap().body
    }
}

pub fn login(name: &str, password: &str) -> Body {
    Body::LoginRequest(LoginRequest { username: name.into(), password: password.into(), ..LoginRequest::default() })
}

pub fn action(kind: RoomActionType, room: &str) -> Body {
    Body::RoomAction(RoomAction { action_type: kind as i32, room_id: room.into(), ..RoomAction::default() })
}

pub fn chat(room: &str, content: &str, client_id: &str) -> Body {
    Body::ChatMsg(ChatMsg {
        room_id: room.into(),
        content: content.into(),
        client_id: client_id.into(),
        ..ChatMsg::default()
    })
}
