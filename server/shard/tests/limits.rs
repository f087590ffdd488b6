//! Limits against abuse: connections, requests, bytes, wrong secrets, memory. Who is beyond one is told so; others do not
//! notice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Client, Cluster, Microphone, action, chat, code, login, open};
use echomesh_proto::control::{
    Account, AccountAction, Body, ClaimRequest, EchoMsg, LoginRequest, Ping, ResumeRequest, RoomAction, RoomActionType,
    Status, StatusCode as S, VoiceFrame,
};
use echomesh_proto::ids::ConnectionId;
use echomesh_shard::{CloseReason, Drop, Input, Limits, Rate, Registration, Security, ShardSettings, TICK_US};

const SECOND_US: u64 = 1_000_000;

fn limited(shards: u8, change: impl Fn(&mut Limits)) -> Cluster {
    Cluster::with(shards, |config| change(&mut config.limits))
}

fn connect(cluster: &mut Cluster, address: &str) -> Client {
    cluster.connect_as(0, &format!("{address}:4000"), Security::Tls)
}

/// A connection of which no byte has come.
fn half_open(cluster: &mut Cluster, slot: u32, address: &str) -> Client {
    let id = ConnectionId { slot, generation: 1 };
    let (remote, local) = (format!("{address}:4000").parse().unwrap(), "127.0.0.1:8888".parse().unwrap());
    cluster.input(0, Input::Accepted { connection: id, remote, local });
    Client { shard: 0, id }
}

/// What a connection that was closed was told: the code, and when to come again.
fn told(cluster: &mut Cluster, client: Client) -> (S, u32) {
    match &cluster.take(client)[..] {
        [Body::Status(status)] => (status.status_code(), status.retry_after_ms),
        other => panic!("one notice, not {other:?}"),
    }
}

fn again(body: &Body) -> u32 {
    assert_eq!(code(body), S::StatusTryAgain);
    match body {
        Body::Status(Status { retry_after_ms, message, .. }) if !message.is_empty() => *retry_after_ms,
        Body::LoginResponse(response) if !response.message.is_empty() => response.retry_after_ms,
        other => panic!("no sentence: {other:?}"),
    }
}

fn ping() -> Body {
    Body::Ping(Ping::default())
}

/// Goal: an address has so many connections and no more, an IPv6 /64 is one address, who is beyond is told, and a place
/// is free again when a connection ends (PROTOCOL M95).
#[test]
fn an_address_has_so_many_connections() {
    let mut cluster = limited(1, |limits| limits.address_connections_max = 2);
    for (first, second, same, other) in [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("[2001:db8::1]", "[2001:db8::2]", "[2001:db8:0:0:ffff::3]", "[2001:db8:0:1::1]"),
    ] {
        let inside = [first, second].map(|address| connect(&mut cluster, address));
        let beyond = connect(&mut cluster, same);
        assert_eq!(told(&mut cluster, beyond), (S::StatusLimit, 0));
        assert_eq!(cluster.closed[&beyond], CloseReason::AddressLimit);
        let elsewhere = connect(&mut cluster, other);
        cluster.close(inside[0]);
        let next = connect(&mut cluster, same);
        for client in [inside[1], elsewhere, next] {
            assert!(!cluster.closed.contains_key(&client));
        }
    }
}

/// Goal: fewer of an address's connections may be without a login; a login and a resume free the place, and so does the
/// end (PROTOCOL M95).
#[test]
fn strangers_of_an_address_are_few() {
    let mut cluster = limited(1, |limits| limits.address_strangers_max = 1);
    let ada = connect(&mut cluster, "192.0.2.1");
    let beyond = connect(&mut cluster, "192.0.2.1");
    assert_eq!(told(&mut cluster, beyond), (S::StatusTryAgain, 1_000));
    let token = cluster.login(ada, "ada", 1).resume_token;
    cluster.ask(ada, action(RoomActionType::RaCreate, "hall"));
    cluster.ask(ada, action(RoomActionType::RaJoin, "hall"));
    let back = connect(&mut cluster, "192.0.2.1");
    let resume = Body::ResumeRequest(ResumeRequest { resume_token: token });
    assert_eq!(cluster.code(back, resume), S::StatusOk, "its old connection ends by it");
    let next = connect(&mut cluster, "192.0.2.1");
    cluster.close(next);
    let last = connect(&mut cluster, "192.0.2.1");
    assert!(!cluster.closed.contains_key(&last));
}

