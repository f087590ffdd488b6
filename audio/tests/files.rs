//! Sound files: what is read is what was recorded, what is written can be read, and what cannot be says why.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod signals;

use std::path::Path;

use echomesh_audio::playout::FRAME_SAMPLES;
use echomesh_audio::sink::Sink;
use echomesh_audio::source::Source;
use echomesh_audio::wav::{WavProblem, load};
use hound::{SampleFormat, WavSpec, WavWriter};
use proptest::prelude::*;
use signals::{energy, frames, sine};

/// Writes each sample to all channels. `bits` of 0 is 32-bit float.
fn write(path: &Path, samples: &[i16], sample_rate: u32, channels: u16, bits: u16) {
    let sample_format = if bits == 0 { SampleFormat::Float } else { SampleFormat::Int };
    let bits_per_sample = if bits == 0 { 32 } else { bits };
    let mut wav = WavWriter::create(path, WavSpec { channels, sample_rate, bits_per_sample, sample_format }).unwrap();
    for sample in samples {
        for _ in 0..channels {
            if bits == 0 {
                wav.write_sample(f32::from(*sample) / 32_768.0).unwrap();
            } else {
                let scaled = i64::from(*sample) << 16 >> (32 - bits);
                wav.write_sample(i32::try_from(scaled).unwrap()).unwrap();
            }
        }
    }
    wav.finalize().unwrap();
}

/// Upward zero crossings a second: the frequency of a sine.
fn hertz(samples: &[i16]) -> f64 {
    let crossings = samples.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
    crossings as f64 * 48_000.0 / samples.len() as f64
}

/// Goal: any rate and channel count keeps pitch, level, length and start. Method: a 1 kHz sine of 2 s.
#[test]
fn any_rate_becomes_48_khz_mono() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("said.wav");
    for (rate, channels) in [(8_000, 1), (16_000, 1), (22_050, 1), (44_100, 2), (48_000, 2), (96_000, 6), (192_000, 1)]
    {
        write(&path, &sine(rate, 2.0, 1_000.0, 10_000.0), rate, channels, 16);
        let read = load(&path).unwrap();
        assert_eq!(read.len(), 96_000, "{rate} Hz");
        let middle = &read[4_800..91_200];
        assert!((hertz(middle) - 1_000.0).abs() < 2.0, "{rate} Hz: {}", hertz(middle));
        let amplitude = (2.0 * energy(middle) / middle.len() as f64).sqrt();
        assert!((amplitude - 10_000.0).abs() < 50.0, "{rate} Hz: {amplitude}");
        let expected = sine(48_000, 2.0, 1_000.0, 10_000.0);
        let worst = middle.iter().zip(&expected[4_800..]).map(|(read, sine)| read.abs_diff(*sine)).max().unwrap();
        assert!(worst < 100, "{rate} Hz: in phase to 1 %, but {worst}");
    }
}

/// Goal: going down in rate, what does not fit is silenced and not folded back. Method: 30 kHz at 96 kHz.
#[test]
fn what_is_above_hearing_is_not_folded_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("high.wav");
    write(&path, &sine(96_000, 1.0, 30_000.0, 10_000.0), 96_000, 1, 16);
    let read = load(&path).unwrap();
    assert!(read[2_400..45_600].iter().all(|sample| sample.abs() <= 5));
}

/// Goal: every usual sample format is read to the last bit it has. Method: 48 kHz, so nothing is resampled.
#[test]
fn any_sample_format_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("said.wav");
    let said = sine(48_000, 0.1, 440.0, 20_000.0);
    for (bits, error_max) in [(8, 256), (16, 0), (24, 0), (32, 0), (0, 0)] {
        write(&path, &said, 48_000, 1, bits);
        let read = load(&path).unwrap();
        assert_eq!(read.len(), said.len());
        let worst = read.iter().zip(&said).map(|(read, said)| read.abs_diff(*said)).max().unwrap();
        assert!(worst <= error_max, "{bits} bits: {worst}");
    }
}

