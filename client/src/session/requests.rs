//! Requests: what a driver may ask, and the table of those that wait for their answer.
//!
//! Every method sends at once and returns the id that its `Event::Answer` will carry. They are for a
//! session that is logged in: a resume may be refused and followed by a login, and what was sent before
//! it would be lost.
//! Bounds: `REQUESTS_MAX` unanswered; `OUTPUT_BYTES_MAX` unwritten bytes.

use echomesh_proto::control::{
    Account, AccountAction, Body, ChatMsg, ClaimRequest, EchoMsg, Moderation, RoomAction, RoomActionType, RoomMessage,
    VoiceAnnounce, Who,
};
use echomesh_proto::time::{Now, SECOND_US, Time};

use super::lines::Missed;
use super::secret::Password;
use super::{Event, Outcome, RequestId, Session};
use crate::session::event::Answer;

/// Longest wait for an answer, microseconds: twice what a server allows its own parts by default.
pub const REQUEST_US_MAX: u64 = 20 * SECOND_US;

/// Unanswered requests of the driver.
pub const REQUESTS_MAX: usize = 256;

/// Bytes waiting to be written beyond which requests are refused: the server does not read.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// There is no connection, or the login is not answered yet: wait for `Event::LoggedIn`.
    NotLoggedIn,
    /// `REQUESTS_MAX` are unanswered, or the server does not read: wait for answers.
    Busy,
    /// The message is longer than a frame.
    TooLong,
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RequestError::NotLoggedIn => "there is no connection to the server, or it has not answered the login",
            RequestError::Busy => "the server is behind with its answers: wait, then try again",
            RequestError::TooLong => "the message is too long for the protocol",
        })
    }
}

impl std::error::Error for RequestError {}

/// Mute and deafen as voice opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenVoice {
    /// The server forwards none of our voice.
    pub muted: bool,
    /// The server sends us no voice.
    pub deafened: bool,
}

/// What this session tells the others of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announce {
    /// A talkspurt is under way.
    pub talking: bool,
    /// As in [`OpenVoice`].
    pub muted: bool,
    /// As in [`OpenVoice`].
    pub deafened: bool,
}

/// What a request is about, as far as its answer needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Login,
    Resume,
    Ping,
    /// Made, set, deleted, invited to, listed: answered with a room's state, which changes nothing here.
    Room,
    /// `again`: the session enters by itself after a lost connection.
    Join {
        room: String,
        again: bool,
        password: Password,
    },
    Leave {
        room: String,
    },
    Roster {
        room: String,
    },
    Chat,
    ChatAction,
    /// The session fetches lines by itself.
    Missed(Missed),
    Who,
    OpenVoice {
        room: String,
    },
    Moderate,
    /// With the password that it sets, for logins after it is done.
    Account {
        new_password: Option<Password>,
    },
    /// Claim, announce, room message: answered with a status.
    Plain,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) wire: u32,
    /// What the driver knows it as; `None` if the session asked by itself.
    pub(super) public: Option<RequestId>,
    pub(super) kind: Kind,
    pub(super) sent: Time,
}

impl Session {
    /// Makes a room; `capacity` 0 leaves the most members to the server. Does not join it.
    ///
    /// # Errors
    /// [`RequestError`], as for every request.
    pub fn create(&mut self, now: Now, room: &str, capacity: u32) -> Result<RequestId, RequestError> {
        let action = RoomAction { capacity, ..action(RoomActionType::RaCreate, room) };
        self.ask(now, Kind::Room, Body::RoomAction(action))
    }

