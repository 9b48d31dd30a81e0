//! GRPCRoute, as a tenant writes it.

use serde::{Deserialize, Serialize};

use super::filters::Filter;
use super::http_route::BackendRef;
use super::matches::GrpcMatch;
use super::{Refused, Unused};

/// `spec` of a GRPCRoute.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct GrpcRouteSpec {
    /// The CCM says in `parents` what the route is attached to.
    #[serde(skip_serializing)]
    pub(crate) parent_refs: Unused,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hostnames: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<GrpcRule>,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct GrpcRule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) matches: Vec<GrpcMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) filters: Vec<Filter>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) backend_refs: Vec<BackendRef>,
    #[serde(skip_serializing)]
    pub(crate) session_persistence: Refused,
}
