//! The manager's own metrics, beside those of the kit and of the xDS server.

use std::time::Duration;

use api::v1alpha1::EnvoyProxyTopology;
use controller_kit::metrics::{Metrics, MetricsError, ReconcileMetrics};
use controller_kit::watch::WatchMetrics;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Prefix of every metric of the manager's.
pub const PREFIX: &str = "kubelb_manager";

/// All metrics of the process.
#[derive(Debug, Clone)]
pub struct AllMetrics {
    /// The manager's own.
    pub own: ManagerMetrics,
    /// Runs of every controller.
    pub runs: ReconcileMetrics,
    /// Watches.
    pub watches: WatchMetrics,
    /// The xDS server's.
    pub xds: l4_xds::Metrics,
}

/// Metrics could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Ours.
    #[error(transparent)]
    Own(#[from] MetricsError),
    /// The xDS server's.
    #[error("cannot register the metrics of the xDS server")]
    Xds(#[from] prometheus::Error),
}

impl AllMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(metrics: &Metrics) -> Result<Self, RegisterError> {
        Ok(Self {
            own: ManagerMetrics::new(metrics)?,
            runs: ReconcileMetrics::new(metrics, PREFIX)?,
            watches: WatchMetrics::new(metrics, PREFIX)?,
            xds: l4_xds::Metrics::register(metrics.registry())?,
        })
    }
}

/// Runs of one controller: how long they took and how they ended.
#[derive(Debug, Clone)]
pub struct Runs {
    duration: HistogramVec,
    total: IntCounterVec,
}

impl Runs {
    fn new(metrics: &Metrics, what: &str, labels: &[&str]) -> Result<Self, MetricsError> {
        let name = |suffix: &str| format!("{PREFIX}_{what}_{suffix}");
        // How long a run took does not depend on what kinds of objects it found.
        let by_key: Vec<&str> = labels
            .iter()
            .copied()
            .filter(|label| *label == NAMESPACE)
            .collect();
        let by_result = [labels, &[RESULT]].concat();
        Ok(Self {
            duration: metrics.durations(&name("reconcile_duration_seconds"), "Duration of runs.", &by_key)?,
            total: metrics.counters(&name("reconcile_total"), "Runs, by result.", &by_result)?,
        })
    }

    fn took(&self, key: &[&str], took: Duration) {
        self.duration.with_label_values(key).observe(took.as_secs_f64());
    }

    fn ended(&self, labels: &[&str], success: bool) {
        let result = RESULTS[usize::from(success)];
        self.total.with_label_values(&[labels, &[result]].concat()).inc();
    }

    fn forget(&self, key: &[&str], labels: &[&str]) {
        let _ = self.duration.remove_label_values(key);
        for result in RESULTS {
            let _ = self.total.remove_label_values(&[labels, &[result]].concat());
        }
    }
}

const NAMESPACE: &str = "namespace";
const RESULT: &str = "result";
/// Values of the label `result`: what a run is that failed, and one that did not.
const RESULTS: [&str; 2] = ["error", "success"];

/// Gauges and counters. A namespace stands for a tenant: there are as many as Tenants.
#[derive(Debug, Clone)]
pub struct ManagerMetrics {
    /// `kubelb_manager_tenants`
    pub tenants: IntGauge,
    /// `kubelb_manager_loadbalancers{namespace,tenant,topology}`
    pub load_balancers: IntGaugeVec,
    /// `kubelb_manager_routes{namespace,tenant,route_type}`
    pub routes: IntGaugeVec,
    /// `kubelb_manager_envoy_proxies{namespace,topology}`
    pub envoy_proxies: IntGaugeVec,
    /// `kubelb_manager_objects_refused_total{kind,reason}`
    pub refused: IntCounterVec,
    /// `kubelb_manager_credentials_issued_total{reason}`
    pub credentials: IntCounterVec,
    /// `kubelb_manager_snapshot_omissions_total`
    pub omissions: IntCounter,
    /// `kubelb_manager_envoycp_snapshot_updates_total{snapshot_name}`
    pub snapshot_updates: IntCounterVec,
    /// `kubelb_manager_port_allocator_allocated_ports{namespace}`
    pub allocated_ports: IntGaugeVec,
    tenant_runs: Runs,
    load_balancer_runs: Runs,
    route_runs: Runs,
    sync_secret_runs: Runs,
    snapshot_runs: Runs,
}

