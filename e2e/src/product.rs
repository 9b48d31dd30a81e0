//! Installation of the product in a lab: as README.md tells people to do it, with real helm.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest, Sha256};
use testbed::Progress;

use crate::cluster::{Cluster, ClusterError};
use crate::environment::Environment;
use crate::wait::{seconds, until};

/// Namespace of both charts.
pub const NAMESPACE: &str = "kubelb";
/// Secret with the kubeconfig that the manager issues, in the tenant's namespace on the hub.
pub const ISSUED_SECRET: &str = "kubelb-ccm-kubeconfig";
/// Secret with the kubeconfig that the CCM uses, in [`NAMESPACE`] of the tenant.
pub const OWN_SECRET: &str = "kubelb-cluster";
/// Key of both.
const KUBECONFIG_KEY: &str = "kubelb";

/// Where the parts of a deployment are.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Folder with `charts/` and `examples/`.
    pub repository: PathBuf,
    /// Folder with the built binaries.
    pub binaries: PathBuf,
    /// The `lab` command.
    pub lab: PathBuf,
}

/// Builds images, installs the manager on the hub and a CCM in each tenant, and waits until all are ready.
///
/// # Errors
/// Says which step failed.
pub fn install(environment: &Environment, parts: &Parts, progress: &Progress) -> Result<()> {
    progress.say("images of the manager and the CCM");
    let manager = image(parts, "kubelb-manager", &["hub"])?;
    let ccm = image(parts, "kubelb-ccm", &["tenant-a", "tenant-b"])?;
    progress.say("manager on the hub (helm)");
    install_manager(environment, parts, &manager)?;
    progress.say("tenants on the hub, and a shared Gateway of the platform team");
    environment.hub.apply(&hub_objects(environment)?)?;
    for cluster in environment.tenants() {
        progress.say(format!("CCM in {} (helm)", cluster.name));
        hand_over_credential(&environment.hub, cluster)?;
        install_ccm(environment, cluster, parts, &ccm)?;
    }
    for cluster in environment.tenants() {
        progress.say(format!("waiting for {} to be connected", cluster.name));
        rollout(cluster, "kubelb-ccm")?;
        connected(&environment.hub, cluster.name)?;
    }
    rollout(&environment.hub, "kubelb-manager")
}

/// Waits until a Deployment in the product's namespace is rolled out.
///
/// # Errors
/// When it takes more than three minutes.
pub fn rollout(cluster: &Cluster, deployment: &str) -> Result<()> {
    cluster
        .kubectl(&[
            "rollout",
            "status",
            "--namespace",
            NAMESPACE,
            "--timeout=180s",
            &format!("deployment/{deployment}"),
        ])
        .with_context(|| format!("{deployment} in {} did not become ready", cluster.name))?;
    Ok(())
}

fn connected(hub: &Cluster, tenant: &str) -> Result<()> {
    hub.kubectl(&[
        "wait",
        "--for=condition=Connected",
        "--timeout=120s",
        &format!("tenant/{tenant}"),
    ])
    .with_context(|| format!("the CCM of {tenant} has not reported to the hub"))?;
    Ok(())
}

fn install_manager(environment: &Environment, parts: &Parts, image: &Image) -> Result<()> {
    let chart = parts.repository.join("charts/kubelb-manager");
    let server = format!("kubelb.tenantAPIServer={}", environment.lab.hub_server()?);
    environment.hub.helm(&[
        "upgrade",
        "--install",
        "kubelb-manager",
        path(&chart)?,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--values",
        path(&parts.repository.join("e2e/values/kubelb-manager.yaml"))?,
        "--set",
        &server,
        // An image tag of digits alone is still a text.
        "--set-string",
        &format!("image.repository={},image.tag={}", image.repository, image.tag),
        "--wait",
        "--timeout",
        "5m",
    ])?;
    Ok(())
}

fn install_ccm(environment: &Environment, cluster: &Cluster, parts: &Parts, image: &Image) -> Result<()> {
    let chart = parts.repository.join("charts/kubelb-ccm");
    cluster.helm(&[
        "upgrade",
        "--install",
        "kubelb-ccm",
        path(&chart)?,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--values",
        path(&parts.repository.join("e2e/values/kubelb-ccm.yaml"))?,
        "--set",
        &format!(
            "clusterName={},kubelb.manager.address={}",
            cluster.name,
            environment.lab.hub_server()?
        ),
        // An image tag of digits alone is still a text.
        "--set-string",
        &format!("image.repository={},image.tag={}", image.repository, image.tag),
    ])?;
    Ok(())
}

/// Takes the credential that the manager issued and puts it into the tenant cluster, as a platform team does
/// once for each tenant.
fn hand_over_credential(hub: &Cluster, tenant: &Cluster) -> Result<()> {
    let kubeconfig = until("the credential that the manager issues", seconds(60), || {
        encoded_kubeconfig(hub, tenant.name, ISSUED_SECRET)
    })?;
    if tenant
        .kubectl(&["get", "secret", "--namespace", NAMESPACE, OWN_SECRET])
        .is_ok()
    {
        return Ok(());
    }
    Ok(put_encoded_kubeconfig(tenant, &kubeconfig)?)
}

