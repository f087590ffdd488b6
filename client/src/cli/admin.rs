//! `echomesh admin`: what moderators do, one request and its answer, or a list in all its pages.
//!
//! Not the rules: the server says who may. In: arguments. Out: lines for people, or with `--json` an object on
//! each line. Bounds: `PAGES_MAX` pages of a list.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use echomesh_client::Done;
use echomesh_proto::control::{
    AuditEntry, Ban, Moderation, ModerationAction as Action, ModerationState, Right, Role, RoomRights,
};

use super::clock;
use super::commands::print_line;
use super::failure::Failure;
use super::fields::{Field, Fields, json, owned, text};
use super::link::Link;

/// Pages of a list that are asked for.
const PAGES_MAX: usize = 10_000;

/// `echomesh admin`.
#[derive(Debug, ClapArgs)]
pub struct Admin {
    /// Print lists as JSON, an object on each line
    #[arg(long, global = true)]
    json: bool,
    /// Told to who is meant, and kept in the audit log
    #[arg(long, global = true, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(subcommand)]
    act: Act,
}

/// Someone in a room.
#[derive(Debug, ClapArgs)]
struct InRoom {
    /// Room
    room: String,
    /// Account
    name: String,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Act {
    /// Let nobody in a room hear someone
    Mute(InRoom),
    /// Take a mute back
    Unmute(InRoom),
    /// Let someone in a room hear nobody
    Deafen(InRoom),
    /// Take it back
    Undeafen(InRoom),
    /// End someone's sessions, or put them out of a room
    Kick {
        /// Account
        name: String,
        /// Only from this room
        #[arg(long)]
        room: Option<String>,
    },
    /// Move someone from one room to another
    Move {
        /// Account
        name: String,
        /// The room they are in
        from: String,
        /// The room they are to be in
        to: String,
    },
    /// Keep an account, or addresses, out of the server or of a room
    Ban {
        /// Account
        #[arg(required_unless_present = "address")]
        name: Option<String>,
        /// 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48 instead of an account
        #[arg(long, conflicts_with = "name")]
        address: Option<String>,
        /// Only out of this room
        #[arg(long)]
        room: Option<String>,
        /// How long: 30m, 12h, 7d [default: until it is lifted]
        #[arg(long = "for", value_parser = seconds, default_value = "0", hide_default_value = true)]
        seconds: u64,
    },
    /// Lift a ban, by its number in the list
    Unban {
        /// Its number
        ban: u64,
        /// It is of this room
        #[arg(long)]
        room: Option<String>,
    },
    /// List the bans of the server, or of a room
    Bans {
        /// Of this room
        #[arg(long)]
        room: Option<String>,
    },
    /// Give someone a role
    Role {
        /// Account
        name: String,
        /// Below your own
        role: RoleName,
    },
    /// List what a room gives and takes; or set it, for a role or an account
    Rights {
        /// Room
        room: String,
        /// Of everyone with this role
        #[arg(long, conflicts_with = "of_user")]
        of_role: Option<RoleName>,
        /// Of this account
        #[arg(long)]
        of_user: Option<String>,
        /// Rights given, with commas; without --allow and --deny it is as the role has it
        #[arg(long, value_delimiter = ',')]
        allow: Vec<RightName>,
        /// Rights taken
        #[arg(long, value_delimiter = ',')]
        deny: Vec<RightName>,
    },
    /// List what was done by whom, newest first
    Audit,
    /// Tell those who moderate about someone
    Report {
        /// Account
        name: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleName {
    Guest,
    Member,
    Moderator,
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Guest => Role::Guest,
            RoleName::Member => Role::Member,
            RoleName::Moderator => Role::Moderator,
            RoleName::Admin => Role::Admin,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RightName {
    Enter,
    Speak,
    Write,
    Invite,
    Mute,
    Kick,
    Ban,
    Manage,
}

impl From<RightName> for Right {
    fn from(name: RightName) -> Self {
        match name {
            RightName::Enter => Right::Enter,
            RightName::Speak => Right::Speak,
            RightName::Write => Right::Write,
            RightName::Invite => Right::Invite,
            RightName::Mute => Right::Mute,
            RightName::Kick => Right::Kick,
            RightName::Ban => Right::Ban,
            RightName::Manage => Right::Manage,
        }
    }
}

fn bits(names: &[RightName]) -> u32 {
    names.iter().fold(0, |bits, name| bits | Right::from(*name) as u32)
}

/// A length of time as people write it.
pub(super) fn seconds(typed: &str) -> Result<u64, String> {
    let unit = typed.chars().last().filter(|last| !last.is_ascii_digit());
    let digits = typed.strip_suffix(|last: char| !last.is_ascii_digit()).unwrap_or(typed);
    let factor = match unit {
        None | Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        Some(_) => return Err("write seconds, or a number with s, m, h or d: 12h".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "write a number with s, m, h or d: 12h".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "that is too long".to_owned())
}

impl Admin {
    fn moderation(&self) -> Moderation {
        let of = |action: Action, room: Option<&String>, name: Option<&String>| Moderation {
            action: action as i32,
            room_id: room.cloned().unwrap_or_default(),
            username: name.cloned().unwrap_or_default(),
            reason: self.reason.clone(),
            ..Moderation::default()
        };
        match &self.act {
            Act::Mute(InRoom { room, name }) => of(Action::MaMute, Some(room), Some(name)),
            Act::Unmute(InRoom { room, name }) => of(Action::MaUnmute, Some(room), Some(name)),
            Act::Deafen(InRoom { room, name }) => of(Action::MaDeafen, Some(room), Some(name)),
            Act::Undeafen(InRoom { room, name }) => of(Action::MaUndeafen, Some(room), Some(name)),
            Act::Kick { name, room } => of(Action::MaKick, room.as_ref(), Some(name)),
            Act::Move { name, from, to } => {
                Moderation { to_room_id: to.clone(), ..of(Action::MaMove, Some(from), Some(name)) }
            }
            Act::Ban { name, address, room, seconds } => Moderation {
                address: address.clone().unwrap_or_default(),
                seconds: *seconds,
                ..of(Action::MaBan, room.as_ref(), name.as_ref())
            },
            Act::Unban { ban, room } => Moderation { ban_id: *ban, ..of(Action::MaUnban, room.as_ref(), None) },
            Act::Bans { room } => of(Action::MaListBans, room.as_ref(), None),
            Act::Role { name, role } => {
                Moderation { role: Role::from(*role) as i32, ..of(Action::MaSetRole, None, Some(name)) }
            }
            Act::Rights { room, of_role: None, of_user: None, .. } => of(Action::MaListRights, Some(room), None),
            Act::Rights { room, of_role, of_user, allow, deny } => Moderation {
                role: of_role.map_or(0, |role| Role::from(role) as i32),
                allow: bits(allow),
                deny: bits(deny),
                ..of(Action::MaSetRights, Some(room), of_user.as_ref())
            },
            Act::Audit => of(Action::MaListAudit, None, None),
            Act::Report { name } => of(Action::MaReport, None, Some(name)),
        }
    }

    /// Asks, and prints what comes.
    ///
    /// # Errors
    /// [`Failure`], with the server's sentence if it refused.
    pub async fn run(&self, link: &mut Link) -> Result<(), Failure> {
        let mut moderation = self.moderation();
        for _ in 0..PAGES_MAX {
            let asked = if moderation.page.is_empty() {
                // It may be an act, which is not done twice.
                let request = link.session.moderate(clock::now(), moderation.clone());
                link.answer(request).await?
            } else {
                link.page(|session| session.moderate(clock::now(), moderation.clone())).await?
            };
            let Done::Moderation(state) = asked else { break };
            for line in self.lines(&state) {
                print_line(&line)?;
            }
            moderation.page = state.next_page;
            if moderation.page.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn lines(&self, state: &ModerationState) -> Vec<String> {
        let bans = state.bans.iter().map(ban_fields);
        let rights = state.rights.iter().map(rights_fields);
        let audit = state.audit.iter().map(audit_fields);
        let entries: Vec<Fields> = bans.chain(rights).chain(audit).collect();
        let made = (state.ban_id != 0).then(|| vec![("ban", Field::Number(state.ban_id))]);
        let line = |fields: &Fields| if self.json { json(fields) } else { text(fields) };
        entries.iter().chain(&made).map(line).collect()
    }
}

fn ban_fields(ban: &Ban) -> Fields {
    vec![
        ("ban", Field::Number(ban.ban_id)),
        ("user", owned(&ban.username)),
        ("address", owned(&ban.address)),
        ("room", owned(&ban.room_id)),
        ("by", owned(&ban.by)),
        ("time_ms", Field::Number(ban.time_ms)),
        ("expires_ms", Field::Number(ban.expires_ms)),
        ("reason", owned(&ban.reason)),
    ]
}

fn rights_fields(rights: &RoomRights) -> Fields {
    let role = if rights.user_id == 0 { word(rights.role().as_str_name()) } else { String::new() };
    vec![
        ("role", Field::Text(role)),
        ("user_id", Field::Number(rights.user_id)),
        ("allow", Field::Text(right_words(rights.allow))),
        ("deny", Field::Text(right_words(rights.deny))),
        ("muted", Field::Flag(rights.muted)),
        ("deafened", Field::Flag(rights.deafened)),
    ]
}

fn audit_fields(entry: &AuditEntry) -> Fields {
    vec![
        ("entry", Field::Number(entry.entry_id)),
        ("time_ms", Field::Number(entry.time_ms)),
        ("act", Field::Text(word(entry.action().as_str_name()))),
        ("by", owned(&entry.by)),
        ("target", owned(&entry.target)),
        ("room", owned(&entry.room_id)),
        ("detail", owned(&entry.detail)),
        ("reason", owned(&entry.reason)),
    ]
}

/// `MA_SET_ROLE` as `set_role`.
fn word(name: &str) -> String {
    name.split_once('_').map_or(name, |(_, word)| word).to_ascii_lowercase()
}

fn right_words(bits: u32) -> String {
    let set = (0..31).map(|bit| 1 << bit).filter(|bit| bits as i32 & bit != 0);
    let words: Vec<String> =
        set.filter_map(|bit| Right::try_from(bit).ok()).map(|right| word(right.as_str_name())).collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        admin: Admin,
    }

    fn parsed(line: &str) -> Result<Moderation, clap::Error> {
        let words = std::iter::once("admin").chain(line.split(' '));
        Line::try_parse_from(words).map(|line| line.admin.moderation())
    }

    /// Goal: each command becomes the request that it says.
    #[test]
    fn commands_become_requests() {
        let ban = parsed("ban --for 2h tim --room hall --reason spam").unwrap();
        assert_eq!((ban.action(), ban.seconds), (Action::MaBan, 7_200));
        assert_eq!([&ban.username, &ban.room_id, &ban.reason], ["tim", "hall", "spam"]);
        let address = parsed("ban --address 192.0.2.0/24").unwrap();
        assert_eq!((address.address.as_str(), address.seconds), ("192.0.2.0/24", 0));
        let rights = parsed("rights hall --of-role guest --deny speak,write").unwrap();
        assert_eq!((rights.action(), rights.role(), rights.deny), (Action::MaSetRights, Role::Guest, 6));
        assert_eq!(parsed("rights hall").unwrap().action(), Action::MaListRights);
        let moved = parsed("move tim hall den").unwrap();
        assert_eq!(
            (moved.action(), moved.room_id.as_str(), moved.to_room_id.as_str()),
            (Action::MaMove, "hall", "den")
        );
        assert_eq!(parsed("role tim moderator").unwrap().role(), Role::Moderator);
        for bad in ["ban", "ban tim --address 192.0.2.1", "ban tim --for 2w", "role tim owner", "mute tim"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    /// Goal: a list is an object a line for programs, and short for people, whatever names are in it.
    #[test]
    fn lists_are_printed_for_programs_and_people() {
        let ban = Ban { ban_id: 7, username: "t\"im\u{1b}".into(), by: "ann".into(), ..Ban::default() };
        assert_eq!(text(&ban_fields(&ban)), "ban 7  user t\"im\u{FFFD}  by ann");
        assert!(json(&ban_fields(&ban)).starts_with(r#"{"ban":7,"user":"t\"im"#));
        let rights = RoomRights { role: 1, allow: 20, muted: true, ..RoomRights::default() };
        assert_eq!(text(&rights_fields(&rights)), "role member  allow write,mute  muted");
    }
}
