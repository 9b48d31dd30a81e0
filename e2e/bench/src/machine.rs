//! What the figures were measured on.

use anyhow::{Context, Result};

use crate::report::Machine;

/// This machine, with the versions of Kubernetes and of the product.
///
/// # Errors
/// When Linux does not tell.
pub fn describe(kubernetes: String, product: String) -> Result<Machine> {
    Ok(Machine {
        processor: processor(&read("/proc/cpuinfo")?),
        cores: std::thread::available_parallelism()?.get(),
        memory_gib: memory_gib(&read("/proc/meminfo")?),
        kubernetes,
        product,
    })
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {path}"))
}

fn processor(cpuinfo: &str) -> String {
    let mut names = cpuinfo
        .lines()
        .filter_map(|line| line.strip_prefix("model name"))
        .filter_map(|rest| rest.split_once(':'));
    let name = names.next().map(|(_, name)| name.trim());
    name.unwrap_or("a processor that does not tell its name")
        .to_owned()
}

/// Rounded up: firmware and kernel keep some of it for themselves.
fn memory_gib(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default().div_ceil(1024 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_described_from_what_linux_says() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Some CPU\n"), "Some CPU");
        assert_eq!(memory_gib("MemTotal:       24689024 kB\nMemFree: 1 kB\n"), 24);
    }
}
