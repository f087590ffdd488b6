//! Sessions: logged-in devices. A session lives with its connection, outlives it for a while if the
//! client can resume, and moves as one record to the shard where it is resumed.
//!
//! Accounts have a home shard that knows where their sessions live: it bounds them and finds one for a
//! resume. In: attach, detach, moves. Out: leaves to room homes, notes to account homes.
//! Bounds: sessions follow connections; a detached one lives `Limits::resume_us_max`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use echomesh_proto::control::{LoginResponse, PROTOCOL_VERSION, Role, StatusCode};
use echomesh_proto::ids::{ConnectionId, RoomNumber, SessionId, ShardId, UserId};
use echomesh_proto::time::{Now, Time};
use sha2::{Digest, Sha256};

use crate::accounts::{Opened, is_guest};
use crate::bans::Network;
use crate::counters::{CloseReason, Drop};
use crate::effect::Effects;
use crate::mesh::{Ask, Asker, Mesh, SessionNote, SessionRecord};
use crate::mistakes::{Mistake, planted};
use crate::rooms::NewRoom;
use crate::saving::SavedSession;
use crate::{Shard, home_request};

/// Bytes of the secret half of a resume token; the public half is session and user, 8 bytes each.
pub(crate) const SECRET_BYTES: usize = 16;

/// Sessions without connection that end in one tick. In 64 rooms each whose homes are here, they have some 500 KB to say
/// to each other shard, an eighth of what may wait for it.
const EXPIRE_MAX: usize = 64;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) user: UserId,
    pub(crate) username: String,
    pub(crate) role: Role,
    /// The token it logged in by; 0: none.
    pub(crate) token: u64,
    /// When it asked for its login.
    since: Time,
    /// SHA-256 of the secret that resumes it; empty if the client cannot resume.
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) connection: Option<ConnectionId>,
    /// Address of its last connection.
    pub(crate) remote: Option<IpAddr>,
    detached: Time,
    /// How often it moved: a home believes the latest of its shards.
    pub(crate) moves: u32,
    /// The store may have it; and it has it as it is now.
    pub(crate) is_saved: bool,
    pub(crate) is_current: bool,
    /// Rooms it is in, by key. With their names: on a shard it moved to, the directory may not have them yet.
    pub(crate) rooms: BTreeMap<String, InRoom>,
}

/// A room that a session is in.
#[derive(Clone, Debug)]
pub(crate) struct InRoom {
    pub(crate) number: RoomNumber,
    pub(crate) name: String,
}

/// Where a session of an account lives, at the account's home.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionPlace {
    pub(crate) shard: ShardId,
    /// On its way to the shard where it is resumed.
    pub(crate) moving: bool,
    /// What the store has of it may be old: it is to be written again where it arrives.
    pub(crate) is_stale: bool,
}

impl SessionPlace {
    pub(crate) fn at(shard: ShardId) -> Self {
        Self { shard, moving: false, is_stale: false }
    }
}

impl Session {
    pub(crate) fn new(opened: Opened, username: String, role: Role, secret_hash: Vec<u8>) -> Self {
        let Opened { session: id, user, token, since } = opened;
        Self {
            id,
            user,
            username,
            role,
            token,
            since,
            secret_hash,
            connection: None,
            remote: None,
            detached: Time(0),
            moves: 0,
            is_saved: false,
            is_current: false,
            rooms: BTreeMap::new(),
        }
    }

    /// What says whether a sign-out means it.
    pub(crate) fn opened(&self) -> Opened {
        Opened { session: self.id, user: self.user, token: self.token, since: self.since }
    }

    fn record(&self, asker: Asker) -> SessionRecord {
        SessionRecord {
            asker,
            session: self.id.0,
            user: self.user.0,
            username: self.username.clone(),
            role: self.role as i32,
            secret_hash: self.secret_hash.clone(),
            rooms: self
                .rooms
                .iter()
                .map(|(key, room)| NewRoom {
                    number: room.number.0,
                    key: key.clone(),
                    name: room.name.clone(),
                    ..NewRoom::default()
                })
                .collect(),
            moves: self.moves,
            since_us: self.since.0,
            token: self.token,
            is_saved: self.is_current,
        }
    }

    /// As the store keeps it.
    pub(crate) fn saved(&self) -> SavedSession {
        SavedSession {
            id: self.id,
            user: self.user,
            username: self.username.clone(),
            role: self.role,
            secret_hash: self.secret_hash.clone(),
            token: self.token,
            rooms: self.rooms.values().map(|room| room.number).collect(),
        }
    }

    fn from_record(record: SessionRecord) -> (Asker, Self) {
        let (session, user) = (SessionId(record.session), UserId(record.user));
        let opened = Opened { session, user, token: record.token, since: Time(record.since_us) };
        let role = record.role();
        let mut session = Self::new(opened, record.username, role, record.secret_hash);
        session.moves = record.moves + 1;
        // If the store does not have it now, it may later: its old shard may have asked.
        session.is_saved = true;
        session.is_current = record.is_saved;
        let room = |room: NewRoom| (room.key, InRoom { number: RoomNumber(room.number), name: room.name });
        session.rooms = record.rooms.into_iter().map(room).collect();
        (record.asker, session)
    }
}

