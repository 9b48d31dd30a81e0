//! The third-party images of a lab, made from the built programs, under the names that Kubernetes, Envoy Gateway and
//! the conformance suite ask for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base_root::BaseRoot;
use crate::cache::{Cache, Key};
use crate::command::Run;
use crate::error::{Doing, Result};
use crate::image::{Image, within};
use crate::libraries;
use crate::progress::Progress;
use crate::tools::{CommonTools, NodeTools};
use crate::versions;

/// The registry name under which our own builds stand.
const OURS: &str = "docker.io/kubelb";
/// The sandbox image that kind's containerd configuration names.
const KIND_PAUSE: &str = "registry.k8s.io/pause:3.10";
/// What runs kube-proxy's rules: found in the node's root, with everything it loads.
const PROXY_PROGRAMS: [&str; 9] = [
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
    "iptables-nft",
    "iptables-nft-save",
    "iptables-nft-restore",
];

/// Envoy's image.
pub fn envoy_name() -> String {
    format!("{OURS}/envoy:{}", versions::ENVOY)
}

/// Envoy Gateway's image.
pub fn envoy_gateway_name() -> String {
    format!("{OURS}/envoy-gateway:{}", versions::ENVOY_GATEWAY)
}

/// The images that workloads and tests use in any cluster: one archive each.
pub fn workload(cache: &Cache, progress: &Progress, tools: &CommonTools) -> Result<Vec<PathBuf>> {
    let key = Key::of([
        ("tools", tools.common.identity().as_str()),
        ("envoy", versions::ENVOY),
        ("layout", "1"),
    ]);
    let dir = cache.artefact(progress, "images", &key, |out| {
        for (file, image) in workload_images(tools) {
            image.write(&out.join(file))?;
        }
        Ok(())
    })?;
    archives(&dir)
}

fn workload_images(tools: &CommonTools) -> Vec<(&'static str, Image)> {
    let echo_names = versions::ECHO_TAGS.map(|tag| format!("registry.k8s.io/gateway-api/echo-basic:{tag}"));
    let program = |name: &str| tools.common.program(name);
    vec![
        (
            "envoy.tar",
            Image::new([envoy_name()])
                .program(&tools.envoy, "/usr/local/bin/envoy")
                .entrypoint(["/usr/local/bin/envoy"]),
        ),
        (
            "envoy-gateway.tar",
            Image::new([envoy_gateway_name()])
                .program(&program("envoy-gateway"), "/usr/local/bin/envoy-gateway")
                .entrypoint(["/usr/local/bin/envoy-gateway"]),
        ),
        (
            "echo-basic.tar",
            Image::new(echo_names)
                .program(&program("echo-basic"), "/echo-basic")
                .entrypoint(["/echo-basic"]),
        ),
        (
            "coredns.tar",
            Image::new([format!(
                "registry.k8s.io/coredns/coredns:{}",
                versions::SUITE_COREDNS
            )])
            .program(&program("coredns"), "/coredns")
            .user("0")
            .entrypoint(["/coredns"]),
        ),
    ]
}

/// The images of a control plane and a node, for a node image of our own.
pub fn control_plane(
    cache: &Cache,
    progress: &Progress,
    common: &CommonTools,
    node: &NodeTools,
    root: &BaseRoot,
) -> Result<Vec<PathBuf>> {
    let key = Key::of([
        ("tools", common.common.identity().as_str()),
        ("kubernetes", &node.kubernetes.identity()),
        ("root", &root.identity()),
        ("layout", "1"),
    ]);
    let dir = cache.artefact(progress, "control-plane-images", &key, |out| {
        make_control_plane(common, node, root, out)
    })?;
    archives(&dir)
}

fn make_control_plane(common: &CommonTools, node: &NodeTools, root: &BaseRoot, out: &Path) -> Result<()> {
    let list = Run::new(node.kubernetes.program("kubeadm"))
        .args([
            "config",
            "images",
            "list",
            "--kubernetes-version",
            versions::KUBERNETES,
        ])
        .output()?;
    for name in list.lines() {
        let short = short_name(name);
        let image = match short {
            "pause" => Image::new([name, KIND_PAUSE])
                .file(compile_pause(node, out)?, "/pause", 0o755)
                .entrypoint(["/pause"]),
            "coredns" => Image::new([name])
                .program(&common.common.program("coredns"), "/coredns")
                .user("0")
                .entrypoint(["/coredns"]),
            "kube-proxy" => kube_proxy(name, node, root)?,
            _ => {
                let place = format!("/usr/local/bin/{short}");
                Image::new([name])
                    .program(&node.kubernetes.program(short), &place)
                    .user("0")
                    .entrypoint([place.clone()])
            }
        };
        image.write(&out.join(format!("{short}.tar")))?;
    }
    let leftover = out.join("pause");
    fs::remove_file(&leftover).on("removing", &leftover)
}

fn compile_pause(node: &NodeTools, out: &Path) -> Result<PathBuf> {
    let program = out.join("pause");
    let source = node.kubernetes.files("pause").join("pause.c");
    Run::new("gcc")
        .args(["-Os", "-static", "-DVERSION=lab", "-o"])
        .arg(&program)
        .arg(source)
        .run()?;
    Ok(program)
}

/// kube-proxy calls iptables, which loads its extensions by name: they come along with their libraries.
fn kube_proxy(name: &str, node: &NodeTools, root: &BaseRoot) -> Result<Image> {
    let proxy = "/usr/local/bin/kube-proxy";
    let mut image = Image::new([name])
        .file(node.kubernetes.program("kube-proxy"), proxy, 0o755)
        .user("0")
        .entrypoint([proxy]);
    let mut wanted = vec![
        "/usr/sbin/xtables-nft-multi".to_owned(),
        "/usr/sbin/conntrack".to_owned(),
    ];
    wanted.extend(extensions(root)?);
    for path in &wanted {
        image = image.file(within(root.path(), path)?, path, 0o755);
        for library in libraries::of_in(root.path(), path) {
            let library = library.to_string_lossy().into_owned();
            image = image.file(within(root.path(), &library)?, &library, 0o755);
        }
    }
    let multi = within(root.path(), "/usr/sbin/xtables-nft-multi")?;
    Ok(PROXY_PROGRAMS.iter().fold(image, |image, program| {
        image.file(&multi, &format!("/usr/sbin/{program}"), 0o755)
    }))
}

fn extensions(root: &BaseRoot) -> Result<Vec<String>> {
    let libraries = root.path().join("usr/lib");
    let mut found = Vec::new();
    for dir in fs::read_dir(&libraries).on("listing", &libraries)?.flatten() {
        let folder = dir.path().join("xtables");
        for file in fs::read_dir(&folder).into_iter().flatten().flatten() {
            found.push(format!(
                "/usr/lib/{}/xtables/{}",
                dir.file_name().to_string_lossy(),
                file.file_name().to_string_lossy()
            ));
        }
    }
    Ok(found)
}

/// `registry.k8s.io/coredns/coredns:v1` is `coredns`.
fn short_name(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last)
}

fn archives(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .on("listing", dir)?
        .flatten()
        .map(|e| e.path())
        .collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "tar"));
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_last_part() {
        assert_eq!(short_name("registry.k8s.io/coredns/coredns:v1.14.2"), "coredns");
        assert_eq!(short_name("registry.k8s.io/etcd:3.6.8-0"), "etcd");
    }
}