/// Goal: what cannot be read says which file and why. Method: missing, empty, junk, cut off, a folder.
#[test]
fn unreadable_files_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("said.wav");
    let text = || {
        let error = load(&path).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("said.wav"), "{text}");
        (error.problem, text)
    };
    assert!(matches!(text().0, WavProblem::System(_)), "{}", text().1);
    std::fs::write(&path, b"").unwrap();
    assert!(text().1.contains("empty"), "{}", text().1);
    std::fs::write(&path, b"OggS and more that is no WAV file at all").unwrap();
    assert!(matches!(text().0, WavProblem::NotWav(_)), "{}", text().1);
    write(&path, &sine(48_000, 0.5, 440.0, 8_000.0), 48_000, 1, 16);
    let whole = std::fs::read(&path).unwrap();
    for length in [20, 40, 1_001] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(text().0, WavProblem::Truncated | WavProblem::NotWav(_)), "{length}: {}", text().1);
    }
    assert!(text().1.contains("ends before"), "{}", text().1);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(!text().1.is_empty());
    write(&folder.path().join("slow.wav"), &[0; 100], 4_000, 1, 16);
    let error = load(&folder.path().join("slow.wav")).unwrap_err();
    assert!(matches!(error.problem, WavProblem::Kind(_)), "{error}");
}

/// Goal: a source gives whole frames, the last with silence behind it, then no more; a file without sound
/// none. Method: 1.5 frames.
#[test]
fn a_source_ends_with_a_whole_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("said.wav");
    let mut frame = [7; FRAME_SAMPLES];
    write(&path, &[5; 1_440], 48_000, 1, 16);
    let mut source = Source::open(path.to_str().unwrap()).unwrap();
    assert!(source.frame(&mut frame).unwrap());
    assert_eq!(frame, [5; FRAME_SAMPLES]);
    assert!(source.frame(&mut frame).unwrap());
    assert_eq!((frame[479], frame[480]), (5, 0));
    assert!(!source.frame(&mut frame).unwrap());
    write(&path, &[], 44_100, 1, 16);
    assert!(!Source::open(path.to_str().unwrap()).unwrap().frame(&mut frame).unwrap());
}

/// Goal: the tone is 440 Hz without a seam. Method: 3 s of it against one sine.
#[test]
fn the_tone_has_no_seam() {
    let mut source = Source::open("tone").unwrap();
    for expected in frames(&sine(48_000, 3.0, 440.0, 8_192.0)) {
        let mut frame = [0; FRAME_SAMPLES];
        assert!(source.frame(&mut frame).unwrap());
        assert!(frame.iter().zip(&expected).all(|(tone, sine)| tone.abs_diff(*sine) <= 1));
    }
}

/// Goal: what is written is read again to the bit, and after a crash but for the last second. Method: finish;
/// then copy a file that is still being written.
#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, crashed) = (folder.path().join("heard.wav"), folder.path().join("crashed.wav"));
    let heard = sine(48_000, 2.5, 440.0, 8_000.0);
    let mut sink = Sink::open(path.to_str().unwrap()).unwrap();
    frames(&heard).for_each(|frame| sink.write(&frame).unwrap());
    // What the file has on disk while it is written is what a crash leaves.
    let left = std::fs::read(&path).unwrap();
    std::fs::write(&crashed, &left).unwrap();
    let left = load(&crashed).unwrap();
    assert!((96_000..=120_000).contains(&left.len()), "{}", left.len());
    assert_eq!(left, heard[..left.len()]);
    sink.finish().unwrap();
    assert_eq!(load(&path).unwrap(), heard);
}

/// Goal: a full disk and a wrong path say what to do. Method: /dev/full takes nothing; no such folder.
#[test]
fn a_full_disk_says_what_to_do() {
    let failed = Sink::open("/dev/full").and_then(|mut sink| {
        (0..100).try_for_each(|_| sink.write(&[0; FRAME_SAMPLES]))?;
        sink.finish()
    });
    let text = failed.unwrap_err().to_string();
    assert!(text.contains("/dev/full") && text.contains("no room"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let text = Sink::open(folder.path().join("none/heard.wav").to_str().unwrap()).err().unwrap().to_string();
    assert!(text.contains("heard.wav") && text.contains("folder"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Goal: no file makes the reader panic. Method: a good file with random bytes in its header, cut anywhere.
    #[test]
    fn any_file_is_survived(
        changes in prop::collection::vec((0_usize..60, any::<u8>()), 1..6),
        length in 0_usize..400,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("said.wav");
        write(&path, &[100; 200], 44_100, 2, 16);
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(length.max(44));
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = load(&path) {
            prop_assert!(error.to_string().contains("said.wav"));
        }
    }
}
