//! Who is in the room that is looked at, and the figures of the call, as the session and the engine know them now.
//!
//! In: session, engine. Out: what `draw` shows. Bounds: `MEMBERS_MAX` members are looked at. Cost: a pass over them
//! after what happens, not for a meter that moves.

use echomesh_client::Session;

use super::app::{App, Shown, Status};
use crate::cli::commands::printable;
use crate::cli::speech::Speech;

/// Members of a room that are sorted and shown.
const MEMBERS_MAX: usize = 500;

/// Ticks of an RTP clock in a millisecond.
const TICKS_PER_MS: f32 = 48.0;

/// Brings the state up to date, before it is drawn after something happened.
pub fn refresh(app: &mut App, session: &Session, speech: Option<&Speech>) {
    let members = app.room().and_then(|room| session.room(room)).map(|room| {
        let mut members: Vec<Shown> = room
            .members()
            .take(MEMBERS_MAX)
            .map(|member| Shown {
                name: printable(&member.username),
                ssrc: member.ssrc,
                is_me: member.session_id == session.id().0,
                muted: member.muted || member.server_muted,
                deafened: member.deafened || member.server_deafened,
                talking: member.talking,
                ignored: app.people.get(&member.username.to_lowercase()).is_some_and(|person| person.ignored),
            })
            .collect();
        members.sort_by_cached_key(|member| (member.name.to_lowercase(), member.ssrc));
        members
    });
    app.members = members.unwrap_or_default();
    refresh_figures(app, session, speech);
}

/// The figures alone: nothing happened.
pub fn refresh_figures(app: &mut App, session: &Session, speech: Option<&Speech>) {
    app.status = status(app, session, speech);
}

fn status(app: &App, session: &Session, speech: Option<&Speech>) -> Status {
    let room = app.own.room.as_deref();
    let statistics = room.and_then(|room| session.voice_statistics(room)).unwrap_or_default();
    Status {
        connected: session.is_logged_in(),
        tunnelled: room.is_some_and(|room| session.voice_is_tunnelled(room)),
        round_trip_us: statistics.round_trip_us,
        loss_percent: statistics.uplink.map(|report| f32::from(report.fraction_lost) / 2.56),
        jitter_ms: statistics.uplink.map(|report| report.jitter as f32 / TICKS_PER_MS),
        playout_ms: speech.and_then(Speech::playout_ms),
        kbit_s: speech.filter(|_| app.own.has_input).map(|speech| (speech.bits_per_second() / 1_000) as u32),
        xruns: speech.map(|speech| speech.engine().device_totals().iter().map(|device| device.xruns).sum()),
    }
}
