//! A platform team's Prometheus finds what is to be scraped by the annotations of pods.

use e2e::cluster::Cluster;
use e2e::echo;
use serde_json::Value;

use crate::support::{Scratch, hub_namespace, lab, page, running_pods, service_address, text};

#[test]
fn all_that_is_to_be_scraped_says_so_and_answers_at_the_port_and_path_that_it_names() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_a);
    let scratch = Scratch::new("scraped", &[tenant]);
    let ns = &scratch.namespace;
    let service = echo::service(ns, "web", "LoadBalancer");
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &service))
        .unwrap();
    service_address(tenant, ns, "web");

    let product = e2e::product::NAMESPACE;
    scraped(
        hub,
        product,
        "app.kubernetes.io/name=kubelb-manager",
        "kubelb_manager_tenants",
    );
    scraped(
        tenant,
        product,
        "app.kubernetes.io/name=kubelb-ccm",
        "kubelb_ccm_managed_services_total",
    );
    let envoys = "kubelb.k8c.io/component=envoy";
    scraped(
        hub,
        hub_namespace(tenant),
        envoys,
        "envoy_listener_downstream_cx_total",
    );
}

/// Every pod with this label that runs says where it is scraped, and shows this metric there.
#[track_caller]
fn scraped(cluster: &Cluster, namespace: &str, label: &str, metric: &str) {
    let pods = running_pods(cluster, namespace, label).unwrap();
    assert!(!pods.is_empty(), "no pod in {namespace} with {label}");
    for pod in &pods {
        let annotation = |key: &str| text(&pod["metadata"]["annotations"][format!("prometheus.io/{key}")]);
        assert_eq!(annotation("scrape").as_deref(), Some("true"), "{pod}");
        let port = annotation("port").unwrap();
        assert!(
            ports(pod).contains(&port),
            "port {port} is none of the pod's: {pod}"
        );
        let path = annotation("path").unwrap_or_else(|| "/metrics".to_owned());
        let page = page(cluster, pod, port.parse().unwrap(), &path).unwrap();
        assert!(
            page.lines().any(|line| line.starts_with(metric)),
            "{} shows no {metric}",
            pod["metadata"]["name"]
        );
    }
}

/// Numbers of the ports that a pod's containers name, which is what a PodMonitor goes by.
fn ports(pod: &Value) -> Vec<String> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    ports.map(|port| port["containerPort"].to_string()).collect()
}
