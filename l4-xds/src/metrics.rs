//! Prometheus metrics of the control plane, in a registry that the caller brings.
//!
//! Labels come from closed sets (resource type), except `snapshot_name`, which is a namespace.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

use crate::snapshot::{ResourceType, Snapshot};

const PREFIX: &str = "kubelb_envoy_control_plane_";

/// All metrics. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Connections that are past the TLS handshake.
    pub(crate) connections: IntGauge,
    /// Connections turned away: handshake failed or no usable identity.
    pub(crate) refused: IntCounterVec,
    pub(crate) requests: IntCounterVec,
    pub(crate) responses: IntCounterVec,
    pub(crate) acks: IntCounterVec,
    pub(crate) nacks: IntCounterVec,
    pub(crate) updates: IntCounter,
    pub(crate) push_seconds: Histogram,
    sizes: Sizes,
}

#[derive(Debug, Clone)]
struct Sizes {
    clusters: IntGaugeVec,
    endpoints: IntGaugeVec,
    listeners: IntGaugeVec,
}

impl Metrics {
    /// Makes the metrics and registers them. Fails if the registry has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let by_type = |name: &str, help: &str| counter_vec(registry, name, help, "type_url");
        Ok(Self {
            connections: register(
                registry,
                IntGauge::new(name("grpc_connections"), "Open connections from Envoys")?,
            )?,
            refused: counter_vec(
                registry,
                "refused_total",
                "Connections and streams refused",
                "reason",
            )?,
            requests: by_type("grpc_requests_total", "Discovery requests received")?,
            responses: by_type("grpc_responses_total", "Discovery responses sent")?,
            acks: by_type("acks_total", "Responses that an Envoy accepted")?,
            nacks: by_type("nacks_total", "Responses that an Envoy rejected")?,
            updates: register(
                registry,
                IntCounter::new(
                    name("snapshot_updates_total"),
                    "New snapshots seen by open streams",
                )?,
            )?,
            push_seconds: register(registry, Histogram::with_opts(push_opts())?)?,
            sizes: Sizes::register(registry)?,
        })
    }

    /// All of them, whether or not they have a series yet.
    pub fn collectors(&self) -> [&dyn Collector; 11] {
        let Self {
            connections,
            refused,
            requests,
            responses,
            acks,
            nacks,
            updates,
            push_seconds,
            sizes:
                Sizes {
                    clusters,
                    endpoints,
                    listeners,
                },
        } = self;
        [
            connections,
            refused,
            requests,
            responses,
            acks,
            nacks,
            updates,
            push_seconds,
            clusters,
            endpoints,
            listeners,
        ]
    }

    /// Records how large the snapshots of a namespace's fleets are together. Not of each: a label for each fleet would
    /// be one for each load balancer.
    pub fn set_snapshot_size<'a>(
        &self,
        namespace: &str,
        snapshots: impl Iterator<Item = &'a Snapshot> + Clone,
    ) {
        let Sizes {
            clusters,
            endpoints,
            listeners,
        } = &self.sizes;
        let gauges = [
            (clusters, ResourceType::Cluster),
            (endpoints, ResourceType::Endpoint),
            (listeners, ResourceType::Listener),
        ];
        for (gauge, ty) in gauges {
            let size: usize = snapshots
                .clone()
                .map(|snapshot| snapshot.resources(ty).len())
                .sum();
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            gauge.with_label_values(&[namespace]).set(size);
        }
    }

    /// Drops a namespace's series.
    pub fn forget_snapshot(&self, namespace: &str) {
        let Sizes {
            clusters,
            endpoints,
            listeners,
        } = &self.sizes;
        for gauge in [clusters, endpoints, listeners] {
            // It is an error if there is no such series, which is what was wanted.
            let _ = gauge.remove_label_values(&[namespace]);
        }
    }
}

impl Sizes {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |what: &str| {
            let opts = Opts::new(
                format!("kubelb_manager_envoycp_{what}"),
                format!("Number of {what} in a snapshot"),
            );
            register(registry, IntGaugeVec::new(opts, &["snapshot_name"])?)
        };
        Ok(Self {
            clusters: gauge("clusters")?,
            endpoints: gauge("endpoints")?,
            listeners: gauge("listeners")?,
        })
    }
}

fn name(suffix: &str) -> String {
    format!("{PREFIX}{suffix}")
}

fn push_opts() -> HistogramOpts {
    HistogramOpts::new(
        name("push_duration_seconds"),
        "Time from a new snapshot until a connected Envoy has confirmed all of it",
    )
    .buckets(vec![
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counter_vec(
    registry: &Registry,
    suffix: &str,
    help: &str,
    label: &str,
) -> prometheus::Result<IntCounterVec> {
    register(
        registry,
        IntCounterVec::new(Opts::new(name(suffix), help), &[label])?,
    )
}

/// Counts up for as long as it lives.
#[derive(Debug)]
pub(crate) struct Live(IntGauge);

impl Live {
    pub(crate) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.dec();
    }
}
