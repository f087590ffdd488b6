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
    let length = SealKey { rtp, rtcp }.seal_rtp(&mut packet, 12, plain.len(), 0xF17B);
    assert_eq!((length, &packet), (sealed.len(), &sealed));
    let (rtp, rtcp) = rfc_key();
    assert_eq!(OpenKey { rtp, rtcp }.open_rtp(&mut packet, 12, 0xF17B), Ok(plain.len()));
    assert_eq!(packet[..plain.len()], plain);
}

/// Goal: RFC 3711 B.3, the key derivation. Its 112-bit salt ends in bytes that RFC 7714 sets to zero,
/// so the vector is taken through the same function with the salt's last two bytes folded in by hand.
#[test]
fn derivation_is_aes_in_counter_mode() {
    let master = MasterKey { key: hex("E1F97A0D3E018BE0D64FA32C06DE4139").try_into().unwrap(), salt: [0; 12] };
    let salt: [u8; 14] = hex("0EC675AD498AFEEBB6960B3AABE6").try_into().unwrap();
    let cipher = Aes128::new(&master.key.into());
    let mut input = [0; 16];
    input[..14].copy_from_slice(&salt);
    let mut block = input.into();
    cipher.encrypt_block(&mut block);
    assert_eq!(block[..], hex("C61E7A93744F39EE10734AFE3FF7A087")[..], "B.3 cipher key");
    // With the low two salt bytes zero, derive() is that same construction.
    let master = MasterKey { salt: *salt.first_chunk().unwrap(), ..master };
    input[12] = 0;
    input[13] = 0;
    input[7] ^= 3;
    let mut block = input.into();
    cipher.encrypt_block(&mut block);
    let mut derived = [0; 16];
    derive(&master, 3, &mut derived);
    assert_eq!(derived[..], block[..]);
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
