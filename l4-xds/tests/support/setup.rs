//! A control plane with one real Envoy.

use std::path::PathBuf;

use l4_xds::ir::{Address, Backend, Frontend, Protocol};
use l4_xds::server::Limits;

use super::control_plane::{Running, fleet_key};
use super::echo::Echo;
use super::envoy::Envoy;
use super::pki::Ca;
use super::{frontend, listener, port, snapshot};

pub const FLEET: &str = "tenant-a";

pub struct Setup {
    pub ca: Ca,
    pub plane: Running,
    pub envoy: Envoy,
}

impl Setup {
    pub async fn start(binary: PathBuf, limits: Limits) -> Self {
        let ca = Ca::new("xds");
        let plane = Running::start(&ca.material(&[&ca]), limits).await;
        let envoy = Envoy::start(&binary, plane.address, &ca.fleet(FLEET), &ca.pem()).await;
        Self { ca, plane, envoy }
    }

    /// Serves these and waits until Envoy has accepted all of them.
    pub async fn programmed(&self, frontends: &[Frontend]) {
        let snapshot = snapshot(frontends);
        self.plane.set(FLEET, snapshot.clone());
        let what = "all load balancers are programmed";
        self.plane
            .reported(what, |report| programmed(report, &snapshot))
            .await;
    }
}

pub fn programmed(report: &l4_xds::Report, snapshot: &l4_xds::Snapshot) -> bool {
    let Some(fleet) = report.fleets.get(&fleet_key(FLEET)) else {
        return false;
    };
    snapshot.owners().all(|id| {
        let report = fleet.load_balancers.get(id);
        report.is_some_and(|report| {
            snapshot
                .content_version(id)
                .is_some_and(|content| report.programmed.contains_key(content))
        })
    })
}

pub fn to(echo: &Echo) -> Vec<Backend> {
    vec![Backend {
        address: Address::Ip(echo.address.ip()),
        port: port(echo.address.port()),
    }]
}

pub fn tcp(name: &str, envoy_port: u16, echo: &Echo) -> Frontend {
    frontend(name, vec![listener(Protocol::Tcp, 80, envoy_port, to(echo))])
}
