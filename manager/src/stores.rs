//! Everything the manager sees of the hub, in memory, and who is told when it changes.
//!
//! Nothing here decides what a change means beyond whose work it may be.

use std::sync::Arc;

use api::meta;
use api::v1alpha1::{Addresses, Config, LoadBalancer, Route, SyncSecret, Tenant, TenantState};
use controller_kit::CancellationToken;
use controller_kit::object::{Object, ObjectError};
use controller_kit::ready::Readiness;
use controller_kit::watch::{Event, State, SyncState, Synced, Watch, WatchMetrics, Watchable, Watched};
use gateway_translator::{Kind, Resource};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Client;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use serde::Serialize;

use crate::build::is_ours;
use crate::triggers::{Interest, Triggers};

/// All stores.
#[derive(Clone)]
pub struct Stores {
    /// Tenants.
    pub tenants: Watched<Tenant>,
    /// The Config, in the manager's namespace.
    pub configs: Watched<Config>,
    /// TenantStates.
    pub tenant_states: Watched<TenantState>,
    /// LoadBalancers.
    pub load_balancers: Watched<LoadBalancer>,
    /// Routes.
    pub routes: Watched<Route>,
    /// Addresses.
    pub addresses: Watched<Addresses>,
    /// SyncSecrets.
    pub sync_secrets: Watched<SyncSecret>,
    /// All namespaces.
    pub namespaces: Watched<Namespace>,
    /// ServiceAccounts that we made.
    pub service_accounts: Watched<ServiceAccount>,
    /// Roles that we made.
    pub roles: Watched<Role>,
    /// RoleBindings that we made.
    pub role_bindings: Watched<RoleBinding>,
    /// Secrets that we made.
    pub secrets: Watched<Secret>,
    /// ConfigMaps that we made.
    pub config_maps: Watched<ConfigMap>,
    /// Services that we made.
    pub services: Watched<Service>,
    /// EndpointSlices that we made.
    pub endpoint_slices: Switched<EndpointSlice>,
    /// Deployments that we made.
    pub deployments: Watched<Deployment>,
    /// DaemonSets that we made.
    pub daemon_sets: Watched<DaemonSet>,
    /// PodDisruptionBudgets that we made.
    pub disruption_budgets: Watched<PodDisruptionBudget>,
    /// NetworkPolicies that we made.
    pub network_policies: Watched<NetworkPolicy>,
    /// Pods of the manager's namespace: which replicas are alive.
    pub pods: Watched<Pod>,
    /// Pods of the tenants' L4 Envoys: which of them clients reach.
    pub envoy_pods: Watched<Pod>,
    /// All Gateways. Absent where the Gateway API is not installed.
    pub gateways: Switched<DynamicObject>,
    /// What else Envoy Gateway reads, as far as we made it.
    pub envoy_gateway: EnvoyGatewayObjects,
    /// GatewayClasses.
    pub gateway_classes: Switched<DynamicObject>,
}

/// A store of a kind that the command line may switch off. Then nothing is asked of the API server, which may
/// not even allow it, and the store is empty.
#[derive(Clone)]
pub struct Switched<K>(Option<Watched<K>>);

impl<K> Switched<K> {
    /// All objects.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<K>> {
        self.0.as_ref().map(Watched::snapshot).unwrap_or_default()
    }

    /// The objects of one namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.0
            .as_ref()
            .map(|store| store.in_namespace(namespace))
            .unwrap_or_default()
    }

    /// One object.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.0.as_ref()?.get(namespace, name)
    }

    /// Waits until the store shows an object that was written. At once, where the kind is switched off.
    pub async fn shown(&self, written: &Object)
    where
        K: kube::Resource,
    {
        if let Some(store) = &self.0 {
            store.shown(written).await;
        }
    }

    /// Whether the kind is there and watched.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|store| store.state() != State::Absent)
    }
}

impl<K: kube::Resource + Serialize> Switched<K> {
    /// The objects of one namespace as JSON with their kind.
    ///
    /// # Errors
    /// When one cannot be written as JSON.
    pub fn objects_in(&self, namespace: &str) -> Result<Vec<Object>, ObjectError> {
        self.0
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), |store| store.objects_in(namespace))
    }
}

/// Kinds that Envoy Gateway reads: all that the translator makes but Secrets, Services, EndpointSlices and Gateways.
/// Each may be absent. Of somebody else's objects no more is known than that they are there.
#[derive(Clone)]
pub struct EnvoyGatewayObjects(Vec<(Kind, Switched<DynamicObject>)>);

