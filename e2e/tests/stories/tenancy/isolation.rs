//! Two tenants make objects of the same names: separate addresses, and each reaches only its own pods.

use e2e::echo;

use crate::support::{Scratch, answered, gateway_address, lab, service_address};

#[test]
fn identically_named_objects_of_two_tenants_are_served_apart() {
    let lab = lab();
    let tenants = [&lab.tenant_a, &lab.tenant_b];
    let scratch = Scratch::new("isolation", &tenants);
    let ns = &scratch.namespace;
    for tenant in tenants {
        let pods = format!("web-{}", tenant.name);
        // The same Service, Gateway and route names; only the pods' name tells the tenants apart.
        let select_pods = |service: String| service.replace("{app: web}", &format!("{{app: {pods}}}"));
        tenant
            .apply(
                &(echo::deployment(ns, &pods, 1)
                    + &select_pods(echo::service(ns, "web", "LoadBalancer"))
                    + &echo::gateway(ns, "edge")
                    + &echo::http_route(ns, "web", "edge", "same.example.com", "web")),
            )
            .unwrap();
    }
    let l4 = tenants.map(|tenant| service_address(tenant, ns, "web"));
    let l7 = tenants.map(|tenant| gateway_address(tenant, ns, "edge"));
    assert_ne!(l4[0], l4[1]);
    assert_ne!(l7[0], l7[1]);
    for (index, tenant) in tenants.iter().enumerate() {
        let own = format!("web-{}-", tenant.name);
        for _ in 0..20 {
            let direct = answered(&format!("http://{}/", l4[index]), None);
            assert!(
                direct.pod.starts_with(&own),
                "{} answered for {}",
                direct.pod,
                tenant.name
            );
            let routed = answered(&format!("http://{}/", l7[index]), Some("same.example.com"));
            assert!(
                routed.pod.starts_with(&own),
                "{} answered for {}",
                routed.pod,
                tenant.name
            );
        }
    }
}
