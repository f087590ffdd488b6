//! Rooms and saved sessions, on both databases.

use echomesh_proto::control::{AuditEntry, Right};
use echomesh_proto::ids::SessionId;
use echomesh_shard::rights::{Holder, Rights};
use echomesh_shard::{Act, LoggedAct, SavedSession};

use super::*;

fn act(act: Act) -> StoreJob {
    let entry = AuditEntry::default();
    StoreJob::Moderate(Box::new(LoggedAct { act, actor: UserId(1), target: UserId(0), entry }))
}

fn account(key: &str) -> StoreJob {
    StoreJob::CreateAccount {
        key: key.into(),
        name: key.into(),
        password_hash: "h".into(),
        time_ms: 1,
        invitation: String::new(),
    }
}

fn room(key: &str, properties: Properties) -> StoreJob {
    StoreJob::CreateRoom { key: key.into(), name: key.into(), properties, creator: UserId(1), time_ms: 1 }
}

fn line(room: u64, number: u64) -> StoreJob {
    let (client_id, content) = (String::new(), format!("line {number}"));
    StoreJob::AppendChat {
        room: RoomNumber(room),
        user: UserId(1),
        client_id,
        content,
        mentions: Vec::new(),
        time_ms: 1,
    }
}

fn all_set() -> Properties {
    Properties {
        capacity: 5,
        description: "where we meet".into(),
        password_hash: "phc".into(),
        invite_only: true,
        hidden: true,
        temporary: false,
        speakers: 3,
        slow_mode_seconds: 10,
        retention_days: 30,
    }
}

/// Goal: what a room is set to, and who is invited, is as it was after the database is opened again.
#[test]
fn properties_survive_reopening() {
    on_both(|place| {
        let (mut store, _) = open(place);
        one(&mut store, &account("ann"));
        one(&mut store, &room("hall", Properties::default()));
        one(&mut store, &room("den", all_set()));
        let (hall, user) = (RoomNumber(1), UserId(1));
        let deny = Rights::of(&[Right::Enter, Right::Speak]);
        let allow = Rights::of(&[Right::Write]);
        let jobs = [
            act(Act::SetRoom { room: hall, properties: all_set() }),
            act(Act::SetRights { room: hall, holder: Holder::Account(user), allow, deny }),
            act(Act::Invite { room: hall, user, invited: true }),
            act(Act::Invite { room: RoomNumber(2), user, invited: true }),
            act(Act::Invite { room: RoomNumber(2), user, invited: false }),
            act(Act::Invite { room: RoomNumber(2), user: UserId(9), invited: false }),
        ];
        let outcomes = store.carry_out(jobs.into());
        assert!(outcomes.iter().all(|outcome| matches!(outcome, StoreOutcome::Moderated { .. })), "{outcomes:?}");
        close(store);
        let (store, loaded) = open(place);
        assert_eq!(loaded.rooms.iter().map(|room| &room.properties).collect::<Vec<_>>(), [&all_set(), &all_set()]);
        let (holder, standing) = loaded.rooms[0].standings[0];
        assert_eq!(holder, Holder::Account(user));
        assert_eq!(standing.allow, Rights::of(&[Right::Enter, Right::Write]));
        assert_eq!(standing.deny, Rights::of(&[Right::Speak]), "an invitation takes back what kept out");
        assert_eq!(loaded.rooms[1].standings, []);
        close(store);
    });
}

/// Goal: a room that ended frees its name at once and its number never, its lines go bit by bit, and what was left
/// of that when the server was stopped is told at the next start; temporary rooms end at a start.
#[test]
fn rooms_end_with_their_lines() {
    on_both(|place| {
        let (mut store, _) = open(place);
        one(&mut store, &account("ann"));
        one(&mut store, &room("hall", Properties::default()));
        one(&mut store, &room("tent", Properties { temporary: true, ..Properties::default() }));
        store.carry_out((0..600).map(|number| line(1, number)).collect());
        store.carry_out(vec![line(2, 0)]);
        let seen: Vec<String> = (0..1_100).map(|user| format!("({user}, 1, 0, 1), ({user}, 0, 1, 1)")).collect();
        script(&mut store, &format!("INSERT INTO chat_seen (account, room, peer, seen) VALUES {}", seen.join(", ")));
        let invited = Act::Invite { room: RoomNumber(1), user: UserId(1), invited: true };
        store.carry_out(vec![act(invited), act(Act::DeleteRoom { room: RoomNumber(1) })]);
        assert_eq!(
            one(&mut store, &room("hall", Properties::default())),
            StoreOutcome::RoomCreated { room: RoomNumber(3) }
        );
        one(&mut store, &line(3, 1));
        let sweep = |store: &mut Store, room| one(store, &StoreJob::SweepRoom { room: RoomNumber(room) });
        for _ in 0..2 {
            assert_eq!(sweep(&mut store, 1), StoreOutcome::Swept { is_done: false });
        }
        close(store);
        let (mut store, loaded) = open(place);
        assert_eq!(loaded.rooms.iter().map(|room| room.number.0).collect::<Vec<_>>(), [3]);
        assert_eq!(loaded.ended_rooms, [RoomNumber(1), RoomNumber(2)]);
        for room in [1, 2] {
            assert_eq!(sweep(&mut store, room), StoreOutcome::Swept { is_done: true });
        }
        let seen = "SELECT count(*) FROM chat_seen WHERE room = 0";
        assert_eq!(count(&mut store, seen), 1_100, "what was seen of conversations stays");
        assert_eq!(count(&mut store, "SELECT count(*) FROM chat_seen WHERE room <> 0"), 0);
        one(&mut store, &room("tent", Properties { temporary: true, ..Properties::default() }));
        assert_eq!(one(&mut store, &StoreJob::EndRoom { room: RoomNumber(4) }), StoreOutcome::Swept { is_done: false });
        assert_eq!(sweep(&mut store, 4), StoreOutcome::Swept { is_done: true });
        close(store);
        let (store, loaded) = open(place);
        assert_eq!((loaded.rooms.len(), loaded.ended_rooms.len()), (1, 0));
        close(store);
    });
}

