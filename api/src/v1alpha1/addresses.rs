//! `Addresses`: the tenant's node addresses, once for all of its LoadBalancers and Routes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::EndpointAddress;

/// Node addresses of a tenant, written by its CCM into `default`. A changed node is one write here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "kubelb.k8c.io",
    version = "v1alpha1",
    kind = "Addresses",
    plural = "addresses",
    singular = "addresses",
    shortname = "addr",
    namespaced,
    status = "AddressesStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"First","type":"string","jsonPath":".spec.addresses[0].ip"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AddressesSpec {
    /// Addresses of the nodes. Empty when the tenant has no node that takes traffic.
    #[schemars(length(max = 1000))]
    #[x_kube(validation = Rule::new("self.all(a, has(a.ip) || has(a.hostname))").message("each address needs ip or hostname"))]
    pub addresses: Vec<EndpointAddress>,
}

/// What the manager found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressesStatus {
    /// Generation of the spec that the conditions are about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`: every address lies within the tenant's endpointCIDRs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub conditions: Vec<Condition>,
}
