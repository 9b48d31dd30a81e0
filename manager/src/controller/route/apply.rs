//! Writes what one tenant's L7 needs and removes what it does not need any more.
//!
//! A route that is moved from one backend to another must not lose a request. So the new backend is there for
//! everybody to see before a route leads to it, and the old one stays until the last Envoy has let go of it. What a
//! route is to be meanwhile is decided in [`super::bridge`], and what waits for a patch in [`super::patches`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::meta;
use controller_kit::ReconcileError;
use controller_kit::apply::{self, ApplyError, Report};
use controller_kit::diff::{Change, Plan, Settled};
use controller_kit::object::{Object, ObjectId};
use controller_kit::watch::{self, Synced};
use futures::future::join_all;
use gateway_translator::Kind;
use kube::ResourceExt;
use tokio::time::Instant;

use crate::build::component;
use crate::by_namespace::ByNamespace;
use crate::context::{Context, Error, FIELD_MANAGER, Owner, made_for};
use crate::stores::api_resource;

use super::patches::{self, Behind, Shrunk};

/// How long a backend that no route leads to any more stays: until Envoy Gateway has told every Envoy.
pub const LINGER: Duration = Duration::from_secs(10);
/// Component of the Services and EndpointSlices behind routes.
const BACKEND: &str = "backend";

/// What is as it should be, by tenant namespace, so that it is not compared in full in every run.
#[derive(Debug, Default)]
pub struct SettledByNamespace(ByNamespace<Settled>);

