//! What a hub has beside its API server, as far as the product looks at it: an implementation of LoadBalancer Services
//! gives each an address, and for each Deployment there are so many pods, all ready. Nothing runs in them.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::Progress;

use super::task::Task;
use crate::clusters::{kind, objects};
use crate::scene::services;

/// Objects that are looked after at the same time.
const CONCURRENCY: usize = 32;
/// How often something is tried: an object that is needed first may not be there yet.
const TRIES: u32 = 50;
/// Time between tries.
const PAUSE: Duration = Duration::from_millis(100);
/// The first address: the range is meant for benchmarks.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([198, 18, 0, 1]);

/// Both, while they work.
pub struct StandIn {
    _services: Task,
    _deployments: Task,
}

impl StandIn {
    /// Begins to work on a cluster.
    #[must_use]
    pub fn begin(client: &Client, progress: Progress) -> Self {
        let given = Arc::new(Given::default());
        Self {
            _services: follow(client, &services(), progress, move |client, service| {
                let given = Arc::clone(&given);
                async move { give_address(&client, &service, &given).await }
            }),
            _deployments: follow(
                client,
                &deployments(),
                progress,
                |client, deployment| async move { run_pods(&client, &deployment).await },
            ),
        }
    }
}

fn deployments() -> ApiResource {
    kind("apps", "v1", "Deployment", "deployments")
}

fn pods() -> ApiResource {
    kind("", "v1", "Pod", "pods")
}

/// Name of a pod of a Deployment.
#[must_use]
pub fn pod_name(deployment: &str, index: usize) -> String {
    format!("{deployment}-{index}")
}

/// Calls `look_after` with every object as it comes or changes.
fn follow<W: Future<Output = Result<()>> + Send + 'static>(
    client: &Client,
    kind: &ApiResource,
    progress: Progress,
    look_after: impl Fn(Client, DynamicObject) -> W + Clone + Send + Sync + 'static,
) -> Task {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), kind);
    let client = client.clone();
    Task::begin(async move {
        let events = watcher(api, watcher::Config::default())
            .default_backoff()
            .applied_objects();
        let work = events.for_each_concurrent(CONCURRENCY, |object| {
            let (client, look_after) = (client.clone(), look_after.clone());
            async move {
                // A watch that broke comes back by itself.
                let Ok(object) = object else { return };
                for _ in 1..TRIES {
                    if look_after(client.clone(), object.clone()).await.is_ok() {
                        return;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                let name = object.name_any();
                if let Err(error) = look_after(client, object).await {
                    progress.say(format!("stand-in gives up on {name}: {error:#}"));
                }
            }
        });
        work.await;
    })
}

/// Addresses by UID of their Service: one that is looked at again before its address shows gets the same.
#[derive(Default)]
struct Given(Mutex<HashMap<String, Ipv4Addr>>);

impl Given {
    fn to(&self, service: &DynamicObject) -> Ipv4Addr {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = u32::try_from(given.len()).unwrap_or_default();
        *given
            .entry(service.uid().unwrap_or_default())
            .or_insert_with(|| Ipv4Addr::from(FIRST_ADDRESS + count))
    }
}

async fn give_address(client: &Client, service: &DynamicObject, given: &Given) -> Result<()> {
    if !wants_address(&service.data) {
        return Ok(());
    }
    let ip = given.to(service);
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}});
    patch_status(client, &services(), service, &status).await
}

fn wants_address(service: &Value) -> bool {
    service["spec"]["type"] == "LoadBalancer" && service["status"]["loadBalancer"]["ingress"].is_null()
}

/// Status of an object that is there no more is nobody's concern.
async fn patch_status(client: &Client, kind: &ApiResource, of: &DynamicObject, status: &Value) -> Result<()> {
    let api = objects(client, &of.namespace().unwrap_or_default(), kind);
    let (name, params, patch) = (of.name_any(), PatchParams::default(), Patch::Merge(status));
    match api.patch_status(&name, &params, &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

async fn run_pods(client: &Client, deployment: &DynamicObject) -> Result<()> {
    let (name, namespace) = (deployment.name_any(), deployment.namespace().unwrap_or_default());
    let api = objects(client, &namespace, &pods());
    let replicas = replicas(&deployment.data);
    let there: HashSet<String> = api
        .list_metadata(&kube::api::ListParams::default())
        .await?
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    for pod in (0..replicas).map(|index| pod_name(&name, index)) {
        if there.contains(&pod) {
            continue;
        }
        let object: DynamicObject = serde_json::from_value(pod_of(&pod, &deployment.data))?;
        let made = match api.create(&PostParams::default(), &object).await {
            // It was made by the try before.
            Err(kube::Error::Api(status)) if status.code == 409 => api.get(&pod).await?,
            made => made?,
        };
        patch_status(client, &pods(), &made, &ready_pod()).await?;
    }
    if deployment.data["status"]["readyReplicas"] != replicas {
        let status = ready_deployment(replicas, deployment.metadata.generation);
        patch_status(client, &deployments(), deployment, &status).await?;
    }
    Ok(())
}

fn replicas(deployment: &Value) -> usize {
    let replicas = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    usize::try_from(replicas).unwrap_or_default()
}

fn pod_of(name: &str, deployment: &Value) -> Value {
    let template = &deployment["spec"]["template"];
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    pod["metadata"]["name"] = name.into();
    pod
}

fn ready_pod() -> Value {
    json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
}

fn ready_deployment(replicas: usize, generation: Option<i64>) -> Value {
    json!({"status": {
        "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_once_and_to_services_for_the_outside_only() {
        let service = |kind: &str, status: Value| json!({"spec": {"type": kind}, "status": status});
        assert!(wants_address(&service(
            "LoadBalancer",
            json!({"loadBalancer": {}})
        )));
        assert!(!wants_address(&service("ClusterIP", json!({"loadBalancer": {}}))));
        let given = json!({"loadBalancer": {"ingress": [{"ip": "198.18.0.1"}]}});
        assert!(!wants_address(&service("LoadBalancer", given)));
    }

    #[test]
    fn a_pod_is_made_from_the_template_of_its_deployment() {
        let deployment = json!({"spec": {"replicas": 2, "template": {
            "metadata": {"labels": {"app": "envoy"}}, "spec": {"serviceAccountName": "envoy"},
        }}});
        assert_eq!(replicas(&deployment), 2);
        let pod = pod_of("envoy-0", &deployment);
        assert_eq!(
            pod["metadata"],
            json!({"labels": {"app": "envoy"}, "name": "envoy-0"})
        );
        assert_eq!(pod["spec"]["serviceAccountName"], "envoy");
    }
}
