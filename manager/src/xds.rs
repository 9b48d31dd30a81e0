//! From the stores to what Envoys are served, on every replica alike.
//!
//! Only recorded facts count here (CRs, hub Services, statuses), never what this replica happens to know, so
//! that all replicas serve the same. A fleet is told nothing before every store is complete, and is never told
//! of an empty world because its Tenant or namespace cannot be found.

pub mod global;
pub mod served;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use controller_kit::driver::Outcome;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use l4_xds::snapshot::Part;
use l4_xds::translate::{Admission, part};
use l4_xds::{Cache, FleetKey, Frontend, LoadBalancerId, Snapshot};

use self::served::{Served, ServedById};
use crate::build::hub_service;
use crate::context::{Context, Error, SharedMap};
use crate::controller::load_balancer::arrival::Contents;
use crate::controller::load_balancer::assess::{Assessed, View};
use crate::controller::load_balancer::fleets::Workload;
use crate::controller::load_balancer::previous::{About, Previous};
use crate::controller::load_balancer::sites::Site;
use crate::fleet::{FleetId, GLOBAL};

/// What is served, by namespace.
#[derive(Debug)]
pub struct Snapshots {
    cache: Cache,
    metrics: l4_xds::Metrics,
    served: SharedMap<Arc<ServedById>>,
    /// What was translated last, so that one changed LoadBalancer is one translation.
    parts: SharedMap<Parts>,
    /// Fleets that have a snapshot.
    fleets: SharedMap<BTreeSet<FleetId>>,
}

/// In the order of ids.
type Parts = Vec<Translated>;

/// A LoadBalancer, and what it is to Envoys.
#[derive(Debug)]
struct Translated {
    frontend: Arc<Frontend>,
    part: Arc<Part>,
}

impl About for Translated {
    fn id(&self) -> &LoadBalancerId {
        &self.frontend.id
    }
}

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
    pub fn served(&self, namespace: &str) -> Arc<ServedById> {
        self.served.lock().get(namespace).cloned().unwrap_or_default()
    }

    /// What was served before.
    fn set_served(&self, namespace: &str, served: &Arc<ServedById>) -> Option<Arc<ServedById>> {
        self.served
            .lock()
            .insert(namespace.to_owned(), Arc::clone(served))
    }

    /// The snapshot of these parts, which shares with the current one what is as it was.
    fn next<'a>(
        &self,
        namespace: &str,
        fleet: &FleetId,
        parts: impl IntoIterator<Item = &'a Arc<Part>>,
    ) -> Snapshot {
        let current = fleet.key(namespace).ok().and_then(|key| self.cache.get(&key));
        current.unwrap_or_default().with(parts)
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
        load_balancers: ctx.stores.load_balancers.list(namespace),
        addresses: ctx.stores.addresses.in_namespace(namespace),
        services: ctx.stores.services.list(namespace),
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
        ctx.assessments.lock().remove(namespace);
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
    let assessed = ctx.assess(view);
    let frontends = assessed.iter().filter_map(|item| item.frontend(Site::Tenant));
    let before = ctx.snapshots.parts.lock().remove(namespace).unwrap_or_default();
    let parts = translate(ctx, frontends, before);
    let snapshots = assemble(ctx, view, &assessed, &parts);
    let served = served_of(&parts, assessed.iter(), Site::Tenant);
    ctx.snapshots.parts.lock().insert(namespace.to_owned(), parts);
    ctx.snapshots
        .metrics
        .set_snapshot_size(namespace, snapshots.values());
    ctx.snapshots
        .keep_only(namespace, snapshots.keys().cloned().collect());
    let published = hand_over(ctx, namespace, snapshots);
    if ctx.snapshots.set_served(namespace, &served).as_deref() != Some(&*served) {
        ctx.triggers.load_balancer.trigger(namespace.to_owned());
    }
    published
}

/// A snapshot for each fleet that has a load balancer, or Envoys: those of one that lost its last one are told so.
fn assemble(
    ctx: &Context,
    view: &View,
    assessed: &[Arc<Assessed>],
    parts: &Parts,
) -> BTreeMap<FleetId, Snapshot> {
    let workloads = view.workloads.iter().map(|workload| workload.fleet.clone());
    let fleets = workloads.chain([FleetId::Shared]);
    let mut by_fleet: BTreeMap<FleetId, Vec<&Arc<Part>>> = fleets.map(|fleet| (fleet, Vec::new())).collect();
    for (item, Translated { part, .. }) in of_each(assessed, parts, Site::Tenant) {
        for fleet in item.place.homes() {
            match by_fleet.get_mut(fleet.as_ref()) {
                Some(parts) => parts.push(part),
                None => drop(by_fleet.insert(fleet.into_owned(), vec![part])),
            }
        }
    }
    (by_fleet.into_iter())
        .map(|(fleet, parts)| {
            let snapshot = ctx.snapshots.next(&view.namespace, &fleet, parts);
            (fleet, snapshot)
        })
        .collect()
}

/// Each that is served, with what it is to Envoys. Both are in the order of ids.
fn of_each<'a>(
    assessed: impl IntoIterator<Item = &'a Arc<Assessed>>,
    parts: &'a Parts,
    site: Site,
) -> impl Iterator<Item = (&'a Assessed, &'a Translated)> {
    let mut parts = parts.iter().peekable();
    assessed.into_iter().filter_map(move |item| {
        let frontend = item.frontend(site)?;
        let translated = parts.next_if(|translated| Arc::ptr_eq(&translated.frontend, frontend))?;
        Some((item.as_ref(), translated))
    })
}

/// What is served at a site of those of which every port is recorded.
fn served_of<'a>(
    parts: &'a Parts,
    assessed: impl IntoIterator<Item = &'a Arc<Assessed>>,
    site: Site,
) -> Arc<ServedById> {
    let all = of_each(assessed, parts, site).filter(|(item, _)| item.is_complete(site));
    let served = all.map(|(item, Translated { frontend, part })| {
        let served = Served {
            generation: frontend.generation,
            content: part.content_version().clone(),
        };
        (item.id.clone(), served)
    });
    Arc::new(served.collect())
}

/// One that contradicts itself keeps no other from being published.
fn hand_over(ctx: &Context, namespace: &str, snapshots: BTreeMap<FleetId, Snapshot>) -> Result<(), Error> {
    let mut published = Ok(());
    for (fleet, snapshot) in snapshots {
        let Ok(key) = fleet.key(namespace) else {
            continue;
        };
        let load_balancers = snapshot.len();
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

/// Translates what is not as it was. Of two that cannot both be served, the one with the smaller id is. `frontends` are in
/// the order of ids.
fn translate<'a>(
    ctx: &Context,
    frontends: impl IntoIterator<Item = &'a Arc<Frontend>>,
    before: Parts,
) -> Parts {
    let mut before = Previous::of(before);
    let mut admission = Admission::default();
    let mut parts = Parts::new();
    for frontend in frontends {
        if let Err(why) = admission.admit(frontend) {
            ctx.metrics.omissions.inc();
            tracing::warn!(load_balancer = %frontend.id, %why, "left out of the snapshot");
            continue;
        }
        let is_same = |old: &Translated| Arc::ptr_eq(&old.frontend, frontend);
        let known = before.take(&frontend.id);
        let kept = known.filter(|old| is_same(old) || old.frontend.listeners == frontend.listeners);
        let part = match kept {
            Some(old) => old.part,
            None => Arc::new(part(frontend, &ctx.options.translation)),
        };
        let frontend = Arc::clone(frontend);
        parts.push(Translated { frontend, part });
    }
    parts
}
