//! The hub's API server is away for ten minutes, or for as many seconds as `KUBELB_SOAK_OUTAGE_SECONDS` says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::held::Held;
use e2e::traffic::{self, Stream};
use e2e::wait::{seconds, until};
use testbed::Lab;

use crate::support::{Scratch, answered, ccm, gateway_address, lab, node_port, service_address, text, tidy};

/// How long the API server is away unless told.
const OUTAGE: u64 = 600;
/// From the return of the API server until what changed meanwhile is live.
const LIVE: Duration = seconds(10);
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const ASIDE: &str = "/etc/kubernetes/kube-apiserver.yaml.aside";

/// The hub's API server, until it is let back; at the end of a failed story at the latest.
struct Away<'a> {
    lab: &'a Lab,
    hub: &'a Cluster,
}

impl<'a> Away<'a> {
    /// Takes the manifest from which kubelet runs it away, as its operator would stop it.
    fn begin(lab: &'a Lab, hub: &'a Cluster) -> Self {
        let away = Self { lab, hub };
        away.in_node(&format!("mv {MANIFEST} {ASIDE}"));
        until("the API server to be away", seconds(90), || match ready(hub) {
            Ok(()) => Err("it still answers"),
            Err(_) => Ok(()),
        })
        .unwrap();
        away
    }

    /// Lets it back, and gives the moment from which pods of the hub reach it: kube-proxy leads them there when it has
    /// itself heard of the return, for which it may wait for a minute after a long outage, as all watches of client-go.
    fn end(self) -> Instant {
        self.bring_back();
        until("the API server to answer", seconds(180), || ready(self.hub)).unwrap();
        let answered = Instant::now();
        let service = self.hub.get(&["service", "-n", "default", "kubernetes"]).unwrap();
        let address = text(&service["spec"]["clusterIP"]).unwrap();
        let connect = format!("timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/443'");
        until("pods of the hub to reach the API server", seconds(120), || {
            let node = self.lab.control_plane("hub");
            self.lab
                .in_node(&node, &connect)
                .map_err(|error| error.to_string())
        })
        .unwrap();
        say(&format!(
            "pods reached the API server {:.1} s after it answered",
            answered.elapsed().as_secs_f32()
        ));
        Instant::now()
    }

    fn bring_back(&self) {
        self.in_node(&format!("[ ! -e {ASIDE} ] || mv {ASIDE} {MANIFEST}"));
    }

    fn in_node(&self, script: &str) {
        self.lab.in_node(&self.lab.control_plane("hub"), script).unwrap();
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        tidy(|| {
            self.bring_back();
            until("the API server to answer", seconds(180), || ready(self.hub)).unwrap();
        });
    }
}

fn ready(hub: &Cluster) -> Result<(), String> {
    let asked = hub.kubectl(&["get", "--raw", "/readyz", "--request-timeout=2s"]);
    asked.map(drop).map_err(|e| e.to_string())
}

fn outage() -> Duration {
    let told = std::env::var("KUBELB_SOAK_OUTAGE_SECONDS").ok();
    seconds(told.map_or(OUTAGE, |text| text.parse().unwrap()))
}

