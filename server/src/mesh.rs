//! The mesh: for each ordered pair of shards a control ring and a voice ring, lock-free, of bytes.
//!
//! Not rules: records are the kernel's. A record is a 4-byte length (little-endian) and its bytes.
//! Bounds: `CONTROL_BYTES` and `VOICE_BYTES` a ring; a full voice ring drops, counted; the kernel keeps
//! credit for control rings. Cost: one copy in, one copy out, nothing allocated.

use rtrb::{Consumer, Producer, RingBuffer};

/// Capacity of a control ring: several of the longest records.
pub const CONTROL_BYTES: usize = 256 * 1024;

/// Capacity of a voice ring: about 1,800 packets, the 60 ms that voice may age at 30,000 a second.
pub const VOICE_BYTES: usize = 256 * 1024;

const PREFIX_BYTES: usize = echomesh_shard::RECORD_PREFIX_BYTES;

const _: () = assert!(CONTROL_BYTES > echomesh_shard::RECORD_BYTES_MAX + PREFIX_BYTES);

/// The writing end of a ring.
pub struct Sender(Producer<u8>);

/// The reading end of a ring.
pub struct Receiver(Consumer<u8>);

/// One ring for records.
pub fn ring(bytes: usize) -> (Sender, Receiver) {
    let (producer, consumer) = RingBuffer::new(bytes);
    (Sender(producer), Receiver(consumer))
}

impl Sender {
    /// Bytes free now, prefixes included.
    pub fn free(&self) -> usize {
        self.0.slots()
    }

    /// Appends a record made of two parts; false if there is no room.
    pub fn push(&mut self, head: &[u8], body: &[u8]) -> bool {
        let length = head.len() + body.len();
        let Ok(mut chunk) = self.0.write_chunk(PREFIX_BYTES + length) else { return false };
        let (first, second) = chunk.as_mut_slices();
        let prefix = (length as u32).to_le_bytes();
        let target = first.iter_mut().chain(second.iter_mut());
        for (slot, byte) in target.zip(prefix.iter().chain(head).chain(body)) {
            *slot = *byte;
        }
        chunk.commit_all();
        true
    }
}

impl Receiver {
    /// Moves the next record into `out`; false if there is none.
    pub fn pop(&mut self, out: &mut Vec<u8>) -> bool {
        out.clear();
        let Ok(chunk) = self.0.read_chunk(PREFIX_BYTES) else { return false };
        let (first, second) = chunk.as_slices();
        let mut prefix = [0; PREFIX_BYTES];
        prefix[..first.len()].copy_from_slice(first);
        prefix[first.len()..].copy_from_slice(second);
        // The prefix stays in the ring until the whole record is taken: a record is committed at once.
        let length = u32::from_le_bytes(prefix) as usize;
        let chunk = self.0.read_chunk(PREFIX_BYTES + length).expect("a record is published whole");
        let (first, second) = chunk.as_slices();
        out.extend_from_slice(&first[PREFIX_BYTES.min(first.len())..]);
        out.extend_from_slice(&second[PREFIX_BYTES.saturating_sub(first.len())..]);
        chunk.commit_all();
        true
    }

    /// Whether a record waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One shard's ends of the mesh, by the other shard's number; its own entry is empty.
pub struct MeshEndpoint {
    /// To the others.
    pub control_out: Vec<Option<Sender>>,
    /// From the others.
    pub control_in: Vec<Option<Receiver>>,
    /// To the others.
    pub voice_out: Vec<Option<Sender>>,
    /// From the others.
    pub voice_in: Vec<Option<Receiver>>,
}

/// All rings between `shards` shards: one endpoint each.
pub fn mesh(shards: usize) -> Vec<MeshEndpoint> {
    let empty = || MeshEndpoint {
        control_out: (0..shards).map(|_| None).collect(),
        control_in: (0..shards).map(|_| None).collect(),
        voice_out: (0..shards).map(|_| None).collect(),
        voice_in: (0..shards).map(|_| None).collect(),
    };
    let mut endpoints: Vec<MeshEndpoint> = (0..shards).map(|_| empty()).collect();
    for source in 0..shards {
        for target in (0..shards).filter(|target| *target != source) {
            let (control_out, control_in) = ring(CONTROL_BYTES);
            let (voice_out, voice_in) = ring(VOICE_BYTES);
            endpoints[source].control_out[target] = Some(control_out);
            endpoints[source].voice_out[target] = Some(voice_out);
            endpoints[target].control_in[source] = Some(control_in);
            endpoints[target].voice_in[source] = Some(voice_in);
        }
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Goal: records come out whole and in order, across every wrap of a small ring. Method: a queue as
    /// the oracle, lengths from a fixed recurrence.
    #[test]
    fn records_survive_every_wrap() {
        let (mut sender, mut receiver) = ring(61);
        let mut oracle = VecDeque::new();
        let mut out = Vec::new();
        let mut refused = 0;
        for step in 0_u32..20_000 {
            let length = (step.wrapping_mul(2_654_435_761) >> 27) as usize;
            let record: Vec<u8> = (0..length).map(|at| (at as u32 + step) as u8).collect();
            let (head, body) = record.split_at(length / 3);
            if sender.push(head, body) {
                oracle.push_back(record);
            } else {
                refused += 1;
            }
            if step % 3 != 0 {
                assert_eq!(receiver.pop(&mut out).then(|| out.clone()), oracle.pop_front());
            }
        }
        assert!(refused > 0, "the ring was full at times");
    }
}
