//! A kind node image from ordinary packages: Debian's root, the files that kind's own module ships for its base image,
//! the built programs, and every container image already in containerd's store, so that a cluster starts in seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base_root::BaseRoot;
use crate::cache::{Cache, Key};
use crate::command::Run;
use crate::error::{Doing, Result};
use crate::host::Host;
use crate::progress::Progress;
use crate::site::Site;
use crate::tools::{CommonTools, NodeTools};
use crate::{runc_wrapper, versions};

const SETUP: &str = include_str!("../assets/node-setup.sh");
const ENTRYPOINT: &str = r#"ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]"#;

/// Where the wrapper, where it is needed, finds the real runc.
const REAL_RUNC: &str = "/usr/local/sbin/runc.real";

/// What goes into the image.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The machine, for its peculiarities.
    pub host: &'a Host,
    /// The Debian root.
    pub root: &'a BaseRoot,
    /// kind's files and the clients.
    pub common: &'a CommonTools,
    /// The node's programs.
    pub node: &'a NodeTools,
    /// The image archives to preload.
    pub archives: &'a [PathBuf],
}

impl Parts<'_> {
    fn key(&self) -> Key {
        let archives: Vec<_> = self.archives.iter().map(|a| last_two(a)).collect();
        let wrapper = if self.host.sys_resource {
            String::new()
        } else {
            runc_wrapper::text(Path::new(REAL_RUNC))
        };
        Key::of([
            ("root", self.root.identity().as_str()),
            ("kind", &self.common.kind.identity()),
            ("kubernetes", &self.node.kubernetes.identity()),
            ("clients", &self.common.common.identity()),
            ("containerd", &self.node.containerd.identity()),
            ("runc", &self.node.runc.identity()),
            ("crictl", &self.node.crictl.identity()),
            ("archives", &archives.join("\n")),
            ("setup", SETUP),
            ("wrapper", &wrapper),
        ])
    }
}

