//! The mesh: for each ordered pair of shards a control ring and a voice ring, lock-free, of bytes.
//!
//! Not rules: records are the kernel's. A record is a 4-byte length (little-endian) and its bytes.
//! In: `push_control`, `push_voice`. Out: `pop_control`, `pop_voice`, and which shards to wake.
//! Bounds: `CONTROL_BYTES` and `VOICE_BYTES` a ring; a full voice ring drops, for the caller to count;
//! for control rings the kernel keeps credit. Cost: one copy in, one copy out, nothing allocated.

use echomesh_proto::ids::{ShardId, ShardSet};
use echomesh_shard::{RECORD_BYTES_MAX, RECORD_PREFIX_BYTES};
use rtrb::{Consumer, Producer, RingBuffer};

/// Capacity of a control ring: several of the longest records.
const CONTROL_BYTES: usize = 256 * 1024;

/// Capacity of a voice ring: about 1,800 packets, the 60 ms that voice may age at 30,000 a second.
const VOICE_BYTES: usize = 256 * 1024;

const _: () = assert!(CONTROL_BYTES > RECORD_BYTES_MAX + RECORD_PREFIX_BYTES);

/// The writing end of a ring.
struct Sender(Producer<u8>);

/// The reading end of a ring.
struct Receiver(Consumer<u8>);

fn ring(bytes: usize) -> (Sender, Receiver) {
    let (producer, consumer) = RingBuffer::new(bytes);
    (Sender(producer), Receiver(consumer))
}

impl Sender {
    /// Appends a record made of two parts; false if there is no room. Nothing of it is seen before all.
    fn push(&mut self, head: &[u8], body: &[u8]) -> bool {
        let length = head.len() + body.len();
        let Ok(prefix) = u32::try_from(length) else { return false };
        let Ok(mut chunk) = self.0.write_chunk(RECORD_PREFIX_BYTES + length) else { return false };
        let (mut first, mut second) = chunk.as_mut_slices();
        for part in [&prefix.to_le_bytes()[..], head, body] {
            let (before, after) = part.split_at(part.len().min(first.len()));
            let (written, rest) = first.split_at_mut(before.len());
            written.copy_from_slice(before);
            first = rest;
            let (written, rest) = second.split_at_mut(after.len());
            written.copy_from_slice(after);
            second = rest;
        }
        chunk.commit_all();
        true
    }
}

impl Receiver {
    /// Moves the next record into `out`; false if there is none.
    fn pop(&mut self, out: &mut Vec<u8>) -> bool {
        out.clear();
        let Ok(chunk) = self.0.read_chunk(RECORD_PREFIX_BYTES) else { return false };
        let (first, second) = chunk.as_slices();
        let mut prefix = [0; RECORD_PREFIX_BYTES];
        prefix[..first.len()].copy_from_slice(first);
        prefix[first.len()..].copy_from_slice(second);
        // The prefix stays in the ring until the whole record is taken.
        let length = u32::from_le_bytes(prefix) as usize;
        let chunk = self.0.read_chunk(RECORD_PREFIX_BYTES + length).expect("a record is published whole");
        let (first, second) = chunk.as_slices();
        out.extend_from_slice(&first[RECORD_PREFIX_BYTES.min(first.len())..]);
        out.extend_from_slice(&second[RECORD_PREFIX_BYTES.saturating_sub(first.len())..]);
        chunk.commit_all();
        true
    }
}

/// One shard's ends of the mesh, by the other shard's number; its own entries are empty.
pub struct MeshEndpoint {
    control_out: Vec<Option<Sender>>,
    control_in: Vec<Option<Receiver>>,
    voice_out: Vec<Option<Sender>>,
    voice_in: Vec<Option<Receiver>>,
    /// Shards that were written to since `take_touched`.
    touched: ShardSet,
}

