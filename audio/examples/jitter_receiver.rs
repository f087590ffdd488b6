//! Plays a recorded network's packets as the client would, in virtual time: `jitter_receiver IN.jbp OUT.wav`.
//!
//! Not a benchmark by itself: an offline harness compares OUT.wav with what was said, and the delay with what
//! the network took. There is no setting for a kind of network; `--ticks` also writes OUT.wav.csv, a line a
//! tick.
//! In: magic `JBP1`, u32 count, u64 end in µs; then for each packet in order of arrival u64 arrival in µs, u16
//! sequence number, u32 RTP timestamp, u16 length, payload; all little endian. Out: 48 kHz mono, and counts in
//! OUT.wav.json.
//! Bounds: reads the whole input into memory.

use std::io::Write;

use echomesh_audio::SAMPLE_RATE;
use echomesh_audio::codec::Decoder;
use echomesh_audio::playout::{FRAME_SAMPLES, Packet, Playout, Pulled, TICK_SAMPLES, TICK_US};

type Failure = Box<dyn std::error::Error>;

/// What is left of a file.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Failure> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("the packet file ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of up to eight bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, Failure> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// A packet and its unrolled number.
struct Arrival<'a> {
    arrival_us: u64,
    index: u64,
    media_time: u32,
    payload: &'a [u8],
}

fn read(bytes: &[u8]) -> Result<(u64, Vec<Arrival<'_>>), Failure> {
    let mut input = Input(bytes);
    if input.take(4)? != b"JBP1" {
        return Err("not a packet file: it does not begin with JBP1".into());
    }
    let count = input.number(4)?;
    let end_us = input.number(8)?;
    let mut arrivals = Vec::new();
    // Far enough from 0 that packets before the first one have a place.
    let mut last = 1_u64 << 20;
    for _ in 0..count {
        let arrival_us = input.number(8)?;
        let sequence = input.number(2)? as u16;
        last = last.wrapping_add_signed(i64::from(sequence.wrapping_sub(last as u16).cast_signed()));
        let media_time = input.number(4)? as u32;
        let length = input.number(2)? as usize;
        arrivals.push(Arrival { arrival_us, index: last, media_time, payload: input.take(length)? });
    }
    Ok((end_us, arrivals))
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (input, output, ticks) = match &arguments[..] {
        [input, output] => (input, output, false),
        [input, output, flag] if flag == "--ticks" => (input, output, true),
        _ => return Err("usage: jitter_receiver IN.jbp OUT.wav [--ticks]".into()),
    };
    let bytes = std::fs::read(input)?;
    let (end_us, arrivals) = read(&bytes)?;
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(output, spec)?;
    let (mut playout, mut decoder) = (Playout::new(), Decoder::new()?);
    let mut log =
        if ticks { Some(std::io::BufWriter::new(std::fs::File::create(format!("{output}.csv"))?)) } else { None };
    let mut waiting = arrivals.iter().peekable();
    // What was heard, in samples, by where it came from; after the last packet nothing is missing.
    let mut heard = [0_u64; 4];
    let last_us = arrivals.last().map_or(0, |packet| packet.arrival_us);
    for now_us in (0..end_us).step_by(TICK_US as usize) {
        while let Some(packet) = waiting.next_if(|packet| packet.arrival_us <= now_us) {
            let Arrival { arrival_us, index, media_time, payload } = *packet;
            playout.insert(Packet { arrival_us, index, media_time, marker: false, payload });
        }
        let mut tick = [0; TICK_SAMPLES];
        let pulled = playout.pull(now_us, &mut decoder, &mut tick);
        if now_us <= last_us {
            heard[pulled as usize] += TICK_SAMPLES as u64;
        }
        tick.iter().try_for_each(|sample| wav.write_sample(*sample))?;
        if let Some(log) = &mut log {
            let statistics = playout.statistics();
            writeln!(log, "{now_us},{pulled:?},{},{}", statistics.delay_us, statistics.target_us)?;
        }
    }
    wav.finalize()?;
    let statistics = playout.statistics();
    eprintln!("{statistics:?}");
    let frame = FRAME_SAMPLES as u64;
    let report = format!(
        "{{\"decoded\":{},\"plc\":{},\"fec\":{},\"dred\":{},\"expanded\":{},\"accelerated\":{},\"late\":{},\"drift_ppm\":{}}}\n",
        heard[Pulled::Decoded as usize],
        heard[Pulled::Concealed as usize],
        statistics.recovered * frame,
        statistics.recovered_deep * frame,
        statistics.stretched,
        statistics.compressed,
        statistics.late + statistics.skipped,
        statistics.drift_ppm
    );
    std::fs::write(format!("{output}.json"), report)?;
    Ok(())
}
