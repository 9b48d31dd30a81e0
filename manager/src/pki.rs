//! Certificates of the xDS server and of the tenants' Envoys: when they are due, and how they are made.
//!
//! Whether one is due is a pure function of what is there and the clock. Keys come from the operating system's
//! randomness, so making one is the only part that is not.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use x509_parser::pem::parse_x509_pem;

use crate::build::{labels, object_meta};

/// Secret with the certificate authority, in the manager's namespace.
pub const CA_SECRET: &str = "kubelb-xds-ca";
/// Secret with the server's certificate, in the manager's namespace.
pub const SERVER_SECRET: &str = "kubelb-xds-server";
/// Annotation: which authority signed it.
pub const SIGNED_BY: &str = "kubelb.k8c.io/signed-by";
/// Annotation: what it was made for.
pub const ISSUED_FOR: &str = "kubelb.k8c.io/issued-for";

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const TRUST: &str = "ca.crt";
/// The authority before this one: trusted until all that it signed is replaced.
const PREVIOUS: &str = "previous-ca.crt";

/// A certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// It could not be made.
    #[error("cannot make a certificate for {purpose}")]
    Generate {
        /// What for.
        purpose: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The authority's Secret is not usable.
    #[error("the certificate authority in Secret {CA_SECRET} cannot be read")]
    Authority,
    /// A moment that no certificate can carry.
    #[error("{0} is out of range for a certificate")]
    Time(Timestamp),
}

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// To sign the others.
    Authority,
    /// The xDS server, under this DNS name.
    Server(String),
    /// The Envoys of one fleet, by this URI.
    Fleet(String),
}

impl Purpose {
    fn text(&self) -> String {
        match self {
            Self::Authority => "authority".to_owned(),
            Self::Server(name) => format!("server {name}"),
            Self::Fleet(uri) => format!("fleet {uri}"),
        }
    }

    fn life_days(&self) -> i64 {
        match self {
            Self::Authority => 3652,
            Self::Server(_) => 365,
            Self::Fleet(_) => 90,
        }
    }
}

/// The authority, as its Secret has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    certificate: String,
    key: String,
    previous: Option<String>,
}

impl Authority {
    /// Reads it.
    ///
    /// # Errors
    /// When a part of it is missing.
    pub fn of(secret: &Secret) -> Result<Self, PkiError> {
        let certificate = text(secret, CERTIFICATE).ok_or(PkiError::Authority)?;
        let key = text(secret, KEY).ok_or(PkiError::Authority)?;
        Ok(Self {
            certificate,
            key,
            previous: text(secret, PREVIOUS),
        })
    }

    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> String {
        api::names::identity_hash(&[&self.certificate])
    }

    /// What is trusted: this one and the one before.
    #[must_use]
    pub fn bundle(&self) -> String {
        format!(
            "{}{}",
            self.certificate,
            self.previous.as_deref().unwrap_or_default()
        )
    }
}

/// True when `secret` has to be made anew: it is missing, unreadable, for something else, signed by another
/// authority, trusts another one, or two thirds of its life are over.
#[must_use]
pub fn is_due(
    secret: Option<&Secret>,
    purpose: &Purpose,
    authority: Option<&Authority>,
    now: Timestamp,
) -> bool {
    let Some(secret) = secret else { return true };
    let annotation = |key| {
        secret
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(key))
            .map(String::as_str)
    };
    if annotation(ISSUED_FOR) != Some(&purpose.text()) || text(secret, KEY).is_none() {
        return true;
    }
    if let Some(authority) = authority
        && (annotation(SIGNED_BY) != Some(&authority.id()) || text(secret, TRUST) != Some(authority.bundle()))
    {
        return true;
    }
    match text(secret, CERTIFICATE).and_then(|pem| validity(&pem)) {
        Some((from, to)) => now >= renewal(from, to),
        None => true,
    }
}

/// When two thirds of the life are over.
fn renewal(from: Timestamp, to: Timestamp) -> Timestamp {
    let third = to.duration_since(from) / 3;
    to.checked_sub(third).unwrap_or(from)
}

/// How long until it is due.
#[must_use]
pub fn due_in(secret: &Secret, now: Timestamp) -> Option<jiff::SignedDuration> {
    let (from, to) = validity(&text(secret, CERTIFICATE)?)?;
    Some(renewal(from, to).duration_since(now))
}