/// All rings between `shards` shards: one endpoint each.
pub fn mesh(shards: usize) -> Vec<MeshEndpoint> {
    let empty = || MeshEndpoint {
        control_out: (0..shards).map(|_| None).collect(),
        control_in: (0..shards).map(|_| None).collect(),
        voice_out: (0..shards).map(|_| None).collect(),
        voice_in: (0..shards).map(|_| None).collect(),
        touched: ShardSet::default(),
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

impl MeshEndpoint {
    /// The other shards.
    pub fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let mut others = ShardSet::default();
        for (shard, _) in self.control_out.iter().enumerate().filter(|(_, ring)| ring.is_some()) {
            others.insert(ShardId(shard as u8));
        }
        (0..u64::BITS as u8).map(ShardId).filter(move |shard| others.contains(*shard))
    }

    /// Appends a record to the control ring of a shard; false if there is no room.
    pub fn push_control(&mut self, target: ShardId, record: &[u8]) -> bool {
        self.touched.insert(target);
        self.control_out[target.index()].as_mut().is_some_and(|ring| ring.push(record, &[]))
    }

    /// Appends a record to the voice ring of a shard; false if there is no room.
    pub fn push_voice(&mut self, target: ShardId, head: &[u8], payload: &[u8]) -> bool {
        self.touched.insert(target);
        self.voice_out[target.index()].as_mut().is_some_and(|ring| ring.push(head, payload))
    }

    /// Moves the next control record of a shard into `out`; false if there is none.
    pub fn pop_control(&mut self, source: ShardId, out: &mut Vec<u8>) -> bool {
        self.control_in[source.index()].as_mut().is_some_and(|ring| ring.pop(out))
    }

    /// Moves the next voice record of a shard into `out`; false if there is none.
    pub fn pop_voice(&mut self, source: ShardId, out: &mut Vec<u8>) -> bool {
        self.voice_in[source.index()].as_mut().is_some_and(|ring| ring.pop(out))
    }

    /// Bytes that wait in the control ring from a shard, record prefixes included.
    pub fn control_waiting(&self, source: ShardId) -> usize {
        self.control_in[source.index()].as_ref().map_or(0, |ring| ring.0.slots())
    }

    /// Likewise in the voice ring.
    pub fn voice_waiting(&self, source: ShardId) -> usize {
        self.voice_in[source.index()].as_ref().map_or(0, |ring| ring.0.slots())
    }

    /// Bytes free in the control ring to a shard, record prefixes included.
    pub fn control_free(&self, target: ShardId) -> usize {
        self.control_out[target.index()].as_ref().map_or(0, |ring| ring.0.slots())
    }

    /// The shards that were written to since the last call, to be woken.
    pub fn take_touched(&mut self) -> ShardSet {
        std::mem::take(&mut self.touched)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Goal: records come out whole and in order across every wrap, and a full ring refuses without
        /// harm. Method: random pushes and pops on a ring of a few records, with a queue as the oracle.
        #[test]
        fn a_ring_is_a_queue_of_records(
            steps in prop::collection::vec(prop::option::weighted(0.6, (0usize..12, 0usize..24)), 1..400),
        ) {
            let capacity = 61;
            let (mut sender, mut receiver) = ring(capacity);
            let mut oracle: VecDeque<Vec<u8>> = VecDeque::new();
            let mut out = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let Some((head, body)) = step else {
                    prop_assert_eq!(receiver.pop(&mut out).then(|| out.clone()), oracle.pop_front());
                    continue;
                };
                let record: Vec<u8> = (0..head + body).map(|at| (at * 7 + number) as u8).collect();
                let used: usize = oracle.iter().map(|record| record.len() + RECORD_PREFIX_BYTES).sum();
                let fits = used + record.len() + RECORD_PREFIX_BYTES <= capacity;
                prop_assert_eq!(sender.push(&record[..head], &record[head..]), fits);
                if fits {
                    oracle.push_back(record);
                }
            }
        }
    }

    /// Goal: a record reaches the shard it is for, on the ring it is for, from the shard that sent it.
    #[test]
    fn endpoints_are_wired_in_pairs() {
        let mut endpoints = mesh(3);
        assert_eq!(endpoints[1].others().collect::<Vec<_>>(), [ShardId(0), ShardId(2)]);
        assert!(endpoints[0].push_control(ShardId(2), b"control"));
        assert!(endpoints[1].push_voice(ShardId(2), b"vo", b"ice"));
        assert_eq!(endpoints[0].take_touched().iter().collect::<Vec<_>>(), [ShardId(2)]);
        assert!(endpoints[0].take_touched().is_empty());
        let mut out = Vec::new();
        assert!(!endpoints[2].pop_control(ShardId(1), &mut out) && !endpoints[2].pop_voice(ShardId(0), &mut out));
        assert!(endpoints[2].pop_control(ShardId(0), &mut out));
        assert_eq!(out, b"control");
        assert!(endpoints[2].pop_voice(ShardId(1), &mut out));
        assert_eq!(out, b"voice");
    }

    /// Goal: between threads nothing is lost, torn or reordered. Method: 50,000 numbered records of
    /// changing length through a ring that holds a few.
    #[test]
    fn records_cross_threads() {
        const COUNT: u32 = 50_000;
        let (mut sender, mut receiver) = ring(97);
        let producer = std::thread::spawn(move || {
            for number in 0..COUNT {
                let body = vec![number as u8; (number % 31) as usize];
                while !sender.push(&number.to_le_bytes(), &body) {
                    std::thread::yield_now();
                }
            }
        });
        let mut out = Vec::new();
        for number in 0..COUNT {
            while !receiver.pop(&mut out) {
                std::thread::yield_now();
            }
            assert_eq!(out[..4], number.to_le_bytes());
            assert_eq!(out[4..], vec![number as u8; (number % 31) as usize]);
        }
        producer.join().unwrap();
    }
}
