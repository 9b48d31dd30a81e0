//! Endpoints of Services without a selector: their shadows get copies of the EndpointSlices that somebody keeps
//! for them.

use api::meta::{
    COMPONENT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, ORIGIN_KIND, ORIGIN_NAME, ORIGIN_NAMESPACE, is_label_value,
};
use api::names::derived_name;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::index::Index;
use crate::shadow::{self, SHADOW_COMPONENT};

/// The label that says which Service an EndpointSlice is for.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label that says who keeps an EndpointSlice.
pub const SLICE_MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
/// Value of [`SLICE_MANAGED_BY_LABEL`] on ours.
pub const SLICE_MANAGED_BY: &str = "kubelb.k8c.io";

/// Copies of the slices of a Service for its shadow. None for a Service with a selector: its shadow has its own.
pub(crate) fn slices(index: &Index, original: &Service) -> Vec<EndpointSlice> {
    if shadow::has_selector(original.spec.as_ref()) {
        return Vec::new();
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (namespace, name) = (text(&original.metadata.namespace), text(&original.metadata.name));
    let slices = index.slices.get(&(namespace.as_str(), name.as_str()));
    slices
        .into_iter()
        .flatten()
        // kube-proxy sends nothing to names.
        .filter(|slice| slice.address_type != "FQDN")
        .map(|slice| {
            mirrored(
                slice,
                original,
                &namespace,
                &shadow::shadow_name(&namespace, &name),
            )
        })
        .collect()
}

fn mirrored(slice: &EndpointSlice, original: &Service, namespace: &str, shadow: &str) -> EndpointSlice {
    let EndpointSlice {
        address_type,
        endpoints,
        metadata,
        ports,
    } = slice;
    let name = metadata.name.clone().unwrap_or_default();
    let metadata = slice_metadata(
        &derived_name("kubelb", "EndpointSlice", namespace, &name),
        shadow,
        SHADOW_COMPONENT,
        ["EndpointSlice", namespace, &name],
    );
    EndpointSlice {
        address_type: address_type.clone(),
        endpoints: endpoints.clone(),
        metadata: ObjectMeta {
            owner_references: shadow::owner(original),
            ..metadata
        },
        ports: ports.clone(),
    }
}

/// Metadata of an EndpointSlice of ours, for a Service of ours. `origin` is kind, namespace and name.
pub(crate) fn slice_metadata(name: &str, service: &str, component: &str, origin: [&str; 3]) -> ObjectMeta {
    let [kind, namespace, origin_name] = origin;
    let origin = [
        (ORIGIN_KIND, kind),
        (ORIGIN_NAMESPACE, namespace),
        (ORIGIN_NAME, origin_name),
    ];
    let own = [
        (SERVICE_NAME_LABEL, service),
        (SLICE_MANAGED_BY_LABEL, SLICE_MANAGED_BY),
        (MANAGED_BY_LABEL, MANAGED_BY),
        (COMPONENT_LABEL, component),
    ];
    let labels = origin
        .into_iter()
        .filter(|(_, value)| is_label_value(value))
        .chain(own)
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels.collect()),
        annotations: Some(
            origin
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ),
        ..ObjectMeta::default()
    }
}
