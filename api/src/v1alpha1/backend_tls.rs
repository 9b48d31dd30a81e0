//! TLS between Envoy and a tenant's backend, as a BackendTLSPolicy asks for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How Envoy makes sure that a backend is who it should be. Exactly one of `certificateAuthorities` and
/// `wellKnownCACertificates` is set; a backend with both or neither is not served.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendTls {
    /// Name that is asked for (SNI) and, without `subjectAltNames`, that the certificate must carry.
    #[schemars(length(min = 1, max = 253))]
    pub hostname: String,
    /// Names of the SyncSecrets that hold certificate authorities in `ca.crt`. While one has not arrived the
    /// backend is not served: nothing is ever sent to it unchecked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub certificate_authorities: Vec<String>,
    /// Authorities that need no SyncSecret.
    #[serde(rename = "wellKnownCACertificates", skip_serializing_if = "Option::is_none")]
    pub well_known_ca_certificates: Option<WellKnownCaCertificates>,
    /// Names of which the certificate must carry one. Empty: `hostname`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// Certificate authorities that are known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WellKnownCaCertificates {
    /// Those of the system that Envoy runs on.
    System,
}

/// A name in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubjectAltName {
    /// What sort of name.
    #[serde(rename = "type")]
    pub type_: SubjectAltNameType,
    /// The name: a host name, which may begin with `*.`, or a URI, such as a SPIFFE id.
    #[schemars(length(min = 1, max = 253))]
    pub value: String,
}

/// What sort of name a certificate carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SubjectAltNameType {
    /// A host name.
    Hostname,
    /// A URI.
    #[serde(rename = "URI")]
    Uri,
}
