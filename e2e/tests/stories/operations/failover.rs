//! Both replicas of the manager are killed while traffic flows, and things change before they are back.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::environment::Environment;
use e2e::held::Held;
use e2e::traffic::{self, Stream, StreamReport};
use e2e::wait::{seconds, until};

use crate::support::envoys::{self, Fleet};
use crate::support::no_manager::NoManager;
use crate::support::served::only_ready_envoys;
use crate::support::{
    Scratch, answered, gateway_address, hub_namespace, lab, node_port, service_address, text, uid, within,
};

const REQUESTS: u64 = 2_000;
/// From the return of the managers until what changed meanwhile is live.
const LIVE: Duration = seconds(10);
/// Longest time that the story may take.
const LIMIT: Duration = seconds(1200);
const HOST: &str = "web.example.com";

#[test]
fn killing_every_manager_fails_no_request_and_changes_are_live_soon_after() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("failover", &[tenant]);
    let ns = &scratch.namespace;
    tenant.apply(&world(ns)).unwrap();
    let changing = format!("http://{}/", service_address(tenant, ns, "changing"));
    answered(&changing, None);
    let traffic = Traffic::begin(tenant, ns);

    let away = NoManager::begin(&lab.lab, &lab.hub);
    let before = traffic.sent();
    change(&lab, ns);
    traffic.requests(before, REQUESTS);
    assert!(
        traffic::get(&changing, None).is_err(),
        "nobody can have told the Envoys of another NodePort"
    );
    assert_eq!(address(tenant, ns, "new"), Ok(None), "nobody can have served it");
    away.still();

    let back = away.end();
    within("the Service with another NodePort live", LIVE, back, || {
        traffic::get(&changing, None).map_err(|e| e.to_string())
    });
    within("the new LoadBalancer live", LIVE, back, || {
        let ip = address(tenant, ns, "new")?.ok_or("no address")?;
        traffic::get(&format!("http://{ip}/"), None).map_err(|e| e.to_string())
    });
    traffic.requests(traffic.sent(), 100);
    traffic.went_on();
}

/// Services `web` and, by a Gateway `edge`, `routed` are under load; `changing` is not.
fn world(namespace: &str) -> String {
    let mut manifest = echo::deployment(namespace, "web", 1);
    for (name, type_) in [
        ("web", "LoadBalancer"),
        ("changing", "LoadBalancer"),
        ("routed", "ClusterIP"),
    ] {
        manifest += &service(namespace, name, type_);
    }
    manifest += &echo::gateway(namespace, "edge");
    manifest + &echo::http_route(namespace, "web", "edge", HOST, "routed")
}

/// A Service in front of the pods of `web`.
fn service(namespace: &str, name: &str, type_: &str) -> String {
    echo::service(namespace, name, type_).replace(&format!("app: {name}"), "app: web")
}

/// Another NodePort behind an old LoadBalancer, and a new LoadBalancer. Both have reached the hub at the end.
#[track_caller]
fn change(lab: &Environment, namespace: &str) {
    let tenant = &lab.tenant_a;
    let moved = node_port::change(tenant, namespace, "changing");
    tenant.apply(&service(namespace, "new", "LoadBalancer")).unwrap();
    let ports = [
        ("changing", moved),
        ("new", node_port::of(tenant, namespace, "new")),
    ];
    for (name, port) in ports {
        let balancer = uid(tenant, &["service", "-n", namespace, name]);
        until(
            format!("NodePort {port} of {name} on the hub"),
            seconds(60),
            || {
                let found = lab
                    .hub
                    .get(&["loadbalancer", "-n", hub_namespace(tenant), &balancer])
                    .map_err(|e| e.to_string())?;
                let endpoints = &found["spec"]["endpoints"];
                if endpoints[0]["ports"][0]["port"] == port {
                    Ok(())
                } else {
                    Err(endpoints.to_string())
                }
            },
        )
        .unwrap();
    }
}

/// The address in the status of a Service.
fn address(tenant: &Cluster, namespace: &str, name: &str) -> Result<Option<String>, String> {
    let service = tenant
        .get(&["service", "-n", namespace, name])
        .map_err(|e| e.to_string())?;
    Ok(text(&service["status"]["loadBalancer"]["ingress"][0]["ip"]))
}

/// What clients do all the time, by L4 and by L7: new connections without pause, and one that stays open.
struct Traffic<'a> {
    fleets: [(Fleet<'a>, envoys::Losses); 2],
    streams: [(&'static str, Stream); 2],
    held: [(&'static str, Held); 2],
}

impl<'a> Traffic<'a> {
    #[track_caller]
    fn begin(tenant: &'a Cluster, namespace: &'a str) -> Self {
        let l4 = service_address(tenant, namespace, "web");
        let l7 = gateway_address(tenant, namespace, "edge");
        let (l4_url, l7_url) = (format!("http://{l4}/"), format!("http://{l7}/"));
        answered(&l4_url, None);
        answered(&l7_url, Some(HOST));
        only_ready_envoys(tenant);
        let fleets = [
            Fleet::LoadBalancers(tenant, namespace),
            Fleet::Gateway(tenant, namespace, "edge"),
        ];
        let fleets = fleets.map(|fleet| {
            let losses = envoys::settled(&fleet);
            (fleet, losses)
        });
        let pause = Duration::from_millis(3);
        let host = Some(HOST.to_owned());
        Self {
            fleets,
            streams: [
                ("L4", Stream::begin(l4_url, None, pause, LIMIT)),
                ("L7", Stream::begin(l7_url, host, pause, LIMIT)),
            ],
            held: [("L4", &l4), ("L7", &l7)].map(|(what, ip)| (what, Held::open(ip, 80, HOST).unwrap())),
        }
    }

    /// Requests sent until now, by L4 and by L7.
    fn sent(&self) -> [u64; 2] {
        self.streams.each_ref().map(|(_, stream)| stream.sent())
    }

    /// Waits until `count` more of each were sent than `before`.
    #[track_caller]
    fn requests(&self, before: [u64; 2], count: u64) {
        until(format!("{count} requests each"), seconds(300), || {
            let [l4, l7] = self.sent();
            if l4 >= before[0] + count && l7 >= before[1] + count {
                Ok(())
            } else {
                Err(format!("{} and {}", l4 - before[0], l7 - before[1]))
            }
        })
        .unwrap();
    }

    /// Every request was answered, every connection is still open, and no Envoy took a listener away.
    #[track_caller]
    fn went_on(self) {
        for (what, connection) in self.held {
            let answers = connection.end().unwrap();
            assert!(answers > 1, "{what}: {answers} answers over one connection");
        }
        for (what, stream) in self.streams {
            let StreamReport { sent, failures } = stream.end();
            assert_eq!(failures, Vec::<String>::new(), "{what}: of {sent} requests");
        }
        for (fleet, losses) in &self.fleets {
            envoys::lost_nothing(fleet, losses);
        }
    }
}
