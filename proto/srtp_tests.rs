//! SRTP against the RFCs' vectors and a naive replay oracle.

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// RFC 7714 §16 and §17: key 00..0f, salt "Quid pro quo".
fn rfc_key() -> (SessionKey, SessionKey) {
    let key: [u8; 16] = std::array::from_fn(|at| at as u8);
    let salt = *b"Quid pro quo";
    (SessionKey::new(&key, salt), SessionKey::new(&key, salt))
}

/// Goal: PROTOCOL M30 is RFC 7714 §16.1.1, SRTP AEAD_AES_128_GCM encryption, and §16.1.2 back.
#[test]
fn srtp_matches_rfc_7714() {
    let plain = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573",
    );
    let sealed = hex(
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833 899d7f27 beb16a91 52cf765e e4390cce",
    );
    let (rtp, rtcp) = rfc_key();
    let mut packet = plain.clone();
    packet.resize(plain.len() + TAG_BYTES, 0);
    let length = SealKey { rtp, rtcp: Box::new(rtcp) }.seal_rtp(&mut packet, 12, plain.len(), 0xF17B);
    assert_eq!((length, &packet), (sealed.len(), &sealed));
    let (rtp, rtcp) = rfc_key();
    assert_eq!(OpenKey { rtp, rtcp }.open_rtp(&mut packet, 12, 0xF17B), Ok(plain.len()));
    assert_eq!(packet[..plain.len()], plain);
}

/// Goal: RFC 7714 §17.1, SRTCP AEAD_AES_128_GCM encryption and tagging, and §17.2 back.
#[test]
fn srtcp_matches_rfc_7714() {
    let plain = hex(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef",
    );
    let sealed = hex(
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
    );
    let (rtp, rtcp) = rfc_key();
    let mut packet = plain.clone();
    packet.resize(plain.len() + TAG_BYTES + RTCP_INDEX_BYTES, 0);
    let length = SealKey { rtp, rtcp: Box::new(rtcp) }.seal_rtcp(&mut packet, plain.len(), 0x5D4);
    assert_eq!((length, &packet), (sealed.len(), &sealed));
    let (rtp, rtcp) = rfc_key();
    assert_eq!(OpenKey { rtp, rtcp }.open_rtcp(&mut packet), Ok((plain.len(), 0x5D4)));
    assert_eq!(packet[..plain.len()], plain);
}

/// Goal: RFC 3711 B.3, the key derivation, for its three labels; the long one needs the counter.
#[test]
fn derivation_matches_rfc_3711() {
    let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139").try_into().unwrap();
    let salt = hex("0EC675AD498AFEEBB6960B3AABE6").try_into().unwrap();
    let wanted = [
        (0, "C61E7A93744F39EE10734AFE3FF7A087"),
        (2, "30CBBC08863D8C85D49DB34A9AE1"),
        (1, "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE E049646C43D9327AD175578EF7227098"),
    ];
    for (label, text) in wanted {
        let wanted = hex(text);
        let mut derived = vec![0; wanted.len()];
        derive(&key, &salt, label, &mut derived);
        assert_eq!(derived, wanted, "label {label}");
    }
}

/// Goal: one master key gives RTP and RTCP keys of their own (RFC 3711 §4.3.2: labels differ).
/// Method: seal the same bytes with both under one nonce.
#[test]
fn rtp_and_rtcp_keys_differ() {
    let master = MasterKey { key: [7; 16], salt: [9; 12] };
    let seal = SealKey::new(&master);
    let key_stream = |key: &SessionKey| {
        let mut bytes = [0; 32];
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let tag = key.aead.seal_in_place_separate_tag(nonce, Aad::empty(), &mut bytes);
        assert!(tag.is_ok());
        bytes
    };
    assert_ne!(key_stream(&seal.rtp), key_stream(&seal.rtcp));
    assert_ne!(seal.rtp.salt, seal.rtcp.salt);
}