#[test]
fn the_hubs_api_server_away_for_minutes_fails_no_request_and_changes_are_live_soon_after() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_a);
    let scratch = Scratch::new("outage", &[tenant]);
    let ns = &scratch.namespace;
    tenant.apply(&world(ns)).unwrap();
    let address = |name: &str| service_address(tenant, ns, name);
    let (l4, changing) = (address("web"), format!("http://{}/", address("changing")));
    let l7 = gateway_address(tenant, ns, "edge");
    let (l4_url, l7_url) = (format!("http://{l4}/"), format!("http://{l7}/"));
    answered(&l4_url, None);
    answered(&changing, None);
    answered(&l7_url, Some("web.example.com"));

    let (outage, pause) = (outage(), Duration::from_millis(20));
    let limit = outage + seconds(600);
    let streams = [
        ("L4", Stream::begin(l4_url, None, pause, limit)),
        (
            "L7",
            Stream::begin(l7_url.clone(), Some("web.example.com".to_owned()), pause, limit),
        ),
    ];
    let held = [
        ("L4", Held::open(&l4, 80, "l4.example.com").unwrap()),
        ("L7", Held::open(&l7, 80, "web.example.com").unwrap()),
    ];
    let restarts = restarts(hub);
    let begin = Instant::now();
    let away = Away::begin(&lab.lab, hub);
    // Traffic to another port of every node: only Envoy's configuration has to follow.
    let moved = node_port::change(tenant, ns, "changing");
    // This is the story itself, not a wait for something.
    std::thread::sleep(outage / 2);
    tenant
        .apply(&echo::http_route(ns, "new", "edge", "new.example.com", "routed"))
        .unwrap();
    std::thread::sleep(outage.saturating_sub(begin.elapsed()));
    assert!(
        traffic::get(&changing, None).is_err(),
        "nobody can have told the Envoys"
    );

    let back = away.end();
    live("the changed Service", back, LIVE, || {
        traffic::get(&changing, None)
    });
    // Envoy Gateway is started again by kubelet, with kubelet's pauses between two attempts: five minutes at most.
    live("the new HTTPRoute", back, seconds(330), || {
        traffic::get(&l7_url, Some("new.example.com"))
    });
    assert_eq!(node_port::of(tenant, ns, "changing"), moved);
    for (what, connection) in held {
        let answers = connection.end().unwrap();
        say(&format!("{what}: {answers} answers over one connection"));
        assert!(answers >= outage.as_secs() / 2, "{what}: {answers} answers");
    }
    for (what, stream) in streams {
        let report = stream.end();
        say(&format!(
            "{what}: {} requests, {} failed",
            report.sent,
            report.failures.len()
        ));
        assert!(
            report.sent > outage.as_secs() * 5,
            "{what}: only {} requests",
            report.sent
        );
        assert_eq!(
            report.failures,
            Vec::<String>::new(),
            "{what}: of {} requests",
            report.sent
        );
    }
    ccm::connected(tenant);
    assert_eq!(self::restarts(hub), restarts, "managers were restarted");
}

fn world(namespace: &str) -> String {
    let mut manifest = echo::deployment(namespace, "web", 1);
    manifest += &echo::service(namespace, "web", "LoadBalancer");
    for (name, type_) in [("changing", "LoadBalancer"), ("routed", "ClusterIP")] {
        manifest += &echo::service(namespace, name, type_).replace(&format!("app: {name}"), "app: web");
    }
    manifest += &echo::gateway(namespace, "edge");
    manifest += &echo::http_route(namespace, "web", "edge", "web.example.com", "routed");
    manifest
}

/// Waits for an answer that must come within `limit` after `back`, and says how long it took.
fn live<T>(
    what: &str,
    back: Instant,
    limit: Duration,
    look: impl FnMut() -> Result<T, traffic::TrafficError>,
) {
    until(format!("{what} to be live"), limit + seconds(300), look).unwrap();
    let took = back.elapsed();
    say(&format!(
        "{what} was live {:.1} s after the API server's return",
        took.as_secs_f32()
    ));
    assert!(took <= limit, "{what} took {took:?}");
}

/// How often the container of each manager was restarted.
fn restarts(hub: &Cluster) -> BTreeMap<String, u64> {
    let label = "app.kubernetes.io/name=kubelb-manager";
    let pods = hub
        .list(&["pods", "-n", e2e::product::NAMESPACE, "-l", label])
        .unwrap();
    let count = |pod: &serde_json::Value| {
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        (text(&pod["metadata"]["name"]).unwrap(), restarts.unwrap())
    };
    pods.iter().map(count).collect()
}

#[expect(clippy::print_stdout, reason = "figures of a long run are its result")]
fn say(line: &str) {
    println!("{line}");
}
