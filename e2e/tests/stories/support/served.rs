//! A Service that clients use without pause, to see that nothing already served stops.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::traffic::Stream;
use e2e::wait::{seconds, until};
use serde_json::Value;

use super::{Scratch, answered, envoys, hub_namespace, is_ready, lab, service_address};

/// Longest time that a story may take.
const LIMIT: Duration = seconds(3600);

/// Waits until nothing of a fleet that an earlier story gave up is left: it would answer, and then go. Its pods may look
/// well for a moment yet, but belong to a Deployment that is not there any more.
pub fn only_ready_envoys(tenant: &Cluster) {
    let namespace = hub_namespace(tenant);
    until(
        format!("the Envoys of {namespace} to be ready, and none to be going"),
        seconds(120),
        || {
            let hub = lab().hub;
            let fleet = hub
                .get(&["deployment", "-n", namespace, "envoy"])
                .map_err(|e| e.to_string())?;
            let sets = hub
                .list(&["replicasets", "-n", namespace])
                .map_err(|e| e.to_string())?;
            let own: Vec<_> = sets
                .iter()
                .filter(|set| set["metadata"]["ownerReferences"][0]["uid"] == fleet["metadata"]["uid"])
                .map(|set| &set["metadata"]["uid"])
                .collect();
            let mut pods = hub.list(&["pods", "-n", namespace]).map_err(|e| e.to_string())?;
            pods.retain(is_envoy);
            let is_right =
                |pod: &Value| is_ready(pod) && own.contains(&&pod["metadata"]["ownerReferences"][0]["uid"]);
            if !pods.is_empty() && pods.iter().all(is_right) {
                Ok(())
            } else {
                Err(format!("{} Envoys, not all ready and of the fleet", pods.len()))
            }
        },
    )
    .unwrap();
}

fn is_envoy(pod: &Value) -> bool {
    pod["metadata"]["labels"][envoys::COMPONENT] == envoys::SHARED
}

/// A Service `web` in a namespace of the story's own, with its traffic.
pub struct Served<'a> {
    pub tenant: &'a Cluster,
    pub namespace: String,
    pub address: String,
    stream: Stream,
    _scratch: Scratch,
}

impl<'a> Served<'a> {
    #[track_caller]
    pub fn begin(story: &str, tenant: &'a Cluster) -> Self {
        let scratch = Scratch::new(story, &[tenant]);
        let namespace = scratch.namespace.clone();
        tenant
            .apply(
                &(echo::deployment(&namespace, "web", 1) + &echo::service(&namespace, "web", "LoadBalancer")),
            )
            .unwrap();
        let address = service_address(tenant, &namespace, "web");
        let url = format!("http://{address}/");
        only_ready_envoys(tenant);
        answered(&url, None);
        let stream = Stream::begin(url, None, Duration::from_millis(20), LIMIT);
        Self {
            tenant,
            namespace,
            address,
            stream,
            _scratch: scratch,
        }
    }

    /// Makes one more Service for the same pods.
    pub fn expose(&self, name: &str) {
        let service = echo::service(&self.namespace, name, "LoadBalancer");
        self.tenant
            .apply(&service.replace(&format!("app: {name}"), "app: web"))
            .unwrap();
    }

    /// Makes one more Service and waits until it is served.
    #[track_caller]
    pub fn is_open_for_more(&self, name: &str) {
        self.expose(name);
        let address = service_address(self.tenant, &self.namespace, name);
        answered(&format!("http://{address}/"), None);
    }

    /// Until now every request was answered, and the address is still in the status.
    #[track_caller]
    pub fn went_on(self) {
        let address = service_address(self.tenant, &self.namespace, "web");
        assert_eq!(address, self.address, "the address stays in the status");
        let report = self.stream.end();
        assert!(
            report.sent > 50 && report.failures.is_empty(),
            "of {} requests to {address}: {:?}",
            report.sent,
            report.failures
        );
    }
}
