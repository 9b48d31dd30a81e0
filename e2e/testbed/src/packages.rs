//! Installs the Debian packages that are missing, as root on Debian; elsewhere it says which program is missing.
//! Installs nothing that is there already.

use std::path::Path;
use std::sync::Mutex;

use crate::command::Run;
use crate::error::{Error, Result};
use crate::host;
use crate::progress::Progress;

/// A program or file, and the package that brings it.
type Need = (&'static str, &'static str);

const GO: &[Need] = &[("go", "golang-go")];
const CGO: &[Need] = &[
    ("gcc", "gcc"),
    ("pkg-config", "pkg-config"),
    ("/usr/include/seccomp.h", "libseccomp-dev"),
    ("/usr/include/stdlib.h", "libc6-dev"),
];
const WHEELS: &[Need] = &[("python3", "python3"), ("pip3", "python3-pip")];
const NODE_IMAGE: &[Need] = &[
    ("debootstrap", "debootstrap"),
    ("gcc", "gcc"),
    ("/usr/include/stdlib.h", "libc6-dev"),
];
const DAEMON: &[Need] = &[
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("jq", "jq"),
    ("sysctl", "procps"),
];

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What building Go programs needs.
pub fn ensure_for_go(progress: &Progress, cgo: bool) -> Result<()> {
    ensure(progress, GO)?;
    if cgo { ensure(progress, CGO) } else { Ok(()) }
}

/// What fetching a wheel needs.
pub fn ensure_for_wheels(progress: &Progress) -> Result<()> {
    if Run::new("python3").args(["-m", "pip", "--version"]).succeeds() {
        return Ok(());
    }
    ensure(progress, WHEELS)
}

/// What making a node image needs.
pub fn ensure_for_node_image(progress: &Progress) -> Result<()> {
    ensure(progress, NODE_IMAGE)
}

/// What a Docker daemon of our own needs.
pub fn ensure_for_daemon(progress: &Progress) -> Result<()> {
    ensure(progress, DAEMON)
}

fn ensure(progress: &Progress, needs: &[Need]) -> Result<()> {
    let _one = ONE_AT_A_TIME.lock();
    let missing: Vec<_> = needs.iter().filter(|(what, _)| !present(what)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    if !host::is_root() || host::program("apt-get").is_none() {
        return Err(Error::Unsupported(format!(
            "these Debian packages (or what they hold) are missing: {}",
            packages.join(" ")
        )));
    }
    progress.stage(&format!("installing {}", packages.join(" ")), || {
        install(&packages)
    })
}

fn present(what: &str) -> bool {
    if what.starts_with('/') {
        Path::new(what).exists()
    } else {
        host::program(what).is_some()
    }
}

fn install(packages: &[&str]) -> Result<()> {
    let apt = || Run::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
    apt().args(["update", "-qq"]).run()?;
    // A daemon that a package brings must not start by itself: the lab starts its own.
    let policy = NoServices::set();
    let done = apt()
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages)
        .run();
    drop(policy);
    done
}

/// While it lives, package scripts start no services (Debian's `policy-rc.d`).
struct NoServices(Option<&'static Path>);

impl NoServices {
    fn set() -> Self {
        let path = Path::new("/usr/sbin/policy-rc.d");
        if path.exists() || std::fs::write(path, "#!/bin/sh\nexit 101\n").is_err() {
            return Self(None);
        }
        let _ = Run::new("chmod").arg("755").arg(path).run();
        Self(Some(path))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
