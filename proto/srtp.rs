//! SRTP and SRTCP with AEAD_AES_128_GCM (RFC 3711, RFC 7714), in place over the caller's bytes.
//!
//! Not key management: keys come from `VoiceAnnounce`. The AEAD is ring's, as TLS's; the key
//! derivation (AES-CM, RFC 3711 §4.3) needs the bare block cipher and takes it from `aes`.
//! Cost: nothing allocates; about 0.15 µs for a voice packet.

use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Authentication tag, RFC 7714 §5.2.
pub const TAG_BYTES: usize = 16;

/// E flag and 31-bit index at the end of SRTCP, RFC 7714 §9.
pub const RTCP_INDEX_BYTES: usize = 4;

/// RTCP header in the clear: first word and SSRC, RFC 7714 §9.1.
const RTCP_CLEAR_BYTES: usize = 8;

/// Set when the body is encrypted, RFC 7714 §9.1.
const E_FLAG: u32 = 1 << 31;

/// Packets a receiver remembers; RFC 3711 §3.3.2 asks for at least 64.
const WINDOW: u64 = 128;

/// Master key and salt of one direction, RFC 7714 §8.1 and §12.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    /// AES-128 key.
    pub key: [u8; 16],
    /// 96-bit salt.
    pub salt: [u8; 12],
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// The packet was not made with this key and index, or was changed on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthFailed;

/// RFC 3711 §4.3.2 labels of session key and salt, for RTP.
const RTP_LABELS: (u8, u8) = (0, 2);

/// The same for RTCP.
const RTCP_LABELS: (u8, u8) = (3, 5);

/// Session key or salt for a label, by AES in counter mode (RFC 3711 §4.3.1 and §4.3.3). The key
/// derivation rate is 0, so `r` is too and the label alone is XORed into the salt, 7 bytes from its end.
fn derive(key: &[u8; 16], salt: &[u8; 14], label: u8, out: &mut [u8]) {
    let cipher = Aes128::new(key.into());
    let mut input = [0; 16];
    input[..14].copy_from_slice(salt);
    input[7] ^= label;
    for (counter, chunk) in (0_u16..).zip(out.chunks_mut(16)) {
        input[14..].copy_from_slice(&counter.to_be_bytes());
        let mut block = input.into();
        cipher.encrypt_block(&mut block);
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
}

/// Key and salt of one packet kind in one direction.
struct SessionKey {
    aead: LessSafeKey,
    salt: [u8; 12],
}

impl SessionKey {
    fn derive(master: &MasterKey, (key_label, salt_label): (u8, u8)) -> Self {
        // RFC 7714 §11: the 96-bit master salt is padded with zeros on the right to the 112 bits that
        // the derivation takes.
        let mut padded_salt = [0; 14];
        padded_salt[..12].copy_from_slice(&master.salt);
        let (mut key, mut salt) = ([0; 16], [0; 12]);
        derive(&master.key, &padded_salt, key_label, &mut key);
        derive(&master.key, &padded_salt, salt_label, &mut salt);
        Self::new(&key, salt)
    }

    fn new(key: &[u8; 16], salt: [u8; 12]) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, key).expect("the key has the algorithm's length");
        Self { aead: LessSafeKey::new(key), salt }
    }

    /// RFC 7714 §8.1 and §9.1: zeros, SSRC, 48-bit index (31-bit for RTCP), XOR salt.
    fn nonce(&self, ssrc: [u8; 4], index: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(&ssrc);
        nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        for (byte, salt) in nonce.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

fn ssrc_at(packet: &[u8], at: usize) -> [u8; 4] {
    packet[at..].first_chunk().copied().expect("the caller checked the header's length")
}

/// What SRTCP authenticates beside its body, RFC 7714 §9.2: the header in the clear, E flag and index.
fn rtcp_aad(packet: &[u8], trailer: [u8; RTCP_INDEX_BYTES]) -> [u8; RTCP_CLEAR_BYTES + RTCP_INDEX_BYTES] {
    let mut aad = [0; RTCP_CLEAR_BYTES + RTCP_INDEX_BYTES];
    aad[..RTCP_CLEAR_BYTES].copy_from_slice(&packet[..RTCP_CLEAR_BYTES]);
    aad[RTCP_CLEAR_BYTES..].copy_from_slice(&trailer);
    aad
}

/// Seals packets of one direction. The caller never gives one SSRC and index twice.
pub struct SealKey {
    rtp: SessionKey,
    /// Apart: it is used once in seconds, and keys of RTP that lie side by side are read faster by who seals a
    /// packet for hundreds of listeners.
    rtcp: Box<SessionKey>,
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(..)")
    }
}

