//! `echomesh rooms` and `echomesh room`: rooms listed, made, set, deleted, and who is invited to them.
//!
//! Not being in one. In: arguments. Out: lines for people, or with `--json` an object on each line.
//! Bounds: `PAGES_MAX` pages of a list.

use bytes::Bytes;
use clap::{ArgAction, Args as ClapArgs, Subcommand};
use echomesh_client::Done;
use echomesh_proto::control::{Room as Shown, RoomProperties};

use super::clock;
use super::commands::{print_line, printable};
use super::failure::Failure;
use super::fields::{Field, Fields, json, owned, text};
use super::link::Link;

/// Pages of a room list that are asked for: far over any server's rooms, a bound on what one can send.
const PAGES_MAX: usize = 1_000;

/// `echomesh rooms`.
#[derive(Debug, ClapArgs)]
pub struct Rooms {
    /// Only those whose names begin so: `hall/` lists the rooms in hall
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Print JSON, an object on each line, with what each room is set to
    #[arg(long)]
    json: bool,
}

/// `echomesh room`.
#[derive(Debug, ClapArgs)]
pub struct Room {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a room; PARENT/CHILD makes one in a room that you manage
    Create {
        /// Its name
        room: String,
        #[command(flatten)]
        set: RoomSettings,
    },
    /// Change what a room is set to; what is not named stays
    Set {
        /// Room
        room: String,
        #[command(flatten)]
        set: RoomSettings,
    },
    /// End a room: all in it are put out, and what was said there is deleted
    Delete {
        /// Room
        room: String,
    },
    /// Let someone in, without a password, where only the invited may enter
    Invite {
        /// Room
        room: String,
        /// Account
        name: String,
    },
    /// Take an invitation back
    Uninvite {
        /// Room
        room: String,
        /// Account
        name: String,
    },
}

/// What a room is set to. Its password is given with --room-password or --room-password-file.
#[derive(Debug, ClapArgs)]
struct RoomSettings {
    /// Most members; 0: as many as the server allows
    #[arg(long)]
    capacity: Option<u32>,
    /// A line for people
    #[arg(long)]
    description: Option<String>,
    /// No password any more
    #[arg(long, conflicts_with_all = ["room_password", "room_password_file"])]
    no_password: bool,
    /// Only the invited may enter
    #[arg(long, value_name = "true|false", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    invite_only: Option<bool>,
    /// Not listed for others
    #[arg(long, value_name = "true|false", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    hidden: Option<bool>,
    /// It ends when its last member leaves
    #[arg(long, value_name = "true|false", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    temporary: Option<bool>,
    /// How many are heard at once, the loudest; 0: as the server has it
    #[arg(long)]
    speakers: Option<u32>,
    /// Seconds between two lines of one member; 0: none
    #[arg(long, value_name = "SECONDS")]
    slow_mode: Option<u32>,
    /// Days for which lines are kept; 0: for ever
    #[arg(long, value_name = "DAYS")]
    retention: Option<u32>,
}

impl RoomSettings {
    fn properties(&self, typed_password: Option<&str>) -> RoomProperties {
        let password = if self.no_password { Some("") } else { typed_password };
        RoomProperties {
            capacity: self.capacity,
            description: self.description.clone(),
            password: password.map(str::to_owned),
            invite_only: self.invite_only,
            hidden: self.hidden,
            temporary: self.temporary,
            speakers: self.speakers,
            slow_mode_seconds: self.slow_mode,
            retention_days: self.retention,
        }
    }
}

