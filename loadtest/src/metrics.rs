//! The server's own counters, over HTTP in Prometheus text.
//!
//! Not a Prometheus client: one GET, and the lines that this tool compares. The server refreshes them every 50 ms.
//! Bounds: `BYTES_MAX` of answer, `WAIT` for it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::results::ShardCount;

const BYTES_MAX: u64 = 4 * 1024 * 1024;
const WAIT: Duration = Duration::from_secs(5);

/// Where the metrics are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    host: String,
    path: String,
}

impl Url {
    /// `http://HOST:PORT/metrics`; the path may be left out.
    ///
    /// # Errors
    /// Another scheme, or no port.
    pub fn parse(text: &str) -> Outcome<Self> {
        let wrong = || Failure(format!("{text:?} is no metrics address: give http://HOST:PORT/metrics"));
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
        if host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), path: format!("/{path}") })
    }

    /// Reads the counters of all shards, in their order.
    ///
    /// # Errors
    /// No server there, or something else.
    pub fn read(&self) -> Outcome<Vec<ShardCount>> {
        let text = self.get().map_err(|error| {
            Failure::because(&format!("cannot read http://{}{}; check --metrics", self.host, self.path), error)
        })?;
        parse(&text)
    }

    fn get(&self) -> std::io::Result<String> {
        let address = self.host.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
        stream.set_read_timeout(Some(WAIT))?;
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.path, self.host);
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(BYTES_MAX).read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.split(' ').nth(1) != Some("200") {
            return Err(std::io::Error::other(head.lines().next().unwrap_or("nothing").to_owned()));
        }
        Ok(body.to_owned())
    }
}

/// One line `name{label="value",…} number`.
fn sample(line: &str) -> Option<(&str, BTreeMap<&str, &str>, u64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.split_once('}')?;
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let labels = pairs.map(|(key, value)| (key.trim(), value.trim_matches('"'))).collect();
    let value: f64 = value.split_whitespace().next()?.parse().ok()?;
    Some((name, labels, value as u64))
}

/// The counters in Prometheus text.
fn parse(text: &str) -> Outcome<Vec<ShardCount>> {
    let mut shards: BTreeMap<u32, ShardCount> = BTreeMap::new();
    for (name, labels, value) in text.lines().filter(|line| !line.starts_with('#')).filter_map(sample) {
        let Some(shard) = labels.get("shard").and_then(|shard| shard.parse().ok()) else { continue };
        let count = shards.entry(shard).or_insert_with(|| ShardCount { shard, ..ShardCount::default() });
        match (name, labels.get("reason")) {
            ("echomesh_voice_received_total", _) => count.voice_received = value,
            ("echomesh_voice_forwarded_total", _) => count.voice_forwarded = value,
            ("echomesh_voice_relayed_total", _) => count.voice_relayed = value,
            ("echomesh_voice_from_mesh_total", _) => count.voice_from_mesh = value,
            ("echomesh_dropped_total", Some(reason)) => drop(count.dropped.insert((*reason).to_owned(), value)),
            _ => {}
        }
    }
    if shards.is_empty() {
        return Err(Failure("that address answers, but not with EchoMesh's metrics: check --metrics".to_owned()));
    }
    Ok(shards.into_values().collect())
}

/// What each shard counted between two readings.
#[must_use]
pub fn between(earlier: &[ShardCount], later: &[ShardCount]) -> Vec<ShardCount> {
    let before = |shard: u32| earlier.iter().find(|count| count.shard == shard).cloned().unwrap_or_default();
    later
        .iter()
        .map(|count| {
            let was = before(count.shard);
            let dropped = count.dropped.iter().map(|(reason, value)| {
                (reason.clone(), value.saturating_sub(was.dropped.get(reason).copied().unwrap_or(0)))
            });
            ShardCount {
                shard: count.shard,
                voice_received: count.voice_received.saturating_sub(was.voice_received),
                voice_forwarded: count.voice_forwarded.saturating_sub(was.voice_forwarded),
                voice_relayed: count.voice_relayed.saturating_sub(was.voice_relayed),
                voice_from_mesh: count.voice_from_mesh.saturating_sub(was.voice_from_mesh),
                dropped: dropped.filter(|(_, value)| *value > 0).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP echomesh_voice_received_total Voice.\n# TYPE echomesh_voice_received_total counter\n\
        echomesh_voice_received_total{shard=\"0\"} 10\nechomesh_voice_received_total{shard=\"1\"} 3\n\
        echomesh_voice_forwarded_total{shard=\"0\"} 90\nechomesh_voice_relayed_total{shard=\"0\"} 2\n\
        echomesh_voice_from_mesh_total{shard=\"1\"} 2\nother 5\n\
        echomesh_dropped_total{shard=\"0\",reason=\"replayed\"} 4\nechomesh_dropped_total{reason=\"late\",shard=\"1\"} 1\n";

    /// Goal: each counter is found by name and shard, in whatever order labels stand, and the rest is passed over.
    #[test]
    fn counters_are_read_by_shard() {
        let shards = parse(TEXT).unwrap();
        assert_eq!(shards.len(), 2);
        assert_eq!((shards[0].voice_received, shards[0].voice_forwarded, shards[0].voice_relayed), (10, 90, 2));
        assert_eq!((shards[1].voice_received, shards[1].voice_from_mesh), (3, 2));
        assert_eq!((shards[0].dropped["replayed"], shards[1].dropped["late"]), (4, 1));
        assert!(parse("nothing here\n").unwrap_err().0.contains("--metrics"));
    }

    /// Goal: between two readings only what grew is told.
    #[test]
    fn readings_are_compared_shard_by_shard() {
        let earlier = parse(TEXT).unwrap();
        let later = parse(&TEXT.replace("shard=\"1\"} 3", "shard=\"1\"} 8").replace("} 4\n", "} 6\n")).unwrap();
        let grown = between(&earlier, &later);
        assert_eq!((grown[0].voice_received, grown[1].voice_received), (0, 5));
        assert_eq!(grown[0].dropped, BTreeMap::from([("replayed".to_owned(), 2)]));
        assert!(grown[1].dropped.is_empty());
    }

    /// Goal: an address that cannot be is refused with what to write.
    #[test]
    fn addresses_are_checked() {
        assert_eq!(Url::parse("http://[::1]:9/metrics").unwrap().host, "[::1]:9");
        assert_eq!(Url::parse("http://h:9").unwrap().path, "/metrics");
        for wrong in ["https://h:9/metrics", "h:9", "http://h/metrics"] {
            assert!(Url::parse(wrong).unwrap_err().0.contains("http://HOST:PORT"), "{wrong}");
        }
    }
}
