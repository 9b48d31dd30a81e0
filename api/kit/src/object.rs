//! Any Kubernetes object as data: its kind and its JSON.
//!
//! What is wanted and what exists are both [`Object`]s, so that they can be compared. Nothing here talks to
//! an API server.

use std::{cmp::Ordering, fmt, sync::Arc};

use kube::{
    Resource, ResourceExt,
    core::{ApiResource, DynamicObject},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Namespace and name. The namespace is empty for cluster-scoped objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// Group, kind, namespace and name. Versions are left out: they are views of one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace and name.
    pub key: ObjectKey,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group.as_str() {
            "" => write!(f, "{} {}", self.kind, self.key),
            group => write!(f, "{}.{group} {}", self.kind, self.key),
        }
    }
}

/// A value cannot be read as a Kubernetes object, or the other way round.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Serialization failed.
    #[error("cannot turn a {kind} into JSON")]
    Serialize {
        /// Kind of the object.
        kind: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Deserialization failed.
    #[error("cannot read {id}")]
    Deserialize {
        /// Which object.
        id: ObjectId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There is no `metadata.name`.
    #[error("a {0} has no name")]
    NoName(String),
}

/// A Kubernetes object as JSON, together with what is needed to address it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Object(Arc<Content>);

#[derive(Debug, PartialEq)]
struct Content {
    resource: ApiResource,
    id: ObjectId,
    value: Arc<Value>,
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || self.0 == other.0
    }
}

impl Object {
    /// From a typed object.
    pub fn typed<K>(object: &K) -> Result<Self, ObjectError>
    where
        K: Resource + Serialize,
        K::DynamicType: Default,
    {
        Self::dynamic(object, &ApiResource::erase::<K>(&K::DynamicType::default()))
    }

    /// From any object whose kind is known at run time, such as a [`DynamicObject`].
    pub fn dynamic<K: Resource + Serialize>(object: &K, resource: &ApiResource) -> Result<Self, ObjectError> {
        let value = serde_json::to_value(object).map_err(|source| ObjectError::Serialize {
            kind: resource.kind.clone(),
            source,
        })?;
        Self::from_value(value, resource)
    }

    /// From JSON. `apiVersion` and `kind` are set from `resource`.
    pub fn from_value(mut value: Value, resource: &ApiResource) -> Result<Self, ObjectError> {
        let text = |path: &str| {
            value
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let key = ObjectKey::new(text("/metadata/namespace"), text("/metadata/name"));
        if key.name.is_empty() {
            return Err(ObjectError::NoName(resource.kind.clone()));
        }
        if let Some(map) = value.as_object_mut() {
            map.insert("apiVersion".into(), resource.api_version.clone().into());
            map.insert("kind".into(), resource.kind.clone().into());
        }
        let id = ObjectId {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
            key,
        };
        Ok(Self(Arc::new(Content {
            resource: resource.clone(),
            id,
            value: Arc::new(value),
        })))
    }

    /// Which object this is.
    pub fn id(&self) -> &ObjectId {
        &self.0.id
    }

    /// How the API server calls its kind.
    pub fn resource(&self) -> &ApiResource {
        &self.0.resource
    }

    /// The whole object.
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// The whole object, to be kept.
    pub fn shared_value(&self) -> Arc<Value> {
        self.0.value.clone()
    }

    /// The same object with other content; identity and kind stay.
    pub fn with_value(&self, value: Value) -> Self {
        let Content {
            resource,
            id,
            value: _,
        } = &*self.0;
        Self(Arc::new(Content {
            resource: resource.clone(),
            id: id.clone(),
            value: Arc::new(value),
        }))
    }

    /// Whether both are one and the same in memory. Where they are not, they may still be equal.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// `metadata.uid`, which only objects that exist have.
    pub fn uid(&self) -> Option<&str> {
        self.text("/metadata/uid")
    }

    /// `metadata.resourceVersion`, which only objects that exist have.
    pub fn resource_version(&self) -> Option<&str> {
        self.text("/metadata/resourceVersion")
    }

    /// Whether the object is being deleted.
    pub fn is_terminating(&self) -> bool {
        self.text("/metadata/deletionTimestamp").is_some()
    }

    /// A label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.value().get("metadata")?.get("labels")?.get(name)?.as_str()
    }

    /// An annotation's value.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.value()
            .get("metadata")?
            .get("annotations")?
            .get(name)?
            .as_str()
    }

    /// Whether an owner reference has this uid.
    pub fn is_owned_by(&self, uid: &str) -> bool {
        let owners = self
            .value()
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array);
        owners.is_some_and(|all| {
            all.iter()
                .any(|owner| owner.get("uid").and_then(Value::as_str) == Some(uid))
        })
    }

    /// Reads the object as a type.
    pub fn parse<K: DeserializeOwned>(&self) -> Result<K, ObjectError> {
        K::deserialize(self.value()).map_err(|source| ObjectError::Deserialize {
            id: self.id().clone(),
            source,
        })
    }

    /// Reads the object as a [`DynamicObject`].
    pub fn to_dynamic(&self) -> Result<DynamicObject, ObjectError> {
        self.parse()
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.value().pointer(pointer).and_then(Value::as_str)
    }
}

/// Orders by kind in the given order, then by identity; kinds that are not listed come last.
pub fn compare_in_order(order: &[&str], a: &ObjectId, b: &ObjectId) -> Ordering {
    let rank = |id: &ObjectId| {
        order
            .iter()
            .position(|kind| *kind == id.kind)
            .unwrap_or(order.len())
    };
    rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Namespace, Service};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_typed_object_knows_its_kind_and_identity() {
        let service: Service =
            serde_json::from_value(json!({"metadata": {"namespace": "a", "name": "web", "uid": "u1"}}))
                .unwrap();
        let object = Object::typed(&service).unwrap();
        assert_eq!(object.id().to_string(), "Service a/web");
        assert_eq!(object.value()["apiVersion"], "v1");
        assert_eq!(object.uid(), Some("u1"));
    }

    #[test]
    fn a_cluster_scoped_object_has_an_empty_namespace() {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        assert_eq!(
            Object::typed(&namespace).unwrap().id().key,
            ObjectKey::new("", "a")
        );
    }

    #[test]
    fn an_object_without_a_name_is_refused() {
        let error = Object::typed(&Service::default()).unwrap_err();
        assert_eq!(error.to_string(), "a Service has no name");
    }

    #[test]
    fn kinds_that_are_not_listed_come_last() {
        let id = |kind: &str| ObjectId {
            group: String::new(),
            kind: kind.into(),
            key: ObjectKey::new("", "x"),
        };
        let mut ids = [id("Zebra"), id("Service"), id("Secret")];
        ids.sort_by(|a, b| compare_in_order(&["Secret", "Service"], a, b));
        assert_eq!(ids.map(|id| id.kind), ["Secret", "Service", "Zebra"]);
    }
}
