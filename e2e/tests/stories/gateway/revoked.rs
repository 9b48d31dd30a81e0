//! What a tenant takes back stops working within seconds: a ReferenceGrant, a namespace's label, a certificate.

use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::seconds;

use super::names::grant;
use super::tls::{Certificate, answered_securely, https_pod};
use crate::support::{Scratch, answered, gateway_address, lab, status_within, within};

/// From the change to its effect on requests.
const SOON: Duration = seconds(5);
const GRANTED: &str = "granted.example.com";
const GUEST: &str = "guest.example.com";
const SECURE: &str = "secure.example.com";

/// Lets routes of namespaces with the label `guest` in.
fn gateway_for_guests(namespace: &str) -> String {
    format!(
        r#"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{namespace: {namespace}, name: edge}}
spec:
  gatewayClassName: kubelb
  listeners:
  - name: http
    port: 80
    protocol: HTTP
    allowedRoutes: {{namespaces: {{from: Selector, selector: {{matchLabels: {{guest: "yes"}}}}}}}}
---
"#
    )
}

/// A route of `from` on the Gateway `edge` of `namespace`, to the Service `web` of `to`.
fn route(from: &str, host: &str, namespace: &str, to: &str) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{namespace: {from}, name: web}}
spec:
  parentRefs: [{{name: edge, namespace: {namespace}}}]
  hostnames: [{host}]
  rules: [{{backendRefs: [{{name: web, namespace: {to}, port: 80}}]}}]
---
"
    )
}

fn label(tenant: &Cluster, namespace: &str, label: &str) {
    tenant.kubectl(&["label", "namespace", namespace, label]).unwrap();
}

#[test]
fn a_grant_and_a_label_that_are_taken_back_act_within_five_seconds() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratches = [
        Scratch::new("revoked", &[tenant]),
        Scratch::new("revoked-other", &[tenant]),
    ];
    let [own, other] = scratches.each_ref().map(|scratch| scratch.namespace.as_str());
    for namespace in [own, other] {
        label(tenant, namespace, "guest=yes");
    }
    let pods = echo::deployment(other, "web", 1) + &echo::service(other, "web", "ClusterIP");
    let routes = route(own, GRANTED, own, other) + &route(other, GUEST, own, other);
    tenant
        .apply(&(pods + &gateway_for_guests(own) + &routes + &grant(other, own)))
        .unwrap();
    let url = format!("http://{}/", gateway_address(tenant, own, "edge"));
    for host in [GRANTED, GUEST] {
        answered(&url, Some(host));
    }

    let grant_gone = Instant::now();
    tenant
        .kubectl(&["delete", "referencegrant", "-n", other, "routes", "--timeout=30s"])
        .unwrap();
    status_within(&url, GRANTED, 500, SOON, grant_gone);
    answered(&url, Some(GUEST));

    let label_gone = Instant::now();
    label(tenant, other, "guest-");
    status_within(&url, GUEST, 404, SOON, label_gone);
    let label_back = Instant::now();
    label(tenant, other, "guest=yes");
    status_within(&url, GUEST, 200, SOON, label_back);
}

/// A Gateway of which the only listener needs the Secret `cert`, and a route on it.
fn secure(namespace: &str) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{namespace: {namespace}, name: secure}}
spec:
  gatewayClassName: kubelb
  listeners:
  - {{name: https, port: 443, protocol: HTTPS, hostname: {SECURE}, tls: {{certificateRefs: [{{name: cert}}]}}}}
---
"
    )
}

#[test]
fn a_certificate_that_is_taken_back_is_shown_no_more_and_its_gateway_keeps_its_address() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("revoked-cert", &[tenant]);
    let ns = &scratch.namespace;
    let certificate = Certificate::of(&lab.lab, SECURE);
    certificate.put(tenant, ns);
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "ClusterIP")
                + &secure(ns)
                + &echo::http_route(ns, "web", "secure", SECURE, "web")),
        )
        .unwrap();
    let address = gateway_address(tenant, ns, "secure");
    answered_securely(&lab.lab, &address, SECURE, &certificate);

    let secret_gone = Instant::now();
    tenant
        .kubectl(&["delete", "secret", "-n", ns, "cert", "--timeout=30s"])
        .unwrap();
    within(
        "no answer without the certificate",
        SOON,
        secret_gone,
        || match https_pod(&lab.lab, &address, SECURE, &certificate) {
            Err(_) => Ok(()),
            Ok(pod) => Err(format!("answered by {pod}")),
        },
    );

    let another = Certificate::of(&lab.lab, SECURE);
    another.put(tenant, ns);
    answered_securely(&lab.lab, &address, SECURE, &another);
    assert_eq!(gateway_address(tenant, ns, "secure"), address);
}
