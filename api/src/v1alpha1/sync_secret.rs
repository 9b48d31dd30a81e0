//! `SyncSecret`: a Secret of a tenant that the hub needs, such as a certificate.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tenant's Secret on its way to the hub, named by the Secret's UID. Only types of an allow-list become
/// Secrets on the hub.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "kubelb.k8c.io",
    version = "v1alpha1",
    kind = "SyncSecret",
    shortname = "ssec",
    namespaced,
    status = "SyncSecretStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Type","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"Synced","type":"string","jsonPath":".status.conditions[?(@.type==\"Synced\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SyncSecretSpec {
    /// Type of the Secret: `kubernetes.io/tls` or `Opaque`.
    #[serde(rename = "type")]
    pub type_: SyncSecretType,
    /// Content, as in a Secret: base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>", extend("maxProperties" = 16))]
    pub data: BTreeMap<String, ByteString>,
}

/// Types of Secret that may reach the hub. A service-account token may not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SyncSecretType {
    /// A certificate with its key.
    #[default]
    #[serde(rename = "kubernetes.io/tls")]
    Tls,
    /// Anything else, such as a CA certificate.
    Opaque,
}

impl SyncSecretType {
    /// The Secret type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "kubernetes.io/tls",
            Self::Opaque => "Opaque",
        }
    }
}

/// What the manager made of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncSecretStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Synced`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub conditions: Vec<Condition>,
}

/// Condition types and reasons of a SyncSecret.
pub mod sync_secret_condition {
    /// The Secret on the hub holds this content.
    pub const SYNCED: &str = "Synced";
    /// Reason: it does.
    pub const REASON_SYNCED: &str = "Synced";
    /// Reason: it does not.
    pub const REASON_SYNC_FAILED: &str = "SyncFailed";
}
