//! TLSRoute, TCPRoute and UDPRoute, as a tenant writes them: rules that have backends and nothing else.

use serde::{Deserialize, Serialize};

use super::http_route::BackendRef;

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct L4Rule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) backend_refs: Vec<BackendRef>,
}
