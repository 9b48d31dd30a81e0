//! SyncSecret to Secret: content, and a type from an allow-list.

use api::v1alpha1::{SyncSecret, SyncSecretType, route_condition as condition};
use serde_json::json;

use crate::metadata::{component, labels, own};
use crate::names;
use crate::output::{HubObject, Kind, ObjectKey};
use crate::verdict::Problem;

/// Keys of a Secret that holds a certificate.
const TLS_KEYS: [&str; 2] = ["tls.crt", "tls.key"];

/// The hub Secret for a SyncSecret.
///
/// # Errors
/// When the API server would refuse such a Secret.
pub fn translate_secret(secret: &SyncSecret, tenant: &str, namespace: &str) -> Result<HubObject, Problem> {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    let missing = TLS_KEYS.iter().find(|key| !secret.spec.data.contains_key(**key));
    if let (SyncSecretType::Tls, Some(key)) = (secret.spec.type_, missing) {
        return Err(Problem::new(
            condition::REASON_SECRET_NOT_FOUND,
            format!("SyncSecret {name} of type kubernetes.io/tls has no {key}."),
        ));
    }
    let key = ObjectKey::new(Kind::Secret, namespace, names::secret(namespace, name));
    let mut metadata = json!({"namespace": key.namespace, "name": key.name, "labels": labels(tenant, component::SYNC_SECRET)});
    own(&mut metadata, "SyncSecret", &secret.metadata);
    let value = json!({
        "apiVersion": Kind::Secret.api_version(),
        "kind": Kind::Secret.as_str(),
        "metadata": metadata,
        "type": secret.spec.type_.as_str(),
        "data": secret.spec.data,
    });
    Ok(HubObject { key, value })
}
