//! SRTP and SRTCP against an implementation that is not ours: each opens what the other sealed.
//!
//! The RFCs' vectors are beside the code (`proto/srtp_tests.rs`); this is for all the keys, headers, lengths
//! and rollovers that they do not have.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use echomesh_proto::ids::Ssrc;
use echomesh_proto::rtcp::{REPORT_BYTES_MAX, Writer};
use echomesh_proto::rtp::{Header, OutgoingHeader};
use echomesh_proto::srtp::{MasterKey, OpenKey, RTCP_INDEX_BYTES, ReplayWindow, SealKey, TAG_BYTES, estimate_index};
use echomesh_proto::time::{MediaTime, Time};
use proptest::prelude::*;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

/// Packets of one stream: enough to roll over from any start near the end.
const PACKETS: u64 = 60;

fn peer(key: &MasterKey) -> Context {
    let provider = rtc_crypto::default_provider().expect("a provider is built in");
    let profile = ProtectionProfile::AeadAes128Gcm;
    Context::new(&key.key, &key.salt, profile, None, None, provider.crypto()).unwrap()
}

/// A packet with an audio level or none. Returns the bytes, and how many are header.
fn packet(ssrc: u32, index: u64, level: Option<u8>, payload: &[u8]) -> (Vec<u8>, usize) {
    let header = OutgoingHeader {
        marker: index.is_multiple_of(7),
        payload_type: 111,
        sequence: index as u16,
        media_time: MediaTime((index as u32).wrapping_mul(960)),
        ssrc: Ssrc(ssrc),
        audio_level: level,
    };
    let mut bytes = vec![0; 64];
    let head = header.write(&mut bytes);
    bytes.truncate(head);
    bytes.extend_from_slice(payload);
    (bytes, head)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Goal: what we seal another stack opens, and the other way, over a rollover of the sequence number.
    #[test]
    fn rtp_goes_both_ways(
        key in any::<[u8; 16]>(),
        salt in any::<[u8; 12]>(),
        ssrc in 1u32..,
        start in 65_480u64..65_536,
        level in proptest::option::of(0u8..0xFF),
        payload in prop::collection::vec(any::<u8>(), 1..300),
    ) {
        let key = MasterKey { key, salt };
        let (ours_out, ours_in) = (SealKey::new(&key), OpenKey::new(&key));
        let (mut peer_in, mut peer_out) = (peer(&key), peer(&key));
        let mut window = ReplayWindow::default();
        for index in start..start + PACKETS {
            let (plain, head) = packet(ssrc, index, level, &payload);
            let mut sealed = plain.clone();
            sealed.resize(plain.len() + TAG_BYTES, 0);
            let bytes = ours_out.seal_rtp(&mut sealed, head, plain.len(), index);
            prop_assert_eq!(&peer_in.decrypt_rtp(&sealed[..bytes]).unwrap()[..], &plain[..]);
            let mut theirs = peer_out.encrypt_rtp(&plain).unwrap().to_vec();
            let header = Header::parse(&theirs).unwrap();
            let estimated = estimate_index(window.highest(), header.sequence);
            prop_assert_eq!(estimated, index);
            let opened = ours_in.open_rtp(&mut theirs, header.bytes, estimated).unwrap();
            window.accept(estimated);
            prop_assert_eq!(&theirs[..opened], &plain[..]);
        }
    }

    /// Goal: the same for RTCP, under any index.
    #[test]
    fn rtcp_goes_both_ways(
        key in any::<[u8; 16]>(),
        salt in any::<[u8; 12]>(),
        ssrc in any::<u32>(),
        index in 0u32..0x7FFF_FFFF,
        name in "[a-z]{0,40}",
    ) {
        let key = MasterKey { key, salt };
        let mut compound = [0; REPORT_BYTES_MAX + TAG_BYTES + RTCP_INDEX_BYTES];
        let plain = Writer::new(&mut compound, Ssrc(ssrc), &name, &[]).reference_time(Time(u64::from(index))).finish();
        let original = compound[..plain].to_vec();
        let bytes = SealKey::new(&key).seal_rtcp(&mut compound, plain, index);
        prop_assert_eq!(&peer(&key).decrypt_rtcp(&compound[..bytes]).unwrap()[..], &original[..]);
        let mut theirs = peer(&key).encrypt_rtcp(&original).unwrap().to_vec();
        let (opened, _) = OpenKey::new(&key).open_rtcp(&mut theirs).unwrap();
        prop_assert_eq!(&theirs[..opened], &original[..]);
    }
}
