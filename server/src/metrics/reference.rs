//! docs/METRICS.md from the tables, and that what the repository shows of metrics is of metrics that there are.
//!
//! Only tests. To make the page anew after a table has changed:
//! `ECHOMESH_WRITE_DOCS=1 cargo test -p echomesh-server --lib metrics::reference`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use echomesh_shard::{CloseReason, Drop, LoginOutcome};

use super::board::{BESIDE, BUILD_INFO, Board};
use super::process::PROCESS;
use crate::measures::Handshake;
use crate::shard_thread::ShardTotals;
use crate::totals::{DISTRIBUTIONS, FAMILIES, Family, GAUGES, Shown, TOTALS, Unit};

/// From the package's directory.
const PAGE: &str = "../docs/METRICS.md";

/// If it is set, the page is written instead of compared.
const WRITE: &str = "ECHOMESH_WRITE_DOCS";

const INTRODUCTION: &str = "\
# Metrics

What the server tells at `/metrics`, in Prometheus's text format. The figures of shards are as old as their last tick, \
50 ms; a restart begins them anew. Names follow Prometheus's conventions: seconds, bytes and ratios, `_total` for what \
only grows. [OPERATIONS.md](OPERATIONS.md#what-to-watch) says what to watch, \
[examples/grafana-dashboard.json](examples/grafana-dashboard.json) shows it, and \
[examples/alerts.yml](examples/alerts.yml) has rules for alerts.

A histogram is cumulative: of forwarding, what 99 of 100 packets stayed below in the last five minutes is \
`histogram_quantile(0.99, sum by (le) (rate(echomesh_forwarding_seconds_bucket[5m])))`.

This page is made from the tables of the server (`server/src/totals.rs`); a test compares them.
";

fn table(page: &mut String, head: [&str; 2], rows: impl Iterator<Item = (String, String)>) {
    writeln!(page, "| {} | {} |\n|---|---|", head[0], head[1]).unwrap();
    for (name, help) in rows {
        writeln!(page, "| `{name}` | {} |", help.trim()).unwrap();
    }
}

fn meanings(family: &Family) -> &'static [&'static str] {
    match family.key {
        "login_outcomes" => LoginOutcome::HELP,
        "tls_handshakes" => Handshake::HELP,
        "closed" => CloseReason::HELP,
        "dropped" => Drop::HELP,
        other => panic!("say here what the values of {other} mean"),
    }
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Counters of each shard\nLabel: `shard`.\n\n");
    let beside = |kind: &'static str| BESIDE.iter().filter(move |figure| figure.kind == kind);
    let totals = TOTALS.iter().map(|total| (format!("echomesh_{}_total", total.name), total.help.to_owned()));
    let of = beside("counter").map(|figure| (figure.name.to_owned(), figure.help.to_owned()));
    table(&mut page, ["counter", "what it counts"], totals.chain(of));
    page.push_str("\n## Gauges of each shard\nLabel: `shard`.\n\n");
    let gauges = GAUGES.iter().map(|gauge| (format!("echomesh_{}", gauge.name), gauge.help.to_owned()));
    let of = beside("gauge").map(|figure| (figure.name.to_owned(), figure.help.to_owned()));
    table(&mut page, ["gauge", "what it tells"], gauges.chain(of));
    page.push_str("\n## Histograms of each shard\nLabel: `shard`; `le` is the bound of a bucket.\n\n");
    page.push_str("| histogram | of what | bounds |\n|---|---|---|\n");
    let nothing = ShardTotals::default();
    for distribution in DISTRIBUTIONS {
        let bounds = (distribution.get)(&nothing).bounds();
        let bounds: Vec<String> = bounds.iter().map(|bound| Shown(*bound, Unit::Millionths).to_string()).collect();
        let (name, help) = (distribution.name, distribution.help);
        writeln!(page, "| `echomesh_{name}` | {help} | {} |", bounds.join(", ")).unwrap();
    }
    page.push_str("\n## Counters by reason, of each shard\n");
    for family in FAMILIES {
        let (name, label) = (family.name, family.label);
        writeln!(page, "\n### `echomesh_{name}_total`\n{} Labels: `shard`, `{label}`.\n", family.help).unwrap();
        let rows = family.values.iter().zip(meanings(family));
        table(&mut page, [label, "what it means"], rows.map(|(value, help)| ((*value).to_owned(), (*help).to_owned())));
    }
    page.push_str("\n## Of the process\n");
    let (name, help) = BUILD_INFO;
    writeln!(page, "Those of the process have no label, `{name}` has `version`.\n").unwrap();
    let process = PROCESS.iter().map(|figure| (figure.name.to_owned(), format!("{} ({})", figure.help, figure.kind)));
    table(&mut page, ["metric", "what it tells"], process.chain([(name.to_owned(), format!("{help} (gauge)"))]));
    page
}

