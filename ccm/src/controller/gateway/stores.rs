//! What the Gateway API loop reads, and how it becomes one plain snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::v1alpha1::{Route, SyncSecret, TenantState};
use controller_kit::object::ObjectError;
use controller_kit::watch::{Failures, Synced, Watch, WatchMetrics, Watched};
use controller_kit::{CancellationToken, Object};
use gateway_semantics::{
    GATEWAY_GROUP, HubFacts, NamespaceFacts, ObjectKind, ObjectRef, RouteFacts, RouteKind,
    SLICE_MANAGED_BY_LABEL, SecretFacts, ServiceName, Settings, Snapshot, referenced_authorities,
};
use k8s_openapi::api::core::v1::{Namespace, Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::super::{ControllerError, origin_kind, settings_of};
use super::authorities::Authorities;
use crate::convert::origin::is_ours;

/// ReferenceGrant is served in this version by every bundle that is supported.
pub const REFERENCE_GRANT_API_VERSION: &str = "gateway.networking.k8s.io/v1beta1";
/// Keys of a TLS Secret. Nothing else of a Secret is kept in memory.
const TLS_KEYS: [&str; 2] = ["tls.crt", "tls.key"];
/// Kinds whose Route CRs this loop owns.
pub const ROUTE_ORIGINS: [&str; 7] = [
    "Gateway",
    "ListenerSet",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "UDPRoute",
];
/// Who keeps the EndpointSlices of Services with a selector. Those are many, and none of our business.
const SLICE_CONTROLLER: &str = "endpointslice-controller.k8s.io";

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
    /// TLSRoutes.
    pub tls_routes: Watched<DynamicObject>,
    /// TCPRoutes.
    pub tcp_routes: Watched<DynamicObject>,
    /// UDPRoutes.
    pub udp_routes: Watched<DynamicObject>,
    /// ListenerSets.
    pub listener_sets: Watched<DynamicObject>,
    /// BackendTLSPolicies.
    pub backend_tls_policies: Watched<DynamicObject>,
    /// ReferenceGrants.
    pub reference_grants: Watched<DynamicObject>,
    /// Secrets of type `kubernetes.io/tls`.
    pub secrets: Watched<Secret>,
    /// Certificate authorities in ConfigMaps and Secrets.
    pub authorities: Authorities,
    /// Namespaces.
    pub namespaces: Watched<Namespace>,
    /// Services.
    pub services: Watched<Service>,
    /// Nodes.
    pub nodes: Watched<Node>,
    /// EndpointSlices that are not kept by the controller for Services with a selector.
    pub endpoint_slices: Watched<EndpointSlice>,
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
    /// Nodes of the own cluster.
    pub nodes: Watched<Node>,
    /// TenantState on the hub.
    pub states: Watched<TenantState>,
    /// Failures of the watches on the hub.
    pub hub_failures: Failures,
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
        let Shared {
            services,
            nodes,
            states,
            hub_failures,
        } = shared;
        Self {
            gateway_classes: gateway_api("v1", "GatewayClass", "gatewayclasses"),
            gateways: gateway_api("v1", "Gateway", "gateways"),
            http_routes: gateway_api("v1", "HTTPRoute", "httproutes"),
            grpc_routes: gateway_api("v1", "GRPCRoute", "grpcroutes"),
            tls_routes: gateway_api("v1", "TLSRoute", "tlsroutes"),
            tcp_routes: gateway_api("v1", "TCPRoute", "tcproutes"),
            udp_routes: gateway_api("v1", "UDPRoute", "udproutes"),
            listener_sets: gateway_api("v1", "ListenerSet", "listenersets"),
            backend_tls_policies: gateway_api("v1", "BackendTLSPolicy", "backendtlspolicies"),
            reference_grants: gateway_api("v1beta1", "ReferenceGrant", "referencegrants"),
            secrets: Watch::<Secret>::all(tenant.clone())
                .config(tls_only)
                .modify(keep_tls_keys)
                .metrics(metrics)
                .on_event(hook())
                .spawn(stop),
            authorities: Authorities::watch(tenant, hint.clone(), metrics, stop),
            endpoint_slices: Watch::<EndpointSlice>::all(tenant.clone())
                .config(
                    watcher::Config::default()
                        .labels(&format!("{SLICE_MANAGED_BY_LABEL}!={SLICE_CONTROLLER}")),
                )
                .metrics(metrics)
                .on_event(hook())
                .spawn(stop),
            namespaces: Watch::<Namespace>::all(tenant.clone())
                .metrics(metrics)
                .on_event(hook())
                .spawn(stop),
            services,
            nodes,
            routes: Watch::<Route>::namespaced(hub.clone(), hub_namespace)
                .metrics(metrics)
                .failures(&hub_failures)
                .on_event(hook())
                .spawn(stop),
            sync_secrets: Watch::<SyncSecret>::namespaced(hub.clone(), hub_namespace)
                .metrics(metrics)
                .failures(&hub_failures)
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
            tls_routes,
            tcp_routes,
            udp_routes,
            listener_sets,
            backend_tls_policies,
            reference_grants,
            secrets,
            authorities,
            namespaces,
            services,
            nodes,
            endpoint_slices,
            routes,
            sync_secrets,
            states,
        } = self;
        Synced::of(&[
            gateway_classes,
            gateways,
            http_routes,
            grpc_routes,
            tls_routes,
            tcp_routes,
            udp_routes,
            listener_sets,
            backend_tls_policies,
            reference_grants,
            secrets,
            &authorities.config_maps,
            &authorities.secrets,
            namespaces,
            services,
            nodes,
            endpoint_slices,
            routes,
            sync_secrets,
            states,
        ])
    }

    /// All of it as plain data.
    ///
    /// # Errors
    /// When an object is none, or certificate authorities cannot be read for now.
    pub async fn snapshot(
        &self,
        hub_namespace: &str,
        settings: &Settings,
    ) -> Result<Snapshot, ControllerError> {
        let mut snapshot = Snapshot {
            gateway_classes: values(&self.gateway_classes)?,
            gateways: values(&self.gateways)?,
            http_routes: values(&self.http_routes)?,
            grpc_routes: values(&self.grpc_routes)?,
            tls_routes: values(&self.tls_routes)?,
            tcp_routes: values(&self.tcp_routes)?,
            udp_routes: values(&self.udp_routes)?,
            listener_sets: values(&self.listener_sets)?,
            backend_tls_policies: values(&self.backend_tls_policies)?,
            reference_grants: values(&self.reference_grants)?,
            secrets: copies(&self.secrets, SecretFacts::from_secret),
            status_writers: Vec::new(),
            authorities: Vec::new(),
            namespaces: copies(&self.namespaces, facts_of),
            services: self.services.snapshot(),
            refused_services: Vec::new(),
            settling_services: Vec::new(),
            endpoint_slices: self.endpoint_slices.snapshot(),
            hub: HubFacts {
                state: settings_of(&self.states, hub_namespace),
                routes: self.route_facts(),
            },
        };
        let wanted = referenced_authorities(&snapshot, settings);
        snapshot.authorities = self.authorities.facts(wanted).await?;
        Ok(snapshot)
    }

    fn route_facts(&self) -> BTreeMap<String, RouteFacts> {
        let ours = |route: &Route| is_ours(&route.metadata);
        let facts = |route: &Arc<Route>| RouteFacts {
            generation: route.metadata.generation.unwrap_or_default(),
            services: services_of(route),
            status: route.status.clone().unwrap_or_default(),
            live: Some(route.clone()),
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
            ObjectKind::ListenerSet => &self.listener_sets,
            ObjectKind::Route(RouteKind::Http) => &self.http_routes,
            ObjectKind::Route(RouteKind::Grpc) => &self.grpc_routes,
            ObjectKind::Route(RouteKind::Tls) => &self.tls_routes,
            ObjectKind::Route(RouteKind::Tcp) => &self.tcp_routes,
            ObjectKind::Route(RouteKind::Udp) => &self.udp_routes,
            ObjectKind::BackendTlsPolicy => &self.backend_tls_policies,
            ObjectKind::ReferenceGrant => &self.reference_grants,
        }
    }

    /// The tenant's object with this UID, if it goes to the hub.
    #[must_use]
    pub fn object_of(&self, uid: &str) -> Option<ObjectRef> {
        let routes = RouteKind::ALL.map(ObjectKind::Route);
        let mut kinds = [ObjectKind::Gateway, ObjectKind::ListenerSet]
            .into_iter()
            .chain(routes);
        kinds.find_map(|kind| {
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

    /// Namespaces in which there are objects of each kind.
    #[must_use]
    pub fn namespaces_by_kind(&self) -> BTreeMap<&'static str, BTreeSet<String>> {
        let routes = RouteKind::ALL.map(ObjectKind::Route);
        let others = [
            ObjectKind::Gateway,
            ObjectKind::ListenerSet,
            ObjectKind::BackendTlsPolicy,
        ];
        let of = |kind: ObjectKind| {
            let objects = self.of_kind(kind).snapshot();
            let namespaces = objects.iter().filter_map(|object| object.namespace());
            (kind.as_str(), namespaces.collect())
        };
        others.into_iter().chain(routes).map(of).collect()
    }

    /// Namespace of the tenant's Secret with this UID.
    #[must_use]
    pub fn namespace_of_secret(&self, uid: &str) -> Option<String> {
        let secrets = self.secrets.snapshot();
        let found = secrets
            .iter()
            .find(|secret| secret.metadata.uid.as_deref() == Some(uid));
        found.and_then(|secret| secret.namespace())
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
            Some("TLSRoute") => self.tls_routes.undecodable(),
            Some("TCPRoute") => self.tcp_routes.undecodable(),
            Some("UDPRoute") => self.udp_routes.undecodable(),
            Some("ListenerSet") => self.listener_sets.undecodable(),
            Some("ConfigMap") => self.authorities.config_maps.undecodable(),
            Some("Secret") => {
                let metadata = self.authorities.secrets.undecodable();
                self.secrets.undecodable().into_iter().chain(metadata).collect()
            }
            _ => return false,
        };
        unknown
            .iter()
            .any(|key| key.namespace == namespace && key.name == name)
    }
}

fn values(store: &Watched<DynamicObject>) -> Result<Vec<Arc<Value>>, ObjectError> {
    Ok(store.objects()?.iter().map(Object::shared_value).collect())
}

fn copies<K, T>(store: &Watched<K>, copy: impl Fn(&K) -> T) -> Vec<T> {
    store.snapshot().iter().map(|object| copy(object)).collect()
}

fn facts_of(namespace: &Namespace) -> NamespaceFacts {
    NamespaceFacts {
        name: namespace.name_any(),
        labels: namespace.metadata.labels.clone().unwrap_or_default(),
    }
}

fn services_of(route: &Route) -> BTreeSet<ServiceName> {
    let services = route
        .spec
        .backends
        .iter()
        .filter_map(|backend| backend.service.as_ref());
    services
        .map(|service| ServiceName {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
        })
        .collect()
}

fn keep_tls_keys(secret: &mut Secret) {
    if let Some(data) = &mut secret.data {
        data.retain(|key, _| TLS_KEYS.contains(&key.as_str()));
    }
}
