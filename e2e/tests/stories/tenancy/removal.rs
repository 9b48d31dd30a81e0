//! A platform team removes a tenant that has L4 and L7 objects: piece by piece, or only its Tenant.
//!
//! The tenant is the story's own and has no cluster: what its CCM would write is written by hand, and the CCM is away
//! from the beginning, as it is after `helm uninstall`.

use e2e::cluster::Cluster;
use e2e::wait::{seconds, until};

use crate::support::tenant::nothing_left;
use crate::support::{condition, gone, lab, programmed, tidy};

const TENANT: &str = "tenant-leaving";
/// What is made on the hub from a tenant's objects.
const MADE: &str =
    "gateways.gateway.networking.k8s.io,httproutes.gateway.networking.k8s.io,services,endpointslices";
const ROUTES: [&str; 2] = ["front", "web"];

/// A Tenant with objects; it goes at the end of a failed story, too.
struct Leaving<'a> {
    hub: &'a Cluster,
    empty: Vec<String>,
}

impl<'a> Leaving<'a> {
    #[track_caller]
    fn begin(hub: &'a Cluster) -> Self {
        let mut leaving = Self {
            hub,
            empty: Vec::new(),
        };
        leaving.hub.apply(&tenant()).unwrap();
        leaving
            .hub
            .kubectl(&[
                "wait",
                "--for=condition=Ready",
                "--timeout=60s",
                &format!("tenant/{TENANT}"),
            ])
            .unwrap();
        leaving.empty = leaving.made();
        leaving.hub.apply(&objects()).unwrap();
        programmed(hub, TENANT, "by-hand", seconds(90));
        for route in ROUTES {
            served(hub, route);
        }
        for kind in ["gateway.", "httproute.", "service/", "endpointslice."] {
            let found = leaving.made();
            assert!(
                found.iter().any(|name| name.starts_with(kind)),
                "no {kind} in {found:?}"
            );
        }
        leaving
    }

    /// Kind and name of what is made from the tenant's objects.
    fn made(&self) -> Vec<String> {
        let found = self
            .hub
            .kubectl(&["get", MADE, "-n", TENANT, "-o", "name"])
            .unwrap();
        found.lines().map(str::to_owned).collect()
    }

    /// Deletes its LoadBalancers and Routes, and waits until nothing that was made from them is left.
    #[track_caller]
    fn delete_objects(&self) {
        let delete = [
            "delete",
            "loadbalancers.kubelb.k8c.io,routes.kubelb.k8c.io",
            "-n",
            TENANT,
            "--all",
            "--timeout=60s",
        ];
        self.hub.kubectl(&delete).unwrap();
        until("nothing that was made from them", seconds(120), || {
            let now = self.made();
            if now == self.empty {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        })
        .unwrap();
        gone(
            self.hub,
            &[
                "pods",
                "-n",
                TENANT,
                "-l",
                "app.kubernetes.io/managed-by=envoy-gateway",
            ],
        );
    }

    /// Deletes the Tenant; nothing that carries its name stays anywhere on the hub.
    #[track_caller]
    fn delete_tenant(&self) {
        self.hub
            .kubectl(&["delete", "tenant", TENANT, "--timeout=180s"])
            .unwrap();
        nothing_left(self.hub, TENANT);
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let delete = ["delete", "tenant", TENANT, "--ignore-not-found", "--timeout=180s"];
        tidy(|| drop(self.hub.kubectl(&delete).unwrap()));
    }
}

#[test]
fn a_tenant_whose_objects_go_first_leaves_nothing_on_the_hub() {
    let lab = lab();
    let leaving = Leaving::begin(&lab.hub);
    leaving.delete_objects();
    leaving.delete_tenant();
    // The last step that people are used to finds its work done.
    lab.hub
        .kubectl(&[
            "delete",
            "namespace",
            TENANT,
            "--ignore-not-found",
            "--timeout=60s",
        ])
        .unwrap();
}

#[test]
fn a_tenant_that_is_deleted_with_all_its_objects_leaves_nothing_on_the_hub() {
    let lab = lab();
    let leaving = Leaving::begin(&lab.hub);
    leaving.delete_tenant();
}

/// Waits until a Route is programmed.
#[track_caller]
fn served(hub: &Cluster, route: &str) {
    until(format!("Route {route} to be programmed"), seconds(180), || {
        let found = hub
            .get(&["routes.kubelb.k8c.io", "-n", TENANT, route])
            .map_err(|e| e.to_string())?;
        if condition(&found["status"]["conditions"], "Programmed")["status"] == "True" {
            Ok(())
        } else {
            Err(found["status"].to_string())
        }
    })
    .unwrap();
}

fn tenant() -> String {
    format!(
        r"apiVersion: kubelb.k8c.io/v1alpha1
kind: Tenant
metadata: {{name: {TENANT}}}
spec:
  endpointCIDRs: [192.0.2.0/24]
  allowedDomains: [leaving.example.com]
  envoyProxy: {{replicas: 1}}
"
    )
}

/// A LoadBalancer, and a Gateway with an HTTPRoute. Nobody answers at the address: nothing is sent there.
fn objects() -> String {
    format!(
        r"apiVersion: kubelb.k8c.io/v1alpha1
kind: Addresses
metadata: {{namespace: {TENANT}, name: default}}
spec: {{addresses: [{{ip: 192.0.2.10}}]}}
---
apiVersion: kubelb.k8c.io/v1alpha1
kind: LoadBalancer
metadata: {{namespace: {TENANT}, name: by-hand}}
spec:
  type: LoadBalancer
  ports: [{{name: http, port: 80, protocol: TCP}}]
  endpoints: [{{addresses: [{{ip: 192.0.2.10}}], ports: [{{name: http, port: 30999, protocol: TCP}}]}}]
---
apiVersion: kubelb.k8c.io/v1alpha1
kind: Route
metadata: {{namespace: {TENANT}, name: front}}
spec:
  origin: {{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop, name: front, uid: front, generation: 1}}
  source:
    kubernetes:
      resource:
        apiVersion: gateway.networking.k8s.io/v1
        kind: Gateway
        metadata: {{namespace: shop, name: front, uid: front}}
        spec:
          gatewayClassName: kubelb
          listeners: [{{name: http, port: 80, protocol: HTTP}}]
  gateway: {{listeners: [{{name: http}}]}}
---
apiVersion: kubelb.k8c.io/v1alpha1
kind: Route
metadata: {{namespace: {TENANT}, name: web}}
spec:
  origin: {{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop, name: web, uid: web, generation: 1}}
  source:
    kubernetes:
      resource:
        apiVersion: gateway.networking.k8s.io/v1
        kind: HTTPRoute
        metadata: {{namespace: shop, name: web, uid: web}}
        spec:
          parentRefs: [{{name: front}}]
          hostnames: [leaving.example.com]
          rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
  parents: [{{scope: Tenant, namespace: shop, name: front, listeners: [http]}}]
  backends:
  - pointer: /spec/rules/0/backendRefs/0
    service: {{namespace: shop, name: web, port: 80, portName: http, protocol: TCP, nodePort: 30999}}
"
    )
}
