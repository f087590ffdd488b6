//! How a session logs in, and what it makes of answers about its account.

use echomesh_proto::control::{Account, AccountAction, AccountState};

use super::*;

/// What a session of this configuration says first.
fn login(config: Config) -> echomesh_proto::control::LoginRequest {
    let mut stage = Stage { session: Session::new(config), ..Stage::new() };
    stage.handle(Input::Connected);
    match stage.sent().remove(0).body {
        Some(Body::LoginRequest(login)) => login,
        other => panic!("{other:?}"),
    }
}

/// Goal: a token goes alone, a guest sends no password, an invitation goes with name and password (PROTOCOL M61 to
/// M63).
#[test]
fn nothing_is_sent_that_is_not_needed() {
    let ann = || Config::new("ann", "secret");
    let by_token = login(Config { token: "0123".into(), ..ann() });
    assert_eq!((by_token.token.as_str(), by_token.username.as_str(), by_token.password.as_str()), ("0123", "", ""));
    let guest = login(Config { guest: true, ..ann() });
    assert_eq!((guest.guest, guest.username.as_str(), guest.password.as_str()), (true, "ann", ""));
    let invited = login(Config { invitation: "45".into(), ..ann() });
    assert_eq!((invited.invitation.as_str(), invited.password.as_str()), ("45", "secret"));
}

/// Goal: after the password was changed, and only then, a new login takes the new one (PROTOCOL M64).
#[test]
fn a_new_password_is_for_later_logins() {
    for changed in [true, false] {
        let mut stage = Stage::logged_in();
        let action = AccountAction::AaChangePassword as i32;
        let (password, new_password) = ("secret".to_owned(), "new".to_owned());
        let account = Account { action, password, new_password, ..Account::default() };
        stage.session.account(stage.now, account).unwrap();
        let asked = stage.sent();
        let refusal = Status { status_code: StatusCode::StatusBadCredentials as i32, ..Status::default() };
        let state = Body::AccountState(AccountState { action, ..AccountState::default() });
        stage.reply(asked[0].request_id, if changed { state } else { Body::Status(refusal) });
        assert_eq!(matches!(&stage.events[0], Event::Answer(Answer { outcome: Outcome::Done(_), .. })), changed);
        stage.handle(Input::Closed);
        stage.handle(Input::Connected);
        let again = stage.sent();
        let gone = LoginResponse { status_code: StatusCode::StatusSessionGone as i32, ..LoginResponse::default() };
        stage.reply(again[0].request_id, Body::LoginResponse(gone));
        let Some(Body::LoginRequest(login)) = &stage.sent()[0].body else { panic!("no login") };
        assert_eq!(login.password, if changed { "new" } else { "secret" });
    }
}
