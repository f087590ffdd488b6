//! Voice, tried in a room that nobody else is in: by UDP or not, round trip, loss and jitter, another UDP port in the
//! middle of it, and the server's clock beside this machine's.
//!
//! No sound: packets of silence. In a room that was named nothing is said, so loss and jitter are not measured there.
//! Bounds: `OPEN_MAX` until voice is open, `SPEAK` of packets, `MOVED_MAX` for an answer at the new port, `ASK_MAX` for
//! each request.

use std::time::Duration;

use echomesh_client::{Done, Event, OpenVoice, VoiceFrame, VoiceStatistics};
use echomesh_proto::control::{RoomProperties, StatusCode};
use echomesh_proto::time::MediaTime;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::finding::{Finding, Report};
use crate::cli::clock;
use crate::cli::commands::enter;
use crate::cli::failure::Failure;
use crate::cli::link::{Link, Refusal};

/// Longest wait for an answer.
const ASK_MAX: Duration = Duration::from_secs(2);

/// Longest wait until voice is open.
const OPEN_MAX: Duration = Duration::from_secs(2);

/// How long packets are sent: two reports of the server, which come every 2 s, and time to notice that none comes.
const SPEAK: Duration = Duration::from_millis(4_300);

/// Longest wait for a report at the new port.
const MOVED_MAX: Duration = Duration::from_millis(2_600);

/// Between two packets, and samples of each.
const PACKET: Duration = Duration::from_millis(20);
const PACKET_SAMPLES: u32 = 960;

/// Opus: one frame of 20 ms, silent.
const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];

/// RFC 6464: no voice, as quiet as can be.
const LEVEL: u8 = 127;

/// What a call still feels good with.
const ROUND_TRIP_US_MAX: u64 = 300_000;
const LOSS_PERCENT_MAX: f64 = 2.0;
const JITTER_MS_MAX: f64 = 30.0;

/// Clocks further apart than this show lines at odd times, milliseconds.
const CLOCK_MS_MAX: i64 = 5_000;

/// Ticks of jitter in a millisecond (RFC 7587 §4.1: 48 kHz).
const TICKS_PER_MS: f64 = 48.0;

/// Tries all of it.
pub async fn check(report: &mut Report, link: &mut Link, room: Option<&str>) {
    let entered = match room {
        Some(room) => timeout(ASK_MAX, enter(link, room, false)).await.unwrap_or_else(|_| Err(no_answer())),
        None => Ok(()),
    };
    let name = match (room, entered) {
        (Some(room), Ok(())) => room.to_owned(),
        (Some(_), Err(failure)) => return report.tell(no_room(&failure.to_string())),
        (None, _) => match make_room(link).await {
            Ok(room) => room,
            Err(refusal) => return report.tell(no_room(&refusal.failure.to_string())),
        },
    };
    if room.is_none() {
        report.tell(server_clock(link, &name).await);
    }
    if open(link, &name).await {
        Voice { link, room: &name, speaks: room.is_none(), sent: 0 }.check(report).await;
    } else {
        let finding = Finding::fault("voice by UDP", Failure::Connection, "the server opens no voice in the room")
            .means("nothing can be said or heard")
            .remedy("tell the operator: the server's log says why");
        report.tell(finding);
    }
    let leave = link.session.leave(clock::now(), &name);
    // It ends with the connection in any case.
    drop(timeout(ASK_MAX, link.answer(leave)).await);
}

fn no_answer() -> Failure {
    Failure::Connection("the server did not answer in time".to_owned())
}

async fn ask(
    link: &mut Link,
    request: Result<echomesh_client::RequestId, echomesh_client::RequestError>,
) -> Result<Done, Refusal> {
    let silence = || Refusal { status: None, retry_after_ms: 0, failure: no_answer() };
    timeout(ASK_MAX, link.answer(request)).await.unwrap_or_else(|_| Err(silence()))
}

/// One that nobody sees, and that ends when it is left.
async fn make_room(link: &mut Link) -> Result<String, Refusal> {
    let lottery = getrandom::u64().map_err(|error| Refusal {
        status: None,
        retry_after_ms: 0,
        failure: Failure::Local(format!("the system gives no random bytes: {error}")),
    })?;
    let name = format!("doctor-{lottery:016x}");
    let properties = RoomProperties { hidden: Some(true), temporary: Some(true), ..RoomProperties::default() };
    let request = link.session.create_with(clock::now(), &name, properties);
    ask(link, request).await?;
    let request = link.session.join(clock::now(), &name);
    ask(link, request).await?;
    Ok(name)
}

