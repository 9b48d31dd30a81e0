//! Keeps one tenant's L7 in order: Gateways, routes and their backends on the hub, Secrets, and statuses.
//!
//! Keyed by the tenant's namespace. Only the lease holder gets past the first line. What an object becomes is
//! decided in `gateway_translator`; nothing here looks into one.

pub mod apply;
pub mod bridge;
pub mod gather;
pub mod patches;
pub mod status;

use std::collections::BTreeMap;

use api::v1alpha1::{GatewayScope, Route};
use controller_kit::driver::Outcome;
use controller_kit::events::Notice;
use gateway_translator::{Claimant, Output, claims, translate};
use kube::{Resource, ResourceExt};

use crate::context::{Context, Error, Owner};
use crate::metrics::{Found, ROUTE_TYPES};

/// One run.
///
/// # Errors
/// When something could not be written; the rest was.
pub async fn run(ctx: &Context, namespace: &str) -> Result<Outcome, Error> {
    if !ctx.leads() || ctx.stores.proof().is_none() {
        return Ok(Outcome::done());
    }
    let Some(owner) = ctx.owner(namespace) else {
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
    let mut output = translate(&input, &settings);
    let applied = apply::run(ctx, &owner, namespace, std::mem::take(&mut output.objects)).await?;
    measure(ctx, namespace, &owner, &input.routes, &output);
    let mut due_in = applied.due_in;
    if owner.settings.is_some() {
        tell(ctx, &input.routes, &output).await;
        let waits = status::write_all(ctx, &input, &settings, &output, &applied).await?;
        due_in = due_in.into_iter().chain(waits).min();
    }
    applied.into_result()?;
    Ok(Outcome {
        requeue_after: due_in,
    })
}

/// Makes the table of host names anew and wakes those for whom it changed.
pub fn refresh_claims(ctx: &Context) {
    if ctx.stores.proof().is_none() {
        return;
    }
    let tenants: Vec<_> = (ctx.tenant_namespaces().into_iter())
        .filter_map(|namespace| {
            let owner = ctx.owner(&namespace).filter(|owner| owner.settings.is_some())?;
            let mut routes = ctx.stores.routes.in_namespace(&namespace);
            routes.retain(|route| is_on_shared_gateway(route));
            let settings = (!routes.is_empty()).then(|| gather::settings(ctx, &namespace, &owner))?;
            Some((namespace, settings, routes))
        })
        .collect();
    let claimants = tenants.iter().map(|(namespace, settings, routes)| Claimant {
        namespace,
        settings,
        routes: routes.as_slice(),
    });
    let table = claims(claimants);
    let before = ctx.claims.get();
    if *before == table {
        return;
    }
    for namespace in before.changed_namespaces(&table) {
        ctx.triggers.route.trigger(namespace);
    }
    ctx.claims.replace(table);
}

fn is_on_shared_gateway(route: &Route) -> bool {
    route
        .spec
        .parents
        .iter()
        .any(|parent| parent.scope == GatewayScope::Hub)
}

/// Says once for each generation what was left out of it.
async fn tell(ctx: &Context, routes: &[std::sync::Arc<Route>], output: &Output) {
    for route in routes {
        let seen = route.status.as_ref().and_then(|s| s.observed_generation);
        let Some(verdict) = output.verdicts.get(&route.name_any()) else {
            continue;
        };
        if seen == route.metadata.generation {
            continue;
        }
        for problem in &verdict.problems {
            let notice = Notice::warning(problem.reason, "Translate", problem.message.clone());
            ctx.recorder.say(&notice, &route.object_ref(&())).await;
        }
    }
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

fn measure(ctx: &Context, namespace: &str, owner: &Owner, routes: &[std::sync::Arc<Route>], output: &Output) {
    let mut counts: BTreeMap<&str, i64> = ROUTE_TYPES.iter().map(|kind| (*kind, 0)).collect();
    for route in routes {
        let accepted = output
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
