//! What is to be told about a tenant's object: a Warning Event with a reason from a closed set.

use api::v1alpha1::{load_balancer_condition as lb, route_condition as route};

/// Reasons of the Events that this agent writes on tenant objects.
pub mod reason {
    /// A port whose protocol is not served was left out.
    pub const UNSUPPORTED_PORT: &str = "UnsupportedPort";
    /// A field is set to something that is not served.
    pub const UNSUPPORTED_VALUE: &str = "UnsupportedValue";
    /// Where the hub serves a Service whose status shows the address of another load balancer.
    pub const SERVED_BY_HUB: &str = "ServedByHub";
    /// No node of the cluster takes traffic.
    pub const NO_NODES: &str = "NoNodes";
    /// No node is ready: the addresses that were there stay.
    pub const NODES_NOT_READY: &str = "NodesNotReady";
    /// A node lacks an address of the wanted type.
    pub const NODE_ADDRESS_FALLBACK: &str = "NodeAddressFallback";
    /// A node has no usable address.
    pub const NODE_ADDRESS_MISSING: &str = "NodeAddressMissing";
    /// More addresses than one object may hold.
    pub const TOO_MANY_ADDRESSES: &str = "TooManyAddresses";
    /// The hub's ResourceQuota is used up.
    pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
    /// The hub refused the object.
    pub const HUB_REFUSED: &str = "HubRefused";
    /// The hub cannot be used: unreachable, credential, Tenant.
    pub const HUB_UNAVAILABLE: &str = "HubUnavailable";
    /// The name of a hub object is taken by somebody else.
    pub const NAME_CONFLICT: &str = "NameConflict";
    /// The hub credential could not be exchanged.
    pub const CREDENTIAL: &str = "CredentialNotExchanged";
}

/// Reasons of the hub's conditions that are passed on as they are.
const HUB_REASONS: [&str; 20] = [
    lb::REASON_ENDPOINT_NOT_ALLOWED,
    lb::REASON_ADDRESSES_NOT_FOUND,
    lb::REASON_INVALID_PORTS,
    lb::REASON_LIMIT_EXCEEDED,
    lb::REASON_DISABLED,
    lb::REASON_UNSUPPORTED_VALUE,
    lb::REASON_NAME_CONFLICT,
    lb::REASON_REJECTED,
    lb::REASON_PORTS_EXHAUSTED,
    lb::REASON_HOSTNAME_NOT_ALLOWED,
    lb::REASON_NO_WILDCARD_DOMAIN,
    lb::REASON_NO_HOSTNAME,
    lb::REASON_NO_ISSUER,
    route::REASON_INVALID_ORIGIN,
    route::REASON_UNSUPPORTED_KIND,
    route::REASON_DOMAIN_NOT_ALLOWED,
    route::REASON_HOSTNAME_CONFLICT,
    route::REASON_GATEWAY_NOT_ALLOWED,
    route::REASON_SECRET_NOT_FOUND,
    route::REASON_NOT_ACCEPTED,
];

/// One sentence about one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// Reason in CamelCase.
    pub reason: &'static str,
    /// A sentence for a person; names the field.
    pub message: String,
}

impl Notice {
    /// A notice.
    #[must_use]
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// What the hub says in a condition. A reason that is not known here becomes [`reason::HUB_REFUSED`], with
    /// the hub's word in the message: reasons stay a closed set.
    #[must_use]
    pub fn of_hub(hub_reason: &str, message: &str) -> Self {
        match HUB_REASONS.iter().find(|known| **known == hub_reason) {
            Some(known) => Self::new(known, message),
            None => Self::new(reason::HUB_REFUSED, format!("{hub_reason}: {message}")),
        }
    }
}