/// Goal: an address connects so often and no more, is told when it may again, and can then; others are not held up
/// (PROTOCOL M95).
#[test]
fn an_address_connects_at_a_rate() {
    let mut cluster = limited(1, |limits| limits.connects = Rate::per_second(2, 3));
    for _ in 0..3 {
        let client = connect(&mut cluster, "192.0.2.1");
        assert!(!cluster.closed.contains_key(&client));
    }
    let beyond = connect(&mut cluster, "192.0.2.1");
    assert_eq!(told(&mut cluster, beyond), (S::StatusTryAgain, 500));
    assert_eq!(cluster.closed[&beyond], CloseReason::ConnectRate);
    let other = connect(&mut cluster, "192.0.2.2");
    cluster.pass(SECOND_US / 2);
    let later = connect(&mut cluster, "192.0.2.1");
    assert!(!cluster.closed.contains_key(&other) && !cluster.closed.contains_key(&later));
}

/// Goal: strangers from everywhere together have a bound, and those logged in do not count (PROTOCOL M95).
#[test]
fn strangers_of_a_shard_have_a_bound() {
    let mut cluster = limited(1, |limits| limits.strangers_max = 3);
    let strangers: Vec<Client> = (1..=3).map(|host| connect(&mut cluster, &format!("192.0.2.{host}"))).collect();
    let beyond = connect(&mut cluster, "192.0.2.9");
    assert_eq!(told(&mut cluster, beyond), (S::StatusTryAgain, 1_000));
    assert_eq!(cluster.closed[&beyond], CloseReason::StrangersLimit);
    cluster.login(strangers[0], "ada", 1);
    let next = connect(&mut cluster, "192.0.2.9");
    assert!(!cluster.closed.contains_key(&next));
}

/// Goal: the telling is bounded too, by address and in all and by rate: who comes far beyond a limit is closed at once,
/// without words, and counted (PROTOCOL M95).
#[test]
fn far_beyond_a_limit_nothing_is_said() {
    let mut cluster = limited(1, |limits| {
        (limits.address_connections_max, limits.address_strangers_max, limits.strangers_max) = (2, 2, 4);
    });
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"] {
        let slot = 10 * u32::from(address.as_bytes()[8]);
        let all: Vec<Client> = (slot..slot + 6).map(|slot| half_open(&mut cluster, slot, address)).collect();
        let silent = all.iter().filter(|client| cluster.closed.get(client) == Some(&CloseReason::Flood)).count();
        // Two of each of the first two come in, two of each wait to be told: then both bounds of all are reached.
        assert_eq!(silent, if address < "192.0.2.3" { 2 } else { 6 }, "{address}");
    }
    assert_eq!(cluster.shards[0].counters().closed(CloseReason::Flood), 16);

    let mut cluster = limited(1, |limits| limits.connects = Rate::per_second(1, 2));
    let all: Vec<Client> = (0..10).map(|_| connect(&mut cluster, "192.0.2.1")).collect();
    let reasons: Vec<Option<&CloseReason>> = all.iter().map(|client| cluster.closed.get(client)).collect();
    assert_eq!(reasons[..4], [None, None, Some(&CloseReason::ConnectRate), Some(&CloseReason::ConnectRate)]);
    assert!(reasons[4..].iter().all(|reason| *reason == Some(&CloseReason::Flood)), "{reasons:?}");
    // Who waits to be told and says nothing does not wait for ever.
    cluster.pass(12 * SECOND_US);
    let next = connect(&mut cluster, "192.0.2.1");
    assert!(!cluster.closed.contains_key(&next));
}

