//! The NodePort of a Service with one port: the endpoint that the hub sends to.

use e2e::cluster::Cluster;

/// The NodePort.
pub fn of(tenant: &Cluster, namespace: &str, service: &str) -> u64 {
    let found = tenant.get(&["service", "-n", namespace, service]).unwrap();
    found["spec"]["ports"][0]["nodePort"].as_u64().unwrap()
}

/// Gives the Service the next NodePort that is free.
pub fn change(tenant: &Cluster, namespace: &str, service: &str) -> u64 {
    let before = of(tenant, namespace, service);
    let (from, to) = (before + 1, before + 50);
    let free = |candidate: &u64| {
        let patch = format!(r#"[{{"op":"replace","path":"/spec/ports/0/nodePort","value":{candidate}}}]"#);
        let arguments = [
            "patch",
            "service",
            "-n",
            namespace,
            service,
            "--type=json",
            "-p",
            &patch,
        ];
        tenant.kubectl(&arguments).is_ok()
    };
    let found = (from..to).find(free);
    assert!(found.is_some(), "no free NodePort between {from} and {to}");
    found.unwrap()
}
