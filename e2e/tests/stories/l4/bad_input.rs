//! What cannot be served is refused by name, and everything else stays served.

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::{seconds, until};

use crate::support::served::Served;
use crate::support::{Scratch, answered, ccm, lab, service_address, tidy, warned};

#[test]
fn an_sctp_port_is_refused_by_name_and_the_tcp_port_beside_it_is_served() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("l4-sctp", &[tenant]);
    let ns = &scratch.namespace;
    tenant.apply(&echo::deployment(ns, "web", 1)).unwrap();
    tenant
        .apply(&format!(
            r"apiVersion: v1
kind: Service
metadata: {{namespace: {ns}, name: web}}
spec:
  type: LoadBalancer
  selector: {{app: web}}
  ports:
  - {{name: http, port: 80, targetPort: 3000}}
  - {{name: signal, port: 9000, targetPort: 9000, protocol: SCTP}}
"
        ))
        .unwrap();
    warned(tenant, ns, "Service", "web", "spec.ports[1].protocol");
    answered(&format!("http://{}/", service_address(tenant, ns, "web")), None);
}

#[test]
fn a_service_of_a_foreign_load_balancer_class_is_left_alone() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("l4-class", &[tenant]);
    let ns = &scratch.namespace;
    let foreign = echo::service(ns, "foreign", "LoadBalancer").replace(
        "  type: LoadBalancer\n",
        "  type: LoadBalancer\n  loadBalancerClass: example.com/other\n",
    );
    tenant
        .apply(&(foreign + &echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    // The second Service is converted in the same pass, so when it has an address the first was seen too.
    service_address(tenant, ns, "web");
    let found = tenant.get(&["service", "-n", ns, "foreign"]).unwrap();
    assert!(found["status"]["loadBalancer"]["ingress"].is_null(), "{found}");
}

/// The label by which a cluster's operator takes a node out of every load balancer.
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Takes the label off again, also after a failed story.
struct Excluded<'a>(&'a Cluster);

impl<'a> Excluded<'a> {
    fn all_nodes(cluster: &'a Cluster) -> Self {
        let label = format!("{EXCLUDE}=true");
        cluster.kubectl(&["label", "nodes", "--all", &label]).unwrap();
        Self(cluster)
    }
}

impl Drop for Excluded<'_> {
    fn drop(&mut self) {
        let label = format!("{EXCLUDE}-");
        tidy(|| drop(self.0.kubectl(&["label", "nodes", "--all", &label]).unwrap()));
    }
}

#[test]
fn a_cluster_without_a_node_for_traffic_says_so_and_keeps_its_addresses() {
    let lab = lab();
    let tenant = &lab.tenant_b;
    let bystander = Served::begin("other-nodes", &lab.tenant_a);
    let scratch = Scratch::new("no-nodes", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    let address = service_address(tenant, ns, "web");
    answered(&format!("http://{address}/"), None);

    let excluded = Excluded::all_nodes(tenant);
    warned(
        tenant,
        ns,
        "Service",
        "web",
        "no node of this cluster takes traffic",
    );
    ccm::logged(
        tenant,
        &["no node of this cluster takes traffic from outside", "NoNodes"],
    );
    until(
        "the metric to say that no node serves",
        seconds(30),
        || match ccm::measured(tenant, "kubelb_ccm_nodes ")? {
            0 => Ok(()),
            nodes => Err(format!("{nodes} nodes")),
        },
    )
    .unwrap();
    // A new Service is told the same, and gets what it can get: an address.
    tenant
        .apply(&echo::service(ns, "new", "LoadBalancer").replace("app: new", "app: web"))
        .unwrap();
    warned(
        tenant,
        ns,
        "Service",
        "new",
        "no node of this cluster takes traffic",
    );
    assert_eq!(
        service_address(tenant, ns, "web"),
        address,
        "the address stays in the status"
    );

    drop(excluded);
    answered(&format!("http://{address}/"), None);
    answered(&format!("http://{}/", service_address(tenant, ns, "new")), None);
    assert_eq!(service_address(tenant, ns, "web"), address, "the address stays");
    bystander.went_on();
}
