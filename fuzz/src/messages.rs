//! Messages of the control protocol, made of bytes: right in form, hostile in what they say.
//!
//! Strings, ids and secrets are mostly ones that the other side has heard of, so that a script gets far; else anything.
//! In: bytes, and [`Known`]. Out: one [`Body`]. Bounds: a message fits a frame.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use echomesh_proto::control::{
    Account, AccountState, AuditEntry, Ban, Body, ChatAction, ChatMsg, ChatState, ClaimRequest, DeviceToken, EchoMsg,
    Invitation, LoginRequest, LoginResponse, Member, Moderation, ModerationState, Ping, ResumeRequest, Room,
    RoomAction, RoomDelta, RoomEvent, RoomMessage, RoomProperties, RoomRights, RoomState, Status, Unread,
    VoiceAnnounce, VoiceFrame, Who,
};
use echomesh_proto::limits::FRAME_BYTES_MAX;
use prost::Message;

/// Names of people, and of rooms, that scripts are mostly about.
pub const PEOPLE: [&str; 4] = ["ann", "bob", "cyd", "dee"];
pub const ROOMS: [&str; 4] = ["hall", "hall/left", "attic", "Lobby"];

/// Names of either that are others, or none.
const NAMES: [&str; 8] = ["Ann", "lobby", "", "/", "a\u{301}", "\u{0}", "@ann", "everyone"];

/// The password that scripts mostly mean, and the code that makes an owner.
pub const PASSWORD: &str = "secret";
pub const CLAIM_CODE: &str = "right";

/// Passwords, codes, addresses, and lines.
const WORDS: [&str; 7] = ["other", CLAIM_CODE, "127.0.0.0/8", "2001:db8::/48", "hello @ann and @bob", "", "\n"];

/// Longest of the strings that are one letter again and again: over every limit.
const LONG_BYTES_MAX: usize = 70_000;

/// Ids, tokens and pages that were seen; later ones push earlier ones out.
#[derive(Default)]
pub struct Known {
    /// Sessions, accounts, lines, rooms, streams: whatever is a number.
    pub numbers: Vec<u64>,
    /// Resume tokens and pages.
    pub blobs: Vec<Bytes>,
    /// Device tokens and invitations.
    pub secrets: Vec<String>,
}

/// How many of each are kept.
const KNOWN_MAX: usize = 24;

fn keep<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        if list.len() == KNOWN_MAX {
            list.remove(0);
        }
        list.push(item);
    }
}

impl Known {
    pub fn number(&mut self, number: u64) {
        if number != 0 {
            keep(&mut self.numbers, number);
        }
    }

    pub fn blob(&mut self, blob: &Bytes) {
        if !blob.is_empty() {
            keep(&mut self.blobs, blob.clone());
        }
    }

    pub fn secret(&mut self, secret: &str) {
        if !secret.is_empty() {
            keep(&mut self.secrets, secret.to_owned());
        }
    }

    /// What an answer gives away.
    pub fn learn(&mut self, body: &Body) {
        match body {
            Body::LoginResponse(response) => {
                self.number(response.session_id);
                self.number(response.user_id);
                self.blob(&response.resume_token);
            }
            Body::RoomState(state) => {
                self.blob(&state.next_page);
                self.number(state.room_number);
                for member in &state.members {
                    self.number(member.session_id);
                    self.number(member.ssrc.into());
                }
            }
            Body::ChatMsg(line) => self.number(line.message_id),
            Body::AccountState(state) => {
                self.blob(&state.next_page);
                self.secret(&state.secret);
                self.number(state.id);
            }
            Body::ModerationState(state) => {
                self.blob(&state.next_page);
                self.number(state.ban_id);
            }
            _ => {}
        }
    }
}

/// Makes messages.
pub struct Maker<'a, 'b> {
    pub input: &'a mut Unstructured<'b>,
    pub known: &'a Known,
}

impl Maker<'_, '_> {
    fn person(&mut self) -> Result<String> {
        if self.input.ratio(7, 8)? { Ok((*self.input.choose(&PEOPLE)?).to_owned()) } else { self.string(&NAMES) }
    }