/// The kubeconfig in a Secret, in base64 as it stands there.
///
/// # Errors
/// When there is no such Secret, or no kubeconfig in it.
pub fn encoded_kubeconfig(cluster: &Cluster, namespace: &str, secret: &str) -> Result<String, String> {
    let found = cluster
        .get(&["secret", "--namespace", namespace, secret])
        .map_err(|error| error.to_string())?;
    found["data"][KUBECONFIG_KEY]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("no key {KUBECONFIG_KEY} in it"))
}

/// Puts a kubeconfig, in base64, into the tenant's Secret, as docs/operations.md tells people to. Makes the namespace, if
/// there is none.
///
/// # Errors
/// When the API server refuses it.
pub fn put_encoded_kubeconfig(tenant: &Cluster, kubeconfig: &str) -> Result<(), ClusterError> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"namespace": NAMESPACE, "name": OWN_SECRET},
        "data": {KUBECONFIG_KEY: kubeconfig},
    });
    tenant.apply(&format!("{namespace}\n---\n{secret}")).map(drop)
}

/// Values that were given to a chart that is installed under its own name.
///
/// # Errors
/// When helm fails.
pub fn values(cluster: &Cluster, chart: &str) -> Result<String, ClusterError> {
    cluster.helm(&[
        "get",
        "values",
        chart,
        "--namespace",
        NAMESPACE,
        "--output",
        "yaml",
    ])
}

/// Installs a chart under its own name with these values, and waits until it is ready.
///
/// # Errors
/// When helm fails, or the pods are not ready in three minutes.
pub fn install_with(cluster: &Cluster, chart: &str, values: &str) -> Result<()> {
    let folder = folder_of(chart);
    let install = [
        "upgrade",
        "--install",
        chart,
        &folder,
        "--namespace",
        NAMESPACE,
        "--values",
        "-",
    ];
    cluster.helm_with_input(&install, values)?;
    rollout(cluster, chart)
}

fn folder_of(chart: &str) -> String {
    format!("{}/../charts/{chart}", env!("CARGO_MANIFEST_DIR"))
}

/// Changes one value (`key=value`) of a chart that is installed under its own name; the others stay.
///
/// # Errors
/// When helm fails.
pub fn set_value(cluster: &Cluster, chart: &str, value: &str) -> Result<(), ClusterError> {
    let folder = folder_of(chart);
    let upgrade = [
        "upgrade",
        chart,
        &folder,
        "--namespace",
        NAMESPACE,
        "--reuse-values",
        "--set",
        value,
    ];
    cluster.helm(&upgrade).map(drop)
}

fn hub_objects(environment: &Environment) -> Result<String> {
    let mut manifest = SHARED_GATEWAY.to_owned();
    for cluster in environment.tenants() {
        let cidrs = environment.lab.node_cidrs(cluster.name)?;
        let list: Vec<String> = cidrs.iter().map(|cidr| format!("\"{cidr}\"")).collect();
        manifest.push_str(&format!(
            r#"---
apiVersion: kubelb.k8c.io/v1alpha1
kind: Tenant
metadata: {{name: {name}}}
spec:
  endpointCIDRs: [{cidrs}]
  allowedDomains: ["**"]
  envoyProxy: {{replicas: 1}}
  gatewayAPI: {{defaultGateway: {{namespace: shared, name: shared-gateway}}}}
"#,
            name = cluster.name,
            cidrs = list.join(", "),
        ));
    }
    Ok(manifest)
}

/// What the platform team makes for tenants that share an address.
const SHARED_GATEWAY: &str = r"apiVersion: v1
kind: Namespace
metadata: {name: shared}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shared, name: shared-gateway}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
";

/// An image of ours, named by its content, so that a changed binary rolls the Deployment.
#[derive(Debug, Clone)]
struct Image {
    repository: String,
    tag: String,
}

fn image(parts: &Parts, name: &str, clusters: &[&str]) -> Result<Image> {
    let binary = parts.binaries.join(name);
    let content = std::fs::read(&binary)
        .with_context(|| format!("{} is missing: run `make build`", binary.display()))?;
    let digest = Sha256::digest(&content);
    let tag: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let repository = format!("docker.io/kubelb/{name}");
    let archive = std::env::temp_dir().join(format!("{name}-{tag}.tar"));
    lab(
        parts,
        &[
            "image",
            "--name",
            &format!("{repository}:{tag}"),
            "--binary",
            path(&binary)?,
            "--out",
            path(&archive)?,
        ],
    )?;
    for cluster in clusters {
        lab(parts, &["load", "--cluster", cluster, path(&archive)?])?;
    }
    std::fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    Ok(Image { repository, tag })
}

fn lab(parts: &Parts, arguments: &[&str]) -> Result<()> {
    let output = Command::new(&parts.lab)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", parts.lab.display()))?;
    if !output.status.success() {
        bail!(
            "lab {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