impl EnvoyGatewayObjects {
    /// The kinds.
    pub fn kinds() -> impl Iterator<Item = Kind> {
        let elsewhere = [Kind::Secret, Kind::Service, Kind::EndpointSlice, Kind::Gateway];
        Kind::ALL
            .into_iter()
            .filter(move |kind| !elsewhere.contains(kind))
    }

    /// Whether objects of this kind can be written. Kinds that are always there are not asked about here.
    #[must_use]
    pub fn is_installed(&self, kind: Kind) -> bool {
        self.0
            .iter()
            .find(|(of, _)| *of == kind)
            .is_none_or(|(_, store)| store.is_installed())
    }

    /// Kinds of which no objects can be written.
    #[must_use]
    pub fn not_installed(&self) -> Vec<Kind> {
        let stores = self.0.iter();
        let missing = stores.filter(|(_, store)| !store.is_installed());
        missing.map(|(kind, _)| *kind).collect()
    }

    /// All objects of one kind.
    #[must_use]
    pub fn all(&self, kind: Kind) -> Vec<Arc<DynamicObject>> {
        let stores = self.0.iter().filter(|(of, _)| *of == kind);
        stores.flat_map(|(_, store)| store.snapshot()).collect()
    }

    /// Waits until the store shows an object that was written. At once, where its kind is not watched here.
    pub async fn shown(&self, written: &Object) {
        let kind = &written.id().kind;
        for (_, store) in self.0.iter().filter(|(of, _)| of.as_str() == kind) {
            store.shown(written).await;
        }
    }

    /// The objects of one namespace, with their kind.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<(Kind, Arc<DynamicObject>)> {
        let stores = self.0.iter();
        stores
            .flat_map(|(kind, store)| {
                let objects = store.in_namespace(namespace).into_iter();
                objects.map(|object| (*kind, object))
            })
            .collect()
    }

    /// The objects of one namespace as JSON with their kind.
    ///
    /// # Errors
    /// When one cannot be written as JSON.
    pub fn objects_in(&self, namespace: &str) -> Result<Vec<Object>, ObjectError> {
        let mut all = Vec::new();
        for (_, store) in &self.0 {
            all.extend(store.objects_in(namespace)?);
        }
        Ok(all)
    }
}

/// What watches are made with.
pub struct Spawner<'a> {
    /// The hub.
    pub client: Client,
    /// The manager's namespace.
    pub namespace: &'a str,
    /// What waits for the stores.
    pub readiness: &'a Readiness,
    /// What counts their failures.
    pub metrics: &'a WatchMetrics,
    /// Who is told of changes.
    pub triggers: &'a Triggers,
    /// Ends the watches.
    pub stop: &'a CancellationToken,
    /// Kinds that only L7 needs are watched.
    pub gateway_api: bool,
}

/// The API server's name for what the translator makes.
#[must_use]
pub fn api_resource(kind: Kind) -> ApiResource {
    let Resource {
        group,
        version,
        kind,
        plural,
    } = kind.resource();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// GatewayClasses, which nobody makes here.
fn gateway_class() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "gateway.networking.k8s.io",
        "v1",
        "GatewayClass",
    ))
}

