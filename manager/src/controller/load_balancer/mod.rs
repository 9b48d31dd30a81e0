//! Keeps one tenant's L4 in order: hub Services, Envoys and statuses.
//!
//! Keyed by the tenant's namespace. Only the lease holder gets past the first line.

pub mod apply;
pub mod assess;
pub mod convert;
pub mod https;
pub mod plan;
pub mod policy;
pub mod status;

#[cfg(test)]
mod tests;

use std::time::Duration;

use controller_kit::driver::Outcome;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt};
use l4_xds::ports::PortRange;

use self::apply::Applied;
use self::assess::{Assessed, View};
use self::plan::{Desired, plan};
use self::status::{Facts, status};
use super::report;
use crate::context::{Context, Error, now};
use crate::hostnames::{self, Claimant};
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
    let assessed = view.assess();
    let desired = plan(&view, &assessed, &PortRange::default());
    let applied = apply::run(ctx, &view, &desired).await?;
    measure(ctx, &view, &desired);
    if let Some(settings) = &view.settings {
        report_all(ctx, &view, settings, &assessed, &desired, &applied).await?;
        report_addresses(ctx, &view, settings).await?;
    }
    applied.into_result()?;
    Ok(if desired.fleet {
        Outcome::requeue(PERIOD)
    } else {
        Outcome::done()
    })
}

async fn report_all(
    ctx: &Context,
    view: &View,
    settings: &TenantSettings,
    assessed: &[Assessed],
    desired: &Desired,
    applied: &Applied,
) -> Result<(), Error> {
    let namespace = view.namespace.as_str();
    let (served, reports) = (ctx.snapshots.served(namespace), report::merged(ctx, namespace));
    let api: Api<_> = Api::namespaced(ctx.client.clone(), namespace);
    let now = Time(now());
    let mut writes = Vec::with_capacity(assessed.len());
    for item in assessed {
        let name = item.load_balancer.name_any();
        let generation = item.load_balancer.metadata.generation.unwrap_or_default();
        let content = served
            .get(&item.id)
            .filter(|s| s.generation == generation)
            .map(|s| &s.content);
        let status = status(
            &Facts {
                assessed: item,
                settings,
                hostnames: &view.hostnames,
                content,
                report: reports.get(&item.id),
                exhausted: desired.exhausted.get(&name).map(Vec::as_slice),
                refused: applied.refused.get(&name),
                https: desired.https.get(&name).map(|https| {
                    let gateway = https
                        .gateway()
                        .and_then(|gateway| ctx.stores.gateways.get(namespace, gateway));
                    let refused = applied.refused_https.get(&name).map(String::as_str);
                    https::condition(https, gateway.as_deref(), refused)
                }),
            },
            &now,
        );
        let api = &api;
        writes.push(async move { ctx.write_status(api, item.load_balancer.as_ref(), &status).await });
    }
    stream::iter(writes)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

async fn report_addresses(ctx: &Context, view: &View, settings: &TenantSettings) -> Result<(), Error> {
    let api: Api<_> = Api::namespaced(ctx.client.clone(), &view.namespace);
    let now: Timestamp = now();
    for addresses in &view.addresses {
        let status = status::addresses_status(addresses, &settings.endpoint_policy, &Time(now));
        ctx.write_status(&api, addresses.as_ref(), &status).await?;
    }
    Ok(())
}

/// Makes the table of host names anew and wakes those for whom it changed.
pub fn refresh_hostnames(ctx: &Context) {
    if ctx.stores.proof().is_none() {
        return;
    }
    let tenants: Vec<_> = (ctx.tenant_namespaces().into_iter())
        .filter_map(|namespace| {
            let settings = ctx.owner(&namespace)?.settings?;
            let load_balancers =
                gives_hostnames(&settings).then(|| ctx.stores.load_balancers.in_namespace(&namespace))?;
            let services = ctx.stores.services.in_namespace(&namespace);
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
}

fn gives_hostnames(settings: &TenantSettings) -> bool {
    settings.dns.wildcard_domain.is_some() || settings.dns.allow_explicit_hostnames == Some(true)
}

fn measure(ctx: &Context, view: &View, desired: &Desired) {
    let served = i64::try_from(desired.services.len()).unwrap_or(i64::MAX);
    let envoys = view
        .settings
        .as_ref()
        .filter(|_| desired.fleet)
        .map_or(0, |s| i64::from(s.envoy.replicas));
    let namespace = view.namespace.as_str();
    let ports = desired
        .services
        .iter()
        .filter_map(|service| service.spec.as_ref()?.ports.as_ref());
    ctx.metrics.allocated_ports.with_label_values(&[namespace]).set(
        ports
            .map(|ports| i64::try_from(ports.len()).unwrap_or(i64::MAX))
            .sum(),
    );
    ctx.metrics
        .load_balancers
        .with_label_values(&[namespace, view.tenant.as_str(), "shared"])
        .set(served);
    ctx.metrics
        .envoy_proxies
        .with_label_values(&[namespace, "shared"])
        .set(envoys);
}
