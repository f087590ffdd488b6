//! What an admin does from the page, as the messages that any client sends: the kernel decides whether it may be.
//!
//! In: JSON of the page. Out: a `Moderation`, and the kernel's answer as HTTP has it.

use std::time::Duration;

use echomesh_proto::control::{Body, Moderation, ModerationAction, StatusCode as Code};
use hyper::StatusCode;
use serde::Deserialize;

use super::reply::{Reply, data, refusal, refusal_until};

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    act: Kind,
    /// Where; empty: on the server.
    #[serde(default)]
    room: String,
    /// Whom: the account.
    #[serde(default)]
    name: String,
    /// Whom, in a room: the session, hexadecimal.
    #[serde(default)]
    session: String,
    #[serde(default)]
    reason: String,
    /// A ban's length; 0: until it is lifted.
    #[serde(default)]
    seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Mute,
    Unmute,
    Deafen,
    Undeafen,
    Kick,
    Ban,
}

impl Act {
    /// For the kernel.
    ///
    /// # Errors
    /// It makes no sense; a sentence says why.
    pub fn moderation(self) -> Result<Moderation, &'static str> {
        let action = match self.act {
            Kind::Mute => ModerationAction::MaMute,
            Kind::Unmute => ModerationAction::MaUnmute,
            Kind::Deafen => ModerationAction::MaDeafen,
            Kind::Undeafen => ModerationAction::MaUndeafen,
            Kind::Kick => ModerationAction::MaKick,
            Kind::Ban => ModerationAction::MaBan,
        };
        let session_id = match self.session.as_str() {
            "" => 0,
            digits => u64::from_str_radix(digits, 16).map_err(|_| "that is no session: reload the page")?,
        };
        if self.name.is_empty() && session_id == 0 {
            return Err("say whom: a name or a session");
        }
        Ok(Moderation {
            action: action as i32,
            room_id: self.room,
            username: self.name,
            session_id,
            reason: self.reason,
            seconds: self.seconds,
            ..Moderation::default()
        })
    }
}

/// The kernel's answer for the page.
pub fn outcome(answer: Body) -> Reply {
    match answer {
        Body::ModerationState(state) => data(&serde_json::json!({ "message": state.message })),
        Body::Status(status) => {
            let code = match status.status_code() {
                Code::StatusOk => return data(&serde_json::json!({ "message": status.message })),
                Code::StatusDenied => StatusCode::FORBIDDEN,
                Code::StatusNotFound | Code::StatusNotInRoom => StatusCode::NOT_FOUND,
                Code::StatusExists => StatusCode::CONFLICT,
                Code::StatusTryAgain | Code::StatusShuttingDown => {
                    let wait = Duration::from_millis(status.retry_after_ms.into());
                    return refusal_until(StatusCode::SERVICE_UNAVAILABLE, &status.message, wait);
                }
                _ => StatusCode::BAD_REQUEST,
            };
            refusal(code, &status.message)
        }
        _ => refusal(StatusCode::BAD_GATEWAY, "the server's answer makes no sense: look at its log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Moderation, String> {
        let act: Act = serde_json::from_str(text).map_err(|error| error.to_string())?;
        act.moderation().map_err(str::to_owned)
    }

    /// Goal: the page's acts are the protocol's; what is no act is refused.
    #[test]
    fn acts_become_messages() {
        let ban = read(r#"{"act":"ban","name":"bob","seconds":3600,"reason":"noise"}"#).unwrap();
        assert_eq!((ban.action(), ban.username.as_str(), ban.seconds), (ModerationAction::MaBan, "bob", 3_600));
        let kick = read(r#"{"act":"kick","room":"hall","session":"00ff000000000001"}"#).unwrap();
        assert_eq!((kick.room_id.as_str(), kick.session_id), ("hall", 0xFF_0000_0000_0001));
        for wrong in [
            r#"{"act":"promote","name":"bob"}"#,
            r#"{"act":"kick"}"#,
            r#"{"act":"kick","session":"xyz"}"#,
            r#"{"act":"kick","name":"bob","role":4}"#,
            "[]",
            "",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