    fn room_name(&mut self) -> Result<String> {
        if self.input.ratio(7, 8)? { Ok((*self.input.choose(&ROOMS)?).to_owned()) } else { self.string(&NAMES) }
    }

    fn password(&mut self) -> Result<String> {
        if self.input.ratio(3, 4)? { Ok(PASSWORD.to_owned()) } else { self.word() }
    }

    fn word(&mut self) -> Result<String> {
        let secrets = &self.known.secrets;
        if !secrets.is_empty() && self.input.ratio(1, 4)? {
            return Ok(self.input.choose(secrets)?.clone());
        }
        self.string(&WORDS)
    }

    fn string(&mut self, usual: &[&str]) -> Result<String> {
        Ok(match self.input.int_in_range(0..=15)? {
            0 => self.input.arbitrary()?,
            1 => {
                let letter = if self.input.arbitrary()? { "x" } else { "é" };
                letter.repeat(self.long()? / letter.len())
            }
            _ => (*self.input.choose(usual)?).to_owned(),
        })
    }

    /// A length near some limit, or any.
    fn long(&mut self) -> Result<usize> {
        let near: i8 = self.input.arbitrary()?;
        let limit = *self.input.choose(&[64, 128, 500, 512, 1_200, 4_000, 16_384, 32_768, 65_500, 65_536])?;
        Ok(usize::saturating_add_signed(limit, near.into()).min(LONG_BYTES_MAX))
    }

    fn number(&mut self) -> Result<u64> {
        let numbers = &self.known.numbers;
        Ok(match self.input.int_in_range(0..=7)? {
            0 => self.input.arbitrary()?,
            1 if self.input.arbitrary()? => u64::MAX - u64::from(self.input.arbitrary::<u8>()? % 2),
            1 => 0,
            2 => self.input.int_in_range(1..=4)?,
            _ if numbers.is_empty() => 1,
            _ => *self.input.choose(numbers)?,
        })
    }

    fn blob(&mut self) -> Result<Bytes> {
        let blobs = &self.known.blobs;
        Ok(match self.input.int_in_range(0..=7)? {
            0 => Bytes::copy_from_slice(self.input.arbitrary()?),
            1 => vec![7; self.long()?].into(),
            2 | 3 => Bytes::new(),
            _ if blobs.is_empty() => Bytes::new(),
            _ => self.input.choose(blobs)?.clone(),
        })
    }

    /// A value of an enum, or one that it does not have.
    fn choice(&mut self, most: i32) -> Result<i32> {
        if self.input.ratio(1, 32)? { self.input.arbitrary() } else { self.input.int_in_range(0..=most) }
    }

    fn few<T>(&mut self, make: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.input.int_in_range(0..=3)?;
        (0..count).map(|_| make(self)).collect()
    }

    fn small(&mut self) -> Result<u32> {
        if self.input.ratio(1, 8)? { self.input.arbitrary() } else { self.input.int_in_range(0..=5) }
    }

    /// What a client says.
    pub fn request(&mut self) -> Result<Body> {
        Ok(match self.input.int_in_range(0..=31)? {
            0 => self.login()?,
            1 => Body::ResumeRequest(ResumeRequest { resume_token: self.blob()? }),
            2 => Body::ClaimRequest(ClaimRequest { code: self.word()? }),
            3 => Body::Who(Who::default()),
            4 => Body::Ping(Ping { nonce: self.input.arbitrary()? }),
            5 => self.voice_frame()?,
            6 => self.answer()?,
            7..=9 => self.chat()?,
            10 | 11 => self.room_message()?,
            12..=18 => self.room_action()?,
            19..=21 => self.announce()?,
            22 | 23 => self.chat_action()?,
            24..=28 => self.moderation()?,
            _ => self.account()?,
        })
    }

