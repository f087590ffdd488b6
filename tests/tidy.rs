//! House rules as a test: they fail fast and say why.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

/// Longest source file, lines.
const LINES_MAX: usize = 600;

/// Where `unsafe` may be; everything else forbids it.
const UNSAFE: [&str; 2] = ["server/src/uring/", "server/src/sockets.rs"];

/// Kernels do no I/O, and read no clock.
const KERNELS: [&str; 3] = ["server/shard/src/", "audio/playout/src/", "client/src/session/"];

/// What a kernel may not depend on: I/O, runtimes, loggers, clocks, devices.
const NOT_IN_KERNELS: [&str; 10] =
    ["alsa", "core_affinity", "getrandom", "io-uring", "libc", "opus", "socket2", "tokio", "tokio-uring", "tracing"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust source of the repository, relative, with its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let relative = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((relative, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 20, "the sources are found");
    found
}

fn is_test(path: &str) -> bool {
    path.contains("tests/") || path.ends_with("tests.rs")
}

/// Goal: a stranger finds what a file is at its head, and can read it whole.
#[test]
fn files_are_short_and_have_a_head() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{path}: begin with a module header (what it is, what it is not, bounds)");
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{path} has {lines} lines: at most {LINES_MAX}, so give a part a file of its own");
    }
}

/// Goal: `unsafe` stays where docs/ARCHITECTURE.md lists it.
#[test]
fn unsafe_is_only_where_it_is_listed() {
    for (path, text) in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let word = ["unsafe", " "].concat();
        let found = code.filter(|line| line.contains(&word) && !line.contains("reason =")).count();
        let listed = UNSAFE.iter().any(|place| path.starts_with(place));
        assert!(found == 0 || listed || path == "tests/tidy.rs", "{path} has unsafe code: only {UNSAFE:?} may");
        let is_library = path.ends_with("/lib.rs") && !listed;
        assert!(!is_library || text.contains("#![forbid(unsafe_code)]"), "{path}: forbid unsafe code");
    }
}

/// Goal: kernels are deterministic: no clock, socket, thread or sleep in them.
#[test]
fn kernels_touch_nothing_outside() {
    let banned = ["Instant::now", "SystemTime", "std::thread", "TcpStream", "UdpSocket", "println!", "HashMap<"];
    for (path, text) in sources() {
        if KERNELS.iter().any(|kernel| path.starts_with(kernel)) && !is_test(&path) {
            for word in banned {
                assert!(!text.contains(word), "{path}: a kernel may not use {word}: make it an input");
            }
        }
    }
}

/// Goal: tests do not sleep: what waits for time belongs into a kernel.
#[test]
fn tests_wait_for_no_clock() {
    for (path, text) in sources() {
        let call = ["sleep", "("].concat();
        assert!(!is_test(&path) || !text.contains(&call), "{path}: tests do not sleep");
    }
}

/// Goal: dependencies point one way (docs/ARCHITECTURE.md).
#[test]
fn dependencies_point_one_way() {
    let table =
        |manifest: &str| -> toml::Table { std::fs::read_to_string(root().join(manifest)).unwrap().parse().unwrap() };
    let names = |manifest: &str| -> Vec<String> {
        let table = table(manifest);
        let dependencies = table.get("dependencies").and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let always = |value: &toml::Value| value.get("optional").and_then(toml::Value::as_bool) != Some(true);
        dependencies.iter().filter(|(_, value)| always(value)).map(|(name, _)| name.clone()).collect()
    };
    let root_members = table("Cargo.toml");
    let members = root_members["workspace"]["members"].as_array().unwrap();
    let has = |name: &str| members.iter().any(|member| member.as_str() == Some(name));
    let mut kernels = vec!["Cargo.toml", "server/shard/Cargo.toml"];
    if has("audio/playout") {
        kernels.push("audio/playout/Cargo.toml");
        assert!(!names("audio/playout/Cargo.toml").iter().any(|name| name == "prost" || name == "ring"));
    }
    if has("client") {
        kernels.push("client/Cargo.toml");
    }
    for manifest in kernels {
        for name in names(manifest) {
            assert!(!NOT_IN_KERNELS.contains(&name.as_str()), "{manifest}: a kernel may not depend on {name}");
        }
    }
    for name in names("server/Cargo.toml") {
        assert!(
            !["echomesh-audio", "echomesh-client", "echomesh-playout"].contains(&name.as_str()),
            "the server needs no {name}"
        );
    }
}

/// Goal: every numbered rule of the protocol has a test that cites it.
#[test]
fn every_must_has_a_test() {
    let protocol = std::fs::read_to_string(root().join("docs/PROTOCOL.md")).unwrap();
    let mut cited = String::new();
    for (path, text) in sources() {
        if is_test(&path) || text.contains("#[cfg(test)]") {
            cited.push_str(&text);
        }
    }
    let rules: Vec<&str> = protocol
        .lines()
        .filter_map(|line| line.strip_prefix("- **M")?.split_once("**"))
        .map(|(number, _)| number)
        .collect();
    assert!(rules.len() > 10, "docs/PROTOCOL.md numbers its rules as `- **M01**`");
    for rule in rules {
        let word = format!("M{rule}");
        assert!(cited.contains(&word), "no test cites PROTOCOL {word}");
    }
}
