//! The lab that this process runs in, with its three clusters.

use testbed::Lab;

use crate::cluster::Cluster;

/// The lab that this process runs in.
#[derive(Debug, Clone)]
pub struct Environment {
    /// What kubectl cannot do: nodes, networks, audit logs.
    pub lab: Lab,
    /// The hub.
    pub hub: Cluster,
    /// The first tenant, with several nodes.
    pub tenant_a: Cluster,
    /// The second tenant, with one node.
    pub tenant_b: Cluster,
}

impl Environment {
    /// Reads the variables that `lab exec` sets.
    ///
    /// # Errors
    /// Names the first variable that is missing.
    pub fn load() -> testbed::Result<Self> {
        let lab = Lab::from_env()?;
        let cluster = |name| lab.kubeconfig(name).map(|file| Cluster::new(name, file));
        let (hub, tenant_a, tenant_b) = (cluster("hub")?, cluster("tenant-a")?, cluster("tenant-b")?);
        Ok(Self {
            lab,
            hub,
            tenant_a,
            tenant_b,
        })
    }

    /// Both tenants.
    #[must_use]
    pub fn tenants(&self) -> [&Cluster; 2] {
        [&self.tenant_a, &self.tenant_b]
    }
}
