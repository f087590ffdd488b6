//! What every stay in a room does alike, whatever it is for: when it ends, a connection that was lost, the server's
//! word, leaving.
//!
//! Not a stay itself: `join`, `record`, `play` and `voice_params` are.
//! Bounds: leaving takes [`ENDING_MAX`].

use std::pin::Pin;
use std::time::Duration;

use echomesh_client::Event;
use echomesh_proto::control::StatusCode;
use tokio::signal::unix::{SignalKind, signal};

use super::clock;
use super::commands::printable;
use super::failure::Failure;
use super::link::{Link, login_refused};

/// Longest wait for the end of a stay: unacknowledged lines and the leave.
const ENDING_MAX: Duration = Duration::from_secs(2);

/// Ends at Ctrl-C, SIGTERM, or when the time is over.
///
/// # Errors
/// `Failure::Local` if the system gives no signals.
pub fn stop(duration: Option<Duration>) -> Result<impl Future<Output = ()>, Failure> {
    let install = |kind| signal(kind).map_err(|error| Failure::Local(format!("cannot wait for signals: {error}")));
    let (mut interrupt, mut terminate) = (install(SignalKind::interrupt())?, install(SignalKind::terminate())?);
    Ok(async move {
        let time_over = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = time_over => {}
        }
    })
}

/// Makes a lost connection again; `false` if it was time to stop before that.
///
/// # Errors
/// As [`Link::reconnect`].
pub async fn reconnect(link: &mut Link, stop: Pin<&mut impl Future<Output = ()>>) -> Result<bool, Failure> {
    eprintln!("echomesh: the connection was lost; trying again");
    tokio::select! {
        () = stop => Ok(false),
        outcome = link.reconnect() => outcome.map(|()| true),
    }
}

/// Does as the server says of this session: to wait, or to go.
///
/// # Errors
/// It is over.
pub fn obey(link: &mut Link, event: &Event) -> Result<(), Failure> {
    match event {
        // After a restart everyone comes back at once: wait for one's turn.
        Event::LoginRefused { status: StatusCode::StatusTryAgain, retry_after_ms, .. } => {
            link.disconnect_for(*retry_after_ms);
        }
        Event::LoginRefused { status, message, .. } => return Err(login_refused(*status, message)),
        Event::Expelled { message, .. } => return Err(Failure::Refused(printable(message))),
        Event::Notice { status: StatusCode::StatusTryAgain, retry_after_ms, .. } => {
            link.wait_before_next(*retry_after_ms);
        }
        _ => {}
    }
    Ok(())
}

/// Takes an event that no stay has a use of its own for.
///
/// # Errors
/// It ends the stay.
pub fn event(link: &mut Link, event: Event) -> Result<(), Failure> {
    obey(link, &event)?;
    match event {
        Event::RoomLost { room, message } => {
            let (room, message) = (printable(&room), printable(&message));
            return Err(Failure::Refused(format!("not in {room} any more: {message}")));
        }
        Event::Notice { message, .. } => eprintln!("echomesh: the server says: {}", printable(&message)),
        _ => {}
    }
    Ok(())
}

/// Leaves a room that the session is in, and says if the server would not.
pub async fn leave(link: &mut Link, room: &str) {
    let request = link.session.leave(clock::now(), room);
    if let Err(refusal) = link.answer(request).await {
        eprintln!("echomesh: leaving: {}", refusal.failure);
    }
}

/// Carries out what is left to do before the program ends, and says if it took too long.
pub async fn in_time(ending: impl Future<Output = ()>) {
    if tokio::time::timeout(ENDING_MAX, ending).await.is_err() {
        eprintln!("echomesh: the server did not answer the leave");
    }
}
