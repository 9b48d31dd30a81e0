//! Finds out what this machine is: who we are, its cgroups, its capabilities, whether a Docker daemon answers.
//! Changes nothing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::Run;

/// CAP_SYS_RESOURCE's bit.
const SYS_RESOURCE: u32 = 24;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Whether we are root.
    pub root: bool,
    /// Whether cgroups are of version 2.
    pub cgroup_v2: bool,
    /// Whether CAP_SYS_RESOURCE is ours to give to containers.
    pub sys_resource: bool,
    /// Whether the kernel speaks IPv6.
    pub ipv6: bool,
    /// The version of the Docker daemon that answers, if one does.
    pub docker: Option<String>,
}

impl Host {
    /// Looks.
    pub fn detect() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            root: is_root(),
            cgroup_v2: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            sys_resource: has_capability(&status, SYS_RESOURCE),
            ipv6: Path::new("/proc/net/if_inet6").exists(),
            docker: docker_version(),
        }
    }
}

/// Whether we are root.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "Uid:").and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

/// A program's place in PATH (and in the system folders that a user's PATH may lack).
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn docker_version() -> Option<String> {
    program("docker")?;
    let ask = Run::new("docker").args(["version", "--format", "{{.Server.Version}}"]);
    let answer = ask.limit(Duration::from_secs(10)).output().ok()?;
    Some(answer.trim().to_owned()).filter(|v| !v.is_empty())
}

fn has_capability(status: &str, bit: u32) -> bool {
    let effective = field(status, "CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    effective.is_some_and(|set| set & (1 << bit) != 0)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_is_one_bit() {
        assert!(has_capability(
            "Name:\tx\nCapEff:\t000001ffffffffff\n",
            SYS_RESOURCE
        ));
        assert!(!has_capability("CapEff:\t000001fffeffffff\n", SYS_RESOURCE));
        assert!(!has_capability("", SYS_RESOURCE));
    }
}
