//! From the stores to what Envoys are served, on every replica alike.
//!
//! Only recorded facts count here (CRs, hub Services, statuses), never what this replica happens to know, so
//! that all replicas serve the same. A fleet is told nothing before every store is complete, and is never told
//! of an empty world because its Tenant or namespace cannot be found.

pub mod global;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use controller_kit::driver::Outcome;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use l4_xds::snapshot::Part;
use l4_xds::translate::{Admission, part};
use l4_xds::{Cache, ContentVersion, FleetKey, Frontend, LoadBalancerId, Snapshot};

use crate::build::hub_service;
use crate::context::{Context, Error, SharedMap};
use crate::controller::load_balancer::arrival::Contents;
use crate::controller::load_balancer::assess::{Assessed, View};
use crate::controller::load_balancer::fleets::Workload;
use crate::controller::load_balancer::sites::Site;
use crate::fleet::{FleetId, GLOBAL};

/// What is served of one LoadBalancer, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Generation of the spec that it was made from.
    pub generation: i64,
    /// What Envoys acknowledge.
    pub content: ContentVersion,
}

/// What is served, by namespace.
#[derive(Debug)]
pub struct Snapshots {
    cache: Cache,
    metrics: l4_xds::Metrics,
    served: SharedMap<Arc<BTreeMap<LoadBalancerId, Served>>>,
    /// What was translated last, so that one changed LoadBalancer is one translation.
    parts: SharedMap<Parts>,
    /// Fleets that have a snapshot.
    fleets: SharedMap<BTreeSet<FleetId>>,
}

type Parts = BTreeMap<LoadBalancerId, (Frontend, Arc<Part>)>;

impl Snapshots {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(cache: Cache, metrics: l4_xds::Metrics) -> Self {
        Self {
            cache,
            metrics,
            served: SharedMap::default(),
            parts: SharedMap::default(),
            fleets: SharedMap::default(),
        }
    }

    /// What is served in a namespace.
    #[must_use]
    pub fn served(&self, namespace: &str) -> Arc<BTreeMap<LoadBalancerId, Served>> {
        self.served.lock().get(namespace).cloned().unwrap_or_default()
    }

    /// What is served of the LoadBalancers of a namespace, there and by the fleet of all tenants.
    #[must_use]
    pub fn contents(&self, namespace: &str) -> Contents {
        Contents {
            own: self.served(namespace),
            global: self.served(GLOBAL),
        }
    }

    /// What a fleet is served.
    #[must_use]
    pub fn of(&self, fleet: &FleetKey) -> Option<Arc<Snapshot>> {
        self.cache.get(fleet)
    }

    fn forget(&self, namespace: &str) {
        self.keep_only(namespace, BTreeSet::new());
        self.metrics.forget_snapshot(namespace);
        self.served.lock().remove(namespace);
        self.parts.lock().remove(namespace);
        self.fleets.lock().remove(namespace);
    }

    /// Fleets of the namespace that are not among these have no snapshot any more.
    fn keep_only(&self, namespace: &str, fleets: BTreeSet<FleetId>) {
        let before = self.fleets.lock().insert(namespace.to_owned(), fleets.clone());
        for gone in before.unwrap_or_default().difference(&fleets) {
            if let Ok(key) = gone.key(namespace) {
                self.cache.remove(&key);
            }
        }
    }
}

/// All that belongs to the L4 world of a namespace. None where no Tenant has it.
#[must_use]
pub fn view(ctx: &Context, namespace: &str) -> Option<View> {
    let owner = ctx.owner(namespace)?;
    Some(View {
        tenant: owner.tenant.name_any(),
        namespace: namespace.to_owned(),
        settings: owner.settings,
        load_balancers: ctx.stores.load_balancers.in_namespace(namespace),
        addresses: ctx.stores.addresses.in_namespace(namespace),
        services: ctx.stores.services.in_namespace(namespace),
        global_services: global_services(ctx, namespace),
        workloads: workloads(ctx, namespace),
        hostnames: ctx.hostnames.get(),
        gateway_api: ctx.serves_gateway_api(),
        translation: ctx.options.translation,
    })
}

/// Hub Services in the manager's namespace that are for this one.
pub fn global_services(ctx: &Context, namespace: &str) -> Vec<Arc<Service>> {
    let mut services = ctx.stores.services.in_namespace(&ctx.options.namespace);
    services.retain(|service| hub_service::tenant_namespace(service) == Some(namespace));
    services
}

/// What runs Envoys in a namespace.
pub fn workloads(ctx: &Context, namespace: &str) -> Vec<Workload> {
    let deployments = ctx.stores.deployments.in_namespace(namespace);
    let daemon_sets = ctx.stores.daemon_sets.in_namespace(namespace);
    let deployments = deployments.iter().filter_map(|d| Workload::of_deployment(d));
    let daemon_sets = daemon_sets.iter().filter_map(|d| Workload::of_daemon_set(d));
    deployments.chain(daemon_sets).collect()
}

