//! Invitations, device tokens, guests, passwords, sign-outs and the operator's acts, as clients on several shards see
//! them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Client, Cluster, action, chat, code, config, login, moderation};
use echomesh_proto::control::{
    Account, AccountAction as Action, AccountState, Body, ClaimRequest, LoginRequest, LoginResponse, Moderation,
    ModerationAction, ResumeRequest, Role, RoomActionType, StatusCode as S, VoiceAnnounce,
};
use echomesh_proto::ids::UserId;
use echomesh_proto::time::SECOND_US;
use echomesh_shard::accounts::OperatorAct;
use echomesh_shard::{Ban, CloseReason, Rate, Registration};

fn about(action: Action) -> Account {
    Account { action: action as i32, ..Account::default() }
}

fn state(body: Body) -> AccountState {
    match body {
        Body::AccountState(state) => state,
        other => panic!("{other:?}"),
    }
}

fn done(cluster: &mut Cluster, client: Client, account: Account) -> AccountState {
    state(cluster.ask(client, Body::Account(account)))
}

fn refused(cluster: &mut Cluster, client: Client, account: Account) -> S {
    match cluster.ask(client, Body::Account(account)) {
        Body::Status(status) => status.status_code(),
        other => panic!("{other:?}"),
    }
}

fn log_in(cluster: &mut Cluster, shard: usize, login: LoginRequest) -> (Client, LoginResponse) {
    let client = cluster.connect(shard);
    match cluster.ask(client, Body::LoginRequest(login)) {
        Body::LoginResponse(response) => (client, response),
        other => panic!("{other:?}"),
    }
}

fn named(name: &str, password: &str) -> LoginRequest {
    LoginRequest { username: name.into(), password: password.into(), features: 1, ..LoginRequest::default() }
}

fn by_token(token: &str) -> LoginRequest {
    LoginRequest { token: token.into(), features: 1, ..LoginRequest::default() }
}

fn guest(name: &str) -> LoginRequest {
    LoginRequest { username: name.into(), guest: true, ..LoginRequest::default() }
}

/// Logs in to an account that is made so, in a server that lets everyone.
fn person(cluster: &mut Cluster, shard: usize, name: &str) -> Client {
    let (client, response) = log_in(cluster, shard, named(name, "secret"));
    assert_eq!(response.status_code(), S::StatusOk, "{}", response.message);
    client
}

/// A moderator of a server that takes invitations, with a role that it had before it came.
fn inviting(role: Role) -> (Cluster, Client) {
    let mut cluster = Cluster::with(3, |config| config.registration = Registration::Invitation);
    let hash = "secret".to_owned();
    let ann = cluster.make_account("ann", &hash, role);
    assert!(ann.0 > 0);
    let client = person(&mut cluster, 1, "ann");
    (cluster, client)
}

/// Goal: with registration by invitation a name is made with a code and by nothing else, as often as the code says and
/// until it is over; which names exist is not told (PROTOCOL M60, M61).
#[test]
fn an_invitation_makes_as_many_accounts_as_it_says() {
    let (mut cluster, ann) = inviting(Role::Moderator);
    let invite = Account { uses: 2, seconds: 60, ..about(Action::AaInvite) };
    let code = done(&mut cluster, ann, invite).secret;
    assert!(code.len() >= 20, "{code}");
    let with = |name: &str, code: &str| LoginRequest { invitation: code.into(), ..named(name, "secret") };
    let answer = |cluster: &mut Cluster, login| log_in(cluster, 2, login).1;
    assert_eq!(answer(&mut cluster, named("bob", "secret")).status_code(), S::StatusBadCredentials);
    let unknown = answer(&mut cluster, named("bob", "secret")).message;
    assert_eq!(answer(&mut cluster, named("ann", "wrong")).message, unknown, "a name is not told by its absence");
    assert_eq!(answer(&mut cluster, with("bob", "0123456789")).status_code(), S::StatusRegistrationClosed);
    let shouted = format!("  {} ", code.to_uppercase());
    assert!(answer(&mut cluster, with("bob", &shouted)).account_created);
    assert!(answer(&mut cluster, with("tim", &code)).account_created);
    assert_eq!(answer(&mut cluster, with("eve", &code)).status_code(), S::StatusRegistrationClosed);
    assert_eq!(answer(&mut cluster, named("bob", "secret")).status_code(), S::StatusOk);
    let late = done(&mut cluster, ann, Account { seconds: 60, ..about(Action::AaInvite) }).secret;
    cluster.pass(61 * SECOND_US);
    assert_eq!(answer(&mut cluster, with("eve", &late)).status_code(), S::StatusRegistrationClosed);
    let acts: Vec<&str> = cluster.audit.iter().map(|entry| entry.detail.as_str()).collect();
    assert_eq!(acts, ["invitation of 2 for 60 s", "invitation of 1 for 60 s"]);
}

