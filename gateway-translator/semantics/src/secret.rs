//! Whether a Secret can serve as a certificate with its key.
//!
//! Only the form is checked: a chain and a key that can be read. Dates and trust are the client's business.

use k8s_openapi::api::core::v1::Secret;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::snapshot::SecretFacts;

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
    certificate_problem(certificate)
        .or_else(|| key_problem(key))
        .map(str::to_owned)
}

fn certificate_problem(pem: &[u8]) -> Option<&'static str> {
    let Ok(chain) = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() else {
        return Some("tls.crt is not PEM");
    };
    let readable = |der: &CertificateDer| x509_parser::parse_x509_certificate(der).is_ok();
    match chain.as_slice() {
        [] => Some("tls.crt holds no certificate"),
        chain if chain.iter().all(readable) => None,
        _ => Some("tls.crt holds a certificate that cannot be read"),
    }
}

fn key_problem(pem: &[u8]) -> Option<&'static str> {
    PrivateKeyDer::from_pem_slice(pem)
        .is_err()
        .then_some("tls.key holds no private key")
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
    fn a_missing_key_is_named() {
        let problem = SecretFacts::from_secret(&Secret::default()).tls_problem;
        assert_eq!(problem.as_deref(), Some("it has no key tls.crt"));
    }
}
