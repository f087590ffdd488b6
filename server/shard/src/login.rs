//! Logging in: name and password against the store and the hashers, then a session from the account's
//! home; or a device token instead of both, or a guest's name; resuming.
//!
//! Not hashing or storing: those are jobs beside the shard. One login is under way per connection.

use echomesh_proto::control::{Body, LoginRequest, LoginResponse, ResumeRequest, Role, StatusCode};
use echomesh_proto::ids::{ConnectionId, SessionId, UserId};
use echomesh_proto::limits::PASSWORD_BYTES_MAX;
use echomesh_proto::time::{Now, Time};
use rand_chacha::rand_core::RngCore;

use crate::accounts::{AccountsJob, AccountsOutcome, Opened, guest_id, hash_typed, is_guest};
use crate::bans::Network;
use crate::config::Registration;
use crate::connection::{AskedKind, RETRY_AFTER_MS};
use crate::counters::{Drop, LoginOutcome};
use crate::effect::{Effect, Effects};
use crate::guesses;
use crate::jobs::{HashOutcome, HashRequest, StoreJob, StoreOutcome};
use crate::mesh::{Asker, Mesh, SessionNote};
use crate::names::{self, Name};
use crate::session::{SECRET_BYTES, Session, hash_secret};
use crate::{Job, Shard, retry_ms};

/// Bit of `Feature::FEATURE_RESUME` in `LoginRequest.features`.
const FEATURE_RESUME: u64 = 1;

const BAD_CREDENTIALS: &str = "wrong name or password: check both and try again";
const BAD_CREDENTIALS_OR_INVITATION: &str =
    "wrong name or password: check both and try again; a new account takes an invitation here";
const BAD_INVITATION: &str =
    "that invitation does not count: it is misspelt, used up, over or taken back; ask for another";
const NO_GUESTS: &str = "this server lets no guests in: log in to an account";
pub(crate) const BUSY: &str = "the server is too busy to log you in: try again in a moment";
const STORE_FAILED: &str = "the server cannot reach its store: try again later, or tell its operator";

/// What is known of a login that is under way.
#[derive(Clone, Debug)]
pub(crate) struct LoginUnderWay {
    /// Empty if it is by token.
    name: Name,
    password: String,
    /// The hash of the code; empty: none.
    invitation: String,
    guest: bool,
    existing: bool,
    resumable: bool,
    since: Time,
    /// By which it came; 0: none.
    token: u64,
    /// Against which the password is checked.
    password_hash: String,
    account: Option<Account>,
    created: bool,
    secret: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Account {
    user: UserId,
    name: String,
    role: Role,
}

/// A `LoginResponse` that refuses.
pub(crate) fn refusal(code: StatusCode, text: &str) -> Body {
    refusal_until(code, text, if code == StatusCode::StatusTryAgain { RETRY_AFTER_MS } else { 0 })
}

/// The same, with when to try again.
pub(crate) fn refusal_until(code: StatusCode, text: &str, retry_after_ms: u32) -> Body {
    Body::LoginResponse(LoginResponse {
        status_code: code as i32,
        message: text.to_owned(),
        retry_after_ms,
        ..LoginResponse::default()
    })
}

impl LoginOutcome {
    /// What the client is told.
    fn code(self) -> StatusCode {
        match self {
            Self::Password | Self::NewAccount | Self::Token | Self::Guest | Self::Resumed => StatusCode::StatusOk,
            Self::BadCredentials => StatusCode::StatusBadCredentials,
            Self::BadInvitation => StatusCode::StatusRegistrationClosed,
            Self::BadName => StatusCode::StatusNameInvalid,
            Self::BadResumeToken => StatusCode::StatusBadRequest,
            Self::NoGuests => StatusCode::StatusDenied,
            Self::NameTaken => StatusCode::StatusExists,
            Self::TooManySessions => StatusCode::StatusLimit,
            Self::Banned => StatusCode::StatusBanned,
            Self::SessionGone => StatusCode::StatusSessionGone,
            Self::LoggedInAlready => StatusCode::StatusAlreadyLoggedIn,
            Self::TooManyGuesses
            | Self::TooManyAccounts
            | Self::SignedOut
            | Self::Busy
            | Self::StoreFailed
            | Self::TooFast
            | Self::TimedOut => StatusCode::StatusTryAgain,
        }
    }

