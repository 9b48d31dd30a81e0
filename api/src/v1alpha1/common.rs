//! Types that several custom resources share.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::ServiceSpec;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::TrafficPolicy;
use crate::names::PortNumber;

/// Transport protocol of a port. SCTP is not served.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Protocol {
    /// TCP.
    #[default]
    TCP,
    /// UDP.
    UDP,
}

impl Protocol {
    /// The text used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TCP => "TCP",
            Self::UDP => "UDP",
        }
    }
}

/// Family of an IP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum IpFamily {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

impl IpFamily {
    /// The family of an address. One of IPv4 that is written as one of IPv6 is of IPv4.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(_) => Self::IPv4,
            IpAddr::V6(_) => Self::IPv6,
        }
    }

    /// Those of a Service, which its NodePorts answer at, in its order; without what Kubernetes may add later.
    #[must_use]
    pub fn of_service(spec: &ServiceSpec) -> Vec<Self> {
        let named = spec.ip_families.iter().flatten();
        named
            .filter_map(|name| match name.as_str() {
                "IPv4" => Some(Self::IPv4),
                "IPv6" => Some(Self::IPv6),
                _ => None,
            })
            .collect()
    }

    /// The text used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IPv4 => "IPv4",
            Self::IPv6 => "IPv6",
        }
    }
}

/// One address of an endpoint: an IP address or a host name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointAddress {
    /// IPv4 or IPv6 address. Used where both are set. Loopback, link-local and multicast are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub ip: Option<String>,
    /// Host name, resolved by the hub's Envoy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub hostname: Option<String>,
}

/// A port of an endpoint: on a tenant's node, so usually a NodePort.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPort {
    /// Name of the Service port it belongs to. Pairs with the listener port of this name; without names the
    /// position decides.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub name: String,
    /// Port number that the backend answers on.
    pub port: PortNumber,
    /// Transport protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// Reference to an `Addresses` object in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressesReference {
    /// Name of the `Addresses` object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A set of addresses that answer on the same ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSet {
    /// Free text for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub name: String,
    /// Addresses; an empty list is a set without any. Ignored where `addressesReference` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub addresses: Option<Vec<EndpointAddress>>,
    /// Takes the addresses from this object instead: one write when a node changes, not one a LoadBalancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses_reference: Option<AddressesReference>,
    /// Ports that every address answers on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub ports: Vec<EndpointPort>,
}

/// A Kubernetes object as the tenant wrote it. Fields that nobody here knows survive.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawObject(pub serde_json::Value);

impl JsonSchema for RawObject {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RawObject".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-map-type": "atomic",
        })
    }
}

/// Which annotations of a tenant's object reach the hub. Nothing does by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnnotationSettings {
    /// Every annotation passes, but the denied ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagate_all_annotations: Option<bool>,
    /// Annotation key (shell glob, `*` does not cross `/`) to a comma-separated list of the values that pass.
    /// An empty list lets any value pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub propagated_annotations: Option<BTreeMap<String, String>>,
    /// Annotation keys (shell globs) that never pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub denied_annotations: Option<Vec<String>>,
}

/// Reference to a Gateway on the hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayReference {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Gateway on the hub.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
}

/// L4 load balancing for a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerSettings {
    /// `loadBalancerClass` of the Services that the manager makes on the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub class: Option<String>,
    /// Switches L4 off: what was made is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable: Option<bool>,
    /// How connections are handled where a LoadBalancer does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_policy: Option<TrafficPolicy>,
}

/// Ingress for a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressSettings {
    /// GatewayClass on the hub for Gateways that an Ingress needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub class: Option<String>,
    /// Switches Ingress off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable: Option<bool>,
}

/// Gateway API for a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayApiSettings {
    /// GatewayClass on the hub for the tenant's Gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub class: Option<String>,
    /// Switches the Gateway API off: what was made is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable: Option<bool>,
    /// The hub Gateway for routes that name no parent. It belongs to the platform team and is never edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_gateway: Option<GatewayReference>,
    /// Ranges from which Gateways may ask for an address (`spec.addresses`). None by default: an address on the
    /// hub draws that address's traffic to itself, wherever it is from.
    #[serde(rename = "addressCIDRs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(c, isCIDR(c))").message("each entry must be a CIDR such as 203.0.113.0/24"))]
    pub address_cidrs: Option<Vec<String>>,
    /// Labels and annotations of `spec.infrastructure` are honoured: on the hub those annotations that the rules
    /// for annotations let pass, and in the tenant on the Service that stands for the Gateway. Off by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infrastructure_metadata: Option<bool>,
}

/// Host names for a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsSettings {
    /// Domain for generated names: `<service>.<wildcardDomain>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub wildcard_domain: Option<String>,
    /// The tenant may ask for a host name of its own choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_explicit_hostnames: Option<bool>,
    /// Annotations for external-dns are set on hub objects.
    #[serde(rename = "useDNSAnnotations", skip_serializing_if = "Option::is_none")]
    pub use_dns_annotations: Option<bool>,
    /// Annotations for cert-manager are set on hub objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_certificate_annotations: Option<bool>,
}

/// Certificates for a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSettings {
    /// `ClusterIssuer` for generated host names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub default_cluster_issuer: Option<String>,
}

/// How much a tenant may have. Unset means no limit of ours; a ResourceQuota counts as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// LoadBalancers that are served; later ones get a condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub load_balancers: Option<u32>,
    /// Gateways that are served; later ones get a condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub gateways: Option<u32>,
    /// Routes that are served; later ones get a condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub routes: Option<u32>,
}

/// Resources of a container, as in a Pod: quantities by resource name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerResources {
    /// What is reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: Option<BTreeMap<String, String>>,
    /// What may be used at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: Option<BTreeMap<String, String>>,
}