/// Goal: who asks for an account that is there makes none by a slip of the pen, and learns no more than that name and
/// password do not fit (PROTOCOL M60).
#[test]
fn a_login_to_an_existing_account_makes_none() {
    let mut cluster = Cluster::new(1);
    let existing = |name: &str| LoginRequest { existing: true, ..named(name, "secret") };
    let refused = log_in(&mut cluster, 0, existing("ann")).1;
    assert_eq!(refused.status_code(), S::StatusBadCredentials);
    assert!(log_in(&mut cluster, 0, named("ann", "secret")).1.account_created, "it was not there");
    assert_eq!(log_in(&mut cluster, 0, existing("ann")).1.status_code(), S::StatusOk);
}

/// Goal: two who use the last use at one time, on two shards, make one account (PROTOCOL M61).
#[test]
fn two_shards_do_not_share_a_use() {
    let (mut cluster, ann) = inviting(Role::Moderator);
    let code = done(&mut cluster, ann, about(Action::AaInvite)).secret;
    let clients: Vec<Client> = (0..3).map(|shard| cluster.connect(shard)).collect();
    for (client, name) in clients.iter().zip(["bob", "tim", "eve"]) {
        let login = LoginRequest { invitation: code.clone(), ..named(name, "secret") };
        cluster.send(*client, 7, Body::LoginRequest(login));
    }
    cluster.run();
    let mut made = 0;
    for client in clients {
        made += cluster.take(client).iter().filter(|body| code_of(body) == S::StatusOk).count();
    }
    assert_eq!(made, 1);
}

fn code_of(body: &Body) -> S {
    code(body)
}

/// Goal: only from moderator up are invitations made, listed and taken back; what is taken back does not count; the
/// bounds hold (PROTOCOL M61).
#[test]
fn invitations_are_the_moderators() {
    for role in [Role::Guest, Role::Member, Role::Moderator, Role::Admin, Role::Owner] {
        let (mut cluster, ann) = inviting(role);
        for action in [Action::AaInvite, Action::AaListInvitations, Action::AaRevokeInvitation] {
            let may = role >= Role::Moderator;
            let answer = cluster.ask(ann, Body::Account(Account { id: 1, ..about(action) }));
            assert_eq!(code(&answer) == S::StatusDenied, !may, "{role:?} {action:?}");
        }
    }
    let (mut cluster, ann) = inviting(Role::Moderator);
    let made = done(&mut cluster, ann, Account { uses: 3, ..about(Action::AaInvite) });
    let list = done(&mut cluster, ann, about(Action::AaListInvitations));
    assert!(list.secret.is_empty());
    let [invitation] = &list.invitations[..] else { panic!("{list:?}") };
    assert_eq!((invitation.invitation_id, invitation.uses_left, invitation.by.as_str()), (made.id, 3, "ann"));
    assert_eq!(invitation.expires_ms - invitation.created_ms, 7 * 86_400_000);
    done(&mut cluster, ann, Account { id: made.id, ..about(Action::AaRevokeInvitation) });
    let again = Account { id: made.id, ..about(Action::AaRevokeInvitation) };
    assert_eq!(refused(&mut cluster, ann, again), S::StatusNotFound);
    let bob = LoginRequest { invitation: made.secret, ..named("bob", "secret") };
    assert_eq!(log_in(&mut cluster, 0, bob).1.status_code(), S::StatusRegistrationClosed);
    let many = Account { uses: 1_001, ..about(Action::AaInvite) };
    assert_eq!(refused(&mut cluster, ann, many), S::StatusLimit);
    let long = Account { seconds: u64::MAX, ..about(Action::AaInvite) };
    assert_eq!(refused(&mut cluster, ann, long), S::StatusLimit);
    for _ in 0..60 {
        done(&mut cluster, ann, about(Action::AaInvite));
    }
    let first = done(&mut cluster, ann, about(Action::AaListInvitations));
    let rest = done(&mut cluster, ann, Account { page: first.next_page.clone(), ..about(Action::AaListInvitations) });
    assert_eq!((first.invitations.len(), rest.invitations.len(), rest.next_page.len()), (50, 10, 0));
}