    /// Enters a room. Answered with the first page of the roster; `Event::RosterComplete` follows.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn join(&mut self, now: Now, room: &str) -> Result<RequestId, RequestError> {
        self.join_with_password(now, room, "")
    }

    /// Leaves a room; its voice ends with the answer.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn leave(&mut self, now: Now, room: &str) -> Result<RequestId, RequestError> {
        let kind = Kind::Leave { room: room.to_owned() };
        let id = self.ask(now, kind, Body::RoomAction(action(RoomActionType::RaLeave, room)))?;
        self.set_leaving(room, true);
        Ok(id)
    }

    /// Fetches a room's whole roster anew. The session does so itself whenever it must; answered when
    /// the last page is in.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn roster(&mut self, now: Now, room: &str) -> Result<RequestId, RequestError> {
        let kind = Kind::Roster { room: room.to_owned() };
        let id = self.ask(now, kind, Body::RoomAction(action(RoomActionType::RaRoster, room)))?;
        if let Some(room) = self.room_mut(room) {
            room.begin_fetch();
        }
        Ok(id)
    }

    /// Says a line. With a `client_id` (at most 36 bytes, unique for the account for a day) it may be
    /// sent again after a lost connection without being stored twice.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn chat(&mut self, now: Now, room: &str, content: &str, client_id: &str) -> Result<RequestId, RequestError> {
        let chat = ChatMsg {
            room_id: room.to_owned(),
            content: content.to_owned(),
            client_id: client_id.to_owned(),
            ..ChatMsg::default()
        };
        self.ask(now, Kind::Chat, Body::ChatMsg(chat))
    }

    /// Sends an application's message to a room, or to one session in it.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn room_message(&mut self, now: Now, message: RoomMessage) -> Result<RequestId, RequestError> {
        self.ask(now, Kind::Plain, Body::RoomMessage(message))
    }

    /// Asks who this session is.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn who(&mut self, now: Now) -> Result<RequestId, RequestError> {
        self.ask(now, Kind::Who, Body::Who(Who::default()))
    }

    /// Makes this account the server's owner with the code printed at its first start.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn claim(&mut self, now: Now, code: &str) -> Result<RequestId, RequestError> {
        self.ask(now, Kind::Plain, Body::ClaimRequest(ClaimRequest { code: code.to_owned() }))
    }

    /// Does what moderators do: mutes, kicks, bans, roles, rights of a room, lists, reports. What each action
    /// needs is in `message.proto`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn moderate(&mut self, now: Now, moderation: Moderation) -> Result<RequestId, RequestError> {
        self.ask(now, Kind::Moderate, Body::Moderation(moderation))
    }

    /// Asks about this account: another password, signing out its other devices, deleting it, device tokens; and
    /// invitations to the server. What each action needs is in `message.proto`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn account(&mut self, now: Now, account: Account) -> Result<RequestId, RequestError> {
        let changes = account.action() == AccountAction::AaChangePassword;
        let new_password = changes.then(|| Password(account.new_password.clone()));
        self.ask(now, Kind::Account { new_password }, Body::Account(account))
    }

    /// Opens voice in a room, or gives it new keys. `Event::VoiceOpen` follows; it is opened again by
    /// itself after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn open_voice(&mut self, now: Now, room: &str, flags: OpenVoice) -> Result<RequestId, RequestError> {
        let id = self.ask(now, Kind::OpenVoice { room: room.to_owned() }, open_voice(room, flags))?;
        if let Some(room) = self.room_mut(room) {
            room.wants_voice = Some(flags);
            room.deafened = flags.deafened;
        }
        Ok(id)
    }

    /// Says talking, muted, deafened. All three are set each time.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn announce(&mut self, now: Now, room: &str, announce: Announce) -> Result<RequestId, RequestError> {
        let Announce { talking, muted, deafened } = announce;
        let body = VoiceAnnounce { room_id: room.to_owned(), talking, muted, deafened, ..VoiceAnnounce::default() };
        let id = self.ask(now, Kind::Plain, Body::VoiceAnnounce(body))?;
        let Some(found) = self.room_mut(room) else { return Ok(id) };
        let hears_again = found.deafened && !deafened;
        found.deafened = deafened;
        if let Some(flags) = &mut found.wants_voice {
            *flags = OpenVoice { muted, deafened };
        }
        // Streams went on unheard: the roster brings their rollover counters.
        if hears_again {
            self.fetch_roster(now, room);
        }
        Ok(id)
    }

    /// A request of the driver.
    pub(super) fn ask(&mut self, now: Now, kind: Kind, body: Body) -> Result<RequestId, RequestError> {
        if !self.logged_in {
            return Err(RequestError::NotLoggedIn);
        }
        if self.pending.len() >= REQUESTS_MAX || self.output.len() > OUTPUT_BYTES_MAX {
            return Err(RequestError::Busy);
        }
        if prost::Message::encoded_len(&EchoMsg::new(u32::MAX, body.clone())) > echomesh_proto::limits::FRAME_BYTES_MAX
        {
            return Err(RequestError::TooLong);
        }
        let id = RequestId(self.next_request);
        self.send_request(now, Some(id), kind, body);
        Ok(id)
    }

    /// Sends a request and notes it. The session's own are few: a login, a ping, and one at a time per
    /// room.
    pub(super) fn send_request(&mut self, now: Now, public: Option<RequestId>, kind: Kind, body: Body) {
        let wire = self.next_request;
        self.next_request = wire.checked_add(1).unwrap_or(1);
        EchoMsg::new(wire, body).append_frame(&mut self.output);
        self.counters.requests_sent += 1;
        self.pending.push_back(Pending { wire, public, kind, sent: now.time });
    }

    pub(super) fn fetch_roster(&mut self, now: Now, name: &str) {
        let Some(room) = self.room_mut(name) else { return };
        room.begin_fetch();
        let kind = Kind::Roster { room: name.to_owned() };
        self.send_request(now, None, kind, Body::RoomAction(action(RoomActionType::RaRoster, name)));
    }

    /// Gives up on what waited too long. Returns whether the connection is of no use.
    pub(super) fn time_out(&mut self, now: Now, events: &mut Vec<Event>) -> bool {
        while let Some(oldest) = self.pending.front() {
            if now.time.since_us(oldest.sent) < REQUEST_US_MAX {
                break;
            }
            // Of a join or a leave it is not known whether it took effect: who resumes is told where it is.
            if matches!(oldest.kind, Kind::Login | Kind::Resume | Kind::Ping | Kind::Join { .. } | Kind::Leave { .. }) {
                return true;
            }
            let Some(pending) = self.pending.pop_front() else { break };
            self.counters.requests_timed_out += 1;
            match pending.kind {
                Kind::Roster { ref room } if pending.public.is_none() => self.fetch_roster(now, room),
                Kind::Missed(ref of) => self.missed_refused(now.time, of, &Outcome::TimedOut),
                _ => {}
            }
            answer(pending.public, Outcome::TimedOut, events);
        }
        false
    }
}

/// Tells the driver, if it was the driver who asked.
pub(super) fn answer(public: Option<RequestId>, outcome: Outcome, events: &mut Vec<Event>) {
    if let Some(request) = public {
        events.push(Event::Answer(Answer { request, outcome }));
    }
}

pub(super) fn action(kind: RoomActionType, room: &str) -> RoomAction {
    RoomAction { action_type: kind as i32, room_id: room.to_owned(), ..RoomAction::default() }
}

pub(super) fn open_voice(room: &str, flags: OpenVoice) -> Body {
    let OpenVoice { muted, deafened } = flags;
    Body::VoiceAnnounce(VoiceAnnounce {
        room_id: room.to_owned(),
        open: true,
        muted,
        deafened,
        ..VoiceAnnounce::default()
    })
}
