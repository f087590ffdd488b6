//! The text of the metrics: each figure under its name, by Prometheus's rules of format and of naming.

use std::collections::{BTreeMap, BTreeSet};

use echomesh_shard::Histogram;

use super::*;

fn board(shards: usize) -> Board {
    Board::new((0..shards).map(|_| Arc::default()).collect(), Instant::now())
}

/// Goal: each shard's figures are under its own label, and the open connections are those accepted that have not ended.
#[test]
fn figures_are_labelled_by_shard() {
    assert_eq!(TOTALS[ACCEPTED].name, "accepted");
    let board = board(2);
    let mut totals = ShardTotals::default();
    totals.counters.accepted = 3;
    totals.occupancy.streams = 7;
    totals.counters.voice_forwarded = 40;
    totals.accept_failed = 5;
    totals.measures.cpu_us = 1_500_000;
    totals.measures.handshake(crate::measures::Handshake::Failed);
    board.publish(ShardId(1), &totals);
    let text = board.text();
    for line in [
        "# TYPE echomesh_voice_forwarded_total counter",
        "echomesh_voice_forwarded_total{shard=\"0\"} 0",
        "echomesh_voice_forwarded_total{shard=\"1\"} 40",
        "# TYPE echomesh_streams gauge",
        "echomesh_streams{shard=\"1\"} 7",
        "echomesh_accept_failed_total{shard=\"1\"} 5",
        "echomesh_cpu_seconds_total{shard=\"1\"} 1.5",
        "echomesh_connections{shard=\"1\"} 3",
        "echomesh_tls_handshakes_total{shard=\"1\",outcome=\"failed\"} 1",
        "echomesh_login_outcomes_total{shard=\"1\",outcome=\"bad_credentials\"} 0",
        "echomesh_connections_closed_total{shard=\"0\",reason=\"peer_closed\"} 0",
        "echomesh_dropped_total{shard=\"1\",reason=\"no_target\"} 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
}

/// Goal: buckets are cumulative, in seconds, the last one is all, and the sum is in seconds too.
#[test]
fn histograms_are_cumulative() {
    let board = board(1);
    let mut totals = ShardTotals::default();
    for us in [10, 20, 21, 900_000] {
        totals.measures.forwarding.record(us);
    }
    board.publish(ShardId(0), &totals);
    let text = board.text();
    let of: Vec<&str> = text.lines().filter(|line| line.contains("forwarding_seconds")).skip(2).collect();
    assert_eq!(of[0], "echomesh_forwarding_seconds_bucket{shard=\"0\",le=\"0.00002\"} 2");
    assert_eq!(of[1], "echomesh_forwarding_seconds_bucket{shard=\"0\",le=\"0.00005\"} 3");
    let end = &of[of.len() - 4..];
    assert_eq!(end[0], "echomesh_forwarding_seconds_bucket{shard=\"0\",le=\"0.5\"} 3");
    assert_eq!(end[1], "echomesh_forwarding_seconds_bucket{shard=\"0\",le=\"+Inf\"} 4");
    assert_eq!(end[2], "echomesh_forwarding_seconds_sum{shard=\"0\"} 0.900051");
    assert_eq!(end[3], "echomesh_forwarding_seconds_count{shard=\"0\"} 4");
}

/// Goal: what a shard publishes fills every cell, and no cell is another's. Method: each histogram, the last of all
/// cells among them, tells its own count.
#[test]
fn cells_do_not_shift() {
    let board = board(1);
    let mut totals = ShardTotals::default();
    let reported = &mut totals.counters.reported;
    let fill = |histogram: &mut Histogram, count: u64| (0..count).for_each(|_| histogram.record(3));
    fill(&mut reported.round_trip, 11);
    fill(&mut reported.uplink_loss, 7);
    fill(&mut totals.measures.store, 5);
    board.publish(ShardId(0), &totals);
    let text = board.text();
    for (name, count) in [("round_trip_seconds", 11), ("uplink_loss_ratio", 7), ("store_seconds", 5)] {
        assert!(text.contains(&format!("echomesh_{name}_count{{shard=\"0\"}} {count}\n")), "{name}\n{text}");
    }
}

/// Goal: what Prometheus reads: each metric described once, right before its series, no series twice, labels and values
/// as the format has them.
#[test]
fn the_text_is_well_formed() {
    let text = board(2).text();
    let (mut names, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut described = (String::new(), String::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
            let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
            let (typed, kind) = kind.split_once(' ').unwrap();
            assert_eq!(typed, name);
            assert!(names.insert(name.to_owned()), "described twice: {name}");
            assert!(lines.peek().is_some_and(|next| next.starts_with(name)), "{name} has no series");
            described = (name.to_owned(), kind.to_owned());
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
        let (name, labels) = series.split_once('{').map_or((series, ""), |(name, labels)| (name, labels));
        let suffix = name.strip_prefix(described.0.as_str()).unwrap_or_else(|| panic!("{line} after {described:?}"));
        let expected: &[&str] = if described.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(expected.contains(&suffix), "{line} of a {}", described.1);
        for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once('=').unwrap();
            assert!(["shard", "reason", "outcome", "version", "le"].contains(&key), "{line}");
            assert!(value.len() > 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
        }
        assert!(seen.insert(series.to_owned()), "twice: {line}");
    }
}

/// Goal: names are what `promtool check metrics` passes: lower case, `_total` on counters alone, base units alone, the
/// suffixes of histograms on nothing else.
#[test]
fn names_follow_the_conventions() {
    let text = board(1).text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: BTreeMap<&str, &str> = types.collect();
    assert!(types.len() > 60, "{}", types.len());
    for (name, kind) in types {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        for suffix in ["_bucket", "_sum", "_count", "_info"] {
            let own = suffix == "_info" && name == BUILD_INFO.0;
            assert!(own || !name.ends_with(suffix), "{name} has a suffix that means something else");
        }
        for unit in ["milliseconds", "microseconds", "minutes", "kilobytes", "kib", "mib", "percent", "ms", "us"] {
            assert!(!name.split('_').any(|part| part == unit), "{name}: seconds, bytes and ratios alone");
        }
        if kind == "histogram" {
            assert!(name.ends_with("_seconds") || name.ends_with("_ratio"), "{name} has no unit");
        }
    }
}

/// Goal: a shard that stands still shows, though it publishes nothing.
#[test]
fn a_still_shard_shows() {
    let pulse: Arc<Pulse> = Arc::default();
    let started = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
    let board = Board::new(vec![pulse.clone()], started);
    let age = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("echomesh_tick_age_seconds{shard=\"0\"} "));
        line.unwrap().parse::<f64>().unwrap()
    };
    assert!(age(&board.text()) >= 5.0);
    pulse.tick(Duration::from_secs(5));
    assert!(age(&board.text()) < 4.0);
}
