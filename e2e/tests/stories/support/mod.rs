//! What the stories share: the lab, a namespace of one's own, and questions that many ask.

pub mod ccm;
pub mod cut;
pub mod diagnosis;
pub mod envoys;
pub mod no_manager;
pub mod node_port;
pub mod served;
pub mod stopped;
pub mod tenant;
pub mod token;

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::environment::Environment;
use e2e::product;
use e2e::traffic::{self, Echo, Stream};
use e2e::wait::{seconds, until};
use serde_json::{Value, json};

/// The lab that the stories run in.
pub fn lab() -> Environment {
    Environment::load().unwrap()
}

/// A namespace of the story's own in some clusters, removed at the end, also of a failed story.
pub struct Scratch {
    clusters: Vec<Cluster>,
    pub namespace: String,
}

impl Scratch {
    pub fn new(story: &str, clusters: &[&Cluster]) -> Self {
        let namespace = format!("e2e-{story}");
        for cluster in clusters {
            remove(cluster, &namespace, true);
            cluster.kubectl(&["create", "namespace", &namespace]).unwrap();
        }
        Self {
            clusters: clusters.iter().map(|c| (*c).clone()).collect(),
            namespace,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tidy(|| {
                for cluster in &self.clusters {
                    diagnosis::print(cluster, &self.namespace);
                }
            });
        }
        tidy(|| {
            for cluster in &self.clusters {
                remove(cluster, &self.namespace, false);
            }
        });
    }
}

/// Tidies up in a destructor. A story that has failed already must not take all others with it.
pub fn tidy(up: impl FnOnce()) {
    if std::thread::panicking() {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(up));
    } else {
        up();
    }
}

fn remove(cluster: &Cluster, namespace: &str, wait: bool) {
    let wait = format!("--wait={wait}");
    let arguments = [
        "delete",
        "namespace",
        namespace,
        "--ignore-not-found",
        "--timeout=90s",
        &wait,
    ];
    cluster.kubectl(&arguments).unwrap();
}

/// Namespace of a tenant on the hub.
pub fn hub_namespace(tenant: &Cluster) -> &'static str {
    tenant.name
}

/// Changes fields of a Service's spec.
#[track_caller]
pub fn patch_service(cluster: &Cluster, namespace: &str, name: &str, spec: &Value) {
    let patch = json!({"spec": spec}).to_string();
    let words = [
        "patch",
        "service",
        "-n",
        namespace,
        name,
        "--type=merge",
        "-p",
        &patch,
    ];
    cluster.kubectl(&words).unwrap();
}

