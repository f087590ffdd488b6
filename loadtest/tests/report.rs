//! How a run is told: that figures, limits and warnings are there, and that nothing from outside is markup.
//!
//! In: made-up reports. Out: assertions on the page and on the summary; how it looks is for a person to see.

#[path = "report/fixture.rs"]
mod fixture;

use echomesh_loadtest::report::{html, summary};
use echomesh_loadtest::results::*;
use fixture::{empty, full, load, losing, ramp, step};

/// The drawings of a page, and their legends' keys.
fn drawings(page: &str) -> Vec<&str> {
    page.match_indices("<svg").map(|(at, _)| page[at..].split("</svg>").next().unwrap_or_default()).collect()
}

fn assert_drawn(page: &str) {
    for drawing in drawings(page) {
        for bad in ["NaN", "inf", "-0.0"] {
            assert!(!drawing.contains(bad), "{bad} in {drawing}");
        }
    }
    for tag in ["svg", "table", "section", "figure", "g", "ul", "div", "text", "details"] {
        let (opened, closed) = (format!("<{tag}"), format!("</{tag}>"));
        let opens = page.match_indices(&opened).filter(|(at, _)| page[at + opened.len()..].starts_with(['>', ' ']));
        assert_eq!(opens.count(), page.matches(&closed).count(), "{tag} opened and closed");
    }
}

fn with(outcome: Outcome) -> Report {
    let mut report = empty();
    report.outcomes.push(outcome);
    report
}

fn voice_of(measured: Step) -> Report {
    with(Outcome::Voice(VoiceOutcome { name: "w2".to_owned(), shards: 1, load: load(20, 10, 3), measured }))
}

/// Goal: what a reader looks for is on the page, with its unit and conditions.
#[test]
fn the_page_tells_every_figure() {
    let page = html(&full()).replace("&nbsp;", " ");
    assert_drawn(&page);
    for told in [
        "AMD EPYC · 2 cores · server 127.0.0.1:41234",
        "20 rooms of 10, 3 speakers each",
        "27,000",
        "Held with 403 speakers: 181,350 datagrams/s",
        "stopped by loss: with 416 speaking",
        "held: 403",
        "limit of p99: 20 ms",
        "31.4",
        "119,790",
        "41.3 KiB",
        "1,234 socket_full",
        "handshake, resumed",
        "100 rooms of 10",
        "2026-09-21",
    ] {
        assert!(page.contains(told), "{told} is missing");
    }
    assert!(page.contains("Nothing disturbed this run"));
}

