//! Addresses that a Gateway asks for.

use std::net::IpAddr;

use api::endpoint_policy::EndpointPolicy;

use crate::index::Index;
use crate::model::{GatewaySpec, RequestedAddress};
use crate::reason::{self, Verdict};

/// A type of address that nobody can give.
pub(crate) fn type_refusal(spec: &GatewaySpec) -> Option<Verdict> {
    spec.addresses.iter().enumerate().find_map(|(position, address)| {
        let type_ = type_of(address);
        (!matches!(type_, "IPAddress" | "Hostname")).then(|| {
            let message = format!("spec.addresses[{position}].type: {type_} is not supported");
            Verdict::new(reason::UNSUPPORTED_ADDRESS, message)
        })
    })
}

/// An address that this tenant may not have. One without a value is the hub's choice.
pub(crate) fn not_usable(index: &Index, spec: &GatewaySpec) -> Option<Verdict> {
    let state = index.state()?;
    let ranges = state.gateway_api.address_cidrs.as_deref().unwrap_or_default();
    let policy = EndpointPolicy {
        allowed: ranges.iter().filter_map(|range| range.parse().ok()).collect(),
        denied: Vec::new(),
    };
    let problem = |address: &RequestedAddress| -> Option<String> {
        let value = address.value.as_deref().filter(|value| !value.is_empty())?;
        if type_of(address) == "Hostname" {
            return Some(format!("{value}: the hub gives no host names"));
        }
        let Ok(ip) = value.parse::<IpAddr>() else {
            return Some(format!("{value} is no IP address"));
        };
        let refused =
            || format!("{value} is not within the ranges from which this tenant may ask for addresses");
        policy.check(ip).is_err().then(refused)
    };
    spec.addresses.iter().enumerate().find_map(|(position, address)| {
        let message = format!("spec.addresses[{position}]: {}", problem(address)?);
        Some(Verdict::new(reason::ADDRESS_NOT_USABLE, message))
    })
}

fn type_of(address: &RequestedAddress) -> &str {
    address.type_.as_deref().unwrap_or("IPAddress")
}