/// Goal: the page tells of every metric there is, as it is.
#[test]
fn every_metric_is_documented() {
    let page = page();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let committed = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        committed == page,
        "docs/METRICS.md is not what the tables say; make it anew: \
         {WRITE}=1 cargo test -p echomesh-server --lib metrics::reference"
    );
    for (name, _) in served() {
        assert!(page.contains(&format!("`{name}`")), "{name} is not on the page");
    }
}

/// The name and kind of each metric that is served.
fn served() -> Vec<(String, String)> {
    let text = Board::new(vec![Arc::default()], Instant::now()).text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// What a query may name: histograms by their parts alone.
fn series() -> BTreeSet<String> {
    let parts = |(name, kind): (String, String)| match kind.as_str() {
        "histogram" => ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")).to_vec(),
        _ => vec![name],
    };
    served().into_iter().flat_map(parts).collect()
}

/// The names of ours in a query.
fn named(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.starts_with("echomesh_") || word.starts_with("process_"))
}

/// What a query wants a label of ours to be: label and value, of which a pattern may have several.
fn wanted(query: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for family in FAMILIES {
        for operator in ["=\"", "=~\"", "!=\"", "!~\""] {
            for part in query.split(&format!("{}{operator}", family.label)).skip(1) {
                let values = part.split_once('"').map_or("", |(values, _)| values).split('|');
                found.extend(values.map(|value| (family.label.to_owned(), value.to_owned())));
            }
        }
    }
    found
}

fn check(queries: &[String]) {
    let series = series();
    for query in queries {
        assert!(named(query).count() > 0, "a query of nothing of ours: {query}");
        for name in named(query) {
            assert!(series.contains(name), "there is no {name}: {query}");
        }
        for (label, value) in wanted(query) {
            let known = FAMILIES.iter().any(|family| family.label == label && family.values.contains(&value.as_str()));
            assert!(known, "there is no {label} {value}: {query}");
        }
    }
}

/// All values of this key, wherever they are.
fn under(value: &serde_json::Value, key: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            found.extend(fields.get(key).and_then(serde_json::Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| under(value, key, found));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| under(value, key, found)),
        _ => {}
    }
}

/// Goal: no panel of the dashboard is empty because a name has changed.
#[test]
fn the_dashboard_asks_for_what_there_is() {
    let text = std::fs::read_to_string("../docs/examples/grafana-dashboard.json").unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    under(&dashboard["panels"], "expr", &mut queries);
    assert!(queries.len() > 20, "{}", queries.len());
    under(&dashboard["templating"], "definition", &mut queries);
    check(&queries);
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}

/// Goal: no alert stays silent because a name has changed.
#[test]
fn the_alerts_ask_for_what_there_is() {
    let text = std::fs::read_to_string("../docs/examples/alerts.yml").unwrap();
    let queries: Vec<String> =
        text.lines().filter_map(|line| line.trim_start().strip_prefix("expr: ")).map(str::to_owned).collect();
    assert_eq!(queries.len(), text.matches("- alert: ").count(), "one expr of one line for each alert");
    assert!(queries.len() > 8, "{}", queries.len());
    check(&queries);
}
