//! Route CRs: what is sent to the hub.

use std::collections::BTreeMap;

use api::meta::{MANAGED_BY, MANAGED_BY_LABEL, ORIGIN_KIND, ORIGIN_NAME, ORIGIN_NAMESPACE, is_label_value};
use api::v1alpha1::{
    GatewayDecision, KubernetesSource, ListenerDecision, ParentDecision, ParentKind, RawObject, RouteOrigin,
    RouteSource, RouteSpec,
};
use serde_json::Value;

use crate::gateway::JudgedGateway;
use crate::kind::{GATEWAY_GROUP, ObjectRef};
use crate::listener::JudgedListener;
use crate::listener_set::JudgedListenerSet;
use crate::model::Object;
use crate::outcome::DesiredRoute;
use crate::route::JudgedRoute;

/// Annotation in which kubectl keeps a second copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The Route CR of a Gateway.
pub(crate) fn gateway(gateway: &JudgedGateway) -> DesiredRoute {
    let certificate = gateway.client_certificate.as_ref();
    let sound = certificate.and_then(|certificate| certificate.as_ref().ok());
    let decision = GatewayDecision {
        listeners: listeners(&gateway.listeners),
        client_validation: gateway.frontend.decisions(),
        backend_client_certificate: sound.map(|secret| secret.uid.clone()),
        listener_sets: gateway.takes_listener_sets(),
    };
    let mut desired = desired(gateway.object);
    desired.spec.gateway = Some(decision);
    desired
}

/// The Route CR of a ListenerSet.
pub(crate) fn listener_set(set: &JudgedListenerSet) -> DesiredRoute {
    let (namespace, name) = set.gateway.clone();
    let mut desired = desired(set.object);
    desired.spec.gateway = Some(GatewayDecision {
        listeners: listeners(&set.listeners),
        ..GatewayDecision::default()
    });
    desired.spec.parents = vec![ParentDecision {
        scope: set.scope,
        kind: ParentKind::Gateway,
        namespace,
        name,
        listeners: Vec::new(),
    }];
    desired
}

fn listeners(judged: &[JudgedListener]) -> Vec<ListenerDecision> {
    let servable = judged.iter().filter(|listener| listener.servable());
    servable.map(listener).collect()
}

fn listener(listener: &JudgedListener) -> ListenerDecision {
    ListenerDecision {
        name: listener.spec.name.clone(),
        certificates: listener
            .certificates
            .iter()
            .map(|secret| secret.uid.clone())
            .collect(),
    }
}

/// The Route CR of a route.
pub(crate) fn route(route: &JudgedRoute, parents: Vec<ParentDecision>) -> DesiredRoute {
    let mut desired = desired(route.object);
    desired.spec.parents = parents;
    desired.spec.backends = route.backends.decisions.clone();
    desired
}

fn desired<S>(object: &Object<S>) -> DesiredRoute {
    of(&object.reference, spec(object))
}

/// The Route CR with this spec.
pub(crate) fn of(reference: &ObjectRef, spec: RouteSpec) -> DesiredRoute {
    let kind = format!("{}.{GATEWAY_GROUP}", reference.kind.as_str());
    let origin = [
        (ORIGIN_KIND, &kind),
        (ORIGIN_NAMESPACE, &reference.namespace),
        (ORIGIN_NAME, &reference.name),
    ];
    let mut labels: BTreeMap<String, String> = origin
        .iter()
        .filter(|(_, value)| is_label_value(value))
        .map(|(key, value)| ((*key).to_owned(), (*value).clone()))
        .collect();
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
    let annotations = origin.map(|(key, value)| (key.to_owned(), value.clone()));
    DesiredRoute {
        labels,
        annotations: BTreeMap::from(annotations),
        spec,
    }
}

fn spec<S>(object: &Object<S>) -> RouteSpec {
    let resource = RawObject(as_written(object.raw));
    let reference = &object.reference;
    RouteSpec {
        source: RouteSource {
            kubernetes: Some(KubernetesSource {
                resource,
                services: Vec::new(),
            }),
        },
        origin: Some(RouteOrigin {
            group: GATEWAY_GROUP.to_owned(),
            kind: reference.kind.as_str().to_owned(),
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
            uid: reference.uid.clone(),
            generation: reference.generation,
            creation_timestamp: object.meta.creation_timestamp.clone(),
        }),
        ..RouteSpec::default()
    }
}

/// The object without what others write into it. `resourceVersion` changes with every status, and would make
/// a write on the hub of it.
fn as_written(raw: &Value) -> Value {
    let mut resource = raw.clone();
    let Some(fields) = resource.as_object_mut() else {
        return resource;
    };
    fields.remove("status");
    let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else {
        return resource;
    };
    metadata.remove("managedFields");
    metadata.remove("resourceVersion");
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    resource
}
