//! The manager's own metrics, beside those of the kit and of the xDS server.

use controller_kit::metrics::{Metrics, MetricsError};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Prefix of every metric of the manager's.
pub const PREFIX: &str = "kubelb_manager";

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
        })
    }
}

impl ManagerMetrics {
    /// Drops the series of a tenant that is gone. That there were none is no error.
    pub fn forget(&self, namespace: &str, tenant: &str) {
        let _ = self
            .load_balancers
            .remove_label_values(&[namespace, tenant, "shared"]);
        let _ = self.envoy_proxies.remove_label_values(&[namespace, "shared"]);
        for route_type in ROUTE_TYPES {
            let _ = self.routes.remove_label_values(&[namespace, tenant, route_type]);
        }
    }
}

/// Values of the label `route_type`.
pub const ROUTE_TYPES: [&str; 3] = ["gateway", "httproute", "grpcroute"];
