//! History, changes, direct lines, what was seen and the sweep, on both databases.

use echomesh_proto::control::{AuditEntry, ChatMsg, ModerationAction};
use echomesh_shard::accounts::AccountsJob;
use echomesh_shard::chat_jobs::{ChatOutcome, ChatRead, ChatWrite, From, Mark, Place as LinePlace, Sweep, View};
use echomesh_shard::{Act, LoggedAct};

use super::super::history::PAGE_BYTES_MAX;
use super::super::sweep::LINES;
use super::*;

const HALL: RoomNumber = RoomNumber(1);
const ADA: UserId = UserId(1);
const TIM: UserId = UserId(2);

/// A store with ada, tim and eve, and the rooms hall and attic.
fn peopled(place: &Place) -> Store {
    let (mut store, _) = open(place);
    for key in ["ada", "tim", "eve"] {
        let (name, password_hash) = (key.to_uppercase(), "h".to_owned());
        one(
            &mut store,
            &StoreJob::CreateAccount { key: key.into(), name, password_hash, invitation: String::new(), time_ms: 1 },
        );
    }
    for key in ["hall", "attic"] {
        one(&mut store, &room(key));
    }
    store
}

fn said(room: u64, user: u64, content: &str, mentions: &[u64], time_ms: u64) -> StoreJob {
    StoreJob::AppendChat {
        room: RoomNumber(room),
        user: UserId(user),
        client_id: format!("{room} {time_ms} {content}").chars().take(36).collect(),
        content: content.into(),
        mentions: mentions.to_vec(),
        time_ms,
    }
}

fn write(store: &mut Store, write: ChatWrite) -> StoreOutcome {
    one(store, &StoreJob::Chat(Box::new(write)))
}

