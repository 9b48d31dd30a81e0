//! Tells what became of a tenant's LoadBalancers and Addresses, in their statuses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::condition::ConditionValue;
use api::v1alpha1::LoadBalancerStatus;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use l4_xds::ContentVersion;

use super::apply::Applied;
use super::assess::{Assessed, View};
use super::https;
use super::memory::Memory;
use super::pace::{WAIT, is_only_newer};
use super::plan::Desired;
use super::sites::Site;
use super::status::{self, Facts, status};
use super::told::Told;
use crate::context::{Context, Error, now};
use crate::controller::report::heard::Merged;
use crate::settings::TenantSettings;

/// Statuses written at the same time.
const CONCURRENCY: usize = 8;

/// What a run found and did.
pub struct Found<'a> {
    /// What each LoadBalancer comes to.
    pub assessed: &'a [Arc<Assessed>],
    /// What the hub shall hold.
    pub desired: &'a Desired,
    /// What could be written of it.
    pub applied: &'a Applied,
    /// What Envoys said.
    pub merged: &'a Merged,
}

/// Writes the status of each LoadBalancer where it says something else. Says when to come back for those that wait.
///
/// # Errors
/// When one could not be written.
pub async fn load_balancers(
    ctx: &Context,
    view: &View,
    settings: &TenantSettings,
    found: &Found<'_>,
    memory: &mut Memory,
) -> Result<Option<Duration>, Error> {
    let due = due(ctx, view, settings, found, &mut memory.told);
    let ids: Vec<_> = (due.iter())
        .filter(|due| due.may_wait)
        .map(|due| due.item.id.clone())
        .collect();
    let now = memory.pace.take(&ids, Instant::now());
    let api: Api<_> = Api::namespaced(ctx.client.clone(), &view.namespace);
    let mut writes = Vec::with_capacity(due.len());
    for due in &due {
        if !due.may_wait || now.contains(&due.item.id) {
            let api = &api;
            writes.push(async move {
                let current = due.item.load_balancer.as_ref();
                ctx.write_status(api, current, &due.status).await
            });
        }
    }
    stream::iter(writes)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await?;
    Ok((now.len() < ids.len()).then_some(WAIT))
}

/// A status that says something else than what is written.
struct Due<'a> {
    item: &'a Arc<Assessed>,
    status: LoadBalancerStatus,
    /// It says nothing that anybody waits for.
    may_wait: bool,
}

fn due<'a>(
    ctx: &Context,
    view: &View,
    settings: &TenantSettings,
    found: &Found<'a>,
    told: &mut Told,
) -> Vec<Due<'a>> {
    let Found {
        assessed,
        desired,
        applied,
        merged,
    } = *found;
    let global = ctx.global.get();
    let basis = merged.basis(&view.hostnames);
    let mut telling = told.begin(&basis);
    let mut listener = merged.listen();
    let now = Time(now());
    let mut due = Vec::new();
    for item in assessed {
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
        let written = item.load_balancer.status.as_ref();
        if written == Some(&status) {
            telling.remember(item, is_plain);
            continue;
        }
        due.push(Due {
            item,
            may_wait: written.is_some_and(|written| is_only_newer(written, &status)),
            status,
        });
    }
    told.end(telling, basis);
    due
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

/// Writes the status of each Addresses object where it says something else.
///
/// # Errors
/// When one could not be written.
pub async fn addresses(ctx: &Context, view: &View, settings: &TenantSettings) -> Result<(), Error> {
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
