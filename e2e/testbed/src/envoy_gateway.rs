//! Installs Envoy Gateway on the hub with helm and its own chart, and the class `eg` for Gateways of a platform team.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::command::Run;
use crate::error::{Doing, Result};
use crate::site::Site;
use crate::third_party_images::{envoy_gateway_name, envoy_name};
use crate::tools::CommonTools;
use crate::{gateway_api, versions};

/// Where it runs.
pub const NAMESPACE: &str = "envoy-gateway-system";
/// The release's name.
const RELEASE: &str = "eg";

/// What identifies an installation's content.
pub fn mark(tools: &CommonTools) -> String {
    crate::cache::Key::of([
        ("tools", tools.common.identity().as_str()),
        ("values", &values().to_string()),
        ("class", &class().to_string()),
    ])
    .as_str()
    .to_owned()
}

/// Installs or upgrades it, and waits until it serves.
pub fn install(site: &Site, tools: &CommonTools) -> Result<()> {
    let chart = prepare_chart(site, &tools.common.files("envoy-gateway-chart"))?;
    let crds = chart.join("charts/crds/crds/generated");
    gateway_api::apply(site, "hub", "-f", &crds)?;
    gateway_api::established(site, "hub")?;
    helm(site, &chart)?;
    apply_class(site)
}

/// The chart comes as a source tree: its values are a template that the project's own release fills.
fn prepare_chart(site: &Site, source: &Path) -> Result<PathBuf> {
    let chart = site.dir().file("envoy-gateway-chart");
    let _ = fs::remove_dir_all(&chart);
    Run::new("cp").arg("-r").arg(source).arg(&chart).run()?;
    let template = chart.join("values.tmpl.yaml");
    let text = fs::read_to_string(&template).on("reading", &template)?;
    let filled = text
        .replace("${GatewayImage}", &envoy_gateway_name())
        .replace("${GatewayImagePullPolicy}", "IfNotPresent");
    let file = chart.join("values.yaml");
    fs::write(&file, filled).on("writing", &file)?;
    let values_file = site.dir().file("envoy-gateway.values.json");
    fs::write(&values_file, values().to_string()).on("writing", &values_file)?;
    Ok(chart)
}

fn helm(site: &Site, chart: &Path) -> Result<()> {
    site.run("helm")
        .args(["upgrade", "--install", RELEASE])
        .arg(chart)
        .args([
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--skip-crds",
            "--wait",
            "--timeout",
            "240s",
            "--kubeconfig",
        ])
        .arg(site.dir().kubeconfig("hub"))
        .arg("--values")
        .arg(site.dir().file("envoy-gateway.values.json"))
        .log(site.dir().logs().join("envoy-gateway.helm.log"))
        .limit(Duration::from_secs(300))
        .run()
}

fn values() -> Value {
    json!({
        "crds": {"enabled": false},
        "topologyInjector": {"enabled": false},
        "deployment": {"envoyGateway": {
            "image": {"repository": repository(&envoy_gateway_name()), "tag": versions::ENVOY_GATEWAY},
            "imagePullPolicy": "IfNotPresent",
        }},
        "config": {"envoyGateway": {
            "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
            "logging": {"level": {"default": "info"}},
            "provider": {"type": "Kubernetes", "kubernetes": {
                "deploy": {"type": "GatewayNamespace"},
                "client": {"rateLimit": {"qps": 500, "burst": 1000}},
                "shutdownManager": {"image": envoy_gateway_name()},
                // Envoys would wait seconds for a local cluster before they call themselves ready.
                "proxyTopologyInjector": {"disabled": true},
            }},
            "extensionApis": {"enableEnvoyPatchPolicy": true, "enableBackend": false},
        }},
    })
}

fn repository(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(repository, _)| repository)
}

fn apply_class(site: &Site) -> Result<()> {
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=kubelb-lab",
        "-f",
        "-",
    ];
    site.kubectl("hub").args(apply).stdin(class().to_string()).run()?;
    let wait = [
        "wait",
        "gatewayclass/eg",
        "--for=condition=Accepted",
        "--timeout=60s",
    ];
    site.kubectl("hub")
        .args(wait)
        .limit(Duration::from_secs(90))
        .run()
}

/// The platform team's class: small proxies with our Envoy, and no NodePorts taken.
fn class() -> Value {
    let proxy = json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyProxy",
        "metadata": {"name": "platform", "namespace": NAMESPACE},
        "spec": {"provider": {"type": "Kubernetes", "kubernetes": {
            "envoyDeployment": {
                "replicas": 1,
                "container": {"image": envoy_name(), "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}},
            },
            "envoyService": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false},
        }}},
    });
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "eg"},
        "spec": {
            "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
            "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "platform", "namespace": NAMESPACE},
        },
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [proxy, class]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_tenants_could_misuse_is_on() {
        let apis = &values()["config"]["envoyGateway"]["extensionApis"];
        assert_eq!(
            apis,
            &json!({"enableEnvoyPatchPolicy": true, "enableBackend": false})
        );
    }
}
