//! Tokens, invitations, passwords, deleted accounts and the operator's commands, on both databases.

use echomesh_proto::control::{AuditEntry, Invitation};
use echomesh_proto::ids::SessionId;
use echomesh_shard::accounts::{AccountsJob, AccountsOutcome, OperatorAct};
use echomesh_shard::{Act, Ban, LoggedAct, Network, SavedSession};

use super::*;
use crate::store::operator::{Change, Changed, Desk};

/// The rules' answer to a job about accounts.
fn ask(store: &mut Store, job: AccountsJob) -> StoreOutcome {
    one(store, &StoreJob::Accounts(Box::new(job)))
}

fn is(outcome: AccountsOutcome) -> StoreOutcome {
    StoreOutcome::Accounts(outcome)
}

fn entry(detail: &str) -> AuditEntry {
    AuditEntry { by: "Ada".into(), detail: detail.into(), ..AuditEntry::default() }
}

fn invite(store: &mut Store, hash: &str, uses_left: u32, expires_ms: u64) -> StoreOutcome {
    let invitation = Invitation { by: "Ada".into(), uses_left, created_ms: 1, expires_ms, ..Invitation::default() };
    let (creator, invitations_max) = (UserId(1), 3);
    ask(store, AccountsJob::Invite { hash: hash.into(), creator, invitation, invitations_max, entry: entry("invites") })
}

fn invited(key: &str, hash: &str) -> StoreJob {
    let (name, password_hash, invitation) = (key.to_owned(), "h".to_owned(), hash.to_owned());
    StoreJob::CreateAccount { key: key.into(), name, password_hash, time_ms: 5, invitation }
}

/// Goal: a token is found by its hash with its account, belongs to it alone, is bounded, and is gone when revoked.
#[test]
fn tokens_are_kept() {
    on_both(|place| {
        let mut store = furnished(place);
        one(&mut store, &account("bob"));
        let user = UserId(1);
        let new = |user, hash: &str| AccountsJob::NewToken {
            user,
            hash: hash.into(),
            label: "radio".into(),
            time_ms: 3,
            tokens_max: 2,
        };
        assert_eq!(ask(&mut store, new(user, "a")), is(AccountsOutcome::Made { id: 1 }));
        assert_eq!(ask(&mut store, new(user, "b")), is(AccountsOutcome::Made { id: 2 }));
        assert_eq!(ask(&mut store, new(user, "c")), is(AccountsOutcome::Full));
        assert_eq!(ask(&mut store, new(UserId(2), "c")), is(AccountsOutcome::Made { id: 3 }));
        assert_eq!(ask(&mut store, new(UserId(9), "d")), StoreOutcome::NotFound);
        let touched = ask(&mut store, AccountsJob::TouchToken { token: 1, time_ms: 8 });
        assert_eq!(touched, is(AccountsOutcome::Done));
        let find = |hash: &str| StoreJob::Accounts(Box::new(AccountsJob::FindToken { hash: hash.into() }));
        // Many at a time, as when many log in.
        let found = store.carry_out(vec![find("a"), find("x"), find("a")]);
        let token =
            is(AccountsOutcome::Token { token: 1, last_used_ms: 8, user, name: "Ada".into(), role: Role::Member });
        assert_eq!(found, [token.clone(), StoreOutcome::NotFound, token]);
        let not_his = ask(&mut store, AccountsJob::RevokeToken { user: UserId(2), token: 1 });
        assert_eq!(not_his, StoreOutcome::NotFound);
        assert_eq!(ask(&mut store, AccountsJob::RevokeToken { user, token: 1 }), is(AccountsOutcome::Done));
        assert_eq!(one(&mut store, &find("a")), StoreOutcome::NotFound);
        let StoreOutcome::Accounts(AccountsOutcome::Tokens(list)) = ask(&mut store, AccountsJob::ListTokens { user })
        else {
            panic!("no list")
        };
        assert_eq!(list.iter().map(|token| token.token_id).collect::<Vec<_>>(), [2]);
    });
}