impl SettledByNamespace {
    fn plan(
        &self,
        namespace: &str,
        desired: Vec<Object>,
        live: &[Object],
        is_ours: impl Fn(&Object) -> bool,
    ) -> Plan {
        let mut settled = self.0.take(namespace);
        let plan = settled.plan(desired, live, is_ours);
        if plan.unchanged > 0 {
            self.0.put(namespace, settled);
        }
        plan
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Applied {
    /// What there is to tell about.
    pub hub: HubState,
    /// When there is more to remove.
    pub due_in: Option<Duration>,
    /// A failure, for the driver.
    pub failed: Option<ApplyError>,
}

/// How the tenant's objects on the hub are.
#[derive(Debug, Default)]
pub struct HubState {
    /// Live objects of the tenant's, as they were before.
    pub live: Vec<Object>,
    /// Objects that are not, or were not, as they should be.
    pub out_of_sync: BTreeSet<ObjectId>,
    /// Objects that the hub refused, with its words.
    pub refused: BTreeMap<ObjectId, String>,
    /// So many were written: more may be on their way.
    pub written: usize,
}

/// Applies and prunes.
///
/// # Errors
/// When objects cannot be compared. Refusals of the API server are in the answer.
pub async fn run(
    ctx: &Context,
    owner: &Owner,
    namespace: &str,
    objects: &[Object],
) -> Result<Applied, Error> {
    let tenant = owner.tenant.name_any();
    let installed: BTreeSet<&str> = (Kind::ALL.into_iter())
        .filter(|kind| is_installed(ctx, *kind))
        .map(Kind::as_str)
        .collect();
    let desired: Vec<Object> = (objects.iter())
        .filter(|object| installed.contains(object.id().kind.as_str()))
        .cloned()
        .collect();
    let all = live(ctx, namespace)?;
    let live: Vec<Object> = all.iter().filter(|object| !is_foreign(object)).cloned().collect();
    let synced = ctx.stores.proof().filter(|_| !has_unread(ctx, namespace));
    let unshrunk = match &synced {
        Some(_) => shrink_patches(ctx, &desired, &live).await,
        None => Vec::new(),
    };
    let mut plan = ctx.settled.plan(namespace, desired, &all, made_for(&tenant));
    let now = Instant::now();
    let is_in_scope = |id: &ObjectId| id.key.namespace == namespace;
    let due_in = (ctx.linger).hold_back(&mut plan.delete, is_in_scope, is_backend, now);
    let youth = ctx.young.hold_back(namespace, &mut plan, now);
    let held = hold_behind(&mut plan, &unshrunk, &live);
    let staged = ctx.bridges.stage(namespace, &mut plan, &live, now);
    let mut out_of_sync: BTreeSet<ObjectId> = plan.apply.iter().map(|c| c.desired.id().clone()).collect();
    out_of_sync.extend(plan.foreign.iter().chain(&plan.terminating).cloned());
    out_of_sync.extend(staged.waiting);
    out_of_sync.extend(held.keys().cloned());
    let foreign = plan.foreign.clone();
    let mut report = execute(ctx, plan, synced.as_ref(), &tenant).await;
    ctx.young.note(namespace, report.applied.iter(), Instant::now());
    report
        .failed
        .extend(unshrunk.into_iter().map(|Unshrunk { gateway: _, error }| error));
    for object in &report.applied {
        tracing::info!(tenant, object = %object.id(), "applied");
    }
    for id in &report.deleted {
        tracing::info!(tenant, object = %id, "deleted");
    }
    let mut refused = refused(ctx, foreign, &report, &tenant);
    refused.extend(held.into_iter().filter_map(|(id, words)| Some((id, words?))));
    Ok(Applied {
        hub: HubState {
            live,
            out_of_sync,
            refused,
            written: report.applied.len(),
        },
        due_in: [due_in, youth, staged.due_in].into_iter().flatten().min(),
        failed: report.into_result().err(),
    })
}

/// What the hub does not take, and why.
fn refused(
    ctx: &Context,
    foreign: Vec<ObjectId>,
    report: &Report,
    tenant: &str,
) -> BTreeMap<ObjectId, String> {
    let mut refused = BTreeMap::new();
    for id in foreign.iter().chain(&report.foreign) {
        ctx.metrics
            .refused
            .with_label_values(&[id.kind.as_str(), "NameConflict"])
            .inc();
        tracing::warn!(tenant, object = %id, "not written: it exists and is not ours");
        refused.insert(id.clone(), format!("{id} exists and is not the manager's"));
    }
    for error in &report.failed {
        if let ApplyError::Apply { id, source } | ApplyError::Get { id, source } = error {
            ctx.metrics
                .refused
                .with_label_values(&[id.kind.as_str(), error.reason()])
                .inc();
            if !error.is_transient() {
                refused.insert(id.clone(), source.to_string());
            }
        }
    }
    refused
}

/// Secrets and backends first, and the rest when they are seen: Envoy Gateway learns of objects by a watch for each
/// kind, and would answer 503 for a route whose backend it does not see yet, and 500 for one with a backend whose
/// authorities it does not see.
async fn execute(ctx: &Context, mut plan: Plan, synced: Option<&Synced>, tenant: &str) -> Report {
    let (needs, rest) = plan
        .apply
        .into_iter()
        .partition(|change| is_need(&change.desired));
    plan.apply = rest;
    let mut report = ctx.applier.write_all(needs, made_for(tenant)).await;
    if !plan.apply.is_empty() {
        await_shown(ctx, &report.applied).await;
    }
    let is_certain = !report.failed.iter().any(ApplyError::is_transient);
    report += ctx
        .applier
        .execute(plan, synced.filter(|_| is_certain), made_for(tenant))
        .await;
    report
}

async fn await_shown(ctx: &Context, written: &[Object]) {
    let shown = written.iter().map(|object| async move {
        match object.id().kind.as_str() {
            "Secret" => ctx.stores.secrets.shown(object).await,
            "Service" => ctx.stores.services.shown(object).await,
            "EndpointSlice" => ctx.stores.endpoint_slices.shown(object).await,
            _ => ctx.stores.envoy_gateway.shown(object).await,
        }
    });
    watch::await_shown(join_all(shown)).await;
}

/// What a Gateway or route refers to.
fn is_need(object: &Object) -> bool {
    is_backend(object) || object.id().kind == Kind::Secret.as_str()
}

fn is_backend(object: &Object) -> bool {
    object.label(meta::COMPONENT_LABEL) == Some(BACKEND)
}

/// A Route or SyncSecret that cannot be read looks as if it were gone.
fn has_unread(ctx: &Context, namespace: &str) -> bool {
    let unread = ctx
        .stores
        .routes
        .undecodable()
        .into_iter()
        .chain(ctx.stores.sync_secrets.undecodable());
    unread.into_iter().any(|key| key.namespace == namespace)
}

fn is_installed(ctx: &Context, kind: Kind) -> bool {
    ctx.stores.envoy_gateway.is_installed(kind)
        && (kind != Kind::Gateway || ctx.stores.gateways.is_installed())
}

/// A policy that could not be shrunk, by the Gateway that it is for.
struct Unshrunk {
    gateway: String,
    error: ApplyError,
}

/// Takes out of the live patches what is not wanted any more, before a listener or route may get the host. Only
/// where the stores are complete, as for all that is removed.
async fn shrink_patches(ctx: &Context, desired: &[Object], live: &[Object]) -> Vec<Unshrunk> {
    let kind = Kind::EnvoyPatchPolicy;
    let live = live.iter().filter(|object| object.id().kind == kind.as_str());
    let mut failed = Vec::new();
    for live in live.filter(|object| !object.is_terminating()) {
        let desired = desired.iter().find(|object| object.id() == live.id());
        let shrunk = patches::shrunk(live.value(), desired.map(Object::value));
        if let Err(error) = shrink(ctx, live, shrunk).await {
            let gateway = live.id().key.name.clone();
            failed.push(Unshrunk { gateway, error });
        }
    }
    failed
}

async fn shrink(ctx: &Context, live: &Object, shrunk: Shrunk) -> Result<(), ApplyError> {
    match shrunk {
        Shrunk::Unchanged => Ok(()),
        Shrunk::To(value) => {
            let object = Object::from_value(value, &api_resource(Kind::EnvoyPatchPolicy))?;
            apply::apply(&ctx.client, FIELD_MANAGER, &object).await?;
            Ok(())
        }
        Shrunk::Gone => apply::delete(&ctx.client, live).await,
    }
}

/// Takes out of the plan what must not go before the policies that could not be shrunk, and the backends that it may
/// still lead to. Says what is not written, and why if it will not be in a moment either.
fn hold_behind(
    plan: &mut Plan,
    unshrunk: &[Unshrunk],
    live: &[Object],
) -> BTreeMap<ObjectId, Option<String>> {
    let mut held = BTreeMap::new();
    for Unshrunk { gateway, error } in unshrunk {
        let wanted = plan.apply.iter().map(|change| &change.desired);
        let all = live.iter().chain(wanted);
        let behind = Behind::of(
            gateway,
            all.map(|object| (object.id().kind.as_str(), object.value())),
        );
        plan.apply.retain(|Change { desired, replaces: _ }| {
            let waits = behind.must_not_write(&desired.id().kind, desired.value());
            if waits {
                let words = (!error.is_transient()).then(|| told(error));
                held.insert(desired.id().clone(), words);
            }
            !waits
        });
        (plan.delete).retain(|object| {
            !is_backend(object) && !behind.must_not_delete(&object.id().kind, object.value())
        });
    }
    held
}

fn told(error: &ApplyError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What was made from Routes, and whatever somebody else may have made in its place.
fn live(ctx: &Context, namespace: &str) -> Result<Vec<Object>, Error> {
    let stores = &ctx.stores;
    let mut all = stores.secrets.objects_in(namespace)?;
    all.extend(stores.services.objects_in(namespace)?);
    all.extend(stores.endpoint_slices.objects_in(namespace)?);
    all.extend(stores.gateways.objects_in(namespace)?);
    all.extend(stores.envoy_gateway.objects_in(namespace)?);
    all.retain(|object| {
        is_foreign(object)
            || matches!(
                object.label(meta::COMPONENT_LABEL),
                Some(component::ROUTE | component::SYNC_SECRET | BACKEND)
            )
    });
    Ok(all)
}

fn is_foreign(object: &Object) -> bool {
    object.label(meta::MANAGED_BY_LABEL) != Some(meta::MANAGED_BY)
}
