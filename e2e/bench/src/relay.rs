//! The least that delegation can cost: each HTTPRoute is carried to the hub in an object of its own and becomes an
//! HTTPRoute there, with nothing decided, checked or told. What delegation takes beyond this is the product's; what
//! this takes is the API servers' and their watches'.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use futures::StreamExt;
use kube::Client;
use kube::api::DynamicObject;
use kube::discovery::ApiResource;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::clusters::{create, delete_labelled, gateway_api, kind, namespace, objects, remove_namespace};
use crate::scene::{RAW_NAMESPACE, Scene, Side};

/// Namespace in the tenant whose routes are carried.
const NAMESPACE: &str = "kubelb-bench-relay";
/// What it is called in the figures.
pub const NAME: &str = "relayed";

/// Carries routes until it is dropped or ended.
pub struct Relay {
    scene: Scene,
    side: Side,
    workers: [JoinHandle<Result<()>>; 2],
}

impl Relay {
    /// Begins. No Tenant has the namespace on the hub, so that the manager leaves what is in it alone.
    ///
    /// # Errors
    /// When an API server refuses the namespace.
    pub async fn begin(scene: &Scene) -> Result<Self> {
        namespace(&scene.tenant.client, NAMESPACE).await?;
        let side = Side {
            name: NAME,
            client: scene.tenant.client.clone(),
            namespace: NAMESPACE,
            address: scene.raw.address.clone(),
            host: |index| format!("{index}-relayed.example.com"),
        };
        let workers = [
            tokio::spawn(carry(scene.clone())),
            tokio::spawn(unpack(scene.clone())),
        ];
        Ok(Self {
            scene: scene.clone(),
            side,
            workers,
        })
    }

    /// Where to create routes.
    #[must_use]
    pub fn side(&self) -> &Side {
        &self.side
    }

    /// Ends it, and removes what it made.
    ///
    /// # Errors
    /// When something stays, or when it had broken down.
    pub async fn end(self) -> Result<()> {
        let Self {
            scene,
            side: _,
            workers,
        } = self;
        for worker in workers {
            worker.abort();
            match worker.await {
                Ok(result) => result.context("the relay")?,
                Err(error) if error.is_cancelled() => {}
                Err(error) => return Err(error.into()),
            }
        }
        for kind in [gateway_api("HTTPRoute"), carrier()] {
            delete_labelled(&scene.raw.client, RAW_NAMESPACE, &kind, "relay").await?;
        }
        remove_namespace(&scene.tenant.client, NAMESPACE).await
    }
}

fn carrier() -> ApiResource {
    kind("kubelb.k8c.io", "v1alpha1", "Route", "routes")
}

/// From the tenant's route to an object on the hub that holds it.
async fn carry(scene: Scene) -> Result<()> {
    let tenant = scene.tenant.client.clone();
    each(tenant, NAMESPACE, &gateway_api("HTTPRoute"), move |route| {
        let hub = scene.raw.client.clone();
        async move {
            // The namespace on the hub has routes of the same names that were made there directly.
            let name = format!("{NAME}-{}", route.metadata.name.clone().unwrap_or_default());
            let resource = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": name}, "spec": route.data["spec"]});
            let object = json!({"apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "Route",
                "metadata": {"name": name, "namespace": RAW_NAMESPACE, "labels": {"relay": "bench"}},
                "spec": {"source": {"kubernetes": {"resource": resource}}}});
            create(&hub, RAW_NAMESPACE, &carrier(), &object).await
        }
    })
    .await
}

/// From there to the hub's own route.
async fn unpack(scene: Scene) -> Result<()> {
    let hub = scene.raw.client.clone();
    each(hub.clone(), RAW_NAMESPACE, &carrier(), move |object| {
        let hub = hub.clone();
        async move {
            let mut route = object.data["spec"]["source"]["kubernetes"]["resource"].clone();
            route["metadata"]["namespace"] = Value::from(RAW_NAMESPACE);
            route["metadata"]["labels"] = json!({"relay": "bench"});
            create(&hub, RAW_NAMESPACE, &gateway_api("HTTPRoute"), &route).await
        }
    })
    .await
}

/// Calls `made` for each object that comes into being. One that is written again is left alone.
async fn each<F: Future<Output = Result<()>> + Send>(
    client: Client,
    namespace: &str,
    kind: &ApiResource,
    made: impl Fn(DynamicObject) -> F,
) -> Result<()> {
    let api = objects(&client, namespace, kind);
    let mut events = Box::pin(watcher::watcher(api, watcher::Config::default()));
    let mut seen = BTreeSet::new();
    while let Some(event) = events.next().await {
        if let watcher::Event::Apply(object) = event?
            && seen.insert(object.metadata.uid.clone())
        {
            made(object).await?;
        }
    }
    Ok(())
}