/// Publishes the snapshots of one namespace.
///
/// # Errors
/// When one contradicts itself; the others are published.
pub fn publish(ctx: &Context, namespace: &str) -> Result<Outcome, Error> {
    if ctx.stores.proof().is_none() {
        return Ok(Outcome::done());
    }
    if ctx.stores.namespaces.get("", namespace).is_none() {
        ctx.snapshots.forget(namespace);
        // That there was none is no error.
        let _ = ctx.metrics.snapshot_updates.remove_label_values(&[namespace]);
        return Ok(Outcome::done());
    }
    // Without an owner Envoys keep what they have: nobody has said that it should go.
    let Some(view) = view(ctx, namespace) else {
        return Ok(Outcome::done());
    };
    if ctx
        .stores
        .load_balancers
        .undecodable()
        .iter()
        .any(|key| key.namespace == namespace)
    {
        tracing::error!(
            tenant = view.tenant,
            "a LoadBalancer cannot be read: its Envoys keep what they have"
        );
        return Ok(Outcome::done());
    }
    set(ctx, &view)?;
    Ok(Outcome::done())
}

fn set(ctx: &Context, view: &View) -> Result<(), Error> {
    let namespace = view.namespace.as_str();
    let assessed = view.assess();
    let frontends = assessed.iter().filter_map(|item| item.frontend(Site::Tenant));
    let before = ctx.snapshots.parts.lock().remove(namespace).unwrap_or_default();
    let parts = translate(ctx, frontends.collect(), before);
    let snapshots = assemble(view, &assessed, &parts);
    let served = served(&parts, snapshots.values(), &complete(&assessed, Site::Tenant));
    ctx.snapshots.parts.lock().insert(namespace.to_owned(), parts);
    ctx.snapshots
        .metrics
        .set_snapshot_size(namespace, snapshots.values());
    ctx.snapshots
        .keep_only(namespace, snapshots.keys().cloned().collect());
    let published = hand_over(ctx, namespace, snapshots);
    let before = ctx
        .snapshots
        .served
        .lock()
        .insert(namespace.to_owned(), Arc::new(served.clone()));
    if before.as_deref() != Some(&served) {
        ctx.triggers.load_balancer.trigger(namespace.to_owned());
    }
    published
}

/// A snapshot for each fleet that has a load balancer, or Envoys: those of one that lost its last one are told so.
fn assemble(view: &View, assessed: &[Assessed], parts: &Parts) -> BTreeMap<FleetId, Snapshot> {
    let workloads = view.workloads.iter().map(|workload| workload.fleet.clone());
    let fleets = workloads.chain([FleetId::Shared]);
    let mut by_fleet: BTreeMap<FleetId, Vec<&Part>> = fleets.map(|fleet| (fleet, Vec::new())).collect();
    for item in assessed {
        let Some((_, part)) = parts.get(&item.id) else {
            continue;
        };
        for fleet in item.place.homes() {
            by_fleet.entry(fleet).or_default().push(part);
        }
    }
    (by_fleet.into_iter())
        .map(|(fleet, parts)| (fleet, Snapshot::assemble(parts)))
        .collect()
}

/// Those of which every port is recorded.
fn complete<'a>(
    assessed: impl IntoIterator<Item = &'a Assessed>,
    site: Site,
) -> BTreeSet<&'a LoadBalancerId> {
    let whole = assessed.into_iter().filter(|item| item.is_complete(site));
    whole.map(|item| &item.id).collect()
}

/// Of one that is in several snapshots it is the same in all.
fn served<'a>(
    parts: &Parts,
    snapshots: impl Iterator<Item = &'a Snapshot> + Clone,
    complete: &BTreeSet<&LoadBalancerId>,
) -> BTreeMap<LoadBalancerId, Served> {
    let mut served = BTreeMap::new();
    for snapshot in snapshots {
        for id in snapshot.owners().filter(|id| complete.contains(id)) {
            if let (Some((frontend, _)), Some(content)) = (parts.get(id), snapshot.content_version(id)) {
                let now = Served {
                    generation: frontend.generation,
                    content: content.clone(),
                };
                served.insert(id.clone(), now);
            }
        }
    }
    served
}

/// One that contradicts itself keeps no other from being published.
fn hand_over(ctx: &Context, namespace: &str, snapshots: BTreeMap<FleetId, Snapshot>) -> Result<(), Error> {
    let mut published = Ok(());
    for (fleet, snapshot) in snapshots {
        let Ok(key) = fleet.key(namespace) else {
            continue;
        };
        let load_balancers = snapshot.owners().count();
        match ctx.snapshots.cache.set(&key, snapshot) {
            Ok(false) => {}
            Ok(true) => {
                ctx.metrics.snapshot_updates.with_label_values(&[namespace]).inc();
                tracing::info!(fleet = %key, load_balancers, "snapshot changed");
            }
            Err(source) => {
                published = Err(Error::Snapshot {
                    fleet: key.to_string(),
                    source,
                });
            }
        }
    }
    published
}

/// Translates what is not as it was. Of two that cannot both be served, the one with the smaller id is.
fn translate(ctx: &Context, mut frontends: Vec<Frontend>, mut before: Parts) -> Parts {
    frontends.sort();
    let mut admission = Admission::default();
    let mut parts = Parts::new();
    for frontend in frontends {
        if let Err(why) = admission.admit(&frontend) {
            ctx.metrics.omissions.inc();
            tracing::warn!(load_balancer = %frontend.id, %why, "left out of the snapshot");
            continue;
        }
        let kept = before
            .remove(&frontend.id)
            .filter(|(old, _)| old.listeners == frontend.listeners);
        let part = match kept {
            Some((_, part)) => part,
            None => Arc::new(part(&frontend, &ctx.options.translation)),
        };
        parts.insert(frontend.id.clone(), (frontend, part));
    }
    parts
}