/// Goal: what a start does to the database happens as a whole or not at all: a temporary room that ended by half could
/// not be swept. Method: a trigger that lets the second statement of a room's end fail.
#[test]
fn a_start_that_fails_ends_no_room_by_half() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let (mut store, _) = open(&file(&path));
    one(&mut store, &account("ann"));
    one(&mut store, &room("tent", Properties { temporary: true, ..Properties::default() }));
    one(&mut store, &act(Act::Invite { room: RoomNumber(1), user: UserId(1), invited: true }));
    let forbid = "CREATE TRIGGER forbid BEFORE DELETE ON room_standings BEGIN SELECT RAISE(ABORT, 'forbidden'); END";
    script(&mut store, forbid);
    close(store);
    assert!(Store::open(&file(&path)).is_err());
    let gone = runtime().unwrap().block_on(async {
        let mut connection = sqlite::open(&path).await.unwrap();
        connection.script("DROP TRIGGER forbid").await.unwrap();
        let row = connection.row("SELECT gone FROM rooms", &[]).await.unwrap().unwrap();
        connection.close().await.unwrap();
        row.number(0).unwrap()
    });
    assert_eq!(gone, 0);
    let (mut store, loaded) = open(&file(&path));
    assert_eq!(loaded.ended_rooms, [RoomNumber(1)]);
    assert_eq!(one(&mut store, &StoreJob::SweepRoom { room: RoomNumber(1) }), StoreOutcome::Swept { is_done: true });
}

/// Goal: sessions are read as they were last written, but not those that ended, whose account is gone, or whose
/// account had an epoch of sessions since.
#[test]
fn sessions_outlive_the_server() {
    on_both(|place| {
        let (mut store, _) = open(place);
        for key in ["ann", "tim"] {
            one(&mut store, &account(key));
        }
        let session = |id: u64, user: u64, rooms: &[u64]| SavedSession {
            id: SessionId(id),
            user: UserId(user),
            username: if user == 1 { "ann" } else { "tim" }.to_owned(),
            role: Role::Member,
            secret_hash: vec![id as u8; 32],
            token: 0,
            rooms: rooms.iter().map(|room| RoomNumber(*room)).collect(),
        };
        let big = u64::MAX - 5;
        let many: Vec<SavedSession> = (100..140).map(|id| session(id, 2, &[1])).collect();
        let all = [session(big, 1, &[1]), session(2, 1, &[1, 2]), session(3, 2, &[1]), session(4, 77, &[1])];
        let sessions = all.into_iter().chain(many).collect();
        let saved = one(&mut store, &StoreJob::SaveSessions { sessions, gone: Vec::new() });
        assert_eq!(saved, StoreOutcome::SessionsSaved);
        let gone: Vec<SessionId> = (100..140).chain([2, 12_345]).map(SessionId).collect();
        one(&mut store, &StoreJob::SaveSessions { sessions: vec![session(big, 1, &[3, 1])], gone });
        close(store);
        let (mut store, mut loaded) = open(place);
        loaded.sessions.sort_by_key(|session| session.id);
        assert_eq!(loaded.sessions, [session(3, 2, &[1]), session(big, 1, &[3, 1])]);
        let raise = "UPDATE accounts SET session_epoch = session_epoch + 1 WHERE key = 'tim'";
        store.runtime.block_on(store.session.connection().execute(raise, &[])).unwrap();
        close(store);
        let (store, loaded) = open(place);
        assert_eq!(loaded.sessions, [session(big, 1, &[3, 1])]);
        close(store);
    });
}
