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
pub mod plan;
pub mod policy;
pub mod previous;
pub mod sites;
pub mod status;
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

use api::condition::ConditionValue;
use api::v1alpha1::EnvoyProxyTopology;
use controller_kit::driver::Outcome;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use l4_xds::ContentVersion;
use l4_xds::ports::PortRange;

use self::apply::Applied;
use self::assess::{Assessed, View};
use self::plan::{Desired, Known, plan};
use self::sites::Site;
use self::status::{Facts, status};
use self::told::Told;
use super::report::heard::{Merged, merged};
use crate::build::hub_service;
use crate::context::{Context, Error, now};
use crate::fleet::selected_topology;
use crate::hostnames::{self, Claimant};
use crate::metrics::FleetCounts;
use crate::settings::TenantSettings;
use crate::xds;

/// Looked at this often although nothing happened: certificates age by themselves.
const PERIOD: Duration = Duration::from_secs(3600);
/// Statuses written at the same time.
const CONCURRENCY: usize = 8;

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
    if let Some(settings) = &view.settings {
        let found = Found {
            assessed: &assessed,
            desired: &desired,
            applied: &applied,
            merged: &merged,
        };
        report_all(ctx, &view, settings, &found, &mut memory.told).await?;
        report_addresses(ctx, &view, settings).await?;
    }
    if !desired.services.is_empty() {
        ctx.memories.put(namespace, memory);
    }
    let more = applied.more;
    applied.into_result()?;
    Ok(next_look(&desired, more, now()))
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

/// What a run found and did.
struct Found<'a> {
    assessed: &'a [Arc<Assessed>],
    desired: &'a Desired,
    applied: &'a Applied,
    merged: &'a Merged,
}

async fn report_all(
    ctx: &Context,
    view: &View,
    settings: &TenantSettings,
    found: &Found<'_>,
    told: &mut Told,
) -> Result<(), Error> {
    let Found {
        assessed,
        desired,
        applied,
        merged,
    } = found;
    let global = ctx.global.get();
    let basis = merged.basis(&view.hostnames);
    let mut telling = told.begin(&basis);
    let mut listener = merged.listen();
    let api: Api<_> = Api::namespaced(ctx.client.clone(), &view.namespace);
    let now = Time(now());
    let mut writes = Vec::new();
    for item in *assessed {
        let exhausted = desired.exhausted.get(&item.id);
        let exhausted = exhausted.or_else(|| global.exhausted.get(&item.id));
        let refused = applied.refused.get(&item.id);
        let refused = refused.or_else(|| global.refused.get(&item.id));
        let https = https_condition(ctx, view, item, desired, applied);
        // What else there is to tell depends on more than the basis.
        let is_plain =
            exhausted.is_none() && refused.is_none() && https.is_none() && item.seat.target.is_none();
        if telling.knows(item, is_plain) {
            continue;
        }
        let site = item.sites.show(merged.arrived.contains(item.id.name()));
        let content = content(merged, view, item, site);
        let report = merged.report(&mut listener, item);
        let facts = Facts {
            assessed: item,
            settings,
            hostnames: &view.hostnames,
            site,
            content: content.as_ref(),
            report: report.as_ref(),
            exhausted: exhausted.map(Vec::as_slice),
            refused,
            https,
        };
        let status = status(&facts, &now);
        if item.load_balancer.status.as_ref() == Some(&status) {
            telling.remember(item, is_plain);
            continue;
        }
        let api = &api;
        writes.push(async move { ctx.write_status(api, item.load_balancer.as_ref(), &status).await });
    }
    told.end(telling, basis);
    stream::iter(writes)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

/// What the current generation is to Envoys. What is not in the snapshot yet may be what it was before: then an Envoy has it.
fn content(merged: &Merged, view: &View, item: &Assessed, site: Site) -> Option<ContentVersion> {
    let served = merged.served(site, &item.id);
    let generation = item.load_balancer.metadata.generation.unwrap_or_default();
    let served = served.filter(|served| served.generation == generation);
    let content = served.map(|served| served.content.clone());
    content.or_else(|| item.content(site, &view.translation))
}

fn https_condition(
    ctx: &Context,
    view: &View,
    item: &Assessed,
    desired: &Desired,
    applied: &Applied,
) -> Option<ConditionValue> {
    let https = desired.https.get(&item.id)?;
    let gateways = &ctx.stores.gateways;
    let gateway = (https.gateway()).and_then(|name| gateways.get(&view.namespace, name));
    let refused = applied.refused_https.get(&item.id).map(String::as_str);
    Some(https::condition(https, gateway.as_deref(), refused))
}

async fn report_addresses(ctx: &Context, view: &View, settings: &TenantSettings) -> Result<(), Error> {
    let api: Api<_> = Api::namespaced(ctx.client.clone(), &view.namespace);
    let now: Timestamp = now();
    for addresses in &view.addresses {
        let status = status::addresses_status(addresses, &settings.endpoint_policy, &Time(now));
        if addresses.status.as_ref() != Some(&status) {
            ctx.write_status(&api, addresses.as_ref(), &status).await?;
        }
    }
    Ok(())
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

/// As a gauge takes it.
pub fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn measure(ctx: &Context, view: &View, desired: &Desired) {
    let namespace = view.namespace.as_str();
    (ctx.metrics.allocated_ports.with_label_values(&[namespace])).set(count(desired.ports));
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