/// Goal: a request beyond its connection's rate is not done, its answer says when to try again, and then it is done;
/// logins are answered as logins are; other connections are not held up (PROTOCOL M96).
#[test]
fn requests_have_a_rate() {
    let mut cluster = limited(2, |limits| limits.requests = Rate::per_second(4, 6));
    let (ada, bob) = (cluster.member(0, "ada", "hall"), cluster.member(0, "bob", "hall"));
    for _ in 0..3 {
        cluster.ask(ada, ping());
    }
    let wait_ms = again(&cluster.ask(ada, chat("hall", "one too many")));
    assert_eq!(wait_ms, 250);
    assert_eq!(cluster.code(bob, chat("hall", "mine")), S::StatusOk);
    assert_eq!(cluster.shards.iter().map(|shard| shard.counters().chat_stored).sum::<u64>(), 1);
    cluster.pass(u64::from(wait_ms) * 1_000);
    assert_eq!(cluster.code(ada, chat("hall", "again")), S::StatusOk);
    let stranger = cluster.connect(1);
    for _ in 0..6 {
        cluster.ask(stranger, ping());
    }
    let refused = cluster.ask(stranger, login("eve", "secret", 1));
    assert!(matches!(refused, Body::LoginResponse(_)) && again(&refused) == 250);
    assert_eq!(cluster.shards[1].counters().too_fast, 1);
    assert!(cluster.closed.is_empty());
}

/// Goal: voice frames in the control connection have a rate of their own: what is beyond is dropped and counted, and no
/// request is refused for them (PROTOCOL M96).
#[test]
fn voice_frames_have_a_rate_of_their_own() {
    let mut cluster = limited(1, |limits| {
        (limits.requests, limits.voice_frames) = (Rate::per_second(4, 10), Rate::per_second(20, 20));
    });
    let ada = cluster.member(0, "ada", "hall");
    let mut microphone = cluster.open_voice(ada, "hall", "127.0.0.1:7001");
    for _ in 0..30 {
        let packet = microphone.packet().into();
        cluster.send(ada, 0, Body::VoiceFrame(VoiceFrame { packet, ssrc: 0 }));
    }
    cluster.run();
    let counters = cluster.shards[0].counters();
    assert_eq!((counters.dropped(Drop::TunnelRate), counters.voice_received), (10, 20));
    cluster.ask(ada, ping());
    assert_eq!(cluster.shards[0].counters().too_fast, 0);
}

/// Goal: a client is told the bit rate it may have, and a stream that sends far more is cut down to what that is worth,
/// while others are heard; what is forged in its name costs it nothing, and who keeps to it loses nothing (PROTOCOL M100).
#[test]
fn a_stream_has_a_rate() {
    let mut cluster = limited(1, |limits| limits.bitrate_max = 32_000);
    let (ada, bob) = (cluster.member(0, "ada", "hall"), cluster.member(0, "bob", "hall"));
    let Body::VoiceAnnounce(told) = cluster.ask(ada, Body::VoiceAnnounce(open("hall"))) else { panic!() };
    assert_eq!(told.bitrate_max, 32_000);
    let mut loud = cluster.open_voice(ada, "hall", "127.0.0.1:7001");
    let mut other = cluster.open_voice(bob, "hall", "127.0.0.1:7002");
    let received = |cluster: &Cluster| cluster.shards[0].counters().voice_received;
    let talk = |cluster: &mut Cluster, microphone: &mut Microphone, ticks: usize, packets: usize| {
        let before = received(cluster);
        for _ in 0..ticks {
            (0..packets).for_each(|_| drop(cluster.talk(microphone)));
            cluster.pass(TICK_US);
        }
        received(cluster) - before
    };
    for _ in 0..2_000 {
        let mut forged = loud.packet();
        *forged.last_mut().unwrap() ^= 1;
        cluster.datagram(0, loud.address, forged);
    }
    assert_eq!(cluster.shards[0].counters().dropped(Drop::AuthFailed), 2_000);
    assert_eq!(talk(&mut cluster, &mut loud, 1, 2_000), 81, "a fifth of a second's worth, and one that is too much");
    assert_eq!(cluster.shards[0].counters().dropped(Drop::StreamRate), 1_919);
    assert_eq!(talk(&mut cluster, &mut other, 1, 1), 1);
    cluster.pass(SECOND_US);
    assert_eq!(talk(&mut cluster, &mut loud, 100, 20), 2_000, "packets as short as Opus has");
    loud.payload = 60;
    assert_eq!(talk(&mut cluster, &mut loud, 200, 5), 1_000, "48 kbit/s");
    loud.payload = 120;
    let passed = talk(&mut cluster, &mut loud, 200, 5);
    assert!((545..560).contains(&passed), "96 kbit/s for 10 s: half of it, and what one second is worth: {passed}");
    let mut loud = cluster.open_voice(ada, "hall", "127.0.0.1:7001");
    loud.payload = 120;
    assert!(talk(&mut cluster, &mut loud, 1, 50) < 5, "new keys are no new budget");
    for _ in 0..50 {
        let packet = loud.packet().into();
        cluster.send(ada, 0, Body::VoiceFrame(VoiceFrame { packet, ssrc: 0 }));
    }
    let before = received(&cluster);
    cluster.run();
    assert!(received(&cluster) - before < 5, "nor is another way");
}

