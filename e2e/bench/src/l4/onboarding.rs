//! P5: many Services are created in a tenant's cluster at once: until each has its address, and what that costs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};

use super::audit::{Request, Requests, count};
use super::cluster::{Cluster, free_port};
use super::figures::{Figure, Unit};
use super::hub::{Hub, decoded};
use super::objects::{self, NAMESPACE, tenant_name};
use super::process::Running;
use super::task::Task;
use super::wait::{Beat, until};
use super::{Setting, admin};
use crate::clusters::{apply_cluster_wide, create, kind, objects as objects_of};
use crate::scene::services;

/// How many at once.
const SIZES: [usize; 2] = [200, 1000];
/// Nodes of the tenant's cluster.
const NODES: usize = 3;
/// Requests that create Services at the same time.
const CREATORS: usize = 16;
/// Secret with the tenant's credential on the hub.
const CREDENTIAL: &str = "kubelb-ccm-kubeconfig";

/// Both sizes, each with clusters of its own.
///
/// # Errors
/// When something does not come about.
pub async fn run(setting: &Setting) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for size in SIZES {
        figures.extend(at_once(setting, size).await?);
    }
    Ok(figures)
}

async fn at_once(setting: &Setting, full: usize) -> Result<Vec<Figure>> {
    let size = setting.scaled(full, 10);
    let mut hub = Hub::start(setting, &format!("p5-{full}-hub"), 1).await?;
    let name = tenant_name(0);
    // The CCM writes the addresses of its own nodes.
    hub.tenants(std::slice::from_ref(&name), NODES, None).await?;
    let mut tenant = Tenant::start(setting, &format!("p5-{full}-tenant"), &hub, &name).await?;
    setting
        .progress
        .say("P5: the first Service, which brings the Envoys");
    tenant.create(0..1).await?;
    let clients = hub.connect(&name, 0..1).await?;
    tenant.served(1).await?;

    setting.progress.say(format!("P5: {size} Services at once"));
    let marks = (hub.cluster.audit.mark()?, tenant.cluster.audit.mark()?);
    let before = (hub.manager()?.cpu, tenant.ccm.usage()?.cpu);
    let begin = Instant::now();
    tenant.create(1..size + 1).await?;
    let created = begin.elapsed();
    tenant.served(size + 1).await?;
    let served = begin.elapsed();
    let (on_hub, in_tenant) = (
        hub.cluster.audit.since(marks.0)?,
        tenant.cluster.audit.since(marks.1)?,
    );
    let outcome = Outcome {
        size,
        created: created.as_secs_f64(),
        served: served.as_secs_f64(),
        manager_cpu: (hub.manager()?.cpu - before.0).as_secs_f64(),
        ccm_cpu: (tenant.ccm.usage()?.cpu - before.1).as_secs_f64(),
        on_hub,
        in_tenant,
    };
    drop(clients);
    tenant.end().await?;
    hub.end().await?;
    Ok(outcome.figures())
}

/// A tenant's cluster with a CCM.
struct Tenant {
    cluster: Cluster,
    ccm: Running,
    /// Names of Services with an address.
    addressed: Arc<Mutex<BTreeSet<String>>>,
    _watch: Task,
}

impl Tenant {
    async fn start(setting: &Setting, dir: &str, hub: &Hub, name: &str) -> Result<Self> {
        let dir = setting.dir.join(dir);
        setting.progress.say("P5: a tenant's cluster");
        let cluster = Cluster::start(&setting.kubernetes, &dir).await?;
        let namespaces = kind("", "v1", "Namespace", "namespaces");
        apply_cluster_wide(&cluster.client, &namespaces, &objects::namespace(NAMESPACE)).await?;
        apply_cluster_wide(&cluster.client, &namespaces, &objects::namespace("default")).await?;
        nodes(&cluster).await?;
        let credential = credential(hub, name, &dir).await?;
        let ccm = start_ccm(setting, &cluster, &dir, name, &credential).await?;
        let addressed = Arc::new(Mutex::new(BTreeSet::new()));
        let watch = follow(&cluster, Arc::clone(&addressed));
        Ok(Self {
            cluster,
            ccm,
            addressed,
            _watch: watch,
        })
    }

    async fn create(&self, indices: std::ops::Range<usize>) -> Result<()> {
        stream::iter(indices)
            .map(|index| {
                let client = &self.cluster.client;
                async move {
                    let service = objects::service(&format!("service-{index}"));
                    create(client, "default", &services(), &service).await
                }
            })
            .buffer_unordered(CREATORS)
            .try_collect()
            .await
    }

    /// Waits until so many Services have an address.
    async fn served(&mut self, wanted: usize) -> Result<()> {
        let Self { ccm, addressed, .. } = self;
        until(
            &format!("{wanted} Services with an address"),
            Beat::Quick,
            async || {
                ccm.check()?;
                let seen = addressed.lock().unwrap_or_else(PoisonError::into_inner).len();
                Ok((seen >= wanted).then_some(()))
            },
        )
        .await
    }

    async fn end(mut self) -> Result<()> {
        self.ccm.end().await?;
        self.cluster.end().await
    }
}

fn follow(cluster: &Cluster, addressed: Arc<Mutex<BTreeSet<String>>>) -> Task {
    let api: Api<DynamicObject> = objects_of(&cluster.client, "default", &services());
    Task::begin(async move {
        let events = watcher(api, watcher::Config::default())
            .default_backoff()
            .applied_objects();
        let work = events.for_each(|service| {
            if let Ok(service) = service
                && service.data["status"]["loadBalancer"]["ingress"].is_array()
            {
                let mut all = addressed.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(service.name_any());
            }
            std::future::ready(())
        });
        work.await;
    })
}

