//! Metrics of the Gateway API, for each kind of object.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use controller_kit::metrics::{Metrics, MetricsError};

use super::{Changes, KindMetrics, OwnClusterMetrics};

/// Kinds that go to the hub, each with its name in metrics, singular and plural.
const KINDS: [(&str, &str, &str); 7] = [
    ("Gateway", "gateway", "managed_gateways"),
    ("ListenerSet", "listenerset", "managed_listenersets"),
    ("HTTPRoute", "httproute", "managed_httproutes"),
    ("GRPCRoute", "grpcroute", "managed_grpcroutes"),
    ("TLSRoute", "tlsroute", "managed_tlsroutes"),
    ("TCPRoute", "tcproute", "managed_tcproutes"),
    ("UDPRoute", "udproute", "managed_udproutes"),
];
/// Goes to the hub with the routes that it concerns, and has a status of its own.
const POLICY: &str = "BackendTLSPolicy";
/// Where certificates and authorities come from.
const SECRETS: [&str; 2] = ["Secret", "ConfigMap"];

/// Metrics of the Gateway API.
#[derive(Debug, Clone)]
pub struct GatewayMetrics {
    kinds: BTreeMap<&'static str, KindMetrics>,
    policies: Changes,
    sync_secrets: Changes,
    /// Writes to the own cluster.
    pub own_cluster: OwnClusterMetrics,
}

impl GatewayMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let mut kinds = BTreeMap::new();
        for (kind, singular, managed) in KINDS {
            kinds.insert(kind, KindMetrics::new(metrics, singular, managed)?);
        }
        Ok(Self {
            kinds,
            policies: Changes::new(metrics, "backendtlspolicy")?,
            sync_secrets: Changes::new(metrics, "sync_secret")?,
            own_cluster: OwnClusterMetrics::new(metrics)?,
        })
    }

    /// How many objects are served, by kind and namespace.
    pub fn managed(&self, by_kind: &BTreeMap<&str, BTreeMap<String, i64>>) {
        let none = BTreeMap::new();
        for (kind, metrics) in &self.kinds {
            metrics.managed(by_kind.get(kind).unwrap_or(&none));
        }
    }

    /// Something of the kind and namespace was changed, or could not be. Kinds that are not counted are passed over.
    pub fn changed(&self, kind: &str, namespace: &str, took: Duration, success: bool) {
        if let Some(changes) = self.changes_of(kind) {
            changes.changed(namespace, took, success);
        }
    }

    /// Drops the series of namespaces in which there is nothing of a kind any more.
    pub fn keep_only(&self, by_kind: &BTreeMap<&str, BTreeSet<String>>) {
        let none = BTreeSet::new();
        let of = |kind: &str| by_kind.get(kind).unwrap_or(&none);
        for (kind, metrics) in &self.kinds {
            metrics.changes().keep_only(of(kind));
        }
        self.policies.keep_only(of(POLICY));
        let secrets = SECRETS.iter().flat_map(|kind| of(kind)).cloned();
        self.sync_secrets.keep_only(&secrets.collect());
    }

    fn changes_of(&self, kind: &str) -> Option<&Changes> {
        match kind {
            POLICY => Some(&self.policies),
            kind if SECRETS.contains(&kind) => Some(&self.sync_secrets),
            kind => self.kinds.get(kind).map(KindMetrics::changes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_go_with_the_last_object_of_their_kind_in_a_namespace() {
        let registry = Metrics::new();
        let metrics = GatewayMetrics::new(&registry).unwrap();
        let took = Duration::from_millis(1);
        metrics.changed("TLSRoute", "shop", took, true);
        metrics.changed("TLSRoute", "gone", took, false);
        metrics.changed("Secret", "shop", took, true);
        metrics.changed("ConfigMap", "gone", took, true);
        metrics.changed("Unknown", "gone", took, true);
        let one = |namespace: &str| BTreeMap::from([(namespace.to_owned(), 1)]);
        metrics.managed(&BTreeMap::from([("TLSRoute", one("gone"))]));
        assert!(registry.text().unwrap().contains("gone"));

        metrics.managed(&BTreeMap::from([("TLSRoute", one("shop"))]));
        let shop = BTreeSet::from(["shop".to_owned()]);
        metrics.keep_only(&BTreeMap::from([("TLSRoute", shop.clone()), ("Secret", shop)]));
        let text = registry.text().unwrap();
        assert!(!text.contains("gone"), "{text}");
        for line in [
            r#"kubelb_ccm_managed_tlsroutes{namespace="shop"} 1"#,
            r#"kubelb_ccm_tlsroute_reconcile_total{namespace="shop",result="success"} 1"#,
            r#"kubelb_ccm_sync_secret_reconcile_total{namespace="shop",result="success"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
