//! Whose work a change may be.
//!
//! A trigger is a hint: the controller looks at the stores and usually finds that there is nothing to do. One
//! too many costs a look, one too few costs correctness.

use controller_kit::ObjectKey;
use controller_kit::driver::Trigger;

use crate::build::https;
use crate::controller::tenant::namespace::tenant_names;

/// What a store holds, as far as whose work it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Tenants.
    Tenant,
    /// The Config.
    Config,
    /// TenantStates.
    TenantState,
    /// LoadBalancers.
    LoadBalancer,
    /// Routes and SyncSecrets.
    Route,
    /// Addresses.
    Addresses,
    /// Namespaces.
    Namespace,
    /// What a tenant gets besides its namespace.
    TenantObject,
    /// What was made from LoadBalancers.
    LoadBalancerObject,
    /// What runs Envoys: a fleet that is there is served.
    Workload,
    /// What was made from Routes.
    RouteObject,
    /// EnvoyPatchPolicies: made from Routes, and Envoy Gateway tells there whether it has them switched on.
    PatchPolicy,
    /// Services: of LoadBalancers and of Routes.
    Service,
    /// Secrets: credentials, certificates and those of SyncSecrets.
    Secret,
    /// ConfigMaps: bootstraps and reports.
    ConfigMap,
    /// Gateways: the tenants' and the platform team's.
    Gateway,
    /// GatewayClasses.
    GatewayClass,
    /// Pods of a tenant's L4 Envoys: whose acknowledgement counts.
    EnvoyPod,
    /// Read, but never a reason to work.
    Nothing,
}

/// Work that is for many.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FanOut {
    /// Every Tenant.
    Tenants,
    /// Every tenant's LoadBalancers.
    LoadBalancers,
    /// Every tenant's Routes.
    Routes,
    /// Whoever this ConfigMap of the manager's namespace is about.
    Report(String),
    /// Whoever this hub Service of the manager's namespace is for.
    GlobalService(String),
}

/// Handles to all drivers.
#[derive(Clone)]
pub struct Triggers {
    /// The manager's namespace.
    pub own_namespace: String,
    /// Tenants, by name.
    pub tenant: Trigger<String>,
    /// LoadBalancers, by namespace.
    pub load_balancer: Trigger<String>,
    /// Snapshots, by namespace.
    pub snapshot: Trigger<String>,
    /// The fleet of all tenants.
    pub global: Trigger<()>,
    /// The snapshot of that fleet.
    pub global_snapshot: Trigger<()>,
    /// Reports, by namespace.
    pub report: Trigger<String>,
    /// Routes, by namespace.
    pub route: Trigger<String>,
    /// Statuses of Routes and SyncSecrets, by namespace.
    pub route_status: Trigger<String>,
    /// Host names on shared Gateways, over all tenants.
    pub claims: Trigger<()>,
    /// The Config.
    pub config: Trigger<()>,
    /// Certificates of the xDS server.
    pub pki: Trigger<()>,
    /// Work for many.
    pub fan_out: Trigger<FanOut>,
}