async fn nodes(cluster: &Cluster) -> Result<()> {
    let kind = objects::nodes();
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &kind);
    for (index, address) in objects::node_addresses(NODES).iter().enumerate() {
        let (node, status) = objects::node(index, address);
        apply_cluster_wide(&cluster.client, &kind, &node).await?;
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
    }
    Ok(())
}

/// The kubeconfig that the manager issues to a tenant, as a file.
async fn credential(hub: &Hub, tenant: &str, dir: &Path) -> Result<PathBuf> {
    let secrets = objects_of(&hub.cluster.client, tenant, &objects::secrets());
    let what = format!("the credential of {tenant}");
    let text = until(&what, Beat::Slow, async || {
        let secret = secrets.get_opt(CREDENTIAL).await?;
        Ok(secret.and_then(|secret| decoded(&secret.data["data"]["kubelb"])))
    })
    .await?;
    let path = dir.join("hub.kubeconfig");
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

async fn start_ccm(
    setting: &Setting,
    cluster: &Cluster,
    dir: &Path,
    tenant: &str,
    credential: &Path,
) -> Result<Running> {
    let kubeconfig = cluster.service_account(NAMESPACE, "kubelb-ccm").await?;
    let (metrics, health) = (free_port()?, free_port()?);
    let args = [
        format!("--cluster-name={tenant}"),
        format!("--kubelb-kubeconfig={}", credential.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--metrics-addr=127.0.0.1:{metrics}"),
        format!("--health-probe-bind-address=127.0.0.1:{health}"),
        "--node-address-type=InternalIP".to_owned(),
        "--enable-gateway-api=false".to_owned(),
        "--enable-leader-election=true".to_owned(),
        "--renew-credential=false".to_owned(),
    ];
    let envs = [
        ("KUBECONFIG", kubeconfig.display().to_string()),
        ("KUBELB_KUBECONFIG", credential.display().to_string()),
        ("CLUSTER_NAME", tenant.to_owned()),
        ("NAMESPACE", NAMESPACE.to_owned()),
        ("POD_NAMESPACE", NAMESPACE.to_owned()),
        ("POD_NAME", "kubelb-ccm-bench".to_owned()),
    ];
    let mut ccm = Running::start(&setting.ccm, "ccm", dir, args, &envs)?;
    admin::ready("the CCM is ready", &mut ccm, health).await?;
    Ok(ccm)
}

struct Outcome {
    size: usize,
    created: f64,
    served: f64,
    manager_cpu: f64,
    ccm_cpu: f64,
    on_hub: Requests,
    in_tenant: Requests,
}

impl Outcome {
    fn figures(&self) -> Vec<Figure> {
        let Self {
            size,
            created,
            served,
            manager_cpu,
            ccm_cpu,
            on_hub,
            in_tenant,
        } = self;
        let each = |all: u64| all as f64 / *size as f64;
        let any = |_: &Request| true;
        let manager = count(on_hub, ":kubelb-manager", any);
        let ccm = count(on_hub, ":kubelb-ccm", any) + count(in_tenant, ":kubelb-ccm", any);
        let plain = |what: &str, value, unit| Figure::plain(format!("{size} Services: {what}"), value, unit);
        let mut all = vec![
            plain("until all are created", *created, Unit::Seconds),
            plain("until all have their address", *served, Unit::Seconds),
            plain("CPU of the manager", *manager_cpu, Unit::Seconds),
            plain("CPU of the CCM", *ccm_cpu, Unit::Seconds),
            plain("requests of the manager, each", each(manager), Unit::Each),
            plain("requests of the CCM, each", each(ccm), Unit::Each),
        ];
        for (who, user, requests) in [
            ("manager", ":kubelb-manager", on_hub),
            ("CCM on the hub", ":kubelb-ccm", on_hub),
            ("CCM in the tenant", ":kubelb-ccm", in_tenant),
        ] {
            let own = requests
                .iter()
                .filter(|(request, _)| request.user.ends_with(user));
            // What is asked less than once for ten Services has nothing to do with their number.
            let often = own.filter(|(_, times)| each(**times) >= 0.1);
            all.extend(often.map(|(Request { verb, resource, .. }, times)| {
                plain(
                    &format!("{who}: {verb} {resource}, each"),
                    each(*times),
                    Unit::Each,
                )
            }));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_for_each_service_by_who_asked_for_what() {
        let request = |user: &str, verb: &str, resource: &str| Request {
            user: format!("system:serviceaccount:x:{user}"),
            verb: verb.to_owned(),
            resource: resource.to_owned(),
        };
        let outcome = Outcome {
            size: 200,
            created: 1.0,
            served: 2.0,
            manager_cpu: 0.5,
            ccm_cpu: 0.25,
            on_hub: Requests::from([
                (request("kubelb-manager", "patch", "services"), 400),
                (request("kubelb-manager", "get", "leases"), 2),
                (request("kubelb-ccm", "patch", "loadbalancers"), 200),
            ]),
            in_tenant: Requests::from([(request("kubelb-ccm", "patch", "services/status"), 200)]),
        };
        let told: Vec<(String, f64)> = outcome
            .figures()
            .into_iter()
            .map(|figure| (figure.what, figure.value))
            .collect();
        let find = |what: &str| {
            told.iter()
                .find(|(name, _)| name.ends_with(what))
                .map(|(_, value)| *value)
        };
        assert_eq!(find("requests of the manager, each"), Some(2.01));
        assert_eq!(find("requests of the CCM, each"), Some(2.0));
        assert_eq!(find("manager: patch services, each"), Some(2.0));
        assert_eq!(find("CCM on the hub: patch loadbalancers, each"), Some(1.0));
        assert_eq!(find("get leases, each"), None);
    }
}
