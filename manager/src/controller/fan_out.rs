//! Passes a change that concerns many on to each of them.

use api::meta;
use controller_kit::driver::Outcome;
use kube::ResourceExt;

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
