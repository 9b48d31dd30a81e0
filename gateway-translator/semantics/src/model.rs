//! What we must understand of the tenant's objects, and no more: unknown fields and values pass.
//!
//! Unknown fields in what is judged here and means nothing to the hub are kept by name, for
//! [`unknown`](crate::unknown).

use std::collections::BTreeMap;

use api::v1alpha1::ParentKind;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::kind::{GATEWAY_GROUP, ObjectKind, ObjectRef};

/// Fields that nobody knows, by name.
pub(crate) type Others = BTreeMap<String, IgnoredAny>;

/// An object with its typed spec, and as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Object<'a, S> {
    pub reference: ObjectRef,
    pub meta: Meta,
    pub spec: S,
    pub raw: &'a Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    pub name: String,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub uid: String,
    #[serde(default)]
    pub generation: i64,
    #[serde(default)]
    pub creation_timestamp: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
    #[serde(default)]
    pub deletion_timestamp: Option<Value>,
}

/// Parses an object.
///
/// # Errors
/// The reference, as far as it can be read, and what is wrong.
pub(crate) fn parse<S: DeserializeOwned>(
    kind: ObjectKind,
    raw: &Value,
) -> Result<Object<'_, S>, (ObjectRef, String)> {
    let meta: Meta = field(raw, "metadata").map_err(|problem| (partial_reference(kind, raw), problem))?;
    let reference = ObjectRef {
        kind,
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        generation: meta.generation,
    };
    match field(raw, "spec") {
        Ok(spec) => Ok(Object {
            reference,
            meta,
            spec,
            raw,
        }),
        Err(problem) => Err((reference, problem)),
    }
}

fn field<T: DeserializeOwned>(raw: &Value, name: &str) -> Result<T, String> {
    let said = |error: serde_json::Error| format!("{name} cannot be read: {error}");
    match raw.get(name) {
        Some(value) => T::deserialize(value).map_err(said),
        None => T::deserialize(Value::Object(serde_json::Map::new())).map_err(said),
    }
}

fn partial_reference(kind: ObjectKind, raw: &Value) -> ObjectRef {
    let text = |key: &str| {
        raw.pointer(&format!("/metadata/{key}"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    ObjectRef {
        kind,
        namespace: text("namespace").to_owned(),
        name: text("name").to_owned(),
        uid: text("uid").to_owned(),
        generation: raw
            .pointer("/metadata/generation")
            .and_then(Value::as_i64)
            .unwrap_or_default(),
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClassSpec {
    pub controller_name: String,
    pub parameters_ref: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GatewaySpec {
    pub gateway_class_name: String,
    pub listeners: Vec<Listener>,
    pub addresses: Vec<RequestedAddress>,
    pub infrastructure: Option<Infrastructure>,
    pub allowed_listeners: Option<AllowedListeners>,
    pub tls: Option<GatewayTls>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Infrastructure {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub parameters_ref: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AllowedListeners {
    pub namespaces: Option<RouteNamespaces>,
    #[serde(flatten)]
    pub others: Others,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RequestedAddress {
    #[serde(rename = "type")]
    pub type_: Option<String>,
    pub value: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GatewayTls {
    pub frontend: Option<FrontendTls>,
    pub backend: Option<GatewayBackendTls>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GatewayBackendTls {
    pub client_certificate_ref: Option<SecretReference>,
    #[serde(flatten)]
    pub others: Others,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FrontendTls {
    pub default: Option<FrontendTlsConfig>,
    pub per_port: Vec<FrontendTlsPort>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FrontendTlsPort {
    pub port: i64,
    pub tls: Option<FrontendTlsConfig>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FrontendTlsConfig {
    pub validation: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ListenerSetSpec {
    pub parent_ref: ParentRef,
    pub listeners: Vec<Listener>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Listener {
    pub name: String,
    pub hostname: Option<String>,
    pub port: i64,
    pub protocol: String,
    pub tls: Option<ListenerTls>,
    pub allowed_routes: Option<AllowedRoutes>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ListenerTls {
    pub mode: Option<String>,
    pub certificate_refs: Vec<SecretReference>,
    /// Client certificates, where the older place in the listener is used.
    pub frontend_validation: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SecretReference {
    pub group: Option<String>,
    pub kind: Option<String>,
    pub namespace: Option<String>,
    pub name: String,
    #[serde(flatten)]
    pub others: Others,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AllowedRoutes {
    pub namespaces: Option<RouteNamespaces>,
    pub kinds: Vec<RouteGroupKind>,
    #[serde(flatten)]
    pub others: Others,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RouteNamespaces {
    pub from: Option<String>,
    pub selector: Option<LabelSelector>,
    #[serde(flatten)]
    pub others: Others,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LabelSelector {
    pub match_labels: BTreeMap<String, String>,
    pub match_expressions: Vec<LabelRequirement>,
    #[serde(flatten)]
    pub others: Others,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LabelRequirement {
    pub key: String,
    pub operator: String,
    pub values: Vec<String>,
    #[serde(flatten)]
    pub others: Others,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RouteGroupKind {
    pub group: Option<String>,
    pub kind: String,
    #[serde(flatten)]
    pub others: Others,
}

/// What every kind of route has. Rules stay raw: references are found by path.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RouteSpec {
    pub parent_refs: Vec<Value>,
    pub hostnames: Vec<String>,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    pub backend_refs: Vec<BackendRef>,
    pub filters: Vec<Filter>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BackendRef {
    pub group: Option<String>,
    pub kind: Option<String>,
    pub namespace: Option<String>,
    pub name: String,
    pub port: Option<i64>,
    pub filters: Vec<Filter>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Filter {
    #[serde(rename = "type")]
    pub type_: String,
    pub request_mirror: Option<RequestMirror>,
    pub extension_ref: Option<ExtensionRef>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RequestMirror {
    pub backend_ref: BackendRef,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ExtensionRef {
    pub group: String,
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ParentRef {
    pub group: Option<String>,
    pub kind: Option<String>,
    pub namespace: Option<String>,
    pub name: String,
    pub section_name: Option<String>,
    pub port: Option<i64>,
    #[serde(flatten)]
    pub others: Others,
}

impl ParentRef {
    /// The kind of parent, if it is one that can be ours.
    pub fn parent_kind(&self) -> Option<ParentKind> {
        let kinds = [ParentKind::Gateway, ParentKind::ListenerSet];
        let group = self.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let kind = self.kind.as_deref().unwrap_or("Gateway");
        kinds
            .into_iter()
            .find(|known| group == GATEWAY_GROUP && known.as_str() == kind)
    }
}

/// A BackendTLSPolicy. It never goes to the hub as it is written, so that what is not understood must be seen.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PolicySpec {
    pub target_refs: Vec<TargetRef>,
    pub validation: Value,
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TargetRef {
    pub group: String,
    pub kind: String,
    pub name: String,
    pub section_name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GrantSpec {
    pub from: Vec<GrantFrom>,
    pub to: Vec<GrantTo>,
    #[serde(flatten)]
    pub others: Others,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GrantFrom {
    pub group: String,
    pub kind: String,
    pub namespace: String,
    #[serde(flatten)]
    pub others: Others,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GrantTo {
    pub group: String,
    pub kind: String,
    pub name: Option<String>,
    #[serde(flatten)]
    pub others: Others,
}
