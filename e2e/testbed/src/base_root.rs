//! The Debian root file system of a node image, made with debootstrap from the mirror that this machine itself uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{Cache, Key};
use crate::command::Run;
use crate::error::Result;
use crate::packages;
use crate::progress::Progress;
use crate::versions;

/// debootstrap's own default.
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
/// What a kind node needs from Debian: as in kind's own base image, and the CNI plugins.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,containernetworking-plugins,iptables,nftables,conntrack,iproute2,\
ebtables,ethtool,socat,kmod,procps,util-linux,mount,jq,hostname,ca-certificates,pigz,curl";

/// A made root.
#[derive(Clone, Debug)]
pub struct BaseRoot {
    dir: PathBuf,
}

impl BaseRoot {
    /// The folder that is the root.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// What identifies its content.
    pub fn identity(&self) -> String {
        self.dir
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// Makes or finds the root.
pub fn ensure(cache: &Cache, progress: &Progress) -> Result<BaseRoot> {
    let key = Key::of([
        ("packages", PACKAGES),
        ("suite", versions::DEBIAN),
        ("machine", std::env::consts::ARCH),
    ]);
    let dir = cache.artefact(progress, "debian-root", &key, |out| make(progress, out))?;
    Ok(BaseRoot {
        dir: dir.join("root"),
    })
}

fn make(progress: &Progress, out: &Path) -> Result<()> {
    packages::ensure_for_node_image(progress)?;
    let root = out.join("root");
    let mirror = mirror_of_this_machine();
    let log = out.join("debootstrap.log");
    Run::new("debootstrap")
        .args([
            "--variant=minbase",
            &format!("--include={PACKAGES}"),
            versions::DEBIAN,
        ])
        .arg(&root)
        .arg(mirror)
        .log(log)
        .limit(Duration::from_secs(1800))
        .run()?;
    for rubbish in [
        "var/cache/apt/archives",
        "var/lib/apt/lists",
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
    ] {
        Run::new("find")
            .arg(root.join(rubbish))
            .args(["-mindepth", "1", "-delete"])
            .run()?;
    }
    Ok(())
}

fn mirror_of_this_machine() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(
        fs::read_dir("/etc/apt/sources.list.d")
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path()),
    );
    files.sort();
    files
        .iter()
        .filter_map(|f| fs::read_to_string(f).ok())
        .find_map(|text| mirror_in(&text))
        .unwrap_or_else(|| DEFAULT_MIRROR.to_owned())
}

/// The first mirror of the distribution itself (not of a vendor, not of security updates) in an apt source file.
fn mirror_in(text: &str) -> Option<String> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(words)
        .find(|word| is_archive(word))
        .map(|word| word.trim_end_matches('/').to_owned())
}

fn is_archive(word: &str) -> bool {
    let scheme = ["http://", "https://", "file:"]
        .iter()
        .any(|s| word.starts_with(s));
    scheme && word.trim_end_matches('/').ends_with("/debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_source_formats_are_read() {
        let old = "deb https://vendor.example/apt x main\ndeb [signed-by=/k] http://mirror.example/debian/ bookworm main\n";
        assert_eq!(mirror_in(old).as_deref(), Some("http://mirror.example/debian"));
        let new = "Types: deb\nURIs: http://mirror.example/debian-security\n\nTypes: deb\nURIs: http://mirror.example/debian\n";
        assert_eq!(mirror_in(new).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(mirror_in("# nothing\n"), None);
    }
}
