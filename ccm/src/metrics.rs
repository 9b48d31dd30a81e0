//! The metrics of this agent, prefix `kubelb_ccm_`. Labels come from closed sets and namespaces; object names
//! are never labels.

mod gateway;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller_kit::client::KubeconfigFile;
use controller_kit::metrics::{Metrics, MetricsError, ReconcileMetrics};
use controller_kit::watch::WatchMetrics;
use prometheus::{HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};

pub use gateway::GatewayMetrics;

/// Prefix of every metric.
pub const PREFIX: &str = "kubelb_ccm";

fn name(what: &str) -> String {
    format!("{PREFIX}_{what}")
}

/// All metrics of the process.
#[derive(Debug, Clone)]
pub struct AgentMetrics {
    /// The connection to the hub.
    pub hub: HubMetrics,
    /// Nodes.
    pub nodes: NodeMetrics,
    /// Services.
    pub services: KindMetrics,
    /// The Gateway API.
    pub gateway_api: GatewayMetrics,
    /// Runs of every loop.
    pub runs: ReconcileMetrics,
    /// Watches.
    pub watches: WatchMetrics,
}

impl AgentMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            hub: HubMetrics::new(metrics)?,
            nodes: NodeMetrics::new(metrics)?,
            services: KindMetrics::new(metrics, "service", "managed_services_total")?
                .also_as(metrics, "managed_services")?,
            gateway_api: GatewayMetrics::new(metrics)?,
            runs: ReconcileMetrics::new(metrics, PREFIX)?,
            watches: WatchMetrics::new(metrics, PREFIX)?,
        })
    }
}

/// The connection to the hub.
#[derive(Debug, Clone)]
pub struct HubMetrics {
    reloads: IntCounterVec,
    connected: IntGauge,
    latency: HistogramVec,
    operations: IntCounterVec,
    errors: IntCounterVec,
}

impl HubMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            reloads: KubeconfigFile::metrics(metrics, PREFIX)?,
            connected: metrics.gauge(
                &name("kubelb_cluster_connected"),
                "1 while the hub answers and may be written to.",
            )?,
            latency: metrics.durations(
                &name("kubelb_cluster_latency_seconds"),
                "Time until the hub answered.",
                &["operation"],
            )?,
            operations: metrics.counters(
                &name("kubelb_cluster_operations_total"),
                "Requests to the hub.",
                &["operation", "result"],
            )?,
            errors: metrics.counters(
                &name("hub_errors_total"),
                "What is wrong with the hub, by cause.",
                &["reason"],
            )?,
        })
    }

    /// Where changes of the kubeconfig file are counted.
    #[must_use]
    pub fn reloads(&self) -> IntCounterVec {
        self.reloads.clone()
    }

    /// One request was answered, or not. That something is not there is an answer, not an error.
    pub fn request(&self, operation: &str, took: Duration, status: Option<u16>) {
        let success = status.is_some_and(|status| status < 400 || (status == 404 && operation == "get"));
        let result = if success { "success" } else { "error" };
        self.latency
            .with_label_values(&[operation])
            .observe(took.as_secs_f64());
        self.operations.with_label_values(&[operation, result]).inc();
    }

    /// Whether the hub can be used.
    pub fn connected(&self, connected: bool) {
        self.connected.set(i64::from(connected));
    }

    /// Something is wrong.
    pub fn error(&self, reason: &str) {
        self.errors.with_label_values(&[reason]).inc();
    }
}

/// Writes to the own cluster.
#[derive(Debug, Clone)]
pub struct OwnClusterMetrics {
    errors: IntCounterVec,
}

impl OwnClusterMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            errors: metrics.counters(
                &name("own_cluster_errors_total"),
                "Objects that the API server of the own cluster did not take, by cause.",
                &["reason"],
            )?,
        })
    }

    /// The API server of the own cluster did not take an object.
    pub fn error(&self, reason: &str) {
        self.errors.with_label_values(&[reason]).inc();
    }
}

/// Changes of one kind of object, on the hub or in status.
#[derive(Debug, Clone)]
pub struct Changes {
    duration: HistogramVec,
    total: IntCounterVec,
    namespaces: Namespaces,
}

/// Values of the label `result`: of a run that failed, and of one that did not.
const RESULTS: [&str; 2] = ["error", "success"];

/// Namespaces that have series.
#[derive(Debug, Clone, Default)]
struct Namespaces(Arc<Mutex<BTreeSet<String>>>);

impl Namespaces {
    fn add(&self, namespace: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains(namespace) {
            all.insert(namespace.to_owned());
        }
    }

