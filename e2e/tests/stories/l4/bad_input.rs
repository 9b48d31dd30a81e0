//! What cannot be served is refused by name, and everything else stays served.

use e2e::echo;

use crate::support::{Scratch, answered, lab, service_address, warned};

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