    /// What a server says.
    pub fn answer(&mut self) -> Result<Body> {
        Ok(match self.input.int_in_range(0..=17)? {
            0 => Body::Status(Status {
                status_code: self.choice(24)?,
                message: self.word()?,
                retry_after_ms: self.input.arbitrary()?,
            }),
            1 => self.login_response()?,
            2..=5 => self.room_state()?,
            6..=8 => self.room_event()?,
            9 => self.announce()?,
            10 => self.chat()?,
            11 => self.room_message()?,
            12 => {
                let action = self.choice(5)?;
                self.chat_state(action)?
            }
            13 => self.moderation_state()?,
            14 => self.account_state()?,
            15 => Body::Who(Who { user_id: self.number()?, rooms: self.few(Self::room_name)?, ..Who::default() }),
            16 => self.voice_frame()?,
            _ => Body::Ping(Ping { nonce: self.input.arbitrary()? }),
        })
    }

    /// What a server says to a request, right in kind if in nothing else.
    pub fn answer_to(&mut self, request: &Body) -> Result<Body> {
        if self.input.ratio(1, 16)? {
            return self.answer();
        }
        Ok(match request {
            Body::LoginRequest(_) | Body::ResumeRequest(_) => self.login_response()?,
            Body::RoomAction(action) => match self.room_state()? {
                Body::RoomState(state) => Body::RoomState(RoomState {
                    action_type: action.action_type,
                    room_id: if self.input.ratio(7, 8)? { action.room_id.clone() } else { state.room_id },
                    next_page: if self.input.ratio(3, 4)? { Bytes::new() } else { state.next_page },
                    ..state
                }),
                other => other,
            },
            Body::VoiceAnnounce(asked) if asked.open => self.announce()?,
            Body::ChatMsg(line) => Body::ChatMsg(ChatMsg { message_id: self.number()?, ..line.clone() }),
            Body::ChatAction(action) => self.chat_state(action.action)?,
            Body::Moderation(_) => self.moderation_state()?,
            Body::Account(_) => self.account_state()?,
            Body::Who(_) => Body::Who(Who { user_id: self.number()?, ..Who::default() }),
            Body::Ping(_) => request.clone(),
            _ => {
                Body::Status(Status { status_code: if self.input.arbitrary()? { 0 } else { 15 }, ..Status::default() })
            }
        })
    }

    fn chat_state(&mut self, action: i32) -> Result<Body> {
        Ok(Body::ChatState(ChatState {
            action,
            lines: self.few(Self::line)?,
            more: self.input.arbitrary()?,
            unread: self.few(|maker| Ok(Unread { room_id: maker.room_name()?, ..Unread::default() }))?,
            message: self.word()?,
        }))
    }

    fn login(&mut self) -> Result<Body> {
        Ok(Body::LoginRequest(LoginRequest {
            username: self.person()?,
            password: self.password()?,
            protocol_version: self.small()?,
            features: self.small()?.into(),
            invitation: if self.input.ratio(1, 8)? { self.word()? } else { String::new() },
            token: if self.input.ratio(1, 8)? { self.word()? } else { String::new() },
            guest: self.input.ratio(1, 8)?,
            // What is kept would mean something else if this were drawn.
            existing: false,
        }))
    }

    fn login_response(&mut self) -> Result<Body> {
        Ok(Body::LoginResponse(LoginResponse {
            status_code: if self.input.ratio(1, 4)? { self.choice(24)? } else { 0 },
            user_id: self.number()?,
            session_id: self.number()?,
            resume_token: self.blob()?,
            resume_seconds: self.small()?,
            username: self.person()?,
            rooms: self.few(Self::room_name)?,
            message: self.word()?,
            ..LoginResponse::default()
        }))
    }

    fn line(&mut self) -> Result<ChatMsg> {
        let is_direct = self.input.ratio(1, 4)?;
        Ok(ChatMsg {
            user_id: self.number()?,
            room_id: if is_direct { String::new() } else { self.room_name()? },
            content: self.word()?,
            message_id: self.number()?,
            username: self.person()?,
            client_id: if self.input.ratio(1, 4)? { self.word()? } else { String::new() },
            to: if is_direct { self.person()? } else { String::new() },
            deleted: self.input.ratio(1, 8)?,
            mentions: self.few(Self::number)?,
            ..ChatMsg::default()
        })
    }

    fn chat(&mut self) -> Result<Body> {
        Ok(Body::ChatMsg(self.line()?))
    }

