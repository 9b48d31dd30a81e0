//! Writes what one tenant's L7 needs and removes what it does not need any more.

use std::collections::{BTreeMap, BTreeSet};

use api::meta;
use controller_kit::ReconcileError;
use controller_kit::apply::ApplyError;
use controller_kit::diff::plan as diff;
use controller_kit::object::{Object, ObjectId};
use gateway_translator::{HubObject, Kind, Objects};
use kube::ResourceExt;
use kube::core::{ApiResource, GroupVersionKind};

use crate::build::component;
use crate::context::{Context, Error, Owner, made_for};

/// Component of the Services and EndpointSlices behind routes.
const BACKEND: &str = "backend";

/// What came of it.
#[derive(Debug, Default)]
pub struct Applied {
    /// Live objects of the tenant's, as they were before.
    pub live: Vec<Object>,
    /// Objects that are not, or were not, as they should be.
    pub out_of_sync: BTreeSet<ObjectId>,
    /// Objects that the hub refused, with its words.
    pub refused: BTreeMap<ObjectId, String>,
    failed: Option<ApplyError>,
}

impl Applied {
    /// The failure, for the driver.
    ///
    /// # Errors
    /// What failed.
    pub fn into_result(self) -> Result<(), Error> {
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Applies and prunes.
///
/// # Errors
/// When objects cannot be compared. Refusals of the API server are in the answer.
pub async fn run(ctx: &Context, owner: &Owner, namespace: &str, objects: &Objects) -> Result<Applied, Error> {
    let tenant = owner.tenant.name_any();
    let installed = ctx.stores.gateways.is_installed();
    let desired = (objects.iter())
        .filter(|object| installed || !is_gateway_api(object.key.kind))
        .map(object)
        .collect::<Result<Vec<_>, _>>()?;
    let live = live(ctx, namespace)?;
    let plan = diff(desired, &live, made_for(&tenant));
    let mut out_of_sync: BTreeSet<ObjectId> = plan.apply.iter().map(|c| c.desired.id().clone()).collect();
    out_of_sync.extend(plan.foreign.iter().chain(&plan.terminating).cloned());
    let mut foreign = plan.foreign.clone();
    let synced = ctx.stores.proof().filter(|_| !has_unread(ctx, namespace));
    let report = ctx
        .applier
        .execute(plan, synced.as_ref(), made_for(&tenant))
        .await;
    for object in &report.applied {
        tracing::info!(tenant, object = %object.id(), "applied");
    }
    for id in &report.deleted {
        tracing::info!(tenant, object = %id, "deleted");
    }
    foreign.extend(report.foreign.iter().cloned());
    let mut refused = BTreeMap::new();
    for id in foreign {
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
    Ok(Applied {
        live,
        out_of_sync,
        refused,
        failed: report.into_result().err(),
    })
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

fn is_gateway_api(kind: Kind) -> bool {
    match kind {
        Kind::Gateway | Kind::HttpRoute | Kind::GrpcRoute => true,
        Kind::Secret | Kind::Service | Kind::EndpointSlice => false,
    }
}

fn object(object: &HubObject) -> Result<Object, Error> {
    let kind = object.key.kind;
    let version = kind.api_version().rsplit('/').next().unwrap_or("v1").to_owned();
    let gvk = GroupVersionKind::gvk(kind.group(), &version, kind.as_str());
    Ok(Object::from_value(
        object.value.clone(),
        &ApiResource::from_gvk_with_plural(&gvk, kind.plural()),
    )?)
}

fn live(ctx: &Context, namespace: &str) -> Result<Vec<Object>, Error> {
    let stores = &ctx.stores;
    let mut all = stores.secrets.objects_in(namespace)?;
    all.extend(stores.services.objects_in(namespace)?);
    all.extend(stores.endpoint_slices.objects_in(namespace)?);
    all.extend(stores.gateways.objects_in(namespace)?);
    all.extend(stores.http_routes.objects_in(namespace)?);
    all.extend(stores.grpc_routes.objects_in(namespace)?);
    all.retain(|object| {
        let component = object.label(meta::COMPONENT_LABEL);
        matches!(
            component,
            Some(component::ROUTE | component::SYNC_SECRET | BACKEND)
        )
    });
    Ok(all)
}