/// Goal: what the operator allows another time does not cut those who were told more, until they open voice again; and
/// lifting the limit lifts it for everybody (PROTOCOL M100).
#[test]
fn a_streams_rate_is_the_one_it_was_told() {
    let mut cluster = limited(1, |limits| limits.bitrate_max = 64_000);
    let ada = cluster.member(0, "ada", "hall");
    let mut microphone = cluster.open_voice(ada, "hall", "127.0.0.1:7001");
    microphone.payload = 80;
    let allow = |cluster: &mut Cluster, bitrate_max: u32| {
        let limits = Limits { bitrate_max, ..Limits::default() };
        let settings = ShardSettings {
            server_name: "EchoMesh".into(),
            motd: String::new(),
            registration: Registration::Open,
            guests: false,
            speakers_max: 0,
            retention_days: 0,
            limits,
        };
        cluster.input(0, Input::Settings(Box::new(settings)));
    };
    let ten_seconds = |cluster: &mut Cluster, microphone: &mut Microphone| {
        let before = cluster.shards[0].counters().voice_received;
        for _ in 0..200 {
            (0..5).for_each(|_| drop(cluster.talk(microphone)));
            cluster.pass(TICK_US);
        }
        cluster.shards[0].counters().voice_received - before
    };
    allow(&mut cluster, 16_000);
    assert_eq!(ten_seconds(&mut cluster, &mut microphone), 1_000, "64 kbit/s");
    let mut microphone = cluster.open_voice(ada, "hall", "127.0.0.1:7001");
    microphone.payload = 80;
    assert!(ten_seconds(&mut cluster, &mut microphone) < 450, "of the 24 kbit/s that it may now");
    allow(&mut cluster, 0);
    assert_eq!(ten_seconds(&mut cluster, &mut microphone), 1_000);
}

/// Goal: who sends more bytes than its rate is not read from until they are paid for; nothing is lost, nothing it said
/// is done meanwhile, and tiny requests beyond their rate are slowed down so too (PROTOCOL M97).
#[test]
fn bytes_have_a_rate() {
    let mut cluster = limited(1, |limits| limits.bytes = Rate::per_second(10_000, 20_000));
    let ada = cluster.member(0, "ada", "hall");
    for _ in 0..8 {
        cluster.send(ada, 7, chat("hall", &"x".repeat(4_000)));
    }
    cluster.run();
    assert_eq!(cluster.paused, [ada]);
    let acknowledged = cluster.take(ada).len();
    assert_eq!(acknowledged, 4, "those that the burst paid for whole");
    cluster.pass(SECOND_US * 2);
    assert!(cluster.paused.is_empty());
    assert_eq!(cluster.take(ada).len(), 4);
    assert_eq!(cluster.shards[0].counters().slowed, 1);

    let mut cluster = limited(1, |limits| limits.requests = Rate::per_second(50, 300));
    let ada = cluster.member(0, "ada", "hall");
    for _ in 0..5_000 {
        cluster.send(ada, 7, ping());
    }
    cluster.run();
    assert_eq!(cluster.paused, [ada]);
    let answers = cluster.take(ada).len();
    assert!((2_000..2_500).contains(&answers), "2 MiB pay for {answers}");
    let before = cluster.shards[0].counters().too_fast;
    cluster.pass(SECOND_US);
    let refused = cluster.shards[0].counters().too_fast - before;
    assert!((200..300).contains(&refused), "256 KiB pay for {refused} a second");
}

fn wrong(name: &str) -> Body {
    login(name, "wrong", 0)
}

