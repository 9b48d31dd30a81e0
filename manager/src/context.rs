//! What every controller needs: the client, the stores, whether this replica writes, and the hub's own settings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::meta;
use api::names::TenantNamespace;
use api::v1alpha1::{Config, Tenant};
use controller_kit::apply::{Applier, ApplyError};
use controller_kit::events::Recorder;
use controller_kit::lease::Leadership;
use controller_kit::linger::Linger;
use controller_kit::object::{Object, ObjectError};
use controller_kit::patience::Patience;
use controller_kit::status::{StatusError, StatusWrite, update_status};
use controller_kit::{ReconcileError, finalizer::FinalizerError};
use gateway_translator::Kind;
use jiff::Timestamp;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::build::credential::TenantApiServer;
use crate::claims::ClaimsCell;
use crate::controller::global::FindingsCell;
use crate::controller::load_balancer::assess::{Assessed, View};
use crate::controller::load_balancer::assessments::Assessments;
use crate::controller::load_balancer::memory::Memories;
use crate::controller::route::apply::SettledByNamespace;
use crate::controller::route::bridge::Bridges;
use crate::controller::route::status::Findings;
use crate::controller::route::translation::Translations;
use crate::controller::route::young::Young;
use crate::controller::tenant::namespace;
use crate::hostnames::HostnamesCell;
use crate::metrics::ManagerMetrics;
use crate::settings::{TenantSettings, merge};
use crate::status_patch;
use crate::stores::{EnvoyGatewayObjects, Stores};
use crate::triggers::Triggers;
use crate::xds::Snapshots;

/// Field manager of everything that the manager writes.
pub const FIELD_MANAGER: &str = "kubelb-manager";
/// Version of the manager.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Kinds in the order in which they are written; deleted in reverse, so that addresses go before what serves
/// them. Kinds that are not listed come last.
const ORDER: [&str; 22] = [
    "Namespace",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "Secret",
    "ConfigMap",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Deployment",
    "DaemonSet",
    "Service",
    "EndpointSlice",
    "BackendTLSPolicy",
    "Gateway",
    "ListenerSet",
    "ClientTrafficPolicy",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "UDPRoute",
    "EnvoyPatchPolicy",
];

/// What the command line decides.
#[derive(Debug, Clone)]
pub struct Options {
    /// The manager's namespace.
    pub namespace: String,
    /// Who this replica is.
    pub replica: String,
    /// GatewayClass where neither Tenant nor Config names one.
    pub gateway_class: String,
    /// Gateway API objects are served.
    pub gateway_api: bool,
    /// Image of Envoy where Config names none.
    pub envoy_image: String,
    /// Where Envoys find the xDS server.
    pub bootstrap: l4_xds::bootstrap::BootstrapInput,
    /// What holds for every listener.
    pub translation: l4_xds::Settings,
    /// Where tenants find the API server.
    pub tenant_api_server: TenantApiServer,
    /// How long a tenant's token is good.
    pub tenant_token_lifetime: jiff::SignedDuration,
}

/// Shared by all controllers.
pub struct Context {
    /// The hub.
    pub client: Client,
    /// Writes objects.
    pub applier: Applier,
    /// Publishes Events.
    pub recorder: Recorder,
    /// What is there.
    pub stores: Stores,
    /// Whether this replica writes.
    pub leadership: Leadership,
    /// What the command line decides.
    pub options: Options,
    /// Handles to all drivers.
    pub triggers: Triggers,
    /// What Envoys are served.
    pub snapshots: Snapshots,
    /// What Envoys of this replica said.
    pub reports: l4_xds::ReportHub,
    /// Who holds which host name on shared Gateways.
    pub claims: ClaimsCell,
    /// Who holds which host name of a load balancer.
    pub hostnames: HostnamesCell,
    /// What there is to tell about hub Services in the manager's namespace.
    pub global: FindingsCell,
    /// Backends of routes that nobody wants any more.
    pub linger: Linger,
    /// How long statuses wait for Envoy Gateway.
    pub patience: Patience,
    /// Routes that change their backends.
    pub bridges: Bridges,
    /// Routes that were written lately.
    pub young: Young,
    /// What Routes became.
    pub translations: Translations,
    /// What there is to tell about Routes.
    pub findings: Findings,
    /// What is as it should be of what routes need.
    pub settled: SettledByNamespace,
    /// What runs over LoadBalancers remember.
    pub memories: Memories,
    /// What LoadBalancers came to, by namespace.
    pub assessments: SharedMap<Arc<Mutex<Assessments>>>,
    /// Metrics.
    pub metrics: ManagerMetrics,
}

