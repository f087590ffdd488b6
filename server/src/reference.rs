//! docs/CONFIGURATION.md and packaging/server.toml, made of clap's definitions and the table in `keys`.
//!
//! A test: it fails if a file is not what would be made now, and says how to make it.

use std::fmt::Write;
use std::path::Path;

use crate::keys::KEYS;
use crate::settings_file;

/// Set, the files are written.
const WRITE: &str = "ECHOMESH_WRITE_REFERENCE";

const HEAD: &str = "\
# Configuration

Made from the server's own definitions by `ECHOMESH_WRITE_REFERENCE=1 cargo test -p echomesh-server --lib reference`; a
test fails when it is out of date. [`packaging/server.toml`](../packaging/server.toml) is a file to begin with, in which
every key stands as a comment.

Each setting is a line of the configuration file (TOML, no tables), an environment variable, and a flag: `voice-port = 9000`,
`ECHOMESH_VOICE_PORT=9000`, `--voice-port 9000`. A flag wins over
the environment, that over the file, and that over the default. The file is `server.toml` in the data directory, else
`/etc/echomesh/server.toml`, or the one that `--config` or `ECHOMESH_CONFIG` names. Unknown keys and wrong values are
refused, with their line.

`echomesh-server check-config` tells what holds and where each value is from, and looks at certificate, data directory
and address without starting. After SIGHUP (`systemctl reload echomesh-server`) the server reads the file again: what has
**yes** under *reload* holds at once, for who is there and who comes; the rest waits for a restart, and the log tells
which. The certificate's files are read again, too. A file that is wrong changes nothing.
";

fn reference() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n| key | default | values | reload | meaning |\n|---|---|---|---|---|\n");
    for key in KEYS {
        let (meaning, default) = key.told();
        let reload = if key.reload { "yes" } else { "–" };
        let cell = |text: &str| text.replace('|', "\\|");
        let default = if key.default().is_some() { format!("`{}`", key.example) } else { cell(&default) };
        writeln!(text, "| `{}` | {default} | {} | {reload} | {} |", key.name, cell(&key.values()), cell(&meaning))
            .unwrap();
    }
    text
}

fn example() -> String {
    let mut text = "\
# Settings of echomesh-server. Every key stands here as a comment, with its default, or with an example where the default
# is not a value. Flags and environment variables win over this file. docs/CONFIGURATION.md tells more.
# `echomesh-server check-config` looks at it; `systemctl reload echomesh-server` has it read again.
"
    .to_owned();
    for key in KEYS {
        let (meaning, default) = key.told();
        text.push('\n');
        for line in folded(&format!("{meaning}.")) {
            writeln!(text, "# {line}").unwrap();
        }
        let default = if key.default().is_some() { String::new() } else { format!(" Default: {default}.") };
        let reload = if key.reload { "A reload takes it." } else { "It waits for a restart." };
        for line in folded(&format!("Takes {}.{default} {reload}", key.values())) {
            writeln!(text, "# {line}").unwrap();
        }
        writeln!(text, "#{} = {}", key.name, key.example).unwrap();
    }
    text
}

/// Lines of at most 116 letters.
fn folded(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("one at least");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > 116 {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// Goal: what people read about settings is what the server does.
#[test]
fn files_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (path, made) in [("docs/CONFIGURATION.md", reference()), ("packaging/server.toml", example())] {
        let path = root.join(path);
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == made,
            "{} is out of date: {WRITE}=1 cargo test -p echomesh-server --lib reference writes it anew",
            path.display()
        );
    }
}

/// Goal: the example is right as it is, and so is each of its lines when it is no comment.
#[test]
fn the_example_is_valid() {
    let text = example();
    assert!(settings_file::parse(&text).unwrap().lines.is_empty());
    let set = text.lines().map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line));
    let written = settings_file::parse(&set.collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(written.lines.len(), KEYS.len());
}
