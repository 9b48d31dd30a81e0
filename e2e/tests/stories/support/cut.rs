//! The way between a tenant and its hub, cut for a while.

use e2e::cluster::Cluster;
use testbed::Lab;

use super::tidy;

/// The tenant cannot reach the hub's API server until this is dropped, also after a failed story.
pub struct Cut<'a> {
    lab: &'a Lab,
    tenant: &'a Cluster,
    address: String,
    port: u16,
}

impl<'a> Cut<'a> {
    pub fn off(lab: &'a Lab, tenant: &'a Cluster) -> Self {
        let server = lab.hub_server().unwrap();
        let (address, port) = server.trim_start_matches("https://").rsplit_once(':').unwrap();
        let cut = Self {
            lab,
            tenant,
            address: address.to_owned(),
            port: port.parse().unwrap(),
        };
        cut.set(true);
        cut
    }

    fn set(&self, cut: bool) {
        let Self {
            lab,
            tenant,
            address,
            port,
        } = self;
        lab.cut_off(tenant.name, address, *port, cut).unwrap();
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        tidy(|| self.set(false));
    }
}