fn direct(store: &mut Store, from: u64, to: u64, client_id: &str, content: &str) -> ChatOutcome {
    let (from, to, time_ms) = (UserId(from), UserId(to), 5);
    let job = ChatWrite::AppendDirect { from, to, client_id: client_id.into(), content: content.into(), time_ms };
    match write(store, job) {
        StoreOutcome::Chat(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn page(store: &mut Store, user: UserId, view: Option<View>, from: From, count: u32) -> (Vec<ChatMsg>, bool) {
    let room_name = if let Some(View::Room(_)) = view { "Hall".to_owned() } else { String::new() };
    match store.read(&ChatRead::History { user, view, room_name, from, count }) {
        StoreOutcome::Chat(ChatOutcome::History { lines, more }) => (lines, more),
        other => panic!("{other:?}"),
    }
}

fn contents(lines: &[ChatMsg]) -> Vec<&str> {
    lines.iter().map(|line| line.content.as_str()).collect()
}

/// Room, name, lines, mentions, seen, newest.
type Counted = (u64, String, u32, u32, u64, u64);

fn unread(store: &mut Store, user: UserId, view: Option<View>, fresh: &[Mark]) -> Vec<Counted> {
    match store.read(&ChatRead::Unread { user, view, fresh: fresh.to_vec() }) {
        StoreOutcome::Chat(ChatOutcome::Unread { list, more: false }) => list
            .into_iter()
            .map(|of| (of.room.map_or(0, |room| room.0), of.username, of.count, of.mentions, of.seen, of.newest))
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Goal: history is read in pages from either end, of one room only, with its authors' names, and one's own ids.
#[test]
fn history_is_read_in_pages() {
    on_both(|place| {
        let mut store = peopled(place);
        let lines = (1..=7).map(|at| said(1 + at % 2, 1 + at % 3, &format!("l{at}"), &[3, 1], at)).collect();
        store.carry_out(lines);
        let hall = Some(View::Room(HALL));
        let (newest, more) = page(&mut store, ADA, hall.clone(), From::Before(0), 2);
        assert_eq!((contents(&newest), more), (vec!["l6", "l4"], true));
        let first = &newest[0];
        assert_eq!((first.username.as_str(), first.room_id.as_str(), first.time_ms), ("ADA", "Hall", 6));
        assert_eq!((&first.mentions[..], first.client_id.as_str()), (&[3, 1][..], "1 6 l6"));
        assert_eq!(newest[1].client_id, "", "that is TIM's");
        let (rest, more) = page(&mut store, ADA, hall.clone(), From::Before(newest[1].message_id), 2);
        assert_eq!((contents(&rest), more), (vec!["l2"], false));
        let (oldest, more) = page(&mut store, ADA, hall.clone(), From::After(0), 2);
        assert_eq!((contents(&oldest), more), (vec!["l2", "l4"], true));
        let (rest, more) = page(&mut store, ADA, hall, From::After(oldest[1].message_id), 2);
        assert_eq!((contents(&rest), more), (vec!["l6"], false));
        close(store);
        let (_, loaded) = open(place);
        let newest: Vec<u64> = loaded.rooms.iter().map(|room| room.newest_line).collect();
        assert_eq!(newest, [6, 7]);
    });
}

/// Goal: lines that mention someone among others, and resends, are stored once, in the batch's order. Method: a batch
/// that is a statement of itself where it may be, and one that is more.
#[test]
fn mentions_keep_the_order_of_a_batch() {
    on_both(|place| {
        let mut store = peopled(place);
        for turn in 0..2 {
            let mentions: [&[u64]; 6] = [&[], &[2], &[3, 2], &[], &[], &[2]];
            let mut jobs: Vec<StoreJob> =
                mentions.iter().zip(0..).map(|(of, at)| said(1, 1, "x", of, 100 * turn + at)).collect();
            // The second and the fourth once more.
            jobs.extend([jobs[1].clone(), jobs[3].clone(), said(1, 1, "y", &[], 100 * turn + 50)]);
            if turn == 1 {
                jobs.insert(3, room("hall"));
            }
            let mut outcomes = store.carry_out(jobs);
            if turn == 1 {
                assert_eq!(outcomes.remove(3), StoreOutcome::RoomExists { room: RoomNumber(1) });
            }
            let numbers: Vec<u64> = outcomes[..6].iter().chain(&outcomes[8..]).map(stored).collect();
            assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
            for (again, first) in [(6, 1), (7, 3)] {
                assert!(matches!(&outcomes[again], StoreOutcome::ChatDuplicate { message_id, mentions: of, .. }
                    if *message_id == numbers[first] && of[..] == *mentions[first]));
            }
        }
        let (lines, _) = page(&mut store, ADA, Some(View::Room(HALL)), From::After(0), 100);
        assert_eq!(lines.len(), 14);
        assert_eq!(lines[2].mentions, [3, 2]);
    });
}

/// Goal: a page of long lines ends early and says that there is more; no line is left out between pages.
#[test]
fn pages_are_bounded_in_bytes() {
    on_both(|place| {
        let mut store = peopled(place);
        let long = "x".repeat(3_990);
        store.carry_out((10..40).map(|at| said(1, 1, &format!("{at}{long}"), &[], at)).collect());
        let (mut from, mut seen) = (0, Vec::new());
        loop {
            let (lines, more) = page(&mut store, ADA, Some(View::Room(HALL)), From::After(from), 100);
            assert!(lines.iter().map(|line| line.content.len()).sum::<usize>() <= PAGE_BYTES_MAX);
            seen.extend(lines.iter().map(|line| line.time_ms));
            from = lines.last().unwrap().message_id;
            if !more {
                break;
            }
            assert!(lines.len() >= 7, "{}", lines.len());
        }
        assert_eq!(seen, (10..40).collect::<Vec<_>>());
    });
}

/// Goal: a line is changed under its number; of a deleted one nothing is left, by its author's hand or a moderator's,
/// and it is deleted once.
#[test]
fn lines_are_changed_and_deleted() {
    on_both(|place| {
        let mut store = peopled(place);
        let ids: Vec<u64> =
            store.carry_out((1..=3).map(|at| said(1, 2, "secret", &[1], at)).collect()).iter().map(stored).collect();
        let place = LinePlace::Room(HALL);
        let found = write(&mut store, ChatWrite::FindLine { place, message_id: ids[0] });
        let StoreOutcome::Chat(ChatOutcome::Line(found)) = found else { panic!("{found:?}") };
        assert_eq!(
            (found.user, found.username.as_str(), found.role, found.time_ms, found.deleted),
            (TIM, "TIM", Role::Member, 1, false)
        );
        let elsewhere = LinePlace::Room(RoomNumber(2));
        let missing = ChatWrite::FindLine { place: elsewhere, message_id: ids[0] };
        assert_eq!(write(&mut store, missing), StoreOutcome::NotFound);
        let change = |message_id, content: Option<&str>| ChatWrite::ChangeLine {
            place,
            message_id,
            content: content.map(str::to_owned),
            mentions: vec![3],
            time_ms: 9,
        };
        let changed = StoreOutcome::Chat(ChatOutcome::Changed);
        assert_eq!(write(&mut store, change(ids[0], Some("better"))), changed);
        assert_eq!(write(&mut store, change(ids[1], None)), changed);
        assert_eq!(write(&mut store, change(ids[1], None)), StoreOutcome::NotFound);
        assert_eq!(write(&mut store, change(ids[1], Some("again"))), StoreOutcome::NotFound);
        let act = Act::DeleteLine { room: HALL, message_id: ids[2], time_ms: 10 };
        let entry = AuditEntry { action: ModerationAction::MaDeleteLine as i32, ..Default::default() };
        let logged = StoreJob::Moderate(Box::new(LoggedAct { act, actor: ADA, target: TIM, entry }));
        assert!(matches!(one(&mut store, &logged), StoreOutcome::Moderated { .. }));
        assert_eq!(one(&mut store, &logged), StoreOutcome::NotFound);
        let (lines, _) = page(&mut store, ADA, Some(View::Room(HALL)), From::After(0), 10);
        let state = |line: &ChatMsg| (line.content.clone(), line.edited_ms, line.deleted, line.mentions.clone());
        let states: Vec<_> = lines.iter().map(state).collect();
        let gone = |time| (String::new(), time, true, Vec::new());
        assert_eq!(states, [("better".to_owned(), 9, false, vec![3]), gone(9), gone(10)]);
        // A resend of what was deleted does not bring it back.
        let again = one(&mut store, &said(1, 2, "secret", &[1], 2));
        assert!(matches!(again, StoreOutcome::ChatDuplicate { deleted: true, ref content, .. } if content.is_empty()));
        let left = "SELECT count(*) FROM chat_lines WHERE content LIKE '%secret%' OR mentions LIKE '%,1,%'";
        assert_eq!(count(&mut store, left), 0);
    });
}

/// Goal: what was deleted is not in SQLite's file any more either.
#[test]
fn deleted_content_leaves_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let mut store = peopled(&file(&path));
    let secret = "xyzzy-7f3a".repeat(40);
    let ids: Vec<u64> =
        store.carry_out((0..20).map(|at| line(1, "", &secret, at)).collect()).iter().map(stored).collect();
    for message_id in ids {
        let (place, content, mentions) = (LinePlace::Room(HALL), None, Vec::new());
        write(&mut store, ChatWrite::ChangeLine { place, message_id, content, mentions, time_ms: 2 });
    }
    close(store);
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(20).any(|window| window == &secret.as_bytes()[..20]));
    }
}

/// Goal: direct lines are stored once for their client's id, numbered in order, read by the two they are between and
/// nobody else, one conversation at a time or all.
#[test]
fn direct_lines_are_between_two() {
    on_both(|place| {
        let mut store = peopled(place);
        let ChatOutcome::DirectStored { message_id } = direct(&mut store, 1, 2, "a", "one") else { panic!("stored") };
        let again = direct(&mut store, 1, 2, "a", "other");
        let ChatOutcome::DirectDuplicate(line) = again else { panic!("{again:?}") };
        assert_eq!((line.message_id, line.content.as_str(), line.to.as_str()), (message_id, "one", "TIM"));
        for (from, to, content) in [(2, 1, "two"), (3, 1, "three"), (2, 3, "four"), (1, 2, "five")] {
            direct(&mut store, from, to, "", content);
        }
        let with = |key: &str| Some(View::With(key.to_owned()));
        let (lines, more) = page(&mut store, ADA, with("tim"), From::Before(0), 2);
        assert_eq!((contents(&lines), more), (vec!["five", "two"], true));
        assert_eq!((lines[1].username.as_str(), lines[1].to.as_str(), lines[1].room_id.as_str()), ("TIM", "ADA", ""));
        let (lines, _) = page(&mut store, TIM, with("ada"), From::After(message_id), 9);
        assert_eq!(contents(&lines), ["two", "five"]);
        let (lines, more) = page(&mut store, ADA, None, From::After(0), 3);
        assert_eq!((contents(&lines), more), (vec!["one", "two", "three"], true));
        let (lines, _) = page(&mut store, ADA, None, From::Before(0), 2);
        assert_eq!(contents(&lines), ["five", "three"]);
        let (lines, _) = page(&mut store, UserId(3), None, From::After(0), 9);
        assert_eq!(contents(&lines), ["three", "four"]);
        let (user, room_name, from) = (ADA, String::new(), From::Before(0));
        let nobody = ChatRead::History { user, view: with("nobody"), room_name, from, count: 1 };
        assert_eq!(store.read(&nobody), StoreOutcome::NotFound);
        let place = LinePlace::conversation(TIM, ADA);
        let change = ChatWrite::ChangeLine { place, message_id, content: None, mentions: Vec::new(), time_ms: 9 };
        assert_eq!(write(&mut store, change), StoreOutcome::Chat(ChatOutcome::Changed));
        assert_eq!(count(&mut store, "SELECT count(*) FROM direct_lines WHERE content = 'one'"), 0);
    });
}

/// Goal: what others said since a mark is counted, mentions too, up to a bound; marks only grow, and one beyond the
/// newest line of a conversation ends there; who gets a direct line has it unread at once.
#[test]
fn unread_is_counted_from_marks() {
    on_both(|place| {
        let mut store = peopled(place);
        let (hall, with_tim) = (View::Room(HALL), View::With("tim".to_owned()));
        store.carry_out((1..=3).map(|at| said(1, 2, "hi", if at == 2 { &[1] } else { &[] }, at)).collect());
        store.carry_out(vec![said(1, 1, "own", &[1], 4), said(2, 2, "elsewhere", &[11], 5)]);
        direct(&mut store, 2, 1, "", "psst");
        assert_eq!(unread(&mut store, ADA, None, &[]), [(0, "TIM".into(), 1, 0, 0, 1)], "rooms begin with a mark");
        assert_eq!(unread(&mut store, ADA, Some(hall.clone()), &[]), [(1, String::new(), 3, 1, 0, 4)]);
        let mark = |view: &View, seen| Mark { user: ADA, view: view.clone(), seen };
        write(
            &mut store,
            ChatWrite::Mark(vec![mark(&hall, 2), mark(&View::Room(RoomNumber(2)), 4), mark(&with_tim, 99)]),
        );
        write(&mut store, ChatWrite::Mark(vec![mark(&hall, 1)]));
        assert_eq!(
            unread(&mut store, ADA, None, &[]),
            [(1, String::new(), 1, 0, 2, 4), (2, String::new(), 1, 0, 4, 5)]
        );
        assert_eq!(unread(&mut store, ADA, Some(with_tim.clone()), &[])[0].4, 1);
        let fresh = [mark(&hall, 4)];
        assert_eq!(unread(&mut store, ADA, None, &fresh), [(2, String::new(), 1, 0, 4, 5)]);
        store.carry_out((0..1_200).map(|at| said(1, 2, "more", &[1], 100 + at)).collect());
        assert_eq!(unread(&mut store, ADA, Some(hall), &[])[0].2, 1_000);
        // Many marks at once, as the store is given them.
        for user in 4..=100 {
            one(&mut store, &account(&format!("u{user}")));
        }
        let marks = (1..=100).map(|user| Mark { user: UserId(user), view: View::Room(HALL), seen: 7 }).collect();
        assert_eq!(write(&mut store, ChatWrite::Mark(marks)), StoreOutcome::Chat(ChatOutcome::Marked));
        assert_eq!(count(&mut store, "SELECT count(*) FROM chat_seen WHERE room = 1 AND seen = 7"), 100);
        direct(&mut store, 2, 1, "", "psst again");
        assert_eq!(unread(&mut store, ADA, Some(with_tim), &[])[0].2, 1, "a new line does not take the mark back");
    });
}

/// Goal: marks of who has no account, as guests, and of rooms that ended meanwhile leave nothing behind.
#[test]
fn marks_of_nobody_and_nowhere_are_not_kept() {
    on_both(|place| {
        let mut store = peopled(place);
        let (guest, hall) = (UserId(1 << 62 | 7), View::Room(HALL));
        let mark = |user, view: View| Mark { user, view, seen: 3 };
        direct(&mut store, 2, 1, "", "psst");
        one(&mut store, &StoreJob::EndRoom { room: RoomNumber(2) });
        let attic = View::Room(RoomNumber(2));
        let marks =
            vec![mark(ADA, hall.clone()), mark(ADA, attic), mark(guest, hall), mark(TIM, View::Room(RoomNumber(9)))];
        for _ in 0..2 {
            let marked = write(&mut store, ChatWrite::Mark(marks.clone()));
            assert_eq!(marked, StoreOutcome::Chat(ChatOutcome::Marked));
        }
        assert_eq!(count(&mut store, "SELECT count(*) FROM chat_seen WHERE room <> 0"), 1);
        assert_eq!(count(&mut store, "SELECT count(*) FROM chat_seen WHERE account = 1 AND room = 1 AND seen = 3"), 1);
    });
}

/// Goal: what is unread is told of every room and conversation where anything came, however many there are where nothing
/// did (PROTOCOL M87); a deleted account's and an ended room's, which nobody could mark any more, do not count.
#[test]
fn what_is_unread_is_found_among_many() {
    on_both(|place| {
        let mut store = peopled(place);
        for user in 10..300 {
            direct(&mut store, user, 1, "", "hi");
        }
        let made: Vec<String> = (10..300).map(|user| format!("({user}, 'u{user}', 'U{user}', 'h', 1)")).collect();
        let insert = "INSERT INTO accounts (id, key, name, password_hash, created_ms)";
        let value = if matches!(place, Place::File(_)) { "VALUES" } else { "OVERRIDING SYSTEM VALUE VALUES" };
        script(&mut store, &format!("{insert} {value} {}", made.join(", ")));
        store.carry_out((1..=2).map(|at| said(1, 2, "hi", &[], at)).collect());
        store.carry_out(vec![said(2, 2, "hi", &[], 3)]);
        let seen = |store: &mut Store, to: u64| {
            let marks = (10..to).map(|user| Mark { user: ADA, view: View::With(format!("u{user}")), seen: 999 });
            write(store, ChatWrite::Mark(marks.collect()));
        };
        seen(&mut store, 298);
        let rooms = [1, 2].map(|room| Mark { user: ADA, view: View::Room(RoomNumber(room)), seen: 1 });
        write(&mut store, ChatWrite::Mark(rooms.to_vec()));
        let found = |store: &mut Store, fresh: &[Mark]| {
            unread(store, ADA, None, fresh).iter().map(|of| (of.0, of.1.clone())).collect::<Vec<_>>()
        };
        let all = [(0, "U298".into()), (0, "U299".into()), (1, String::new()), (2, String::new())];
        assert_eq!(found(&mut store, &[]), all);
        // Marks that are not stored yet hold for many, too.
        script(&mut store, "UPDATE chat_seen SET seen = 0 WHERE room = 0");
        let fresh: Vec<Mark> =
            (10..298).map(|user| Mark { user: ADA, view: View::With(format!("u{user}")), seen: 999 }).collect();
        assert_eq!(found(&mut store, &fresh), all);
        seen(&mut store, 298);
        one(&mut store, &StoreJob::EndRoom { room: RoomNumber(1) });
        let (time_ms, entry) = (9, AuditEntry::default());
        one(&mut store, &StoreJob::Accounts(Box::new(AccountsJob::Delete { user: UserId(298), time_ms, entry })));
        assert_eq!(found(&mut store, &[]), all[1..].iter().filter(|of| of.0 != 1).cloned().collect::<Vec<_>>());
    });
}

/// Goal: lines older than a room's days, else the server's, are deleted in small steps; others stay.
#[test]
fn old_lines_are_swept_in_steps() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    on_both(|place| {
        let mut store = peopled(place);
        script(&mut store, "UPDATE rooms SET retention_days = 2 WHERE id = 1");
        let old = LINES as u64 + 30;
        store.carry_out((0..old).map(|at| said(1, 1, "old", &[], at)).collect());
        store.carry_out(vec![said(1, 1, "new", &[], 9 * DAY_MS), said(2, 1, "kept", &[], 1)]);
        direct(&mut store, 1, 2, "", "kept too");
        let sweep = |store: &mut Store, default_days| {
            let (mut position, mut steps) = (0, Vec::new());
            loop {
                let step = ChatWrite::Sweep(Sweep { position, default_days, now_ms: 10 * DAY_MS });
                let outcome = write(store, step);
                let StoreOutcome::Chat(ChatOutcome::Swept { deleted, position: next }) = outcome else {
                    panic!("{outcome:?}")
                };
                steps.push(deleted);
                position = next;
                if position == 0 {
                    return steps;
                }
            }
        };
        assert_eq!(sweep(&mut store, 0), [LINES as u64, 30, 0, 0]);
        let (lines, _) = page(&mut store, ADA, Some(View::Room(HALL)), From::After(0), 10);
        assert_eq!(contents(&lines), ["new"]);
        assert_eq!(count(&mut store, "SELECT count(*) FROM chat_lines"), 2);
        assert_eq!(sweep(&mut store, 8).iter().sum::<u64>(), 2, "the other room's and the direct line");
        assert_eq!(count(&mut store, "SELECT count(*) FROM chat_lines"), 1);
    });
}
