//! Tenants bring HTTPS hosts of their own to a Gateway that the platform team shares: one address, and for each host
//! the certificate of its tenant.

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::{seconds, until};
use serde_json::{Value, json};
use testbed::Lab;

use crate::support::{Scratch, condition, gateway_address, lab};

/// A certificate that vouches for itself, with its key, in PEM.
pub struct Certificate {
    certificate: String,
    key: String,
}

impl Certificate {
    pub fn of(lab: &Lab, host: &str) -> Self {
        let script = format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
             -subj '/CN={host}' -addext 'subjectAltName=DNS:{host}' -keyout /dev/stdout -out /dev/stdout"
        );
        let pem = lab.in_node(&lab.control_plane("hub"), &script).unwrap();
        Self {
            certificate: block(&pem, "CERTIFICATE"),
            key: block(&pem, "PRIVATE KEY"),
        }
    }

    pub(super) fn put(&self, tenant: &Cluster, namespace: &str) {
        self.put_as(tenant, namespace, "cert");
    }

    pub fn put_as(&self, cluster: &Cluster, namespace: &str, name: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"namespace": namespace, "name": name},
            "stringData": {"tls.crt": self.certificate, "tls.key": self.key},
        });
        cluster.apply(&secret.to_string()).unwrap();
    }
}

fn block(pem: &str, label: &str) -> String {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let (start, stop) = (pem.find(&begin).unwrap(), pem.find(&end).unwrap());
    format!("{}\n", &pem[start..stop + end.len()])
}

/// The pod that answers a request over TLS whose client trusts nothing but `trusted`. The request comes from a node
/// of another cluster, whose curl knows certificates.
pub(super) fn https_pod(
    lab: &Lab,
    address: &str,
    host: &str,
    trusted: &Certificate,
) -> Result<String, String> {
    let script = format!(
        "curl -sS --fail --max-time 5 --noproxy '*' --cacert /dev/stdin --resolve {host}:443:{address} https://{host}/ <<'END'\n{}END\n",
        trusted.certificate
    );
    let body = lab
        .in_node(&lab.control_plane("tenant-a"), &script)
        .map_err(|e| e.to_string())?;
    let echo: Value = serde_json::from_str(&body).map_err(|e| format!("{e}: {body}"))?;
    echo["pod"].as_str().map(str::to_owned).ok_or(body)
}

#[track_caller]
pub fn answered_securely(lab: &Lab, address: &str, host: &str, trusted: &Certificate) -> String {
    until(
        format!("https://{host} at {address}, with the certificate of its tenant"),
        seconds(90),
        || https_pod(lab, address, host, trusted),
    )
    .unwrap()
}

/// A Gateway of the platform team's that takes ListenerSets of every namespace.
fn shared_gateway(namespace: &str) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{namespace: {namespace}, name: shared}}
spec:
  gatewayClassName: eg
  allowedListeners: {{namespaces: {{from: All}}}}
  listeners: [{{name: http, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {{from: All}}}}}}]
---
"
    )
}

/// A host on the shared Gateway with a route to `service`.
fn listener_set_and_route(namespace: &str, host: &str, service: &str) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{namespace: {namespace}, name: mine}}
spec:
  parentRef: {{name: shared, namespace: {namespace}}}
  listeners:
  - {{name: https, port: 443, protocol: HTTPS, hostname: {host}, tls: {{certificateRefs: [{{name: cert}}]}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{namespace: {namespace}, name: web}}
spec:
  parentRefs: [{{group: gateway.networking.k8s.io, kind: ListenerSet, name: mine}}]
  hostnames: [{host}]
  rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]
---
"
    )
}

/// Waits until the ListenerSet is accepted and programmed at its newest generation.
#[track_caller]
fn programmed(tenant: &Cluster, namespace: &str) {
    until(
        format!("ListenerSet {namespace}/mine in {} to be programmed", tenant.name),
        seconds(120),
        || {
            let set = tenant
                .get(&["listenersets.gateway.networking.k8s.io", "-n", namespace, "mine"])
                .map_err(|e| e.to_string())?;
            let good = ["Accepted", "Programmed"].iter().all(|type_| {
                let found = condition(&set["status"]["conditions"], type_);
                found["status"] == "True" && found["observedGeneration"] == set["metadata"]["generation"]
            });
            if good {
                Ok(())
            } else {
                Err(set["status"].to_string())
            }
        },
    )
    .unwrap();
}

#[test]
fn https_hosts_of_two_tenants_share_one_address_each_with_its_own_certificate() {
    let lab = lab();
    let (hub, tenants) = (&lab.hub, [&lab.tenant_a, &lab.tenant_b]);
    let scratch = Scratch::new("gw-tls", &[hub, tenants[0], tenants[1]]);
    let ns = &scratch.namespace;
    hub.apply(&shared_gateway(ns)).unwrap();
    let address = gateway_address(hub, ns, "shared");
    let hosts = ["a.secure.example.com", "b.secure.example.com"];
    let certificates = hosts.map(|host| Certificate::of(&lab.lab, host));
    for ((tenant, host), certificate) in tenants.iter().zip(hosts).zip(&certificates) {
        let name = format!("web-{}", tenant.name);
        certificate.put(tenant, ns);
        tenant
            .apply(
                &(echo::deployment(ns, &name, 1)
                    + &echo::service(ns, &name, "ClusterIP")
                    + &listener_set_and_route(ns, host, &name)),
            )
            .unwrap();
    }
    for ((tenant, host), certificate) in tenants.iter().zip(hosts).zip(&certificates) {
        programmed(tenant, ns);
        let pod = answered_securely(&lab.lab, &address, host, certificate);
        assert!(
            pod.starts_with(&format!("web-{}-", tenant.name)),
            "{host} was answered by {pod}"
        );
    }

    // A renewed certificate takes the place of the old one, and the neighbour keeps its own.
    let renewed = Certificate::of(&lab.lab, hosts[0]);
    renewed.put(tenants[0], ns);
    answered_securely(&lab.lab, &address, hosts[0], &renewed);
    answered_securely(&lab.lab, &address, hosts[1], &certificates[1]);
    assert!(https_pod(&lab.lab, &address, hosts[0], &certificates[0]).is_err());
}
