//! Whether a private key belongs to a certificate, and whether Envoy takes the two.
//!
//! Nothing is computed with the keys: what both say of the public key is compared. A key that says nothing of it,
//! as a key on a curve may, gets the benefit of the doubt.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Shorter RSA keys are refused by Envoy.
const MIN_RSA_BYTES: usize = 256;
/// No more elements of a sequence are read; what is looked for comes first.
const MAX_ELEMENTS: usize = 16;
/// OIDs of the algorithms in PKCS #8, as bytes: rsaEncryption and ecPublicKey.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// The public half, as a certificate has it.
#[derive(Debug, PartialEq)]
enum Public<'a> {
    /// The modulus.
    Rsa(&'a [u8]),
    /// The point.
    Ec(&'a [u8]),
    Other {
        algorithm: &'a [u8],
        key: &'a [u8],
    },
}

/// What a private key says of its public half.
#[derive(Debug, PartialEq)]
enum Told<'a> {
    Rsa(&'a [u8]),
    Ec(Option<&'a [u8]>),
    /// Something that ends with the public key, if it says it.
    Other {
        algorithm: &'a [u8],
        ending: Option<&'a [u8]>,
    },
}

/// What is wrong with a private key under the first certificate of a chain that can be read.
pub(crate) fn problem(chain: &[u8], key: &[u8]) -> Option<String> {
    let Ok(key) = PrivateKeyDer::from_pem_slice(key) else {
        return Some("tls.key holds no private key".to_owned());
    };
    let leaf = CertificateDer::from_pem_slice(chain).ok()?;
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).ok()?;
    let public = public(leaf.public_key())?;
    let Some(told) = told(&key) else {
        return Some("tls.key holds a private key that cannot be read".to_owned());
    };
    if !is_pair(&public, &told) {
        return Some("the private key in tls.key does not belong to the certificate in tls.crt".to_owned());
    }
    match public {
        Public::Rsa(modulus) if modulus.len() < MIN_RSA_BYTES => Some(format!(
            "tls.crt holds an RSA key of {} bits, and {} are the least",
            modulus.len() * 8,
            MIN_RSA_BYTES * 8
        )),
        Public::Rsa(_) | Public::Ec(_) | Public::Other { .. } => None,
    }
}

fn public<'a>(info: &'a SubjectPublicKeyInfo) -> Option<Public<'a>> {
    let key = info.subject_public_key.data.as_ref();
    Some(match info.parsed().ok()? {
        PublicKey::RSA(_) => Public::Rsa(without_zeros(elements(key)?.first()?.data)?),
        PublicKey::EC(_) => Public::Ec(key),
        PublicKey::DSA(_)
        | PublicKey::GostR3410(_)
        | PublicKey::GostR3410_2012(_)
        | PublicKey::Unknown(_) => Public::Other {
            algorithm: info.algorithm.algorithm.as_bytes(),
            key,
        },
    })
}

fn told<'a>(key: &'a PrivateKeyDer) -> Option<Told<'a>> {
    match key {
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => ec(key.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(key) => pkcs8(key.secret_pkcs8_der()),
        _ => None,
    }
}

fn pkcs8(der: &[u8]) -> Option<Told<'_>> {
    let fields = elements(der)?;
    let [_, algorithm, inner, more @ ..] = fields.as_slice() else {
        return None;
    };
    let algorithm = sequence(algorithm)?
        .into_iter()
        .next()
        .filter(|oid| oid.tag() == Tag::Oid)?;
    let inner = Some(inner).filter(|inner| inner.tag() == Tag::OctetString)?;
    match algorithm.data {
        RSA => rsa(inner.data),
        EC => ec(inner.data),
        algorithm => Some(Told::Other {
            algorithm,
            ending: tagged(more, 1),
        }),
    }
}

/// Version, modulus, and what is nobody's business.
fn rsa(der: &[u8]) -> Option<Told<'_>> {
    let modulus = elements(der)?.into_iter().nth(1)?;
    let modulus = Some(modulus).filter(|modulus| modulus.tag() == Tag::Integer)?;
    without_zeros(modulus.data).map(Told::Rsa)
}

/// Version, number, perhaps the curve, and perhaps the public key.
fn ec(der: &[u8]) -> Option<Told<'_>> {
    let fields = elements(der)?;
    let Some(public) = tagged(&fields, 1) else {
        return Some(Told::Ec(None));
    };
    let (_, bits) = Any::from_der(public).ok()?;
    let (_, point) = bits.data.split_first().filter(|_| bits.tag() == Tag::BitString)?;
    Some(Told::Ec(Some(point)))
}