impl SealKey {
    /// Derives the session keys.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        Self { rtp: SessionKey::derive(master, RTP_LABELS), rtcp: Box::new(SessionKey::derive(master, RTCP_LABELS)) }
    }

    /// Seals `packet[..plain_bytes]`, header and payload, under a 48-bit index. Returns the length
    /// sealed, [`TAG_BYTES`] more.
    ///
    /// # Panics
    /// If `packet` has no room for the tag: the caller's bug.
    pub fn seal_rtp(&self, packet: &mut [u8], header_bytes: usize, plain_bytes: usize, index: u64) -> usize {
        debug_assert!(index < 1 << 48, "an SRTP index has 48 bits");
        let nonce = self.rtp.nonce(ssrc_at(packet, 8), index);
        let (header, rest) = packet.split_at_mut(header_bytes);
        let (payload, tail) = rest.split_at_mut(plain_bytes - header_bytes);
        let tag = self.rtp.aead.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload);
        let tag = tag.expect("a datagram is far below the AEAD's limit");
        tail[..TAG_BYTES].copy_from_slice(tag.as_ref());
        plain_bytes + TAG_BYTES
    }

    /// Seals an RTCP compound `packet[..plain_bytes]` under a 31-bit index. Returns the length sealed,
    /// [`TAG_BYTES`] and [`RTCP_INDEX_BYTES`] more.
    ///
    /// # Panics
    /// If `packet` has no room for both: the caller's bug.
    pub fn seal_rtcp(&self, packet: &mut [u8], plain_bytes: usize, index: u32) -> usize {
        debug_assert!(index < E_FLAG, "an SRTCP index has 31 bits");
        let trailer = (index | E_FLAG).to_be_bytes();
        let nonce = self.rtcp.nonce(ssrc_at(packet, 4), u64::from(index));
        let aad = rtcp_aad(packet, trailer);
        let (body, tail) = packet[RTCP_CLEAR_BYTES..].split_at_mut(plain_bytes - RTCP_CLEAR_BYTES);
        let tag = self.rtcp.aead.seal_in_place_separate_tag(nonce, Aad::from(aad), body);
        let tag = tag.expect("a datagram is far below the AEAD's limit");
        tail[..TAG_BYTES].copy_from_slice(tag.as_ref());
        tail[TAG_BYTES..TAG_BYTES + RTCP_INDEX_BYTES].copy_from_slice(&trailer);
        plain_bytes + TAG_BYTES + RTCP_INDEX_BYTES
    }
}

/// Opens packets of one direction.
pub struct OpenKey {
    rtp: SessionKey,
    rtcp: SessionKey,
}

impl std::fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenKey(..)")
    }
}

impl OpenKey {
    /// Derives the session keys.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        Self { rtp: SessionKey::derive(master, RTP_LABELS), rtcp: SessionKey::derive(master, RTCP_LABELS) }
    }

    /// Opens a packet whose header was parsed, in place. Returns the plain length, header and payload.
    /// On failure the bytes are spoilt.
    ///
    /// # Errors
    /// [`AuthFailed`]: wrong key, wrong index, or changed on its way.
    pub fn open_rtp(&self, packet: &mut [u8], header_bytes: usize, index: u64) -> Result<usize, AuthFailed> {
        if packet.len() < header_bytes + TAG_BYTES {
            return Err(AuthFailed);
        }
        let nonce = self.rtp.nonce(ssrc_at(packet, 8), index);
        let (header, sealed) = packet.split_at_mut(header_bytes);
        let plain = self.rtp.aead.open_in_place(nonce, Aad::from(&*header), sealed).map_err(|_| AuthFailed)?;
        Ok(header_bytes + plain.len())
    }

    /// Opens an SRTCP packet in place. Returns the plain length and the SRTCP index. Only encrypted
    /// packets (E set) are taken.
    ///
    /// # Errors
    /// [`AuthFailed`]: too short, not encrypted, wrong key, or changed on its way.
    pub fn open_rtcp(&self, packet: &mut [u8]) -> Result<(usize, u32), AuthFailed> {
        let sealed_end = packet.len().checked_sub(RTCP_INDEX_BYTES).ok_or(AuthFailed)?;
        if sealed_end < RTCP_CLEAR_BYTES + TAG_BYTES {
            return Err(AuthFailed);
        }
        let trailer = *packet[sealed_end..].first_chunk().ok_or(AuthFailed)?;
        let word = u32::from_be_bytes(trailer);
        if word & E_FLAG == 0 {
            return Err(AuthFailed);
        }
        let index = word & !E_FLAG;
        let nonce = self.rtcp.nonce(ssrc_at(packet, 4), u64::from(index));
        let aad = rtcp_aad(packet, trailer);
        let body = &mut packet[RTCP_CLEAR_BYTES..sealed_end];
        let plain = self.rtcp.aead.open_in_place(nonce, Aad::from(aad), body).map_err(|_| AuthFailed)?;
        Ok((RTCP_CLEAR_BYTES + plain.len(), index))
    }
}

/// The most likely 48-bit index of a packet, RFC 3711 §3.3.1 and appendix A: the one nearest to the
/// highest seen. Without one, ROC 0.
#[must_use]
pub fn estimate_index(highest: Option<u64>, sequence: u16) -> u64 {
    let Some(highest) = highest else { return u64::from(sequence) };
    let (roc, last) = (highest >> 16, highest as u16);
    let distance = i32::from(sequence) - i32::from(last);
    let roc = if distance > 0x8000 {
        roc.saturating_sub(1)
    } else if distance < -0x8000 {
        roc + 1
    } else {
        roc
    };
    roc << 16 | u64::from(sequence)
}

/// Which of the last 128 indices were seen, RFC 3711 §3.3.2.
#[derive(Clone, Debug, Default)]
pub struct ReplayWindow {
    highest: Option<u64>,
    /// Bit n: `highest - n` was seen.
    seen: u128,
}

impl ReplayWindow {
    /// The highest index accepted.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether the index is new and not too old.
    #[must_use]
    pub fn check(&self, index: u64) -> bool {
        match self.highest {
            Some(highest) if index <= highest => {
                let age = highest - index;
                age < WINDOW && self.seen >> age & 1 == 0
            }
            _ => true,
        }
    }

    /// Notes an index that was checked and authenticated.
    pub fn accept(&mut self, index: u64) {
        debug_assert!(self.check(index), "only what was checked is accepted");
        let Some(highest) = self.highest else {
            self.highest = Some(index);
            self.seen = 1;
            return;
        };
        if index > highest {
            let step = index - highest;
            self.seen = if step < WINDOW { self.seen << step } else { 0 } | 1;
            self.highest = Some(index);
        } else {
            self.seen |= 1 << (highest - index);
        }
    }
}

#[cfg(test)]
#[path = "srtp_tests.rs"]
mod tests;
