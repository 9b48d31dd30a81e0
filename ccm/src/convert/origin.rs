//! Metadata of a hub object: whose it is and what it was made from. Pure.

use std::collections::BTreeMap;

use api::meta::{MANAGED_BY, MANAGED_BY_LABEL, ORIGIN_KIND, ORIGIN_NAME, ORIGIN_NAMESPACE, is_label_value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Identity of the tenant's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// `Kind.group`, or `Kind` for the core group.
    pub kind: &'a str,
    /// Namespace in the tenant cluster.
    pub namespace: &'a str,
    /// Name in the tenant cluster.
    pub name: &'a str,
    /// UID in the tenant cluster: the hub object's name.
    pub uid: &'a str,
}

/// Metadata of the hub object made from `origin`. Names that are no legal label values are annotations only.
#[must_use]
pub fn metadata(origin: Origin<'_>, hub_namespace: &str, propagated: BTreeMap<String, String>) -> ObjectMeta {
    let Origin {
        kind,
        namespace,
        name,
        uid,
    } = origin;
    let identity = [
        (ORIGIN_KIND, kind),
        (ORIGIN_NAMESPACE, namespace),
        (ORIGIN_NAME, name),
    ];
    let mut labels: BTreeMap<String, String> = identity
        .iter()
        .filter(|(_, value)| is_label_value(value))
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
    let mut annotations = propagated;
    annotations.extend(identity.map(|(key, value)| (key.to_owned(), value.to_owned())));
    ObjectMeta {
        name: Some(uid.to_owned()),
        namespace: Some(hub_namespace.to_owned()),
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

/// True when this agent made the hub object: it carries our label and an origin. One made by hand does not.
#[must_use]
pub fn is_ours(metadata: &ObjectMeta) -> bool {
    let has =
        |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref().and_then(|m| m.get(key).cloned());
    has(&metadata.labels, MANAGED_BY_LABEL).as_deref() == Some(MANAGED_BY)
        && has(&metadata.annotations, ORIGIN_NAME).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_too_long_for_a_label_is_an_annotation_only() {
        let long = "n".repeat(200);
        let origin = Origin {
            kind: "HTTPRoute.gateway.networking.k8s.io",
            namespace: "a",
            name: &long,
            uid: "u",
        };
        let made = metadata(origin, "tenant-a", BTreeMap::new());
        assert!(!made.labels.as_ref().unwrap().contains_key(ORIGIN_NAME));
        assert_eq!(made.annotations.as_ref().unwrap()[ORIGIN_NAME], long);
        assert!(is_ours(&made));
    }

    #[test]
    fn an_object_made_by_hand_is_not_ours() {
        assert!(!is_ours(&ObjectMeta::default()));
    }
}
