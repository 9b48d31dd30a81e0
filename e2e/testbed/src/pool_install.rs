//! Puts the address pool controller on the hub: this very program, in an image of its own.

use std::env;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::cache::file_digest;
use crate::error::{Doing, Result};
use crate::image::Image;
use crate::load;
use crate::progress::Progress;
use crate::site::Site;
use crate::state::Cluster;

const NAMESPACE: &str = "kubelb-lab";
const NAME: &str = "address-pool";

/// Installs it, and waits until it runs.
pub fn install(site: &Site, progress: &Progress, hub: &Cluster, pools: &[IpNet]) -> Result<()> {
    let program = env::current_exe().doing(|| "finding this program".to_owned())?;
    let digest = file_digest(&program)?;
    let name = format!("docker.io/kubelb/lab:{}", &digest[..16]);
    let archive = site.dir().file("lab.tar");
    make(&program, &name, &archive)?;
    load::ensure(site, progress, "hub", hub, &archive)?;
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=kubelb-lab",
        "-f",
        "-",
    ];
    site.kubectl("hub")
        .args(apply)
        .stdin(manifest(&name, pools).to_string())
        .run()?;
    let wait = [
        "-n",
        NAMESPACE,
        "rollout",
        "status",
        &format!("deployment/{NAME}"),
        "--timeout=120s",
    ];
    site.kubectl("hub")
        .args(wait)
        .limit(Duration::from_secs(150))
        .run()
}

/// What identifies an installation's content.
pub fn mark(pools: &[IpNet]) -> Result<String> {
    let program = env::current_exe().doing(|| "finding this program".to_owned())?;
    let modified = program
        .metadata()
        .and_then(|m| m.modified())
        .on("looking at", &program)?;
    Ok(format!("{modified:?} {}", manifest("", pools)))
}

fn make(program: &Path, name: &str, out: &Path) -> Result<()> {
    Image::new([name])
        .program(program, "/usr/local/bin/lab")
        .entrypoint(["/usr/local/bin/lab"])
        .write(out)
}

fn manifest(image: &str, pools: &[IpNet]) -> Value {
    let of_pools = pools.iter().map(|pool| format!("--pool={pool}"));
    let arguments: Vec<_> = std::iter::once("address-pool".to_owned())
        .chain(of_pools)
        .collect();
    let meta = json!({"name": NAME, "namespace": NAMESPACE});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kubelb-lab-address-pool"});
    let rules = json!([
        {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["services/status"], "verbs": ["patch"]},
    ]);
    let pod = json!({
        "serviceAccountName": NAME,
        // It holds nothing: the next one starts from the Services themselves.
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": NAME, "image": image, "imagePullPolicy": "IfNotPresent",
            "args": arguments,
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        }],
    });
    let labels = json!({"app": NAME});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": role["name"]}, "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": role["name"]}, "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        },
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
            "spec": {
                "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]})
}
