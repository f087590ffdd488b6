//! Clients that come back to the real server: from another address, onto another shard, after a restart.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use echomesh_proto::control::{
    Body, LoginRequest, LoginResponse, Member, ResumeRequest, RoomActionType, RoomEventType, RoomState, StatusCode, Who,
};
use running::voice::Voice;
use running::{Client, Server, action, chat};
use socket2::{Domain, Protocol, Socket, Type};

/// Most that all may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How soon who comes back must be heard again.
const BACK_MAX: Duration = Duration::from_secs(1);

/// Connections to try until one lands on another shard: the system spreads them by their ports.
const CONNECTIONS_MAX: usize = 64;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const AWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A connection from an address of this machine.
fn connect_from(server: &Server, address: IpAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::new(address, 0).into()).unwrap();
    socket.connect(&SocketAddr::new(HOME, server.port).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client { stream }
}

fn logged_in(client: &mut Client, request: Body) -> LoginResponse {
    client.send(request);
    loop {
        match client.next().expect("an answer") {
            Body::LoginResponse(response) => return response,
            Body::Status(status) => panic!("{status:?}"),
            _ => {}
        }
    }
}

/// Logs in as a client that resumes, and enters the room.
fn member(server: &Server, name: &str, room: &str) -> (Client, LoginResponse) {
    let mut client = server.connect();
    let (username, password, features) = (name.to_owned(), "secret".to_owned(), 1);
    let login = LoginRequest { username, password, features, ..LoginRequest::default() };
    let response = logged_in(&mut client, Body::LoginRequest(login));
    client.send(action(RoomActionType::RaCreate, room));
    client.next().expect("an answer");
    join(&mut client, room);
    (client, response)
}

fn join(client: &mut Client, room: &str) -> RoomState {
    client.send(action(RoomActionType::RaJoin, room));
    loop {
        match client.next().expect("an answer") {
            Body::RoomState(state) if state.action_type() == RoomActionType::RaJoin => return state,
            Body::Status(status) => panic!("{status:?}"),
            _ => {}
        }
    }
}

fn resume(client: &mut Client, token: &[u8]) -> LoginResponse {
    logged_in(client, Body::ResumeRequest(ResumeRequest { resume_token: token.to_vec().into() }))
}

fn shard_of(client: &mut Client) -> u32 {
    client.send(Body::Who(Who::default()));
    loop {
        if let Body::Who(who) = client.next().expect("an answer") {
            return who.shard;
        }
    }
}

/// Speaks until the listener hears it; how long that took.
fn heard_after(speaker: &mut Voice, listener: &mut Voice, payload: &[u8]) -> Duration {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        listener.report();
        speaker.say(payload);
        if listener.hear() == Some((speaker.ssrc, payload.to_vec())) {
            return start.elapsed();
        }
    }
    panic!("not heard");
}

/// Everything that a client was told up to the answer to a ping of its own: who came and who left.
fn comings_and_goings(client: &mut Client, line: &str) -> Vec<(RoomEventType, Member)> {
    client.send(chat("hall", line, ""));
    let mut seen = Vec::new();
    loop {
        match client.next().expect("an answer") {
            Body::ChatMsg(stored) if stored.content == line => return seen,
            Body::RoomEvent(event) => {
                let moves =
                    event.deltas.into_iter().map(|delta| (delta.event_type(), delta.member.unwrap_or_default()));
                seen.extend(moves.filter(|(kind, _)| matches!(kind, RoomEventType::ReJoined | RoomEventType::ReLeft)));
            }
            _ => {}
        }
    }
}

