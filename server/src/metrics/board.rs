//! Where shards leave their figures for the metrics' thread, and their text in Prometheus's format.
//!
//! Not a measurement: the figures are those of `totals`, as old as the last tick. No lock and no
//! allocation on a shard: it stores each number in a cell of its own, relaxed, so that a reader sees
//! each number whole, but not all of one instant; a histogram's count is the sum of what is read of it.
//! Bounds: as many numbers a shard as the tables have. Cost to a shard: a copy and a store of each, once a tick; the
//! text is made by who reads.
//! Source: the text format of <https://prometheus.io/docs/instrumenting/exposition_formats/>, 0.0.4.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use echomesh_proto::ids::ShardId;

use super::process::{PROCESS, Process};
use crate::shard_thread::ShardTotals;
use crate::totals::{DISTRIBUTIONS, Distribution, FAMILIES, Family, GAUGES, Shown, TOTALS, Total, Unit};
use crate::watchdog::Pulse;

/// Numbers beside a shard's own that nobody writes: two cache lines (x86 fetches pairs), so that shards share none.
const APART: usize = 16;

/// A figure of each shard that is not of the tables: who makes the text knows it.
pub struct Beside {
    /// The whole name.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// What it tells.
    pub help: &'static str,
    get: fn(&Board, usize) -> f64,
}

/// All of them.
#[rustfmt::skip] // A table is read by its lines.
pub const BESIDE: &[Beside] = &[
    Beside { name: "echomesh_connections", kind: "gauge", help: "Control connections that are open.", get: Board::connections },
    Beside { name: "echomesh_stalls_total", kind: "counter", help: "Times that the shard stood still for half a second or longer; the log says where.", get: |board, shard| board.pulses[shard].stalls() as f64 },
    Beside { name: "echomesh_tick_age_seconds", kind: "gauge", help: "Since the shard's last tick, due each 50 ms; more than half a second is a shard that stands still.", get: |board, shard| board.pulses[shard].still_for(board.started.elapsed()).as_secs_f64() },
];

/// Name and help of the figure that tells the version.
pub const BUILD_INFO: (&str, &str) = ("echomesh_build_info", "The version of this server; always 1.");

/// The figures of all shards.
pub struct Board {
    shards: Vec<Box<[AtomicU64]>>,
    pulses: Vec<Arc<Pulse>>,
    started: Instant,
    started_unix: Duration,
}

impl Board {
    /// All zero, for the shards of these pulses, whose clock began at `started`.
    pub fn new(pulses: Vec<Arc<Pulse>>, started: Instant) -> Self {
        let cells = values(&ShardTotals::default()).count() + 2 * APART;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let empty = || (0..cells).map(|_| AtomicU64::new(0)).collect();
        Self {
            shards: pulses.iter().map(|_| empty()).collect(),
            pulses,
            started,
            started_unix: unix.saturating_sub(started.elapsed()),
        }
    }