    /// A `LoginResponse` that refuses for this reason.
    pub(crate) fn refusal(self, text: &str) -> Body {
        refusal(self.code(), text)
    }
}

fn too_many_accounts(retry_after_ms: u32) -> Body {
    let seconds = retry_after_ms.div_ceil(1_000);
    let text = format!("too many accounts were made from your address: wait {seconds} s, or log in by one of them");
    refusal_until(StatusCode::StatusTryAgain, &text, retry_after_ms)
}

impl Shard {
    pub(crate) fn login_request(
        &mut self,
        now: Now,
        id: ConnectionId,
        asker: Asker,
        login: LoginRequest,
        effects: &mut Effects,
    ) {
        let (name, job) = match self.look_up(&login) {
            Ok(found) => found,
            Err((outcome, text)) => return self.refuse_login(asker, outcome, &text, effects),
        };
        let account = if name.key.is_empty() { 0 } else { guesses::account(&name.key) };
        let too_many = if login.guest { None } else { self.too_many_guesses(now, id, account) };
        if let Some(too_many) = too_many {
            let refusal = too_many.login_response();
            return self.refuse_login_with(asker, LoginOutcome::TooManyGuesses, refusal, effects);
        }
        if let Some(connection) = self.connection(id) {
            connection.login = Some(LoginUnderWay {
                name,
                password: login.password,
                invitation: if login.invitation.is_empty() { String::new() } else { hash_typed(&login.invitation) },
                guest: login.guest,
                existing: login.existing,
                resumable: login.features & FEATURE_RESUME != 0,
                since: now.time,
                token: 0,
                password_hash: String::new(),
                account: None,
                created: false,
                secret: Vec::new(),
            });
        }
        self.login_store(asker, job, effects);
    }

    /// Under what name someone comes, and what to ask the store first.
    fn look_up(&self, login: &LoginRequest) -> Result<(Name, StoreJob), (LoginOutcome, String)> {
        if !login.token.is_empty() {
            let hash = hash_typed(&login.token);
            return Ok((Name::default(), StoreJob::Accounts(Box::new(AccountsJob::FindToken { hash }))));
        }
        let name = names::username(&login.username).map_err(|text| (LoginOutcome::BadName, text))?;
        if login.guest && !self.config.guests {
            return Err((LoginOutcome::NoGuests, NO_GUESTS.to_owned()));
        }
        if !login.guest && (login.password.is_empty() || login.password.len() > PASSWORD_BYTES_MAX) {
            let text = format!("the password must have 1 to {PASSWORD_BYTES_MAX} bytes");
            return Err((LoginOutcome::BadCredentials, text));
        }
        let key = name.key.clone();
        Ok((name, StoreJob::FindAccount { key }))
    }

    fn refuse_login(&mut self, asker: Asker, outcome: LoginOutcome, text: &str, effects: &mut Effects) {
        self.refuse_login_with(asker, outcome, outcome.refusal(text), effects);
    }

    fn refuse_login_with(&mut self, asker: Asker, outcome: LoginOutcome, refusal: Body, effects: &mut Effects) {
        self.counters.login(outcome);
        self.counters.logins_refused += 1;
        if outcome.code() == StatusCode::StatusTryAgain {
            self.counters.busy += 1;
        }
        if let Some(connection) = self.connection(asker.connection()) {
            connection.login = None;
        }
        self.answer(asker, refusal, effects);
    }

    /// Answers a login or resume that came to nothing before it was looked at, or was another shard's to grant.
    pub(crate) fn answer_refused(&mut self, asker: Asker, outcome: LoginOutcome, text: &str, effects: &mut Effects) {
        self.counters.login(outcome);
        self.answer(asker, outcome.refusal(text), effects);
    }

    /// Where anybody may, an address makes so many accounts in a time: how long until it may again, microseconds.
    fn account_wait_us(&mut self, now: Now, asker: Asker) -> u64 {
        let rate = self.config.limits.address_accounts;
        match self.remote_of(asker).filter(|_| self.config.registration == Registration::Open) {
            Some(remote) => self.makers.take(now.time, rate, Network::of(remote)).err().unwrap_or(0),
            None => 0,
        }
    }

    fn login_store(&mut self, asker: Asker, job: StoreJob, effects: &mut Effects) {
        if !self.ask_store(Job::Login(asker), job, effects) {
            self.refuse_login(asker, LoginOutcome::Busy, BUSY, effects);
        }
    }

    fn login_hash(&mut self, asker: Asker, verify: Option<String>, effects: &mut Effects) {
        let hashes = self.jobs.hashing();
        let Some(connection) = self.connection(asker.connection()) else { return };
        let (remote, password) = (connection.remote, connection.login.as_ref().map(|login| login.password.clone()));
        let account = connection.login.as_ref().map_or(0, |login| guesses::account(&login.name.key));
        if hashes >= self.config.limits.hash_requests_max {
            return self.refuse_login(asker, LoginOutcome::Busy, BUSY, effects);
        }
        let token = self.jobs.insert(Job::Hash(asker));
        self.guess_is_hashed(token, remote, account);
        let password = password.unwrap_or_default();
        effects.list.push(Effect::Hash(HashRequest { token, remote, password, verify }));
    }