/// Goal: with registration closed no code makes an account, and with it open none is used (PROTOCOL M60).
#[test]
fn codes_count_only_where_they_are_asked_for() {
    let mut cluster = Cluster::with(2, |config| config.registration = Registration::Closed);
    cluster.make_account("ann", "secret", Role::Owner);
    let ann = person(&mut cluster, 0, "ann");
    let code = done(&mut cluster, ann, about(Action::AaInvite)).secret;
    let bob = LoginRequest { invitation: code, ..named("bob", "secret") };
    assert_eq!(log_in(&mut cluster, 1, bob.clone()).1.status_code(), S::StatusBadCredentials);
    let mut cluster = Cluster::new(2);
    assert!(log_in(&mut cluster, 1, bob).1.account_created);
}

/// Goal: a token logs in instead of name and password, on every shard; it is shown once, listed without its secret,
/// its use is noted once an hour, and wrong ones are guesses (PROTOCOL M62).
#[test]
fn a_token_logs_in() {
    let mut cluster = Cluster::new(3);
    let ann = person(&mut cluster, 0, "ann");
    let made = done(&mut cluster, ann, Account { label: "radio".into(), ..about(Action::AaNewToken) });
    assert_eq!(made.secret.len(), 64, "32 random bytes");
    for shard in 0..3 {
        let (client, response) = log_in(&mut cluster, shard, by_token(&made.secret));
        assert_eq!((response.status_code(), response.username.as_str()), (S::StatusOk, "ann"));
        assert!(!response.resume_token.is_empty());
        let Body::Who(who) = cluster.ask(client, Body::Who(Default::default())) else { panic!("who") };
        assert_eq!(who.user_id, response.user_id);
    }
    assert_eq!(cluster.kept.touches, 1, "its use is noted at most once an hour");
    let list = done(&mut cluster, ann, about(Action::AaListTokens));
    assert_eq!((list.tokens.len(), list.tokens[0].label.as_str(), list.secret.as_str()), (1, "radio", ""));
    assert_ne!(list.tokens[0].last_used_ms, 0);
    let guesser = cluster.connect(1);
    for _ in 0..5 {
        assert_eq!(cluster.code(guesser, Body::LoginRequest(by_token(&"0".repeat(64)))), S::StatusBadCredentials);
    }
    assert_eq!(cluster.closed[&guesser], CloseReason::Guessing);
    assert!(cluster.kept.tokens.keys().all(|hash| *hash != made.secret), "only a hash is stored");
}

