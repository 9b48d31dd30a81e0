//! Metadata of hub objects: who made them, from what.

use std::collections::BTreeMap;

use api::{annotations, meta};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use crate::input::{Input, Settings};
use crate::origin::Source;
use crate::output::ObjectKey;

/// Values of [`meta::COMPONENT_LABEL`].
pub mod component {
    /// Gateways, HTTPRoutes and GRPCRoutes.
    pub const ROUTE: &str = "route";
    /// Services and EndpointSlices, which no Route owns.
    pub const BACKEND: &str = "backend";
    /// Secrets.
    pub const SYNC_SECRET: &str = "sync-secret";
}

/// Labels of every object.
pub(crate) fn labels(tenant: &str, component: &str) -> Map<String, Value> {
    let mut labels = Map::new();
    labels.insert(meta::MANAGED_BY_LABEL.to_owned(), meta::MANAGED_BY.into());
    labels.insert(meta::COMPONENT_LABEL.to_owned(), component.into());
    if meta::is_label_value(tenant) {
        labels.insert(meta::TENANT_LABEL.to_owned(), tenant.into());
    }
    labels
}

/// Metadata of the one object that is made from a Route.
pub(crate) fn of_route(input: &Input, settings: &Settings, source: &Source<'_>, key: &ObjectKey) -> Value {
    let origin = source.origin;
    let kind = format!("{}.{}", origin.kind, origin.group);
    let identity = [
        (meta::ORIGIN_NAMESPACE, origin.namespace.as_str()),
        (meta::ORIGIN_NAME, &origin.name),
        (meta::ORIGIN_KIND, &kind),
        (meta::ORIGIN_UID, &origin.uid),
    ];
    let mut labels = labels(&input.tenant, component::ROUTE);
    let mut annotations = for_dns(settings, source);
    for (name, value) in identity {
        annotations.insert(name.to_owned(), value.into());
        if meta::is_label_value(value) {
            labels.insert(name.to_owned(), value.into());
        }
    }
    annotations.insert(
        meta::SOURCE_GENERATION.to_owned(),
        origin.generation.to_string().into(),
    );
    if let Some(created) = &origin.creation_timestamp {
        annotations.insert(
            meta::ORIGIN_CREATION_TIMESTAMP.to_owned(),
            created.0.to_string().into(),
        );
    }
    let mut metadata = json!({
        "namespace": key.namespace,
        "name": key.name,
        "labels": labels,
        "annotations": annotations,
    });
    // A route must not go right after it came, and a garbage collector knows nothing of that: see the one who applies.
    if !key.kind.is_route() {
        own(&mut metadata, "Route", &source.route.metadata);
    }
    metadata
}

/// What begins the keys that external-dns reads, by its version.
const EXTERNAL_DNS: [&str; 2] = ["external-dns.alpha.kubernetes.io/", "external-dns.kubernetes.io/"];

/// What the tenant says to external-dns, as far as it passes. Names never do: external-dns reads them from the specs of
/// routes and listeners, where they were checked.
fn for_dns(settings: &Settings, source: &Source<'_>) -> Map<String, Value> {
    let resource = source.route.spec.source.kubernetes.as_ref();
    let all = resource
        .filter(|_| settings.dns_annotations)
        .and_then(|k| k.resource.0.pointer("/metadata/annotations")?.as_object());
    let said: BTreeMap<String, String> = (all.into_iter().flatten())
        .filter(|(key, _)| EXTERNAL_DNS.iter().any(|prefix| key.starts_with(prefix)))
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let passing = annotations::propagated(&said, &settings.annotations).into_iter();
    passing.map(|(key, value)| (key, value.into())).collect()
}

/// Lets the hub's garbage collector remove a child with its CR. An object without a UID cannot own.
pub(crate) fn own(metadata: &mut Value, kind: &str, owner: &ObjectMeta) {
    let (Some(name), Some(uid)) = (&owner.name, &owner.uid) else {
        return;
    };
    let api_version = format!("{}/{}", api::GROUP, api::VERSION);
    if let Some(fields) = metadata.as_object_mut() {
        let reference =
            json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true}]);
        fields.insert("ownerReferences".to_owned(), reference);
    }
}