proptest! {
    /// Goal: a voice packet goes there and back for any payload and index; a changed byte anywhere,
    /// another index and another key are all noticed.
    #[test]
    fn srtp_round_trips_and_notices_every_change(
        payload in prop::collection::vec(any::<u8>(), 0..200), index in 0_u64..1 << 48, at: prop::sample::Index, flip in 1_u8..,
    ) {
        let master = MasterKey { key: [7; 16], salt: [9; 12] };
        let mut packet = vec![0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend_from_slice(&payload);
        let (plain, open) = (packet.clone(), OpenKey::new(&master));
        packet.resize(plain.len() + TAG_BYTES, 0);
        prop_assert_eq!(SealKey::new(&master).seal_rtp(&mut packet, 12, plain.len(), index), packet.len());
        let mut changed = packet.clone();
        changed[at.index(packet.len())] ^= flip;
        prop_assert_eq!(open.open_rtp(&mut changed, 12, index), Err(AuthFailed));
        prop_assert_eq!(open.open_rtp(&mut packet.clone(), 12, index ^ 1 << 16), Err(AuthFailed));
        let stranger = OpenKey::new(&MasterKey { key: [8; 16], ..master });
        prop_assert_eq!(stranger.open_rtp(&mut packet.clone(), 12, index), Err(AuthFailed));
        prop_assert_eq!(open.open_rtp(&mut packet[..12 + TAG_BYTES - 1], 12, index), Err(AuthFailed));
        prop_assert_eq!(open.open_rtp(&mut packet, 12, index), Ok(plain.len()));
        prop_assert_eq!(&packet[..plain.len()], &plain);
    }
}

/// Goal: SRTCP goes there and back, and a flipped bit anywhere, the index included, is noticed
/// (RFC 7714 §9.3).
#[test]
fn srtcp_round_trips_and_notices_every_change() {
    let master = MasterKey { key: [7; 16], salt: [9; 12] };
    let plain = hex("81c8000e 4d617273 4e545031 4e545032 52545020");
    let mut sealed = plain.clone();
    sealed.resize(plain.len() + TAG_BYTES + RTCP_INDEX_BYTES, 0);
    assert_eq!(SealKey::new(&master).seal_rtcp(&mut sealed, plain.len(), 0x5D4), sealed.len());
    let open = OpenKey::new(&master);
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open.open_rtcp(&mut changed), Err(AuthFailed), "bit {bit}");
    }
    assert_eq!(open.open_rtcp(&mut sealed), Ok((plain.len(), 0x5D4)));
    assert_eq!(sealed[..plain.len()], plain);
    for short in 0..28 {
        assert_eq!(open.open_rtcp(&mut vec![0xFF; short]), Err(AuthFailed));
    }
}

/// Goal: the rollover is followed in both directions, and never below zero (RFC 3711 appendix A).
#[test]
fn the_index_follows_the_sequence_number() {
    assert_eq!(estimate_index(None, 0xFFFF), 0xFFFF);
    assert_eq!(estimate_index(Some(0xFFFF), 0), 0x1_0000);
    assert_eq!(estimate_index(Some(0x1_0000), 0xFFFF), 0xFFFF);
    assert_eq!(estimate_index(Some(3), 0xFFFF), 0xFFFF);
    assert_eq!(estimate_index(Some(0x2_8000), 0x7FFF), 0x2_7FFF);
    // Exactly half a cycle away, both ways: appendix A stays in the same rollover.
    assert_eq!(estimate_index(Some(0x2_0000), 0x8000), 0x2_8000);
    assert_eq!(estimate_index(Some(0x2_8000), 0x0000), 0x2_0000);
    assert_eq!(estimate_index(Some(0x2_0000), 0x8001), 0x1_8001);
    assert_eq!(estimate_index(Some(0x2_8001), 0x0000), 0x3_0000);
}

proptest! {
    /// Goal: whatever is sent within half a cycle of the highest gets back the index it was sealed
    /// with, so that neither loss nor reordering loses the rollover.
    #[test]
    fn the_index_is_found_within_half_a_cycle(highest in 0x8000_u64..1 << 47, distance in -0x7FFF_i64..0x8000) {
        let sent = highest.checked_add_signed(distance).unwrap();
        prop_assert_eq!(estimate_index(Some(highest), sent as u16), sent);
    }
}

proptest! {
    /// Goal: the window says what a full history would. Method: random walks of indices.
    #[test]
    fn the_window_agrees_with_a_full_history(steps in prop::collection::vec(0u64..400, 1..300)) {
        let mut window = ReplayWindow::default();
        let mut history = std::collections::BTreeSet::new();
        for (turn, step) in steps.into_iter().enumerate() {
            let index = turn as u64 + step;
            let highest = history.last().copied();
            let fresh = !history.contains(&index) && highest.is_none_or(|highest| index + WINDOW > highest);
            prop_assert_eq!(window.check(index), fresh);
            if fresh {
                window.accept(index);
                history.insert(index);
            }
            prop_assert_eq!(window.highest(), history.last().copied());
        }
    }
}
