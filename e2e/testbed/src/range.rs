//! Carves a lab's address ranges: where nodes get addresses and where LoadBalancer Services get theirs. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The pool's size: room for 8,190 addresses.
const POOL: u8 = 19;

/// How a range is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carved {
    /// All of it: the Docker network's subnet.
    pub subnet: Ipv4Net,
    /// The network's own address.
    pub gateway: Ipv4Addr,
    /// Where containers get addresses: the first half of the part before the pool.
    pub nodes: Ipv4Net,
    /// Where LoadBalancer Services get addresses.
    pub pool: Ipv4Net,
    /// The same of the other family.
    pub ipv6: CarvedIpv6,
}

/// How a lab's IPv6 range is used: one of the unique local ones (RFC 4193), by the IPv4 range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarvedIpv6 {
    /// The Docker network's subnet.
    pub subnet: Ipv6Net,
    /// The network's own address.
    pub gateway: Ipv6Addr,
    /// Where LoadBalancer Services get addresses: beside the subnet, so that they are routed to the hub's node. It
    /// could not answer for a whole pool on the link.
    pub pool: Ipv6Net,
}

/// The range of a lab that was not told one: one of 32, by its name.
pub fn default_for(name: &str) -> Result<Ipv4Net> {
    let pick = Sha256::digest(name.as_bytes())[0] % 32;
    net(Ipv4Addr::new(10, 64 + pick, 0, 0), 16)
}

/// Carves a range of at least two /19.
pub fn carve(range: Ipv4Net) -> Result<Carved> {
    let range = range.trunc();
    if range.prefix_len() >= POOL {
        return Err(Error::Unsupported(format!(
            "{range} is too small for a lab: it takes a /18 or more"
        )));
    }
    let base = u32::from(range.network());
    let half = 1 << (32 - POOL);
    Ok(Carved {
        subnet: range,
        gateway: Ipv4Addr::from(base + 1),
        nodes: net(range.network(), POOL + 1)?,
        pool: net(Ipv4Addr::from(base + half), POOL)?,
        ipv6: carve_ipv6(range.network())?,
    })
}

fn carve_ipv6(base: Ipv4Addr) -> Result<CarvedIpv6> {
    let [a, b, c, d] = base.octets().map(u16::from);
    let address = |part: u16, host: u16| Ipv6Addr::new(0xfd6b, a << 8 | b, c << 8 | d, part, 0, 0, 0, host);
    Ok(CarvedIpv6 {
        subnet: net_ipv6(address(0, 0), 64)?,
        gateway: address(0, 1),
        pool: net_ipv6(address(1, 0), 112)?,
    })
}

fn net_ipv6(address: Ipv6Addr, prefix: u8) -> Result<Ipv6Net> {
    Ipv6Net::new(address, prefix).map_err(|e| Error::Unsupported(format!("{address}/{prefix}: {e}")))
}

fn net(address: Ipv4Addr, prefix: u8) -> Result<Ipv4Net> {
    Ipv4Net::new(address, prefix).map_err(|e| Error::Unsupported(format!("{address}/{prefix}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<Carved> {
        carve(text.parse().map_err(|e| crate::error::malformed(text, e))?)
    }

    #[test]
    fn the_parts_do_not_overlap() -> Result<()> {
        let carved = range("10.70.0.0/16")?;
        assert_eq!(carved.pool.to_string(), "10.70.32.0/19");
        assert_eq!(carved.nodes.to_string(), "10.70.0.0/20");
        assert!(carved.nodes.contains(&carved.gateway) && !carved.pool.contains(&carved.nodes));
        assert_eq!(range("10.70.64.0/18")?.pool.to_string(), "10.70.96.0/19");
        assert_eq!(carved.ipv6.subnet.to_string(), "fd6b:a46::/64");
        assert_eq!(carved.ipv6.pool.to_string(), "fd6b:a46:0:1::/112");
        assert!(carved.ipv6.subnet.contains(&carved.ipv6.gateway));
        Ok(())
    }

    #[test]
    fn small_ranges_are_refused() {
        assert!(range("10.70.0.0/19").is_err());
    }

    #[test]
    fn every_name_has_a_range_of_its_own_kind() -> Result<()> {
        assert_eq!(default_for("kubelb")?, default_for("kubelb")?);
        assert!(default_for("other")?.to_string().starts_with("10."));
        Ok(())
    }
}
