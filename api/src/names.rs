//! Names: newtypes that cannot hold an illegal value, and the one function that makes names from other names.
//!
//! Names are injective and bounded. A namespace and a name are never joined with `-`, because `a-b`/`c` and
//! `a`/`b-c` would then be one name.

use std::fmt;

use k8s_openapi::api::core::v1::ObjectReference;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest DNS-1123 label, and so the longest name of a Service or a namespace.
pub const MAX_LABEL: usize = 63;
/// Characters of the hash in a derived name: 100 bits.
const HASH_CHARS: usize = 20;
/// Prefix of every tenant's namespace on the hub.
pub const TENANT_NAMESPACE_PREFIX: &str = "tenant-";

/// Why a text is not the name that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("{what} must not be empty")]
    Empty {
        /// Field or type that was given.
        what: &'static str,
    },
    /// More characters than the limit.
    #[error("{what} {value:?} has {length} characters, the limit is {limit}")]
    TooLong {
        /// Field or type that was given.
        what: &'static str,
        /// The text that was given.
        value: String,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not lower-case alphanumerics and `-`, or `-` at an end.
    #[error("{what} {value:?} is not a DNS label: use lower-case letters, digits and '-', not '-' at an end")]
    NotALabel {
        /// Field or type that was given.
        what: &'static str,
        /// The text that was given.
        value: String,
    },
}

fn check_label(what: &'static str, value: &str) -> Result<(), NameError> {
    if value.is_empty() {
        return Err(NameError::Empty { what });
    }
    if value.len() > MAX_LABEL {
        return Err(NameError::TooLong {
            what,
            value: value.to_owned(),
            length: value.len(),
            limit: MAX_LABEL,
        });
    }
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !value.bytes().all(legal) || value.starts_with('-') || value.ends_with('-') {
        return Err(NameError::NotALabel {
            what,
            value: value.to_owned(),
        });
    }
    Ok(())
}

/// Namespace of a tenant on the hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantNamespace(String);

impl TenantNamespace {
    /// The namespace of the Tenant `tenant`: its name if that begins with `tenant-`, else `tenant-<name>`.
    ///
    /// # Errors
    /// When the result is not a DNS label of at most 63 characters.
    pub fn of(tenant: &str) -> Result<Self, NameError> {
        let namespace = if tenant.starts_with(TENANT_NAMESPACE_PREFIX) {
            tenant.to_owned()
        } else {
            format!("{TENANT_NAMESPACE_PREFIX}{tenant}")
        };
        check_label("tenant namespace", &namespace)?;
        Ok(Self(namespace))
    }

    /// The namespace's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A TCP or UDP port: 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u16")]
pub struct PortNumber(u16);

/// A number that is not a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a port: use 1 to 65535")]
pub struct PortError(pub i64);

impl PortNumber {
    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<i64> for PortNumber {
    type Error = PortError;

    fn try_from(value: i64) -> Result<Self, PortError> {
        match u16::try_from(value) {
            Ok(port) if port > 0 => Ok(Self(port)),
            _ => Err(PortError(value)),
        }
    }
}

impl TryFrom<i32> for PortNumber {
    type Error = PortError;

    fn try_from(value: i32) -> Result<Self, PortError> {
        Self::try_from(i64::from(value))
    }
}

impl From<PortNumber> for u16 {
    fn from(value: PortNumber) -> Self {
        value.0
    }
}

impl fmt::Display for PortNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for PortNumber {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535})
    }
}

/// A name made from an object's identity: `<prefix>-<hash>-<readable tail>`, at most 63 characters.
///
/// The hash covers kind, namespace and name with their lengths, so that no two identities are written alike.
/// The tail is for people only. `prefix` must be a short literal that begins with a letter.
#[must_use]
pub fn derived_name(prefix: &str, kind: &str, namespace: &str, name: &str) -> String {
    derived_name_of(prefix, &[kind, namespace, name], name)
}

/// As [`derived_name`], for an identity of any number of parts.
#[must_use]
pub fn derived_name_of(prefix: &str, parts: &[&str], tail: &str) -> String {
    let hash = identity_hash(parts);
    let room = MAX_LABEL.saturating_sub(prefix.len() + HASH_CHARS + 2);
    let readable = readable_tail(tail, room);
    if readable.is_empty() {
        format!("{prefix}-{hash}")
    } else {
        format!("{prefix}-{hash}-{readable}")
    }
}

/// Hash of a tuple of texts: 20 characters of lower-case base32, legal in names and in label values.
#[must_use]
pub fn identity_hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut text = base32::encode(
        base32::Alphabet::Rfc4648Lower { padding: false },
        &hasher.finalize(),
    );
    text.truncate(HASH_CHARS);
    text
}

fn readable_tail(tail: &str, room: usize) -> String {
    let legal = tail.bytes().map(|b| match b {
        b'a'..=b'z' | b'0'..=b'9' => char::from(b),
        b'A'..=b'Z' => char::from(b.to_ascii_lowercase()),
        _ => '-',
    });
    let cut: String = legal.take(room).collect();
    cut.trim_matches('-').to_owned()
}

/// The reference that Events and messages use for an object.
#[must_use]
pub fn object_reference(
    api_version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    uid: &str,
) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: (!uid.is_empty()).then(|| uid.to_owned()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tenant_named_with_the_prefix_keeps_its_name_as_namespace() {
        assert_eq!(
            TenantNamespace::of("tenant-cluster-1").unwrap().as_str(),
            "tenant-cluster-1"
        );
        assert_eq!(TenantNamespace::of("acme").unwrap().as_str(), "tenant-acme");
    }

    #[test]
    fn a_tenant_name_that_makes_no_namespace_is_refused() {
        assert!(matches!(
            TenantNamespace::of("a.b"),
            Err(NameError::NotALabel { .. })
        ));
        assert!(matches!(
            TenantNamespace::of(&"a".repeat(60)),
            Err(NameError::TooLong { .. })
        ));
    }

    #[test]
    fn joined_names_that_would_collide_do_not() {
        assert_ne!(
            derived_name("svc", "Service", "a-b", "c"),
            derived_name("svc", "Service", "a", "b-c")
        );
        assert_ne!(
            derived_name("rt", "Ingress", "a", "b"),
            derived_name("rt", "HTTPRoute", "a", "b")
        );
    }

    #[test]
    fn port_zero_is_no_port() {
        assert_eq!(PortNumber::try_from(0_i64), Err(PortError(0)));
        assert!(serde_json::from_str::<PortNumber>("65536").is_err());
    }

    proptest! {
        #[test]
        fn derived_names_are_dns_labels(ns in "[a-z0-9-]{1,63}", name in "\\PC{0,253}") {
            let derived = derived_name("svc", "Service", &ns, &name);
            prop_assert!(check_label("derived", &derived).is_ok(), "{derived}");
            prop_assert!(derived.starts_with("svc-"));
        }
    }
}
