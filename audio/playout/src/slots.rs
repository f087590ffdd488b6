//! Packets by index, in slots allocated once.
//!
//! Bounds: `SLOTS` packets of consecutive indices from `next`; who inserts makes sure that an index is
//! within them.

use crate::PAYLOAD_BYTES_MAX;

/// Packets kept: 1.28 s of 20 ms, six times the longest delay, so that a burst after a stall of the network
/// is sorted before the surplus is thrown away.
pub(crate) const SLOTS: u64 = 64;

/// One packet; `index` is `None` if the slot is free.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) index: Option<u64>,
    /// Samples since the stream's first packet; negative before it.
    pub(crate) position: i64,
    pub(crate) arrival_us: i64,
    pub(crate) marker: bool,
    length: usize,
    payload: [u8; PAYLOAD_BYTES_MAX],
}

impl Slot {
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload[..self.length]
    }
}

/// The slots of one speaker. Its default has none, and only holds a place.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Box<[Slot]>,
    occupied: usize,
}

impl Slots {
    pub(crate) fn new() -> Self {
        let free =
            Slot { index: None, position: 0, arrival_us: 0, marker: false, length: 0, payload: [0; PAYLOAD_BYTES_MAX] };
        Self { slots: vec![free; SLOTS as usize].into_boxed_slice(), occupied: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.occupied
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        self.slots[(index % SLOTS) as usize].index == Some(index)
    }

    /// Keeps a packet; its slot is free and its payload fits.
    pub(crate) fn put(&mut self, index: u64, position: i64, arrival_us: i64, marker: bool, payload: &[u8]) {
        let slot = &mut self.slots[(index % SLOTS) as usize];
        assert!(slot.index.is_none(), "the caller keeps indices within SLOTS of each other");
        slot.payload[..payload.len()].copy_from_slice(payload);
        slot.length = payload.len();
        slot.index = Some(index);
        slot.position = position;
        slot.arrival_us = arrival_us;
        slot.marker = marker;
        self.occupied += 1;
    }

    /// The packet of the lowest index from `next` on, with that index.
    pub(crate) fn first(&self, next: u64) -> Option<(u64, &Slot)> {
        if self.occupied == 0 {
            return None;
        }
        (next..next + SLOTS)
            .map(|index| (index, &self.slots[(index % SLOTS) as usize]))
            .find(|(index, slot)| slot.index == Some(*index))
    }

    /// Frees the slot of this index, if it is taken.
    pub(crate) fn remove(&mut self, index: u64) {
        let slot = &mut self.slots[(index % SLOTS) as usize];
        if slot.index == Some(index) {
            slot.index = None;
            self.occupied -= 1;
        }
    }

    /// Frees all slots; returns how many were taken.
    pub(crate) fn clear(&mut self) -> usize {
        for slot in &mut self.slots {
            slot.index = None;
        }
        std::mem::take(&mut self.occupied)
    }
}
