//! The demo's verdict: did the speech of one client arrive at the other?
//!
//! In: the packet logs of speaker and listener (`echomesh join --packet-log`), the WAV that was said and
//! the one that was heard, and the server's totals (the JSON line it prints at its end, in a file).
//! Out: a report on standard output; exit 1 if the speech did not arrive, 2 if a file cannot be used.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use echomesh_audio::similarity::compare;
use echomesh_audio::wav;

/// Least share of the packets sent that must cross the mesh and be received, percent.
const RECEIVED_PERCENT_MIN: u64 = 95;

/// Least likeness of what was said and heard: far over what other speech gives, below what Opus gives.
const LIKENESS_MIN: f32 = 0.8;

/// Packets of one log: when each media time of each stream was sent or received, microseconds.
type Packets = BTreeMap<(u32, u32), u64>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [speaker, listener, said, heard, totals] = &arguments[..] else {
        eprintln!("usage: demo_report SPEAKER.csv LISTENER.csv SAID.wav HEARD.wav SERVER_TOTALS.json");
        return ExitCode::from(2);
    };
    match report(speaker, listener, said, heard, totals) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("demo_report: {problem}");
            ExitCode::from(2)
        }
    }
}

fn report(speaker: &str, listener: &str, said: &str, heard: &str, totals: &str) -> Result<bool, String> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let sent = packets(&read(speaker)?, "sent")?;
    let received = packets(&read(listener)?, "received")?;
    let streams: BTreeSet<u32> = sent.keys().map(|(ssrc, _)| *ssrc).collect();
    let mut latencies: Vec<u64> =
        sent.iter().filter_map(|(packet, at)| Some(received.get(packet)?.saturating_sub(*at))).collect();
    latencies.sort_unstable();
    let totals = read(totals)?;
    let arrived = latencies.len() as u64;
    let shards: Vec<String> = streams.iter().map(|ssrc| (ssrc & 0xFF).to_string()).collect();
    println!("packets sent              {} (stream on shard {})", sent.len(), shards.join(", "));
    println!("accepted by the server    {}", total(&totals, "voice_received")?);
    let across = total(&totals, "voice_relayed")?;
    println!("forwarded across shards   {across}");
    println!("forwarded to listeners    {}", total(&totals, "voice_forwarded")?);
    println!("received                  {arrived}");
    println!("lost                      {}", sent.len() as u64 - arrived);
    if let (Some(p50), Some(p99)) = (percentile(&latencies, 50), percentile(&latencies, 99)) {
        println!("one-way latency           p50 {p50:.2} ms, p99 {p99:.2} ms (client to client, without playout)");
    }
    let load = |path: &str| wav::load(Path::new(path)).map_err(|error| error.to_string());
    let similarity = compare(&load(said)?, &load(heard)?);
    let likeness = similarity.as_ref().map_or(0.0, |similarity| similarity.likeness);
    match similarity {
        Some(similarity) => println!("likeness                  {likeness:.3} at a lag of {:.0} ms", similarity.lag_ms),
        None => println!("likeness                  none: one of the two files has no sound"),
    }
    let enough = |count: u64| count > 0 && count * 100 >= sent.len() as u64 * RECEIVED_PERCENT_MIN;
    let speech_arrived = enough(arrived) && enough(across) && likeness >= LIKENESS_MIN;
    println!("{}", if speech_arrived { "The speech arrived." } else { "THE SPEECH DID NOT ARRIVE." });
    Ok(speech_arrived)
}

/// The packets of one direction in a log. A packet is named by stream and media time: the server
/// renumbers, but both stay the speaker's.
fn packets(log: &str, direction: &str) -> Result<Packets, String> {
    let mut packets = Packets::new();
    for (line, number) in log.lines().zip(1..) {
        let wrong = || format!("line {number} of a packet log is not direction,time,ssrc,index,media_time: {line:?}");
        let columns: Vec<&str> = line.split(',').collect();
        let [kind, time, ssrc, _, media_time] = columns[..] else { return Err(wrong()) };
        if kind == direction {
            let packet = (ssrc.parse().map_err(|_| wrong())?, media_time.parse().map_err(|_| wrong())?);
            packets.insert(packet, time.parse().map_err(|_| wrong())?);
        }
    }
    Ok(packets)
}

/// A number of the server's totals. The names are unique in its flat JSON, so no parser is needed.
fn total(json: &str, name: &str) -> Result<u64, String> {
    let missing = || format!("the server's totals have no {name}");
    let (_, rest) = json.split_once(&format!("\"{name}\":")).ok_or_else(missing)?;
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().map_err(|_| missing())
}

/// Nearest-rank percentile of sorted microseconds, in milliseconds.
fn percentile(sorted: &[u64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    Some(*sorted.get(rank - 1)? as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: packets are matched by stream and media time, whatever the server's numbering.
    #[test]
    fn logs_are_read_by_direction() {
        let log = "sent,100,7,1,960\nreceived,150,9,5,960\nsent,120,7,2,1920\n";
        assert_eq!(packets(log, "sent").unwrap(), Packets::from([((7, 960), 100), ((7, 1_920), 120)]));
        assert!(packets("sent,1,2\n", "sent").is_err());
    }

    /// Goal: nearest rank: the 99th of a hundred, the only one of one, none of none.
    #[test]
    fn percentiles_are_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).map(|ms| ms * 1_000).collect();
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!(percentile(&[7_000], 50), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }

    /// Goal: the totals as the server prints them.
    #[test]
    fn totals_are_found() {
        let json = r#"{"totals":{"voice_received":12, "voice_relayed": 3}}"#;
        assert_eq!(total(json, "voice_relayed"), Ok(3));
        assert!(total(json, "voice_forwarded").is_err());
    }
}
