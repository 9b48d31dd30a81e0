//! Matches of HTTPRoutes and GRPCRoutes. They pass as they are: they choose among the tenant's own rules.

use serde::{Deserialize, Serialize};

/// What makes two matches equal: they then recognize the same requests, whatever the order and case in which
/// they were written.
pub(crate) trait MatchKey {
    /// Equal for equal matches.
    fn key(&self) -> String;
}

impl MatchKey for HttpMatch {
    fn key(&self) -> String {
        let Self {
            path,
            headers,
            query_params,
            method,
        } = self;
        let path = path.clone().unwrap_or_default();
        let type_ = path.type_.unwrap_or(PathMatchType::PathPrefix);
        let value = path.value.unwrap_or_else(|| "/".to_owned());
        let value = match (type_, value.trim_end_matches('/')) {
            (PathMatchType::PathPrefix, "") => "/",
            (PathMatchType::PathPrefix, prefix) => prefix,
            _ => &value,
        };
        let headers = sorted(headers, |name| name.to_ascii_lowercase());
        let query_params = sorted(query_params, str::to_owned);
        format!("{:?}", (type_, value, headers, query_params, method))
    }
}

impl MatchKey for GrpcMatch {
    fn key(&self) -> String {
        let Self { method, headers } = self;
        let GrpcMethodMatch {
            type_,
            service,
            method,
        } = method.clone().unwrap_or_default();
        let type_ = type_.unwrap_or(ValueMatchType::Exact);
        let headers = sorted(headers, |name| name.to_ascii_lowercase());
        format!("{:?}", (type_, service, method, headers))
    }
}

/// Of equal names the first counts, says the Gateway API.
fn sorted(
    matches: &[ValueMatch],
    name_of: impl Fn(&str) -> String,
) -> std::collections::BTreeMap<String, (ValueMatchType, String)> {
    let mut sorted = std::collections::BTreeMap::new();
    for ValueMatch { type_, name, value } in matches {
        let what = (type_.unwrap_or(ValueMatchType::Exact), value.clone());
        sorted.entry(name_of(name)).or_insert(what);
    }
    sorted
}

/// How one request is recognized.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct HttpMatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<ValueMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) query_params: Vec<ValueMatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<Method>,
}

/// A match of the path.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PathMatch {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) type_: Option<PathMatchType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
}

/// How a path is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PathMatchType {
    Exact,
    PathPrefix,
    RegularExpression,
}

/// A match of a header or of a query parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValueMatch {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) type_: Option<ValueMatchType>,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ValueMatchType {
    Exact,
    RegularExpression,
}

/// HTTP methods, as the Gateway API lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

/// How one gRPC request is recognized.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct GrpcMatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<GrpcMethodMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<ValueMatch>,
}

/// A match of a gRPC method.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GrpcMethodMatch {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) type_: Option<ValueMatchType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
}
