//! An object as it comes from the API server: what cannot be decoded still has a name.
//!
//! As [`DeserializeGuard`], but a kind that asks for metadata alone keeps asking for it.

use std::borrow::Cow;

use kube::{
    Resource,
    core::{DeserializeGuard, ObjectMeta},
};
use serde::{Deserialize, de::DeserializeOwned};

#[derive(Debug, Clone, Deserialize)]
#[serde(transparent, bound = "K: Resource + DeserializeOwned")]
pub(super) struct Guarded<K>(pub DeserializeGuard<K>);

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn kind(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::PartialObjectMeta;

    use super::*;

    #[test]
    fn only_metadata_is_asked_for_where_only_metadata_is_kept() {
        assert!(Guarded::<PartialObjectMeta<ConfigMap>>::metadata_api());
        assert!(!Guarded::<ConfigMap>::metadata_api());
    }
}