/// Goal: N uses make N accounts and never one more, also in one batch; a name that is taken costs none; what is over or
/// taken back makes none (PROTOCOL M61).
#[test]
fn uses_and_accounts_are_one_transaction() {
    on_both(|place| {
        let mut store = furnished(place);
        assert_eq!(invite(&mut store, "x", 2, 100), is(AccountsOutcome::Made { id: 1 }));
        let batch = ["ada", "bob", "tim", "eve"].map(|key| invited(key, "x"));
        let outcomes = store.carry_out(batch.into());
        let made = |user| StoreOutcome::AccountCreated { user: UserId(user) };
        let [StoreOutcome::Exists, bob, tim, StoreOutcome::Denied] = &outcomes[..] else { panic!("{outcomes:?}") };
        // PostgreSQL's sequence counts the one that existed.
        assert!([made(2), made(3)].contains(bob) && [made(3), made(4)].contains(tim), "{outcomes:?}");
        assert_eq!(one(&mut store, &StoreJob::FindAccount { key: "eve".into() }), StoreOutcome::NotFound);
        assert_eq!(invite(&mut store, "y", 1, 5), is(AccountsOutcome::Made { id: 2 }));
        assert_eq!(one(&mut store, &invited("eve", "y")), StoreOutcome::Denied, "it is over");
        assert_eq!(invite(&mut store, "z", 1, 100), is(AccountsOutcome::Made { id: 3 }));
        let revoke = |id| AccountsJob::RevokeInvitation { id, entry: entry("taken back") };
        assert_eq!(ask(&mut store, revoke(3)), is(AccountsOutcome::Done));
        assert_eq!(ask(&mut store, revoke(3)), StoreOutcome::NotFound);
        assert_eq!(one(&mut store, &invited("eve", "z")), StoreOutcome::Denied);
        let list = ask(&mut store, AccountsJob::ListInvitations { after: 0, count: 9, now_ms: 5 });
        assert_eq!(list, is(AccountsOutcome::Invitations(Vec::new())));
        for hash in ["p", "q"] {
            invite(&mut store, hash, 1, 100);
        }
        assert_eq!(invite(&mut store, "s", 1, 100), is(AccountsOutcome::Full));
        let StoreOutcome::Audit(log) = one(&mut store, &StoreJob::ReadAudit { before: 0, count: 99 }) else {
            panic!("no log")
        };
        assert_eq!(log.len(), 6, "five invitations and one taken back: {log:?}");
    });
}

/// Goal: a password is replaced only where it is still the one that was looked at (PROTOCOL M64).
#[test]
fn a_password_is_replaced_once() {
    on_both(|place| {
        let mut store = furnished(place);
        let set = |old: &str, new: &str| {
            let (user, changed_by) = (UserId(1), Some(SessionId(7)));
            AccountsJob::SetPassword { user, old: old.into(), new: new.into(), changed_by }
        };
        assert_eq!(ask(&mut store, set("h", "i")), is(AccountsOutcome::Done));
        assert_eq!(ask(&mut store, set("h", "j")), StoreOutcome::NotFound);
        let found = one(&mut store, &StoreJob::FindAccount { key: "ada".into() });
        assert!(matches!(found, StoreOutcome::Account { password_hash, .. } if password_hash == "i"));
    });
}

