//! A platform team looks around: lists, logs and metrics.

use e2e::cluster::Cluster;
use e2e::wait::{seconds, until};
use e2e::{echo, product};
use serde_json::Value;

use crate::support::{Scratch, all_metrics, gateway_address, hub_namespace, lab, service_address, uid};

#[test]
fn lists_logs_and_metrics_name_the_tenant_and_the_object() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("look", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "my-service", "LoadBalancer")
                + &echo::gateway(ns, "edge")
                + &echo::http_route(ns, "my-route", "edge", "web.example.com", "my-service")),
        )
        .unwrap();
    service_address(tenant, ns, "my-service");
    let address = gateway_address(tenant, ns, "edge");

    lists(hub, tenant, ns, &address);
    let words = logged(tenant, ns, "my-service");
    assert_eq!(words["tenant"], hub_namespace(tenant), "{words}");
    for series in of_the_ccm(ns) {
        measures(tenant, "kubelb-ccm", 9445, &series);
    }
    for series in of_the_manager(hub_namespace(tenant)) {
        measures(hub, "kubelb-manager", 9443, &series);
    }
}

fn lists(hub: &Cluster, tenant: &Cluster, namespace: &str, address: &str) {
    let tenants = hub.kubectl(&["get", "tenants"]).unwrap();
    assert!(
        tenants.contains("tenant-a") && tenants.contains("CONNECTED"),
        "{tenants}"
    );
    let balancers = hub
        .kubectl(&["get", "loadbalancers", "-n", hub_namespace(tenant)])
        .unwrap();
    assert!(
        balancers.contains("my-service") && balancers.contains("ORIGINNAME"),
        "{balancers}"
    );
    let of = |kind, name| {
        let route = uid(tenant, &[kind, "-n", namespace, name]);
        vec![
            hub_namespace(tenant).to_owned(),
            route,
            name.to_owned(),
            namespace.to_owned(),
        ]
    };
    row(
        hub,
        &[of("httproute", "my-route"), words("HTTPRoute True")].concat(),
    );
    row(
        hub,
        &[of("gateway", "edge"), words(&format!("Gateway {address} True"))].concat(),
    );
}

/// Waits until `kubectl get routes -A` has a row that begins with these words, under the columns that people know.
fn row(hub: &Cluster, wanted: &[String]) {
    until(format!("a row {wanted:?}"), seconds(60), || {
        let list = hub.kubectl(&["get", "routes", "-A"]).map_err(|e| e.to_string())?;
        let mut lines = list.lines().map(words);
        let columns = "NAMESPACE NAME ORIGINNAME ORIGINNAMESPACE ORIGINRESOURCE ADDRESS PROGRAMMED AGE";
        assert_eq!(lines.next(), Some(words(columns)), "{list}");
        if lines.any(|line| line.starts_with(wanted)) {
            Ok(())
        } else {
            Err(list)
        }
    })
    .unwrap();
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A line of the CCM's log about a Service; each is one JSON object.
fn logged(tenant: &Cluster, namespace: &str, service: &str) -> Value {
    let logs = [
        "logs",
        "-n",
        product::NAMESPACE,
        "-l",
        "app.kubernetes.io/name=kubelb-ccm",
        "--tail=-1",
    ];
    until(format!("a log line with service={service}"), seconds(30), || {
        let log = tenant.kubectl(&logs).map_err(|e| e.to_string())?;
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .find(|line| line["service"] == service && line["namespace"] == namespace)
            .ok_or_else(|| log.lines().last().unwrap_or("no line").to_owned())
    })
    .unwrap()
}

fn of_the_ccm(namespace: &str) -> [String; 3] {
    [
        format!("kubelb_ccm_managed_services_total{{namespace=\"{namespace}\"}}"),
        format!("kubelb_ccm_managed_httproutes{{namespace=\"{namespace}\"}}"),
        format!("kubelb_ccm_service_reconcile_duration_seconds_count{{namespace=\"{namespace}\"}}"),
    ]
}

fn of_the_manager(hub_namespace: &str) -> [String; 9] {
    let ns = format!("namespace=\"{hub_namespace}\"");
    let tenant = format!("tenant=\"{hub_namespace}\"");
    [
        "kubelb_manager_tenants".to_owned(),
        "kubelb_manager_tenant_reconcile_total{result=\"success\"}".to_owned(),
        format!("kubelb_manager_loadbalancers{{{ns},{tenant},topology=\"shared\"}}"),
        format!("kubelb_manager_envoy_proxies{{{ns},topology=\"shared\"}}"),
        format!("kubelb_manager_port_allocator_allocated_ports{{{ns}}}"),
        format!("kubelb_manager_loadbalancer_reconcile_total{{{ns},result=\"success\"}}"),
        format!("kubelb_manager_routes{{{ns},route_type=\"httproute\",{tenant}}}"),
        format!("kubelb_manager_route_reconcile_total{{{ns},result=\"success\",route_type=\"httproute\"}}"),
        format!("kubelb_manager_route_reconcile_duration_seconds_count{{{ns}}}"),
    ]
}

/// Waits until a replica of a component shows this series with a value of at least 1. Of several replicas only the one
/// that writes counts most things.
fn measures(cluster: &Cluster, app: &str, port: u16, series: &str) {
    until(format!("metrics of {app} with {series}"), seconds(60), || {
        let pages = all_metrics(cluster, app, port)?;
        let mut lines = pages.iter().flat_map(|page| page.lines());
        let counts = |line: &str| {
            let value = line.strip_prefix(series)?.strip_prefix(' ')?;
            value.parse::<f64>().ok().filter(|value| *value >= 1.0)
        };
        lines.find_map(counts).ok_or_else(|| similar(&pages, series))
    })
    .unwrap();
}

/// The series of the same metric.
fn similar(pages: &[String], series: &str) -> String {
    let metric = series.split('{').next().unwrap_or_default();
    let lines = pages.iter().flat_map(|page| page.lines());
    let of_it: Vec<_> = lines.filter(|line| line.starts_with(metric)).collect();
    of_it.join("; ")
}
