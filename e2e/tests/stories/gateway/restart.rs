//! Controllers go away and routes change under constant HTTP traffic: nothing that is served stops, and what changed
//! is live soon after.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::traffic::{self, Stream};
use e2e::wait::{seconds, until};
use e2e::{echo, product};
use serde_json::Value;

use crate::support::cut::Cut;
use crate::support::{
    Scratch, answered, ccm, condition, gateway_address, gone, hub_namespace, lab, status_within, uid,
};

const ENVOY_GATEWAY: (&str, &str) = ("envoy-gateway-system", "control-plane=envoy-gateway");
const CCM: (&str, &str) = (product::NAMESPACE, "app.kubernetes.io/name=kubelb-ccm");
/// How long the hub's API server is out of reach.
const AWAY: Duration = seconds(60);
/// From the return of the hub until what changed meanwhile is live.
const LIVE: Duration = seconds(30);
/// How often a route is moved from one Service to another.
const MOVES: usize = 6;
/// Longest time that a story may take.
const LIMIT: Duration = seconds(900);

/// Requests for one host through a Gateway, from the first answer to the end of the story.
struct Traffic {
    url: String,
    stream: Stream,
}

impl Traffic {
    #[track_caller]
    fn begin(tenant: &Cluster, namespace: &str, host: &str) -> Self {
        let url = format!("http://{}/", gateway_address(tenant, namespace, "edge"));
        answered(&url, Some(host));
        let stream = Stream::begin(
            url.clone(),
            Some(host.to_owned()),
            Duration::from_millis(10),
            LIMIT,
        );
        Self { url, stream }
    }

    /// Every request was answered, and there were many.
    #[track_caller]
    fn went_on(self) {
        let report = self.stream.end();
        assert!(
            report.sent > 200 && report.failures.is_empty(),
            "of {} requests to {}: {:?}",
            report.sent,
            self.url,
            report.failures
        );
    }
}

/// A Gateway `edge` with a route to `web` for one host.
fn world(namespace: &str) -> String {
    echo::deployment(namespace, "web", 1)
        + &echo::service(namespace, "web", "ClusterIP")
        + &echo::gateway(namespace, "edge")
        + &route(namespace, "web", "web.example.com")
}

/// A route to `web` for some hosts.
fn route(namespace: &str, name: &str, hosts: &str) -> String {
    echo::http_route(namespace, name, "edge", hosts, "web")
}

/// Pods that are not on their way out.
fn pods(cluster: &Cluster, (namespace, label): (&str, &str)) -> Result<Vec<Value>, String> {
    let mut pods = cluster
        .list(&["pods", "-n", namespace, "-l", label])
        .map_err(|e| e.to_string())?;
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(pods)
}

fn uids(pods: &[Value]) -> BTreeSet<String> {
    pods.iter()
        .map(|pod| pod["metadata"]["uid"].to_string())
        .collect()
}

/// Kills every pod of a controller, and gives their UIDs.
fn kill(cluster: &Cluster, of: (&str, &str)) -> BTreeSet<String> {
    let killed = uids(&pods(cluster, of).unwrap());
    assert!(!killed.is_empty(), "no pods {of:?} in {}", cluster.name);
    let (namespace, label) = of;
    let delete = [
        "delete",
        "pods",
        "-n",
        namespace,
        "-l",
        label,
        "--grace-period=0",
        "--force",
    ];
    cluster.kubectl(&delete).unwrap();
    killed
}

/// Waits for a pod that was not there before, in the wanted state.
#[track_caller]
fn another_pod(
    cluster: &Cluster,
    of: (&str, &str),
    killed: &BTreeSet<String>,
    state: impl Fn(&Value) -> bool,
) {
    until(
        format!("another pod of {} in {}", of.1, cluster.name),
        seconds(120),
        || {
            let pods = pods(cluster, of)?;
            let new = |pod: &&Value| !killed.contains(&pod["metadata"]["uid"].to_string());
            if pods.iter().filter(new).any(&state) {
                Ok(())
            } else {
                Err(pods
                    .iter()
                    .map(|pod| pod["status"].to_string())
                    .collect::<String>())
            }
        },
    )
    .unwrap();
}

fn ready(pod: &Value) -> bool {
    condition(&pod["status"]["conditions"], "Ready")["status"] == "True"
}

fn running(pod: &Value) -> bool {
    !pod["status"]["containerStatuses"][0]["state"]["running"].is_null()
}