/// Goal: a revoked token's sessions end at once on every shard, cannot be resumed, and it logs in no more; others'
/// tokens and sessions are left alone (PROTOCOL M62).
#[test]
fn revoking_a_token_ends_its_sessions() {
    let mut cluster = Cluster::new(3);
    let ann = person(&mut cluster, 0, "ann");
    let radio = done(&mut cluster, ann, about(Action::AaNewToken));
    let phone = done(&mut cluster, ann, about(Action::AaNewToken));
    let (by_radio, response) = log_in(&mut cluster, 1, by_token(&radio.secret));
    let (by_phone, _) = log_in(&mut cluster, 2, by_token(&phone.secret));
    cluster.pass(SECOND_US);
    let bob = person(&mut cluster, 1, "bob");
    let not_his = Account { id: radio.id, ..about(Action::AaRevokeToken) };
    assert_eq!(refused(&mut cluster, bob, not_his.clone()), S::StatusNotFound);
    done(&mut cluster, ann, not_his);
    assert_eq!(cluster.closed.get(&by_radio), Some(&CloseReason::SignedOut));
    let told = cluster.take(by_radio);
    assert!(matches!(told.last(), Some(Body::Status(status)) if status.status_code() == S::StatusKicked), "{told:?}");
    assert!(!cluster.closed.contains_key(&by_phone) && !cluster.closed.contains_key(&ann));
    assert_eq!(log_in(&mut cluster, 2, by_token(&radio.secret)).1.status_code(), S::StatusBadCredentials);
    let resume = ResumeRequest { resume_token: response.resume_token };
    let again = cluster.connect(0);
    assert_eq!(cluster.code(again, Body::ResumeRequest(resume)), S::StatusSessionGone);
    assert_eq!(log_in(&mut cluster, 2, by_token(&phone.secret)).1.status_code(), S::StatusOk);
}

/// Goal: an account has so many tokens and no more, and a label is short (PROTOCOL M62).
#[test]
fn tokens_are_bounded() {
    let mut cluster = Cluster::with(2, |config| config.limits.account_tokens_max = 2);
    let ann = person(&mut cluster, 0, "ann");
    for _ in 0..2 {
        done(&mut cluster, ann, about(Action::AaNewToken));
    }
    assert_eq!(refused(&mut cluster, ann, about(Action::AaNewToken)), S::StatusLimit);
    let long = Account { label: "x".repeat(65), ..about(Action::AaNewToken) };
    assert_eq!(refused(&mut cluster, ann, long), S::StatusTooLong);
    assert_eq!(refused(&mut cluster, ann, about(Action::AaUnspecified)), S::StatusBadRequest);
}

/// Goal: guests come in where they may, under a name that is nobody's account and no other guest's, on any shard; they
/// hear and speak, and cannot do what is kept under an account (PROTOCOL M63).
#[test]
fn guests_are_let_in_where_they_may() {
    let mut cluster = Cluster::new(2);
    assert_eq!(log_in(&mut cluster, 0, guest("gus")).1.status_code(), S::StatusDenied);
    let mut cluster = Cluster::with(3, |config| {
        config.guests = true;
        config.registration = Registration::Closed;
    });
    cluster.make_account("ann", "secret", Role::Owner);
    let ann = person(&mut cluster, 1, "ann");
    assert_eq!(cluster.code(ann, action(RoomActionType::RaCreate, "hall")), S::StatusOk);
    assert_eq!(log_in(&mut cluster, 2, guest("Ann")).1.status_code(), S::StatusExists);
    let (gus, response) = log_in(&mut cluster, 2, guest("Gus"));
    assert_eq!((response.status_code(), response.username.as_str()), (S::StatusOk, "Gus"));
    assert_eq!(log_in(&mut cluster, 0, guest("gus")).1.status_code(), S::StatusExists);
    assert_eq!(cluster.code(gus, action(RoomActionType::RaJoin, "hall")), S::StatusOk);
    let voice = VoiceAnnounce { room_id: "hall".into(), open: true, ..VoiceAnnounce::default() };
    assert_eq!(cluster.code(gus, Body::VoiceAnnounce(voice)), S::StatusOk);
    let Body::Who(who) = cluster.ask(gus, Body::Who(Default::default())) else { panic!("who") };
    assert_eq!((who.role(), who.user_id), (Role::Guest, response.user_id));
    for body in [
        chat("hall", "hi"),
        Body::Account(about(Action::AaNewToken)),
        Body::ClaimRequest(ClaimRequest { code: "right".into() }),
        action(RoomActionType::RaCreate, "mine"),
    ] {
        assert_eq!(cluster.code(gus, body.clone()), S::StatusDenied, "{body:?}");
    }
    cluster.close(gus);
    assert_eq!(log_in(&mut cluster, 0, guest("gus")).1.user_id, response.user_id, "the name is free again");
}