    /// Leaves a shard's figures. Only that shard's thread calls this.
    pub fn publish(&self, shard: ShardId, totals: &ShardTotals) {
        for (cell, value) in self.shards[shard.index()][APART..].iter().zip(values(totals)) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Everything, for a scrape.
    pub fn text(&self) -> String {
        let mut text = Text { board: self, out: String::new(), cell: 0 };
        let (name, help) = BUILD_INFO;
        text.head(name, "gauge", help);
        text.line(format_args!("{name}{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
        for Beside { name, kind, help, get } in BESIDE {
            text.head(name, kind, help);
            for shard in 0..self.shards.len() {
                text.line(format_args!("{name}{{shard=\"{shard}\"}}"), get(self, shard));
            }
        }
        // In the order of `values`.
        TOTALS.iter().for_each(|total| text.figure(&format!("echomesh_{}_total", total.name), "counter", total));
        FAMILIES.iter().for_each(|family| text.family(family));
        GAUGES.iter().for_each(|gauge| text.figure(&format!("echomesh_{}", gauge.name), "gauge", gauge));
        let nothing = ShardTotals::default();
        DISTRIBUTIONS.iter().for_each(|distribution| text.distribution(distribution, &nothing));
        let process = Process::read(self.started_unix);
        for figure in PROCESS {
            if let Some(value) = (figure.get)(&process) {
                text.head(figure.name, figure.kind, figure.help);
                text.line(figure.name, value);
            }
        }
        text.out
    }

    fn read(&self, shard: usize, cell: usize) -> u64 {
        self.shards[shard][APART + cell].load(Ordering::Relaxed)
    }

    /// Accepted and not ended; the two may be of different ticks.
    fn connections(&self, shard: usize) -> f64 {
        let before: usize = FAMILIES.iter().take_while(|family| family.key != "closed").map(cells_of).sum();
        let first = TOTALS.len() + before;
        let closed = FAMILIES.iter().find(|family| family.key == "closed").map_or(0, cells_of);
        let ended: u64 = (first..first + closed).map(|cell| self.read(shard, cell)).sum();
        self.read(shard, ACCEPTED).saturating_sub(ended) as f64
    }
}

/// Cell of the first figure, checked by a test.
const ACCEPTED: usize = 0;

fn cells_of(family: &Family) -> usize {
    family.values.len()
}

/// One for each cell, in the order of the tables: totals, families, gauges, histograms with their sums.
fn values(totals: &ShardTotals) -> impl Iterator<Item = u64> {
    let counted = TOTALS.iter().map(|total| (total.get)(totals));
    let by_reason =
        FAMILIES.iter().flat_map(|family| (0..family.values.len()).map(|place| (family.get)(totals, place)));
    let gauges = GAUGES.iter().map(|gauge| (gauge.get)(totals));
    let distributions = DISTRIBUTIONS.iter().flat_map(|distribution| {
        let histogram = (distribution.get)(totals);
        histogram.counts().iter().copied().chain([histogram.sum()])
    });
    counted.chain(by_reason).chain(gauges).chain(distributions)
}

/// The text while it is made.
struct Text<'a> {
    board: &'a Board,
    out: String,
    /// The next that was not told yet.
    cell: usize,
}

impl Text<'_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes all");
    }

    fn line(&mut self, series: impl Display, value: impl Display) {
        writeln!(self.out, "{series} {value}").expect("a String takes all");
    }

    fn shards(&self) -> std::ops::Range<usize> {
        0..self.board.shards.len()
    }

    fn figure(&mut self, name: &str, kind: &str, figure: &Total) {
        self.head(name, kind, figure.help);
        for shard in self.shards() {
            let value = Shown(self.board.read(shard, self.cell), figure.unit);
            self.line(format_args!("{name}{{shard=\"{shard}\"}}"), value);
        }
        self.cell += 1;
    }

    fn family(&mut self, family: &Family) {
        let name = format!("echomesh_{}_total", family.name);
        self.head(&name, "counter", family.help);
        for value in family.values {
            for shard in self.shards() {
                let count = self.board.read(shard, self.cell);
                self.line(format_args!("{name}{{shard=\"{shard}\",{}=\"{value}\"}}", family.label), count);
            }
            self.cell += 1;
        }
    }

    fn distribution(&mut self, distribution: &Distribution, nothing: &ShardTotals) {
        let name = format!("echomesh_{}", distribution.name);
        self.head(&name, "histogram", distribution.help);
        let bounds = (distribution.get)(nothing).bounds();
        for shard in self.shards() {
            let mut count = 0;
            for (at, bound) in bounds.iter().enumerate() {
                count += self.board.read(shard, self.cell + at);
                let bound = Shown(*bound, Unit::Millionths);
                self.line(format_args!("{name}_bucket{{shard=\"{shard}\",le=\"{bound}\"}}"), count);
            }
            count += self.board.read(shard, self.cell + bounds.len());
            let sum = Shown(self.board.read(shard, self.cell + bounds.len() + 1), Unit::Millionths);
            self.line(format_args!("{name}_bucket{{shard=\"{shard}\",le=\"+Inf\"}}"), count);
            self.line(format_args!("{name}_sum{{shard=\"{shard}\"}}"), sum);
            self.line(format_args!("{name}_count{{shard=\"{shard}\"}}"), count);
        }
        self.cell += bounds.len() + 2;
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
