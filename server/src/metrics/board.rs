//! Where shards leave their figures for the metrics' thread, and their text in Prometheus's format.
//!
//! Not a measurement: the figures are those of `totals`, as old as the last tick. No lock and no
//! allocation on a shard: it stores each number in a cell of its own, relaxed, so that a reader sees
//! each number whole, but not all of one instant.
//! Bounds: `CELLS` numbers a shard. Cost to a shard: 76 ns a tick, measured (a copy and a store each); the text is made
//! by who reads.
//! Source: the text format of <https://prometheus.io/docs/instrumenting/exposition_formats/>, 0.0.4.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use echomesh_proto::ids::ShardId;
use echomesh_shard::{CloseReason, Drop};

use crate::shard_thread::ShardTotals;
use crate::totals::{GAUGES, TOTALS};

const CLOSED: usize = CloseReason::ALL.len();
const DROPPED: usize = Drop::ALL.len();
/// One for each total, close reason, drop reason and gauge, in this order.
const CELLS: usize = TOTALS.len() + CLOSED + DROPPED + GAUGES.len();

/// What one shard writes. Two cache lines of alignment (x86 fetches pairs), so that shards do not share any.
#[repr(align(128))]
struct Cells([AtomicU64; CELLS]);

/// The figures of all shards.
pub struct Board {
    shards: Vec<Cells>,
}

impl Board {
    /// All zero.
    pub fn new(shards: u8) -> Self {
        Self { shards: (0..shards).map(|_| Cells([const { AtomicU64::new(0) }; CELLS])).collect() }
    }

    /// Leaves a shard's figures. Only that shard's thread calls this.
    pub fn publish(&self, shard: ShardId, totals: &ShardTotals) {
        let counters = &totals.counters;
        let closed = CloseReason::ALL.iter().map(|reason| counters.closed(*reason));
        let dropped = Drop::ALL.iter().map(|reason| counters.dropped(*reason));
        let gauges = GAUGES.iter().map(|gauge| (gauge.get)(totals));
        let values = TOTALS.iter().map(|total| (total.get)(totals)).chain(closed).chain(dropped).chain(gauges);
        for (cell, value) in self.shards[shard.index()].0.iter().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Everything, for a scrape.
    pub fn text(&self) -> String {
        let mut text = String::new();
        head(&mut text, "echomesh_build_info", "gauge", "The version of this server; always 1.");
        line(&mut text, format_args!("echomesh_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
        head(&mut text, "echomesh_connections", "gauge", "Control connections that are open.");
        for shard in 0..self.shards.len() {
            let ended: u64 = (TOTALS.len()..TOTALS.len() + CLOSED).map(|cell| self.read(shard, cell)).sum();
            // The two may be of different ticks.
            let open = self.read(shard, ACCEPTED).saturating_sub(ended);
            line(&mut text, format_args!("echomesh_connections{{shard=\"{shard}\"}}"), open);
        }
        for (cell, gauge) in (CELLS - GAUGES.len()..).zip(GAUGES) {
            let name = format!("echomesh_{}", gauge.name);
            head(&mut text, &name, "gauge", gauge.help);
            for shard in 0..self.shards.len() {
                line(&mut text, format_args!("{name}{{shard=\"{shard}\"}}"), self.read(shard, cell));
            }
        }
        for (cell, total) in TOTALS.iter().enumerate() {
            let name = format!("echomesh_{}_total", total.name);
            head(&mut text, &name, "counter", total.help);
            for shard in 0..self.shards.len() {
                line(&mut text, format_args!("{name}{{shard=\"{shard}\"}}"), self.read(shard, cell));
            }
        }
        let closed = CloseReason::ALL.iter().map(|reason| reason.as_str());
        let help = "Control connections ended, by reason.";
        self.by_reason(&mut text, "echomesh_connections_closed_total", help, TOTALS.len(), closed);
        let dropped = Drop::ALL.iter().map(|reason| reason.as_str());
        let help = "Voice packets and other inputs that went no further, by reason.";
        self.by_reason(&mut text, "echomesh_dropped_total", help, TOTALS.len() + CLOSED, dropped);
        text
    }

    fn by_reason(
        &self,
        text: &mut String,
        name: &str,
        help: &str,
        first_cell: usize,
        reasons: impl Iterator<Item = &'static str>,
    ) {
        head(text, name, "counter", help);
        for (cell, reason) in (first_cell..).zip(reasons) {
            for shard in 0..self.shards.len() {
                let series = format_args!("{name}{{shard=\"{shard}\",reason=\"{reason}\"}}");
                line(text, series, self.read(shard, cell));
            }
        }
    }

    fn read(&self, shard: usize, cell: usize) -> u64 {
        self.shards[shard].0[cell].load(Ordering::Relaxed)
    }
}

/// Cell of the first figure, checked by a test.
const ACCEPTED: usize = 0;

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes all");
}

fn line(text: &mut String, series: impl Display, value: u64) {
    writeln!(text, "{series} {value}").expect("a String takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each shard's figures are under its own label, with HELP and TYPE before them, and the open
    /// connections are those accepted that have not ended.
    #[test]
    fn figures_are_labelled_by_shard() {
        assert_eq!(TOTALS[ACCEPTED].name, "accepted");
        let board = Board::new(2);
        let mut totals = ShardTotals::default();
        totals.counters.accepted = 3;
        totals.occupancy.streams = 7;
        totals.counters.voice_forwarded = 40;
        totals.accept_failed = 5;
        board.publish(ShardId(1), &totals);
        let text = board.text();
        for line in [
            "# TYPE echomesh_voice_forwarded_total counter",
            "echomesh_voice_forwarded_total{shard=\"0\"} 0",
            "echomesh_voice_forwarded_total{shard=\"1\"} 40",
            "# TYPE echomesh_streams gauge",
            "echomesh_streams{shard=\"1\"} 7",
            "echomesh_accept_failed_total{shard=\"1\"} 5",
            "echomesh_connections{shard=\"1\"} 3",
            "echomesh_connections_closed_total{shard=\"0\",reason=\"peer_closed\"} 0",
            "echomesh_dropped_total{shard=\"1\",reason=\"no_target\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }

    /// Goal: what Prometheus reads: each metric described once, before its series, and no series twice.
    #[test]
    fn the_text_is_well_formed() {
        let text = Board::new(2).text();
        let mut seen = std::collections::BTreeSet::new();
        let mut described = String::new();
        for line in text.lines() {
            if let Some(type_line) = line.strip_prefix("# TYPE ") {
                described = type_line.split(' ').next().unwrap().to_owned();
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                value.parse::<u64>().unwrap();
                assert!(series.starts_with(&format!("{described}{{")), "{line}");
            }
            assert!(seen.insert(line.rsplit_once(' ').unwrap().0.to_owned()), "twice: {line}");
        }
    }
}