/// Goal: a guest can be put out, and kept out, by its name (PROTOCOL M63, M52).
#[test]
fn guests_are_kicked_and_banned_by_name() {
    let mut cluster = Cluster::with(2, |config| config.guests = true);
    let ann = cluster.person(0, "ann", "hall", Role::Moderator);
    let (gus, _) = log_in(&mut cluster, 1, guest("gus"));
    let act = |action| Body::Moderation(moderation(action, "", "Gus"));
    assert_eq!(cluster.code(ann, act(ModerationAction::MaKick)), S::StatusOk);
    assert_eq!(cluster.closed[&gus], CloseReason::Kicked);
    let (gus, _) = log_in(&mut cluster, 1, guest("gus"));
    assert_eq!(cluster.code(ann, act(ModerationAction::MaBan)), S::StatusOk);
    assert_eq!(cluster.closed[&gus], CloseReason::Banned);
    assert_eq!(log_in(&mut cluster, 1, guest("gus")).1.status_code(), S::StatusBanned);
    let role = Moderation { role: Role::Guest as i32, ..moderation(ModerationAction::MaSetRole, "", "gus") };
    let olga = cluster.person(0, "olga", "hall", Role::Owner);
    assert_eq!(cluster.code(olga, Body::Moderation(role)), S::StatusNotFound);
}

/// Goal: a password changes with today's; sessions that others opened by the old one end, on every shard, tokens' do
/// not, and the old one is dead (PROTOCOL M64).
#[test]
fn changing_the_password() {
    let mut cluster = Cluster::new(3);
    let ann = person(&mut cluster, 0, "ann");
    let token = done(&mut cluster, ann, about(Action::AaNewToken)).secret;
    let (device, _) = log_in(&mut cluster, 1, by_token(&token));
    let other = person(&mut cluster, 2, "ann");
    cluster.pass(SECOND_US);
    let change = |old: &str, new: &str| Account {
        password: old.into(),
        new_password: new.into(),
        ..about(Action::AaChangePassword)
    };
    assert_eq!(refused(&mut cluster, ann, change("wrong", "new")), S::StatusBadCredentials);
    assert_eq!(refused(&mut cluster, ann, change("secret", "")), S::StatusBadCredentials);
    assert_eq!(refused(&mut cluster, ann, change("secret", &"x".repeat(513))), S::StatusBadCredentials);
    done(&mut cluster, ann, change("secret", "new"));
    assert_eq!(cluster.closed.get(&other), Some(&CloseReason::SignedOut));
    assert!(!cluster.closed.contains_key(&ann) && !cluster.closed.contains_key(&device));
    cluster.pass(SECOND_US);
    assert_eq!(log_in(&mut cluster, 1, named("ann", "secret")).1.status_code(), S::StatusBadCredentials);
    assert_eq!(log_in(&mut cluster, 1, named("ann", "new")).1.status_code(), S::StatusOk);
    for _ in 0..4 {
        refused(&mut cluster, ann, change("wrong", "new"));
    }
    assert_eq!(cluster.closed.get(&ann), Some(&CloseReason::Guessing), "old passwords are guessed here no faster");
}

