//! Filters of HTTPRoutes and GRPCRoutes.
//!
//! One type for both kinds: GRPCRoute has a subset, which [`FilterScope`] checks. Filters that would pull in
//! an object of Envoy Gateway or a call to another server are refused.

use api::names::PortNumber;
use serde::{Deserialize, Serialize};

use super::http_route::BackendObjectReference;
use super::{Refused, Unused};
use crate::domain::hostname;
use crate::verdict::Problem;

/// A filter, as the tenant wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Filter {
    #[serde(rename = "type")]
    pub(crate) type_: FilterType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request_header_modifier: Option<HeaderModifier>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_header_modifier: Option<HeaderModifier>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request_mirror: Option<RequestMirror>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request_redirect: Option<RequestRedirect>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url_rewrite: Option<UrlRewrite>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cors: Option<Cors>,
    #[serde(default, skip_serializing)]
    pub(crate) extension_ref: Refused,
    #[serde(default, skip_serializing)]
    pub(crate) external_auth: Refused,
}

/// What a filter does. Only these are served; `ExtensionRef` and `ExternalAuth` are known to be refused well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FilterType {
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestMirror,
    RequestRedirect,
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
    #[serde(rename = "CORS")]
    Cors,
    ExtensionRef,
    ExternalAuth,
}

/// Which filters a route may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterScope {
    /// Those of an HTTPRoute.
    Http,
    /// Those of a GRPCRoute.
    Grpc,
    /// None: there is no request to change.
    None,
}

/// Changes to headers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HeaderModifier {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) set: Vec<Header>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) add: Vec<Header>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove: Vec<String>,
}

/// A header with its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// A copy of the requests to another backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequestMirror {
    pub(crate) backend_ref: BackendObjectReference,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) percent: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fraction: Option<Fraction>,
}

/// A share of the requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fraction {
    pub(crate) numerator: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) denominator: Option<i32>,
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RequestRedirect {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scheme: Option<Scheme>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathModifier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<PortNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status_code: Option<u16>,
}

/// Schemes of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// A change of the request's URL.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UrlRewrite {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathModifier>,
}

/// A change of the path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PathModifier {
    #[serde(rename = "type")]
    pub(crate) type_: PathModifierType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replace_full_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replace_prefix_match: Option<String>,
}

/// What of the path is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PathModifierType {
    ReplaceFullPath,
    ReplacePrefixMatch,
}

/// Answers to cross-origin requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Cors {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow_origins: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_credentials: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow_methods: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow_headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) expose_headers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<i32>,
}

impl Filter {
    /// Checks values that the hub's API server would let pass, and makes header values literal.
    ///
    /// One Envoy configuration holds the routes of many: a value that Envoy refuses would stop all of them.
    pub(crate) fn sanitize(&mut self, path: &str, scope: FilterScope) -> Result<(), Problem> {
        let why = "is refused: only the filters of the Gateway API itself are served";
        self.extension_ref
            .check(format_args!("{path}.extensionRef"), why)?;
        self.external_auth
            .check(format_args!("{path}.externalAuth"), why)?;
        self.check_type(path, scope)?;
        if let Some(modifier) = &mut self.request_header_modifier {
            modifier.sanitize(&format!("{path}.requestHeaderModifier"))?;
        }
        if let Some(modifier) = &mut self.response_header_modifier {
            modifier.sanitize(&format!("{path}.responseHeaderModifier"))?;
        }
        if let Some(RequestRedirect {
            hostname,
            path: modifier,
            scheme: _,
            port: _,
            status_code: _,
        }) = &self.request_redirect
        {
            check_target(
                &format!("{path}.requestRedirect"),
                hostname.as_deref(),
                modifier.as_ref(),
            )?;
        }
        if let Some(UrlRewrite {
            hostname,
            path: modifier,
        }) = &self.url_rewrite
        {
            check_target(
                &format!("{path}.urlRewrite"),
                hostname.as_deref(),
                modifier.as_ref(),
            )?;
        }
        self.cors
            .as_ref()
            .map_or(Ok(()), |cors| cors.check(&format!("{path}.cors")))
    }

    fn check_type(&self, path: &str, scope: FilterScope) -> Result<(), Problem> {
        let served = match self.type_ {
            FilterType::RequestHeaderModifier
            | FilterType::ResponseHeaderModifier
            | FilterType::RequestMirror => scope != FilterScope::None,
            FilterType::RequestRedirect | FilterType::UrlRewrite | FilterType::Cors => {
                scope == FilterScope::Http
            }
            FilterType::ExtensionRef | FilterType::ExternalAuth => false,
        };
        let foreign = scope != FilterScope::Http
            && (self.request_redirect.is_some() || self.url_rewrite.is_some() || self.cors.is_some());
        if served && !foreign {
            return Ok(());
        }
        Err(Problem::unsupported(format!(
            "{path}: the filter {:?} is not served here.",
            self.type_
        )))
    }
}

impl HeaderModifier {
    fn sanitize(&mut self, path: &str) -> Result<(), Problem> {
        for name in &self.remove {
            check_header_name(path, name)?;
        }
        for header in self.set.iter_mut().chain(&mut self.add) {
            check_header_name(path, &header.name)?;
            check_text(path, &header.value)?;
            // Envoy reads `%...%` in a header value as a command, such as one that prints an environment
            // variable. The Gateway API says that the value is literal.
            header.value = header.value.replace('%', "%%");
        }
        Ok(())
    }
}

impl Cors {
    fn check(&self, path: &str) -> Result<(), Problem> {
        let Self {
            allow_origins,
            allow_methods,
            allow_headers,
            expose_headers,
            allow_credentials: _,
            max_age: _,
        } = self;
        let texts = allow_origins
            .iter()
            .chain(allow_methods)
            .chain(allow_headers)
            .chain(expose_headers);
        texts
            .map(String::as_str)
            .try_for_each(|text| check_text(path, text))
    }
}

fn check_target(path: &str, host: Option<&str>, modifier: Option<&PathModifier>) -> Result<(), Problem> {
    if let Some(host) = host.filter(|host| !hostname::is_precise(host)) {
        return Err(Problem::unsupported(format!(
            "{path}.hostname: {host:?} is not a host name."
        )));
    }
    let Some(PathModifier {
        type_: _,
        replace_full_path,
        replace_prefix_match,
    }) = modifier
    else {
        return Ok(());
    };
    for text in replace_full_path.iter().chain(replace_prefix_match) {
        check_text(path, text)?;
        // The replacement becomes the substitution of a regular expression, where a backslash is a command.
        if text.contains('\\') {
            return Err(Problem::unsupported(format!(
                "{path}.path: {text:?} contains a backslash."
            )));
        }
    }
    Ok(())
}

fn check_header_name(path: &str, name: &str) -> Result<(), Problem> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.is_empty() && name.bytes().all(token) {
        return Ok(());
    }
    Err(Problem::unsupported(format!(
        "{path}: {name:?} is not a header name."
    )))
}

fn check_text(path: &str, text: &str) -> Result<(), Problem> {
    if text.chars().any(char::is_control) {
        return Err(Problem::unsupported(format!(
            "{path}: {text:?} contains a control character."
        )));
    }
    Ok(())
}

impl BackendObjectReference {
    /// The reference to a Service of the hub in the route's own namespace.
    pub(crate) fn to_service(name: String, port: PortNumber) -> Self {
        Self {
            group: Unused,
            kind: Unused,
            name,
            namespace: Unused,
            port: Some(port),
        }
    }
}
