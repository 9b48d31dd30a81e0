//! The metrics registry, and the metrics that every reconcile loop has.
//!
//! A registry is passed in, never global. Labels come from closed sets (controller, result, reason, kind);
//! names of objects are never labels.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};

/// A metric could not be created, registered or written out.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Name or labels are not valid.
    #[error("cannot create metric {name}")]
    Create {
        /// Name of the metric.
        name: String,
        /// Why.
        #[source]
        source: prometheus::Error,
    },
    /// The registry refused it, most likely because the name is taken.
    #[error("cannot register metric {name}")]
    Register {
        /// Name of the metric.
        name: String,
        /// Why.
        #[source]
        source: prometheus::Error,
    },
    /// The text format could not be produced.
    #[error("cannot encode metrics")]
    Encode(#[source] prometheus::Error),
}

/// Buckets from one millisecond to one minute.
pub const DURATION_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0,
];

/// A registry with constructors that register what they make. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    registry: Registry,
    made: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry itself, for metrics that need more than the constructors here.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A counter with labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricsError> {
        self.register(name, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge with labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricsError> {
        self.register(name, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge without labels.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.register(name, IntGauge::new(name, help))
    }

    /// A histogram of seconds with labels.
    pub fn durations(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, MetricsError> {
        let opts = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        self.register(name, HistogramVec::new(opts, labels))
    }

    /// Names of all metrics that were made here with their labels, whether or not they have a series yet.
    pub fn names(&self) -> BTreeMap<String, Vec<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything registered, in the Prometheus text format.
    pub fn text(&self) -> Result<String, MetricsError> {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(MetricsError::Encode)
    }

    fn register<C>(&self, name: &str, made: Result<C, prometheus::Error>) -> Result<C, MetricsError>
    where
        C: Collector + Clone + 'static,
    {
        let metric = made.map_err(|source| MetricsError::Create {
            name: name.to_owned(),
            source,
        })?;
        self.registry
            .register(Box::new(metric.clone()))
            .map_err(|source| MetricsError::Register {
                name: name.to_owned(),
                source,
            })?;
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(names_of(&metric));
        Ok(metric)
    }
}

/// Names of a collector's metrics with their labels.
pub fn names_of(collector: &dyn Collector) -> BTreeMap<String, Vec<String>> {
    let described = collector.desc().into_iter();
    described
        .map(|desc| (desc.fq_name.clone(), desc.variable_labels.clone()))
        .collect()
}

/// Names and labels of the metrics in the tables of a document's section: rows whose first cell is a name in
/// backticks and whose second has labels, separated by commas. The section begins at `heading` and ends at the
/// next heading of any level.
#[cfg(any(test, feature = "test-support"))]
pub fn documented(markdown: &str, heading: &str) -> BTreeMap<String, Vec<String>> {
    crate::document::rows(markdown, heading)
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.splitn(3, '|');
            let name = cells.next()?.trim().trim_end_matches('`').to_owned();
            let labels = cells.next()?.split(',').map(|label| label.trim().to_owned());
            Some((name, labels.filter(|label| !label.is_empty()).collect()))
        })
        .collect()
}

/// How a run ended: the values of the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunResult {
    /// Done.
    Success,
    /// Failed, and tried again later.
    Error,
    /// Failed in a way that only a change can cure.
    Permanent,
    /// The code panicked.
    Panic,
    /// The run was dropped before its end, at shutdown.
    Aborted,
}

impl RunResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Permanent => "permanent",
            Self::Panic => "panic",
            Self::Aborted => "aborted",
        }
    }
}

/// Duration, results, reasons of failure, runs in flight and queue depth of every controller of a process.
#[derive(Debug, Clone)]
pub struct ReconcileMetrics {
    duration: HistogramVec,
    total: IntCounterVec,
    failures: IntCounterVec,
    in_flight: IntGaugeVec,
    queued: IntGaugeVec,
}

