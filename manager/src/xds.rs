//! From the stores to what Envoys are served, on every replica alike.
//!
//! Only recorded facts count here (CRs, hub Services, statuses), never what this replica happens to know, so
//! that all replicas serve the same. A fleet is told nothing before every store is complete, and is never told
//! of an empty world because its Tenant or namespace cannot be found.

use std::collections::BTreeMap;
use std::sync::Arc;

use controller_kit::driver::Outcome;
use kube::ResourceExt;
use l4_xds::snapshot::Part;
use l4_xds::translate::{Admission, part};
use l4_xds::{Cache, ContentVersion, FleetKey, Frontend, LoadBalancerId, Snapshot};

use crate::context::{Context, Error, SharedMap};
use crate::controller::load_balancer::assess::{Assessed, View};

/// What is served of one LoadBalancer.
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
        }
    }

    /// What is served in a namespace.
    #[must_use]
    pub fn served(&self, namespace: &str) -> Arc<BTreeMap<LoadBalancerId, Served>> {
        self.served.lock().get(namespace).cloned().unwrap_or_default()
    }

    fn forget(&self, fleet: &FleetKey) {
        self.cache.remove(fleet);
        self.metrics.forget_snapshot(fleet);
        self.served.lock().remove(fleet.as_str());
        self.parts.lock().remove(fleet.as_str());
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
        hostnames: ctx.hostnames.get(),
        gateway_api: ctx.serves_gateway_api(),
    })
}

/// Publishes the snapshot of one namespace.
///
/// # Errors
/// When the snapshot contradicts itself.
pub fn publish(ctx: &Context, namespace: &str) -> Result<Outcome, Error> {
    let Ok(fleet) = namespace.parse::<FleetKey>() else {
        return Ok(Outcome::done());
    };
    if ctx.stores.proof().is_none() {
        return Ok(Outcome::done());
    }
    if ctx.stores.namespaces.get("", namespace).is_none() {
        ctx.snapshots.forget(&fleet);
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
    set(ctx, &fleet, &view)?;
    Ok(Outcome::done())
}

fn set(ctx: &Context, fleet: &FleetKey, view: &View) -> Result<(), Error> {
    let assessed = view.assess();
    let frontends: Vec<_> = assessed.iter().filter_map(Assessed::frontend).collect();
    let before = ctx
        .snapshots
        .parts
        .lock()
        .remove(fleet.as_str())
        .unwrap_or_default();
    let parts = translate(ctx, view, frontends, before);
    let snapshot = Snapshot::assemble(parts.values().map(|(_, part)| part.as_ref()));
    let served: BTreeMap<LoadBalancerId, Served> = (parts.iter())
        .filter_map(|(id, (frontend, _))| {
            let content = snapshot.content_version(id)?.clone();
            Some((
                id.clone(),
                Served {
                    generation: frontend.generation,
                    content,
                },
            ))
        })
        .collect();
    ctx.snapshots
        .parts
        .lock()
        .insert(fleet.as_str().to_owned(), parts);
    ctx.snapshots.metrics.set_snapshot_size(fleet, &snapshot);
    let changed = (ctx.snapshots.cache.set(fleet, snapshot)).map_err(|source| Error::Snapshot {
        fleet: fleet.to_string(),
        source,
    })?;
    let before = ctx
        .snapshots
        .served
        .lock()
        .insert(fleet.as_str().to_owned(), Arc::new(served.clone()));
    if changed {
        ctx.metrics
            .snapshot_updates
            .with_label_values(&[fleet.as_str()])
            .inc();
        tracing::info!(
            tenant = view.tenant,
            load_balancers = served.len(),
            "snapshot changed"
        );
    }
    if before.as_deref() != Some(&served) {
        ctx.triggers.load_balancer.trigger(fleet.as_str().to_owned());
    }
    Ok(())
}

/// Translates what is not as it was. Of two that cannot both be served, the one with the smaller id is.
fn translate(ctx: &Context, view: &View, mut frontends: Vec<Frontend>, mut before: Parts) -> Parts {
    frontends.sort();
    let mut admission = Admission::default();
    let mut parts = Parts::new();
    for frontend in frontends {
        if let Err(why) = admission.admit(&frontend) {
            ctx.metrics.omissions.inc();
            tracing::warn!(tenant = view.tenant, load_balancer = %frontend.id, %why, "left out of the snapshot");
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
