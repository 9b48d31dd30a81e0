//! Addresses of a tenant's nodes, checked against the ranges that the hub allows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::endpoint_policy::EndpointPolicy;
use api::meta;
use api::v1alpha1::{Addresses, EndpointAddress, IpFamily, Route, route_condition as condition};

use crate::backend::EndpointSource;
use crate::verdict::Problem;

/// Addresses that passed, without doubles and in order.
#[derive(Debug, Default)]
pub(crate) struct AddressPool {
    pub(crate) v4: BTreeSet<Ipv4Addr>,
    pub(crate) v6: BTreeSet<Ipv6Addr>,
    /// Addresses that were left out, and objects that are not there.
    pub(crate) problems: Vec<Problem>,
    /// The hub's ranges did not allow some of them.
    pub(crate) refused: bool,
}

impl AddressPool {
    /// Reads the addresses that a Route's backends have.
    pub(crate) fn gather(
        source: &EndpointSource<'_>,
        route: &Route,
        addresses: &BTreeMap<&str, &Addresses>,
        policy: &EndpointPolicy,
    ) -> Self {
        let mut pool = Self::default();
        match source {
            EndpointSource::Default => pool.add_object(meta::DEFAULT_NAME, addresses, policy),
            EndpointSource::Named(names) => {
                names
                    .iter()
                    .for_each(|name| pool.add_object(name, addresses, policy));
            }
            EndpointSource::Own(_) => {
                for set in &route.spec.endpoints {
                    match &set.addresses_reference {
                        Some(reference) => pool.add_object(&reference.name, addresses, policy),
                        None => pool.add_all(set.addresses.as_deref().unwrap_or_default(), policy),
                    }
                }
            }
        }
        pool
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Addresses by family, of those that a Service answers at: NodePorts answer only on addresses of their Service's own
    /// families. One address of a node is enough, so it is the first family that any node has; all where nothing is said.
    pub(crate) fn answering(&self, families: &[IpFamily]) -> Vec<(IpFamily, Vec<String>)> {
        let v4: Vec<String> = self.v4.iter().map(ToString::to_string).collect();
        let v6: Vec<String> = self.v6.iter().map(ToString::to_string).collect();
        let mut all = vec![(IpFamily::IPv4, v4), (IpFamily::IPv6, v6)];
        all.retain(|(_, addresses)| !addresses.is_empty());
        if families.is_empty() {
            return all;
        }
        let has = |family: &&IpFamily| all.iter().any(|(of, _)| of == *family);
        let first = families.iter().find(has).copied();
        all.retain(|(of, _)| Some(*of) == first);
        all
    }

    fn add_object(&mut self, name: &str, addresses: &BTreeMap<&str, &Addresses>, policy: &EndpointPolicy) {
        match addresses.get(name) {
            Some(object) => self.add_all(&object.spec.addresses, policy),
            None => self.note(
                condition::REASON_PENDING,
                format!("Addresses/{name} does not exist."),
            ),
        }
    }

    fn add_all(&mut self, addresses: &[EndpointAddress], policy: &EndpointPolicy) {
        for address in addresses {
            self.add(address, policy);
        }
    }

    fn add(&mut self, address: &EndpointAddress, policy: &EndpointPolicy) {
        let EndpointAddress { ip, hostname } = address;
        let Some(text) = ip else {
            let name = hostname.as_deref().unwrap_or_default();
            let message = format!("The node address {name:?} is left out: routes need IP addresses.");
            return self.note(condition::REASON_UNSUPPORTED_VALUE, message);
        };
        let Ok(address) = text.parse::<IpAddr>() else {
            return self.note(
                condition::REASON_UNSUPPORTED_VALUE,
                format!("{text:?} is not an IP address."),
            );
        };
        let address = address.to_canonical();
        match (policy.check(address), address) {
            (Err(refused), _) => {
                self.refused = true;
                self.note(condition::REASON_ENDPOINT_NOT_ALLOWED, format!("{refused}."));
            }
            (Ok(()), IpAddr::V4(v4)) => drop(self.v4.insert(v4)),
            (Ok(()), IpAddr::V6(v6)) => drop(self.v6.insert(v6)),
        }
    }

    fn note(&mut self, reason: &'static str, message: String) {
        let problem = Problem::new(reason, message);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
