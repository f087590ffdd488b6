//! A room's listeners on this shard, as the voice path wants them: a flat list of peers.
//!
//! Not the truth, which is `Replica::listeners` and each stream's address: a copy, made anew by the first
//! packet after one of them changed. Bounds: one entry a listener. Cost: a packet compares one number and
//! copies one for each listener, where it looked each stream up in a map before.

use std::collections::BTreeMap;

use echomesh_proto::ids::{PeerId, Ssrc};

use super::stream::Stream;

/// Who hears a room here, and how.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    by_udp: Vec<(Ssrc, PeerId)>,
    tunnelled: Vec<Ssrc>,
    fresh: bool,
}

impl Audience {
    /// A listener came, went, or is to be reached otherwise.
    pub(crate) fn changed(&mut self) {
        self.fresh = false;
    }

    /// Makes the lists anew if something changed.
    pub(crate) fn refresh(&mut self, listeners: &[Ssrc], streams: &BTreeMap<Ssrc, Stream>) {
        if self.fresh {
            return;
        }
        self.by_udp.clear();
        self.tunnelled.clear();
        for ssrc in listeners {
            match streams.get(ssrc) {
                Some(stream) if stream.tunnel.is_some() => self.tunnelled.push(*ssrc),
                Some(stream) if stream.address.is_some() => self.by_udp.push((*ssrc, stream.peer)),
                Some(_) | None => {}
            }
        }
        self.fresh = true;
    }

    /// Peers that get a packet of this speaker.
    pub(crate) fn peers(&self, speaker: Ssrc) -> impl Iterator<Item = PeerId> {
        self.by_udp.iter().filter(move |(ssrc, _)| *ssrc != speaker).map(|(_, peer)| *peer)
    }

    /// Streams whose copies go through a control connection.
    pub(crate) fn tunnelled(&self, speaker: Ssrc) -> impl Iterator<Item = Ssrc> {
        self.tunnelled.iter().copied().filter(move |ssrc| *ssrc != speaker)
    }
}
