//! Which addresses a tenant's endpoints may have.
//!
//! The tenant is hostile: an endpoint that points into the hub would make Envoy a way around every network
//! boundary. Nothing is allowed unless a CIDR of the tenant's or the hub's settings contains it, and some
//! ranges are never allowed.

use std::net::IpAddr;

use ipnet::IpNet;

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointRefused {
    /// Loopback, link-local (with the metadata service), multicast or unspecified.
    #[error("{0} is a loopback, link-local, multicast or unspecified address")]
    NeverAllowed(IpAddr),
    /// Within a range that the hub denies to everyone.
    #[error("{address} is within {cidr}, which the hub denies to every tenant")]
    Denied {
        /// The address.
        address: IpAddr,
        /// The range that contains it.
        cidr: IpNet,
    },
    /// In none of the allowed ranges.
    #[error("{0} is not within the tenant's endpointCIDRs")]
    NotAllowed(IpAddr),
}

/// Ranges for one tenant. The default allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointPolicy {
    /// Ranges the tenant's nodes are in.
    pub allowed: Vec<IpNet>,
    /// Ranges nobody may name: the hub's pods and Services.
    pub denied: Vec<IpNet>,
}

impl EndpointPolicy {
    /// Checks one address.
    ///
    /// # Errors
    /// Says which rule refused it.
    pub fn check(&self, address: IpAddr) -> Result<(), EndpointRefused> {
        let address = address.to_canonical();
        if is_never_allowed(address) {
            return Err(EndpointRefused::NeverAllowed(address));
        }
        if let Some(cidr) = self.denied.iter().find(|c| c.contains(&address)) {
            return Err(EndpointRefused::Denied { address, cidr: *cidr });
        }
        if self.allowed.iter().any(|c| c.contains(&address)) {
            Ok(())
        } else {
            Err(EndpointRefused::NotAllowed(address))
        }
    }
}

fn is_never_allowed(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    link_local || address.is_loopback() || address.is_multicast() || address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> EndpointPolicy {
        EndpointPolicy {
            allowed: vec!["10.0.0.0/8".parse().unwrap(), "0.0.0.0/0".parse().unwrap()],
            denied: vec!["10.96.0.0/12".parse().unwrap()],
        }
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let address = "10.1.2.3".parse().unwrap();
        assert_eq!(
            EndpointPolicy::default().check(address),
            Err(EndpointRefused::NotAllowed(address))
        );
    }

    #[test]
    fn metadata_loopback_and_mapped_addresses_are_refused_even_when_everything_is_allowed() {
        for address in [
            "169.254.169.254",
            "127.0.0.1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ] {
            let refused = policy().check(address.parse().unwrap());
            assert!(
                matches!(refused, Err(EndpointRefused::NeverAllowed(_))),
                "{address}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_denied_range_wins_over_an_allowed_one() {
        assert!(matches!(
            policy().check("10.96.0.1".parse().unwrap()),
            Err(EndpointRefused::Denied { .. })
        ));
        assert_eq!(policy().check("10.1.0.1".parse().unwrap()), Ok(()));
    }
}