/// SHA-256 of a resume secret.
pub(crate) fn hash_secret(secret: &[u8]) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}

impl Shard {
    pub(crate) fn account_home(&self, user: UserId) -> ShardId {
        ShardId((user.0 % u64::from(self.config.shards)) as u8)
    }

    /// The session's connection is gone.
    pub(crate) fn detach(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.connection = None;
        session.detached = now.time;
        if session.secret_hash.is_empty() || session.rooms.is_empty() || self.is_stopping() {
            self.end_session(id);
        } else {
            self.detached.insert((now.time, id));
        }
    }

    /// Ends sessions whose time to resume is over, as many as the rings have room for: after a start it may be over for
    /// thousands at once.
    pub(crate) fn expire_detached(&mut self, now: Now) {
        for _ in 0..EXPIRE_MAX {
            let oldest = self.detached.first().copied();
            let is_over = |since: Time| now.time.since_us(since) > self.config.limits.resume_us_max;
            let Some(over) = oldest.filter(|(since, _)| is_over(*since) && !self.congested()) else { return };
            self.detached.remove(&over);
            self.end_session(over.1);
        }
    }

    /// The session is over: its rooms and its account are told.
    pub(crate) fn end_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.detached.remove(&(session.detached, id));
        self.forget_local(&session);
        self.unsave(&session, true);
        // All shards stop: who is still connected must not see others leave who come back after the start.
        if self.is_stopping() {
            return;
        }
        for (key, room) in &session.rooms {
            self.tell_home(key, home_request(room.number, id, session.moves, Ask::Leave(false)));
        }
        let note = SessionNote { session: id.0, user: session.user.0, ..SessionNote::default() };
        self.tell(self.account_home(session.user), Mesh::SessionClosed(note));
    }

    /// Nothing of its rooms is told here for it any more.
    fn forget_local(&mut self, session: &Session) {
        for room in session.rooms.values() {
            if let Some(replica) = self.replicas.get_mut(&room.number) {
                replica.locals.remove(&session.id);
            }
        }
    }

    /// Account home: a login wants a session.
    pub(crate) fn session_open(&mut self, source: ShardId, note: SessionNote) {
        let sessions = self.accounts.entry(UserId(note.user)).or_default();
        let sessions_max =
            if is_guest(UserId(note.user)) { 1 } else { self.config.limits.account_sessions_max as usize };
        let granted = sessions.len() < sessions_max;
        if granted {
            sessions.insert(SessionId(note.session), SessionPlace::at(source));
        }
        self.tell(source, Mesh::SessionOpened(SessionNote { granted, ..note }));
    }

    /// Account home: a session ended.
    pub(crate) fn session_closed(&mut self, note: &SessionNote) {
        let user = UserId(note.user);
        self.direct_desk.forget(SessionId(note.session));
        if let Some(sessions) = self.accounts.get_mut(&user) {
            sessions.remove(&SessionId(note.session));
            if sessions.is_empty() {
                self.accounts.remove(&user);
            }
        }
    }

    /// Account home: a client wants this session at the asker's connection.
    pub(crate) fn take_from_home(&mut self, note: SessionNote, effects: &mut Effects) {
        match self.place(&note) {
            Some(SessionPlace { moving: true, .. }) => {
                let text = "that session is being resumed already: try again in a moment";
                self.answer(note.asker, crate::login::refusal(StatusCode::StatusTryAgain, text), effects);
            }
            Some(place) => {
                place.moving = true;
                let shard = place.shard;
                self.tell(shard, Mesh::Take(note));
            }
            None => self.answer(note.asker, session_gone(), effects),
        }
    }

    /// Account home: the session has arrived.
    pub(crate) fn session_moved(&mut self, source: ShardId, note: &SessionNote) {
        let sessions = self.accounts.entry(UserId(note.user)).or_default();
        let place = sessions.entry(SessionId(note.session)).or_insert(SessionPlace::at(source));
        place.shard = source;
        self.session_stays(note);
    }

    /// Account home: the session is not on its way any more, or its shard did not give it away.
    pub(crate) fn session_stays(&mut self, note: &SessionNote) {
        let Some(place) = self.place(note) else { return };
        place.moving = false;
        let (shard, is_stale) = (place.shard, std::mem::take(&mut place.is_stale));
        self.release_direct(UserId(note.user), SessionId(note.session));
        if is_stale {
            self.tell(shard, Mesh::SaveAgain(note.clone()));
        }
    }

    /// A shard had the store write a session that lives there no more, maybe after its new shard had: it is written
    /// once more where it lives, or forgotten. Account home, and then the session's shard.
    pub(crate) fn save_again(&mut self, note: SessionNote) {
        let id = SessionId(note.session);
        if self.sessions.contains_key(&id) {
            return self.save_later(id);
        }
        // Who was here at a stop in order comes back.
        if self.is_stopping() {
            return;
        }
        let here = self.config.shard;
        match self.place(&note) {
            Some(place) if place.moving => place.is_stale = true,
            Some(place) if place.shard != here => {
                let shard = place.shard;
                self.tell(shard, Mesh::SaveAgain(note));
            }
            _ => self.forget_saved(id),
        }
    }

    fn place(&mut self, note: &SessionNote) -> Option<&mut SessionPlace> {
        self.accounts.get_mut(&UserId(note.user))?.get_mut(&SessionId(note.session))
    }

    /// The session's shard: give it away if the secret is right. Comparing hashes of the secrets leaks
    /// nothing of use through timing.
    pub(crate) fn take_session(&mut self, now: Now, note: &SessionNote, effects: &mut Effects) {
        let id = SessionId(note.session);
        let is_right = |session: &Session| session.secret_hash == hash_secret(&note.secret);
        let right = self.sessions.get(&id).is_some_and(|session| {
            !session.secret_hash.is_empty() && (is_right(session) || planted(Mistake::ResumeWithoutSecret))
        });
        let Some(session) = right.then(|| self.sessions.remove(&id)).flatten() else {
            let stays = SessionNote { session: note.session, user: note.user, ..SessionNote::default() };
            self.tell(self.account_home(UserId(note.user)), Mesh::SessionStays(stays));
            return self.answer(note.asker, session_gone(), effects);
        };
        self.detached.remove(&(session.detached, id));
        self.forget_local(&session);
        self.unsave(&session, false);
        if let Some(old) = session.connection {
            if let Some(connection) = self.connection(old) {
                connection.session = None;
            }
            self.close(now, old, CloseReason::Replaced, effects);
        }
        self.tell(note.asker.shard(), Mesh::SessionRecord(session.record(note.asker)));
    }

    /// The new shard: the session arrives.
    pub(crate) fn session_arrived(&mut self, now: Now, record: SessionRecord, effects: &mut Effects) {
        let (asker, session) = Session::from_record(record);
        let (id, user, role, opened) = (session.id, session.user, session.role, session.opened());
        for (key, room) in &session.rooms {
            self.tell_home(key, home_request(room.number, id, session.moves, Ask::Moved(true)));
        }
        let note = SessionNote { session: id.0, user: user.0, ..SessionNote::default() };
        self.tell(self.account_home(user), Mesh::SessionMoved(note));
        let is_current = session.is_current;
        self.sessions.insert(id, session);
        if !is_current {
            self.save_later(id);
        }
        let role = self.latest_role(user, role);
        self.set_session_role(id, role);
        let remote = self.remote_of(asker);
        if let Some(text) = self.kept_out(user, role, remote) {
            self.end_session(id);
            return self.answer(asker, crate::login::refusal(StatusCode::StatusBanned, &text), effects);
        }
        if self.ended_by(opened).is_some() {
            self.end_session(id);
            return self.answer(asker, session_gone(), effects);
        }
        if !self.is_waiting(asker) {
            self.counters.drop(Drop::StaleAnswer);
            return self.detach(now, id);
        }
        self.counters.resumes += 1;
        self.attach(asker, id, LoginResponse::default(), effects);
    }

    /// Where a request comes from, if its connection is still there.
    pub(crate) fn remote_of(&mut self, asker: Asker) -> Option<IpAddr> {
        self.connection(asker.connection()).map(|connection| connection.remote)
    }

    /// Binds session and connection and answers the login or resume.
    pub(crate) fn attach(&mut self, asker: Asker, id: SessionId, response: LoginResponse, effects: &mut Effects) {
        let connection_id = asker.connection();
        let remote = self.remote_of(asker);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.connection = Some(connection_id);
        session.remote = remote;
        let response = LoginResponse {
            status_code: StatusCode::StatusOk as i32,
            user_id: session.user.0,
            session_id: id.0,
            username: session.username.clone(),
            rooms: session.rooms.values().map(|room| room.name.clone()).collect(),
            resume_seconds: (self.config.limits.resume_us_max / echomesh_proto::time::SECOND_US) as u32,
            server_name: self.config.server_name.clone(),
            server_version: self.config.server_version.clone(),
            protocol_version: PROTOCOL_VERSION,
            ..response
        };
        if let Some(connection) = self.connections.get_mut(connection_id.slot as usize).and_then(Option::as_deref_mut)
            && connection.id == connection_id
        {
            connection.session = Some(id);
            self.admission.logged_in(Network::of(connection.remote), &mut connection.place);
        }
        self.answer(asker, echomesh_proto::control::Body::LoginResponse(response), effects);
    }
}

fn session_gone() -> echomesh_proto::control::Body {
    crate::login::refusal(StatusCode::StatusSessionGone, "that session is over: log in again with name and password")
}