impl ManagerMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let name = |what: &str| format!("{PREFIX}_{what}");
        Ok(Self {
            tenants: metrics.gauge(&name("tenants"), "Tenants.")?,
            load_balancers: metrics.gauges(
                &name("loadbalancers"),
                "LoadBalancers that are served.",
                &["namespace", "tenant", "topology"],
            )?,
            routes: metrics.gauges(
                &name("routes"),
                "Routes that are accepted.",
                &["namespace", "tenant", "route_type"],
            )?,
            envoy_proxies: metrics.gauges(
                &name("envoy_proxies"),
                "Envoys that a fleet shall have.",
                &["namespace", "topology"],
            )?,
            refused: metrics.counters(
                &name("objects_refused_total"),
                "Hub objects that could not be written.",
                &["kind", "reason"],
            )?,
            credentials: metrics.counters(
                &name("credentials_issued_total"),
                "Credentials issued to tenants.",
                &["reason"],
            )?,
            omissions: metrics
                .counters(
                    &name("snapshot_omissions_total"),
                    "LoadBalancers left out of a snapshot.",
                    &[],
                )?
                .with_label_values::<&str>(&[]),
            snapshot_updates: metrics.counters(
                &name("envoycp_snapshot_updates_total"),
                "Snapshots that differ from the one before.",
                &["snapshot_name"],
            )?,
            allocated_ports: metrics.gauges(
                &name("port_allocator_allocated_ports"),
                "Envoy ports that are taken.",
                &[NAMESPACE],
            )?,
            tenant_runs: Runs::new(metrics, "tenant", &[])?,
            load_balancer_runs: Runs::new(metrics, "loadbalancer", &[NAMESPACE])?,
            route_runs: Runs::new(metrics, "route", &[NAMESPACE, "route_type"])?,
            sync_secret_runs: Runs::new(metrics, "sync_secret", &[NAMESPACE])?,
            snapshot_runs: Runs::new(metrics, "envoycp", &[])?,
        })
    }
}

/// What a tenant has in one topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetCounts {
    /// LoadBalancers that are served.
    pub load_balancers: usize,
    /// Envoys that the fleets shall have.
    pub envoys: i64,
}

/// What a run over a tenant's L7 found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Kinds of Routes.
    pub route_types: Vec<&'static str>,
    /// Whether there are SyncSecrets.
    pub sync_secrets: bool,
}

impl ManagerMetrics {
    /// A run over a Tenant ended.
    pub fn tenant_run(&self, took: Duration, success: bool) {
        self.tenant_runs.took(&[], took);
        self.tenant_runs.ended(&[], success);
    }

    /// A run over a tenant's LoadBalancers ended.
    pub fn load_balancer_run(&self, namespace: &str, took: Duration, success: bool) {
        self.load_balancer_runs.took(&[namespace], took);
        self.load_balancer_runs.ended(&[namespace], success);
    }

    /// A run over a tenant's Routes and SyncSecrets ended. A tenant that has none of a kind has no series of it.
    pub fn route_run(&self, namespace: &str, found: &Found, took: Duration, success: bool) {
        let Found {
            route_types,
            sync_secrets,
        } = found;
        for route_type in route_types {
            self.route_runs.ended(&[namespace, route_type], success);
        }
        if !route_types.is_empty() {
            self.route_runs.took(&[namespace], took);
        }
        if *sync_secrets {
            self.sync_secret_runs.took(&[namespace], took);
            self.sync_secret_runs.ended(&[namespace], success);
        }
    }

    /// A snapshot was made, or could not be.
    pub fn snapshot_run(&self, took: Duration, success: bool) {
        self.snapshot_runs.took(&[], took);
        self.snapshot_runs.ended(&[], success);
    }

    /// What a tenant has in one topology. Of one that is not used there is a series only while it still has something.
    pub fn set_fleets(
        &self,
        namespace: &str,
        tenant: &str,
        topology: EnvoyProxyTopology,
        counts: &FleetCounts,
        is_used: bool,
    ) {
        let FleetCounts {
            load_balancers,
            envoys,
        } = *counts;
        let topology = topology.as_str();
        if load_balancers == 0 && envoys == 0 && !is_used {
            return self.forget_topology(namespace, tenant, topology);
        }
        (self
            .load_balancers
            .with_label_values(&[namespace, tenant, topology]))
        .set(gauged(load_balancers));
        (self.envoy_proxies.with_label_values(&[namespace, topology])).set(envoys);
    }

    /// How many ports of Envoy are taken in a namespace.
    pub fn set_allocated_ports(&self, namespace: &str, ports: usize) {
        self.allocated_ports
            .with_label_values(&[namespace])
            .set(gauged(ports));
    }

    /// Drops the series about fleets. That there were none is no error.
    pub fn forget_fleets(&self, namespace: &str, tenant: &str) {
        for topology in EnvoyProxyTopology::ALL {
            self.forget_topology(namespace, tenant, topology.as_str());
        }
    }

    fn forget_topology(&self, namespace: &str, tenant: &str, topology: &str) {
        let _ = self
            .load_balancers
            .remove_label_values(&[namespace, tenant, topology]);
        let _ = self.envoy_proxies.remove_label_values(&[namespace, topology]);
    }

    /// Drops the series of a tenant that is gone. That there were none is no error.
    pub fn forget(&self, namespace: &str, tenant: &str) {
        self.forget_fleets(namespace, tenant);
        let _ = self.allocated_ports.remove_label_values(&[namespace]);
        for route_type in ROUTE_TYPES {
            let _ = self.routes.remove_label_values(&[namespace, tenant, route_type]);
            self.route_runs.forget(&[namespace], &[namespace, route_type]);
        }
        self.load_balancer_runs.forget(&[namespace], &[namespace]);
        self.sync_secret_runs.forget(&[namespace], &[namespace]);
    }
}

/// A number as a gauge takes it.
#[must_use]
pub fn gauged(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Values of the label `route_type`.
pub const ROUTE_TYPES: [&str; 7] = [
    "gateway",
    "listenerset",
    "httproute",
    "grpcroute",
    "tlsroute",
    "tcproute",
    "udproute",
];
