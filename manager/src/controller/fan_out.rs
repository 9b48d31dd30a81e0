//! Passes a change that concerns many on to each of them.

use api::meta;
use controller_kit::driver::Outcome;
use kube::ResourceExt;

use crate::build::hub_service;
use crate::context::{Context, Error};
use crate::triggers::FanOut;

/// Triggers everybody that the change may concern.
///
/// # Errors
/// Never; the signature is a driver's.
pub fn run(ctx: &Context, fan_out: &FanOut) -> Result<Outcome, Error> {
    match fan_out {
        FanOut::Tenants => {
            for tenant in ctx.stores.tenants.snapshot() {
                ctx.triggers.tenant.trigger(tenant.name_any());
            }
        }
        FanOut::LoadBalancers => all(ctx, |namespace| {
            ctx.triggers.l4(namespace);
            ctx.triggers.report.trigger(namespace.to_owned());
        }),
        FanOut::Routes => all(ctx, |namespace| ctx.triggers.route.trigger(namespace.to_owned())),
        FanOut::Report(name) => report(ctx, name),
        FanOut::GlobalService(name) => global_service(ctx, name),
    }
    Ok(Outcome::done())
}

fn all(ctx: &Context, trigger: impl Fn(&str)) {
    for namespace in ctx.tenant_namespaces() {
        trigger(&namespace);
    }
}

/// One that is gone cannot say whom it was about, so all look.
fn report(ctx: &Context, name: &str) {
    let found = ctx.stores.config_maps.get(&ctx.options.namespace, name);
    let about = found
        .as_ref()
        .and_then(|map| map.annotations().get(meta::ORIGIN_NAMESPACE));
    match about {
        Some(namespace) => ctx.triggers.load_balancer.trigger(namespace.clone()),
        None => all(ctx, |namespace| {
            ctx.triggers.load_balancer.trigger(namespace.to_owned())
        }),
    }
}

/// Likewise.
fn global_service(ctx: &Context, name: &str) {
    let look = |namespace: &str| {
        ctx.triggers.load_balancer.trigger(namespace.to_owned());
        ctx.triggers.report.trigger(namespace.to_owned());
    };
    let found = ctx.stores.services.get(&ctx.options.namespace, name);
    match found.as_deref().and_then(hub_service::tenant_namespace) {
        Some(namespace) => look(namespace),
        None => all(ctx, look),
    }
}
