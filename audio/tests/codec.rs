//! Opus as voice uses it: what comes back, what a loss costs, what silence sends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod signals;

use echomesh_audio::codec::{Decoder, Encoder, EncoderSettings, Frame};
use echomesh_audio::playout::{Decode, FRAME_SAMPLES, PACKET_SAMPLES_MAX, PAYLOAD_BYTES_MAX, Redundancy};
use echomesh_audio::similarity::compare;
use signals::{chirp, energy, frames, speech};

/// Every frame's packet, empty where DTX sends none.
fn encode(samples: &[i16], settings: &EncoderSettings) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(settings).unwrap();
    let mut packet = |frame: &[i16; FRAME_SAMPLES]| {
        let mut payload = vec![0; PAYLOAD_BYTES_MAX];
        let length = encoder.encode(frame, &mut payload).unwrap();
        payload.truncate(length);
        payload
    };
    frames(samples).map(|frame| packet(&frame)).collect()
}

fn decode(decoder: &mut Decoder, packet: &[u8]) -> Vec<i16> {
    let mut out = vec![0; PACKET_SAMPLES_MAX];
    let samples = decoder.decode(packet, &mut out);
    out.truncate(samples);
    out
}

/// Goal: speech, chirps and tones survive the codec. Method: encode, decode, compare.
#[test]
fn sound_survives_the_codec() {
    let settings = EncoderSettings { dtx: false, ..EncoderSettings::default() };
    for (said, least) in [(chirp(48_000, 2.0, 200.0, 2_500.0), 0.9), (speech(1, 4.0), 0.93)] {
        let mut decoder = Decoder::new().unwrap();
        let heard: Vec<i16> = encode(&said, &settings).iter().flat_map(|packet| decode(&mut decoder, packet)).collect();
        assert_eq!(heard.len(), said.len());
        let similarity = compare(&said, &heard).unwrap();
        assert!(similarity.likeness >= least, "{similarity:?}");
        assert!((0.0..20.0).contains(&similarity.lag_ms), "the codec's look-ahead: {similarity:?}");
    }
}

/// Goal: a lost packet is heard again from the next one's copy, better than from a guess or as silence.
/// Method: lose every tenth packet of speech; the error against the undisturbed decoder is compared.
#[test]
fn a_copy_recovers_a_lost_packet() {
    let packets = encode(&speech(2, 6.0), &EncoderSettings { dtx: false, ..EncoderSettings::default() });
    let mut whole = Decoder::new().unwrap();
    let whole: Vec<Vec<i16>> = packets.iter().map(|packet| decode(&mut whole, packet)).collect();
    let (mut copying, mut guessing) = (Decoder::new().unwrap(), Decoder::new().unwrap());
    let (mut silence, mut copied, mut guessed, mut copies) = (0.0, 0.0, 0.0, 0);
    for (number, packet) in packets.iter().enumerate() {
        if number % 10 != 9 || number + 1 == packets.len() {
            decode(&mut copying, packet);
            decode(&mut guessing, packet);
            continue;
        }
        let (mut copy, mut guess) = ([0; FRAME_SAMPLES], [0; FRAME_SAMPLES]);
        copies += usize::from(copying.recover(&packets[number + 1], &mut copy) == FRAME_SAMPLES);
        assert_eq!(guessing.conceal(&mut guess), FRAME_SAMPLES);
        let difference = |lossy: &[i16]| -> Vec<i16> {
            whole[number].iter().zip(lossy).map(|(whole, lossy)| whole.saturating_sub(*lossy)).collect()
        };
        silence += energy(&whole[number]);
        copied += energy(&difference(&copy));
        guessed += energy(&difference(&guess));
    }
    assert!(copies >= 20, "most packets carry a copy: {copies} of {}", packets.len() / 10);
    assert!(copied < 0.5 * silence, "{copied} against {silence}");
    assert!(copied < guessed, "{copied} against {guessed}");
}

/// Goal: a packet without a copy recovers nothing, so that it counts as a guess. Method: FEC off; junk.
#[test]
fn without_a_copy_nothing_is_recovered() {
    let settings = EncoderSettings { fec: false, dtx: false, ..EncoderSettings::default() };
    let mut decoder = Decoder::new().unwrap();
    for packet in encode(&speech(3, 1.0), &settings) {
        assert_eq!(decoder.recover(&packet, &mut [0; FRAME_SAMPLES]), 0);
    }
    assert_eq!(decoder.recover(&[], &mut [0; FRAME_SAMPLES]), 0);
    assert_eq!(decoder.recover(&[0x0B], &mut [0; FRAME_SAMPLES]), 0, "code 3 without a count");
}

/// Goal: silence sends nothing but a rare refresh, and speech after it is sent at once. Method: 2 s of speech,
/// 4 s of silence, speech again.
#[test]
fn silence_is_not_sent() {
    let mut said = speech(4, 2.0);
    said.resize(said.len() + 4 * 48_000, 0);
    said.extend(speech(4, 1.0));
    let packets = encode(&said, &EncoderSettings::default());
    let sent = |packets: &[Vec<u8>]| packets.iter().filter(|packet| !packet.is_empty()).count();
    assert_eq!(sent(&packets[..90]), 90);
    let silent = sent(&packets[150..300]);
    assert!(silent <= 15, "{silent} of 150 sent in silence");
    assert!(sent(&packets[300..350]) >= 48);
}