/// Goal: wrong passwords, tokens and codes from an address are few, whatever connection and shard they come by; then
/// nothing from there is even looked at for as long as was told, and right logins from elsewhere are not held up
/// (PROTOCOL M98).
#[test]
fn an_address_guesses_seldom() {
    let mut cluster = limited(2, |limits| limits.address_guesses = Rate::one_in(2, 3));
    let away = cluster.connect_as(0, "198.51.100.1:1", Security::Tls);
    cluster.login(away, "ada", 0);
    let from = |cluster: &mut Cluster, shard| cluster.connect_as(shard, "192.0.2.1:1", Security::Tls);
    let first = from(&mut cluster, 0);
    assert_eq!(cluster.code(first, wrong("ada")), S::StatusBadCredentials);
    let second = from(&mut cluster, 1);
    let token = Body::LoginRequest(LoginRequest { token: "wrong".into(), ..LoginRequest::default() });
    assert_eq!(cluster.code(second, token.clone()), S::StatusBadCredentials);
    let inside = from(&mut cluster, 1);
    cluster.login(inside, "bob", 0);
    let claim = || Body::ClaimRequest(ClaimRequest { code: "wrong".into() });
    assert_eq!(cluster.code(inside, claim()), S::StatusDenied);
    cluster.hold_hashes = true;
    for shard in 0..2 {
        let client = from(&mut cluster, shard);
        assert_eq!(again(&cluster.ask(client, login("ada", "secret", 0))), 2_000, "not even the right one");
        assert_eq!(again(&cluster.ask(client, token.clone())), 2_000);
    }
    assert_eq!(again(&cluster.ask(inside, claim())), 2_000);
    let password = Account { action: AccountAction::AaDelete as i32, password: "secret".into(), ..Account::default() };
    assert_eq!(again(&cluster.ask(inside, Body::Account(password))), 2_000);
    assert!(cluster.held_hashes.is_empty(), "nothing was hashed");
    assert_eq!(cluster.shards.iter().map(|shard| shard.counters().guesses_refused).sum::<u64>(), 6);
    cluster.hold_hashes = false;
    let elsewhere = cluster.connect_as(1, "192.0.2.2:1", Security::Tls);
    assert_eq!(cluster.login(elsewhere, "ada", 0).status_code, 0);
    cluster.pass(2 * SECOND_US);
    let later = from(&mut cluster, 0);
    assert_eq!(cluster.login(later, "ada", 0).status_code, 0);
}

/// Goal: who hangs up before a wrong password is refused has guessed all the same, on every shard (PROTOCOL M98).
#[test]
fn a_guess_counts_though_its_connection_is_gone() {
    let mut cluster = limited(2, |limits| limits.address_guesses = Rate::one_in(2, 3));
    let away = cluster.connect_as(0, "198.51.100.1:1", Security::Tls);
    cluster.login(away, "ada", 0);
    for guess in [wrong("ada"), wrong("ada"), wrong("ada")] {
        let client = cluster.connect_as(0, "192.0.2.1:1", Security::Tls);
        cluster.hold_hashes = true;
        cluster.send(client, 1, guess);
        cluster.run();
        cluster.close(client);
        cluster.hold_hashes = false;
        for (shard, reply) in std::mem::take(&mut cluster.held_hashes) {
            cluster.input(shard, Input::Hash(reply));
        }
        cluster.run();
    }
    for shard in 0..2 {
        let client = cluster.connect_as(shard, "192.0.2.1:1", Security::Tls);
        assert_eq!(again(&cluster.ask(client, login("ada", "secret", 0))), 2_000, "not even the right one");
    }
}

/// Goal: a name without an account is treated as one that has one: the refusal does not tell (PROTOCOL M98).
#[test]
fn names_that_are_nobodys_are_guessed_at_alike() {
    let mut cluster = Cluster::with(1, |config| {
        config.registration = Registration::Closed;
        config.limits.account_guesses = Rate::one_in(10, 2);
    });
    for host in 0..2 {
        let client = connect(&mut cluster, &format!("192.0.2.{host}"));
        assert_eq!(cluster.code(client, wrong("nobody")), S::StatusBadCredentials);
    }
    let client = connect(&mut cluster, "192.0.2.9");
    assert_eq!(again(&cluster.ask(client, wrong("nobody"))), 10_000);
}

