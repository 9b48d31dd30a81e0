//! The plain input: what a load balancer is, as far as Envoy is concerned.
//!
//! Values are checked when they are made, so nothing after this file asks again whether a port is zero or a name
//! holds a slash. It knows no Kubernetes type and no Envoy type.

mod policy;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

pub use policy::{Balancing, Breaker, HealthCheck, Policy, Probe, Seconds};

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// A name that is empty, too long, or holds characters that Kubernetes names cannot hold.
    #[error("{0:?} is not a Kubernetes object name")]
    Name(String),
    /// A hostname that DNS would not take.
    #[error("{0:?} is not a hostname")]
    Hostname(String),
    /// Port 0.
    #[error("port 0 cannot be used")]
    ZeroPort,
}

/// The hub's `LoadBalancer` object that everything is attributed to. Cheap to clone; a clone is known as the same without
/// being read.
#[derive(Debug, Clone, Eq)]
pub struct LoadBalancerId {
    namespace: Arc<str>,
    name: Arc<str>,
}

impl Ord for LoadBalancerId {
    fn cmp(&self, other: &Self) -> Ordering {
        let compare = |one: &Arc<str>, other: &Arc<str>| match Arc::ptr_eq(one, other) {
            true => Ordering::Equal,
            false => one.cmp(other),
        };
        compare(&self.namespace, &other.namespace).then_with(|| compare(&self.name, &other.name))
    }
}

impl PartialEq for LoadBalancerId {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Hash for LoadBalancerId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { namespace, name } = self;
        (namespace, name).hash(state);
    }
}

impl PartialOrd for LoadBalancerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl LoadBalancerId {
    /// Checks both parts. Neither may hold `/`: resource names join them with it and have to stay injective.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Result<Self, InvalidValue> {
        Ok(Self {
            namespace: object_name(namespace.into())?.into(),
            name: object_name(name.into())?.into(),
        })
    }

    /// The hub namespace, which is the tenant.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for LoadBalancerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn object_name(name: String) -> Result<String, InvalidValue> {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    if name.is_empty() || name.len() > 253 || !name.bytes().all(legal) {
        return Err(InvalidValue::Name(name));
    }
    Ok(name)
}

/// Transport protocol. TCP and UDP may use the same port number side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The lower-case word used in resource names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port number that is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u16> for Port {
    type Error = InvalidValue;

    fn try_from(port: u16) -> Result<Self, InvalidValue> {
        NonZeroU16::new(port).map(Self).ok_or(InvalidValue::ZeroPort)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A DNS name, lower case, without a trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(String);

impl Hostname {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hostname {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label_ok = |label: &str| {
            let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(legal)
        };
        // An address in here would become a "name" that the resolver refuses on every refresh.
        let legal = name.len() <= 253 && name.split('.').all(label_ok) && name.parse::<IpAddr>().is_err();
        if legal {
            Ok(Self(name))
        } else {
            Err(InvalidValue::Hostname(text.to_owned()))
        }
    }
}

/// Where a backend is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A literal address: delivered as an endpoint resource.
    Ip(IpAddr),
    /// A name that Envoy resolves itself. Whoever builds the input has decided that this is allowed.
    Hostname(Hostname),
}

/// One target: a node and its NodePort, usually.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Where.
    pub address: Address,
    /// The port there.
    pub port: Port,
}

/// One port of a load balancer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// The port's name in the Service, for people; may be empty. Names no resource, as it may change at any time.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// The port number that clients use. With the protocol it names the resources.
    pub port: Port,
    /// The *recorded* port that Envoy listens on; see [`crate::ports`].
    pub envoy_port: Port,
    /// Targets. None at all is legal: the listener stays and refuses connections.
    pub backends: Vec<Backend>,
    /// How its connections are handled.
    pub policy: Policy,
}

/// One load balancer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// Whose it is.
    pub id: LoadBalancerId,
    /// `metadata.generation` this was made from. Not part of any resource: a generation that changes nothing in
    /// Envoy's configuration must push nothing.
    pub generation: i64,
    /// Its ports.
    pub listeners: Vec<Listener>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_make_resource_names_ambiguous_are_refused() {
        for name in ["", "a/b", "A", "a b", "a:b"] {
            assert!(LoadBalancerId::new("ns", name).is_err(), "{name:?}");
        }
        assert_eq!(
            LoadBalancerId::new("ns", "a.b-c").unwrap().to_string(),
            "ns/a.b-c"
        );
    }

    #[test]
    fn hostnames_are_lowered_and_addresses_are_not_hostnames() {
        assert_eq!(
            "Web.Example.COM.".parse::<Hostname>().unwrap().as_str(),
            "web.example.com"
        );
        for text in ["", ".", "a..b", "-a.example", "127.0.0.1", "::1", "a b"] {
            assert!(text.parse::<Hostname>().is_err(), "{text:?}");
        }
    }
}
