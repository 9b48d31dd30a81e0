//! What is measured on: an echo server in the tenant, and two Gateways that lead to it. One is the tenant's own and
//! comes about by delegation; the other is made directly on the hub, of the same class, with the same endpoints.

use anyhow::{Context, Result};
use e2e::echo;
use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use crate::clusters::{
    Clusters, apply, create, delete_labelled, gateway_api, kind, namespace, objects, remove_namespace, until,
};

/// Namespace of everything in the tenant.
const TENANT_NAMESPACE: &str = "kubelb-bench";
/// Namespace of the comparison on the hub.
pub const RAW_NAMESPACE: &str = "kubelb-bench-raw";
/// Class of Gateways: the same name in the tenant and on the hub.
const CLASS: &str = "kubelb";
/// The Service that all routes share.
pub const SHARED_BACKEND: &str = "echo";
/// Requests to an API server at the same time.
const CONCURRENCY: usize = 16;

/// One of the two ways to the echo server.
#[derive(Clone)]
pub struct Side {
    /// For people.
    pub name: &'static str,
    /// The cluster with the Gateway and its routes.
    pub client: Client,
    /// Namespace there.
    pub namespace: &'static str,
    /// The Gateway's address.
    pub address: String,
    /// The host of a route.
    pub host: fn(usize) -> String,
}

impl Side {
    /// An HTTPRoute of this side for one host.
    #[must_use]
    pub fn route(&self, series: &str, name: &str, host: &str, backend: &str) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": self.namespace, "labels": {"bench": series}},
            "spec": {
                "parentRefs": [{"name": "bench"}],
                "hostnames": [host],
                "rules": [{"backendRefs": [{"name": backend, "port": 80}]}],
            },
        })
    }

    /// Creates one.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create_route(&self, route: &Value) -> Result<()> {
        create(&self.client, self.namespace, &gateway_api("HTTPRoute"), route).await
    }

    /// The Gateway as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn gateway(&self) -> Result<Value> {
        let gateways = objects(&self.client, self.namespace, &gateway_api("Gateway"));
        Ok(serde_json::to_value(gateways.get("bench").await?)?)
    }
}

/// Both sides.
#[derive(Clone)]
pub struct Scene {
    /// Where it is.
    pub clusters: Clusters,
    /// By delegation.
    pub tenant: Side,
    /// Directly on the hub.
    pub raw: Side,
    /// Addresses of the tenant's nodes.
    pub nodes: Vec<String>,
    /// The echo server's NodePort.
    pub node_port: u16,
}

impl Scene {
    /// Sets the scene, and waits until both Gateways have an address.
    ///
    /// # Errors
    /// Says what did not come about.
    pub async fn set(clusters: Clusters) -> Result<Self> {
        namespace(&clusters.tenant, TENANT_NAMESPACE).await?;
        namespace(&clusters.hub, RAW_NAMESPACE).await?;
        let manifest = echo::deployment(TENANT_NAMESPACE, "echo", 2)
            + &echo::service(TENANT_NAMESPACE, SHARED_BACKEND, "ClusterIP")
            + &echo::service(TENANT_NAMESPACE, "direct", "NodePort").replace("app: direct", "app: echo");
        clusters.lab.apply(crate::clusters::TENANT, &manifest)?;
        clusters.lab.kubectl(
            crate::clusters::TENANT,
            &[
                "rollout",
                "status",
                "-n",
                TENANT_NAMESPACE,
                "deployment/echo",
                "--timeout=120s",
            ],
        )?;
        let nodes = node_addresses(&clusters.tenant).await?;
        let node_port = node_port(&clusters.tenant).await?;
        let tenant = side("delegated", &clusters.tenant, TENANT_NAMESPACE).await?;
        let raw = side("raw", &clusters.hub, RAW_NAMESPACE).await?;
        let scene = Self {
            clusters,
            tenant,
            raw,
            nodes,
            node_port,
        };
        scene
            .hub_backend(SHARED_BACKEND, &scene.nodes, scene.node_port)
            .await?;
        Ok(scene)
    }