/// Goal: an address makes so many accounts in a time, and who has one logs in all the same; a wrong password now and then
/// closes no connection (PROTOCOL M98).
#[test]
fn an_address_makes_few_accounts() {
    let mut cluster = limited(1, |limits| {
        limits.address_accounts = Rate::one_in(10, 2);
        limits.connection_guesses = Rate::one_in(2, 2);
    });
    let from = |cluster: &mut Cluster, address: &str| cluster.connect_as(0, address, Security::Tls);
    for name in ["ada", "bob"] {
        let client = from(&mut cluster, "192.0.2.1:1");
        cluster.login(client, name, 0);
    }
    let client = from(&mut cluster, "192.0.2.1:1");
    assert_eq!(again(&cluster.ask(client, login("eve", "secret", 0))), 10_000);
    let elsewhere = from(&mut cluster, "192.0.2.2:1");
    assert_eq!(cluster.login(elsewhere, "fay", 0).status_code, 0);
    cluster.login(client, "ada", 0);
    for _ in 0..3 {
        assert_eq!(cluster.code(client, Body::ClaimRequest(ClaimRequest { code: "wrong".into() })), S::StatusDenied);
        cluster.pass(2 * SECOND_US);
    }
    assert_eq!(cluster.code(client, action(RoomActionType::RaCreate, "hall")), S::StatusOk);
}

/// Goal: right logins are no guesses, however many (PROTOCOL M98).
#[test]
fn right_logins_do_not_count() {
    let mut cluster = limited(1, |limits| {
        (limits.address_guesses, limits.account_guesses) = (Rate::one_in(2, 2), Rate::one_in(10, 2));
    });
    for _ in 0..10 {
        let client = connect(&mut cluster, "192.0.2.1");
        assert_eq!(cluster.login(client, "ada", 0).status_code, 0);
    }
}

/// Goal: wrong passwords of one account are few though they come from everywhere; its device tokens count on, and other
/// accounts are not held up (PROTOCOL M98).
#[test]
fn an_account_is_guessed_at_seldom() {
    let mut cluster = limited(2, |limits| limits.account_guesses = Rate::one_in(10, 4));
    let ada = connect(&mut cluster, "198.51.100.1");
    cluster.login(ada, "ada", 1);
    let new = Account { action: AccountAction::AaNewToken as i32, ..Account::default() };
    let Body::AccountState(made) = cluster.ask(ada, Body::Account(new)) else { panic!("a token") };
    for host in 0..4 {
        let client = cluster.connect_as(host % 2, &format!("192.0.2.{host}:1"), Security::Tls);
        assert_eq!(cluster.code(client, wrong("ada")), S::StatusBadCredentials);
    }
    let home = connect(&mut cluster, "198.51.100.1");
    assert_eq!(again(&cluster.ask(home, login("ADA", "secret", 0))), 10_000, "names are compared by their keys");
    let token = LoginRequest { token: made.secret, ..LoginRequest::default() };
    assert_eq!(cluster.code(home, Body::LoginRequest(token)), S::StatusOk);
    let bob = connect(&mut cluster, "192.0.2.0");
    assert_eq!(cluster.login(bob, "bob", 0).status_code, 0);
    cluster.pass(10 * SECOND_US);
    let later = connect(&mut cluster, "198.51.100.1");
    assert_eq!(cluster.login(later, "ada", 0).status_code, 0);
}

/// Goal: when what connections hold is over three quarters of what they may, new ones are told to come later; over all
/// of it, who is behind is closed and who reads is not; then there is room again (PROTOCOL M99).
#[test]
fn memory_has_a_bound() {
    let mib = 1024 * 1024;
    let mut cluster = limited(1, |limits| (limits.memory_bytes_max, limits.requests) = (mib, Rate::NONE));
    let speaker = cluster.member(0, "speaker", "hall");
    let reader = cluster.member(0, "reader", "hall");
    let behind: Vec<Client> = (0..8).map(|number| cluster.member(0, &format!("behind{number}"), "hall")).collect();
    cluster.stalled.extend(&behind);
    for _ in 0..22 {
        cluster.ask(speaker, chat("hall", &"x".repeat(4_000)));
    }
    assert!(cluster.closed.is_empty());
    let late = cluster.connect(0);
    assert_eq!(told(&mut cluster, late), (S::StatusTryAgain, 10_000));
    assert_eq!(cluster.closed[&late], CloseReason::MemoryShort);
    for _ in 0..20 {
        cluster.ask(speaker, chat("hall", &"x".repeat(4_000)));
    }
    let cut = behind.iter().filter(|client| cluster.closed.get(client) == Some(&CloseReason::MemoryFull)).count();
    assert!((1..8).contains(&cut), "{cut} were closed");
    assert!(!cluster.closed.contains_key(&reader) && !cluster.closed.contains_key(&speaker));
    for client in behind {
        cluster.close(client);
    }
    let next = cluster.connect(0);
    assert!(!cluster.closed.contains_key(&next));
}

