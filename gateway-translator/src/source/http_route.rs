//! HTTPRoute, as a tenant writes it.

use api::names::PortNumber;
use serde::{Deserialize, Serialize};

use super::filters::Filter;
use super::matches::HttpMatch;
use super::{Refused, Unused};

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct HttpRule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) matches: Vec<HttpMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) filters: Vec<Filter>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) backend_refs: Vec<BackendRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeouts: Option<Timeouts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<Retry>,
    #[serde(skip_serializing)]
    pub(crate) session_persistence: Refused,
}

/// A weighted backend. The same in a GRPCRoute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BackendRef {
    #[serde(default, skip_serializing)]
    pub(crate) group: Unused,
    #[serde(default, skip_serializing)]
    pub(crate) kind: Unused,
    pub(crate) name: String,
    #[serde(default, skip_serializing)]
    pub(crate) namespace: Unused,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<PortNumber>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) filters: Vec<Filter>,
}

/// A backend. Where it leads is the CCM's decision, so that only `name` and `port` are ever written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackendObjectReference {
    #[serde(default, skip_serializing)]
    pub(crate) group: Unused,
    #[serde(default, skip_serializing)]
    pub(crate) kind: Unused,
    pub(crate) name: String,
    #[serde(default, skip_serializing)]
    pub(crate) namespace: Unused,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<PortNumber>,
}

/// Timeouts of a rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backend_request: Option<String>,
}

/// Retries of a rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retry {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) codes: Vec<u16>,
    /// No negative number: it would become a very large one on its way to Envoy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backoff: Option<String>,
}
