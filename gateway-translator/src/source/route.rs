//! What every kind of route has around its rules.

use serde::{Deserialize, Serialize};

use super::Unused;

/// `spec` of a route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RouteSpec<Rule: Default> {
    /// The CCM says in `parents` what the route is attached to.
    #[serde(skip_serializing)]
    pub(crate) parent_refs: Unused,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hostnames: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<Rule>,
}
