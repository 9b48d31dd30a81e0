//! A hub with a manager on it: API server, stand-ins, tenants, LoadBalancers, and xDS clients in place of Envoys.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::discovery::ApiResource;
use serde_json::Value;
use tokio::sync::mpsc;

use super::cluster::{Cluster, free_port};
use super::objects::{self, NAMESPACE, load_balancer_name};
use super::observer::Observer;
use super::process::{Running, Usage};
use super::stand_in::{StandIn, pod_name};
use super::wait::{Beat, until};
use super::xds::{Client, Heard, Identity, Tell, Told};
use super::{Setting, admin};
use crate::clusters::{apply, apply_cluster_wide, create, kind, objects as objects_of};

/// Requests at the same time where many objects are made.
const CONCURRENCY: usize = 16;
/// Deployment of a fleet, and the start of its pods' names.
const ENVOY: &str = "envoy";
/// Secret with a fleet's certificate.
const FLEET_SECRET: &str = "envoy-xds-tls";

/// The hub.
pub struct Hub {
    /// Its API server.
    pub cluster: Cluster,
    /// What becomes of LoadBalancers.
    pub observer: Observer,
    /// Responses to all clients.
    pub told: Told,
    tell: Tell,
    manager: Running,
    start: ManagerStart,
    _stand_in: StandIn,
}

/// How the manager is started.
struct ManagerStart {
    binary: PathBuf,
    dir: PathBuf,
    kubeconfig: PathBuf,
    server: String,
    xds: u16,
    metrics: u16,
    health: u16,
}

impl ManagerStart {
    fn run(&self) -> Result<Running> {
        let Self {
            binary,
            dir,
            kubeconfig,
            server,
            xds,
            metrics,
            health,
        } = self;
        let args = [
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--namespace={NAMESPACE}"),
            format!("--listen-address=127.0.0.1:{xds}"),
            format!("--metrics-addr=127.0.0.1:{metrics}"),
            format!("--health-probe-bind-address=127.0.0.1:{health}"),
            format!("--tenant-api-server={server}"),
            "--enable-gateway-api=false".to_owned(),
            "--enable-leader-election=true".to_owned(),
        ];
        let envs = [
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("NAMESPACE", NAMESPACE.to_owned()),
            ("POD_NAMESPACE", NAMESPACE.to_owned()),
            ("POD_NAME", "kubelb-manager-bench".to_owned()),
        ];
        Running::start(binary, "manager", dir, args, &envs)
    }
}

impl Hub {
    /// Starts all of it; every tenant gets so many Envoys.
    ///
    /// # Errors
    /// Says what did not start.
    pub async fn start(setting: &Setting, name: &str, envoys: usize) -> Result<Self> {
        let dir = setting.dir.join(name);
        setting.progress.say(format!("{name}: a hub"));
        let cluster = Cluster::start(&setting.kubernetes, &dir).await?;
        install(&cluster, envoys).await?;
        let start = ManagerStart {
            binary: setting.manager.clone(),
            kubeconfig: cluster.service_account(NAMESPACE, "kubelb-manager").await?,
            server: cluster.server.clone(),
            dir,
            xds: free_port()?,
            metrics: free_port()?,
            health: free_port()?,
        };
        let manager = start.run()?;
        let (tell, told) = mpsc::unbounded_channel();
        let mut hub = Self {
            observer: Observer::begin(&cluster.client),
            _stand_in: StandIn::begin(&cluster.client, setting.progress),
            cluster,
            told,
            tell,
            manager,
            start,
        };
        hub.manager_ready().await?;
        Ok(hub)
    }

    /// Waits until the manager says that it is ready.
    ///
    /// # Errors
    /// When it ends, or does not say so.
    pub async fn manager_ready(&mut self) -> Result<()> {
        let Self { manager, start, .. } = self;
        admin::ready("the manager is ready", manager, start.health).await
    }

