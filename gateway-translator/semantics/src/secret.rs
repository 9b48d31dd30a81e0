//! Whether a Secret can serve as a certificate with its key.
//!
//! A chain and a key that can be read, and that belong together. Dates and trust are the client's business.

use k8s_openapi::api::core::v1::Secret;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::index::Index;
use crate::key_pair;
use crate::kind::ObjectRef;
use crate::model::SecretReference;
use crate::outcome::SecretRef;
use crate::reason::{self, Verdict};
use crate::snapshot::SecretFacts;
use crate::unknown;

/// Type of a Secret that holds a certificate with its key.
pub(crate) const TLS_TYPE: &str = "kubernetes.io/tls";

impl SecretFacts {
    /// What matters of a Secret. Nothing of its content is kept.
    #[must_use]
    pub fn from_secret(secret: &Secret) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Self {
            namespace: text(&secret.metadata.namespace),
            name: text(&secret.metadata.name),
            uid: text(&secret.metadata.uid),
            type_: text(&secret.type_),
            tls_problem: tls_problem(secret),
        }
    }
}

fn tls_problem(secret: &Secret) -> Option<String> {
    let content = |key: &str| {
        secret
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .map(|bytes| bytes.0.as_slice())
    };
    let Some(certificate) = content("tls.crt") else {
        return Some("it has no key tls.crt".to_owned());
    };
    let Some(key) = content("tls.key") else {
        return Some("it has no key tls.key".to_owned());
    };
    certificate_problem("tls.crt", certificate).or_else(|| key_pair::problem(certificate, key))
}

/// What is wrong with the certificates under a key.
pub(crate) fn certificate_problem(key: &str, pem: &[u8]) -> Option<String> {
    let Ok(chain) = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() else {
        return Some(format!("{key} is not PEM"));
    };
    let readable = |der: &CertificateDer| x509_parser::parse_x509_certificate(der).is_ok();
    match chain.as_slice() {
        [] => Some(format!("{key} holds no certificate")),
        chain if chain.iter().all(readable) => None,
        _ => Some(format!("{key} holds a certificate that cannot be read")),
    }
}

/// The certificate behind a reference of `from`. The grant is asked for first: whether a Secret exists in another namespace
/// is not for everybody to know.
pub(crate) fn resolve(
    index: &Index,
    from: &ObjectRef,
    reference: &SecretReference,
    path: &str,
    invalid_reason: &'static str,
) -> Result<SecretRef, Verdict> {
    let invalid = |message: String| Verdict::new(invalid_reason, message);
    let SecretReference {
        group,
        kind,
        namespace,
        name,
        others: _,
    } = reference;
    if let Some(field) = unknown::in_secret_reference(reference, path) {
        return Err(invalid(unknown::message(&field)));
    }
    let (group, kind) = (
        group.as_deref().unwrap_or_default(),
        kind.as_deref().unwrap_or("Secret"),
    );
    if !group.is_empty() || kind != "Secret" {
        return Err(invalid(format!(
            "{path}: {kind} of group {group:?} is not supported, use a Secret"
        )));
    }
    let namespace = namespace.as_deref().unwrap_or(&from.namespace);
    if !index.grants.permit(from, "Secret", namespace, name) {
        let message = format!("{path}: no ReferenceGrant in {namespace} permits Secret {namespace}/{name}");
        return Err(Verdict::new(reason::REF_NOT_PERMITTED, message));
    }
    let secret = index
        .secrets
        .get(&(namespace, name.as_str()))
        .ok_or_else(|| invalid(format!("{path}: Secret {namespace}/{name} does not exist")))?;
    if secret.type_ != TLS_TYPE {
        let message = format!(
            "{path}: Secret {namespace}/{name} is of type {:?}, use {TLS_TYPE}",
            secret.type_
        );
        return Err(invalid(message));
    }
    match &secret.tls_problem {
        Some(problem) => Err(invalid(format!("{path}: Secret {namespace}/{name}: {problem}"))),
        None => Ok(SecretRef {
            uid: secret.uid.clone(),
            namespace: namespace.to_owned(),
            name: name.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;

    fn problem(certificate: &str, key: &str) -> Option<String> {
        let data = [("tls.crt", certificate), ("tls.key", key)];
        let data = data.map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())));
        let secret = Secret {
            data: Some(BTreeMap::from(data)),
            ..Secret::default()
        };
        SecretFacts::from_secret(&secret).tls_problem
    }

    #[test]
    fn a_certificate_with_its_key_is_sound() {
        let made = rcgen::generate_simple_self_signed(["a.example.com".to_owned()]).unwrap();
        assert_eq!(problem(&made.cert.pem(), &made.signing_key.serialize_pem()), None);
    }

    #[test]
    fn text_that_is_no_pem_is_a_problem() {
        let made = rcgen::generate_simple_self_signed(["a.example.com".to_owned()]).unwrap();
        assert_eq!(
            problem("Hello world", "Hello world").as_deref(),
            Some("tls.crt holds no certificate")
        );
        assert_eq!(
            problem(&made.cert.pem(), "Hello").as_deref(),
            Some("tls.key holds no private key")
        );
        let forged = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        assert_eq!(
            problem(forged, "").as_deref(),
            Some("tls.crt holds a certificate that cannot be read")
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_a_problem() {
        let [one, other] =
            [(), ()].map(|()| rcgen::generate_simple_self_signed(["a.example.com".to_owned()]).unwrap());
        assert_eq!(
            problem(&one.cert.pem(), &other.signing_key.serialize_pem()).as_deref(),
            Some("the private key in tls.key does not belong to the certificate in tls.crt")
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        let problem = SecretFacts::from_secret(&Secret::default()).tls_problem;
        assert_eq!(problem.as_deref(), Some("it has no key tls.crt"));
    }
}
