//! The credential that the manager issues acts in its own hub namespace only.

use base64::Engine;
use e2e::cluster::Cluster;
use e2e::environment::Environment;

use crate::support::lab;

/// The hub as tenant `name`'s credential sees it. The file lives as long as the story.
fn as_tenant(lab: &Environment, name: &str) -> (Cluster, std::path::PathBuf) {
    let secret = lab
        .hub
        .get(&["secret", "-n", name, "kubelb-ccm-kubeconfig"])
        .unwrap();
    let encoded = secret["data"]["kubelb"].as_str().unwrap();
    let kubeconfig = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    let file = std::env::temp_dir().join(format!("e2e-{}-{name}.kubeconfig", std::process::id()));
    std::fs::write(&file, kubeconfig).unwrap();
    (lab.hub.with_kubeconfig(file.clone()), file)
}

fn may(cluster: &Cluster, arguments: &[&str]) -> bool {
    let mut all = vec!["auth", "can-i"];
    all.extend_from_slice(arguments);
    cluster.kubectl(&all).is_ok_and(|answer| answer.trim() == "yes")
}

#[test]
fn a_tenant_credential_acts_only_in_its_hub_namespace() {
    let lab = lab();
    let (tenant, file) = as_tenant(&lab, "tenant-a");
    let list = tenant
        .kubectl(&["auth", "can-i", "--list", "-n", "tenant-a"])
        .unwrap();
    assert!(list.contains("loadbalancers.kubelb.k8c.io"), "{list}");
    assert!(
        may(
            &tenant,
            &["create", "loadbalancers.kubelb.k8c.io", "-n", "tenant-a"]
        ),
        "{list}"
    );
    assert!(
        may(
            &tenant,
            &["get", "secrets/kubelb-ccm-kubeconfig", "-n", "tenant-a"]
        ),
        "{list}"
    );
    for forbidden in [
        &["list", "secrets", "-n", "tenant-a"][..],
        &["get", "secrets/envoy-xds-tls", "-n", "tenant-a"],
        &[
            "create",
            "serviceaccounts",
            "--subresource=token",
            "-n",
            "tenant-a",
        ],
        &[
            "patch",
            "loadbalancers.kubelb.k8c.io",
            "--subresource=status",
            "-n",
            "tenant-a",
        ],
        &[
            "patch",
            "routes.kubelb.k8c.io",
            "--subresource=status",
            "-n",
            "tenant-a",
        ],
        &[
            "patch",
            "tenantstates.kubelb.k8c.io",
            "--subresource=status",
            "-n",
            "tenant-a",
        ],
        &["create", "services", "-n", "tenant-a"],
        &["create", "gateways.gateway.networking.k8s.io", "-n", "tenant-a"],
        &["create", "pods", "-n", "tenant-a"],
        &["get", "loadbalancers.kubelb.k8c.io", "-n", "tenant-b"],
        &["get", "secrets/kubelb-ccm-kubeconfig", "-n", "tenant-b"],
        &["list", "tenants.kubelb.k8c.io"],
        &["list", "namespaces"],
    ] {
        assert!(!may(&tenant, forbidden), "a tenant may {forbidden:?}");
    }
    std::fs::remove_file(file).unwrap();
}
