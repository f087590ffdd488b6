//! A server's log, read as it comes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStderr, Stdio};

use super::{Server, command};

/// Standard error of a server.
pub struct Log(BufReader<ChildStderr>);

/// A server on a free port with one shard, and its log.
pub fn start(data_dir: &Path, arguments: &[&str]) -> (Server, Log) {
    let mut command = command(data_dir, &[&["--port", "0", "--shards", "1"], arguments].concat());
    let mut server = Server::start_with(command.stderr(Stdio::piped()));
    let log = Log(BufReader::new(server.child.stderr.take().unwrap()));
    (server, log)
}

impl Log {
    /// The next line that holds one of these; those before it are read away.
    pub fn until(&mut self, signs: &[&str]) -> String {
        let mut read = String::new();
        loop {
            let start = read.len();
            assert!(self.0.read_line(&mut read).unwrap() > 0, "the log ended without {signs:?}: {read}");
            if signs.iter().any(|sign| read[start..].contains(sign)) {
                return read[start..].to_owned();
            }
        }
    }
}

impl Server {
    /// SIGHUP; gives the line of the log that tells what came of it.
    pub fn reload(&self, log: &mut Log) -> String {
        self.signal("-HUP");
        log.until(&["the settings were read again", "nothing was reloaded"])
    }
}
