//! The Docker network of a lab's nodes, and what makes the LoadBalancer pool answer on it.

use std::time::Duration;

use crate::error::Result;
use crate::progress::eventually;
use crate::range::Carved;
use crate::site::Site;

/// The label by which our networks are known.
const LABEL: &str = "kubelb.lab";

/// Makes the network unless it is there. Containers get addresses outside the pools.
pub fn ensure(site: &Site, carved: &Carved, ipv6: bool) -> Result<()> {
    let name = site.network();
    if site.docker().args(["network", "inspect", &name]).succeeds() {
        return Ok(());
    }
    let mut create = site
        .docker()
        .args(["network", "create", "--driver", "bridge", "--label", LABEL])
        .args(["--opt", "com.docker.network.bridge.enable_ip_masquerade=true"])
        .arg(format!("--subnet={}", carved.subnet))
        .arg(format!("--ip-range={}", carved.nodes))
        .arg(format!("--gateway={}", carved.gateway));
    if ipv6 {
        create = create
            .arg("--ipv6")
            .arg(format!("--subnet={}", carved.ipv6.subnet))
            .arg(format!("--gateway={}", carved.ipv6.gateway));
    }
    create.arg(&name).run()
}

/// Removes the network.
pub fn remove(site: &Site) -> Result<()> {
    let name = site.network();
    if !site.docker().args(["network", "inspect", &name]).succeeds() {
        return Ok(());
    }
    let look = || {
        site.docker()
            .args(["network", "rm", &name])
            .run()
            .map_err(|e| e.to_string())
    };
    eventually(
        "the lab's network to be free",
        Duration::from_secs(20),
        Duration::from_millis(500),
        look,
    )
}

/// Makes the hub's node answer for every address of the pool: kube-proxy serves those that Services have, and the rest
/// is refused, so that an unassigned address does not reach the node itself.
pub fn announce_pool(site: &Site, carved: &Carved) -> Result<()> {
    let script = format!(
        "ip route replace local {pool} dev lo\n\
         iptables -w -C INPUT -d {pool} -j REJECT 2>/dev/null || iptables -w -A INPUT -d {pool} -j REJECT",
        pool = carved.pool
    );
    site.in_node(&site.control_plane("hub"), &script).run()
}

/// The same for IPv6: the lab routes the pool to the hub's node, which has this address.
pub fn announce_ipv6_pool(site: &Site, carved: &Carved, hub: &str) -> Result<()> {
    let pool = carved.ipv6.pool;
    let script = format!(
        "ip -6 route replace local {pool} dev lo\n\
         ip6tables -w -C INPUT -d {pool} -j REJECT 2>/dev/null || ip6tables -w -A INPUT -d {pool} -j REJECT"
    );
    site.in_node(&site.control_plane("hub"), &script).run()?;
    site.run("ip")
        .args(["-6", "route", "replace", &pool.to_string(), "via", hub])
        .run()
}