    fn room_message(&mut self) -> Result<Body> {
        Ok(Body::RoomMessage(RoomMessage {
            room_id: self.room_name()?,
            target_session_id: self.number()?,
            kind: self.small()?,
            payload: self.blob()?,
            ..RoomMessage::default()
        }))
    }

    fn properties(&mut self) -> Result<RoomProperties> {
        let input = &mut *self.input;
        let (capacity, hidden, temporary) = (input.arbitrary()?, input.arbitrary()?, input.arbitrary()?);
        let (speakers, slow_mode_seconds) = (input.arbitrary()?, input.arbitrary()?);
        let (invite_only, retention_days) = (input.arbitrary()?, input.arbitrary()?);
        let has_password = self.input.ratio(1, 3)?;
        Ok(RoomProperties {
            capacity,
            description: if has_password { Some(self.word()?) } else { None },
            password: if has_password { Some(self.password()?) } else { None },
            invite_only,
            hidden,
            temporary,
            speakers,
            slow_mode_seconds,
            retention_days,
        })
    }

    fn room_action(&mut self) -> Result<Body> {
        let action_type = if self.input.arbitrary()? { self.input.int_in_range(1..=3)? } else { self.choice(9)? };
        let has_properties = matches!(action_type, 1 | 6) && self.input.arbitrary()?;
        Ok(Body::RoomAction(RoomAction {
            action_type,
            room_id: self.room_name()?,
            user_id: 0,
            page: if matches!(action_type, 4 | 5) { self.blob()? } else { Bytes::new() },
            capacity: if self.input.ratio(1, 8)? { self.small()? } else { 0 },
            properties: if has_properties { Some(self.properties()?) } else { None },
            password: if self.input.ratio(1, 4)? { self.password()? } else { String::new() },
            username: if action_type >= 8 { self.person()? } else { String::new() },
            prefix: if action_type == 4 { self.room_name()? } else { String::new() },
        }))
    }

    fn member(&mut self) -> Result<Member> {
        Ok(Member {
            session_id: self.number()?,
            user_id: self.number()?,
            username: self.person()?,
            ssrc: self.number()? as u32,
            roc: if self.input.ratio(1, 4)? { self.input.arbitrary()? } else { 0 },
            talking: self.input.arbitrary()?,
            ..Member::default()
        })
    }

    fn room(&mut self) -> Result<Room> {
        Ok(Room { room_id: self.room_name()?, description: self.word()?, ..Room::default() })
    }

    fn room_state(&mut self) -> Result<Body> {
        Ok(Body::RoomState(RoomState {
            status_code: if self.input.ratio(1, 8)? { self.choice(24)? } else { 0 },
            message: String::new(),
            action_type: self.choice(9)?,
            room_id: self.room_name()?,
            room_number: self.number()?,
            members: self.few(Self::member)?,
            next_page: self.blob()?,
            member_count: self.small()?,
            rooms: self.few(Self::room)?,
            sequence: self.number()?,
            newest_line: self.number()?,
        }))
    }

    fn room_event(&mut self) -> Result<Body> {
        let delta = |maker: &mut Self| {
            Ok(RoomDelta {
                event_type: maker.choice(5)?,
                member: if maker.input.ratio(7, 8)? { Some(maker.member()?) } else { None },
                by: String::new(),
                reason: String::new(),
                room: if maker.input.ratio(1, 4)? { Some(maker.room()?) } else { None },
            })
        };
        Ok(Body::RoomEvent(RoomEvent {
            room_id: self.room_name()?,
            sequence: self.number()?,
            deltas: self.few(delta)?,
        }))
    }

    fn announce(&mut self) -> Result<Body> {
        let key = |maker: &mut Self, bytes: usize| {
            let bytes = if maker.input.ratio(1, 16)? { maker.long()? } else { bytes };
            Ok(Bytes::from(vec![7; bytes]))
        };
        Ok(Body::VoiceAnnounce(VoiceAnnounce {
            room_id: self.room_name()?,
            open: self.input.ratio(3, 4)?,
            talking: self.input.arbitrary()?,
            muted: self.input.ratio(1, 4)?,
            deafened: self.input.ratio(1, 4)?,
            ssrc: self.number()? as u32,
            udp_port: self.small()?,
            suite: i32::from(self.input.ratio(15, 16)?),
            uplink_key: key(self, 16)?,
            uplink_salt: key(self, 12)?,
            downlink_key: key(self, 16)?,
            downlink_salt: key(self, 12)?,
            epoch: self.small()?,
            ..VoiceAnnounce::default()
        }))
    }

