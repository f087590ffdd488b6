//! The machine, for the report: figures of different machines do not compare.

use std::fs;

use crate::results::Machine;

/// What the kernel says of it; what it does not say is empty or 0.
#[must_use]
pub fn read() -> Machine {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = format!("{} {}", text("/proc/sys/kernel/ostype").trim(), text("/proc/sys/kernel/osrelease").trim());
    let memory_kib: u64 = value(&text("/proc/meminfo"), "MemTotal").and_then(|kib| kib.parse().ok()).unwrap_or(0);
    Machine { kernel, processor: processor(&text("/proc/cpuinfo")), cores: cores(), memory_mib: memory_kib / 1024 }
}

/// Cores this process may use.
#[must_use]
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':')?.1.split_whitespace().next()
}

fn processor(cpuinfo: &str) -> String {
    // x86 has a model name; others name the board or the part.
    let line = |name: &str| {
        let found = cpuinfo.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        found.map(|(_, value)| value.trim().to_owned())
    };
    line("model name").or_else(|| line("Model")).or_else(|| line("CPU part")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the processor is named as the kernel names it, on either architecture.
    #[test]
    fn processors_are_named() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: AMD EPYC\n"), "AMD EPYC");
        assert_eq!(processor("CPU part\t: 0xd08\n\nModel\t\t: Raspberry Pi 4\n"), "Raspberry Pi 4");
        assert!(read().cores > 0 && read().memory_mib > 0);
    }
}
