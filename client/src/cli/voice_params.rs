//! `echomesh voice-params`: holds a session in a room's voice for another program, which has the keys.
//!
//! Not a voice client: no SRTP is sent or heard here, for an index used twice under one key breaks it.
//! In: arguments, what the server tells. Out: a line (JSON) or table when keys are new, a line when a
//! stream appears, changes or is gone. Bounds: the streams of one room's roster.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};

use echomesh_client::{Event, MemberChange, OpenVoice};
use echomesh_proto::control::Member;
use echomesh_proto::ids::SessionId;

use super::args::VoiceParams;
use super::clock;
use super::commands::{enter, print_line};
use super::failure::Failure;
use super::link::{Link, Use};
use super::settings::Settings;
use super::stay;
use super::voice_format::{Params, Stream, stream_gone_line, stream_line};

/// A place in a room.
struct Place<'a> {
    link: Link,
    params: &'a VoiceParams,
    /// What was told of the others' streams; nothing is told before the first keys.
    told: Option<BTreeMap<SessionId, Stream>>,
}

/// Holds the place as the arguments say.
///
/// # Errors
/// [`Failure`].
pub async fn run(settings: &Settings, params: &VoiceParams) -> Result<(), Failure> {
    let mut link = Link::log_in(settings, Use::StayWithoutVoice).await?;
    enter(&mut link, &params.room, params.create).await?;
    let mut stop = pin!(stay::stop(params.duration)?);
    let request = link.session.open_voice(clock::now(), &params.room, OpenVoice::default());
    link.answer(request).await?;
    let mut place = Place { link, params, told: None };
    let outcome = place.until(stop.as_mut()).await;
    place.leave().await;
    outcome
}

impl Place<'_> {
    async fn until(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Failure> {
        // The events of joining and opening voice are waiting.
        loop {
            while let Some(event) = self.link.next_event() {
                if !matches!(event, Event::Disconnected(_)) {
                    self.event(event)?;
                } else if !stay::reconnect(&mut self.link, stop.as_mut()).await? {
                    return Ok(());
                }
            }
            tokio::select! {
                () = stop.as_mut() => return Ok(()),
                () = self.link.turn() => {}
            }
            self.link.pump();
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::VoiceOpen { .. } => self.tell_keys()?,
            Event::Member { change, member, .. } => {
                let now = Stream::of(&member).filter(|_| change != MemberChange::Left);
                self.tell_stream(SessionId(member.session_id), now)?;
            }
            Event::RosterComplete { .. } => self.tell_streams()?,
            event => stay::event(&mut self.link, event)?,
        }
        Ok(())
    }

    /// The others' streams as the roster has them.
    fn streams(&self) -> BTreeMap<SessionId, Stream> {
        let own = self.link.session.id().0;
        let room = self.link.session.room(&self.params.room);
        let members = room.into_iter().flat_map(|room| room.members());
        let stream = |member: &Member| Some((SessionId(member.session_id), Stream::of(member)?));
        members.filter(|member| member.session_id != own).filter_map(stream).collect()
    }

    /// New keys; the streams that are there come with them.
    fn tell_keys(&mut self) -> Result<(), Failure> {
        let streams = self.streams();
        let session = &self.link.session;
        // Lost again while the event waited: the next connection brings newer ones.
        let Some(room) = session.room(&self.params.room) else { return Ok(()) };
        let Some(keys) = session.voice_keys(room.name()) else { return Ok(()) };
        let listed: Vec<Stream> = streams.values().cloned().collect();
        let params = Params { room: room.name(), server: self.link.peer(), keys, streams: &listed };
        print_line(&if self.params.json { params.json() } else { params.text() })?;
        self.told = Some(streams);
        Ok(())
    }

    /// The whole roster is new: what differs from what was told.
    fn tell_streams(&mut self) -> Result<(), Failure> {
        let now = self.streams();
        let known: Vec<SessionId> = self.told.iter().flatten().map(|(session, _)| *session).collect();
        for session in known.into_iter().filter(|session| !now.contains_key(session)) {
            self.tell_stream(session, None)?;
        }
        for (session, stream) in now {
            self.tell_stream(session, Some(stream))?;
        }
        Ok(())
    }

    fn tell_stream(&mut self, session: SessionId, now: Option<Stream>) -> Result<(), Failure> {
        let kernel = &self.link.session;
        let Some(told) = self.told.as_mut().filter(|_| session != kernel.id()) else { return Ok(()) };
        // Left in the meantime: nothing there is of use any more.
        let Some(room) = kernel.room(&self.params.room).map(|room| room.name()) else { return Ok(()) };
        let before = match &now {
            Some(stream) => told.insert(session, stream.clone()),
            None => told.remove(&session),
        };
        let ssrc = now.as_ref().map(|stream| stream.ssrc);
        if let Some(gone) = before.as_ref().filter(|before| Some(before.ssrc) != ssrc) {
            print_line(&stream_gone_line(room, gone, self.params.json))?;
        }
        match now.filter(|stream| before.as_ref() != Some(stream)) {
            Some(stream) => print_line(&stream_line(room, &stream, self.params.json)),
            None => Ok(()),
        }
    }

    /// Leaves in order.
    async fn leave(mut self) {
        if self.link.session.is_connected() {
            stay::in_time(stay::leave(&mut self.link, &self.params.room)).await;
        }
        self.link.close();
    }
}
