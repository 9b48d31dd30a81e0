//! Keeps one Tenant in order: namespace, rights, credential, and what both sides are told.
//!
//! Keyed by the Tenant's name. Only the lease holder gets past the first line.

pub mod credential;
pub mod gateways;
pub mod leave;
pub mod namespace;
pub mod objects;
pub mod remove;
pub mod state;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::meta;
use api::names::TenantNamespace;
use api::v1alpha1::{Heartbeat, SharedGateway, Tenant, TenantState, tenant_condition as reason};
use controller_kit::driver::Outcome;
use controller_kit::events::Notice;
use controller_kit::finalizer;
use kube::core::DynamicObject;
use kube::{Api, Resource, ResourceExt};

use self::credential::Credential;
use self::namespace::{Claim, claim, rivals};
use self::state::{Readiness, Told, tenant_state_status, tenant_status, turns_late_in};
use crate::context::{Context, Error, VERSION, now};
use crate::metrics::gauged;
use crate::settings::TenantSettings;

/// How often a namespace that is in the way is looked at: nobody watches what is in it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// One run.
///
/// # Errors
/// When something could not be written.
pub async fn run(ctx: &Context, name: &str) -> Result<Outcome, Error> {
    if !ctx.leads() || ctx.stores.proof().is_none() {
        return Ok(Outcome::done());
    }
    let count = ctx.stores.tenants.snapshot().len();
    ctx.metrics.tenants.set(gauged(count));
    let Some(tenant) = ctx.stores.tenants.get("", name) else {
        return Ok(Outcome::done());
    };
    let namespace = match TenantNamespace::of(name) {
        Ok(namespace) => namespace,
        Err(error) => {
            let readiness = Readiness::not(reason::REASON_FAILED, error.to_string());
            return refuse(ctx, &tenant, "", readiness, Outcome::done()).await;
        }
    };
    if tenant.metadata.deletion_timestamp.is_some() {
        return leave::run(ctx, &tenant, namespace.as_str()).await;
    }
    settle(ctx, &tenant, namespace.as_str()).await
}

/// Gets the namespace, or says why not.
async fn settle(ctx: &Context, tenant: &Arc<Tenant>, namespace: &str) -> Result<Outcome, Error> {
    let live = ctx.stores.namespaces.get("", namespace);
    let all = rivals(&ctx.stores.tenants.snapshot(), namespace);
    let adopt = match claim(tenant, &all, live.as_deref()) {
        Claim::Create | Claim::Own => false,
        Claim::AdoptIfEmpty => true,
        Claim::Taken(other) => {
            let message = format!("namespace {namespace} belongs to Tenant {other:?}");
            let readiness = Readiness::not(reason::REASON_NAMESPACE_TAKEN, message);
            return refuse(ctx, tenant, namespace, readiness, Outcome::done()).await;
        }
        Claim::Terminating => {
            let message = format!("namespace {namespace} is being deleted");
            let readiness = Readiness::not(reason::REASON_FAILED, message);
            return refuse(ctx, tenant, namespace, readiness, Outcome::done()).await;
        }
    };
    if adopt && let Some(what) = objects::contents(ctx, namespace).await?.describe() {
        let readiness = Readiness::not(reason::REASON_NAMESPACE_NOT_EMPTY, what);
        return refuse(ctx, tenant, namespace, readiness, Outcome::requeue(LOOK_AGAIN)).await;
    }
    serve(ctx, tenant, namespace, adopt).await
}

/// Makes what is missing and reports. A failure is told on the Tenant before it is tried again.
async fn serve(ctx: &Context, tenant: &Arc<Tenant>, namespace: &str, adopt: bool) -> Result<Outcome, Error> {
    let api: Api<Tenant> = Api::all(ctx.client.clone());
    if !finalizer::add(&api, tenant, meta::CLEANUP_FINALIZER).await? {
        return Ok(Outcome::done());
    }
    let done = async {
        objects::ensure(ctx, tenant, namespace, adopt).await?;
        credential::ensure(ctx, &tenant.name_any(), namespace).await
    };
    match done.await {
        Ok(credential) => report(ctx, tenant, namespace, credential).await,
        Err(error) => {
            let readiness = Readiness::not(reason::REASON_FAILED, chain(&error));
            write(ctx, tenant, namespace, &readiness).await?;
            Err(error)
        }
    }
}

