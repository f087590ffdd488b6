//! How the tool itself runs: threads, cores, limits of the system.
//!
//! In: the user's wishes. Out: a `Bench`, the same for all workloads of a run.

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::failure::{Failure, Outcome};
use crate::progress::Progress;
use crate::server::Server;

/// Descriptors beside those of clients: listeners, files, epoll.
const SPARE_FILES: u64 = 64;

/// A sleep ends at most so late, nanoseconds: the kernel's default of 50 µs would show in send times.
const TIMER_SLACK: u64 = 1_000;

/// How the tool runs.
#[derive(Debug)]
pub struct Bench {
    /// Threads with clients.
    pub threads: usize,
    /// The core of each; empty: any.
    pub cores: Vec<u32>,
    /// Clients on their way at a time.
    pub connections: usize,
    /// Logins at a time.
    pub logins: usize,
    /// Tells the user.
    pub progress: Progress,
}

/// Cores of server and generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Of the server; empty: any.
    pub server: Vec<u32>,
    /// Of the generator's threads; empty: any.
    pub generator: Vec<u32>,
}

/// Server first, generator behind it, each on cores of its own; where there are too few, the server's shards take what
/// they like and the generator runs anywhere. The user's wishes go first.
#[must_use]
pub fn place(cores: u32, shards: u32, threads: u32, server: Option<&[u32]>, generator: Option<&[u32]>) -> Placement {
    let fits = shards + threads <= cores;
    let or = |wish: Option<&[u32]>, range: std::ops::Range<u32>| match wish {
        Some(wish) => wish.to_vec(),
        None if fits => range.collect(),
        None => Vec::new(),
    };
    Placement { server: or(server, 0..shards), generator: or(generator, shards..shards + threads) }
}

impl Bench {
    /// The server's cores, if nobody else's: neither shared with the generator nor unknown.
    #[must_use]
    pub fn server_cores_alone(&self, server: &Server) -> Vec<u32> {
        let shared = self.cores.is_empty() || server.cores.iter().any(|core| self.cores.contains(core));
        if shared { Vec::new() } else { server.cores.clone() }
    }
}

/// Lets this process have as many sockets as the system allows, and says if that is too few.
///
/// # Errors
/// It is too few for so many.
pub fn allow_sockets(sockets: u64) -> Outcome<()> {
    let unknown = |error| Failure::because("the limit of open files is not known; check `ulimit -n`", error);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(unknown)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(unknown)?;
    let needed = sockets + SPARE_FILES;
    // Only root may pass the limit; the server that this tool starts then may, too.
    if hard < needed && setrlimit(Resource::RLIMIT_NOFILE, needed, needed).is_err() {
        return Err(Failure(format!(
            "the clients need {needed} open files and the limit is {hard}: raise it with `ulimit -Hn {needed}` \
             as root, or ask for fewer clients"
        )));
    }
    Ok(())
}

/// Lets this thread's sleeps end on time.
pub fn exact_sleep() {
    // Refused nowhere; where it is, packets leave up to 50 µs later, which is measured.
    let _ = prctl::set_timerslack(TIMER_SLACK);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: server and generator get cores of their own where there are enough, and none are promised where not.
    #[test]
    fn cores_are_shared_out() {
        let placed = |cores, shards, threads| {
            let Placement { server, generator } = place(cores, shards, threads, None, None);
            (server, generator)
        };
        assert_eq!(placed(2, 1, 1), (vec![0], vec![1]));
        assert_eq!(placed(8, 4, 2), (vec![0, 1, 2, 3], vec![4, 5]));
        assert_eq!(placed(2, 2, 1), (vec![], vec![]));
        assert_eq!(place(2, 2, 1, None, Some(&[1])).generator, [1]);
    }
}
