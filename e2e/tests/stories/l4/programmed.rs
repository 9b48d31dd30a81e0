//! What is said to be programmed was acknowledged by an Envoy: while none can speak, nothing is.

use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::{seconds, until};

use crate::support::served::only_ready_envoys;
use crate::support::stopped::Stopped;
use crate::support::{
    Scratch, answered, condition, hub_namespace, lab, programmed, service_address, text, uid,
};

/// So long no Envoy speaks.
const SILENCE: Duration = seconds(10);

#[test]
fn while_envoy_is_stopped_nothing_turns_programmed_and_then_it_does() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_a);
    let scratch = Scratch::new("l4-programmed", &[tenant]);
    let ns = &scratch.namespace;
    // The fleet is there, and has something to serve.
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    answered(&format!("http://{}/", service_address(tenant, ns, "web")), None);
    only_ready_envoys(tenant);

    let stopped = Stopped::begin(&lab.lab, tenant);
    let second = echo::service(ns, "second", "LoadBalancer").replace("app: second", "app: web");
    tenant.apply(&second).unwrap();
    let name = uid(tenant, &["service", "-n", ns, "second"]);
    until("the manager to wait for an Envoy", seconds(30), || {
        match says(hub, tenant, &name)? {
            (status, reason) if status == "False" && reason == "Pending" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .unwrap();
    let begin = Instant::now();
    while begin.elapsed() < SILENCE {
        let (status, reason) = says(hub, tenant, &name).unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Pending"));
        let service = tenant.get(&["service", "-n", ns, "second"]).unwrap();
        let ingress = &service["status"]["loadBalancer"]["ingress"];
        assert!(ingress.is_null(), "an address before an Envoy has it: {ingress}");
        std::thread::sleep(Duration::from_millis(250));
    }
    stopped.end();
    programmed(hub, hub_namespace(tenant), &name, seconds(60));
    answered(
        &format!("http://{}/", service_address(tenant, ns, "second")),
        None,
    );
}

/// Status and reason of `Programmed`.
fn says(hub: &Cluster, tenant: &Cluster, name: &str) -> Result<(String, String), String> {
    let found = hub
        .get(&["loadbalancer", "-n", hub_namespace(tenant), name])
        .map_err(|e| e.to_string())?;
    let programmed = condition(&found["status"]["conditions"], "Programmed");
    let (status, reason) = (text(&programmed["status"]), text(&programmed["reason"]));
    status.zip(reason).ok_or_else(|| found["status"].to_string())
}
