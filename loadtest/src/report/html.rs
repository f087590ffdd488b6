//! The page: headline figures, what to know before believing them, the machine, then each kind of load.
//!
//! In: a report. Out: one self-contained file: style sheet and plots inline, no script, nothing fetched.

use std::fmt::Write;

use super::findings::findings;
use super::headline::headlines;
use super::markup::{escape, prose, section};
use super::numbers::{NOTHING, date_utc, percent, several};
use super::{bars, ramps, voice};
use crate::results::Report;

/// Light and dark by what the reader's system asks for, one column on a phone, no colour lost in print.
const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn html(report: &Report) -> String {
    let date = date_utc(report.started_unix_ms);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>EchoMesh load test, {date}</title><style>{STYLE}</style></head><body><main>\
         <header><h1>EchoMesh load test</h1><p>{date} · {} · {} · server {}</p></header>",
        escape(&report.machine.processor),
        several(report.machine.cores, "core"),
        escape(&report.server.address),
    );
    page.push_str(&notices(report));
    page.push_str(&cards(report));
    page.push_str(&ramps::ramps(report));
    page.push_str(&voice::voice(report));
    page.push_str(&bars::balance(report));
    page.push_str(&bars::logins(report));
    page.push_str(&bars::chat(report));
    page.push_str(&bars::idle(report));
    page.push_str(&bars::churn(report));
    page.push_str(&setup(report));
    page.push_str("</main></body></html>\n");
    page
}

fn notices(report: &Report) -> String {
    let found = findings(report);
    if found.is_empty() {
        return "<p class=\"well\">Nothing disturbed this run, and all that is claimed below held its limits.</p>"
            .to_owned();
    }
    let mut html = String::from("<div class=\"notices\" role=\"note\"><h2>Before believing these figures</h2><ul>");
    for finding in found {
        let class = if finding.serious { " class=\"bad\"" } else { "" };
        // Writing to a String does not fail, here and below.
        let _ = write!(html, "<li{class}>{}</li>", prose(&finding.told));
    }
    html.push_str("</ul></div>");
    html
}

fn cards(report: &Report) -> String {
    let mut html = String::from("<div class=\"cards\">");
    for headline in headlines(report) {
        let _ = write!(
            html,
            "<div class=\"card\"><p class=\"what\">{}</p><p class=\"figure\">{}</p><p class=\"under\">{}</p></div>",
            escape(&headline.what),
            escape(&headline.figure),
            prose(&headline.under)
        );
    }
    html.push_str("</div>");
    html
}

/// On what, by what and how it was measured.
fn setup(report: &Report) -> String {
    let (machine, server, generator) = (&report.machine, &report.server, &report.generator);
    let cores = if generator.cores.is_empty() {
        "not pinned".to_owned()
    } else {
        let cores: Vec<String> = generator.cores.iter().map(u32::to_string).collect();
        format!("on core {}", cores.join(", "))
    };
    let started = if server.started_by_tool { "started by the tool" } else { "ran already" };
    let shards = server.shards.map_or("shards unknown".to_owned(), |shards| several(shards, "shard"));
    let arguments = server.arguments.join(" ");
    let rows = [
        ("Tool", report.tool.clone()),
        ("Begun", date_utc(report.started_unix_ms)),
        ("Processor", format!("{}, {}", machine.processor, several(machine.cores, "core"))),
        ("Kernel", machine.kernel.clone()),
        ("Memory", format!("{} GiB", (machine.memory_mib as f64 / 1024.0).round())),
        ("Server", format!("{}, {shards}, {started}", server.address)),
        ("Its arguments", if arguments.is_empty() { NOTHING.to_owned() } else { arguments }),
        ("Generator", format!("{}, {cores}", several(generator.threads, "thread"))),
        (
            "Packets opened",
            if generator.opened_share >= 1.0 {
                "each one received was decrypted and authenticated (in ramps, perhaps a share)".to_owned()
            } else {
                format!(
                    "{} of those received were decrypted and authenticated, the rest counted by their clear RTP header",
                    percent(generator.opened_share)
                )
            },
        ),
    ];
    let mut list = String::from("<dl>");
    for (term, told) in rows {
        let _ = write!(list, "<dt>{term}</dt><dd>{}</dd>", escape(&told));
    }
    list.push_str(
        "</dl><p>Server CPU is all non-idle time of its cores where they are known, so that the kernel's network \
         work is in it; else the time of its process. 100 % is one core. Absolute figures drift with the machine: \
         compare within one run. A percentile is drawn where at least ten datagrams lie above it.</p>",
    );
    section("setup", "How it was measured", &list)
}