/// A step of a reconcile run failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Objects could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A status could not be written.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// A finalizer could not be changed.
    #[error(transparent)]
    Finalizer(#[from] FinalizerError),
    /// Something is no Kubernetes object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A request failed.
    #[error("cannot {what}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// A credential could not be made.
    #[error(transparent)]
    Kubeconfig(#[from] crate::build::credential::KubeconfigError),
    /// The API server issued a token that ends at no known time.
    #[error("the API server issued no usable token")]
    Token,
    /// A certificate could not be made.
    #[error(transparent)]
    Pki(#[from] crate::pki::PkiError),
    /// The certificate authority is not there yet.
    #[error("the certificate authority for xDS is not there yet")]
    NoCertificateAuthority,
    /// A snapshot contradicts itself.
    #[error("the snapshot of {fleet} is not consistent")]
    Snapshot {
        /// Whose.
        fleet: String,
        /// Why.
        #[source]
        source: l4_xds::snapshot::Inconsistency,
    },
}

impl Error {
    /// For use with `map_err`.
    pub fn api(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api {
            what,
            source: Box::new(source),
        }
    }
}

impl ReconcileError for Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Apply(e) => e.reason(),
            Self::Status(e) => e.reason(),
            Self::Finalizer(e) => e.reason(),
            Self::Object(_) => "InvalidObject",
            Self::Api { source, .. } => source.reason(),
            Self::Kubeconfig(_) => "InvalidKubeconfig",
            Self::Token => "NoToken",
            Self::Pki(_) => "InvalidCertificate",
            Self::NoCertificateAuthority => "NoCertificateAuthority",
            Self::Snapshot { .. } => "InconsistentSnapshot",
        }
    }
}

/// A Tenant that has its namespace, with what holds for it.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The Tenant.
    pub tenant: Arc<Tenant>,
    /// What holds; none while the Tenant is being deleted.
    pub settings: Option<TenantSettings>,
}

impl Context {
    /// Writes in [`ORDER`].
    #[must_use]
    pub fn applier(client: Client) -> Applier {
        let seen = EnvoyGatewayObjects::kinds().map(Kind::as_str).chain(["Gateway"]);
        Applier::new(client, FIELD_MANAGER, &ORDER).sees_all_of(seen)
    }

    /// True while this replica may write.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leadership.is_leader()
    }

    /// Whether Gateways with HTTPRoutes can be made.
    #[must_use]
    pub fn serves_gateway_api(&self) -> bool {
        self.stores.gateways.is_installed() && self.stores.envoy_gateway.is_installed(Kind::HttpRoute)
    }

    /// The one Config.
    #[must_use]
    pub fn config(&self) -> Option<Arc<Config>> {
        self.stores
            .configs
            .get(&self.options.namespace, meta::DEFAULT_NAME)
    }

    /// What holds for a Tenant.
    #[must_use]
    pub fn settings(&self, tenant: &Tenant) -> TenantSettings {
        merge(tenant, self.config().as_deref(), &self.options.gateway_class)
    }

    /// The Tenant that has this namespace.
    #[must_use]
    pub fn owner(&self, namespace: &str) -> Option<Owner> {
        let object = self.stores.namespaces.get("", namespace)?;
        let tenant = self
            .stores
            .tenants
            .get("", object.labels().get(meta::TENANT_LABEL)?)?;
        if !namespace::belongs_to(&object, &tenant) {
            return None;
        }
        let going =
            tenant.metadata.deletion_timestamp.is_some() || object.metadata.deletion_timestamp.is_some();
        let settings = (!going).then(|| self.settings(&tenant));
        Some(Owner { tenant, settings })
    }

    /// Namespaces of all Tenants, whether they are there or not.
    #[must_use]
    pub fn tenant_namespaces(&self) -> Vec<String> {
        let all = self.stores.tenants.snapshot();
        let mut names: Vec<String> = all
            .iter()
            .filter_map(|t| Some(TenantNamespace::of(&t.name_any()).ok()?.to_string()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// What the LoadBalancers of a namespace come to, in the order of names. Controllers that ask at the same time wait for each
    /// other: the second one finds it done.
    #[must_use]
    pub fn assess(&self, view: &View) -> Arc<Vec<Arc<Assessed>>> {
        let memory = Arc::clone(self.assessments.lock().entry(view.namespace.clone()).or_default());
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.of(view)
    }

    /// Writes `status` where it differs from what `current` shows.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn write_status<K, S>(
        &self,
        api: &Api<K>,
        current: &K,
        status: &S,
    ) -> Result<StatusWrite<K>, Error>
    where
        K: Resource + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
        S: Serialize,
    {
        let wanted = serde_json::to_value(status).map_err(|source| StatusError::Serialize {
            name: current.name_any(),
            source,
        })?;
        let change = |object: &K| {
            let mut live = serde_json::to_value(object).unwrap_or_default();
            let live = live
                .get_mut("status")
                .map(serde_json::Value::take)
                .unwrap_or_default();
            status_patch::between(&live, &wanted)
        };
        Ok(update_status(api, current, FIELD_MANAGER, change).await?)
    }
}

/// Now, for the pure functions.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// True for a live object that the manager made for this tenant; of an empty name, for any.
pub fn made_for(tenant: &str) -> impl Fn(&Object) -> bool + Sync + Send + '_ {
    move |object| {
        object.label(meta::MANAGED_BY_LABEL) == Some(meta::MANAGED_BY)
            && object
                .label(meta::TENANT_LABEL)
                .is_none_or(|label| tenant.is_empty() || label == tenant)
    }
}

/// A map that several tasks share.
#[derive(Debug)]
pub struct SharedMap<V>(Mutex<BTreeMap<String, V>>);

impl<V> Default for SharedMap<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V> SharedMap<V> {
    /// The map itself.
    pub fn lock(&self) -> MutexGuard<'_, BTreeMap<String, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
