//! A developer whose cluster speaks IPv4 and IPv6 routes to Services of one of them, and of both.

use std::time::Duration;

use e2e::echo;
use e2e::traffic::Stream;
use e2e::wait::seconds;

use crate::support::{Scratch, answered, gateway_address, lab, more_requests};

#[test]
fn each_request_reaches_a_backend_whatever_the_families_of_its_service() {
    let lab = lab();
    assert!(
        lab.lab.has_ipv6(),
        "this lab has no IPv6, so that none of this can be shown: see e2e/testbed/README.md"
    );
    let tenant = &lab.tenant_b;
    let scratch = Scratch::new("gw-families", &[tenant]);
    let ns = &scratch.namespace;
    let backends = [
        ("four", "SingleStack", "[IPv4]"),
        ("six", "SingleStack", "[IPv6]"),
        ("both", "RequireDualStack", "[IPv6, IPv4]"),
    ];
    let mut world = echo::gateway(ns, "edge");
    for (name, policy, families) in backends {
        let spec = format!("  type: ClusterIP\n  ipFamilyPolicy: {policy}\n  ipFamilies: {families}\n");
        world += &echo::deployment(ns, name, 1);
        world += &echo::service(ns, name, "ClusterIP").replace("  type: ClusterIP\n", &spec);
        world += &echo::http_route(ns, name, "edge", &format!("{name}.example.com"), name);
    }
    tenant.apply(&world).unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    for (name, _, _) in backends {
        let host = format!("{name}.example.com");
        answered(&url, Some(&host));
        // A node address that does not answer would be tried by every other request.
        let stream = Stream::begin(url.clone(), Some(host), Duration::from_millis(10), seconds(60));
        more_requests(&stream, 50, name);
        assert_eq!(stream.end().failures, Vec::<String>::new(), "{name}");
    }
}
