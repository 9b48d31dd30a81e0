//! Where the lab is: read once from the variables that `lab exec` sets.

use crate::cluster::Cluster;

/// A variable that is missing.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not set: run this through `lab exec`, as `make e2e` does")]
pub struct MissingVariable(pub &'static str);

/// The lab that this process runs in.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The hub.
    pub hub: Cluster,
    /// The first tenant, with several nodes.
    pub tenant_a: Cluster,
    /// The second tenant, with one node.
    pub tenant_b: Cluster,
    /// URL of the hub's API server, as a pod in a tenant reaches it.
    pub hub_server: String,
    /// Ranges of the first tenant's nodes, comma-separated.
    pub tenant_a_cidrs: String,
    /// Ranges of the second tenant's nodes, comma-separated.
    pub tenant_b_cidrs: String,
}

impl Environment {
    /// Reads the variables.
    ///
    /// # Errors
    /// Names the first variable that is missing.
    pub fn load() -> Result<Self, MissingVariable> {
        let get = |name: &'static str| std::env::var(name).map_err(|_| MissingVariable(name));
        Ok(Self {
            hub: Cluster::new("hub", get("KUBELB_HUB_KUBECONFIG")?),
            tenant_a: Cluster::new("tenant-a", get("KUBELB_TENANT_A_KUBECONFIG")?),
            tenant_b: Cluster::new("tenant-b", get("KUBELB_TENANT_B_KUBECONFIG")?),
            hub_server: get("KUBELB_HUB_INTERNAL_SERVER")?,
            tenant_a_cidrs: get("KUBELB_TENANT_A_NODE_CIDR")?,
            tenant_b_cidrs: get("KUBELB_TENANT_B_NODE_CIDR")?,
        })
    }

    /// Both tenants, with the ranges of their nodes.
    #[must_use]
    pub fn tenants(&self) -> [(&Cluster, &str); 2] {
        [
            (&self.tenant_a, &self.tenant_a_cidrs),
            (&self.tenant_b, &self.tenant_b_cidrs),
        ]
    }
}
