//! What a room can be set to: the checked values, what a request changes of them, and how a room is shown.
//!
//! Not who may change it (`settings`) and not what the values do. Bounds: `DESCRIPTION_BYTES_MAX` and the others.

use echomesh_proto::control::{Room, RoomProperties, StatusCode};
use echomesh_proto::limits::{DESCRIPTION_BYTES_MAX, PASSWORD_BYTES_MAX};
use prost::Message;

/// Longest slow mode: more would be a room that is closed.
const SLOW_MODE_SECONDS_MAX: u32 = 6 * 3_600;

/// Longest retention that is not for ever: a hundred years.
const RETENTION_DAYS_MAX: u32 = 36_500;

/// A room's properties.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Properties {
    /// Most members; 0 means `Limits::room_members_max`.
    #[prost(uint32, tag = "1")]
    pub capacity: u32,
    /// For people.
    #[prost(string, tag = "2")]
    pub description: String,
    /// PHC string; empty: no password.
    #[prost(string, tag = "3")]
    pub password_hash: String,
    /// Only those may enter whom it lets in by name.
    #[prost(bool, tag = "4")]
    pub invite_only: bool,
    /// Not listed for those who are not in it and do not manage it.
    #[prost(bool, tag = "5")]
    pub hidden: bool,
    /// It ends when its last member leaves.
    #[prost(bool, tag = "6")]
    pub temporary: bool,
    /// Heard at once; 0: as the server has it.
    #[prost(uint32, tag = "7")]
    pub speakers: u32,
    /// Between two lines of an account; 0: none.
    #[prost(uint32, tag = "8")]
    pub slow_mode_seconds: u32,
    /// How long lines are kept; 0: for ever.
    #[prost(uint32, tag = "9")]
    pub retention_days: u32,
}

impl Properties {
    /// These properties with what a request says; `password_hash` is the hash of a password in it.
    pub(super) fn changed(&self, change: &RoomProperties, password_hash: Option<&str>) -> Self {
        let password_hash = match &change.password {
            Some(password) if password.is_empty() => String::new(),
            Some(_) => password_hash.unwrap_or(&self.password_hash).to_owned(),
            None => self.password_hash.clone(),
        };
        Self {
            capacity: change.capacity.unwrap_or(self.capacity),
            description: change.description.clone().unwrap_or_else(|| self.description.clone()),
            password_hash,
            invite_only: change.invite_only.unwrap_or(self.invite_only),
            hidden: change.hidden.unwrap_or(self.hidden),
            temporary: change.temporary.unwrap_or(self.temporary),
            speakers: change.speakers.unwrap_or(self.speakers),
            slow_mode_seconds: change.slow_mode_seconds.unwrap_or(self.slow_mode_seconds),
            retention_days: change.retention_days.unwrap_or(self.retention_days),
        }
    }

    /// As clients see the room.
    pub(super) fn shown(&self, name: &str, number: u64, members: u32) -> Room {
        Room {
            room_id: name.to_owned(),
            room_number: number,
            capacity: self.capacity,
            description: self.description.clone(),
            password_needed: !self.password_hash.is_empty(),
            invite_only: self.invite_only,
            hidden: self.hidden,
            temporary: self.temporary,
            speakers: self.speakers,
            slow_mode_seconds: self.slow_mode_seconds,
            retention_days: self.retention_days,
            member_count: members,
        }
    }
}

/// Whether a request's values are within their bounds.
pub(super) fn check(change: &RoomProperties) -> Result<(), (StatusCode, String)> {
    use StatusCode::{StatusBadRequest, StatusTooLong};
    let description = change.description.as_deref().unwrap_or_default();
    if description.len() > DESCRIPTION_BYTES_MAX {
        return Err((StatusTooLong, format!("a description has at most {DESCRIPTION_BYTES_MAX} bytes: shorten it")));
    }
    if description.chars().any(char::is_control) {
        return Err((StatusBadRequest, "a description is one line without control characters".to_owned()));
    }
    if change.password.as_ref().is_some_and(|password| password.len() > PASSWORD_BYTES_MAX) {
        return Err((StatusTooLong, format!("a password has at most {PASSWORD_BYTES_MAX} bytes")));
    }
    let bounds = [
        ("slow_mode_seconds", change.slow_mode_seconds, SLOW_MODE_SECONDS_MAX),
        ("retention_days", change.retention_days, RETENTION_DAYS_MAX),
    ];
    for (name, value, most) in bounds {
        if value.is_some_and(|value| value > most) {
            return Err((StatusBadRequest, format!("{name} is at most {most}")));
        }
    }
    Ok(())
}

/// Which of them a request changes, for the audit log. Of a password no more than that.
pub(super) fn named(change: &RoomProperties) -> String {
    let number = |name: &str, value: Option<u32>| value.map(|value| format!("{name} {value}"));
    let flag =
        |name: &str, value: Option<bool>| value.map(|value| format!("{name} {}", if value { "yes" } else { "no" }));
    let password = |password: &String| if password.is_empty() { "no password" } else { "a password" }.to_owned();
    let parts = [
        number("capacity", change.capacity),
        change.description.as_ref().map(|_| "description".to_owned()),
        change.password.as_ref().map(password),
        flag("invite_only", change.invite_only),
        flag("hidden", change.hidden),
        flag("temporary", change.temporary),
        number("speakers", change.speakers),
        number("slow_mode_seconds", change.slow_mode_seconds),
        number("retention_days", change.retention_days),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