/// The address that this process has towards another one.
#[track_caller]
pub fn own_address(towards: IpAddr) -> IpAddr {
    let any = match towards {
        IpAddr::V4(_) => "0.0.0.0:0",
        IpAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect((towards, 80)).unwrap();
    socket.local_addr().unwrap().ip()
}

/// Waits for the address of a Service of type LoadBalancer.
#[track_caller]
pub fn service_address(cluster: &Cluster, namespace: &str, name: &str) -> String {
    until(
        format!("an address of Service {namespace}/{name} in {}", cluster.name),
        seconds(90),
        || {
            let service = cluster
                .get(&["service", "-n", namespace, name])
                .map_err(|e| e.to_string())?;
            text(&service["status"]["loadBalancer"]["ingress"][0]["ip"])
                .ok_or_else(|| service["status"].to_string())
        },
    )
    .unwrap()
}

/// Waits until a Gateway is programmed at its newest generation, and gives its address.
#[track_caller]
pub fn gateway_address(cluster: &Cluster, namespace: &str, name: &str) -> String {
    until(
        format!("Gateway {namespace}/{name} in {} to be programmed", cluster.name),
        seconds(120),
        || {
            let gateway = cluster
                .get(&["gateway", "-n", namespace, name])
                .map_err(|e| e.to_string())?;
            let generation = gateway["metadata"]["generation"].as_i64();
            let programmed = condition(&gateway["status"]["conditions"], "Programmed");
            if programmed["status"] != "True" || programmed["observedGeneration"].as_i64() != generation {
                return Err(gateway["status"].to_string());
            }
            text(&gateway["status"]["addresses"][0]["value"]).ok_or_else(|| gateway["status"].to_string())
        },
    )
    .unwrap()
}

/// Waits until a LoadBalancer on the hub is programmed at its newest generation.
#[track_caller]
pub fn programmed(hub: &Cluster, namespace: &str, name: &str, limit: Duration) {
    until(
        format!("LoadBalancer {namespace}/{name} to be programmed"),
        limit,
        || {
            let found = hub
                .get(&["loadbalancer", "-n", namespace, name])
                .map_err(|e| e.to_string())?;
            let programmed = condition(&found["status"]["conditions"], "Programmed");
            if programmed["status"] == "True"
                && programmed["observedGeneration"] == found["metadata"]["generation"]
            {
                Ok(())
            } else {
                Err(found["status"].to_string())
            }
        },
    )
    .unwrap();
}

/// Waits until `look` gives a value, but not longer than `limit` from the moment `since`.
#[track_caller]
pub fn within<T>(what: &str, limit: Duration, since: Instant, look: impl FnMut() -> Result<T, String>) {
    until(
        format!("{what} within {limit:?}"),
        limit.saturating_sub(since.elapsed()),
        look,
    )
    .unwrap();
}

/// As [`within`], until requests for a host get this status.
#[track_caller]
pub fn status_within(url: &str, host: &str, status: u16, limit: Duration, since: Instant) {
    within(
        &format!("{status} from {url} for {host}"),
        limit,
        since,
        || match traffic::status(url, Some(host)) {
            Ok(seen) if seen == status => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

/// Waits until `count` more requests have been sent.
#[track_caller]
pub fn more_requests(stream: &Stream, count: u64, when: &str) {
    let wanted = stream.sent() + count;
    until(format!("{count} requests {when}"), seconds(60), || {
        let sent = stream.sent();
        if sent >= wanted {
            Ok(())
        } else {
            Err(format!("{sent} of {wanted}"))
        }
    })
    .unwrap();
}

/// Waits until requests are answered by a pod of `namespace`, and gives the answer.
#[track_caller]
pub fn answered(url: &str, host: Option<&str>) -> Echo {
    until(
        format!("an answer from {url} (host {host:?})"),
        seconds(60),
        || traffic::get(url, host),
    )
    .unwrap()
}

/// Waits until a cluster has none of these objects: `kubectl get <arguments>` finds nothing.
#[track_caller]
pub fn gone(cluster: &Cluster, arguments: &[&str]) {
    until(
        format!("no {} in {}", arguments.join(" "), cluster.name),
        seconds(60),
        || {
            let mut all = vec!["get", "--ignore-not-found", "-o", "name"];
            all.extend_from_slice(arguments);
            let found = cluster.kubectl(&all).map_err(|e| e.to_string())?;
            if found.trim().is_empty() {
                Ok(())
            } else {
                Err(found)
            }
        },
    )
    .unwrap();
}

/// The condition of this type in a list, or null.
pub fn condition(conditions: &Value, type_: &str) -> Value {
    let found = conditions
        .as_array()
        .and_then(|list| list.iter().find(|c| c["type"] == type_));
    found.cloned().unwrap_or(Value::Null)
}

/// A pod that is ready and not on its way out.
pub fn is_ready(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
        && condition(&pod["status"]["conditions"], "Ready")["status"] == "True"
}

/// Waits until the conditions of a route's one parent are `right`, which is told the route and its conditions.
#[track_caller]
pub fn route_says(
    cluster: &Cluster,
    [kind, namespace, name]: [&str; 3],
    what: &str,
    limit: Duration,
    right: impl Fn(&Value, &Value) -> bool,
) {
    until(format!("{kind} {namespace}/{name} to say {what}"), limit, || {
        let route = cluster
            .get(&[kind, "-n", namespace, name])
            .map_err(|e| e.to_string())?;
        if right(&route, &route["status"]["parents"][0]["conditions"]) {
            Ok(())
        } else {
            Err(route["status"].to_string())
        }
    })
    .unwrap();
}

/// Waits for a Warning Event on an object whose message contains `words`.
#[track_caller]
pub fn warned(cluster: &Cluster, namespace: &str, kind: &str, name: &str, words: &str) {
    let selector = format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
    until(
        format!("a Warning on {kind} {namespace}/{name} with {words:?}"),
        seconds(60),
        || {
            let events = cluster
                .list(&["events", "-n", namespace, "--field-selector", &selector])
                .map_err(|e| e.to_string())?;
            let messages: Vec<String> = events.iter().filter_map(|e| text(&e["message"])).collect();
            if messages.iter().any(|m| m.contains(words)) {
                Ok(())
            } else {
                Err(format!("{messages:?}"))
            }
        },
    )
    .unwrap();
}

/// UID of an object.
pub fn uid(cluster: &Cluster, arguments: &[&str]) -> String {
    text(&cluster.get(arguments).unwrap()["metadata"]["uid"]).unwrap()
}

/// A text field.
pub fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// The newest pod of one of our components that is not on its way out.
pub fn pod(cluster: &Cluster, app: &str) -> Result<Value, String> {
    pods(cluster, app)?
        .pop()
        .ok_or_else(|| "no running pod".to_owned())
}

/// The pods of one of our components that are not on their way out, the newest last.
fn pods(cluster: &Cluster, app: &str) -> Result<Vec<Value>, String> {
    let label = format!("app.kubernetes.io/name={app}");
    let mut pods = running_pods(cluster, product::NAMESPACE, &label)?;
    pods.sort_by_key(|pod| text(&pod["metadata"]["creationTimestamp"]));
    Ok(pods)
}

/// The pods with a label that run and are not on their way out.
pub fn running_pods(cluster: &Cluster, namespace: &str, label: &str) -> Result<Vec<Value>, String> {
    let mut pods = cluster
        .list(&["pods", "-n", namespace, "-l", label])
        .map_err(|e| e.to_string())?;
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running");
    Ok(pods)
}

/// Metrics of the newest pod of one of our components.
pub fn metrics(cluster: &Cluster, app: &str, port: u16) -> Result<String, String> {
    page(cluster, &pod(cluster, app)?, port, "/metrics")
}

/// Metrics of every pod of one of our components.
pub fn all_metrics(cluster: &Cluster, app: &str, port: u16) -> Result<Vec<String>, String> {
    let pods = pods(cluster, app)?;
    pods.iter()
        .map(|pod| page(cluster, pod, port, "/metrics"))
        .collect()
}

/// What a pod serves at a port and path, through the API server's proxy.
pub fn page(cluster: &Cluster, pod: &Value, port: u16, path: &str) -> Result<String, String> {
    let part = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
    let (namespace, name) = (part("namespace"), part("name"));
    let url = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy{path}");
    cluster
        .kubectl(&["get", "--raw", &url])
        .map_err(|e| e.to_string())
}
