//! `TenantState`: the only channel from the hub down to a tenant, and the tenant's heartbeat up.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AnnotationSettings, DnsSettings, GatewayApiSettings, HubAddress, IngressSettings, Limits,
    LoadBalancerSettings,
};
use crate::names::PortNumber;

/// Object `default` in the tenant's hub namespace. The manager writes the status, the CCM only the heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "kubelb.k8c.io",
    version = "v1alpha1",
    kind = "TenantState",
    shortname = "tstate",
    namespaced,
    status = "TenantStateStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Tenant","type":"string","jsonPath":".status.tenant"}"#,
    printcolumn = r#"{"name":"Heartbeat","type":"date","jsonPath":".spec.heartbeat.time"}"#,
    printcolumn = r#"{"name":"CCM","type":"string","jsonPath":".spec.heartbeat.version"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct TenantStateSpec {
    /// Written by the CCM once a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Heartbeat>,
}

/// A sign of life of a CCM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// When it was written.
    pub time: Time,
    /// Version of the CCM.
    #[schemars(length(max = 64))]
    pub version: String,
    /// UID of the tenant cluster's `kube-system` namespace: tells two clusters with one credential apart.
    #[schemars(length(max = 64))]
    #[serde(rename = "clusterUID")]
    pub cluster_uid: String,
}

/// The settings in force for this tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantStateStatus {
    /// Generation of the Tenant that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Name of the Tenant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// Version of the manager.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manager_version: String,
    /// L4 load balancing.
    #[serde(default)]
    pub load_balancer: LoadBalancerSettings,
    /// Ingress.
    #[serde(default)]
    pub ingress: IngressSettings,
    /// Gateway API.
    #[serde(default, rename = "gatewayAPI")]
    pub gateway_api: GatewayApiSettings,
    /// Host names.
    #[serde(default)]
    pub dns: DnsSettings,
    /// Which annotations reach the hub.
    #[serde(default)]
    pub annotations: AnnotationSettings,
    /// Upper limits.
    #[serde(default)]
    pub limits: Limits,
    /// Host names the tenant may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub allowed_domains: Vec<String>,
    /// Ranges in which the tenant's endpoints may lie.
    #[serde(default, rename = "endpointCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    pub endpoint_cidrs: Vec<String>,
    /// Hub Gateways that the tenant may attach routes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub gateways: Vec<SharedGateway>,
    /// When the newest credential was issued. The CCM fetches it when this is later than its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_issued_at: Option<Time>,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub conditions: Vec<Condition>,
}

/// A hub Gateway that a tenant may attach routes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedGateway {
    /// Namespace on the hub.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub listeners: Vec<SharedListener>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub addresses: Vec<HubAddress>,
    /// Envoy Gateway programmed it.
    #[serde(default)]
    pub programmed: bool,
    /// ListenerSets of the tenant may attach to it, each listener with a host name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub listener_sets: bool,
}

/// A listener of a hub Gateway that lets routes of the tenant's namespace attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedListener {
    /// Name.
    pub name: String,
    /// Port.
    pub port: PortNumber,
    /// Protocol, such as `HTTP`.
    pub protocol: String,
    /// Host name it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Kinds of route it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub kinds: Vec<String>,
}
