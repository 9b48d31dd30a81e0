//! What the Gateway API loop reads, and how it becomes one plain snapshot.

use std::collections::BTreeMap;

use api::v1alpha1::{Route, SyncSecret, TenantState};
use controller_kit::object::ObjectError;
use controller_kit::watch::{Synced, Watch, WatchMetrics, Watched};
use controller_kit::{CancellationToken, Object};
use gateway_semantics::{
    GATEWAY_GROUP, HubFacts, NamespaceFacts, ObjectKind, ObjectRef, RouteFacts, RouteKind, SecretFacts,
    Snapshot,
};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::super::{origin_kind, settings_of};
use crate::convert::origin::is_ours;

/// ReferenceGrant is served in this version by every bundle that is supported.
pub const REFERENCE_GRANT_API_VERSION: &str = "gateway.networking.k8s.io/v1beta1";
/// Keys of a TLS Secret. Nothing else of a Secret is kept in memory.
const TLS_KEYS: [&str; 2] = ["tls.crt", "tls.key"];
/// Kinds whose Route CRs this loop owns.
pub const ROUTE_ORIGINS: [&str; 3] = ["Gateway", "HTTPRoute", "GRPCRoute"];

/// Everything that is read.
pub struct Stores {
    /// GatewayClasses.
    pub gateway_classes: Watched<DynamicObject>,
    /// Gateways.
    pub gateways: Watched<DynamicObject>,
    /// HTTPRoutes.
    pub http_routes: Watched<DynamicObject>,
    /// GRPCRoutes.
    pub grpc_routes: Watched<DynamicObject>,
    /// ReferenceGrants.
    pub reference_grants: Watched<DynamicObject>,
    /// Secrets of type `kubernetes.io/tls`.
    pub secrets: Watched<Secret>,
    /// Namespaces.
    pub namespaces: Watched<Namespace>,
    /// Services.
    pub services: Watched<Service>,
    /// Routes of this tenant on the hub.
    pub routes: Watched<Route>,
    /// SyncSecrets of this tenant on the hub.
    pub sync_secrets: Watched<SyncSecret>,
    /// TenantState on the hub.
    pub states: Watched<TenantState>,
}

/// Stores that other loops read as well.
pub struct Shared {
    /// Services of the own cluster.
    pub services: Watched<Service>,
    /// TenantState on the hub.
    pub states: Watched<TenantState>,
}

impl Stores {
    /// Starts the watches. `hint` is called when something changed. The kinds of the Gateway API may be absent:
    /// they are looked for until they are there.
    pub fn watch(
        (tenant, hub, hub_namespace): (&Client, &Client, &str),
        shared: Shared,
        hint: impl Fn() + Clone + Send + Sync + 'static,
        metrics: &WatchMetrics,
        stop: &CancellationToken,
    ) -> Self {
        let gateway_api = |version: &str, kind: &str, plural: &str| {
            let gvk = GroupVersionKind::gvk(GATEWAY_GROUP, version, kind);
            let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
            let hint = hint.clone();
            let watch = Watch::dynamic(tenant.clone(), &resource, None).optional();
            watch.metrics(metrics).on_event(move |_| hint()).spawn(stop)
        };
        let hook = || {
            let hint = hint.clone();
            move |_: &controller_kit::watch::Event| hint()
        };
        let tls_only = watcher::Config::default().fields("type=kubernetes.io/tls");
        let Shared { services, states } = shared;
        Self {
            gateway_classes: gateway_api("v1", "GatewayClass", "gatewayclasses"),
            gateways: gateway_api("v1", "Gateway", "gateways"),
            http_routes: gateway_api("v1", "HTTPRoute", "httproutes"),
            grpc_routes: gateway_api("v1", "GRPCRoute", "grpcroutes"),
            reference_grants: gateway_api("v1beta1", "ReferenceGrant", "referencegrants"),
            secrets: Watch::<Secret>::all(tenant.clone())
                .config(tls_only)
                .modify(keep_tls_keys)
                .metrics(metrics)
                .on_event(hook())
                .spawn(stop),
            namespaces: Watch::<Namespace>::all(tenant.clone())
                .metrics(metrics)
                .on_event(hook())
                .spawn(stop),
            services,
            routes: Watch::<Route>::namespaced(hub.clone(), hub_namespace)
                .metrics(metrics)
                .on_event(hook())
                .spawn(stop),
            sync_secrets: Watch::<SyncSecret>::namespaced(hub.clone(), hub_namespace)
                .metrics(metrics)
                .on_event(hook())
                .spawn(stop),
            states,
        }
    }