/// An archive's identity: its name, and the artefact that it is part of.
fn last_two(archive: &Path) -> String {
    let named = |path: Option<&Path>| {
        path.and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    format!("{}/{}", named(archive.parent()), named(Some(archive)))
}

/// The name of the node image in the lab's Docker daemon: made, loaded from the cache, or there already.
pub fn ensure(site: &Site, cache: &Cache, progress: &Progress, parts: Parts) -> Result<String> {
    let key = parts.key();
    let name = format!("kubelb-lab/node:{}", key.as_str());
    let there = || site.docker().args(["image", "inspect", &name]).succeeds();
    if there() {
        return Ok(name);
    }
    let dir = cache.artefact(progress, "node-image", &key, |out| {
        bake(site, parts, &name, out)?;
        site.docker()
            .args(["save", "-o"])
            .arg(out.join("image.tar"))
            .arg(&name)
            .run()
    })?;
    if !there() {
        progress.stage("loading the node image", || {
            site.docker()
                .args(["load", "-i"])
                .arg(dir.join("image.tar"))
                .run()
        })?;
    }
    Ok(name)
}

fn bake(site: &Site, parts: Parts, name: &str, scratch: &Path) -> Result<()> {
    let (base, baker) = (format!("{name}-base"), format!("bake-{}", parts.key().as_str()));
    import_root(site, parts.root, &base, scratch)?;
    let files = overlay(parts, scratch)?;
    let _ = site.docker().args(["rm", "-f", "-v", &baker]).run();
    let archives = site.docker().args([
        "run",
        "-d",
        "--privileged",
        "--name",
        &baker,
        "--entrypoint",
        "/bin/sleep",
    ]);
    archives
        .args(mounts(parts.archives))
        .args([&base, "infinity"])
        .run()?;
    let done = fill(site, &baker, &files, name);
    let removed = site.docker().args(["rm", "-f", "-v", &baker]).run();
    let _ = site.docker().args(["rmi", &base]).run();
    fs::remove_file(&files).on("removing", &files)?;
    done.and(removed)
}

fn import_root(site: &Site, root: &BaseRoot, name: &str, scratch: &Path) -> Result<()> {
    let tar = scratch.join("root.tar");
    Run::new("tar")
        .arg("-C")
        .arg(root.path())
        .arg("-cf")
        .arg(&tar)
        .arg(".")
        .run()?;
    site.docker().arg("import").arg(&tar).arg(name).run()?;
    fs::remove_file(&tar).on("removing", &tar)
}

fn fill(site: &Site, baker: &str, files: &Path, name: &str) -> Result<()> {
    site.docker()
        .args(["cp", "-", &format!("{baker}:/")])
        .stdin_file(files)
        .run()?;
    let log = site.dir().logs().join("node-image.log");
    site.in_node(baker, SETUP)
        .log(log)
        .limit(Duration::from_secs(900))
        .run()?;
    let changes = ["-c", ENTRYPOINT, "-c", "ENV container=docker"];
    site.docker()
        .arg("commit")
        .args(changes)
        .args([baker, name])
        .run()
}

fn mounts(archives: &[PathBuf]) -> Vec<String> {
    let target = |i: usize, a: &PathBuf| format!("--volume={}:/archives/{i}.tar:ro", a.display());
    archives.iter().enumerate().map(|(i, a)| target(i, a)).collect()
}

/// The files that go on top of Debian's root, as one tar.
fn overlay(parts: Parts, scratch: &Path) -> Result<PathBuf> {
    let tree = scratch.join("overlay");
    for dir in [
        "kind/manifests",
        "etc/containerd",
        "etc/kubernetes/manifests",
        "etc/cni/net.d",
        "opt/cni/bin",
        "usr/bin",
        "usr/local/bin",
        "usr/local/sbin",
    ] {
        let dir = tree.join(dir);
        fs::create_dir_all(&dir).on("making", &dir)?;
    }
    copy_kind_files(&parts.common.kind.files("base"), &tree)?;
    copy_programs(parts, &tree)?;
    write(&tree.join("kind/version"), versions::KUBERNETES)?;
    if !parts.host.sys_resource {
        without_capability(&tree)?;
    }
    let tar = scratch.join("overlay.tar");
    Run::new("tar")
        .arg("-C")
        .arg(&tree)
        .args(["--owner=0", "--group=0", "-cf"])
        .arg(&tar)
        .arg(".")
        .run()?;
    fs::remove_dir_all(&tree).on("removing", &tree)?;
    Ok(tar)
}

fn copy_kind_files(base: &Path, tree: &Path) -> Result<()> {
    for part in ["etc", "kind"] {
        Run::new("cp").arg("-r").arg(base.join(part)).arg(tree).run()?;
    }
    let entrypoint = tree.join("usr/local/bin/entrypoint");
    fs::copy(base.join("usr/local/bin/entrypoint"), &entrypoint).on("copying", &entrypoint)?;
    Run::new("chmod")
        .arg("-R")
        .arg("u=rwX,go=rX")
        .arg(tree.join("etc"))
        .arg(tree.join("kind"))
        .run()?;
    Run::new("chmod")
        .arg("-R")
        .arg("755")
        .arg(&entrypoint)
        .arg(tree.join("kind/bin"))
        .run()
}

fn copy_programs(parts: Parts, tree: &Path) -> Result<()> {
    let runc = if parts.host.sys_resource {
        "usr/local/sbin/runc"
    } else {
        "usr/local/sbin/runc.real"
    };
    let places = [
        (parts.node.kubernetes.program("kubelet"), "usr/bin/kubelet"),
        (parts.node.kubernetes.program("kubeadm"), "usr/bin/kubeadm"),
        (parts.common.common.program("kubectl"), "usr/bin/kubectl"),
        (
            parts.node.containerd.program("containerd"),
            "usr/local/bin/containerd",
        ),
        (
            parts.node.containerd.program("containerd-shim-runc-v2"),
            "usr/local/bin/containerd-shim-runc-v2",
        ),
        (parts.node.containerd.program("ctr"), "usr/local/bin/ctr"),
        (parts.node.crictl.program("crictl"), "usr/local/bin/crictl"),
        (parts.node.runc.program("runc"), runc),
    ];
    for (from, to) in places {
        fs::copy(&from, tree.join(to)).on("copying", &from)?;
    }
    Ok(())
}

fn without_capability(tree: &Path) -> Result<()> {
    runc_wrapper::install(&tree.join("usr/local/sbin/runc"), Path::new(REAL_RUNC))?;
    let config = tree.join("etc/containerd/config.toml");
    let text = fs::read_to_string(&config).on("reading", &config)?;
    write(
        &config,
        &text.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true"),
    )
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).on("writing", path)
}
