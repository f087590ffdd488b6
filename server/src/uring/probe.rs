//! Whether io_uring can be used here, and if not, what the operator can do about it.

use std::fmt;
use std::fs;
use std::io;

use io_uring::{IoUring, Probe, opcode};

/// What the kernel offers of that which is used, for the summary at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Release of the running kernel, as `uname -r` shows it.
    pub kernel: String,
    /// Operations wait for sockets without a kernel thread each (Linux 5.7).
    pub fast_poll: bool,
    /// Completions are never lost when their queue is full (Linux 5.5).
    pub no_drop: bool,
    /// Rings count against RLIMIT_MEMLOCK. Not to be told from the release: Linux 5.12 ended it, but
    /// 5.10.162 and later have the io_uring of 5.15.
    pub counts_locked_memory: bool,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let features = [
            (self.fast_poll, "fast poll", "a kernel thread for each wait"),
            (self.no_drop, "no drop", "completions may be lost"),
            (!self.counts_locked_memory, "rings outside locked memory", "rings count as locked memory"),
        ];
        let list = |had: bool| {
            let named = features.iter().filter(|(has, ..)| *has == had);
            let names: Vec<_> = named.map(|(_, name, instead)| if had { *name } else { *instead }).collect();
            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
        };
        write!(f, "io_uring on Linux {}; has: {}; falls back: {}", self.kernel, list(true), list(false))
    }
}

/// Why io_uring cannot be used; the text says what to do.
#[derive(Debug)]
pub enum ProbeError {
    /// The kernel has no io_uring, or not what is needed of it.
    OldKernel { kernel: String },
    /// The sysctl `kernel.io_uring_disabled` is not 0.
    DisabledBySysctl { value: String },
    /// A security policy forbids it: mostly a container's seccomp profile.
    Forbidden,
    /// The limit of locked memory is too low.
    LockedMemory,
    /// Anything else.
    Other(io::Error),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::OldKernel { kernel } => write!(
                f,
                "Linux {kernel} does not offer the io_uring operations EchoMesh needs: run Linux 5.10.162 or \
                 later (in a container, that is the host's kernel, and its seccomp profile must allow io_uring)"
            ),
            ProbeError::DisabledBySysctl { value } => write!(
                f,
                "io_uring is switched off on this machine (kernel.io_uring_disabled = {value}): as root, run \
                 `sysctl -w kernel.io_uring_disabled=0`, and put the setting into /etc/sysctl.d to keep it"
            ),
            ProbeError::Forbidden => write!(
                f,
                "io_uring is forbidden here by a security policy. Docker's and Podman's default seccomp profile \
                 does that: start the container with a profile that allows io_uring_setup, io_uring_enter and \
                 io_uring_register (`--security-opt seccomp=FILE`); under systemd, see SystemCallFilter="
            ),
            ProbeError::LockedMemory => write!(
                f,
                "io_uring cannot lock the memory it needs: before Linux 5.12 its queues count against \
                 RLIMIT_MEMLOCK, about 128 KiB a shard. Raise it (`LimitMEMLOCK=16M` in the systemd unit, \
                 `ulimit -l 16384` in a shell, `--ulimit memlock=16777216` for a container), or run fewer shards"
            ),
            ProbeError::Other(error) => write!(f, "io_uring cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for ProbeError {}

/// Sets up a small ring and asks it for the operations EchoMesh uses.
///
/// # Errors
/// [`ProbeError`]: the machine's settings are at fault, and the text says which.
pub fn probe() -> Result<Features, ProbeError> {
    let kernel = read_setting("/proc/sys/kernel/osrelease").unwrap_or_else(|| "of unknown release".to_owned());
    let ring = IoUring::new(8).map_err(|error| explain(error, &kernel))?;
    let mut operations = Probe::new();
    ring.submitter().register_probe(&mut operations).map_err(|error| explain(error, &kernel))?;
    let needed =
        [opcode::RecvMsg::CODE, opcode::Accept::CODE, opcode::Read::CODE, opcode::Write::CODE, opcode::Close::CODE];
    let features = Features {
        fast_poll: ring.params().is_feature_fast_poll(),
        no_drop: ring.params().is_feature_nodrop(),
        // The feature that came in the release that moved rings to the memory cgroup's account.
        counts_locked_memory: !ring.params().is_feature_native_workers(),
        kernel,
    };
    if !features.fast_poll || !needed.iter().all(|operation| operations.is_supported(*operation)) {
        return Err(ProbeError::OldKernel { kernel: features.kernel });
    }
    Ok(features)
}

fn explain(error: io::Error, kernel: &str) -> ProbeError {
    let disabled = read_setting("/proc/sys/kernel/io_uring_disabled").filter(|value| value != "0");
    explain_with(error, kernel, disabled)
}

fn explain_with(error: io::Error, kernel: &str, disabled: Option<String>) -> ProbeError {
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EINVAL) => ProbeError::OldKernel { kernel: kernel.to_owned() },
        Some(libc::EPERM | libc::EACCES) => match disabled {
            Some(value) => ProbeError::DisabledBySysctl { value },
            None => ProbeError::Forbidden,
        },
        Some(libc::ENOMEM) => ProbeError::LockedMemory,
        _ => ProbeError::Other(error),
    }
}

fn read_setting(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each way in which a machine refuses io_uring is told with its own remedy.
    #[test]
    fn refusals_name_their_remedy() {
        let says = |errno, disabled: Option<&str>| {
            let error = io::Error::from_raw_os_error(errno);
            explain_with(error, "5.4.0", disabled.map(str::to_owned)).to_string()
        };
        assert!(says(libc::ENOSYS, None).contains("5.10.162"));
        assert!(says(libc::EPERM, None).contains("seccomp"));
        assert!(says(libc::EPERM, Some("2")).contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(says(libc::ENOMEM, None).contains("LimitMEMLOCK"));
    }

    /// Goal: where tests can run at all, the probe passes and names the kernel.
    #[test]
    fn this_machine_has_it() {
        let features = probe().unwrap();
        assert!(features.to_string().starts_with("io_uring on Linux "));
    }

    /// Goal: an operator sees what a kernel has, and what is done where it has not.
    #[test]
    fn what_falls_back_is_told() {
        let features = |counts| Features {
            kernel: "5.10.0".to_owned(),
            fast_poll: true,
            no_drop: true,
            counts_locked_memory: counts,
        };
        let (newer, older) = (features(false).to_string(), features(true).to_string());
        assert_eq!(
            newer,
            "io_uring on Linux 5.10.0; has: fast poll, no drop, rings outside locked memory; falls back: nothing"
        );
        assert!(older.ends_with("has: fast poll, no drop; falls back: rings count as locked memory"), "{older}");
    }
}
