//! `Tenant`: one tenant cluster, as the platform team describes it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AnnotationSettings, CertificateSettings, ContainerResources, DnsSettings, EnvoyProxyTopology,
    GatewayApiSettings, IngressSettings, Limits, LoadBalancerSettings,
};

/// A tenant cluster. Its namespace on the hub is its name if that begins with `tenant-`, else `tenant-<name>`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "kubelb.k8c.io",
    version = "v1alpha1",
    kind = "Tenant",
    shortname = "tnt",
    status = "TenantStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Namespace","type":"string","jsonPath":".status.namespace"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Connected","type":"string","jsonPath":".status.conditions[?(@.type==\"Connected\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= (self.metadata.name.startsWith('tenant-') ? 63 : 56)").message("metadata.name must be a DNS label of at most 56 characters (63 where it begins with tenant-), because it names a namespace")
)]
#[serde(rename_all = "camelCase")]
pub struct TenantSpec {
    /// Which annotations reach the hub.
    #[serde(flatten)]
    pub annotations: AnnotationSettings,
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
    /// The tenant's own Envoys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_proxy: Option<TenantEnvoyProxy>,
    /// Ranges in which the tenant's endpoints may lie. Unset takes the Config's; no range allows no endpoint.
    #[serde(rename = "endpointCIDRs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(c, isCIDR(c))").message("each entry must be a CIDR such as 10.0.0.0/8"))]
    pub endpoint_cidrs: Option<Vec<String>>,
    /// Host names the tenant may use: `*` stands for one label, a leading `**` for any number. Unset takes the
    /// Config's; no pattern allows no host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allowed_domains: Option<Vec<String>>,
    /// Upper limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// The tenant's own Envoys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantEnvoyProxy {
    /// How they are divided. The Config's where it is unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<EnvoyProxyTopology>,
    /// How many run in a fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<i32>,
    /// Resources of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ContainerResources>,
}

/// What the manager says of a Tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The tenant's namespace on the hub.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `Ready` and `Connected`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub conditions: Vec<Condition>,
}

/// Condition types and reasons of a Tenant.
pub mod tenant_condition {
    /// Namespace, credential and settings are there.
    pub const READY: &str = "Ready";
    /// The tenant's CCM reported within the last minutes.
    pub const CONNECTED: &str = "Connected";
    /// Reason: all is there.
    pub const REASON_RECONCILED: &str = "Reconciled";
    /// Reason: something failed; the message names it.
    pub const REASON_FAILED: &str = "ReconciliationFailed";
    /// Reason: being removed.
    pub const REASON_TERMINATING: &str = "Terminating";
    /// Reason: another Tenant has this namespace.
    pub const REASON_NAMESPACE_TAKEN: &str = "NamespaceTaken";
    /// Reason: the namespace holds what is not the tenant's.
    pub const REASON_NAMESPACE_NOT_EMPTY: &str = "NamespaceNotEmpty";
    /// Reason: reported lately.
    pub const REASON_HEARTBEAT: &str = "HeartbeatReceived";
    /// Reason: never reported.
    pub const REASON_NO_HEARTBEAT: &str = "NoHeartbeat";
    /// Reason: reported, but not lately.
    pub const REASON_HEARTBEAT_LATE: &str = "HeartbeatLate";
}