fn is_pair(public: &Public, told: &Told) -> bool {
    match (public, told) {
        (Public::Rsa(one), Told::Rsa(other)) => one == other,
        (Public::Ec(one), Told::Ec(Some(other))) => {
            // The first byte says whether the point is written in short, and then its first half is all there is.
            one.iter().skip(1).zip(other.iter().skip(1)).all(|(a, b)| a == b)
        }
        (Public::Ec(_), Told::Ec(None)) => true,
        (
            Public::Other { algorithm, key },
            Told::Other {
                algorithm: other,
                ending,
            },
        ) => algorithm == other && ending.is_none_or(|ending| ending.ends_with(key)),
        (Public::Rsa(_) | Public::Ec(_) | Public::Other { .. }, _) => false,
    }
}

/// The elements of a sequence in DER.
fn elements(der: &[u8]) -> Option<Vec<Any<'_>>> {
    let (_, outer) = Any::from_der(der).ok()?;
    sequence(&outer)
}

fn sequence<'a>(outer: &Any<'a>) -> Option<Vec<Any<'a>>> {
    let mut rest = (outer.tag() == Tag::Sequence).then_some(outer.data)?;
    let mut found = Vec::new();
    while !rest.is_empty() && found.len() < MAX_ELEMENTS {
        let (after, element) = Any::from_der(rest).ok()?;
        found.push(element);
        rest = after;
    }
    Some(found)
}

/// The content of an element with a tag of its own.
fn tagged<'a>(elements: &[Any<'a>], tag: u32) -> Option<&'a [u8]> {
    let mut elements = elements.iter();
    let is_it = |element: &&Any| element.class() == Class::ContextSpecific && element.tag() == Tag(tag);
    elements.find(is_it).map(|element| element.data)
}

/// The bytes of a positive number.
fn without_zeros(number: &[u8]) -> Option<&[u8]> {
    let start = number.iter().position(|byte| *byte != 0)?;
    number.get(start..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with this certificate and this key.
    fn of(certificate: &str, key: &str) -> Option<String> {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
        let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
        problem(&read(certificate), &read(key))
    }

    #[test]
    fn a_key_belongs_to_its_certificate_in_whatever_form_it_is_written() {
        let pairs = [
            ("rsa-2048.crt", "rsa-2048.key"),
            ("rsa-2048.crt", "rsa-2048.pkcs1.key"),
            ("ec.crt", "ec.key"),
            ("ec.crt", "ec.sec1.key"),
            ("ed.crt", "ed.key"),
        ];
        for (certificate, key) in pairs {
            assert_eq!(of(certificate, key), None, "{certificate} {key}");
        }
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
        ] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
            assert_eq!(
                problem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()),
                None
            );
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let strangers = [
            ("rsa-2048.crt", "rsa-1024.key"),
            ("rsa-2048.crt", "ec.key"),
            ("ec.crt", "rsa-2048.key"),
            ("ec.crt", "rsa-2048.pkcs1.key"),
            ("ec.crt", "ec-other.sec1.key"),
            ("ec.crt", "ed.key"),
            ("ed.crt", "ec.sec1.key"),
        ];
        let problem = "the private key in tls.key does not belong to the certificate in tls.crt";
        for (certificate, key) in strangers {
            assert_eq!(
                of(certificate, key).as_deref(),
                Some(problem),
                "{certificate} {key}"
            );
        }
        let [one, other] = [(), ()].map(|()| rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap());
        let certificate = rcgen::CertificateParams::default().self_signed(&one).unwrap();
        let said = super::problem(certificate.pem().as_bytes(), other.serialize_pem().as_bytes());
        assert_eq!(said.as_deref(), Some(problem));
    }

    #[test]
    fn a_key_that_says_nothing_of_its_public_half_passes() {
        assert_eq!(of("ec.crt", "ec-other.without-public.key"), None);
    }

    #[test]
    fn a_short_rsa_key_is_refused() {
        assert_eq!(
            of("rsa-1024.crt", "rsa-1024.key").as_deref(),
            Some("tls.crt holds an RSA key of 1024 bits, and 2048 are the least")
        );
    }

    #[test]
    fn a_key_that_is_none_inside_is_told() {
        let forged = b"-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n";
        let made = rcgen::generate_simple_self_signed(["a.example.com".to_owned()]).unwrap();
        assert_eq!(
            problem(made.cert.pem().as_bytes(), forged).as_deref(),
            Some("tls.key holds a private key that cannot be read")
        );
    }
}
