//! SyncSecret to Secret: content, and a type from an allow-list.

mod pair;

use std::collections::BTreeMap;

use api::v1alpha1::{SyncSecret, SyncSecretType, route_condition as condition};
use k8s_openapi::ByteString;
use serde_json::json;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::metadata::{component, labels, own};
use crate::names;
use crate::output::{HubObject, Kind, ObjectKey};
use crate::verdict::Problem;

/// Keys of a Secret that holds a certificate.
const TLS_KEYS: [&str; 2] = ["tls.crt", "tls.key"];
/// Key of a Secret that holds certificate authorities.
const AUTHORITIES_KEY: &str = "ca.crt";
/// How a certificate begins and ends in PEM.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The hub Secret for a SyncSecret. It holds nothing but the keys that are used.
///
/// # Errors
/// When the API server would refuse such a Secret, or Envoy its content.
pub fn translate_secret(secret: &SyncSecret, tenant: &str, namespace: &str) -> Result<HubObject, Problem> {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    let data = match secret.spec.type_ {
        SyncSecretType::Tls => certificate(name, &secret.spec.data)?,
        SyncSecretType::Opaque => authorities(name, &secret.spec.data)?,
    };
    let key = ObjectKey::new(Kind::Secret, namespace, names::secret(namespace, name));
    let mut metadata = json!({"namespace": key.namespace, "name": key.name, "labels": labels(tenant, component::SYNC_SECRET)});
    own(&mut metadata, "SyncSecret", &secret.metadata);
    let value = json!({
        "apiVersion": Kind::Secret.api_version(),
        "kind": Kind::Secret.as_str(),
        "metadata": metadata,
        "type": secret.spec.type_.as_str(),
        "data": data,
    });
    Ok(HubObject { key, value })
}

type Data = BTreeMap<String, ByteString>;

fn certificate(name: &str, data: &Data) -> Result<Data, Problem> {
    let pick = |key: &str| {
        let message = format!("SyncSecret {name} of type kubernetes.io/tls has no {key}.");
        let content = data
            .get(key)
            .ok_or_else(|| Problem::new(condition::REASON_SECRET_NOT_FOUND, message))?;
        Ok((key.to_owned(), content.clone()))
    };
    let picked: Data = TLS_KEYS.into_iter().map(pick).collect::<Result<_, Problem>>()?;
    let problem = |key: &str, what: &str| {
        let message = format!("SyncSecret {name}: {key} {what}.");
        Err(Problem::new(condition::REASON_SECRET_NOT_FOUND, message))
    };
    let content = |key: &str| picked.get(key).map_or(&[][..], |content| content.0.as_slice());
    let [chain, key] = TLS_KEYS;
    if let Some(what) = pair::chain_problem(content(chain)) {
        return problem(chain, &what);
    }
    match pair::key_problem(content(key)) {
        Some(what) => problem(key, what),
        None => Ok(picked),
    }
}

/// Envoy takes all of an authority's certificates or none of its configuration, so that each is looked at.
fn authorities(name: &str, data: &Data) -> Result<Data, Problem> {
    let none = |what: &str| {
        Problem::new(
            condition::REASON_SECRET_NOT_FOUND,
            format!("SyncSecret {name} of type Opaque {what}."),
        )
    };
    let content = data.get(AUTHORITIES_KEY).ok_or_else(|| none("has no ca.crt"))?;
    let text = std::str::from_utf8(&content.0).map_err(|_| none("has a ca.crt that is not PEM"))?;
    let blocks: Vec<&str> = blocks(text).collect();
    if blocks.is_empty() {
        return Err(none("has no certificate in ca.crt"));
    }
    if !blocks.iter().all(|block| is_certificate(block)) {
        return Err(none("has a certificate in ca.crt that cannot be read"));
    }
    let clean = blocks.join("\n") + "\n";
    Ok(Data::from([(
        AUTHORITIES_KEY.to_owned(),
        ByteString(clean.into_bytes()),
    )]))
}

/// The certificates of a text in PEM, without what stands around them.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(BEGIN).map(|(start, _)| {
        let rest = text.get(start..).unwrap_or_default();
        let end = rest.find(END).map_or(rest.len(), |end| end + END.len());
        rest.get(..end).unwrap_or_default()
    })
}

fn is_certificate(block: &str) -> bool {
    let pem = Pem::iter_from_buffer(block.as_bytes())
        .next()
        .and_then(Result::ok);
    pem.is_some_and(|pem| X509Certificate::from_der(&pem.contents).is_ok_and(|(rest, _)| rest.is_empty()))
}
