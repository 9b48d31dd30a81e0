//! A developer asks by annotation for what a Service has no field for.

use std::time::Instant;

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::{seconds, until};

use crate::support::{Scratch, answered, lab, service_address, status_within, warned};

const PROXY_PROTOCOL: &str = "kubelb.k8c.io/proxy-protocol";

#[test]
fn a_backend_gets_the_header_while_the_annotation_asks_for_it() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("l4-proxy", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    let url = format!("http://{}/", service_address(tenant, ns, "web"));
    answered(&url, None);
    ip_mode(tenant, ns, "VIP");

    annotate(tenant, ns, &format!("{PROXY_PROTOCOL}=v2"));
    // The echo server takes the header for a request, and a bad one.
    status_within(&url, "web.example.com", 400, seconds(60), Instant::now());
    ip_mode(tenant, ns, "Proxy");

    annotate(tenant, ns, &format!("{PROXY_PROTOCOL}=v9"));
    warned(tenant, ns, "Service", "web", PROXY_PROTOCOL);
    answered(&url, None);
    annotate(tenant, ns, &format!("{PROXY_PROTOCOL}-"));
    answered(&url, None);
    ip_mode(tenant, ns, "VIP");
}

fn annotate(tenant: &Cluster, namespace: &str, annotation: &str) {
    tenant
        .kubectl(&[
            "annotate",
            "service",
            "-n",
            namespace,
            "web",
            "--overwrite",
            annotation,
        ])
        .unwrap();
}

#[track_caller]
fn ip_mode(tenant: &Cluster, namespace: &str, wanted: &str) {
    until(format!("an address with the mode {wanted}"), seconds(60), || {
        let service = tenant
            .get(&["service", "-n", namespace, "web"])
            .map_err(|e| e.to_string())?;
        let ingress = &service["status"]["loadBalancer"]["ingress"];
        if ingress[0]["ipMode"] == wanted {
            Ok(())
        } else {
            Err(ingress.to_string())
        }
    })
    .unwrap();
}
