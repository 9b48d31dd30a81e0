//! Both replicas of the manager are killed while traffic flows and things change.

use std::time::Duration;

use e2e::traffic::{Stream, StreamReport};
use e2e::wait::{seconds, until};
use e2e::{echo, product};

use crate::support::{Scratch, answered, gateway_address, lab, service_address};

const REQUESTS: u64 = 2_000;

#[test]
fn killing_every_manager_fails_no_request_and_changes_are_live_soon_after() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("failover", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "LoadBalancer")
                + &echo::service(ns, "routed", "ClusterIP").replace("app: routed", "app: web")
                + &echo::gateway(ns, "edge")
                + &echo::http_route(ns, "web", "edge", "web.example.com", "routed")),
        )
        .unwrap();
    let l4_url = format!("http://{}/", service_address(tenant, ns, "web"));
    let l7_url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    answered(&l4_url, None);
    answered(&l7_url, Some("web.example.com"));

    let pause = Duration::from_millis(3);
    let l4 = Stream::begin(l4_url, None, pause, seconds(300));
    let l7 = Stream::begin(l7_url, Some("web.example.com".to_owned()), pause, seconds(300));
    let kill = [
        "delete",
        "pods",
        "-n",
        product::NAMESPACE,
        "-l",
        "app.kubernetes.io/name=kubelb-manager",
        "--grace-period=0",
        "--force",
    ];
    hub.kubectl(&kill).unwrap();
    // While nobody is there: a new LoadBalancer, and another backend behind the old one.
    tenant
        .apply(&echo::service(ns, "new", "LoadBalancer").replace("app: new", "app: web"))
        .unwrap();
    tenant
        .kubectl(&["scale", "-n", ns, "deployment/web", "--replicas=2"])
        .unwrap();
    product::rollout(hub, "kubelb-manager").unwrap();
    until("the new LoadBalancer to answer", seconds(10), || {
        let service = tenant
            .get(&["service", "-n", ns, "new"])
            .map_err(|e| e.to_string())?;
        let ip = service["status"]["loadBalancer"]["ingress"][0]["ip"]
            .as_str()
            .ok_or("no address")?
            .to_owned();
        e2e::traffic::get(&format!("http://{ip}/"), None).map_err(|e| e.to_string())
    })
    .unwrap();
    until("2,000 requests each", seconds(120), || {
        let (a, b) = (l4.sent(), l7.sent());
        if a >= REQUESTS && b >= REQUESTS {
            Ok(())
        } else {
            Err(format!("{a} and {b}"))
        }
    })
    .unwrap();
    for (what, report) in [("L4", l4.end()), ("L7", l7.end())] {
        let StreamReport { sent, failures } = report;
        assert!(sent >= REQUESTS, "{what}: only {sent} requests");
        assert_eq!(failures, Vec::<String>::new(), "{what}: of {sent} requests");
    }
}