fn no_room(why: &str) -> Finding {
    Finding::warning("voice by UDP", format!("there is no room to try it in: {why}"))
        .means("it is not known whether voice works")
        .remedy("name a room that you may enter: `echomesh doctor --room ROOM`; nothing is said there")
}

/// By a line that ends with the room.
async fn server_clock(link: &mut Link, room: &str) -> Finding {
    let before = clock::now().unix_ms;
    let request = link.session.chat(clock::now(), room, "echomesh doctor", "");
    let outcome = ask(link, request).await;
    let after = clock::now().unix_ms;
    match outcome {
        Ok(Done::Chat(line)) => compare_clocks(before, line.time_ms, after),
        Err(Refusal { status: Some(StatusCode::StatusDenied), .. }) => {
            Finding::skipped("clock", "the server's is read from a line, and none may be said")
        }
        Err(refusal) => Finding::warning("chat", format!("a line was not stored: {}", refusal.failure))
            .means("voice may work, but nothing can be written")
            .remedy("tell the operator: the server's log says what is wrong with its database"),
        Ok(_) => Finding::skipped("clock", "the server says nothing of it"),
    }
}

/// Each in Unix milliseconds: asked, the server's, answered.
fn compare_clocks(before: u64, server: u64, after: u64) -> Finding {
    let here = before.midpoint(after);
    let ahead = i64::try_from(here).unwrap_or(i64::MAX).saturating_sub_unsigned(server);
    let seconds = ahead.unsigned_abs() as f64 / 1_000.0;
    let found = format!("{seconds:.1} s {} the server's", if ahead < 0 { "behind" } else { "before" });
    if ahead.abs() <= CLOCK_MS_MAX {
        return Finding::ok("clock", found);
    }
    Finding::warning("clock", found)
        .means("lines are shown with other times than to others; with hours apart certificates seem not to be valid")
        .remedy("`timedatectl set-ntp true` here; if `date` is right here, tell the operator")
}

async fn open(link: &mut Link, room: &str) -> bool {
    let request = link.session.open_voice(clock::now(), room, OpenVoice::default());
    if ask(link, request).await.is_err() {
        return false;
    }
    let opened = async {
        loop {
            match link.event().await {
                Event::VoiceOpen { .. } => return true,
                Event::Disconnected(_) => return false,
                _ => {}
            }
        }
    };
    timeout(OPEN_MAX, opened).await.unwrap_or(false)
}

struct Voice<'a> {
    link: &'a mut Link,
    room: &'a str,
    speaks: bool,
    sent: u32,
}

impl Voice<'_> {
    async fn check(&mut self, report: &mut Report) {
        let came = self.link.session.counters().rtcp_received;
        self.speak(SPEAK, |_| false).await;
        let peer = self.link.peer();
        // What came through the connection instead is no answer by UDP.
        let blocked = self.link.session.voice_is_tunnelled(self.room);
        if blocked || self.link.session.counters().rtcp_received == came {
            report.tell(udp_blocked(&peer.to_string()));
            return report.tell(Finding::skipped("NAT", "nothing comes by UDP"));
        }
        report.tell(Finding::ok("voice by UDP", format!("{peer} answers")));
        let statistics = self.link.session.voice_statistics(self.room).unwrap_or_default();
        report.tell(path(&statistics, self.sent));
        report.tell(self.moved().await);
    }

    /// From another port, as when a router forgets what it knew.
    async fn moved(&mut self) -> Finding {
        if let Err(error) = self.link.move_voice() {
            return Finding::skipped("NAT", format!("the system gives no second UDP port: {error}"));
        }
        let came = self.link.session.counters().rtcp_received;
        let begun = Instant::now();
        self.speak(MOVED_MAX, |link| link.session.counters().rtcp_received > came).await;
        let answered = self.link.session.counters().rtcp_received > came;
        if answered && !self.link.session.voice_is_tunnelled(self.room) {
            let ms = begun.elapsed().as_millis();
            return Finding::ok("NAT", format!("from another UDP port the server answers there, after {ms} ms"));
        }
        Finding::fault("NAT", Failure::Connection, "from another UDP port nothing comes back")
            .means("when a router gives you another port, as many do after a silence, voice stays away for seconds")
            .remedy("let UDP from any port through the firewall between, or ask its keeper for longer UDP time-outs")
    }

    /// Sends silence at a call's pace until the time is over, or enough came.
    async fn speak(&mut self, length: Duration, mut is_enough: impl FnMut(&Link) -> bool) {
        let end = Instant::now() + length;
        let mut packets = interval(PACKET);
        packets.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while Instant::now() < end && !is_enough(self.link) {
            tokio::select! {
                () = self.link.turn() => {}
                _ = packets.tick() => self.packet(),
            }
            self.link.pump();
            // Nothing of it is of use, and it is not to pile up.
            while self.link.next_event().is_some() {}
            self.link.heard.clear();
        }
    }

    fn packet(&mut self) {
        if !self.speaks {
            return;
        }
        let media_time = MediaTime(self.sent.wrapping_mul(PACKET_SAMPLES));
        let frame = VoiceFrame { media_time, marker: self.sent == 0, audio_level: Some(LEVEL), payload: &SILENCE };
        if self.link.send_voice(self.room, frame).is_ok() {
            self.sent += 1;
        }
    }
}

