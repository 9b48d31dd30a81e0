//! Writes what a tenant gets, and looks into a namespace that was there before.

use api::meta;
use api::v1alpha1::{LoadBalancer, Route, Tenant, TenantState};
use controller_kit::apply::apply;
use controller_kit::diff::plan;
use controller_kit::object::Object;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::namespace::Contents;
use crate::build::{component, labels, tenant};
use crate::context::{Context, Error, FIELD_MANAGER, made_for};

/// Makes what is missing and repairs what was changed.
///
/// # Errors
/// When something could not be written.
pub async fn ensure(ctx: &Context, owner: &Tenant, namespace: &str, adopt: bool) -> Result<(), Error> {
    let name = owner.name_any();
    let space = Object::typed(&tenant::namespace(owner, namespace))?;
    if adopt {
        apply(&ctx.client, FIELD_MANAGER, &space).await?;
        tracing::info!(tenant = name, namespace, "adopted an empty namespace");
    }
    let desired = [
        space,
        Object::typed(&tenant::service_account(&name, namespace))?,
        Object::typed(&tenant::role(&name, namespace))?,
        Object::typed(&tenant::role_binding(&name, namespace))?,
        Object::typed(&tenant::token_secret(&name, namespace))?,
        tenant_state(&name, namespace)?,
    ];
    // Adopted a moment ago, it may not look ours in the store yet.
    let desired = desired.into_iter().skip(usize::from(adopt));
    let plan = plan(desired, &live(ctx, namespace)?, made_for(&name));
    let foreign = plan.foreign.clone();
    let report = ctx
        .applier
        .execute(plan, ctx.stores.proof().as_ref(), made_for(&name))
        .await;
    for object in &report.applied {
        tracing::info!(tenant = name, object = %object.id(), "applied");
    }
    for id in foreign.iter().chain(&report.foreign) {
        tracing::warn!(tenant = name, object = %id, "not written: it exists and is not ours");
    }
    report.into_result()?;
    Ok(())
}

/// Its spec is the CCM's: an empty one is all that is asked for.
fn tenant_state(tenant: &str, namespace: &str) -> Result<Object, Error> {
    let resource = kube::core::ApiResource::erase::<TenantState>(&());
    let labels = labels(tenant, component::TENANT);
    let metadata = json!({"name": meta::DEFAULT_NAME, "namespace": namespace, "labels": labels});
    Ok(Object::from_value(
        json!({"metadata": metadata, "spec": {}}),
        &resource,
    )?)
}

/// What is there of ours, without the credential: that one is written when it is due and never pruned.
fn live(ctx: &Context, namespace: &str) -> Result<Vec<Object>, Error> {
    let stores = &ctx.stores;
    let mut all: Vec<Object> = Vec::new();
    if let Some(space) = stores.namespaces.get("", namespace) {
        all.push(Object::typed(space.as_ref())?);
    }
    all.extend(stores.service_accounts.objects_in(namespace)?);
    all.extend(stores.roles.objects_in(namespace)?);
    all.extend(stores.role_bindings.objects_in(namespace)?);
    all.extend(stores.secrets.objects_in(namespace)?);
    all.extend(stores.tenant_states.objects_in(namespace)?);
    all.retain(|object| {
        let is_tenants = object.label(meta::COMPONENT_LABEL) == Some(component::TENANT);
        let kind = object.id().kind.as_str();
        let keeps = kind == "Secret" && object.id().key.name == meta::CREDENTIAL_SECRET;
        // A Namespace and a TenantState that are not labelled yet are there all the same.
        (is_tenants && !keeps) || kind == "Namespace" || kind == "TenantState"
    });
    Ok(all)
}

/// What a namespace holds that somebody made. Quotas, limits and policies do not count: those are made for a
/// tenant beforehand.
///
/// # Errors
/// When it cannot be listed.
pub async fn contents(ctx: &Context, namespace: &str) -> Result<Contents, Error> {
    let mut contents = Contents::default();
    look::<Pod>(ctx, namespace, &mut contents).await?;
    look::<PersistentVolumeClaim>(ctx, namespace, &mut contents).await?;
    look::<Service>(ctx, namespace, &mut contents).await?;
    look::<Deployment>(ctx, namespace, &mut contents).await?;
    look::<ConfigMap>(ctx, namespace, &mut contents).await?;
    look::<Secret>(ctx, namespace, &mut contents).await?;
    look::<ServiceAccount>(ctx, namespace, &mut contents).await?;
    look::<LoadBalancer>(ctx, namespace, &mut contents).await?;
    look::<Route>(ctx, namespace, &mut contents).await?;
    Ok(contents)
}

async fn look<K>(ctx: &Context, namespace: &str, contents: &mut Contents) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let list: kube::core::ObjectList<PartialObjectMeta<K>> = api
        .list_metadata(&ListParams::default().limit(5))
        .await
        .map_err(Error::api("look into the namespace"))?;
    let kind: &'static str = match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "object",
    };
    contents.add(kind, list.items.iter().map(ResourceExt::name_any));
    Ok(())
}