fn validity(pem: &str) -> Option<(Timestamp, Timestamp)> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    Some((
        at(certificate.validity().not_before)?,
        at(certificate.validity().not_after)?,
    ))
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone())
        .ok()
        .filter(|text| !text.is_empty())
}

/// Where a Secret goes.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// Name of the Tenant; empty for the hub's own.
    pub tenant: &'a str,
    /// Component that it is part of.
    pub component: &'a str,
}

/// Makes a new authority. What `old` signed stays trusted beside it.
///
/// # Errors
/// When no certificate can be made.
pub fn authority(place: &Place<'_>, old: Option<&Authority>, now: Timestamp) -> Result<Secret, PkiError> {
    let purpose = Purpose::Authority;
    let failed = |source| PkiError::Generate {
        purpose: purpose.text(),
        source,
    };
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = params(&purpose, now)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(failed)?.pem();
    let mut data = vec![(CERTIFICATE, certificate), (KEY, key.serialize_pem())];
    data.extend(old.map(|old| (PREVIOUS, old.certificate.clone())));
    Ok(secret(place, &purpose, data, None))
}

/// Makes a certificate signed by `authority`.
///
/// # Errors
/// When the authority cannot be used, or no certificate can be made.
pub fn leaf(
    place: &Place<'_>,
    purpose: &Purpose,
    authority: &Authority,
    now: Timestamp,
) -> Result<Secret, PkiError> {
    let failed = |source| PkiError::Generate {
        purpose: purpose.text(),
        source,
    };
    let ca_key = KeyPair::from_pem(&authority.key).map_err(|_| PkiError::Authority)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, ca_key).map_err(|_| PkiError::Authority)?;
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = params(purpose, now)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let (name, usage) = match purpose {
        Purpose::Server(name) => (
            SanType::DnsName(name.clone().try_into().map_err(failed)?),
            ExtendedKeyUsagePurpose::ServerAuth,
        ),
        Purpose::Fleet(uri) => (
            SanType::URI(uri.clone().try_into().map_err(failed)?),
            ExtendedKeyUsagePurpose::ClientAuth,
        ),
        Purpose::Authority => return Err(PkiError::Authority),
    };
    params.subject_alt_names = vec![name];
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?.pem();
    let data = vec![
        (CERTIFICATE, certificate),
        (KEY, key.serialize_pem()),
        (TRUST, authority.bundle()),
    ];
    Ok(secret(place, purpose, data, Some(authority)))
}

fn params(purpose: &Purpose, now: Timestamp) -> Result<CertificateParams, PkiError> {
    let date = |days: i64| {
        let at = now
            .checked_add(jiff::SignedDuration::from_hours(24 * days))
            .map_err(|_| PkiError::Time(now))?;
        let date: Date = at.to_zoned(TimeZone::UTC).date();
        let (month, day) = (u8::try_from(date.month()), u8::try_from(date.day()));
        let (Ok(month), Ok(day)) = (month, day) else {
            return Err(PkiError::Time(now));
        };
        Ok(rcgen::date_time_ymd(i32::from(date.year()), month, day))
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "kubelb");
    if *purpose == Purpose::Authority {
        params.distinguished_name.push(DnType::CommonName, "kubelb xDS");
    }
    // A day early, because the clocks of a hub and its nodes differ.
    params.not_before = date(-1)?;
    params.not_after = date(purpose.life_days())?;
    Ok(params)
}

fn secret(
    place: &Place<'_>,
    purpose: &Purpose,
    data: Vec<(&str, String)>,
    signer: Option<&Authority>,
) -> Secret {
    let mut metadata = object_meta(place.namespace, place.name, labels(place.tenant, place.component));
    if place.tenant.is_empty() {
        metadata
            .labels
            .get_or_insert_default()
            .remove(api::meta::TENANT_LABEL);
    }
    let mut annotations = BTreeMap::from([(ISSUED_FOR.to_owned(), purpose.text())]);
    annotations.extend(signer.map(|signer| (SIGNED_BY.to_owned(), signer.id())));
    metadata.annotations = Some(annotations);
    Secret {
        metadata,
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(
            data.into_iter()
                .map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())))
                .collect(),
        ),
        ..Secret::default()
    }
}