/// Goal: a burst of losses is heard again from the history in the packet after it, and that history is seen.
/// Method: five packets in thirty are lost; loudness of each 10 ms against the undisturbed decoder's, in dB.
#[test]
fn a_history_recovers_a_burst() {
    let settings =
        EncoderSettings { fec: false, dtx: false, dred_ms: 200, bits_per_second: 48_000, ..EncoderSettings::default() };
    let packets = encode(&speech(2, 6.0), &settings);
    let seen = |packets: &[Vec<u8>], kind: Redundancy| {
        let decoder = Decoder::new().unwrap();
        packets.iter().filter(|packet| decoder.redundancy(packet) == kind).count()
    };
    assert!(seen(&packets, Redundancy::History) >= 280, "{} of 300", seen(&packets, Redundancy::History));
    let copies = encode(&speech(2, 6.0), &EncoderSettings { dtx: false, ..EncoderSettings::default() });
    assert!(seen(&copies, Redundancy::Copy) >= 200 && seen(&copies, Redundancy::History) == 0);
    let mut whole = Decoder::new().unwrap();
    let whole: Vec<i16> = packets.iter().flat_map(|packet| decode(&mut whole, packet)).collect();
    let (mut recovering, mut guessing) = (Decoder::new().unwrap(), Decoder::new().unwrap());
    let (mut recovered, mut guessed) = (0.0, 0.0);
    let unlike = |start: usize, samples: &[i16]| -> f64 {
        let loudness = |samples: &[i16]| 10.0 * (energy(samples) / samples.len() as f64 + 100.0).log10();
        let pairs = samples.chunks(480).zip(whole[start..].chunks(480));
        pairs.map(|(heard, said)| (loudness(heard) - loudness(said)).abs()).sum()
    };
    for (number, packet) in packets.iter().enumerate() {
        match number % 30 {
            20..25 => {}
            25 => {
                let (mut history, mut guess) = ([0; 5 * FRAME_SAMPLES], [0; 5 * FRAME_SAMPLES]);
                assert_eq!(recovering.recover_deep(packet, &mut history), history.len());
                assert_eq!(guessing.conceal(&mut guess), guess.len());
                recovered += unlike((number - 5) * FRAME_SAMPLES, &history);
                guessed += unlike((number - 5) * FRAME_SAMPLES, &guess);
                decode(&mut recovering, packet);
                decode(&mut guessing, packet);
            }
            _ => {
                decode(&mut recovering, packet);
                decode(&mut guessing, packet);
            }
        }
    }
    assert!(recovered < 0.7 * guessed, "{recovered} against {guessed}");
}

/// Goal: the low-delay mode is as long and as late as it says, and an encoder keeps its frame. Method: 10 ms
/// packets of a chirp; settings applied in mid-stream, and those that need a new encoder.
#[test]
fn low_delay_and_changes() {
    let settings = EncoderSettings { frame: Frame::Ms10LowDelay, dtx: false, ..EncoderSettings::default() };
    let (mut encoder, mut decoder) = (Encoder::new(&settings).unwrap(), Decoder::new().unwrap());
    let said = chirp(48_000, 2.0, 200.0, 2_500.0);
    let mut payload = [0; PAYLOAD_BYTES_MAX];
    let mut heard = Vec::new();
    for frame in said.chunks_exact(settings.frame.samples()) {
        let length = encoder.encode(frame, &mut payload).unwrap();
        heard.extend(decode(&mut decoder, &payload[..length]));
    }
    assert_eq!(heard.len(), said.len());
    let similarity = compare(&said, &heard).unwrap();
    assert!(similarity.likeness >= 0.9 && similarity.lag_ms < 5.0, "{similarity:?}");
    assert!(encoder.apply(&EncoderSettings { bits_per_second: 96_000, ..settings }).is_ok());
    assert!(encoder.encode(&said[..480], &mut payload).unwrap() > 80, "three times the bits");
    let text = encoder.apply(&EncoderSettings::default()).unwrap_err().to_string();
    assert!(text.contains("make a new one"), "{text}");
    assert!(encoder.encode(&said[..960], &mut payload).is_err());
}

/// Goal: what is no Opus gives no sound and no panic. Method: empty, impossible and random packets.
#[test]
fn junk_gives_no_sound() {
    let mut decoder = Decoder::new().unwrap();
    assert!(decode(&mut decoder, &[]).is_empty());
    assert!(decode(&mut decoder, &[0x0B]).is_empty(), "code 3 without a count");
    let mut random = 1_u32;
    let mut byte = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    };
    for length in 1..400 {
        let packet: Vec<u8> = (0..length).map(|_| byte()).collect();
        assert!(decode(&mut decoder, &packet).len() <= PACKET_SAMPLES_MAX);
        decoder.recover(&packet, &mut [0; FRAME_SAMPLES]);
    }
}

/// Goal: settings out of range are refused with a reason, not taken.
#[test]
fn impossible_settings_are_refused() {
    let settings = EncoderSettings { complexity: 11, ..EncoderSettings::default() };
    let text = Encoder::new(&settings).unwrap_err().to_string();
    assert!(text.contains("complexity"), "{text}");
    let settings = EncoderSettings { dred_ms: 10_000, ..EncoderSettings::default() };
    let text = Encoder::new(&settings).unwrap_err().to_string();
    assert!(text.contains("DRED"), "{text}");
}
