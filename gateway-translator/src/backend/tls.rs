//! TLS between Envoy and a backend: a BackendTLSPolicy for the hub Service.

use api::v1alpha1::{
    BackendTls, SubjectAltName, SubjectAltNameType, WellKnownCaCertificates, route_condition as condition,
};
use serde_json::{Value, json};

use super::{BackendPlan, Terms};
use crate::domain::hostname;
use crate::metadata::{component, labels};
use crate::names;
use crate::output::{HubObject, Kind, ObjectKey};
use crate::verdict::Problem;

/// Checks that a backend can be verified, and that all that it takes has arrived.
pub(super) fn check(tls: &BackendTls, terms: &Terms<'_>) -> Result<(), Problem> {
    let BackendTls {
        hostname: name,
        certificate_authorities,
        well_known_ca_certificates,
        subject_alt_names,
    } = tls;
    if !hostname::is_precise(name) {
        return Err(Problem::unsupported(format!("{name:?} is not a host name.")));
    }
    if certificate_authorities.is_empty() != well_known_ca_certificates.is_some() {
        return Err(Problem::unsupported(
            "its TLS needs either certificate authorities or well-known ones.",
        ));
    }
    if let Some(missing) = certificate_authorities
        .iter()
        .find(|name| !terms.authorities.contains(name.as_str()))
    {
        return Err(Problem::new(
            condition::REASON_SECRET_NOT_FOUND,
            format!("the certificate authority in SyncSecret {missing} has not arrived."),
        ));
    }
    subject_alt_names.iter().try_for_each(check_name)
}

fn check_name(name: &SubjectAltName) -> Result<(), Problem> {
    let SubjectAltName { type_, value } = name;
    let legal = match type_ {
        SubjectAltNameType::Hostname => hostname::is_hostname(value),
        SubjectAltNameType::Uri => value.contains("://") && value.bytes().all(|b| b.is_ascii_graphic()),
    };
    if legal {
        Ok(())
    } else {
        Err(Problem::unsupported(format!(
            "{value:?} is not a name that a certificate carries."
        )))
    }
}

/// What of it tells two hub Services apart. Lists begin with their length, so that no two settings are alike.
pub(crate) fn name_parts(tls: &BackendTls) -> Vec<String> {
    let BackendTls {
        hostname,
        certificate_authorities,
        well_known_ca_certificates,
        subject_alt_names,
    } = tls;
    let mut parts = vec!["TLS".to_owned(), hostname.clone()];
    parts.push(match well_known_ca_certificates {
        Some(WellKnownCaCertificates::System) => "System".to_owned(),
        None => String::new(),
    });
    parts.push(certificate_authorities.len().to_string());
    parts.extend(certificate_authorities.iter().cloned());
    parts.push(subject_alt_names.len().to_string());
    for SubjectAltName { type_, value } in subject_alt_names {
        parts.extend([type_name(*type_).to_owned(), value.clone()]);
    }
    parts
}

fn type_name(type_: SubjectAltNameType) -> &'static str {
    match type_ {
        SubjectAltNameType::Hostname => "Hostname",
        SubjectAltNameType::Uri => "URI",
    }
}

impl BackendPlan<'_> {
    /// The BackendTLSPolicy, where the backend speaks TLS.
    pub(super) fn tls_policy(&self, tenant: &str, namespace: &str) -> Option<HubObject> {
        let tls = self.service.tls.as_ref()?;
        let kind = Kind::BackendTlsPolicy;
        let value = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.as_str(),
            "metadata": {
                "namespace": namespace,
                "name": self.name,
                "labels": labels(tenant, component::BACKEND),
                "annotations": self.origin(),
            },
            "spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": self.name}],
                "validation": validation(tls, namespace),
            },
        });
        Some(HubObject {
            key: ObjectKey::new(kind, namespace, &self.name),
            value,
        })
    }
}

fn validation(tls: &BackendTls, namespace: &str) -> Value {
    let BackendTls {
        hostname,
        certificate_authorities,
        well_known_ca_certificates,
        subject_alt_names,
    } = tls;
    let mut validation = json!({"hostname": hostname});
    if let Some(fields) = validation.as_object_mut() {
        match well_known_ca_certificates {
            Some(WellKnownCaCertificates::System) => {
                fields.insert("wellKnownCACertificates".to_owned(), "System".into());
            }
            None => {
                let references = names::secret_references(namespace, certificate_authorities);
                fields.insert("caCertificateRefs".to_owned(), references.into());
            }
        }
        if !subject_alt_names.is_empty() {
            let all: Vec<Value> = subject_alt_names.iter().map(subject_alt_name).collect();
            fields.insert("subjectAltNames".to_owned(), all.into());
        }
    }
    validation
}

fn subject_alt_name(name: &SubjectAltName) -> Value {
    let SubjectAltName { type_, value } = name;
    let field = match type_ {
        SubjectAltNameType::Hostname => "hostname",
        SubjectAltNameType::Uri => "uri",
    };
    json!({"type": type_name(*type_), field: value})
}