#[test]
fn a_moving_route_is_never_led_to_a_node_port_that_does_not_answer() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("gw-move", &[tenant]);
    let ns = &scratch.namespace;
    let services = ["web", "next"];
    tenant
        .apply(&(world(ns) + &echo::deployment(ns, "next", 1) + &echo::service(ns, "next", "ClusterIP")))
        .unwrap();
    tenant
        .kubectl(&["rollout", "status", "-n", ns, "deployment/next", "--timeout=60s"])
        .unwrap();
    let traffic = Traffic::begin(tenant, ns, "web.example.com");
    for turn in 1..=MOVES {
        let service = services[turn % services.len()];
        tenant
            .apply(&echo::http_route(ns, "web", "edge", "web.example.com", service))
            .unwrap();
        until(format!("an answer of {service}"), seconds(60), || {
            let echo = traffic::get(&traffic.url, Some("web.example.com")).map_err(|e| e.to_string())?;
            if echo.pod.starts_with(service) {
                Ok(())
            } else {
                Err(echo.pod)
            }
        })
        .unwrap();
    }
    // Envoy Gateway sends clusters and routes as two updates. The manager bridges the time between them.
    traffic.went_on();
}

#[test]
fn a_restart_of_envoy_gateway_fails_no_request_and_a_route_changed_after_it_is_live() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_a);
    let scratch = Scratch::new("gw-restart", &[tenant]);
    let ns = &scratch.namespace;
    tenant.apply(&world(ns)).unwrap();
    let traffic = Traffic::begin(tenant, ns, "web.example.com");

    let killed = kill(hub, ENVOY_GATEWAY);
    another_pod(hub, ENVOY_GATEWAY, &killed, ready);
    tenant
        .apply(&route(ns, "web", "web.example.com, changed.example.com"))
        .unwrap();
    answered(&traffic.url, Some("changed.example.com"));
    traffic.went_on();
}

#[test]
fn a_ccm_restarted_while_the_hub_is_away_fails_no_request_and_catches_up() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let scratch = Scratch::new("ccm-restart", &[tenant]);
    let (ns, hub_ns) = (&scratch.namespace, hub_namespace(tenant));
    tenant
        .apply(&(world(ns) + &route(ns, "going", "going.example.com")))
        .unwrap();
    let traffic = Traffic::begin(tenant, ns, "web.example.com");
    answered(&traffic.url, Some("going.example.com"));
    let going = uid(tenant, &["httproute", "-n", ns, "going"]);

    let cut = Cut::off(&lab.lab, tenant);
    let away = Instant::now();
    let killed = kill(tenant, CCM);
    // A deletion is not held up by a hub that is away: kubectl waits until the object is gone.
    tenant
        .kubectl(&["delete", "httproute", "-n", ns, "going", "--timeout=20s"])
        .unwrap();
    tenant.apply(&route(ns, "new", "new.example.com")).unwrap();
    another_pod(tenant, CCM, &killed, running);
    until("the hub to be away for a minute", AWAY + seconds(30), || {
        // Nobody can have told the Envoys.
        traffic::get(&traffic.url, Some("going.example.com")).unwrap();
        let passed = away.elapsed();
        if passed >= AWAY {
            Ok(())
        } else {
            Err(format!("{passed:?}"))
        }
    })
    .unwrap();
    assert_eq!(
        traffic::status(&traffic.url, Some("new.example.com")).unwrap(),
        404
    );

    drop(cut);
    let back = Instant::now();
    for (host, wanted) in [("new.example.com", 200), ("going.example.com", 404)] {
        status_within(&traffic.url, host, wanted, LIVE, back);
    }
    gone(hub, &["routes.kubelb.k8c.io", "-n", hub_ns, &going]);
    nothing_holds(tenant, ns);
    traffic.went_on();
    product::rollout(tenant, "kubelb-ccm").unwrap();
    ccm::connected(tenant);
}

/// No object that the tenant made waits for anybody before it goes.
fn nothing_holds(tenant: &Cluster, namespace: &str) {
    let kinds = "gateways,httproutes,services,endpointslices,secrets";
    for object in tenant.list(&[kinds, "-n", namespace]).unwrap() {
        let metadata = &object["metadata"];
        let named = format!("{} {}", object["kind"], metadata["name"]);
        assert!(metadata["finalizers"].is_null(), "{named}: {metadata}");
        assert!(metadata["deletionTimestamp"].is_null(), "{named}: {metadata}");
    }
}