impl ReconcileMetrics {
    /// Registers `<prefix>_reconcile_duration_seconds`, `_total`, `_failures_total`, `_in_flight` and `_queued`.
    pub fn new(metrics: &Metrics, prefix: &str) -> Result<Self, MetricsError> {
        let name = |what: &str| format!("{prefix}_reconcile_{what}");
        let by_result = ["controller", "result"];
        Ok(Self {
            duration: metrics.durations(
                &name("duration_seconds"),
                "Duration of reconcile runs.",
                &by_result,
            )?,
            total: metrics.counters(&name("total"), "Reconcile runs.", &by_result)?,
            failures: metrics.counters(
                &name("failures_total"),
                "Failed reconcile runs by reason.",
                &["controller", "reason"],
            )?,
            in_flight: metrics.gauges(&name("in_flight"), "Reconcile runs in flight.", &["controller"])?,
            queued: metrics.gauges(&name("queued"), "Keys that wait for a run.", &["controller"])?,
        })
    }

    /// Starts to measure a run. The measure is taken when the guard is dropped.
    pub fn start(&self, controller: &'static str) -> Measure {
        self.in_flight.with_label_values(&[controller]).inc();
        Measure {
            metrics: self.clone(),
            controller,
            started: Instant::now(),
            result: RunResult::Aborted,
        }
    }

    /// Counts a failure by its reason.
    pub fn failure(&self, controller: &str, reason: &str) {
        self.failures.with_label_values(&[controller, reason]).inc();
    }

    /// Sets the number of keys that wait.
    pub fn queued(&self, controller: &str, keys: usize) {
        self.queued
            .with_label_values(&[controller])
            .set(i64::try_from(keys).unwrap_or(i64::MAX));
    }
}

/// Measures one run and records it on drop, however the run ends.
#[derive(Debug)]
pub struct Measure {
    metrics: ReconcileMetrics,
    controller: &'static str,
    started: Instant,
    result: RunResult,
}

impl Measure {
    /// Says how the run ended; without this it counts as aborted.
    pub fn result(&mut self, result: RunResult) {
        self.result = result;
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        let labels = [self.controller, self.result.as_str()];
        self.metrics
            .duration
            .with_label_values(&labels)
            .observe(self.started.elapsed().as_secs_f64());
        self.metrics.total.with_label_values(&labels).inc();
        self.metrics.in_flight.with_label_values(&[self.controller]).dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_measure_counts_the_run_with_its_result() {
        let metrics = Metrics::new();
        let reconcile = ReconcileMetrics::new(&metrics, "test").unwrap();
        let mut measure = reconcile.start("route");
        measure.result(RunResult::Success);
        drop(measure);
        drop(reconcile.start("route"));
        let text = metrics.text().unwrap();
        assert!(
            text.contains(r#"test_reconcile_total{controller="route",result="success"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"test_reconcile_total{controller="route",result="aborted"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"test_reconcile_in_flight{controller="route"} 0"#),
            "{text}"
        );
    }

    #[test]
    fn names_are_known_before_there_is_a_series_and_read_from_a_document() {
        let metrics = Metrics::new();
        metrics.gauge("nodes", "Nodes.").unwrap();
        metrics
            .counters("runs_total", "Runs.", &["kind", "result"])
            .unwrap();
        assert!(!metrics.text().unwrap().contains("runs_total"));
        let text = "# A\n| `other` | |\n## M\n\n| Metric | Labels | |\n|---|---|---|\n| `nodes` | | Nodes |\n\
                    | `runs_total` | kind, result | Runs, as `a` or `b` |\n## Z\n| `more` | | |\n";
        assert_eq!(documented(text, "## M"), metrics.names());
    }

    #[test]
    fn a_name_that_is_taken_is_an_error_that_names_it() {
        let metrics = Metrics::new();
        metrics.gauge("nodes", "Nodes.").unwrap();
        let error = metrics.gauge("nodes", "Nodes.").unwrap_err();
        assert_eq!(error.to_string(), "cannot register metric nodes");
    }
}