/// Goal: the terminal's summary has a line for each result, in aligned columns.
#[test]
fn the_summary_has_every_result() {
    let text = summary(&full());
    for told in
        ["Linux 6.18.44", "w4, 1 shard", "w5, 1 shard", "403", "resume", "closed, room of 100", "10,000 clients"]
    {
        assert!(text.contains(told), "{told} is missing in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 132), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("  w") && !line.contains(':')).collect();
    let ends: Vec<usize> = rows.iter().take(5).map(|row| row.chars().count()).collect();
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
}

/// Goal: texts of a hostile server or machine are shown as text, on the page and in the terminal.
#[test]
fn texts_from_outside_are_not_markup() {
    let hostile = "\"><script>alert('1')</script>\u{1b}[31m";
    let mut report = full();
    report.tool = hostile.to_owned();
    report.machine.processor = hostile.to_owned();
    report.machine.kernel = hostile.to_owned();
    report.server.address = hostile.to_owned();
    report.server.arguments = vec![hostile.to_owned()];
    for outcome in &mut report.outcomes {
        match outcome {
            Outcome::Voice(it) => {
                (it.name, it.load.payload, it.load.talk) = (hostile.to_owned(), hostile.to_owned(), hostile.to_owned());
                it.measured.disturbed = true;
                for shard in &mut it.measured.shards {
                    shard.dropped.insert(hostile.to_owned(), 3);
                }
            }
            Outcome::Ramp(it) => {
                (it.name, it.load.payload, it.load.talk) = (hostile.to_owned(), hostile.to_owned(), hostile.to_owned());
            }
            Outcome::Logins(it) => it.name = hostile.to_owned(),
            Outcome::Chat(it) => (it.mode, it.refused) = (hostile.to_owned(), 2),
            Outcome::Idle(_) | Outcome::Churn(_) => {}
        }
    }
    let page = html(&report);
    assert_drawn(&page);
    assert!(!page.contains("<script") && !page.contains("alert('") && !page.contains('\u{1b}'));
    assert!(!summary(&report).contains('\u{1b}'));
}

/// Goal: no outcome, one step and zero counts give a page without NaN, which says that there is nothing.
#[test]
fn little_data_is_told_without_nan() {
    let page = html(&empty());
    assert_drawn(&page);
    assert!(page.contains("Nothing was measured") && summary(&empty()).contains("Nothing was measured"));

    let mut nothing = step(0, 9, 0.0, 0.0);
    nothing.loss = f64::NAN;
    nothing.forwarded_per_s = f64::NAN;
    nothing.latency_us = Percentiles::default();
    nothing.server = None;
    let page = html(&voice_of(nothing.clone()));
    assert_drawn(&page);
    assert!(!page.contains("NaN") && page.contains("nothing measured"));
    for steps in [vec![], vec![nothing], vec![step(110, 9, 1.5, 0.3)]] {
        let best = steps.iter().position(|step| step.seconds > 0.0);
        let outcome = RampOutcome { steps, best, first_failed: None, ..ramp("w5", 1, 412, load(100, 10, 1)) };
        let report = with(Outcome::Ramp(outcome));
        let page = html(&report);
        assert_drawn(&page);
        assert!(!page.contains("NaN"), "{page}");
        assert!(!summary(&report).contains("NaN"));
    }
}

/// Goal: a figure that is not to be believed is never shown without its reason.
#[test]
fn what_is_wrong_is_said_plainly() {
    let good = step(60, 9, 5.0, 0.15);
    let wrong = |change: fn(&mut Step)| {
        let mut step = good.clone();
        change(&mut step);
        voice_of(step)
    };
    let cases = [
        (wrong(|it| it.disturbed = true), "w2, 1 shard: other work was on the same cores"),
        (wrong(|it| it.generator_limited = true), "w2, 1 shard: the generator was at its own limit"),
        (wrong(|it| it.open_failed = 7), "7 received packets failed authentication"),
        (wrong(|it| it.duplicates = 3), "3 datagrams arrived twice"),
        (wrong(|it| it.server = None), "CPU and memory are not known"),
        (wrong(|it| it.received -= 5), "5 of 135,000 datagrams did not arrive"),
        (wrong(|it| it.send_late_us.p99 = 6000.0), "was sent 6.00 ms late"),
        (voice_of(losing(good.clone(), 2.0)), "did not hold: loss 2.00 %"),
        (
            wrong(|it| {
                it.counters = Some(CounterCheck {
                    server_received: 9,
                    tool_sent: 10,
                    server_forwarded: 81,
                    tool_received: 90,
                    agrees: false,
                });
            }),
            "counters and the tool's differ: 9 received for 10 sent",
        ),
    ];
    for (report, told) in cases {
        let page = html(&report).replace("&nbsp;", " ").replace("&#39;", "'");
        assert!(page.contains(told), "{told} is not on the page");
        assert!(summary(&report).contains(told), "{told} is not in the summary:\n{}", summary(&report));
    }
}

/// Goal: a headline that is quoted alone still carries its doubt; unknown shards are not told as none.
#[test]
fn doubt_is_on_the_headline_too() {
    let mut report = voice_of(step(60, 9, 5.0, 0.15));
    if let Outcome::Voice(voice) = &mut report.outcomes[0] {
        voice.measured.disturbed = true;
        voice.shards = 0;
    }
    let page = html(&report);
    assert!(page.contains("<p class=\"under\">disturbed by other work;"));
    assert!(!page.contains("0 shards"));
}

/// Goal: a ramp that its generator ended claims nothing about the server.
#[test]
fn a_limited_generator_makes_no_claim() {
    let report =
        with(Outcome::Ramp(RampOutcome { stopped_by: Stop::Generator, ..ramp("w5", 1, 412, load(100, 10, 1)) }));
    let page = html(&report);
    assert!(page.contains("≥ 181,350/s") && page.contains("nothing is claimed"));
    assert!(summary(&report).contains("nothing is claimed"));
    assert!(!page.contains("Nothing disturbed this run"));
    let ramp = RampOutcome { stopped_by: Stop::Time, first_failed: None, ..ramp("w5", 1, 412, load(100, 10, 1)) };
    assert!(html(&with(Outcome::Ramp(ramp))).contains("≥ 181,350/s"), "time ended it before any step failed");
}