    /// Keeps those for which `keep` holds, and gives the others.
    fn split(&self, keep: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, gone) = std::mem::take(&mut *all).into_iter().partition(|name| keep(name));
        *all = kept;
        gone
    }
}

impl Changes {
    /// Registers `<singular>_reconcile_duration_seconds` and `<singular>_reconcile_total`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(metrics: &Metrics, singular: &str) -> Result<Self, MetricsError> {
        Ok(Self {
            duration: metrics.durations(
                &name(&format!("{singular}_reconcile_duration_seconds")),
                "Duration of the runs that changed something in the namespace.",
                &["namespace"],
            )?,
            total: metrics.counters(
                &name(&format!("{singular}_reconcile_total")),
                "Runs that changed something in the namespace, by result.",
                &["namespace", "result"],
            )?,
            namespaces: Namespaces::default(),
        })
    }

    /// Something of the namespace was changed, or could not be.
    pub fn changed(&self, namespace: &str, took: Duration, success: bool) {
        let result = RESULTS[usize::from(success)];
        self.namespaces.add(namespace);
        self.duration
            .with_label_values(&[namespace])
            .observe(took.as_secs_f64());
        self.total.with_label_values(&[namespace, result]).inc();
    }

    /// Drops the series of all other namespaces. That there were none of a result is no error.
    pub fn keep_only(&self, namespaces: &BTreeSet<String>) {
        for gone in self.namespaces.split(|namespace| namespaces.contains(namespace)) {
            let _ = self.duration.remove_label_values(&[&gone]);
            for result in RESULTS {
                let _ = self.total.remove_label_values(&[gone.as_str(), result]);
            }
        }
    }
}

/// One kind of tenant object that is brought to the hub.
#[derive(Debug, Clone)]
pub struct KindMetrics {
    /// One gauge for each name that it is known by.
    managed: Vec<IntGaugeVec>,
    shown: Namespaces,
    changes: Changes,
}

impl KindMetrics {
    /// Registers `managed`, `<singular>_reconcile_duration_seconds` and `<singular>_reconcile_total`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(metrics: &Metrics, singular: &str, managed: &str) -> Result<Self, MetricsError> {
        Ok(Self {
            managed: vec![managed_gauge(metrics, managed)?],
            shown: Namespaces::default(),
            changes: Changes::new(metrics, singular)?,
        })
    }

    /// Shows how many are served under this name too.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn also_as(mut self, metrics: &Metrics, managed: &str) -> Result<Self, MetricsError> {
        self.managed.push(managed_gauge(metrics, managed)?);
        Ok(self)
    }

    /// How many objects are served, by namespace.
    pub fn managed(&self, by_namespace: &BTreeMap<String, i64>) {
        // A namespace that has none any more must not show its last number for ever.
        for gone in self.shown.split(|namespace| by_namespace.contains_key(namespace)) {
            for gauge in &self.managed {
                let _ = gauge.remove_label_values(&[&gone]);
            }
        }
        for (namespace, count) in by_namespace {
            self.shown.add(namespace);
            for gauge in &self.managed {
                gauge.with_label_values(&[namespace]).set(*count);
            }
        }
    }

    /// What is counted of changes.
    #[must_use]
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Something of the namespace was changed, or could not be.
    pub fn changed(&self, namespace: &str, took: Duration, success: bool) {
        self.changes.changed(namespace, took, success);
    }
}

fn managed_gauge(metrics: &Metrics, managed: &str) -> Result<IntGaugeVec, MetricsError> {
    metrics.gauges(
        &name(managed),
        "Objects of this cluster that are served.",
        &["namespace"],
    )
}

/// Nodes.
#[derive(Debug, Clone)]
pub struct NodeMetrics {
    nodes: IntGauge,
    duration: HistogramVec,
    total: IntCounterVec,
}

impl NodeMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            nodes: metrics.gauge(&name("nodes"), "Nodes that take traffic.")?,
            duration: metrics.durations(
                &name("node_reconcile_duration_seconds"),
                "Duration of node runs.",
                &[],
            )?,
            total: metrics.counters(&name("node_reconcile_total"), "Node runs.", &["result"])?,
        })
    }

    /// One run ended.
    pub fn run(&self, serving: usize, took: Duration, success: bool) {
        self.nodes.set(i64::try_from(serving).unwrap_or(i64::MAX));
        self.duration
            .with_label_values::<&str>(&[])
            .observe(took.as_secs_f64());
        self.total
            .with_label_values(&[if success { "success" } else { "error" }])
            .inc();
    }
}