impl Rooms {
    /// Asks for all pages, and prints them.
    ///
    /// # Errors
    /// [`Failure`], with the server's sentence if it refused.
    pub async fn run(&self, link: &mut Link) -> Result<(), Failure> {
        let mut page = Bytes::new();
        for _ in 0..PAGES_MAX {
            let asked = link.page(|session| session.list_rooms(clock::now(), &self.prefix, page.clone())).await?;
            let Done::Room(state) = asked else { break };
            for room in &state.rooms {
                print_line(&if self.json { json(&fields(room)) } else { line(room) })?;
            }
            page = state.next_page;
            if page.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

impl Room {
    /// Asks, and prints what the room is then.
    ///
    /// # Errors
    /// [`Failure`], with the server's sentence if it refused.
    pub async fn run(&self, link: &mut Link) -> Result<(), Failure> {
        let typed = link.typed_room_password();
        let (now, session) = (clock::now(), &mut link.session);
        let request = match &self.act {
            Act::Create { room, set } => session.create_with(now, room, set.properties(typed.as_deref())),
            Act::Set { room, set } => {
                let properties = set.properties(typed.as_deref());
                if properties == RoomProperties::default() {
                    return Err(Failure::Usage("nothing to set: see `echomesh room set --help`".to_owned()));
                }
                session.set_room(now, room, properties)
            }
            Act::Delete { room } => session.delete_room(now, room),
            Act::Invite { room, name } => session.invite(now, room, name, true),
            Act::Uninvite { room, name } => session.invite(now, room, name, false),
        };
        if let Done::Room(state) = link.answer(request).await? {
            for room in &state.rooms {
                print_line(&line(room))?;
            }
        }
        Ok(())
    }
}

fn fields(room: &Shown) -> Fields {
    vec![
        ("room", owned(&room.room_id)),
        ("number", Field::Number(room.room_number)),
        ("members", Field::Number(room.member_count.into())),
        ("capacity", Field::Number(room.capacity.into())),
        ("description", owned(&room.description)),
        ("password", Field::Flag(room.password_needed)),
        ("invite_only", Field::Flag(room.invite_only)),
        ("hidden", Field::Flag(room.hidden)),
        ("temporary", Field::Flag(room.temporary)),
        ("speakers", Field::Number(room.speakers.into())),
        ("slow_mode_seconds", Field::Number(room.slow_mode_seconds.into())),
        ("retention_days", Field::Number(room.retention_days.into())),
    ]
}

/// The name, and after it what a person wants to know; a program that wants only names asks for JSON.
fn line(room: &Shown) -> String {
    let rest: Fields = fields(room).into_iter().skip(2).collect();
    let rest = text(&rest);
    let name = printable(&room.room_id);
    if rest.is_empty() { name } else { format!("{name}  ({rest})") }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[arg(long, global = true)]
        room_password: Option<String>,
        #[arg(long, global = true)]
        room_password_file: Option<String>,
        #[command(flatten)]
        room: Room,
    }

    fn parsed(line: &str) -> Result<RoomProperties, clap::Error> {
        let line = Line::try_parse_from(std::iter::once("room").chain(line.split(' ')))?;
        match line.room.act {
            Act::Create { set, .. } | Act::Set { set, .. } => Ok(set.properties(line.room_password.as_deref())),
            _ => Ok(RoomProperties::default()),
        }
    }

    /// Goal: each option sets what it says, and nothing else; a password is taken away only when told so.
    #[test]
    fn options_become_properties() {
        let all = "set hall --capacity 5 --description d --invite-only --hidden=false --temporary=true \
                   --speakers 2 --slow-mode 9 --retention 30 --room-password x";
        let properties = parsed(all).unwrap();
        assert_eq!((properties.capacity, properties.hidden, properties.temporary), (Some(5), Some(false), Some(true)));
        assert_eq!((properties.slow_mode_seconds, properties.retention_days), (Some(9), Some(30)));
        assert_eq!(properties.password.as_deref(), Some("x"));
        assert_eq!(parsed("set hall").unwrap(), RoomProperties::default());
        assert_eq!(parsed("set hall --no-password").unwrap().password.as_deref(), Some(""));
        for bad in [
            "set",
            "set hall --capacity -1",
            "set hall --hidden=perhaps",
            "invite hall",
            "set hall --no-password --room-password x",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    /// Goal: a list is short for people and whole for programs.
    #[test]
    fn rooms_are_printed_for_programs_and_people() {
        let room = Shown { room_id: "hall".into(), room_number: 3, ..Shown::default() };
        assert_eq!(line(&room), "hall");
        let room = Shown { member_count: 2, password_needed: true, description: "d".into(), ..room };
        assert_eq!(line(&room), "hall  (members 2  description d  password)");
        assert!(json(&fields(&room)).starts_with(r#"{"room":"hall","number":3,"members":2,"capacity":0,"#));
    }
}
