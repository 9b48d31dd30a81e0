//! The lab's clusters through their API, without kubectl: a process for each request would be slower than what is
//! measured.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::ApiResource;
use kube::{Client, Config};
use serde_json::Value;
use testbed::Lab;

/// How long anything but a measured thing may take. An Envoy that is given up takes minutes to go.
pub const SETTLE: Duration = Duration::from_secs(420);
/// Who applies our objects.
const FIELD_MANAGER: &str = "kubelb-bench";

/// Both clusters that take part.
#[derive(Clone)]
pub struct Clusters {
    /// What the API cannot tell: processes of nodes.
    pub lab: Lab,
    /// The hub.
    pub hub: Client,
    /// The tenant.
    pub tenant: Client,
}

impl Clusters {
    /// The clusters of the lab that this process runs in.
    ///
    /// # Errors
    /// Outside `lab exec`, or when a kubeconfig is no good.
    pub async fn load() -> Result<Self> {
        let lab = Lab::from_env()?;
        let hub = client(&lab, "hub").await?;
        let tenant = client(&lab, TENANT).await?;
        Ok(Self { lab, hub, tenant })
    }
}

/// The tenant that is measured; also its namespace on the hub.
pub const TENANT: &str = "tenant-a";

async fn client(lab: &Lab, cluster: &str) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(lab.kubeconfig(cluster)?)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Client::try_from(config).with_context(|| format!("a client for {cluster}"))
}

/// A kind of object.
#[must_use]
pub fn kind(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        },
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// A Gateway API kind.
#[must_use]
pub fn gateway_api(name: &str) -> ApiResource {
    kind(
        "gateway.networking.k8s.io",
        "v1",
        name,
        &format!("{}s", name.to_lowercase()),
    )
}

/// Objects of a kind in a namespace.
#[must_use]
pub fn objects(client: &Client, namespace: &str, kind: &ApiResource) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, kind)
}

/// Creates an object.
///
/// # Errors
/// When the API server refuses it.
pub async fn create(client: &Client, namespace: &str, kind: &ApiResource, object: &Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let name = object.metadata.name.clone().unwrap_or_default();
    objects(client, namespace, kind)
        .create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("creating {} {namespace}/{name}", kind.kind))?;
    Ok(())
}

/// Applies an object, server-side.
///
/// # Errors
/// When the API server refuses it.
pub async fn apply(client: &Client, namespace: &str, kind: &ApiResource, object: &Value) -> Result<()> {
    let name = object["metadata"]["name"]
        .as_str()
        .context("an object without name")?;
    objects(client, namespace, kind)
        .patch(
            name,
            &PatchParams::apply(FIELD_MANAGER).force(),
            &Patch::Apply(object),
        )
        .await
        .with_context(|| format!("applying {} {namespace}/{name}", kind.kind))?;
    Ok(())
}

/// Applies an object that is in no namespace, server-side.
///
/// # Errors
/// When the API server refuses it.
pub async fn apply_cluster_wide(client: &Client, kind: &ApiResource, object: &Value) -> Result<()> {
    let name = object["metadata"]["name"]
        .as_str()
        .context("an object without name")?;
    Api::<DynamicObject>::all_with(client.clone(), kind)
        .patch(
            name,
            &PatchParams::apply(FIELD_MANAGER).force(),
            &Patch::Apply(object),
        )
        .await
        .with_context(|| format!("applying {} {name}", kind.kind))?;
    Ok(())
}

/// Deletes every object of a kind in a namespace that has a label, and waits until they are gone.
///
/// # Errors
/// When some are still there after [`SETTLE`].
pub async fn delete_labelled(
    client: &Client,
    namespace: &str,
    kind: &ApiResource,
    label: &str,
) -> Result<()> {
    let api = objects(client, namespace, kind);
    let labelled = ListParams::default().labels(label);
    api.delete_collection(&DeleteParams::background(), &labelled)
        .await?;
    until(&format!("{} with {label} gone", kind.plural), || async {
        let left = api.list_metadata(&labelled).await?.items.len();
        Ok((left == 0).then_some(()))
    })
    .await
}

/// Makes a namespace, after waiting for a former one of that name to be gone.
///
/// # Errors
/// When the API server refuses it.
pub async fn namespace(client: &Client, name: &str) -> Result<()> {
    remove_namespace(client, name).await?;
    let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind("", "v1", "Namespace", "namespaces"));
    api.create(&PostParams::default(), &serde_json::from_value(object)?)
        .await?;
    Ok(())
}

/// Removes a namespace with all that is in it, and waits for it.
///
/// # Errors
/// When it is still there after [`SETTLE`].
pub async fn remove_namespace(client: &Client, name: &str) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind("", "v1", "Namespace", "namespaces"));
    if api.get_opt(name).await?.is_none() {
        return Ok(());
    }
    api.delete(name, &DeleteParams::background()).await?;
    until(&format!("namespace {name} gone"), || async {
        Ok(api.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

/// Looks every quarter of a second until there is something to see.
///
/// # Errors
/// After [`SETTLE`], or at the first error of `look`.
pub async fn until<T, F: Future<Output = Result<Option<T>>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> Result<T> {
    let begin = tokio::time::Instant::now();
    while begin.elapsed() < SETTLE {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    bail!("not within {} s: {what}", SETTLE.as_secs())
}
