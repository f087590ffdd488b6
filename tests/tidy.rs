//! House rules as a test: what the tree promises about itself, checked before anything slow runs.
//!
//! Not a lint of style (rustfmt and clippy do that) and not a parser of Rust: sources are read line by
//! line, with comments and strings taken out where a rule is about code.
//! In: every `.rs` file and `Cargo.toml` of the repository, the READMEs and the documents. Out: failures
//! that say which file, which rule, and what to do. Cost: under a second.
//! The rules are those of docs/ARCHITECTURE.md; to change one, change it there too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/sources.rs"]
mod sources;

use manifests::Workspace;
use sources::{Source, code_of, has_word, sources};

/// Longest source file, lines: more than that is two files.
const LINES_MAX: usize = 600;

/// The keyword, split so that this file does not itself hold it.
const UNSAFE: &str = concat!("un", "safe");

/// Where code may use the keyword: io_uring and the system calls beside it (the reuseport filter too), real-time threads.
const UNSAFE_PLACES: [&str; 2] = ["server/src/uring/", "audio/src/thread.rs"];

/// Lines above a use of the keyword in which its `// SAFETY:` must be.
const SAFETY_LINES_MAX: usize = 8;

/// Sources of what does no I/O and reads no clock.
const KERNELS: [&str; 4] = ["proto/", "server/shard/src/", "audio/playout/src/", "client/src/session"];

/// Not in a kernel's code: clocks, threads, sockets, files and standard output are inputs and effects,
/// and a `HashMap` iterates in another order in every run, which no seed can replay.
const NOT_IN_KERNEL_CODE: [&str; 9] =
    ["Instant::now", "SystemTime", "thread::", "TcpStream", "UdpSocket", "std::fs", "std::env", "println!", "HashMap"];

/// Crates that do I/O, read clocks, draw randomness, start threads or log.
const OUTSIDE: &[&str] = &[
    "alsa",
    "chrono",
    "core_affinity",
    "getrandom",
    "hyper",
    "io-uring",
    "libc",
    "log",
    "mio",
    "opus",
    "rand",
    "rustix",
    "rustls",
    "socket2",
    "sqlx",
    "tempfile",
    "time",
    "tokio",
    "tokio-uring",
    "tracing",
    "tracing-subscriber",
];