    /// The login of this request, if it is still wanted.
    fn login_of(&mut self, asker: Asker) -> Option<&mut LoginUnderWay> {
        if !self.is_waiting(asker) {
            self.counters.drop(Drop::StaleAnswer);
            return None;
        }
        self.connection(asker.connection())?.login.as_mut()
    }

    pub(crate) fn login_stored(&mut self, now: Now, asker: Asker, outcome: StoreOutcome, effects: &mut Effects) {
        let Some(login) = self.login_of(asker) else { return };
        let is_by_name = !login.name.key.is_empty();
        match outcome {
            StoreOutcome::Account { .. } if login.guest => {
                let text = "that name is an account's: choose another, or log in with its password";
                self.refuse_login(asker, LoginOutcome::NameTaken, text, effects);
            }
            StoreOutcome::Account { user, name, password_hash, role } => {
                login.account = Some(Account { user, name, role });
                login.password_hash.clone_from(&password_hash);
                self.login_hash(asker, Some(password_hash), effects);
            }
            StoreOutcome::NotFound if is_by_name && login.guest => {
                let (user, name) = (guest_id(&login.name.key), login.name.shown.clone());
                login.account = Some(Account { user, name, role: Role::Guest });
                self.open_session(asker);
            }
            // Where nobody may register the password is hashed all the same, so that the time of the
            // refusal does not tell which names exist.
            StoreOutcome::NotFound if is_by_name => match self.account_wait_us(now, asker) {
                0 => self.login_hash(asker, None, effects),
                wait_us => {
                    let refusal = too_many_accounts(retry_ms(wait_us));
                    self.refuse_login_with(asker, LoginOutcome::TooManyAccounts, refusal, effects);
                }
            },
            StoreOutcome::NotFound => self.wrong_guess(now, asker, effects),
            StoreOutcome::Accounts(AccountsOutcome::Token { token, last_used_ms, user, name, role }) => {
                login.token = token;
                login.account = Some(Account { user, name, role });
                self.touch_token(now, token, last_used_ms, effects);
                self.open_session(asker);
            }
            StoreOutcome::AccountCreated { user } => {
                login.created = true;
                login.account = Some(Account { user, name: login.name.shown.clone(), role: Role::Member });
                self.open_session(asker);
            }
            // Someone else made the account between our look and our insert.
            StoreOutcome::Exists => {
                let key = login.name.key.clone();
                self.login_store(asker, StoreJob::FindAccount { key }, effects);
            }
            StoreOutcome::Denied => {
                self.refuse_login(asker, LoginOutcome::BadInvitation, BAD_INVITATION, effects);
                self.count_guess(now, asker.connection(), 0, effects);
            }
            _ => self.refuse_login(asker, LoginOutcome::StoreFailed, STORE_FAILED, effects),
        }
    }

    pub(crate) fn login_hashed(&mut self, now: Now, asker: Asker, outcome: HashOutcome, effects: &mut Effects) {
        let registration = self.config.registration;
        let Some(login) = self.login_of(asker) else { return };
        match outcome {
            HashOutcome::Verified(true) => self.open_session(asker),
            HashOutcome::Outdated => {
                let old = login.password_hash.clone();
                let (password, user) = (login.password.clone(), login.account.as_ref().map(|account| account.user));
                self.open_session(asker);
                if let Some(user) = user {
                    self.rehash(asker, user, password, old, effects);
                }
            }
            HashOutcome::Verified(false) => {
                self.refuse_guess(asker, effects);
                self.count_guess_here(now, asker.connection(), effects);
            }
            HashOutcome::Hashed(password_hash) => {
                let invitation = match registration {
                    _ if login.existing => return self.wrong_guess(now, asker, effects),
                    Registration::Open => String::new(),
                    Registration::Invitation if !login.invitation.is_empty() => login.invitation.clone(),
                    Registration::Invitation | Registration::Closed => return self.wrong_guess(now, asker, effects),
                };
                let Name { shown, key } = login.name.clone();
                let time_ms = now.unix_ms;
                let job = StoreJob::CreateAccount { key, name: shown, password_hash, time_ms, invitation };
                self.login_store(asker, job, effects);
            }
            HashOutcome::Busy => self.refuse_login(asker, LoginOutcome::Busy, BUSY, effects),
        }
    }

    /// One that no hash was compared for.
    fn wrong_guess(&mut self, now: Now, asker: Asker, effects: &mut Effects) {
        let account = match self.login_of(asker) {
            Some(login) if !login.name.key.is_empty() => guesses::account(&login.name.key),
            _ => 0,
        };
        self.refuse_guess(asker, effects);
        self.count_guess(now, asker.connection(), account, effects);
    }

