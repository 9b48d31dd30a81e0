//! `Config`: settings of the hub.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AnnotationSettings, CertificateSettings, ContainerResources, DnsSettings, GatewayApiSettings,
    IngressSettings, LoadBalancerSettings, RawObject,
};

/// Settings of the hub: object `default` in the manager's namespace. Defaults hold where it is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "kubelb.k8c.io",
    version = "v1alpha1",
    kind = "Config",
    shortname = "kcfg",
    namespaced,
    status = "ConfigStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Topology","type":"string","jsonPath":".spec.envoyProxy.topology"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".status.version"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.metadata.name == 'default'").message("the one Config is named default")
)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSpec {
    /// Which annotations reach the hub, for tenants that do not say.
    #[serde(flatten)]
    pub annotations: AnnotationSettings,
    /// The L4 Envoys.
    #[serde(default)]
    pub envoy_proxy: EnvoyProxySettings,
    /// L4 load balancing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSettings>,
    /// Gateway API.
    #[serde(rename = "gatewayAPI", skip_serializing_if = "Option::is_none")]
    pub gateway_api: Option<GatewayApiSettings>,
    /// Host names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsSettings>,
    /// Certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificateSettings>,
    /// Ranges in which endpoints may lie, for tenants that do not say. None by default.
    #[serde(default, rename = "endpointCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(c, isCIDR(c))").message("each entry must be a CIDR such as 10.0.0.0/8"))]
    pub endpoint_cidrs: Vec<String>,
    /// Ranges in which no endpoint may lie, whatever a Tenant says: the hub's pods and Services.
    #[serde(
        default,
        rename = "deniedEndpointCIDRs",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(c, isCIDR(c))").message("each entry must be a CIDR such as 10.0.0.0/8"))]
    pub denied_endpoint_cidrs: Vec<String>,
    /// Host names that tenants may use that do not say. None by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allowed_domains: Vec<String>,
    /// Hub Services take NodePorts. Off by default, because thousands of listeners would use them up; some
    /// LoadBalancer implementations need them.
    #[serde(default)]
    pub allocate_load_balancer_node_ports: bool,
}

/// The L4 Envoys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyProxySettings {
    /// How Envoys are divided, for tenants that do not say.
    #[serde(default)]
    pub topology: EnvoyProxyTopology,
    /// One Envoy on each node that `nodeSelector` and `tolerations` let it run on, instead of `replicas` somewhere.
    #[serde(default)]
    pub use_daemonset: bool,
    /// Envoys a fleet. Three by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<i32>,
    /// Image of Envoy. The manager's own default otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// Node labels that an Envoy's node must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Tolerations of the Envoys, as in a Pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<RawObject>,
    /// Affinity of the Envoys, as in a Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<RawObject>,
    /// Resources of each Envoy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ContainerResources>,
    /// What happens to connections when their Envoy or their listener has to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graceful_shutdown: Option<GracefulShutdown>,
    /// What an Envoy does before it runs out of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overload_manager: Option<OverloadManager>,
    /// Who may reach the Envoys on the hub, and what they may reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<FleetNetworkPolicy>,
}

/// How Envoys are divided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EnvoyProxyTopology {
    /// One fleet a tenant.
    #[default]
    Shared,
    /// One fleet a LoadBalancer.
    Dedicated,
    /// One fleet for all tenants, in the manager's namespace. Going to it or from it gives a LoadBalancer another address.
    Global,
}

impl EnvoyProxyTopology {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Shared, Self::Dedicated, Self::Global];

    /// The text used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Dedicated => "dedicated",
            Self::Global => "global",
        }
    }
}

/// What happens to connections when their Envoy or their listener has to go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GracefulShutdown {
    /// How long they go on, in seconds. 30 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 3600))]
    pub drain_seconds: Option<i32>,
}

/// What an Envoy does before it runs out of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverloadManager {
    /// Memory, in bytes, near which an Envoy gives back what it can and then takes no more connections. By default four
    /// fifths of the memory limit in `resources`, and none where there is no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16777216))]
    pub max_heap_size_bytes: Option<i64>,
    /// Connections of clients at one time, over all listeners of one Envoy. No limit by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_active_downstream_connections: Option<i64>,
}

/// Who may reach the Envoys on the hub, and what they may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetNetworkPolicy {
    /// Makes a NetworkPolicy for each fleet. Off by default: it does nothing on a hub whose network does not keep them.
    #[serde(default)]
    pub enabled: bool,
}

/// What the manager says of the Config.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Version of the manager.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// `Accepted`, and `EnvoyGatewayReady` that names a setting of Envoy Gateway's that is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub conditions: Vec<Condition>,
}

/// Condition types and reasons of the Config.
pub mod config_condition {
    /// The settings are in force.
    pub const ACCEPTED: &str = "Accepted";
    /// The GatewayClass that L7 needs is accepted by Envoy Gateway.
    pub const ENVOY_GATEWAY_READY: &str = "EnvoyGatewayReady";
    /// Reason: in force.
    pub const REASON_ACCEPTED: &str = "Accepted";
    /// Reason: a value is not usable; the message names the field.
    pub const REASON_INVALID: &str = "Invalid";
    /// Reason: the GatewayClass is accepted.
    pub const REASON_READY: &str = "Ready";
    /// Reason: the GatewayClass does not exist or is not accepted.
    pub const REASON_CLASS_NOT_ACCEPTED: &str = "GatewayClassNotAccepted";
    /// Reason: a setting of Envoy Gateway's, or a kind that it reads, is missing; the message names it.
    pub const REASON_SETTING_MISSING: &str = "SettingMissing";
}