/// Goal: 2,000 members who join a room at once all get in, each is told of all in far less than a message for each join,
/// and nobody is closed as behind (PROTOCOL M23).
#[test]
fn a_storm_of_joins_is_borne() {
    let mut cluster = limited(2, |limits| {
        (limits.address_connections_max, limits.address_strangers_max) = (0, 0);
        (limits.connects, limits.address_accounts) = (Rate::NONE, Rate::NONE);
    });
    let host = cluster.member(0, "host", "hall");
    let joiners: Vec<Client> = (0..2_000).map(|number| cluster.connect(number % 2)).collect();
    for (number, client) in joiners.iter().enumerate() {
        cluster.login(*client, &format!("joiner{number}"), 0);
    }
    for client in &joiners {
        cluster.send(*client, 9, action(RoomActionType::RaJoin, "hall"));
    }
    cluster.run();
    cluster.pass(SECOND_US);
    assert!(cluster.closed.is_empty(), "{:?}", cluster.closed);
    for client in &joiners {
        let answer = cluster.inbox[client].iter().find(|msg| msg.request_id == 9).and_then(|msg| msg.body.clone());
        assert_eq!(code(&answer.unwrap()), S::StatusOk);
    }
    let told = cluster.take(host);
    let joins: usize =
        told.iter().map(|body| if let Body::RoomEvent(event) = body { event.deltas.len() } else { 0 }).sum();
    assert_eq!(joins, 2_000);
    assert!(told.len() < 200, "{} messages", told.len());
}

/// Goal: in a busy room one who does not read costs a bounded queue and is closed; the others get every line, and the
/// one who comes back finds what it missed (PROTOCOL M07).
#[test]
fn a_slow_reader_in_a_busy_room_harms_nobody() {
    let mut cluster = limited(2, |limits| limits.requests = Rate::NONE);
    let members: Vec<Client> =
        (0..20).map(|number| cluster.member(number % 2, &format!("m{number}"), "hall")).collect();
    cluster.inbox.clear();
    cluster.stalled.push(members[5]);
    for number in 0..200 {
        cluster.ask(members[number % 5], chat("hall", &"y".repeat(2_000)));
    }
    assert_eq!(cluster.closed.len(), 1);
    assert_eq!(cluster.closed[&members[5]], CloseReason::SlowReader);
    let unread: usize = cluster.inbox[&members[5]].iter().map(prost::Message::encoded_len).sum();
    assert!(unread <= Limits::default().output_bytes_max, "{unread} bytes were queued for it");
    for client in &members[6..] {
        let lines = cluster.take(*client).iter().filter(|body| matches!(body, Body::ChatMsg(_))).count();
        assert_eq!(lines, 200);
    }
}

/// Goal: a message without a body counts as a request; a pong asks nothing and is answered by nothing; the next page of a
/// roster is looked at whatever the rate (PROTOCOL M96).
#[test]
fn what_is_no_request_counts_too() {
    let mut cluster = limited(1, |limits| limits.requests = Rate::per_second(1, 2));
    let client = cluster.connect(0);
    let send = |cluster: &mut Cluster, kind: i32, body: Option<Body>| {
        let mut frame = Vec::new();
        EchoMsg { r#type: kind, request_id: 3, body }.append_frame(&mut frame);
        cluster.bytes(client, &frame);
        cluster.run();
        cluster.take(client).iter().map(code).collect::<Vec<_>>()
    };
    let pong = echomesh_proto::control::MsgType::MtPong as i32;
    assert_eq!(send(&mut cluster, 9_999, None), [S::StatusUnsupported]);
    assert_eq!(send(&mut cluster, 9_999, None), [S::StatusUnsupported]);
    assert_eq!(send(&mut cluster, 9_999, None), [S::StatusTryAgain]);
    assert_eq!(send(&mut cluster, pong, Some(ping())), []);
    let roster = RoomAction {
        action_type: RoomActionType::RaRoster as i32,
        room_id: "hall".into(),
        page: vec![0; 8].into(),
        ..RoomAction::default()
    };
    let kind = echomesh_proto::control::MsgType::MtRoomAction as i32;
    assert_eq!(send(&mut cluster, kind, Some(Body::RoomAction(roster))), [S::StatusNotLoggedIn], "the next page");
}
