//! The environment that a lab gives to programs and tests: names of variables, their values, and reading them back.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::range;
use crate::site::Site;
use crate::state::{State, StateDir};

/// The lab's name.
pub const LAB: &str = "KUBELB_LAB";
/// The LoadBalancer pool, in CIDR notation.
pub const POOL: &str = "KUBELB_LB_POOL";
/// The LoadBalancer pool of IPv6 addresses, if the lab's network has IPv6.
pub const IPV6_POOL: &str = "KUBELB_LB_IPV6_POOL";
/// The hub's API server as tenants reach it.
pub const HUB_SERVER: &str = "KUBELB_HUB_INTERNAL_SERVER";

/// The variable with a cluster's kubeconfig.
pub fn kubeconfig_variable(cluster: &str) -> String {
    format!("KUBELB_{}_KUBECONFIG", upper(cluster))
}

/// The variable with the addresses of a cluster's nodes.
pub fn nodes_variable(cluster: &str) -> String {
    format!("KUBELB_{}_NODE_CIDR", upper(cluster))
}

fn upper(cluster: &str) -> String {
    cluster.to_uppercase().replace('-', "_")
}

/// Everything that a program in the lab is told; `cluster` is the one that kubectl talks to.
pub fn variables(state: &State, dir: &StateDir, cluster: &str) -> Result<BTreeMap<String, String>> {
    let site = Site::of(state, dir);
    let file = |cluster: &str| dir.kubeconfig(cluster).display().to_string();
    let carved = range::carve(state.range)?;
    let mut variables = BTreeMap::from([
        (LAB.to_owned(), state.name.clone()),
        (POOL.to_owned(), carved.pool.to_string()),
        ("KUBECONFIG".to_owned(), file(cluster)),
        ("KIND_EXPERIMENTAL_DOCKER_NETWORK".to_owned(), site.network()),
        (
            "PATH".to_owned(),
            site.search_path().to_string_lossy().into_owned(),
        ),
    ]);
    if state.ipv6 {
        variables.insert(IPV6_POOL.to_owned(), carved.ipv6.pool.to_string());
    }
    if let Some(host) = site.docker_host() {
        variables.insert("DOCKER_HOST".to_owned(), host.to_owned());
    }
    for (name, known) in &state.clusters {
        variables.insert(kubeconfig_variable(name), file(name));
        let ipv4 = known.nodes.values().map(|ip| format!("{ip}/32"));
        let ipv6 = known.ipv6_nodes.values().map(|ip| format!("{ip}/128"));
        let addresses: Vec<_> = ipv4.chain(ipv6).collect();
        variables.insert(nodes_variable(name), addresses.join(","));
    }
    let hub = state
        .clusters
        .get("hub")
        .and_then(|hub| hub.nodes.get(&site.control_plane("hub")));
    if let Some(address) = hub {
        variables.insert(HUB_SERVER.to_owned(), format!("https://{address}:6443"));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_after_clusters() {
        assert_eq!(kubeconfig_variable("tenant-a"), "KUBELB_TENANT_A_KUBECONFIG");
        assert_eq!(nodes_variable("hub"), "KUBELB_HUB_NODE_CIDR");
    }
}