    fn refuse_guess(&mut self, asker: Asker, effects: &mut Effects) {
        let registration = self.config.registration;
        let text = match (self.login_of(asker), registration) {
            (Some(login), _) if login.name.key.is_empty() => "that token does not count: it is misspelt or revoked",
            (_, Registration::Invitation) => BAD_CREDENTIALS_OR_INVITATION,
            _ => BAD_CREDENTIALS,
        };
        self.refuse_login(asker, LoginOutcome::BadCredentials, text, effects);
    }

    /// The password is right: ask the account's home for a session.
    fn open_session(&mut self, asker: Asker) {
        let session = self.random.next_u64().max(1);
        let mut secret = vec![0; SECRET_BYTES];
        self.random.fill_bytes(&mut secret);
        let Some(login) = self.login_of(asker) else { return };
        login.secret = secret;
        let Some(user) = login.account.as_ref().map(|account| account.user) else { return };
        let note = SessionNote { asker, user: user.0, session, ..SessionNote::default() };
        self.tell(self.account_home(user), Mesh::SessionOpen(note));
    }

    pub(crate) fn session_opened(&mut self, note: SessionNote, effects: &mut Effects) {
        let asker = note.asker;
        let login = self.login_of(asker).map(|login| login.clone());
        let Some((login, account)) = login.and_then(|login| login.account.clone().map(|account| (login, account)))
        else {
            if note.granted {
                self.tell(self.account_home(UserId(note.user)), Mesh::SessionClosed(note));
            }
            return;
        };
        if !note.granted {
            let (outcome, text) = if is_guest(account.user) {
                (LoginOutcome::NameTaken, "a guest of that name is here: choose another name")
            } else {
                let text =
                    "this account is logged in on too many devices: log one out, or wait a minute for lost ones to end";
                (LoginOutcome::TooManySessions, text)
            };
            return self.refuse_login(asker, outcome, text, effects);
        }
        let role = self.latest_role(account.user, account.role);
        let remote = self.remote_of(asker);
        if let Some(text) = self.kept_out(account.user, role, remote) {
            self.tell(self.account_home(account.user), Mesh::SessionClosed(note));
            return self.refuse_login(asker, LoginOutcome::Banned, &text, effects);
        }
        let id = SessionId(note.session);
        let opened = Opened { session: id, user: account.user, token: login.token, since: login.since };
        if let Some(text) = self.ended_by(opened) {
            self.tell(self.account_home(account.user), Mesh::SessionClosed(note));
            return self.refuse_login(asker, LoginOutcome::SignedOut, &text, effects);
        }
        let secret_hash = if login.resumable { hash_secret(&login.secret) } else { Vec::new() };
        self.sessions.insert(id, Session::new(opened, account.name, role, secret_hash));
        self.counters.logins += 1;
        self.counters.login(match (login.created, login.guest, login.token) {
            (true, ..) => LoginOutcome::NewAccount,
            (_, true, _) => LoginOutcome::Guest,
            (_, _, 0) => LoginOutcome::Password,
            _ => LoginOutcome::Token,
        });
        let mut resume_token = Vec::new();
        if login.resumable {
            resume_token.extend_from_slice(&id.0.to_be_bytes());
            resume_token.extend_from_slice(&account.user.0.to_be_bytes());
            resume_token.extend_from_slice(&login.secret);
        }
        let message = if login.created { "welcome: this name is yours now" } else { "welcome back" };
        let response = LoginResponse {
            message: message.to_owned(),
            account_created: login.created,
            motd: self.config.motd.clone(),
            resume_token: resume_token.into(),
            ..LoginResponse::default()
        };
        if let Some(connection) = self.connection(asker.connection()) {
            connection.login = None;
        }
        self.attach(asker, id, response, effects);
    }

    pub(crate) fn resume_request(&mut self, asker: Asker, resume: &ResumeRequest, effects: &mut Effects) {
        let token = &resume.resume_token[..];
        let parsed = token.split_first_chunk::<8>().and_then(|(session, rest)| {
            let (user, secret) = rest.split_first_chunk::<8>()?;
            (secret.len() == SECRET_BYTES).then_some((u64::from_be_bytes(*session), u64::from_be_bytes(*user), secret))
        });
        let Some((session, user, secret)) = parsed else {
            return self.refuse_login(asker, LoginOutcome::BadResumeToken, "that is not a resume token", effects);
        };
        let note = SessionNote { asker, user, session, secret: secret.to_vec(), granted: false };
        self.tell(self.account_home(UserId(user)), Mesh::TakeFromHome(note));
    }

    pub(crate) fn login_ask(&mut self, now: Now, id: ConnectionId, request_id: u32) -> Option<Asker> {
        let shard = u32::from(self.config.shard.0);
        Some(self.connection(id)?.ask(now, shard, request_id, AskedKind::Login))
    }
}
