//! Takes a Tenant away, one step at a time. Which step is decided in [`super::remove`].

use std::sync::Arc;
use std::time::Duration;

use api::meta;
use api::v1alpha1::{Addresses, LoadBalancer, Route, SyncSecret, Tenant, tenant_condition as reason};
use controller_kit::apply::delete;
use controller_kit::driver::Outcome;
use controller_kit::finalizer;
use controller_kit::object::Object;
use controller_kit::watch::Watched;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::namespace::belongs_to;
use super::remove::{Left, NamespaceLeft, PATIENCE, Step, next};
use super::state::Readiness;
use crate::build::{component, is_ours};
use crate::context::{Context, Error, now};
use crate::xds;

/// Most steps end with an event; this is for those that do not.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Deletions at the same time.
const CONCURRENCY: usize = 16;

/// One step.
///
/// # Errors
/// When something could not be deleted.
pub async fn run(ctx: &Context, tenant: &Arc<Tenant>, namespace: &str) -> Result<Outcome, Error> {
    if !finalizer::has(tenant.as_ref(), meta::CLEANUP_FINALIZER) {
        return Ok(Outcome::done());
    }
    let deleted_at = tenant
        .metadata
        .deletion_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    let rights = rights(ctx, namespace)?;
    let step = next(&left(ctx, tenant, namespace, &rights), deleted_at, now());
    if !says(tenant, step) {
        tracing::info!(
            tenant = tenant.name_any(),
            namespace,
            "leaving: {}",
            step.message()
        );
    }
    match step {
        Step::Revoke => delete_all(ctx, &rights).await?,
        Step::DeleteResources | Step::WaitForHubObjects => delete_resources(ctx, namespace).await?,
        Step::DeleteNamespace => delete_namespace(ctx, namespace).await?,
        Step::WaitForNamespace => {}
        Step::Done => return let_go(ctx, tenant, namespace).await,
    }
    if now().duration_since(deleted_at) > PATIENCE {
        strip_finalizers(ctx, namespace).await?;
    }
    let readiness = Readiness::not(reason::REASON_TERMINATING, step.message());
    super::write(ctx, tenant, namespace, &readiness).await?;
    Ok(Outcome::requeue(LOOK_AGAIN))
}

/// True where the Tenant's condition says so already.
fn says(tenant: &Tenant, step: Step) -> bool {
    let conditions = tenant
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    api::condition::find(conditions, reason::READY).is_some_and(|c| c.message == step.message())
}

fn left(ctx: &Context, tenant: &Tenant, namespace: &str, rights: &[Object]) -> Left {
    let stores = &ctx.stores;
    let space = match stores.namespaces.get("", namespace) {
        Some(space) if !belongs_to(&space, tenant) => NamespaceLeft::Gone,
        Some(space) if space.metadata.deletion_timestamp.is_some() => NamespaceLeft::Terminating,
        Some(_) => NamespaceLeft::There,
        None => NamespaceLeft::Gone,
    };
    let resources = stores.load_balancers.in_namespace(namespace).len()
        + stores.routes.in_namespace(namespace).len()
        + stores.sync_secrets.in_namespace(namespace).len()
        + stores.addresses.in_namespace(namespace).len();
    let gateways = stores.gateways.in_namespace(namespace).into_iter();
    let others = stores.envoy_gateway.in_namespace(namespace).into_iter();
    let of_envoy_gateway = gateways.chain(others.map(|(_, object)| object));
    let hub_objects = stores.services.in_namespace(namespace).len()
        + xds::global_services(ctx, namespace).len()
        + stores.deployments.in_namespace(namespace).len()
        + stores.daemon_sets.in_namespace(namespace).len()
        + of_envoy_gateway
            .filter(|object| is_ours(&object.metadata))
            .count();
    Left {
        rights: rights.len(),
        resources,
        hub_objects,
        namespace: space,
    }
}

/// The binding first: it is what the others are worth something for.
fn rights(ctx: &Context, namespace: &str) -> Result<Vec<Object>, Error> {
    let stores = &ctx.stores;
    let mut all = stores.role_bindings.objects_in(namespace)?;
    all.extend(stores.roles.objects_in(namespace)?);
    all.extend(stores.secrets.objects_in(namespace)?);
    all.extend(stores.service_accounts.objects_in(namespace)?);
    all.retain(|object| object.label(meta::COMPONENT_LABEL) == Some(component::TENANT));
    Ok(all)
}

async fn delete_all(ctx: &Context, objects: &[Object]) -> Result<(), Error> {
    for object in objects.iter().filter(|object| !object.is_terminating()) {
        delete(&ctx.client, object).await?;
    }
    Ok(())
}

async fn delete_resources(ctx: &Context, namespace: &str) -> Result<(), Error> {
    let stores = &ctx.stores;
    let mut all = stores.load_balancers.objects_in(namespace)?;
    all.extend(stores.routes.objects_in(namespace)?);
    all.extend(stores.sync_secrets.objects_in(namespace)?);
    all.extend(stores.addresses.objects_in(namespace)?);
    all.retain(|object| !object.is_terminating());
    let mut deletions = Vec::with_capacity(all.len());
    for object in &all {
        deletions.push(delete(&ctx.client, object));
    }
    stream::iter(deletions)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

async fn delete_namespace(ctx: &Context, namespace: &str) -> Result<(), Error> {
    if let Some(space) = ctx.stores.namespaces.get("", namespace) {
        delete(&ctx.client, &Object::typed(space.as_ref())?).await?;
    }
    Ok(())
}

/// A tenant may put finalizers on its own objects, which nobody would ever take off.
async fn strip_finalizers(ctx: &Context, namespace: &str) -> Result<(), Error> {
    let stores = &ctx.stores;
    strip::<LoadBalancer>(ctx, &stores.load_balancers, namespace).await?;
    strip::<Route>(ctx, &stores.routes, namespace).await?;
    strip::<SyncSecret>(ctx, &stores.sync_secrets, namespace).await?;
    strip::<Addresses>(ctx, &stores.addresses, namespace).await
}

async fn strip<K>(ctx: &Context, store: &Watched<K>, namespace: &str) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let held =
        |object: &Arc<K>| object.meta().deletion_timestamp.is_some() && !object.finalizers().is_empty();
    for object in store.in_namespace(namespace).into_iter().filter(held) {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        let done = api
            .patch(&object.name_any(), &PatchParams::default(), &patch)
            .await;
        match done {
            Err(error) if !controller_kit::error::is_not_found(&error) => {
                return Err(Error::api("take finalizers off")(error));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn let_go(ctx: &Context, tenant: &Tenant, namespace: &str) -> Result<Outcome, Error> {
    let api: Api<Tenant> = Api::all(ctx.client.clone());
    finalizer::remove(&api, tenant, meta::CLEANUP_FINALIZER).await?;
    ctx.metrics.forget(namespace, &tenant.name_any());
    Ok(Outcome::done())
}
