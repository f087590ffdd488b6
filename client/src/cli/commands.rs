//! Commands that are one or two requests: log in, ask, print, end.

use std::io::Write;

use echomesh_client::Done;
use echomesh_proto::control::StatusCode;
use echomesh_proto::text::is_forbidden;

use super::args::Command;
use super::clock;
use super::failure::Failure;
use super::link::{Link, Refusal, Use};
use super::settings::Settings;

/// Does one command.
///
/// # Errors
/// [`Failure`], with the server's sentence if it refused.
pub async fn run(settings: &Settings, command: &Command) -> Result<(), Failure> {
    let mut link = Link::log_in(settings, Use::Requests).await?;
    let outcome = request(&mut link, settings, command).await;
    link.close();
    outcome
}

async fn request(link: &mut Link, settings: &Settings, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Say { room, text } => say(link, room, text).await,
        Command::History(history) => history.run(link).await,
        Command::Unread(unread) => unread.run(link).await,
        Command::Edit { line, text } => line.edit(link, text).await,
        Command::Delete(line) => line.delete(link).await,
        Command::Create { room, capacity } => {
            let request = link.session.create(clock::now(), room, *capacity);
            link.answer(request).await?;
            Ok(())
        }
        Command::Rooms(rooms) => rooms.run(link).await,
        Command::Room(room) => room.run(link).await,
        Command::Whoami => whoami(link).await,
        Command::Admin(admin) => admin.run(link).await,
        Command::Account(account) => account.run(link, settings).await,
        Command::Claim { code } => {
            let request = link.session.claim(clock::now(), code);
            if let Done::Status { message } = link.answer(request).await? {
                print_line(&printable(&message))?;
            }
            Ok(())
        }
        Command::Ui(_)
        | Command::Setup
        | Command::Control { .. }
        | Command::Join(_)
        | Command::Listen(_)
        | Command::Bridge(_)
        | Command::Record(_)
        | Command::Play(_)
        | Command::VoiceParams(_)
        | Command::Devices { .. }
        | Command::Manual { .. }
        | Command::Doctor(_)
        | Command::Loopback(_) => Err(Failure::Usage("this is not a single request".to_owned())),
    }
}

async fn say(link: &mut Link, room: &str, text: &str) -> Result<(), Failure> {
    let request = match room.strip_prefix('@') {
        Some(name) => link.session.direct(clock::now(), name, text, ""),
        None => {
            enter(link, room, false).await?;
            link.session.chat(clock::now(), room, text, "")
        }
    };
    link.answer(request).await?;
    Ok(())
}

/// Enters a room, with the password from the settings if it wants one; with `create` makes it first if it is not there.
///
/// # Errors
/// [`Failure`].
pub async fn enter(link: &mut Link, room: &str, create: bool) -> Result<(), Failure> {
    let password = link.room_password();
    let request = link.session.join_with_password(clock::now(), room, &password);
    let missing = match link.answer(request).await {
        Ok(_) => return Ok(()),
        Err(Refusal { status: Some(StatusCode::StatusNotFound), failure, .. }) => failure,
        Err(Refusal { status: Some(StatusCode::StatusBadCredentials), failure, .. }) if password.is_empty() => {
            return Err(Failure::Refused(format!("{failure} (--room-password, or --room-password-file)")));
        }
        Err(refusal) => return Err(refusal.into()),
    };
    if !create {
        let advice = format!("make it with `echomesh create {room}`, or join with --create");
        return Err(Failure::Refused(format!("{missing} ({advice})")));
    }
    let request = link.session.create(clock::now(), room, 0);
    match link.answer(request).await {
        // Someone else was faster: as good.
        Ok(_) | Err(Refusal { status: Some(StatusCode::StatusExists), .. }) => {}
        Err(refusal) => return Err(refusal.into()),
    }
    let request = link.session.join_with_password(clock::now(), room, &password);
    link.answer(request).await?;
    Ok(())
}

async fn whoami(link: &mut Link) -> Result<(), Failure> {
    let request = link.session.who(clock::now());
    if let Done::Who(who) = link.answer(request).await? {
        let owner = if who.owner { ", owner" } else { "" };
        print_line(&format!("{} (user {}{owner})", printable(&who.username), who.user_id))?;
    }
    Ok(())
}

/// One line on standard output.
///
/// # Errors
/// `Failure::Local` if nobody reads it any more, or the disk is full.
pub fn print_line(text: &str) -> Result<(), Failure> {
    let written = writeln!(std::io::stdout().lock(), "{text}");
    written.map_err(|error| Failure::Local(format!("cannot write to standard output: {error}")))
}

/// Text of others as it may go to a terminal, on one line: control characters could move its cursor or worse, and
/// others turn the rest of the line around.
pub fn printable(text: &str) -> String {
    let keep = |letter: char| if letter == '\n' || is_forbidden(letter) { '\u{FFFD}' } else { letter };
    text.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what others write cannot drive the terminal.
    #[test]
    fn escape_sequences_are_made_visible() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}c\td\r\n"), "a\u{FFFD}[2Jb\u{FFFD}c\td\u{FFFD}\u{FFFD}");
        assert_eq!(printable("\u{202e}a\u{2028}\u{5d0}\u{200f}"), "\u{FFFD}a\u{FFFD}\u{5d0}\u{200f}");
    }
}