/// Goal: after the next start those sessions are there that the account did not end: all after its password was only
/// hashed anew, who changed it and tokens' after a change, one after it signed others out; also if a shard that had not
/// been told wrote its own once more (PROTOCOL M64, M65, M67, M92).
#[test]
fn an_account_ends_its_stored_sessions() {
    on_both(|place| {
        let mut store = furnished(place);
        let user = UserId(1);
        let token = AccountsJob::NewToken { user, hash: "a".into(), label: String::new(), time_ms: 3, tokens_max: 2 };
        assert_eq!(ask(&mut store, token), is(AccountsOutcome::Made { id: 1 }));
        let bob = match one(&mut store, &account("bob")) {
            StoreOutcome::AccountCreated { user } => user,
            other => panic!("{other:?}"),
        };
        let big = u64::MAX - 5;
        let session = |id: u64, user: UserId, token: u64| SavedSession {
            id: SessionId(id),
            user,
            username: "Ada".into(),
            role: Role::Member,
            secret_hash: vec![1; 32],
            token,
            rooms: vec![RoomNumber(1)],
        };
        let sessions = vec![session(big, user, 0), session(2, user, 0), session(3, user, 1), session(4, bob, 0)];
        let save = |sessions| StoreJob::SaveSessions { sessions, gone: Vec::new() };
        one(&mut store, &save(sessions));
        let reopened = |store: Store| {
            close(store);
            let (store, loaded) = open(place);
            let mut ids: Vec<u64> = loaded.sessions.iter().map(|session| session.id.0).collect();
            ids.sort_unstable();
            (store, ids)
        };
        let set = |old: &str, new: &str, changed_by| AccountsJob::SetPassword {
            user,
            old: old.into(),
            new: new.into(),
            changed_by,
        };
        assert_eq!(ask(&mut store, set("h", "i", None)), is(AccountsOutcome::Done));
        let by_hand = Some(SessionId(big));
        assert_eq!(ask(&mut store, set("wrong", "k", by_hand)), StoreOutcome::NotFound);
        let (mut store, ids) = reopened(store);
        assert_eq!(ids, [2, 3, 4, big]);
        assert_eq!(ask(&mut store, set("i", "j", by_hand)), is(AccountsOutcome::Done));
        one(&mut store, &save(vec![session(2, user, 0), session(big, user, 0)]));
        let (mut store, ids) = reopened(store);
        assert_eq!(ids, [3, 4, big]);
        let end = |except| AccountsJob::EndSessions { user, except: SessionId(except) };
        assert_eq!(ask(&mut store, end(3)), is(AccountsOutcome::Done));
        one(&mut store, &save(vec![session(5, user, 0)]));
        let (mut store, ids) = reopened(store);
        assert_eq!(ids, [3, 4, 5], "one of after it too");
        let nobody = AccountsJob::EndSessions { user: UserId(99), except: SessionId(1) };
        assert_eq!(ask(&mut store, nobody), StoreOutcome::NotFound);
        close(store);
    });
}

/// Goal: a deleted account's name is free, its tokens and invitations are gone, its lines and rooms stay; the only
/// owner is not deleted (PROTOCOL M66).
#[test]
fn a_deleted_account_leaves_its_lines() {
    on_both(|place| {
        let mut store = furnished(place);
        stored(&one(&mut store, &line(1, "", "hello", 2)));
        let user = UserId(1);
        let token = AccountsJob::NewToken { user, hash: "a".into(), label: String::new(), time_ms: 3, tokens_max: 2 };
        ask(&mut store, token);
        invite(&mut store, "x", 5, 100);
        script(&mut store, "INSERT INTO chat_seen (account, room, peer, seen) VALUES (1, 1, 0, 1), (2, 1, 0, 1)");
        let delete = || AccountsJob::Delete { user, time_ms: 9, entry: entry("deleted") };
        let role = |role| {
            let (actor, target, entry) = (user, user, entry("role"));
            StoreJob::Moderate(Box::new(LoggedAct { act: Act::SetRole { user, role }, actor, target, entry }))
        };
        one(&mut store, &role(Role::Owner));
        assert_eq!(ask(&mut store, delete()), is(AccountsOutcome::OnlyOwner));
        one(&mut store, &role(Role::Member));
        assert_eq!(ask(&mut store, delete()), is(AccountsOutcome::Done));
        assert_eq!(ask(&mut store, delete()), StoreOutcome::NotFound);
        assert_eq!(one(&mut store, &StoreJob::FindAccount { key: "ada".into() }), StoreOutcome::NotFound);
        assert_eq!(ask(&mut store, AccountsJob::FindToken { hash: "a".into() }), StoreOutcome::NotFound);
        assert_eq!(one(&mut store, &invited("eve", "x")), StoreOutcome::Denied);
        assert_eq!(count(&mut store, "SELECT count(*) FROM chat_seen"), 1, "what it had seen is of no use");
        let StoreOutcome::AccountCreated { user: new } = one(&mut store, &account("ada")) else { panic!("taken") };
        assert_ne!(new, user);
        close(store);
        let (mut store, loaded) = open(place);
        assert_eq!(loaded.rooms[0].creator, user);
        stored(&one(&mut store, &line(1, "", "from nobody else", 3)));
    });
}

