//! What a stay in a room amounted to, said at its end.

use std::collections::BTreeMap;

use echomesh_audio::engine::Totals;
use echomesh_client::{Counters, Drop, VoiceStatistics};
use echomesh_proto::ids::Ssrc;

use super::link::HeardPacket;

/// Streams told apart; a stay that hears more counts the rest without their losses.
const STREAMS_MAX: usize = 1_024;

/// One stream as it was heard.
#[derive(Clone, Copy, Debug)]
struct Stream {
    first: u64,
    highest: u64,
    received: u64,
}

/// Counts of one stay.
#[derive(Debug, Default)]
pub struct Statistics {
    streams: BTreeMap<Ssrc, Stream>,
    /// Chat lines the server stored.
    pub lines_stored: u64,
    /// Chat lines of others.
    pub lines_heard: u64,
    /// Connections lost and made again.
    pub reconnects: u64,
}

impl Statistics {
    /// Counts a packet.
    pub fn heard(&mut self, packet: &HeardPacket) {
        let index = packet.index;
        if let Some(stream) = self.streams.get_mut(&packet.ssrc) {
            stream.first = stream.first.min(index);
            stream.highest = stream.highest.max(index);
            stream.received += 1;
        } else if self.streams.len() < STREAMS_MAX {
            self.streams.insert(packet.ssrc, Stream { first: index, highest: index, received: 1 });
        }
    }

    /// Packets that never came, by the gaps in the server's numbers.
    pub fn lost(&self) -> u64 {
        self.streams.values().map(|stream| (stream.highest - stream.first + 1).saturating_sub(stream.received)).sum()
    }

    /// The summary, some lines of text.
    pub fn summary(
        &self,
        counters: &Counters,
        datagrams_unsent: u64,
        voice: VoiceStatistics,
        speech: Option<&Totals>,
    ) -> String {
        let mut text = format!(
            "chat: {} lines said, {} heard; connections lost: {}\n",
            self.lines_stored, self.lines_heard, self.reconnects
        );
        if let Some(speech) = speech {
            text.push_str(&format!(
                "voice: {} packets sent, {} received from {} streams, {} lost\n{speech}",
                counters.voice_sent,
                counters.voice_received,
                self.streams.len(),
                self.lost(),
            ));
        }
        text.push_str(&network(voice));
        let dropped = Drop::ALL.iter().map(|reason| (reason.as_str(), counters.dropped(*reason)));
        let unsent = [("socket_full", datagrams_unsent)];
        let dropped: Vec<String> = dropped
            .chain(unsent)
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        if !dropped.is_empty() {
            text.push_str(&format!("dropped: {}\n", dropped.join(", ")));
        }
        text
    }
}

/// What the server reported of the way between, as far as it did.
fn network(voice: VoiceStatistics) -> String {
    let percent = |fraction: u8| f32::from(fraction) * 100.0 / 256.0;
    let mut parts = Vec::new();
    if let Some(us) = voice.round_trip_us {
        parts.push(format!("round trip {:.1} ms", us as f64 / 1_000.0));
    }
    if let Some(uplink) = voice.uplink {
        let jitter_ms = f64::from(uplink.jitter) / 48.0;
        parts.push(format!("{} packets lost to the server, jitter {jitter_ms:.1} ms", uplink.lost.max(0)));
    }
    if let Some(listeners) = voice.listeners {
        parts.push(format!("listeners lose at most {:.1} % (three quarters of them)", percent(listeners.loss)));
    }
    if parts.is_empty() { String::new() } else { format!("network: {}\n", parts.join("; ")) }
}

#[cfg(test)]
mod tests {
    use echomesh_proto::rtcp::ListenerLoss;
    use echomesh_proto::time::{MediaTime, Time};

    use super::*;

    /// Goal: what was measured is said in units people know, and nothing of what was not.
    #[test]
    fn the_network_is_told_as_far_as_known() {
        assert_eq!(network(VoiceStatistics::default()), "");
        let voice = VoiceStatistics {
            round_trip_us: Some(1_250),
            listeners: Some(ListenerLoss { ssrc: Ssrc(1), loss: 64, burst_ms: 40 }),
            ..VoiceStatistics::default()
        };
        assert_eq!(
            network(voice),
            "network: round trip 1.2 ms; listeners lose at most 25.0 % (three quarters of them)\n"
        );
    }

    /// Goal: loss is what the numbers say, in any order, for each stream on its own.
    #[test]
    fn gaps_are_losses() {
        let mut statistics = Statistics::default();
        for (ssrc, index) in [(1, 10), (1, 13), (1, 9), (2, 70_000), (2, 70_001)] {
            statistics.heard(&HeardPacket {
                time: Time(0),
                ssrc: Ssrc(ssrc),
                index,
                media_time: MediaTime(0),
                marker: false,
                audio_level: None,
                payload: Vec::new(),
            });
        }
        assert_eq!(statistics.lost(), 2);
    }
}