/// Which way dependencies point: a package, built with its default features or without, and what it
/// may never reach, through the repository's other packages included. Every package has a row.
const DIRECTIONS: &[(&str, bool, &[&[&str]])] = &[
    ("echomesh-proto", true, &[OUTSIDE, &["echomesh-shard", "echomesh-playout", "echomesh-client"]]),
    ("echomesh-shard", true, &[OUTSIDE, &["echomesh-playout", "echomesh-client", "echomesh-audio"]]),
    ("echomesh-parking", true, &[OUTSIDE, &["echomesh-proto", "loom"]]),
    ("echomesh-playout", true, &[OUTSIDE, &["prost", "ring", "echomesh-shard", "echomesh-client"]]),
    ("echomesh-client", false, &[OUTSIDE, &["echomesh-shard", "echomesh-audio", "echomesh-playout"]]),
    ("echomesh-client", true, &[&["echomesh-shard", "echomesh-server", "io-uring", "tokio-uring"]]),
    ("echomesh-audio", true, &[&["echomesh-shard", "echomesh-server", "echomesh-client", "prost", "tokio"]]),
    ("echomesh-loadtest", true, &[&["echomesh-audio", "echomesh-playout", "echomesh-server", "alsa", "opus", "tokio"]]),
    ("echomesh-server", true, &[&["echomesh-audio", "echomesh-playout", "echomesh-client", "alsa", "opus"]]),
    // What replays kept inputs on the stable compiler needs no libfuzzer, which wants another one.
    ("echomesh-fuzz", true, &[&["libfuzzer-sys", "echomesh-loadtest", "echomesh-sim"]]),
    ("echomesh-tls", true, &[&["echomesh-proto", "echomesh-shard", "echomesh-client", "echomesh-server", "tokio"]]),
    ("echomesh-sim", true, &[&["echomesh-audio", "echomesh-server", "alsa", "opus", "tokio", "getrandom", "rand"]]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails with every complaint at once, so that one run shows all there is to do.
fn no_complaints(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} to put right:\n  {}", complaints.len(), complaints.join("\n  "));
}

/// Goal: a stranger finds at its head what a file is, and can read it whole.
#[test]
fn files_have_a_head_and_are_short() {
    let mut complaints = Vec::new();
    for Source { path, text } in sources(root()) {
        if !text.starts_with("//!") {
            complaints.push(format!("{path}: begin with a `//!` header: what it is, what it is not, in, out, bounds"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            complaints.push(format!("{path} has {lines} lines, over {LINES_MAX}: give a part of it a file of its own"));
        }
    }
    no_complaints(&complaints);
}

/// Goal: who audits memory safety has a short list of files to read, and each use there is argued.
#[test]
fn unsafe_code_is_only_where_listed_and_argued() {
    let mut complaints = Vec::new();
    for source in sources(root()) {
        let path = &source.path;
        let allocator = source.is_test() && path.contains("alloc");
        let listed = allocator || UNSAFE_PLACES.iter().any(|place| path.starts_with(place));
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| has_word(&code_of(line), UNSAFE)) {
            let number = at + 1;
            if !listed {
                complaints.push(format!("{path}:{number}: {UNSAFE} code belongs in one of {UNSAFE_PLACES:?}"));
            }
            let above = &lines[at.saturating_sub(SAFETY_LINES_MAX)..=at];
            if !above.iter().any(|line| line.contains("// SAFETY:") || line.contains("/// # Safety")) {
                complaints.push(format!("{path}:{number}: say above it, in `// SAFETY:`, what holds and who keeps it"));
            }
        }
    }
    no_complaints(&complaints);
}

/// Goal: the compiler keeps the list above too. Method: each library and program forbids the keyword,
/// or denies it where a listed file is its own and lifts the ban.
#[test]
fn crate_roots_forbid_unsafe_code() {
    let mut complaints = Vec::new();
    for (package, roots) in Workspace::read(root()).crate_roots() {
        for path in roots {
            let text = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let exempt = UNSAFE_PLACES
                .iter()
                .any(|place| place.starts_with(&format!("{folder}/")) && root().join(place).exists());
            let wanted = if exempt { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
            if !text.lines().any(|line| line == wanted) {
                complaints.push(format!("{path} of {package}: add {wanted} under its header"));
            }
        }
    }
    no_complaints(&complaints);
}

/// Goal: kernels replay exactly from their inputs.
#[test]
fn kernels_touch_nothing_outside() {
    let mut complaints = Vec::new();
    for Source { path, text } in sources(root()) {
        if !KERNELS.iter().any(|kernel| path.starts_with(kernel)) {
            continue;
        }
        for (at, line) in text.lines().enumerate() {
            for word in NOT_IN_KERNEL_CODE.iter().filter(|word| code_of(line).contains(**word)) {
                complaints.push(format!("{path}:{}: a kernel has no {word}: make it an input or an effect", at + 1));
            }
        }
    }
    no_complaints(&complaints);
}

/// Whether the code calls a function named sleep, which waits for the clock. A method of that name
/// waits for something, as the shards' sleepers do.
fn sleeps(code: &str) -> bool {
    code.match_indices("sleep(").any(|(at, _)| {
        let before = &code[..at];
        !before.ends_with(|it: char| it.is_alphanumeric() || "._".contains(it)) && !before.ends_with("fn ")
    })
}

/// Goal: tests are fast and never flaky: they wait for events, or run in virtual time.
#[test]
fn tests_do_not_sleep() {
    let mut complaints = Vec::new();
    for source in sources(root()) {
        for line in source.test_part().lines().filter(|line| sleeps(&code_of(line))) {
            complaints.push(format!("{}: `{}`: wait for the event, not for time", source.path, line.trim()));
        }
    }
    no_complaints(&complaints);
}

/// Goal: dependencies point one way, so that kernels stay testable without the world and the server
/// builds without sound.
#[test]
fn dependencies_point_one_way() {
    let workspace = Workspace::read(root());
    let mut complaints = Vec::new();
    for package in workspace.packages() {
        if !DIRECTIONS.iter().any(|(name, ..)| *name == package) {
            complaints.push(format!("{package}: say in DIRECTIONS of tests/tidy.rs what it may never depend on"));
        }
    }
    for (package, default_features, forbidden) in DIRECTIONS {
        let reached = workspace.reached(package, *default_features);
        for name in forbidden.concat() {
            if let Some(route) = reached.get(name) {
                let features = if *default_features { "" } else { " (without default features)" };
                complaints.push(format!("{package}{features} may not depend on {name}, but does: {route}"));
            }
        }
    }
    no_complaints(&complaints);
}

/// Numbers of the rules in the text: `M` and two digits.
fn rule_numbers(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('M').filter_map(|(at, _)| {
        let rule = text.get(at..at + 3)?;
        rule[1..].bytes().all(|byte| byte.is_ascii_digit()).then_some(rule)
    })
}

/// Goal: each rule of the protocol has a test that a client's author can read, and no test cites a rule
/// that is gone. Method: rules are `**M12**` in docs/PROTOCOL.md; tests say `PROTOCOL M12, M13`.
#[test]
fn every_rule_of_the_protocol_is_cited_by_a_test() {
    let Ok(protocol) = std::fs::read_to_string(root().join("docs/PROTOCOL.md")) else {
        eprintln!("SKIPPED: docs/PROTOCOL.md is missing, so no rule of the protocol was checked");
        return;
    };
    let mut complaints = Vec::new();
    let mut rules = BTreeSet::new();
    for rule in protocol.split("**").skip(1).step_by(2).filter(|bold| rule_numbers(bold).next() == Some(bold)) {
        if !rules.insert(rule) {
            complaints.push(format!("docs/PROTOCOL.md numbers two rules {rule}"));
        }
    }
    let sources = sources(root());
    let mut cited = BTreeMap::new();
    for source in sources.iter().filter(|source| source.path != "tests/tidy.rs") {
        for list in source.test_part().split("PROTOCOL ").skip(1) {
            let list = list.split(|it: char| !(it.is_ascii_alphanumeric() || " ,".contains(it))).next();
            cited.extend(rule_numbers(list.unwrap_or_default()).map(|rule| (rule, &source.path)));
        }
    }
    complaints.extend(
        rules.iter().filter(|rule| !cited.contains_key(*rule)).map(|rule| {
            format!("docs/PROTOCOL.md {rule} has no test: write one whose first line says `PROTOCOL {rule}`")
        }),
    );
    complaints.extend(
        cited
            .iter()
            .filter(|(rule, _)| !rules.contains(*rule))
            .map(|(rule, path)| format!("{path} cites PROTOCOL {rule}, which docs/PROTOCOL.md does not have")),
    );
    no_complaints(&complaints);
}

/// Goal: the rules above see what they should. Method: lines that are, and only look like, violations.
#[test]
fn the_reader_tells_code_from_text() {
    let block = format!("let x = {UNSAFE} {{ y }};");
    assert!(has_word(&code_of(&block), UNSAFE));
    assert!(!has_word(&code_of(&format!("// {block}")), UNSAFE));
    assert!(!has_word(&code_of(&format!("say(\"{block}\");")), UNSAFE));
    assert!(!has_word(&code_of("#![forbid(unsafe_code)]"), UNSAFE));
    assert_eq!(code_of("a(\"x // y\", '\"'); // z"), "a(\"\", ); ");
    assert!(sleeps("std::thread::sleep(pause)") && sleeps("sleep(pause).await"));
    assert!(!sleeps("sleeper.sleep().await") && !sleeps("fn sleep() {") && !sleeps("can_sleep()"));
    assert_eq!(rule_numbers("M10, M11; MT_PING M2 Mé").collect::<Vec<_>>(), ["M10", "M11"]);
}