/// Goal: signing out others ends all other sessions of the account, wherever they are, attached or not, and leaves
/// other accounts alone (PROTOCOL M65).
#[test]
fn signing_out_others() {
    let mut cluster = Cluster::new(3);
    let ann = person(&mut cluster, 0, "ann");
    let others = [cluster.member(1, "ann", "hall"), cluster.member(2, "ann", "hall")];
    let lost = cluster.connect(2);
    let token = cluster.login(lost, "ann", 1).resume_token;
    cluster.ask(lost, action(RoomActionType::RaJoin, "hall"));
    cluster.close(lost);
    let bob = person(&mut cluster, 1, "bob");
    cluster.pass(SECOND_US);
    done(&mut cluster, ann, about(Action::AaSignOutOthers));
    for other in others {
        assert_eq!(cluster.closed.get(&other), Some(&CloseReason::SignedOut));
    }
    assert!(!cluster.closed.contains_key(&ann) && !cluster.closed.contains_key(&bob));
    let again = cluster.connect(1);
    assert_eq!(cluster.code(again, Body::ResumeRequest(ResumeRequest { resume_token: token })), S::StatusSessionGone);
    cluster.pass(SECOND_US);
    assert_eq!(
        log_in(&mut cluster, 2, named("ann", "secret")).1.status_code(),
        S::StatusOk,
        "a new login is no old one"
    );
}

/// Goal: an account whose devices sign each other out all the time does not keep others from it (PROTOCOL M65).
#[test]
fn sign_outs_of_one_account_take_one_place() {
    // Faster than anyone may connect.
    let mut cluster = Cluster::with(1, |config| config.limits.connects = Rate::NONE);
    for _ in 0..4_097 {
        let ann = person(&mut cluster, 0, "ann");
        done(&mut cluster, ann, about(Action::AaSignOutOthers));
        cluster.now.time = cluster.now.time.after_us(1);
    }
    assert_eq!(cluster.closed.len(), 4_096);
}

/// Goal: an account that revokes tokens all the time is told to wait, and does not keep others from it, nor itself from
/// signing others out (PROTOCOL M62, M65).
#[test]
fn an_account_does_not_fill_the_memory_of_sign_outs() {
    let mut cluster = Cluster::new(2);
    let bob = person(&mut cluster, 0, "bob");
    let revoke = |id| Account { id, ..about(Action::AaRevokeToken) };
    for _ in 0..64 {
        let id = done(&mut cluster, bob, about(Action::AaNewToken)).id;
        done(&mut cluster, bob, revoke(id));
    }
    let id = done(&mut cluster, bob, about(Action::AaNewToken)).id;
    assert_eq!(refused(&mut cluster, bob, revoke(id)), S::StatusTryAgain);
    done(&mut cluster, bob, about(Action::AaSignOutOthers));
    let ann = person(&mut cluster, 1, "ann");
    let id = done(&mut cluster, ann, about(Action::AaNewToken)).id;
    done(&mut cluster, ann, revoke(id));
    cluster.pass(61 * SECOND_US);
    done(&mut cluster, bob, revoke(id - 1));
}

/// Goal: a login or a resume that is under way when the account signs others out does not slip through, whatever
/// comes first where (PROTOCOL M65). Method: the sign-out at each step of the other's way.
#[test]
fn nobody_slips_through_a_sign_out() {
    for steps in 0..40 {
        for resumes in [false, true] {
            let mut cluster = Cluster::new(3);
            let ann = person(&mut cluster, 0, "ann");
            let old = cluster.member(1, "ann", "hall");
            let connection = cluster.connect(1);
            let token = cluster.login(connection, "ann", 1).resume_token;
            cluster.ask(connection, action(RoomActionType::RaJoin, "hall"));
            cluster.close(connection);
            cluster.pass(SECOND_US);
            let late = cluster.connect(2);
            let body = if resumes {
                Body::ResumeRequest(ResumeRequest { resume_token: token })
            } else {
                login("ann", "secret", 1)
            };
            cluster.send(late, 5, body);
            for _ in 0..steps {
                cluster.step();
            }
            done(&mut cluster, ann, about(Action::AaSignOutOthers));
            assert!(cluster.closed.contains_key(&old));
            let came_in = cluster.take(late).iter().any(|body| code(body) == S::StatusOk);
            assert!(!came_in || cluster.closed.contains_key(&late), "after {steps} steps, resumes: {resumes}");
        }
    }
}

