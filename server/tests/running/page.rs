//! The admin page as a browser asks it: HTTP over a plain socket, cookie and token kept.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::Server;

/// Most any answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Answer {
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// A browser with one tab.
#[derive(Clone)]
pub struct Page {
    pub address: String,
    pub cookie: String,
    pub token: String,
}

impl Page {
    /// Not logged in.
    pub fn of(server: &Server) -> Self {
        let line = server.summary.lines().find_map(|line| line.trim().strip_prefix("admin page")).expect("a page");
        let address = line.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { address, cookie: String::new(), token: String::new() }
    }

    /// Logged in.
    pub fn open(server: &Server, name: &str) -> Self {
        let mut page = Self::of(server);
        let answer = page.log_in(name, "secret");
        assert_eq!(answer.status, 200, "{}", answer.body);
        page
    }

    pub fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Answer { status, headers, body: body.to_owned() }
    }

    fn own_headers(&self) -> String {
        let Self { address, cookie, token } = self;
        format!("Host: {address}\r\nCookie: other=1; echomesh-admin={cookie}\r\nX-EchoMesh-Token: {token}\r\n")
    }

    pub fn get(&self, path: &str) -> Answer {
        self.raw(&format!("GET {path} HTTP/1.1\r\n{}\r\n", self.own_headers()))
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        let origin = format!("Origin: http://{}\r\n", self.address);
        self.post_with(path, body, &format!("Content-Type: application/json\r\n{origin}"))
    }

    pub fn post_with(&self, path: &str, body: &str, headers: &str) -> Answer {
        let length = body.len();
        let own = self.own_headers();
        self.raw(&format!("POST {path} HTTP/1.1\r\n{own}{headers}Content-Length: {length}\r\n\r\n{body}"))
    }

    pub fn log_in(&mut self, name: &str, password: &str) -> Answer {
        let answer = self.post("/api/login", &format!(r#"{{"name":"{name}","password":"{password}"}}"#));
        if answer.status == 200 {
            let cookie = answer.header("set-cookie");
            self.cookie = cookie.split(';').next().unwrap().strip_prefix("echomesh-admin=").unwrap().to_owned();
            self.token = answer.json()["token"].as_str().unwrap().to_owned();
        }
        answer
    }

    pub fn state(&self) -> Value {
        let answer = self.get("/api/state");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Asks for the state until it is as wanted: shards tell theirs once a second.
    pub fn state_with(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let state = self.state();
            if wanted(&state) {
                return state;
            }
            assert!(std::time::Instant::now() < deadline, "{what}: {state:#}");
        }
    }
}

/// A member of a room in a state.
pub fn person<'a>(state: &'a Value, room: &str, name: &str) -> Option<&'a Value> {
    let rooms = state["rooms"].as_array()?;
    let people = rooms.iter().find(|known| known["name"] == room)?["people"].as_array()?;
    people.iter().find(|person| person["name"] == name)
}