    fn voice_frame(&mut self) -> Result<Body> {
        Ok(Body::VoiceFrame(VoiceFrame { packet: self.blob()?, ssrc: self.number()? as u32 }))
    }

    fn chat_action(&mut self) -> Result<Body> {
        let of_room: bool = self.input.arbitrary()?;
        Ok(Body::ChatAction(ChatAction {
            action: self.choice(5)?,
            room_id: if of_room { self.room_name()? } else { String::new() },
            username: if of_room { String::new() } else { self.person()? },
            message_id: self.number()?,
            content: self.word()?,
            before: self.number()?,
            after: if self.input.arbitrary()? { Some(self.number()?) } else { None },
            count: self.small()?,
        }))
    }

    fn moderation(&mut self) -> Result<Body> {
        let by_session = self.input.ratio(1, 4)?;
        Ok(Body::Moderation(Moderation {
            action: self.choice(15)?,
            room_id: if self.input.ratio(1, 3)? { String::new() } else { self.room_name()? },
            username: if by_session { String::new() } else { self.person()? },
            session_id: if by_session { self.number()? } else { 0 },
            address: if self.input.ratio(1, 4)? { self.word()? } else { String::new() },
            reason: if self.input.ratio(1, 4)? { self.word()? } else { String::new() },
            seconds: if self.input.ratio(1, 4)? { self.number()? } else { 0 },
            role: self.choice(4)?,
            allow: self.rights()?,
            deny: self.rights()?,
            ban_id: self.number()?,
            page: if self.input.ratio(1, 4)? { self.blob()? } else { Bytes::new() },
            to_room_id: if self.input.ratio(1, 4)? { self.room_name()? } else { String::new() },
        }))
    }

    fn rights(&mut self) -> Result<u32> {
        Ok(1 << self.input.int_in_range(0..=31)? & if self.input.arbitrary()? { u32::MAX } else { 0 })
    }

    fn moderation_state(&mut self) -> Result<Body> {
        Ok(Body::ModerationState(ModerationState {
            action: self.choice(24)?,
            message: self.word()?,
            ban_id: self.number()?,
            bans: self.few(|maker| Ok(Ban { ban_id: maker.number()?, ..Ban::default() }))?,
            rights: self.few(|maker| Ok(RoomRights { user_id: maker.number()?, ..RoomRights::default() }))?,
            audit: self.few(|maker| Ok(AuditEntry { entry_id: maker.number()?, ..AuditEntry::default() }))?,
            next_page: self.blob()?,
        }))
    }

    fn account(&mut self) -> Result<Body> {
        Ok(Body::Account(Account {
            action: self.choice(9)?,
            password: self.password()?,
            new_password: self.password()?,
            label: self.word()?,
            id: self.number()?,
            uses: self.small()?,
            seconds: if self.input.ratio(1, 4)? { self.number()? } else { 0 },
            page: if self.input.ratio(1, 4)? { self.blob()? } else { Bytes::new() },
        }))
    }

    fn account_state(&mut self) -> Result<Body> {
        Ok(Body::AccountState(AccountState {
            action: self.choice(9)?,
            message: self.word()?,
            secret: self.word()?,
            id: self.number()?,
            tokens: self.few(|maker| Ok(DeviceToken { token_id: maker.number()?, ..DeviceToken::default() }))?,
            invitations: self.few(|maker| {
                let invitation_id = maker.number()?;
                Ok(Invitation { invitation_id, ..Invitation::default() })
            })?,
            next_page: self.blob()?,
        }))
    }
}

/// The message in its frame; `None` if it does not fit one.
pub fn framed(message: &EchoMsg) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    (1..=FRAME_BYTES_MAX).contains(&message.encoded_len()).then(|| message.append_frame(&mut frame))?;
    Some(frame)
}