/// Goal: an account is deleted with its password; its sessions end everywhere, its tokens are dead, its name is free
/// for someone else; the only owner stays (PROTOCOL M66).
#[test]
fn deleting_an_account() {
    let mut cluster = Cluster::new(3);
    let ann = person(&mut cluster, 0, "ann");
    let token = done(&mut cluster, ann, about(Action::AaNewToken)).secret;
    let (device, first) = log_in(&mut cluster, 1, by_token(&token));
    cluster.pass(SECOND_US);
    let delete = |password: &str| Account { password: password.into(), ..about(Action::AaDelete) };
    assert_eq!(refused(&mut cluster, ann, delete("wrong")), S::StatusBadCredentials);
    done(&mut cluster, ann, delete("secret"));
    assert_eq!(cluster.closed.get(&ann), Some(&CloseReason::SignedOut));
    assert_eq!(cluster.closed.get(&device), Some(&CloseReason::SignedOut));
    assert_eq!(log_in(&mut cluster, 1, by_token(&token)).1.status_code(), S::StatusBadCredentials);
    let (_, second) = log_in(&mut cluster, 1, named("ann", "other"));
    assert!(second.account_created && second.user_id != first.user_id);
    assert_eq!(cluster.audit.last().unwrap().detail, "account deleted by its user");
    let olga = cluster.person(2, "olga", "hall", Role::Owner);
    assert_eq!(refused(&mut cluster, olga, delete("secret")), S::StatusDenied);
    assert!(!cluster.closed.contains_key(&olga));
}

/// Goal: nothing is done that the store does not store, and the answer says to try again (PROTOCOL M67).
#[test]
fn without_the_store_nothing_changes() {
    let mut cluster = Cluster::new(2);
    let ann = cluster.person(0, "ann", "hall", Role::Moderator);
    let other = person(&mut cluster, 1, "ann");
    cluster.pass(SECOND_US);
    cluster.store_fails = true;
    for action in [
        Action::AaChangePassword,
        Action::AaDelete,
        Action::AaNewToken,
        Action::AaListTokens,
        Action::AaRevokeToken,
        Action::AaSignOutOthers,
        Action::AaInvite,
        Action::AaListInvitations,
        Action::AaRevokeInvitation,
    ] {
        let request = Account { password: "secret".into(), new_password: "new".into(), ..about(action) };
        assert_eq!(refused(&mut cluster, ann, request), S::StatusTryAgain, "{action:?}");
    }
    assert!(!cluster.closed.contains_key(&other));
}

/// Goal: a right password that was hashed at another cost is hashed anew, once, and the login does not fail for it
/// (PROTOCOL M67).
#[test]
fn an_outdated_hash_is_replaced_at_login() {
    let mut cluster = Cluster::new(2);
    cluster.make_account("ann", "old secret", Role::Member);
    assert_eq!(log_in(&mut cluster, 1, named("ann", "wrong")).1.status_code(), S::StatusBadCredentials);
    assert_eq!(cluster.password_hash("ann").as_str(), "old secret");
    assert_eq!(log_in(&mut cluster, 1, named("ann", "secret")).1.status_code(), S::StatusOk);
    assert_eq!(cluster.password_hash("ann").as_str(), "secret");
}