    /// The proof that every store is complete.
    #[must_use]
    pub fn synced(&self) -> Option<Synced> {
        let Self {
            gateway_classes,
            gateways,
            http_routes,
            grpc_routes,
            reference_grants,
            secrets,
            namespaces,
            services,
            routes,
            sync_secrets,
            states,
        } = self;
        Synced::of(&[
            gateway_classes,
            gateways,
            http_routes,
            grpc_routes,
            reference_grants,
            secrets,
            namespaces,
            services,
            routes,
            sync_secrets,
            states,
        ])
    }

    /// All of it as plain data.
    ///
    /// # Errors
    /// When an object is none.
    pub fn snapshot(&self, hub_namespace: &str) -> Result<Snapshot, ObjectError> {
        let typed_services = self.services.snapshot();
        Ok(Snapshot {
            gateway_classes: values(&self.gateway_classes)?,
            gateways: values(&self.gateways)?,
            http_routes: values(&self.http_routes)?,
            grpc_routes: values(&self.grpc_routes)?,
            reference_grants: values(&self.reference_grants)?,
            secrets: self
                .secrets
                .snapshot()
                .iter()
                .map(|secret| SecretFacts::from_secret(secret))
                .collect(),
            namespaces: self
                .namespaces
                .snapshot()
                .iter()
                .map(|namespace| facts_of(namespace))
                .collect(),
            services: typed_services
                .iter()
                .map(|service| service.as_ref().clone())
                .collect(),
            hub: HubFacts {
                state: settings_of(&self.states, hub_namespace),
                routes: self.route_facts(),
            },
        })
    }

    fn route_facts(&self) -> BTreeMap<String, RouteFacts> {
        let ours = |route: &Route| is_ours(&route.metadata);
        let facts = |route: &Route| RouteFacts {
            generation: route.metadata.generation.unwrap_or_default(),
            status: route.status.clone().unwrap_or_default(),
        };
        let routes = self.routes.snapshot();
        routes
            .iter()
            .filter(|route| ours(route))
            .map(|route| (route.name_any(), facts(route)))
            .collect()
    }

    /// The store of a kind, for writing its status.
    #[must_use]
    pub fn of_kind(&self, kind: ObjectKind) -> &Watched<DynamicObject> {
        match kind {
            ObjectKind::GatewayClass => &self.gateway_classes,
            ObjectKind::Gateway => &self.gateways,
            ObjectKind::Route(RouteKind::Http) => &self.http_routes,
            ObjectKind::Route(RouteKind::Grpc) => &self.grpc_routes,
            ObjectKind::ReferenceGrant => &self.reference_grants,
        }
    }

    /// The tenant's object with this UID, if it goes to the hub.
    #[must_use]
    pub fn object_of(&self, uid: &str) -> Option<ObjectRef> {
        let kinds = [
            ObjectKind::Gateway,
            ObjectKind::Route(RouteKind::Http),
            ObjectKind::Route(RouteKind::Grpc),
        ];
        kinds.into_iter().find_map(|kind| {
            let objects = self.of_kind(kind).snapshot();
            let object = objects
                .iter()
                .find(|object| object.metadata.uid.as_deref() == Some(uid))?;
            Some(ObjectRef {
                kind,
                namespace: object.namespace().unwrap_or_default(),
                name: object.name_any(),
                uid: uid.to_owned(),
                generation: object.metadata.generation.unwrap_or_default(),
            })
        })
    }

    /// What was made from an object that exists but cannot be decoded is not unwanted.
    #[must_use]
    pub fn is_from_undecodable(&self, object: &Object) -> bool {
        let Some((namespace, name)) = super::super::origin_name(object) else {
            return false;
        };
        let unknown = match origin_kind(object) {
            Some("Gateway") => self.gateways.undecodable(),
            Some("HTTPRoute") => self.http_routes.undecodable(),
            Some("GRPCRoute") => self.grpc_routes.undecodable(),
            Some("Secret") => self.secrets.undecodable(),
            _ => return false,
        };
        unknown
            .iter()
            .any(|key| key.namespace == namespace && key.name == name)
    }
}

fn values(store: &Watched<DynamicObject>) -> Result<Vec<Value>, ObjectError> {
    Ok(store
        .objects()?
        .iter()
        .map(|object| object.value().clone())
        .collect())
}

fn facts_of(namespace: &Namespace) -> NamespaceFacts {
    NamespaceFacts {
        name: namespace.name_any(),
        labels: namespace.metadata.labels.clone().unwrap_or_default(),
    }
}

fn keep_tls_keys(secret: &mut Secret) {
    if let Some(data) = &mut secret.data {
        data.retain(|key, _| TLS_KEYS.contains(&key.as_str()));
    }
}
