//! Keeps one tenant's L4 in order: hub Services, Envoys and statuses.
//!
//! Keyed by the tenant's namespace. Only the lease holder gets past the first line.

pub mod apply;
pub mod arrival;
pub mod assess;
pub mod assessments;
pub mod built;
pub mod convert;
pub mod fleets;
pub mod https;
pub mod memory;
pub mod moves;
pub mod pace;
pub mod plan;
pub mod policy;
pub mod previous;
pub mod sites;
pub mod status;
pub mod tell;
pub mod told;

#[cfg(test)]
mod global_tests;
#[cfg(test)]
mod moving_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::v1alpha1::EnvoyProxyTopology;
use controller_kit::driver::Outcome;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use l4_xds::ports::PortRange;

use self::assess::View;
use self::plan::{Desired, Known, plan};
use self::tell::Found;
use super::report::heard::merged;
use crate::build::hub_service;
use crate::context::{Context, Error, now};
use crate::fleet::selected_topology;
use crate::hostnames::{self, Claimant};
use crate::metrics::FleetCounts;
use crate::settings::TenantSettings;
use crate::xds;

/// Looked at this often although nothing happened: certificates age by themselves.
const PERIOD: Duration = Duration::from_secs(3600);

/// One run.
///
/// # Errors
/// When something could not be written; the rest was.
pub async fn run(ctx: &Context, namespace: &str) -> Result<Outcome, Error> {
    if !ctx.leads() || ctx.stores.proof().is_none() {
        return Ok(Outcome::done());
    }
    if ctx
        .owner(namespace)
        .and_then(|o| o.settings)
        .is_some_and(|s| gives_hostnames(&s))
    {
        refresh_hostnames(ctx);
    }
    let Some(view) = xds::view(ctx, namespace) else {
        return Ok(Outcome::done());
    };
    let assessed = ctx.assess(&view);
    let merged = merged(ctx, namespace, &assessed);
    let known = Known {
        arrived: &merged.arrived,
        now: now(),
    };
    let mut memory = ctx.memories.take(namespace);
    let desired = plan(&view, &assessed, &PortRange::default(), &known, &mut memory.built);
    let applied = apply::run(ctx, &view, &desired, &mut memory).await?;
    measure(ctx, &view, &desired);
    let mut waits = None;
    if let Some(settings) = &view.settings {
        let found = Found {
            assessed: &assessed,
            desired: &desired,
            applied: &applied,
            merged: &merged,
        };
        waits = tell::load_balancers(ctx, &view, settings, &found, &mut memory).await?;
        tell::addresses(ctx, &view, settings).await?;
    }
    if !desired.services.is_empty() {
        ctx.memories.put(namespace, memory);
    }
    let more = applied.more;
    applied.into_result()?;
    let Outcome { requeue_after } = next_look(&desired, more, now());
    Ok(Outcome {
        requeue_after: requeue_after.into_iter().chain(waits).min(),
    })
}

/// When to look again although nothing happens. What came due meanwhile is looked at at once.
pub fn next_look(desired: &Desired, more: bool, now: Timestamp) -> Outcome {
    if more {
        return Outcome::requeue(Duration::ZERO);
    }
    if desired.fleets.is_empty() {
        return Outcome::done();
    }
    let left = |due: Timestamp| Duration::try_from(due.duration_since(now)).unwrap_or_default();
    Outcome::requeue(desired.due.map_or(PERIOD, |due| left(due).min(PERIOD)))
}

/// Makes the table of host names anew and wakes those for whom it changed.
pub fn refresh_hostnames(ctx: &Context) {
    if ctx.stores.proof().is_none() {
        return;
    }
    let mut elsewhere = global_services(ctx);
    let tenants: Vec<_> = (ctx.tenant_namespaces().into_iter())
        .filter_map(|namespace| {
            let settings = ctx.owner(&namespace)?.settings?;
            let load_balancers =
                gives_hostnames(&settings).then(|| ctx.stores.load_balancers.in_namespace(&namespace))?;
            let mut services = ctx.stores.services.in_namespace(&namespace);
            services.extend(elsewhere.remove(&namespace).unwrap_or_default());
            Some((namespace, settings, load_balancers, services))
        })
        .collect();
    let table = hostnames::table(
        tenants
            .iter()
            .map(|(namespace, settings, load_balancers, services)| Claimant {
                namespace,
                settings,
                load_balancers,
                services,
            }),
    );
    let before = ctx.hostnames.get();
    if *before == table {
        return;
    }
    let changed = before.changed_namespaces(&table);
    ctx.hostnames.replace(table);
    for namespace in changed {
        ctx.triggers.load_balancer.trigger(namespace);
    }
    ctx.triggers.global.trigger(());
}

/// Hub Services in the manager's namespace, by the tenant's namespace that they are for.
fn global_services(ctx: &Context) -> BTreeMap<String, Vec<Arc<Service>>> {
    let mut services: BTreeMap<String, Vec<Arc<Service>>> = BTreeMap::new();
    for service in ctx.stores.services.in_namespace(&ctx.options.namespace) {
        if let Some(namespace) = hub_service::tenant_namespace(&service) {
            services.entry(namespace.to_owned()).or_default().push(service);
        }
    }
    services
}

/// Whether load balancers of a tenant may have host names.
#[must_use]
pub fn gives_hostnames(settings: &TenantSettings) -> bool {
    settings.dns.wildcard_domain.is_some() || settings.dns.allow_explicit_hostnames == Some(true)
}

fn measure(ctx: &Context, view: &View, desired: &Desired) {
    let namespace = view.namespace.as_str();
    ctx.metrics.set_allocated_ports(namespace, desired.ports);
    let Some(settings) = &view.settings else {
        return ctx.metrics.forget_fleets(namespace, &view.tenant);
    };
    for topology in EnvoyProxyTopology::ALL {
        // Those of all tenants are another run's work: what is there counts.
        let there = (view.global_services.iter())
            .filter(|service| selected_topology(service) == Some(topology))
            .count();
        let here = desired.by_topology.get(&topology).copied().unwrap_or_default();
        let fleets = desired.fleets.iter().filter(|(id, _)| id.topology() == topology);
        let envoys = fleets.map(|(id, fleet)| fleets::envoys(id, fleet, &view.workloads, settings));
        let counts = FleetCounts {
            load_balancers: here + there,
            envoys: envoys.sum(),
        };
        let is_used = topology == settings.topology;
        (ctx.metrics).set_fleets(namespace, &view.tenant, topology, &counts, is_used);
    }
}