impl Triggers {
    /// Passes a change on.
    pub fn changed(&self, interest: Interest, key: &ObjectKey) {
        let ObjectKey { namespace, name } = key;
        match interest {
            Interest::Tenant => self.tenant_changed(name),
            Interest::Config => self.everything(),
            Interest::TenantState | Interest::TenantObject => self.tenant_of(namespace),
            Interest::LoadBalancer => {
                self.claims.trigger(());
                self.l4(namespace);
            }
            Interest::Addresses => {
                self.l4(namespace);
                self.route.trigger(namespace.clone());
            }
            Interest::Route => {
                self.claims.trigger(());
                self.route.trigger(namespace.clone());
            }
            Interest::Namespace => {
                self.tenant_of(name);
                self.all_of(name);
            }
            Interest::LoadBalancerObject | Interest::Workload if *namespace == self.own_namespace => {
                self.all_tenants();
            }
            Interest::EnvoyPod if *namespace == self.own_namespace => {
                self.fan_out.trigger(FanOut::LoadBalancers);
            }
            Interest::Service if *namespace == self.own_namespace => {
                self.all_tenants();
                self.fan_out.trigger(FanOut::GlobalService(name.clone()));
            }
            Interest::LoadBalancerObject => self.load_balancer.trigger(namespace.clone()),
            Interest::Workload => self.l4(namespace),
            Interest::EnvoyPod => {
                self.report.trigger(namespace.clone());
                self.load_balancer.trigger(namespace.clone());
            }
            Interest::RouteObject => self.route_object_changed(key),
            Interest::PatchPolicy => {
                self.route.trigger(namespace.clone());
                self.config.trigger(());
            }
            Interest::Service => {
                self.l4(namespace);
                // Its selector says whose word is asked for.
                self.report.trigger(namespace.clone());
                self.route.trigger(namespace.clone());
            }
            Interest::Secret => self.secret_changed(namespace),
            Interest::ConfigMap => self.config_map_changed(key),
            Interest::Gateway => {
                self.route_object_changed(key);
                self.shared_gateway_changed(namespace);
            }
            Interest::GatewayClass => {
                self.config.trigger(());
                self.fan_out.trigger(FanOut::Tenants);
            }
            Interest::Nothing => {}
        }
    }

    /// Everything there is.
    pub fn everything(&self) {
        self.config.trigger(());
        self.pki.trigger(());
        self.claims.trigger(());
        for fan_out in [FanOut::Tenants, FanOut::LoadBalancers, FanOut::Routes] {
            self.fan_out.trigger(fan_out);
        }
    }

    /// Snapshots and Services of one tenant.
    pub fn l4(&self, namespace: &str) {
        self.snapshot.trigger(namespace.to_owned());
        self.load_balancer.trigger(namespace.to_owned());
        self.all_tenants();
    }

    /// The fleet of all tenants. Where nobody uses it, that is found at once.
    pub fn all_tenants(&self) {
        self.global.trigger(());
        self.global_snapshot.trigger(());
    }

    /// The Tenants that may have a namespace.
    pub fn tenant_of(&self, namespace: &str) {
        for name in tenant_names(namespace) {
            self.tenant.trigger(name);
        }
    }

    fn all_of(&self, namespace: &str) {
        self.l4(namespace);
        self.route.trigger(namespace.to_owned());
        self.report.trigger(namespace.to_owned());
    }

    /// Its rival for the namespace as well: one that goes leaves it to the other.
    fn tenant_changed(&self, name: &str) {
        let Ok(namespace) = api::names::TenantNamespace::of(name) else {
            return self.tenant.trigger(name.to_owned());
        };
        self.tenant_of(namespace.as_str());
        self.all_of(namespace.as_str());
        self.claims.trigger(());
    }

    /// Those for HTTPS of a LoadBalancer are known by their names.
    fn route_object_changed(&self, key: &ObjectKey) {
        if https::is_name(&key.name) {
            self.load_balancer.trigger(key.namespace.clone());
        } else {
            self.route.trigger(key.namespace.clone());
        }
    }

    fn secret_changed(&self, namespace: &str) {
        if namespace == self.own_namespace {
            self.pki.trigger(());
            self.global.trigger(());
            self.fan_out.trigger(FanOut::LoadBalancers);
        } else {
            self.tenant_of(namespace);
            self.load_balancer.trigger(namespace.to_owned());
            self.route.trigger(namespace.to_owned());
        }
    }

    /// A report says in its label whom it is about, which a change does not carry.
    fn config_map_changed(&self, key: &ObjectKey) {
        if key.namespace == self.own_namespace {
            self.global.trigger(());
            self.fan_out.trigger(FanOut::Report(key.name.clone()));
        } else {
            self.load_balancer.trigger(key.namespace.clone());
        }
    }

    fn shared_gateway_changed(&self, namespace: &str) {
        if !namespace.starts_with(api::names::TENANT_NAMESPACE_PREFIX) {
            self.fan_out.trigger(FanOut::Tenants);
            self.fan_out.trigger(FanOut::Routes);
            self.claims.trigger(());
        }
    }
}