fn udp_blocked(peer: &str) -> Finding {
    Finding::warning("voice by UDP", format!("nothing comes by UDP from {peer}"))
        .means("voice goes through the TCP connection instead: it works, later and with gaps where packets are lost")
        .remedy(
            "let the server's UDP port in at its firewall and router (8888, or what it says at its start), and UDP \
                 out of this network",
        )
}

/// What the server said of the packets.
fn path(statistics: &VoiceStatistics, sent: u32) -> Finding {
    let VoiceStatistics { round_trip_us, uplink, .. } = *statistics;
    let round_trip = round_trip_us
        .map_or_else(|| "round trip not measured".to_owned(), |us| format!("round trip {:.1} ms", us as f64 / 1_000.0));
    let Some(uplink) = uplink.filter(|_| sent > 0) else {
        return Finding::ok("voice path", format!("{round_trip}; loss is not measured where nothing is said"));
    };
    let loss = f64::from(uplink.lost.max(0)) * 100.0 / f64::from(sent);
    let jitter_ms = f64::from(uplink.jitter) / TICKS_PER_MS;
    let found = format!("{round_trip}, {loss:.1} % of {sent} packets lost, jitter {jitter_ms:.1} ms");
    let far = round_trip_us.is_some_and(|us| us > ROUND_TRIP_US_MAX);
    let (means, remedy) = if loss > LOSS_PERCENT_MAX {
        ("others hear gaps, or a voice that was mended", "use a wire instead of Wi-Fi, and stop what fills the uplink")
    } else if jitter_ms > JITTER_MS_MAX {
        ("others hear you later, as what comes unevenly waits", "use a wire instead of Wi-Fi, or 5 GHz instead of 2.4")
    } else if far {
        ("you and others talk at the same time without noticing", "use a server nearer to you, and no VPN on the way")
    } else {
        return Finding::ok("voice path", found);
    };
    Finding::warning("voice path", found).means(means).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use echomesh_proto::ids::Ssrc;
    use echomesh_proto::rtcp::ReportBlock;

    use super::super::finding::Verdict;
    use super::*;

    /// Goal: a way that is bad for a call is told by what is bad about it, a good one is ok.
    #[test]
    fn a_bad_way_is_told() {
        let uplink =
            |lost, jitter| Some(ReportBlock { ssrc: Ssrc(1), fraction_lost: 0, lost, highest_sequence: 0, jitter });
        let of =
            |round_trip_us, uplink| VoiceStatistics { round_trip_us: Some(round_trip_us), uplink, listeners: None };
        assert_eq!(path(&of(20_000, uplink(2, 480)), 200).verdict, Verdict::Ok);
        for (statistics, word) in [
            (of(20_000, uplink(10, 0)), "gaps"),
            (of(20_000, uplink(0, 48 * 40)), "unevenly"),
            (of(400_000, uplink(0, 0)), "same time"),
        ] {
            let finding = path(&statistics, 200);
            assert!(finding.verdict == Verdict::Warning && finding.means.contains(word), "{finding:?}");
            assert!(!finding.remedy.is_empty());
        }
        assert_eq!(path(&of(1, None), 0).verdict, Verdict::Ok, "nothing was said");
    }

    /// Goal: a clock that is wrong is told, and which way; the time of the answer does not count against it.
    #[test]
    fn a_wrong_clock_is_told() {
        assert_eq!(compare_clocks(10_000, 11_000, 12_000).verdict, Verdict::Ok);
        let behind = compare_clocks(100_000, 200_000, 100_000);
        assert!(behind.verdict == Verdict::Warning && behind.found.contains("100.0 s behind"), "{behind:?}");
        let before = compare_clocks(200_000, 100_000, 200_000);
        assert!(before.verdict == Verdict::Warning && before.found.contains("before"), "{before:?}");
    }
}
