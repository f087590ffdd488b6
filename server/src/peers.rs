//! Voice peers: where each listener is and the key its copies are sealed with.
//!
//! Not a rule: entries change only as the kernel's effects say, in order with the packets.
//! Bounds: the kernel numbers peers from 0 up to its limit of streams. Cost: one index.

use echomesh_proto::ids::PeerId;
use echomesh_proto::srtp::{MasterKey, SealKey};

use crate::uring::Target;

/// One listener.
pub struct Peer {
    /// Where its datagrams go.
    pub target: Target,
    /// Seals its downlink.
    pub key: SealKey,
}

/// Listeners by number.
#[derive(Default)]
pub struct Peers {
    entries: Vec<Option<Peer>>,
}

impl Peers {
    /// The listener, if it is (still) there.
    pub fn get(&self, peer: PeerId) -> Option<&Peer> {
        self.entries.get(peer.0 as usize)?.as_ref()
    }

    /// `Effect::PeerSet`.
    pub fn set(&mut self, peer: PeerId, target: Target, key: &MasterKey) {
        let place = peer.0 as usize;
        if self.entries.len() <= place {
            self.entries.resize_with(place + 1, || None);
        }
        self.entries[place] = Some(Peer { target, key: SealKey::new(key) });
    }

    /// `Effect::PeerMoved`.
    pub fn set_target(&mut self, peer: PeerId, target: Target) {
        if let Some(Some(entry)) = self.entries.get_mut(peer.0 as usize) {
            entry.target = target;
        }
    }

    /// `Effect::PeerGone`.
    pub fn forget(&mut self, peer: PeerId) {
        if let Some(entry) = self.entries.get_mut(peer.0 as usize) {
            *entry = None;
        }
    }
}
