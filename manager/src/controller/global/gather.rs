//! Which tenants have to do with the fleet of all tenants.

use std::collections::BTreeSet;

use api::v1alpha1::EnvoyProxyTopology;

use crate::build::hub_service::tenant_namespace;
use crate::context::Context;
use crate::controller::load_balancer::plan::Tenancy;
use crate::fleet::FleetId;
use crate::xds;

/// What was found.
#[derive(Debug)]
pub enum Gathered {
    /// Nobody uses it, and nothing is left of it.
    Nothing,
    /// It is not known what this namespace should have: nothing may be given out or taken away.
    Unknown(String),
    /// These.
    Tenancies(Vec<Tenancy>),
}

/// Looks at the tenants whose topology it is, and at those that have a hub Service there.
#[must_use]
pub fn gather(ctx: &Context) -> Gathered {
    let own = ctx.options.namespace.as_str();
    let services = ctx.stores.services.in_namespace(own);
    let served = services.iter().filter_map(|service| tenant_namespace(service));
    let mut namespaces: BTreeSet<String> = served.map(str::to_owned).collect();
    // Of a fleet's objects it is the first that is made, and the last that goes.
    let account = ctx.stores.service_accounts.get(own, &FleetId::Global.name(own));
    if namespaces.is_empty() && !is_wanted(ctx) && account.is_none() {
        return Gathered::Nothing;
    }
    namespaces.extend(ctx.tenant_namespaces());
    let unread = ctx.stores.load_balancers.undecodable();
    let mut tenancies = Vec::new();
    for namespace in namespaces {
        let load_balancers = ctx.stores.load_balancers.in_namespace(&namespace);
        let Some(view) = xds::view(ctx, &namespace) else {
            // Somebody took the Tenant's mark off its namespace; its load balancers are still there.
            if !load_balancers.is_empty() && !xds::global_services(ctx, &namespace).is_empty() {
                return Gathered::Unknown(namespace);
            }
            continue;
        };
        let is_here = !view.global_services.is_empty();
        let comes =
            (view.settings.as_ref()).is_some_and(|settings| settings.topology == EnvoyProxyTopology::Global);
        if !is_here && !comes {
            continue;
        }
        if unread.iter().any(|key| key.namespace == namespace) {
            return Gathered::Unknown(namespace);
        }
        let assessed = ctx.assess(&view);
        tenancies.push(Tenancy { view, assessed });
    }
    Gathered::Tenancies(tenancies)
}

/// Whether any tenant's topology may be it. Cheap: most hubs do not use it.
fn is_wanted(ctx: &Context) -> bool {
    let global = EnvoyProxyTopology::Global;
    let config = ctx.config();
    config.is_some_and(|config| config.spec.envoy_proxy.topology == global)
        || ctx.stores.tenants.snapshot().iter().any(|tenant| {
            let envoy = tenant.spec.envoy_proxy.as_ref();
            envoy.and_then(|envoy| envoy.topology) == Some(global)
        })
}
