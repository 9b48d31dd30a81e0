//! A control plane in this process, on a port of its own.

use std::net::SocketAddr;
use std::time::Duration;

use l4_xds::identity::{Tls, TlsMaterial};
use l4_xds::report::Report;
use l4_xds::server::{ControlPlane, Limits, ServeError};
use l4_xds::{Cache, FleetKey, Metrics, ReportHub, Snapshot};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Running {
    pub address: SocketAddr,
    pub tls: Tls,
    pub cache: Cache,
    pub reports: ReportHub,
    pub registry: prometheus::Registry,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    pub async fn start(material: &TlsMaterial, limits: Limits) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), material, limits).await
    }

    pub async fn start_at(address: SocketAddr, material: &TlsMaterial, limits: Limits) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (tls, cache, reports) = (Tls::new(material).unwrap(), Cache::new(), ReportHub::new());
        let registry = prometheus::Registry::new();
        let plane = ControlPlane {
            tls: tls.clone(),
            cache: cache.clone(),
            reports: reports.clone(),
            metrics: Metrics::register(&registry).unwrap(),
            limits,
        };
        let shutdown = CancellationToken::new();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(plane.serve(listener, shutdown.clone()));
        Self {
            address,
            tls,
            cache,
            reports,
            registry,
            shutdown,
            serving,
        }
    }

    pub fn set(&self, fleet: &str, snapshot: Snapshot) {
        self.cache.set(&fleet_key(fleet), snapshot).unwrap();
    }

    /// Waits until the report says so.
    pub async fn reported(&self, what: &str, condition: impl FnMut(&Report) -> bool) {
        let mut updates = self.reports.subscribe();
        let outcome = tokio::time::timeout(PATIENCE, updates.wait_for(condition))
            .await
            .map(|found| drop(found.unwrap()));
        assert!(
            outcome.is_ok(),
            "waited in vain until the report says that {what}; it says {:#?}",
            *self.reports.subscribe().borrow()
        );
    }

    /// The sum of a counter over those of its series that have this label value.
    pub fn counter(&self, name: &str, label: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().filter(|family| family.name().ends_with(name));
        let metrics = family.flat_map(|family| family.get_metric());
        let matching =
            metrics.filter(|metric| metric.get_label().iter().any(|pair| pair.value().contains(label)));
        matching
            .map(|metric| metric.get_counter().get_value() as u64)
            .sum()
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.serving)
            .await
            .expect("waited in vain for the server to end")
            .unwrap()
            .unwrap();
    }
}

pub fn fleet_key(fleet: &str) -> FleetKey {
    fleet.parse().unwrap()
}