    /// What the manager has used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn manager(&mut self) -> Result<Usage> {
        self.manager.check()?;
        self.manager.usage()
    }

    /// Ends the manager as an upgrade does, and starts it again; when that was.
    ///
    /// # Errors
    /// When it does not end or start.
    pub async fn restart_manager(&mut self) -> Result<Instant> {
        self.manager.end().await?;
        let at = Instant::now();
        self.manager = self.start.run()?;
        Ok(at)
    }

    /// The value of one of the manager's counters, over all of its labels; none where it has no such counter.
    pub async fn counter(&self, name: &str) -> Option<f64> {
        admin::counter(self.start.metrics, name).await
    }

    /// Port of the xDS server.
    #[must_use]
    pub fn xds_port(&self) -> u16 {
        self.start.xds
    }

    /// Makes Tenants with these names and `nodes` nodes each, and waits for their namespaces.
    ///
    /// # Errors
    /// When one does not come about.
    pub async fn tenants(&self, names: &[String], nodes: usize, backend: Option<&str>) -> Result<()> {
        let client = &self.cluster.client;
        let tenants = objects::ours("Tenant", "tenants");
        for name in names {
            apply_cluster_wide(client, &tenants, &objects::tenant(name, backend)).await?;
        }
        let namespaces: Api<DynamicObject> =
            Api::all_with(client.clone(), &kind("", "v1", "Namespace", "namespaces"));
        for name in names {
            until(&format!("namespace {name}"), Beat::Slow, async || {
                Ok(namespaces.get_opt(name).await?.map(drop))
            })
            .await?;
            let addresses = objects::addresses_of(&objects::node_addresses(nodes));
            apply(client, name, &objects::addresses(), &addresses).await?;
        }
        Ok(())
    }

    /// Makes LoadBalancers in a tenant's namespace.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn create(&self, namespace: &str, indices: impl Iterator<Item = usize> + Send) -> Result<()> {
        let kind = objects::load_balancers();
        stream::iter(indices)
            .map(|index| {
                let (client, kind) = (&self.cluster.client, &kind);
                async move { create(client, namespace, kind, &objects::load_balancer(index)).await }
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// Changes the endpoints of a LoadBalancer; its generation from then on.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn change(&self, namespace: &str, index: usize, round: usize) -> Result<i64> {
        change(&self.cluster.client, namespace, index, round).await
    }

    /// Replaces the Addresses of a tenant.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn set_nodes(&self, namespace: &str, nodes: &[String]) -> Result<()> {
        let object = objects::addresses_of(nodes);
        apply(&self.cluster.client, namespace, &objects::addresses(), &object).await
    }

    /// Connects an xDS client in the place of each of these Envoys of a tenant, with the fleet's own certificate. There is one
    /// only where there is a LoadBalancer.
    ///
    /// # Errors
    /// When the fleet does not come about.
    pub async fn connect(&self, namespace: &str, envoys: Range<usize>) -> Result<Vec<Client>> {
        let identity = self.identity(namespace).await?;
        let begin = |index| {
            let pod = pod_name(ENVOY, index);
            Client::begin(self.start.xds, namespace, &pod, &identity, self.tell.clone())
        };
        envoys.map(begin).collect()
    }

    /// The certificate of a fleet.
    ///
    /// # Errors
    /// When it does not come about.
    pub async fn identity(&self, namespace: &str) -> Result<Identity> {
        let secrets = objects_of(&self.cluster.client, namespace, &objects::secrets());
        let what = format!("the certificate of the Envoys of {namespace}");
        let secret = until(&what, Beat::Slow, async || {
            Ok(secrets.get_opt(FLEET_SECRET).await?)
        })
        .await?;
        let part = |key: &str| decoded(&secret.data["data"][key]).with_context(|| format!("{key} of {what}"));
        Ok(Identity {
            certificate: part("tls.crt")?,
            key: part("tls.key")?,
            authority: part("ca.crt")?,
        })
    }

    /// Waits until all LoadBalancers have an address, and each of these clients has so many of them.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn settled(&mut self, all: usize, clients: &[Client], each: usize) -> Result<()> {
        let what = format!(
            "{all} LoadBalancers with an address, {each} at each of {} clients",
            clients.len()
        );
        until(&what, Beat::Slow, async || {
            self.manager.check()?;
            let addressed = self.observer.seen().with_address();
            let complete = clients.iter().all(|client| client.load_balancers() == each);
            Ok((addressed == all && complete).then_some(()))
        })
        .await
    }

    /// Everything that was told so far and not taken yet.
    pub fn take_told(&mut self) -> Vec<Heard> {
        let mut all = Vec::new();
        while let Ok(heard) = self.told.try_recv() {
            all.push(heard);
        }
        all
    }

    /// Ends all of it.
    ///
    /// # Errors
    /// When a process cannot be ended.
    pub async fn end(mut self) -> Result<()> {
        self.manager.end().await?;
        self.cluster.end().await
    }
}

/// Changes the endpoints of a LoadBalancer; its generation from then on.
///
/// # Errors
/// When the API server refuses it.
pub async fn change(client: &kube::Client, namespace: &str, index: usize, round: usize) -> Result<i64> {
    let api = objects_of(client, namespace, &objects::load_balancers());
    let name = load_balancer_name(index);
    let change = Patch::Merge(objects::change(index, round));
    let changed = api.patch(&name, &PatchParams::default(), &change).await;
    let changed = changed.with_context(|| format!("changing LoadBalancer {namespace}/{name}"))?;
    changed.metadata.generation.context("no generation")
}

/// Definitions, the manager's namespace and its Config.
async fn install(cluster: &Cluster, envoys: usize) -> Result<()> {
    definitions(cluster).await?;
    let client = &cluster.client;
    let namespaces = kind("", "v1", "Namespace", "namespaces");
    apply_cluster_wide(client, &namespaces, &objects::namespace(NAMESPACE)).await?;
    let config = objects::config(envoys);
    apply(client, NAMESPACE, &objects::ours("Config", "configs"), &config).await
}

/// Installs the definitions and waits until the API server serves them.
async fn definitions(cluster: &Cluster) -> Result<()> {
    let kinds = kind(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    );
    for definition in api::crds::all() {
        let object = serde_json::to_value(&definition)?;
        apply_cluster_wide(&cluster.client, &kinds, &object).await?;
        let names = &definition.spec.names;
        served(&cluster.client, &objects::ours(&names.kind, &names.plural)).await?;
    }
    Ok(())
}

async fn served(client: &kube::Client, kind: &ApiResource) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), kind);
    until(
        &format!("{} to be served", kind.plural),
        Beat::Quick,
        async || {
            Ok(api
                .list(&kube::api::ListParams::default().limit(1))
                .await
                .ok()
                .map(drop))
        },
    )
    .await
}

/// Data of a Secret.
#[must_use]
pub fn decoded(data: &Value) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD
        .decode(data.as_str()?)
        .ok()
}
