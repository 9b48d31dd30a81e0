//! From the stores to what the translator takes.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::meta;
use gateway_translator::{Input, Kind, ObjectKey, Settings};
use kube::ResourceExt;

use crate::build::is_ours;
use crate::claims::{Basis, Contender, HubBasis};
use crate::context::{Context, Owner};
use crate::controller::tenant::{hub_gateways, shared_gateways};

use super::is_on_shared_gateway;

/// What holds for the tenant. A Tenant that is being deleted has nothing.
#[must_use]
pub fn settings(ctx: &Context, namespace: &str, owner: &Owner) -> Settings {
    let default = Settings::default();
    let Some(settings) = &owner.settings else {
        return Settings {
            enabled: false,
            ..default
        };
    };
    Settings {
        enabled: ctx.options.gateway_api && !settings.gateway_api_disabled(),
        gateway_class: settings
            .gateway_api
            .class
            .clone()
            .unwrap_or_else(|| ctx.options.gateway_class.clone()),
        endpoint_policy: settings.endpoint_policy.clone(),
        allowed_domains: settings.allowed_domains.clone(),
        limits: settings.limits.clone(),
        gateway_addresses: settings.gateway_addresses.clone(),
        infrastructure_metadata: settings.gateway_api.infrastructure_metadata == Some(true),
        annotations: settings.annotations.clone(),
        dns_annotations: settings.dns.use_dns_annotations == Some(true),
        shared_gateways: shared_gateways(ctx, namespace, settings),
        ..default
    }
}

/// What the tenant's namespace holds.
#[must_use]
pub fn input(ctx: &Context, namespace: &str, owner: &Owner) -> Input {
    let stores = &ctx.stores;
    let going = owner.settings.is_none();
    Input {
        tenant: owner.tenant.name_any(),
        namespace: namespace.to_owned(),
        routes: if going {
            Vec::new()
        } else {
            stores.routes.in_namespace(namespace)
        },
        addresses: stores.addresses.in_namespace(namespace),
        sync_secrets: if going {
            Vec::new()
        } else {
            stores.sync_secrets.in_namespace(namespace)
        },
        claims: ctx.claims.get(),
        foreign: foreign(ctx, namespace),
    }
}

/// Tenants with Routes on shared Gateways, and what their wishes are made from. Nothing is computed here.
#[must_use]
pub fn contenders(ctx: &Context, last: Option<&Arc<HubBasis>>) -> Vec<Contender> {
    let stores = &ctx.stores;
    let now = HubBasis {
        config: ctx.config(),
        gateways: hub_gateways(ctx),
        classes: stores.gateway_classes.snapshot(),
    };
    let hub = match last.filter(|last| last.is_same(&now)) {
        Some(last) => last.clone(),
        None => Arc::new(now),
    };
    let contender = |namespace: String| {
        let mut routes = stores.routes.in_namespace(&namespace);
        routes.retain(|route| is_on_shared_gateway(route));
        if routes.is_empty() {
            return None;
        }
        let object = stores.namespaces.get("", &namespace);
        let tenant = object
            .as_ref()
            .and_then(|object| stores.tenants.get("", object.labels().get(meta::TENANT_LABEL)?));
        let basis = Basis {
            hub: hub.clone(),
            tenant,
            namespace: object,
        };
        Some(Contender {
            namespace,
            basis,
            routes,
        })
    };
    ctx.tenant_namespaces()
        .into_iter()
        .filter_map(contender)
        .collect()
}

/// What somebody else made there, of the kinds of which all objects are seen. Of the others one is found when its
/// name is needed.
fn foreign(ctx: &Context, namespace: &str) -> BTreeSet<ObjectKey> {
    let gateways = ctx.stores.gateways.in_namespace(namespace);
    let gateways = gateways.into_iter().map(|gateway| (Kind::Gateway, gateway));
    let others = ctx.stores.envoy_gateway.in_namespace(namespace);
    gateways
        .chain(others)
        .filter(|(_, object)| !is_ours(&object.metadata))
        .map(|(kind, object)| ObjectKey {
            kind,
            namespace: namespace.to_owned(),
            name: object.name_any(),
        })
        .collect()
}