/// Goal: what a command on the machine did takes effect in the running server within two seconds, on every shard
/// (PROTOCOL M68).
#[test]
fn commands_on_the_machine_are_picked_up() {
    let mut cluster = Cluster::new(3);
    let ann = cluster.member(1, "ann", "hall");
    let bob = cluster.member(2, "bob", "hall");
    let eve = cluster.member(0, "eve", "hall");
    let [ann_id, bob_id, eve_id] = ["ann", "bob", "eve"].map(|name| cluster.user(name));
    cluster.set_role(ann_id, Role::Owner);
    let ban = Ban { id: 7, user: bob_id.0, username: "bob".into(), by: "the operator".into(), ..Ban::default() };
    cluster.kept.acts = vec![
        OperatorAct::Role { user: ann_id, role: Role::Owner },
        OperatorAct::Ban(ban),
        OperatorAct::SignOut { user: eve_id },
    ];
    cluster.pass(2 * SECOND_US);
    let Body::Who(who) = cluster.ask(ann, Body::Who(Default::default())) else { panic!("who") };
    assert!(who.owner);
    assert_eq!(cluster.closed.get(&bob), Some(&CloseReason::Banned));
    assert_eq!(cluster.closed.get(&eve), Some(&CloseReason::SignedOut));
    assert_eq!(log_in(&mut cluster, 1, named("bob", "secret")).1.status_code(), S::StatusBanned);
    cluster.kept.acts.push(OperatorAct::Unban { ban: 7 });
    cluster.pass(2 * SECOND_US);
    assert_eq!(log_in(&mut cluster, 1, named("bob", "secret")).1.status_code(), S::StatusOk);
}

/// Goal: each act is taken once, and the store forgets what is over now and then (PROTOCOL M68).
#[test]
fn chores_are_done_once() {
    let mut cluster = Cluster::new(2);
    person(&mut cluster, 1, "ann");
    let user = cluster.user("ann");
    cluster.kept.acts = vec![OperatorAct::SignOut { user }];
    cluster.pass(2 * SECOND_US);
    let ann = person(&mut cluster, 1, "ann");
    cluster.pass(5 * SECOND_US);
    assert!(!cluster.closed.contains_key(&ann));
    assert_eq!(cluster.kept.forgettings, 0);
    cluster.now.time = cluster.now.time.after_us(3_600 * SECOND_US);
    cluster.pass(SECOND_US);
    assert_eq!(cluster.kept.forgettings, 1);
}

/// Goal: the claim is in the audit log (PROTOCOL M57).
#[test]
fn a_claim_is_logged() {
    let mut cluster = Cluster::new(2);
    let ann = person(&mut cluster, 1, "ann");
    let claim = |code: &str| Body::ClaimRequest(ClaimRequest { code: code.into() });
    assert_eq!(cluster.code(ann, claim("wrong")), S::StatusDenied);
    assert!(cluster.audit.is_empty());
    assert_eq!(cluster.code(ann, claim("right")), S::StatusOk);
    let [entry] = &cluster.audit[..] else { panic!("{:?}", cluster.audit) };
    assert_eq!((entry.by.as_str(), entry.detail.as_str()), ("ann", "owner, by the claim code"));
    assert_eq!(entry.action, ModerationAction::MaSetRole as i32);
}

/// Goal: a guest's number is no account's, whatever the name (PROTOCOL M63).
#[test]
fn a_guests_number_is_no_accounts() {
    assert!(!config(0, 1).guests, "guests are let in only where the operator says so");
    let mut cluster = Cluster::with(1, |config| config.guests = true);
    for name in ["gus", "ada", "Zo\u{eb}"] {
        let id = log_in(&mut cluster, 0, guest(name)).1.user_id;
        assert!(i64::try_from(id).is_ok() && id > u64::from(u32::MAX), "{name}: {id}");
        assert_ne!(UserId(id), cluster.make_account(&format!("{name}2"), "secret", Role::Member));
    }
}
