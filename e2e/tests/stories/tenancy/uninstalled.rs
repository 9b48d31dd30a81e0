//! A tenant leaves in the order that people are used to: `helm uninstall`, its objects on the hub, its Tenant, its
//! namespace. Then it comes back by a new installation.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::traffic::Stream;
use e2e::wait::seconds;
use e2e::{echo, product};

use crate::support::ccm;
use crate::support::served::{Served, only_ready_envoys};
use crate::support::tenant::{Tenant, nothing_left, served_again};
use crate::support::{Scratch, answered, gateway_address, gone, hub_namespace, lab, service_address, tidy};

const CHART: &str = "kubelb-ccm";
const HOST: &str = "leaving.b.example.com";
/// Whatever the CCM makes in its own cluster.
const OWNED: &str = "kubelb.k8c.io/managed-by=kubelb";

/// The CCM as it was installed; installed again at the end, also of a failed story.
struct Installed<'a> {
    hub: &'a Cluster,
    tenant: &'a Cluster,
    values: String,
    manifest: Tenant<'a>,
}

impl<'a> Installed<'a> {
    fn of(hub: &'a Cluster, tenant: &'a Cluster) -> Self {
        let values = product::values(tenant, CHART).unwrap();
        let manifest = Tenant::of(hub, tenant);
        Self {
            hub,
            tenant,
            values,
            manifest,
        }
    }

    fn uninstall(&self) {
        self.tenant
            .helm(&["uninstall", CHART, "--namespace", product::NAMESPACE, "--wait"])
            .unwrap();
        gone(self.tenant, &["pods", "-n", product::NAMESPACE]);
        let whole_cluster = "clusterroles,clusterrolebindings";
        gone(
            self.tenant,
            &[whole_cluster, "-l", "app.kubernetes.io/name=kubelb-ccm"],
        );
    }

    fn delete_on_the_hub(&self) {
        let (hub, namespace) = (self.hub, hub_namespace(self.tenant));
        let objects = "loadbalancers.kubelb.k8c.io,routes.kubelb.k8c.io";
        for delete in [
            ["delete", objects, "--all", "-n", namespace, "--timeout=60s"].as_slice(),
            &["delete", "tenant", self.tenant.name, "--timeout=180s"],
            &[
                "delete",
                "namespace",
                namespace,
                "--ignore-not-found",
                "--timeout=60s",
            ],
        ] {
            hub.kubectl(delete).unwrap();
        }
        nothing_left(hub, self.tenant.name);
    }

    /// What README.md tells people to remove when the CCM is gone.
    fn delete_what_remains(&self) {
        for delete in [
            ["delete", "services,endpointslices", "-A", "-l", OWNED].as_slice(),
            &["delete", "namespace", product::NAMESPACE, "--timeout=90s"],
        ] {
            self.tenant.kubectl(delete).unwrap();
        }
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        tidy(|| {
            self.manifest.make();
            ccm::hand_over(self.hub, self.tenant);
            product::install_with(self.tenant, CHART, &self.values).unwrap();
            ccm::connected(self.tenant);
        });
    }
}

#[test]
fn a_tenant_leaves_in_the_known_order_and_comes_back_by_a_new_installation() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let bystander = Served::begin("bystander", &lab.tenant_a);
    let scratch = Scratch::new("leaving", &[tenant]);
    let ns = &scratch.namespace;
    let plain = echo::service(ns, "plain", "ClusterIP").replace("app: plain", "app: web");
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "LoadBalancer")
                + &plain
                + &echo::gateway(ns, "edge")
                + &echo::http_route(ns, "web", "edge", HOST, "plain")),
        )
        .unwrap();
    let l4 = || service_address(tenant, ns, "web");
    let l7 = || gateway_address(tenant, ns, "edge");
    let installed = Installed::of(hub, tenant);
    l4();
    only_ready_envoys(tenant);
    let streams = [(l4(), None), (l7(), Some(HOST))].map(|(address, host)| {
        let url = format!("http://{address}/");
        answered(&url, host);
        Stream::begin(
            url,
            host.map(str::to_owned),
            Duration::from_millis(20),
            seconds(180),
        )
    });

    installed.uninstall();
    for stream in streams {
        let report = stream.end();
        assert!(report.sent > 20, "only {} requests", report.sent);
        assert_eq!(report.failures, Vec::<String>::new(), "without a CCM");
    }
    installed.delete_on_the_hub();
    installed.delete_what_remains();

    drop(installed);
    served_again(ns, None, l4);
    served_again(ns, Some(HOST), l7);
    bystander.went_on();
}