/// Goal: a client that changes its address while it talks is heard with its next packet by UDP, and within a second
/// after a reset of its connection from another address and on another shard; its listener sees no leave
/// (PROTOCOL M93). Method: two shards, 127.0.0.1 and 127.0.0.2, a new UDP socket in mid-talk.
#[test]
fn a_client_roams_while_it_talks() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "2", "--spread-after", "1"]);
    let (mut ada, login) = member(&server, "ada", "hall");
    let (mut bob, _) = member(&server, "bob", "hall");
    let mut voice = Voice::open(&server, &mut ada, "hall");
    let mut ear = Voice::open(&server, &mut bob, "hall");
    assert_ne!(voice.ssrc.shard(), ear.ssrc.shard(), "voice crosses the mesh");
    heard_after(&mut voice, &mut ear, b"before");
    comings_and_goings(&mut bob, "all are here");
    // UDP: another address and port in mid-talk. The very next packet is heard.
    for (turn, address) in [AWAY, HOME, AWAY].into_iter().enumerate() {
        voice.rebind_from(&server, address);
        let payload = [turn as u8; 40];
        voice.say(&payload);
        let deadline = Instant::now() + PATIENCE;
        let heard = std::iter::from_fn(|| Some(ear.hear())).take_while(|_| Instant::now() < deadline).flatten();
        assert_eq!(heard.into_iter().next(), Some((voice.ssrc, payload.to_vec())), "the first that is heard");
    }
    // TCP: the connection is reset; the client is back from another address, and on another shard in the end.
    let mut shard = shard_of(&mut ada);
    let mut has_changed_shard = false;
    for attempt in 0..CONNECTIONS_MAX {
        let start = Instant::now();
        // A reset, not an end in order: the server may learn of it late or never.
        socket2::SockRef::from(&ada.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(ada);
        ada = connect_from(&server, if attempt % 2 == 0 { AWAY } else { HOME });
        let response = resume(&mut ada, &login.resume_token);
        assert_eq!(response.status_code(), StatusCode::StatusOk, "{}", response.message);
        assert_eq!((response.session_id, response.rooms), (login.session_id, vec!["hall".to_owned()]));
        heard_after(&mut voice, &mut ear, b"the stream went on");
        assert!(start.elapsed() < BACK_MAX, "back after {:?}", start.elapsed());
        join(&mut ada, "hall");
        let now = shard_of(&mut ada);
        has_changed_shard |= std::mem::replace(&mut shard, now) != now;
        if has_changed_shard && attempt >= 3 {
            break;
        }
    }
    assert!(has_changed_shard, "all connections came to one shard");
    // Its voice may also be opened anew, as a client does that lost its keys.
    let start = Instant::now();
    let mut again = Voice::open(&server, &mut ada, "hall");
    assert_eq!(again.ssrc, voice.ssrc, "its stream is the same");
    heard_after(&mut again, &mut ear, b"with new keys");
    assert!(start.elapsed() < BACK_MAX, "heard after {:?}", start.elapsed());
    assert_eq!(comings_and_goings(&mut bob, "nobody left"), []);
    drop((ada, bob));
    server.stop();
}

/// Goal: after a SIGKILL, and after a stop, of the server and a start on the same data, sessions resume with their
/// tokens in their rooms, see each other there with the ids of before, and see nobody come or go; one that was banned
/// meanwhile, or whose account had its sessions ended, does not (PROTOCOL M90, M91, M92).
#[test]
fn sessions_survive_a_restart() {
    for kill in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["--port", "0", "--shards", "2"];
        let mut server = Server::start(directory.path(), &arguments);
        let names = ["ada", "bob", "eve"];
        let mut people: Vec<(Client, LoginResponse)> = names.iter().map(|name| member(&server, name, "hall")).collect();
        // Written behind: wait until the store has all three, as an operator would look.
        wait_for_sessions(directory.path(), 3);
        for _ in 0..2 {
            if kill {
                server.kill();
            } else {
                server.stop();
            }
            server = Server::start(directory.path(), &arguments);
            let start = Instant::now();
            for (client, login) in &mut people {
                *client = server.connect();
                let response = resume(client, &login.resume_token);
                assert_eq!(response.status_code(), StatusCode::StatusOk, "{}", response.message);
                assert_eq!((response.session_id, &response.rooms[..]), (login.session_id, &["hall".to_owned()][..]));
                let state = join(client, "hall");
                let mut there: Vec<&str> = state.members.iter().map(|member| member.username.as_str()).collect();
                there.sort_unstable();
                assert_eq!(there, names);
            }
            assert!(start.elapsed() < BACK_MAX, "all back after {:?}", start.elapsed());
            for (client, _) in &mut people {
                assert_eq!(comings_and_goings(client, "here again"), []);
            }
        }
        server.kill();
        run_sql(directory.path(), "UPDATE accounts SET session_epoch = session_epoch + 1 WHERE key = 'eve'");
        server = Server::start(directory.path(), &arguments);
        let answers: Vec<StatusCode> =
            people.iter().map(|(_, login)| resume(&mut server.connect(), &login.resume_token).status_code()).collect();
        assert_eq!(answers, [StatusCode::StatusOk, StatusCode::StatusOk, StatusCode::StatusSessionGone]);
        server.stop();
    }
}

/// Waits until so many sessions are in the database.
fn wait_for_sessions(data_dir: &std::path::Path, wanted: i64) {
    let deadline = Instant::now() + PATIENCE;
    while run_sql(data_dir, "SELECT count(*) FROM sessions") != Some(wanted) {
        assert!(Instant::now() < deadline, "the sessions are not written");
    }
}

/// A statement on the server's database, beside it; the first number of its answer.
fn run_sql(data_dir: &std::path::Path, sql: &str) -> Option<i64> {
    use sqlx::{ConnectOptions, Row};
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data_dir.join("echomesh.sqlite3"));
        let mut connection = options.connect().await.unwrap();
        let row = sqlx::query(sql).fetch_optional(&mut connection).await.unwrap();
        row.map(|row| row.get(0))
    })
}