/// Goal: what commands on the machine change, a running server learns of, in order and once; what is over is forgotten
/// (PROTOCOL M68).
#[test]
fn the_operators_acts_are_told() {
    on_both(|place| {
        let mut store = furnished(place);
        let mut desk = Desk::open(place).unwrap();
        assert!(desk.create("bob", "Bob", "h", Role::Member).unwrap());
        assert!(!desk.create("bob", "Bob", "h", Role::Member).unwrap());
        let bob = desk.user("bob").unwrap().unwrap();
        assert_eq!(desk.change_user(&bob, &Change::Role(Role::Owner)).unwrap(), Changed::Done);
        assert_eq!(desk.change_user(&bob, &Change::Role(Role::Admin)).unwrap(), Changed::OnlyOwner);
        assert_eq!(desk.change_user(&bob, &Change::Delete).unwrap(), Changed::OnlyOwner);
        assert_eq!(desk.change_user(&bob, &Change::Password("i".into())).unwrap(), Changed::Done);
        let network = Network::parse("192.0.2.0/24").ok();
        let ban = Ban { network, by: "the operator".into(), by_role: 4, time_ms: 1, ..Ban::default() };
        let id = desk.ban(&ban, 9).unwrap().unwrap();
        let lifted = desk.ban(&Ban { user: bob.id.0, ..ban.clone() }, 9).unwrap().unwrap();
        assert_eq!(desk.ban(&ban, 2).unwrap(), None);
        assert!(desk.unban(lifted).unwrap() && !desk.unban(lifted).unwrap());
        let look = |after| AccountsJob::OperatorActs { after, count: 9 };
        let StoreOutcome::Accounts(AccountsOutcome::OperatorActs(acts)) = ask(&mut store, look(0)) else {
            panic!("no acts")
        };
        let ban = OperatorAct::Ban(Ban { id, ..ban });
        let unban = OperatorAct::Unban { ban: lifted };
        let (user, role) = (bob.id, Role::Owner);
        let expected = [OperatorAct::Role { user, role }, OperatorAct::SignOut { user }, ban, unban.clone(), unban];
        assert_eq!(acts.iter().map(|(_, act)| act.clone()).collect::<Vec<_>>(), expected);
        assert_eq!(ask(&mut store, look(acts[4].0)), is(AccountsOutcome::OperatorActs(Vec::new())));
        let claimed = StoreJob::Claim { user: UserId(1), code: "any".into(), entry: Box::default() };
        assert_eq!(one(&mut store, &claimed), StoreOutcome::Denied);
        let code = desk.invite("x", 2, 60, 9).unwrap().unwrap();
        assert_eq!(desk.invitations(0).unwrap().iter().map(|one| one.invitation_id).collect::<Vec<_>>(), [code]);
        assert!(desk.revoke(code).unwrap() && !desk.revoke(code).unwrap());
        let names: Vec<String> = desk.users(UserId(0)).unwrap().into_iter().map(|user| user.name).collect();
        assert_eq!(names, ["Ada", "Bob"]);
        drop(desk);
        close(store);
        let (mut store, loaded) = open(place);
        assert_eq!(loaded.bans.iter().map(|ban| ban.id).collect::<Vec<_>>(), [id]);
        assert_eq!(ask(&mut store, look(0)), is(AccountsOutcome::OperatorActs(Vec::new())), "a start knows them");
    });
}