    /// A Service without selector on the hub that leads to the given endpoints.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn hub_backend(&self, name: &str, addresses: &[String], port: u16) -> Result<()> {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": RAW_NAMESPACE},
            "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": name, "namespace": RAW_NAMESPACE,
                "labels": {
                    "kubernetes.io/service-name": name,
                    "endpointslice.kubernetes.io/managed-by": "kubelb-bench",
                },
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": addresses, "conditions": {"ready": true}}],
        });
        // One address an endpoint: an endpoint with several is one host to Envoy.
        let mut slice = slice;
        slice["endpoints"] = addresses
            .iter()
            .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
            .collect();
        apply(&self.raw.client, RAW_NAMESPACE, &services(), &service).await?;
        apply(&self.raw.client, RAW_NAMESPACE, &slices(), &slice).await
    }

    /// A Service of its own for each of `count` routes, on both sides.
    ///
    /// # Errors
    /// When an API server refuses one.
    pub async fn own_backends(&self, count: usize) -> Result<()> {
        stream::iter(0..count)
            .map(|index| async move {
                let name = own_backend(index);
                self.hub_backend(&name, &self.nodes, self.node_port).await?;
                let service = json!({
                    "apiVersion": "v1", "kind": "Service",
                    "metadata": {"name": name, "namespace": TENANT_NAMESPACE},
                    "spec": {
                        "selector": {"app": "echo"},
                        "ports": [{"name": "http", "port": 80, "targetPort": 3000}],
                    },
                });
                apply(&self.tenant.client, TENANT_NAMESPACE, &services(), &service).await
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// Removes all routes, so that the next part begins with Gateways that have none.
    ///
    /// # Errors
    /// When some stay.
    pub async fn clear(&self) -> Result<()> {
        for side in [&self.tenant, &self.raw] {
            delete_labelled(&side.client, side.namespace, &gateway_api("HTTPRoute"), "bench").await?;
        }
        Ok(())
    }

    /// Takes everything away again.
    ///
    /// # Errors
    /// When something stays.
    pub async fn strike(&self) -> Result<()> {
        remove_namespace(&self.clusters.tenant, TENANT_NAMESPACE).await?;
        remove_namespace(&self.clusters.hub, RAW_NAMESPACE).await
    }
}

/// The Service of a route that shares none.
#[must_use]
pub fn own_backend(index: usize) -> String {
    format!("echo-{index}")
}

/// The kind Service.
#[must_use]
pub fn services() -> ApiResource {
    kind("", "v1", "Service", "services")
}

/// The kind EndpointSlice.
#[must_use]
pub fn slices() -> ApiResource {
    kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
}

async fn side(name: &'static str, client: &Client, namespace: &'static str) -> Result<Side> {
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "bench", "namespace": namespace},
        "spec": {"gatewayClassName": CLASS, "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    });
    create(client, namespace, &gateway_api("Gateway"), &gateway).await?;
    let mut side = Side {
        name,
        client: client.clone(),
        namespace,
        address: String::new(),
        host: |index| format!("{index}-route.example.com"),
    };
    side.address = until(
        &format!("the {name} Gateway programmed with an address"),
        || async {
            let gateway = side.gateway().await?;
            let programmed = gateway["status"]["conditions"]
                .as_array()
                .is_some_and(|conditions| {
                    conditions
                        .iter()
                        .any(|c| c["type"] == "Programmed" && c["status"] == "True")
                });
            let address = gateway["status"]["addresses"][0]["value"]
                .as_str()
                .map(str::to_owned);
            Ok(address.filter(|_| programmed))
        },
    )
    .await?;
    Ok(side)
}

async fn node_addresses(client: &Client) -> Result<Vec<String>> {
    let nodes =
        kube::Api::<kube::api::DynamicObject>::all_with(client.clone(), &kind("", "v1", "Node", "nodes"));
    let mut found = Vec::new();
    for node in nodes.list(&kube::api::ListParams::default()).await? {
        let addresses = node.data["status"]["addresses"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let internal = addresses.iter().find(|a| a["type"] == "InternalIP");
        found.extend(internal.and_then(|a| a["address"].as_str()).map(str::to_owned));
    }
    Ok(found)
}

async fn node_port(client: &Client) -> Result<u16> {
    let direct = objects(client, TENANT_NAMESPACE, &services())
        .get("direct")
        .await?;
    let port = direct.data["spec"]["ports"][0]["nodePort"]
        .as_u64()
        .context("no NodePort")?;
    Ok(u16::try_from(port)?)
}