/// What the xDS server needs, from its Secrets.
///
/// # Errors
/// When a part is missing or unreadable.
pub fn server_material(server: &Secret, authority: &Authority) -> Result<l4_xds::TlsMaterial, MaterialError> {
    let (certificate, key) = (text(server, CERTIFICATE), text(server, KEY));
    let (Some(certificate), Some(key)) = (certificate, key) else {
        return Err(MaterialError::Incomplete);
    };
    let bundle = authority.bundle();
    Ok(l4_xds::TlsMaterial::from_pem(
        certificate.as_bytes(),
        key.as_bytes(),
        &[bundle.as_bytes()],
    )?)
}

/// The server's Secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// A key is missing.
    #[error("Secret {SERVER_SECRET} has no certificate or no key")]
    Incomplete,
    /// It cannot be read.
    #[error(transparent)]
    Tls(#[from] l4_xds::identity::TlsError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap()
    }

    fn place() -> Place<'static> {
        Place {
            namespace: "tenant-a",
            name: "envoy-xds-tls",
            tenant: "a",
            component: "envoy",
        }
    }

    fn ca(day: i64) -> Authority {
        Authority::of(&authority(&place(), None, at(day)).unwrap()).unwrap()
    }

    fn fleet() -> Purpose {
        Purpose::Fleet("spiffe://kubelb/fleet/tenant-a".into())
    }

    #[test]
    fn a_certificate_is_due_when_two_thirds_of_its_life_are_over() {
        let ca = ca(0);
        let made = leaf(&place(), &fleet(), &ca, at(0)).unwrap();
        assert!(!is_due(Some(&made), &fleet(), Some(&ca), at(58)));
        assert!(is_due(Some(&made), &fleet(), Some(&ca), at(61)));
    }

    #[test]
    fn a_certificate_is_due_when_it_is_missing_or_for_somebody_else() {
        let ca = ca(0);
        let made = leaf(&place(), &fleet(), &ca, at(0)).unwrap();
        assert!(is_due(None, &fleet(), Some(&ca), at(0)));
        assert!(is_due(
            Some(&made),
            &Purpose::Fleet("spiffe://kubelb/fleet/tenant-b".into()),
            Some(&ca),
            at(0)
        ));
        let mut emptied = made;
        emptied.data = None;
        assert!(is_due(Some(&emptied), &fleet(), Some(&ca), at(0)));
    }

    #[test]
    fn a_new_authority_makes_every_certificate_due_and_the_old_one_stays_trusted() {
        let old = ca(0);
        let made = leaf(&place(), &fleet(), &old, at(0)).unwrap();
        let new = Authority::of(&authority(&place(), Some(&old), at(1)).unwrap()).unwrap();
        assert!(is_due(Some(&made), &fleet(), Some(&new), at(1)));
        assert!(new.bundle().contains(&old.certificate));
        assert!(!is_due(
            Some(&leaf(&place(), &fleet(), &new, at(1)).unwrap()),
            &fleet(),
            Some(&new),
            at(1)
        ));
    }

    #[test]
    fn the_xds_server_takes_what_is_made_here() {
        let ca = ca(0);
        let server = leaf(
            &place(),
            &Purpose::Server("kubelb-manager-xds.kubelb.svc".into()),
            &ca,
            at(0),
        )
        .unwrap();
        let material = server_material(&server, &ca).unwrap();
        l4_xds::identity::Tls::new(&material).unwrap();
    }

    #[test]
    fn a_fleets_certificate_names_its_fleet_and_nothing_else() {
        let ca = ca(0);
        let made = leaf(&place(), &fleet(), &ca, at(0)).unwrap();
        let (_, pem) = parse_x509_pem(text(&made, CERTIFICATE).unwrap().as_bytes()).unwrap();
        let chain = [pem.contents.into()];
        assert_eq!(
            l4_xds::identity::fleet_of(Some(&chain)).unwrap().as_str(),
            "tenant-a"
        );
        let mut metadata = made.metadata;
        let signed_by = metadata.annotations.get_or_insert_default().remove(SIGNED_BY);
        assert_eq!(signed_by, Some(ca.id()));
        insta::assert_yaml_snapshot!(metadata);
    }
}
