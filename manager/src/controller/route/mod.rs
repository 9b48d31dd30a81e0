//! Keeps one tenant's L7 in order: Gateways, routes and their backends on the hub, Secrets, and statuses.
//!
//! Keyed by the tenant's namespace. Only the lease holder gets past the first line. What an object becomes is
//! decided in `gateway_translator`; nothing here looks into one.

pub mod apply;
pub mod bridge;
pub mod gather;
pub mod patches;
pub mod status;
pub mod translation;
pub mod young;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::v1alpha1::{GatewayScope, Route};
use controller_kit::driver::Outcome;
use gateway_translator::{Claimant, Wanted, wanted};
use kube::ResourceExt;

use crate::claims::Contender;
use crate::context::{Context, Error, Owner};
use crate::metrics::{Found, ROUTE_TYPES};

use apply::Applied;
use status::Finding;
use translation::Translation;

/// One run. Statuses have a queue of their own, so that a new Route does not wait until all is said about the one
/// before.
///
/// # Errors
/// When something could not be written; the rest was.
pub async fn run(ctx: &Context, namespace: &str) -> Result<Outcome, Error> {
    let Some(epoch) = ctx.leadership.epoch().filter(|_| ctx.stores.proof().is_some()) else {
        return Ok(Outcome::done());
    };
    let Some(owner) = ctx.owner(namespace) else {
        ctx.translations.forget(namespace);
        ctx.findings.forget(namespace);
        return Ok(Outcome::done());
    };
    if ctx
        .stores
        .routes
        .in_namespace(namespace)
        .iter()
        .any(|route| is_on_shared_gateway(route))
    {
        refresh_claims(ctx);
    }
    let settings = gather::settings(ctx, namespace, &owner);
    let input = gather::input(ctx, namespace, &owner);
    let translation = ctx.translations.of(&input, &settings)?;
    let Applied { hub, due_in, failed } = apply::run(ctx, &owner, namespace, &translation.objects).await?;
    measure(ctx, namespace, &owner, &input.routes, &translation);
    if owner.settings.is_some() {
        ctx.findings.put(Finding {
            epoch,
            input,
            settings,
            translation,
            hub,
        });
        ctx.triggers.route_status.trigger(namespace.to_owned());
    } else {
        ctx.findings.forget(namespace);
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Outcome {
            requeue_after: due_in,
        }),
    }
}

/// Takes in who wants which host name by now, and wakes those for whom it changes something.
pub fn refresh_claims(ctx: &Context) {
    if ctx.stores.proof().is_none() {
        return;
    }
    let ask = |contender: &Contender| {
        let Contender {
            namespace,
            basis: _,
            routes,
        } = contender;
        let Some(owner) = ctx.owner(namespace).filter(|owner| owner.settings.is_some()) else {
            return Wanted::default();
        };
        wanted(Claimant {
            namespace,
            settings: &gather::settings(ctx, namespace, &owner),
            routes,
        })
    };
    let changed = ctx.claims.refresh(|last| gather::contenders(ctx, last), ask);
    for namespace in changed {
        ctx.triggers.route.trigger(namespace);
    }
}

pub(crate) fn is_on_shared_gateway(route: &Route) -> bool {
    route
        .spec
        .parents
        .iter()
        .any(|parent| parent.scope == GatewayScope::Hub)
}

/// What there is in a namespace to run over, for metrics.
#[must_use]
pub fn found(ctx: &Context, namespace: &str) -> Found {
    let routes = ctx.stores.routes.in_namespace(namespace);
    let has = |kind: &&str| routes.iter().any(|route| type_of(route) == **kind);
    Found {
        route_types: ROUTE_TYPES.into_iter().filter(has).collect(),
        sync_secrets: !ctx.stores.sync_secrets.in_namespace(namespace).is_empty(),
    }
}

/// Value of the label `route_type`.
fn type_of(route: &Route) -> String {
    let origin = route.spec.origin.as_ref();
    origin
        .map(|origin| origin.kind.to_ascii_lowercase())
        .unwrap_or_default()
}

fn measure(ctx: &Context, namespace: &str, owner: &Owner, routes: &[Arc<Route>], translation: &Translation) {
    let mut counts: BTreeMap<&str, i64> = ROUTE_TYPES.iter().map(|kind| (*kind, 0)).collect();
    for route in routes {
        let accepted = translation
            .verdicts
            .get(&route.name_any())
            .is_some_and(gateway_translator::Verdict::is_accepted);
        let kind = type_of(route);
        if let Some(count) = counts.get_mut(kind.as_str()).filter(|_| accepted) {
            *count += 1;
        }
    }
    for (kind, count) in counts {
        ctx.metrics
            .routes
            .with_label_values(&[namespace, owner.tenant.name_any().as_str(), kind])
            .set(count);
    }
}