/// Goal: who was looked up and is deleted before the change is not changed, and is no owner that nobody can log in as.
#[test]
fn a_deleted_account_is_not_changed() {
    on_both(|place| {
        let (store, loaded) = open(place);
        close(store);
        let mut store = furnished(place);
        let mut desk = Desk::open(place).unwrap();
        desk.create("bob", "Bob", "h", Role::Member).unwrap();
        let bob = desk.user("bob").unwrap().unwrap();
        assert_eq!(desk.change_user(&bob, &Change::Delete).unwrap(), Changed::Done);
        for change in [Change::Role(Role::Owner), Change::Password("i".into()), Change::Delete] {
            assert_eq!(desk.change_user(&bob, &change).unwrap(), Changed::Gone);
        }
        let claim = |user| StoreJob::Claim { user, code: loaded.claim_code.clone().unwrap(), entry: Box::default() };
        assert_eq!(one(&mut store, &claim(bob.id)), StoreOutcome::Denied);
        assert_eq!(count(&mut store, "SELECT count(*) FROM accounts WHERE role = 4 OR password_hash = 'i'"), 0);
        assert_eq!(one(&mut store, &claim(UserId(1))), StoreOutcome::Claimed, "the code is not used up");
    });
}

/// Goal: of a password that an operator replaced, and of an account that was deleted so, nothing is left in SQLite's file.
#[test]
fn what_a_command_deletes_leaves_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let place = file(&directory.path().join("db"));
    let mut store = furnished(&place);
    let mut desk = Desk::open(&place).unwrap();
    let (name, hash) = (format!("xyzzy{}", "n".repeat(50)), format!("plugh{}", "h".repeat(200)));
    for at in 0..40 {
        desk.create(&format!("user {at}"), &format!("{name}{at}"), &hash, Role::Member).unwrap();
    }
    let users = desk.users(UserId(1)).unwrap();
    let (gone, kept) = users.split_at(20);
    for user in kept {
        desk.change_user(user, &Change::Password("h".into())).unwrap();
    }
    for user in gone {
        desk.change_user(user, &Change::Delete).unwrap();
    }
    script(&mut store, "DELETE FROM audit");
    drop(desk);
    // Its connection may live on for a moment, and with it the log, which is emptied here.
    script(&mut store, "PRAGMA wal_checkpoint(TRUNCATE)");
    close(store);
    let mut left = [0; 2];
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for (left, secret) in left.iter_mut().zip(["plugh", "xyzzy"]) {
            *left += bytes.windows(secret.len()).filter(|window| *window == secret.as_bytes()).count();
        }
    }
    assert_eq!(left, [0, 20], "replaced hashes and deleted names, and the names that stay");
}

/// Goal: what a command says it did is on PostgreSQL's disk, however the database is set.
#[test]
fn commands_commit_durably() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    close(furnished(&server(&url)));
    let name = postgres.sql(&url, "SELECT current_database()");
    postgres.sql(&url, &format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let mut desk = Desk::open(&server(&url)).unwrap();
    assert_eq!(desk.setting("synchronous_commit"), "on");
}

/// Goal: bans and invitations that are over do not stay in the table.
#[test]
fn what_is_over_is_forgotten() {
    on_both(|place| {
        let mut store = furnished(place);
        invite(&mut store, "x", 1, 50);
        let ban = Ban { user: 1, expires_ms: 50, ..Ban::default() };
        let act = LoggedAct { act: Act::Ban(ban), actor: UserId(1), target: UserId(1), entry: entry("ban") };
        one(&mut store, &StoreJob::Moderate(Box::new(act)));
        let left = "SELECT (SELECT count(*) FROM bans) + (SELECT count(*) FROM invitations)";
        ask(&mut store, AccountsJob::ForgetExpired { now_ms: 49 });
        assert_eq!(count(&mut store, left), 2);
        ask(&mut store, AccountsJob::ForgetExpired { now_ms: 50 });
        assert_eq!(count(&mut store, left), 0);
    });
}