impl Spawner<'_> {
    fn start<K: Watchable>(&self, watch: Watch<K>, name: &str, interest: Interest) -> Watched<K> {
        let triggers = self.triggers.clone();
        watch
            .metrics(self.metrics)
            .ready(self.readiness.register(format!("store/{name}")))
            .on_event(move |event| {
                if let Event::Changed(key) = event {
                    triggers.changed(interest, key);
                }
            })
            .spawn(self.stop)
    }

    fn all<K>(&self, interest: Interest) -> Watched<K>
    where
        K: Watchable + kube::Resource<DynamicType = ()>,
    {
        self.start(Watch::all(self.client.clone()), &K::kind(&()), interest)
    }

    fn ours<K>(&self, interest: Interest) -> Watched<K>
    where
        K: Watchable + kube::Resource<DynamicType = ()>,
    {
        let watch = Watch::all(self.client.clone()).config(made_by_us());
        self.start(watch, &K::kind(&()), interest)
    }

    fn own_namespace<K>(&self, interest: Interest) -> Watched<K>
    where
        K: Watchable + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        self.start(
            Watch::namespaced(self.client.clone(), self.namespace),
            &K::kind(&()),
            interest,
        )
    }

    /// Pods have our label only where they are Envoys of a fleet.
    fn envoy_pods(&self) -> Watched<Pod> {
        let watch = Watch::all(self.client.clone()).config(made_by_us());
        self.start(watch, "envoy-pods", Interest::EnvoyPod)
    }

    fn gateway_api(
        &self,
        resource: &ApiResource,
        modify: impl Fn(&mut DynamicObject) + Send + Sync + 'static,
        interest: Interest,
    ) -> Switched<DynamicObject> {
        if !self.gateway_api {
            return Switched(None);
        }
        let watch = Watch::dynamic(self.client.clone(), resource, None)
            .optional()
            .modify(modify);
        Switched(Some(self.start(watch, &resource.kind, interest)))
    }

    fn envoy_gateway(&self) -> EnvoyGatewayObjects {
        let kinds = EnvoyGatewayObjects::kinds();
        let interest = |kind| match kind {
            Kind::EnvoyPatchPolicy => Interest::PatchPolicy,
            _ => Interest::RouteObject,
        };
        let store = |kind| self.gateway_api(&api_resource(kind), strip_foreign, interest(kind));
        EnvoyGatewayObjects(kinds.map(|kind| (kind, store(kind))).collect())
    }

    /// Starts them all.
    #[must_use]
    pub fn spawn(&self) -> Stores {
        Stores {
            tenants: self.all(Interest::Tenant),
            configs: self.own_namespace(Interest::Config),
            tenant_states: self.all(Interest::TenantState),
            load_balancers: self.all(Interest::LoadBalancer),
            routes: self.all(Interest::Route),
            addresses: self.all(Interest::Addresses),
            sync_secrets: self.all(Interest::Route),
            namespaces: self.all(Interest::Namespace),
            service_accounts: self.ours(Interest::TenantObject),
            roles: self.ours(Interest::TenantObject),
            role_bindings: self.ours(Interest::TenantObject),
            secrets: self.ours(Interest::Secret),
            config_maps: self.ours(Interest::ConfigMap),
            services: self.ours(Interest::Service),
            endpoint_slices: Switched(self.gateway_api.then(|| self.ours(Interest::RouteObject))),
            deployments: self.ours(Interest::Workload),
            daemon_sets: self.ours(Interest::Workload),
            disruption_budgets: self.ours(Interest::LoadBalancerObject),
            network_policies: self.ours(Interest::LoadBalancerObject),
            pods: self.own_namespace(Interest::Nothing),
            envoy_pods: self.envoy_pods(),
            gateways: self.gateway_api(&api_resource(Kind::Gateway), |_| {}, Interest::Gateway),
            envoy_gateway: self.envoy_gateway(),
            gateway_classes: self.gateway_api(&gateway_class(), |_| {}, Interest::GatewayClass),
        }
    }
}

/// Only the names of what somebody else made are looked at.
fn strip_foreign(object: &mut DynamicObject) {
    if !is_ours(&object.metadata) {
        object.data = serde_json::Value::Null;
        object.metadata.labels = None;
        object.metadata.annotations = None;
    }
}

fn made_by_us() -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={}", meta::MANAGED_BY_LABEL, meta::MANAGED_BY))
}

impl Stores {
    fn all(&self) -> Vec<&dyn SyncState> {
        let Self {
            tenants,
            configs,
            tenant_states,
            load_balancers,
            routes,
            addresses,
            sync_secrets,
            namespaces,
            service_accounts,
            roles,
            role_bindings,
            secrets,
            config_maps,
            services,
            endpoint_slices,
            deployments,
            daemon_sets,
            disruption_budgets,
            network_policies,
            pods,
            envoy_pods,
            gateways,
            envoy_gateway,
            gateway_classes,
        } = self;
        let mut all: Vec<&dyn SyncState> = vec![
            tenants,
            configs,
            tenant_states,
            load_balancers,
            routes,
            addresses,
            sync_secrets,
            namespaces,
            service_accounts,
            roles,
            role_bindings,
            secrets,
            config_maps,
            services,
            deployments,
            daemon_sets,
            disruption_budgets,
            network_policies,
            pods,
            envoy_pods,
        ];
        all.extend(endpoint_slices.0.as_ref().map(|store| store as &dyn SyncState));
        let made = envoy_gateway.0.iter().map(|(_, store)| store);
        for switched in [gateways, gateway_classes].into_iter().chain(made) {
            all.extend(switched.0.as_ref().map(|store| store as &dyn SyncState));
        }
        all
    }

    /// Waits until all are complete, or known to be of a kind that is not installed.
    pub async fn synced(&self) -> Synced {
        Synced::wait(&self.all()).await
    }

    /// The proof that all are complete now, which pruning asks for.
    #[must_use]
    pub fn proof(&self) -> Option<Synced> {
        Synced::of(&self.all())
    }
}
