//! Names of things. A connection and a stream die and their slots are used again, so their ids carry a
//! generation or are never reused: a message about a dead one is told apart and counted, not obeyed.

use crate::limits::SHARDS_MAX;

/// One shard: a core, its thread, its ring and its kernel. `0..SHARDS_MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

impl ShardId {
    /// Place in tables that have one entry a shard.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of shards as a bit mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet(pub u64);

const _: () = assert!(SHARDS_MAX <= u64::BITS as usize, "a ShardSet has one bit a shard");

impl ShardSet {
    /// Adds a shard.
    pub fn insert(&mut self, shard: ShardId) {
        self.0 |= 1 << shard.0;
    }

    /// Takes a shard out.
    pub fn remove(&mut self, shard: ShardId) {
        self.0 &= !(1 << shard.0);
    }

    /// Whether the shard is in the set.
    #[must_use]
    pub fn contains(self, shard: ShardId) -> bool {
        self.0 & (1 << shard.0) != 0
    }

    /// Whether no shard is in the set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The shards in the set, ascending.
    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let shard = ShardId(rest.trailing_zeros() as u8);
            rest &= rest - 1;
            Some(shard)
        })
    }
}

/// A TCP connection: a slot on the shard that accepted it, and which use of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Place in the shard's table.
    pub slot: u32,
    /// Grows each time the slot is used again.
    pub generation: u32,
}

/// A logged-in device. Random, never given twice; outlives its connection while it may be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// An account, as the store numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u64);

/// A stored room; its name is a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomNumber(pub u64);

/// A voice stream's name on the wire (RFC 3550 §3). Given by the server, never twice in its run; the
/// low 8 bits are the shard that owns the stream, so that its datagrams are steered there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ssrc(pub u32);

impl Ssrc {
    /// The shard that owns the stream.
    #[must_use]
    pub fn shard(self) -> ShardId {
        ShardId(self.0 as u8)
    }
}

/// An entry of a shard's table of voice peers: where a stream's listener is and its key. The kernel
/// says when an entry is set and gone, in order with the packets, so a slot needs no generation here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the set behaves as a set over its whole range.
    #[test]
    fn a_shard_set_holds_first_and_last() {
        let mut set = ShardSet::default();
        set.insert(ShardId(63));
        set.insert(ShardId(0));
        set.insert(ShardId(0));
        assert_eq!(set.iter().collect::<Vec<_>>(), [ShardId(0), ShardId(63)]);
        set.remove(ShardId(0));
        assert!(set.contains(ShardId(63)) && !set.contains(ShardId(0)) && !set.is_empty());
    }

    /// Goal: the steering filter and the kernel agree on where a stream lives (docs/PROTOCOL.md).
    #[test]
    fn the_low_byte_of_an_ssrc_is_its_shard() {
        assert_eq!(Ssrc(0xABCD_EF05).shard(), ShardId(5));
    }
}