async fn report(
    ctx: &Context,
    tenant: &Arc<Tenant>,
    namespace: &str,
    credential: Option<Credential>,
) -> Result<Outcome, Error> {
    // What was made a moment ago is in the stores soon, which is the next reason to run.
    let Some(credential) = credential else {
        return Ok(Outcome::done());
    };
    let readiness = Readiness::reconciled();
    let settings = ctx.settings(tenant);
    if let Some(state) = ctx.stores.tenant_states.get(namespace, meta::DEFAULT_NAME) {
        let told = Told {
            tenant,
            gateways: shared_gateways(ctx, namespace, &settings),
            settings: &settings,
            credential_issued_at: Some(credential.issued_at),
            readiness: &readiness,
            version: VERSION,
        };
        let api: Api<TenantState> = Api::namespaced(ctx.client.clone(), namespace);
        ctx.write_status(
            &api,
            state.as_ref(),
            &tenant_state_status(told, Some(&state), now()),
        )
        .await?;
    }
    write(ctx, tenant, namespace, &readiness).await?;
    let renewal = credential.renew_at.duration_since(now());
    let late = turns_late_in(heartbeat(ctx, namespace).as_ref(), now());
    let next = late.map_or(renewal, |late| late.min(renewal));
    Ok(Outcome::requeue(
        Duration::try_from(next)
            .unwrap_or(Duration::from_secs(1))
            .max(Duration::from_secs(1)),
    ))
}

/// The hub's own Gateways that a tenant may use.
#[must_use]
pub fn shared_gateways(ctx: &Context, namespace: &str, settings: &TenantSettings) -> Vec<SharedGateway> {
    if settings.gateway_api_disabled() || !ctx.options.gateway_api {
        return Vec::new();
    }
    let json = |object: &DynamicObject| serde_json::to_value(object).unwrap_or_default();
    let tenant_namespaces: BTreeSet<String> = ctx.tenant_namespaces().into_iter().collect();
    // Most Gateways of a hub are its tenants': they are not worth turning into JSON.
    let all: Vec<_> = hub_gateways(ctx).iter().map(|g| json(g)).collect();
    let classes: Vec<_> = ctx
        .stores
        .gateway_classes
        .snapshot()
        .iter()
        .map(|c| json(c))
        .collect();
    let labels = ctx
        .stores
        .namespaces
        .get("", namespace)
        .map(|n| n.labels().clone())
        .unwrap_or_default();
    gateways::shared(
        &all,
        &gateways::Sharing {
            namespace_labels: &labels,
            tenant_namespaces: &tenant_namespaces,
            classes: &gateways::classes(&classes),
        },
    )
}

/// Gateways that are not in a tenant's namespace.
pub fn hub_gateways(ctx: &Context) -> Vec<Arc<DynamicObject>> {
    let tenant_namespaces: BTreeSet<String> = ctx.tenant_namespaces().into_iter().collect();
    let mut gateways = ctx.stores.gateways.snapshot();
    gateways.retain(|gateway| {
        !gateway
            .namespace()
            .is_some_and(|n| tenant_namespaces.contains(&n))
    });
    gateways
}

async fn refuse(
    ctx: &Context,
    tenant: &Arc<Tenant>,
    namespace: &str,
    readiness: Readiness,
    outcome: Outcome,
) -> Result<Outcome, Error> {
    tracing::warn!(
        tenant = tenant.name_any(),
        reason = readiness.reason,
        "{}",
        readiness.message
    );
    let notice = Notice::warning(readiness.reason, "Reconcile", readiness.message.clone());
    ctx.recorder.say(&notice, &tenant.object_ref(&())).await;
    write(ctx, tenant, namespace, &readiness).await?;
    Ok(outcome)
}

async fn write(ctx: &Context, tenant: &Tenant, namespace: &str, readiness: &Readiness) -> Result<(), Error> {
    let api: Api<Tenant> = Api::all(ctx.client.clone());
    let status = tenant_status(
        tenant,
        namespace,
        readiness,
        heartbeat(ctx, namespace).as_ref(),
        now(),
    );
    ctx.write_status(&api, tenant, &status).await?;
    Ok(())
}

fn heartbeat(ctx: &Context, namespace: &str) -> Option<Heartbeat> {
    ctx.stores
        .tenant_states
        .get(namespace, meta::DEFAULT_NAME)?
        .spec
        .heartbeat
        .clone()
}

/// An error with what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
