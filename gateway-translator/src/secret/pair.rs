//! Whether Envoy would serve a certificate with its key.
//!
//! Envoy takes all of an update or none of it, and on a Gateway that tenants share the update is about all of them. So
//! what Envoy refuses must not get there. Envoy Gateway keeps from it what it cannot read, what is out of date and keys
//! that do not match, each for one listener alone; kinds of key, sizes and names it does not look at.
//!
//! Nothing else is refused: trust and names are the business of clients.

use x509_parser::asn1_rs::Sequence;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519, Oid,
};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Fewest bits of an RSA key.
const MIN_RSA_BITS: usize = 2048;
/// Labels of a private key. Others, such as parameters of a curve, may stand before it.
const KEY_LABELS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
/// The extension by which a certificate asks for a stapled OCSP response.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
/// Its value.
const MUST_STAPLE: [u8; 5] = [0x30, 0x03, 0x02, 0x01, 0x05];

/// What is wrong with a chain of certificates in PEM, of which the first is the server's own.
pub(super) fn chain_problem(pem: &[u8]) -> Option<String> {
    let Ok(blocks) = Pem::iter_from_buffer(pem).collect::<Result<Vec<_>, _>>() else {
        return Some("is not PEM".to_owned());
    };
    let read =
        |block: &Pem| X509Certificate::from_der(&block.contents).is_ok_and(|(rest, _)| rest.is_empty());
    if !blocks.iter().all(read) {
        return Some("has a certificate that cannot be read".to_owned());
    }
    let first = blocks
        .first()
        .and_then(|block| X509Certificate::from_der(&block.contents).ok());
    match first {
        Some((_, leaf)) => leaf_problem(&leaf),
        None => Some("has no certificate".to_owned()),
    }
}

/// What is wrong with a private key in PEM.
pub(super) fn key_problem(pem: &[u8]) -> Option<&'static str> {
    let mut blocks = Pem::iter_from_buffer(pem).filter_map(Result::ok);
    let key = blocks.find(|block| KEY_LABELS.contains(&block.label.as_str()));
    let Some(key) = key else {
        return Some("has no private key");
    };
    let is_read = Sequence::from_der(&key.contents).is_ok_and(|(rest, _)| rest.is_empty());
    (!is_read).then_some("has a private key that cannot be read")
}

fn leaf_problem(leaf: &X509Certificate<'_>) -> Option<String> {
    public_key_problem(leaf.public_key()).or_else(|| {
        let problem = name_problem(leaf);
        let problem = problem
            .or_else(|| asks_for_staple(leaf).then_some("asks for an OCSP response, of which there is none"));
        problem.map(|problem| format!("has a certificate that {problem}"))
    })
}

fn public_key_problem(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        return match rsa_bits(key) {
            Some(bits) if bits >= MIN_RSA_BITS => None,
            Some(bits) => Some(format!(
                "has an RSA key of {bits} bits, and {MIN_RSA_BITS} are the fewest"
            )),
            None => Some("has an RSA key that cannot be read".to_owned()),
        };
    }
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref();
        let curve = curve.and_then(|parameters| parameters.as_oid().ok());
        let is_known =
            curve.is_some_and(|curve| [OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521].contains(&curve));
        let problem = "has an EC key on another curve than P-256, P-384 and P-521";
        return (!is_known).then(|| problem.to_owned());
    }
    (*algorithm != OID_SIG_ED25519)
        .then(|| format!("has a key of a kind that is not served, {}", named(algorithm)))
}

fn named(algorithm: &Oid<'_>) -> String {
    algorithm.to_id_string()
}

fn rsa_bits(key: &SubjectPublicKeyInfo<'_>) -> Option<usize> {
    let Ok(PublicKey::RSA(rsa)) = key.parsed() else {
        return None;
    };
    let start = rsa.modulus.iter().position(|byte| *byte != 0)?;
    let modulus = rsa.modulus.get(start..)?;
    let unused = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    Some(modulus.len() * 8 - unused)
}

fn name_problem(leaf: &X509Certificate<'_>) -> Option<&'static str> {
    if let Some(name) = leaf.subject().iter_common_name().next() {
        return name
            .attr_value()
            .data
            .is_empty()
            .then_some("has an empty common name");
    }
    let alternative = leaf.subject_alternative_name().ok().flatten();
    let mut names = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names);
    let counts = |name: &GeneralName<'_>| {
        matches!(
            name,
            GeneralName::DNSName(_) | GeneralName::IPAddress(_) | GeneralName::URI(_)
        )
    };
    (!names.any(counts)).then_some("has no name")
}

fn asks_for_staple(leaf: &X509Certificate<'_>) -> bool {
    leaf.iter_extensions()
        .any(|extension| named(&extension.oid) == TLS_FEATURE && extension.value == MUST_STAPLE)
}
