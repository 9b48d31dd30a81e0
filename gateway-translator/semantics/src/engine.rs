//! The steps in their order.

use std::collections::{BTreeMap, BTreeSet};

use api::v1alpha1::GatewayScope;
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

use crate::events;
use crate::gateway::{self, JudgedGateway};
use crate::index::Index;
use crate::kind::ObjectRef;
use crate::outcome::{DesiredRoute, Outcome, SecretRef, Statuses};
use crate::route::{self, JudgedRoute};
use crate::snapshot::{Settings, Snapshot};
use crate::{class, delegate, shadow};

/// The Gateways that are ours, by namespace and name.
pub(crate) type Gateways<'a> = BTreeMap<(String, String), JudgedGateway<'a>>;

/// What follows from a snapshot. Total, deterministic, and the same for any order of the input.
#[must_use]
pub fn evaluate(input: &Snapshot, settings: &Settings) -> Outcome {
    let index = Index::new(input, settings);
    let gateways: Gateways = index
        .gateways
        .iter()
        .filter_map(|(key, object)| Some((key.clone(), gateway::judge(&index, object)?)))
        .collect();
    let routes: Vec<JudgedRoute> = index
        .routes
        .iter()
        .map(|((kind, _, _), object)| route::judge(&index, &gateways, *kind, object))
        .collect();
    let (desired, hold) = plan(&index, &gateways, &routes);
    Outcome {
        statuses: statuses(&index, &gateways, &routes),
        routes: desired,
        hold,
        shadow_services: shadows(&index, &routes),
        sync_secrets: secrets(&gateways),
        events: events::all(&index, &gateways, &routes),
    }
}

fn statuses(index: &Index, gateways: &Gateways, routes: &[JudgedRoute]) -> Statuses {
    let attached = attached_routes(index, routes);
    let none = BTreeMap::new();
    let gateway_status = |(key, gateway): (&(String, String), &JudgedGateway)| {
        let counts = attached.get(key).unwrap_or(&none);
        (
            gateway.object.reference.clone(),
            gateway::status(index, gateway, counts),
        )
    };
    Statuses {
        gateway_classes: index
            .classes
            .values()
            .map(|c| (c.reference.clone(), class::status(c)))
            .collect(),
        gateways: gateways
            .iter()
            .filter(|(_, gateway)| {
                !stands(
                    index,
                    gateway.object.raw.pointer("/status"),
                    &gateway.object.reference,
                )
            })
            .map(gateway_status)
            .collect(),
        routes: routes
            .iter()
            .filter(|route| !route.undecided && !route_stands(index, route))
            .map(|route| (route.object.reference.clone(), route.status(index)))
            .collect(),
    }
}

/// A status that was written for this generation stands while the hub is silent. To say now that nothing is
/// programmed, or that all is accepted, would be to know less than what is written there.
fn stands(index: &Index, status: Option<&Value>, object: &ObjectRef) -> bool {
    let conditions = status
        .and_then(|status| status.get("conditions"))
        .and_then(Value::as_array);
    let observed = |condition: &Value| {
        condition.get("observedGeneration").and_then(Value::as_i64) == Some(object.generation)
    };
    index.state().is_none() && conditions.is_some_and(|conditions| conditions.iter().any(observed))
}

fn route_stands(index: &Index, route: &JudgedRoute) -> bool {
    let parents = route
        .object
        .raw
        .pointer("/status/parents")
        .and_then(Value::as_array);
    let ours = |entry: &&Value| {
        entry.get("controllerName").and_then(Value::as_str) == Some(&index.settings.controller_name)
    };
    let stands = |entry: &Value| stands(index, Some(entry), &route.object.reference);
    parents.into_iter().flatten().filter(ours).any(stands)
}

/// Accepted routes by Gateway and listener. A route counts once for a listener, by however many parentRefs it
/// comes, and whatever state the listener is in.
fn attached_routes(
    index: &Index,
    routes: &[JudgedRoute],
) -> BTreeMap<(String, String), BTreeMap<String, i32>> {
    let mut counts = BTreeMap::<(String, String), BTreeMap<String, i32>>::new();
    for route in routes {
        let mut seen = BTreeSet::new();
        for parent in &route.parents {
            if parent.scope != GatewayScope::Tenant || route.refusal(index, parent).is_some() {
                continue;
            }
            let key = (parent.namespace.clone(), parent.name.clone());
            for listener in parent.attached.iter().flatten() {
                if seen.insert((key.clone(), listener.name.clone())) {
                    *counts
                        .entry(key.clone())
                        .or_default()
                        .entry(listener.name.clone())
                        .or_default() += 1;
                }
            }
        }
    }
    counts
}

/// What the hub should hold, and what stays there as it is.
fn plan(
    index: &Index,
    gateways: &Gateways,
    routes: &[JudgedRoute],
) -> (BTreeMap<String, DesiredRoute>, BTreeSet<String>) {
    let mut hold = index.malformed_uids();
    let mut desired = BTreeMap::new();
    if index.state().is_none() {
        // Not knowing the settings is no reason to take anything away.
        hold.extend(index.hub.routes.keys().cloned());
        return (desired, hold);
    }
    for gateway in gateways.values().filter(|gateway| gateway.delegable()) {
        desired.insert(gateway.object.meta.uid.clone(), delegate::gateway(gateway));
    }
    for gateway in gateways.values().filter(|gateway| gateway.keeps_hub_copy()) {
        let uid = &gateway.object.meta.uid;
        if index.hub.routes.contains_key(uid) {
            hold.insert(uid.clone());
        }
    }
    for route in routes {
        let parents = route.decisions();
        let uid = route.object.meta.uid.clone();
        match (parents.is_empty(), route.backends.pending) {
            (true, _) => {}
            (false, true) => {
                hold.insert(uid);
            }
            (false, false) => {
                desired.insert(uid, delegate::route(route, parents));
            }
        }
    }
    // An object without a UID has no name on the hub.
    desired.remove("");
    hold.remove("");
    desired.retain(|uid, _| !hold.contains(uid));
    (desired, hold)
}

/// Shadows of the Services that routes on their way to the hub need. As long as the hub is silent, those that
/// are there stay, and no new ones come.
fn shadows(index: &Index, routes: &[JudgedRoute]) -> Vec<Service> {
    let silent = index.state().is_none();
    let wanted = |route: &&JudgedRoute| silent || !route.decisions().is_empty();
    let needed: BTreeSet<_> = routes
        .iter()
        .filter(wanted)
        .flat_map(|route| &route.backends.shadows)
        .collect();
    let exists = |namespace: &str, name: &str| {
        index
            .services
            .contains_key(&(namespace, shadow::shadow_name(namespace, name).as_str()))
    };
    needed
        .into_iter()
        .filter(|(namespace, name)| !silent || exists(namespace, name))
        .filter_map(|(namespace, name)| index.services.get(&(namespace.as_str(), name.as_str())))
        .map(|original| shadow::build(original))
        .collect()
}

fn secrets(gateways: &Gateways) -> BTreeSet<SecretRef> {
    let served = gateways.values().filter(|gateway| gateway.delegable());
    let listeners =
        served.flat_map(|gateway| gateway.listeners.iter().filter(|listener| listener.servable()));
    listeners
        .flat_map(|listener| listener.certificates.iter().cloned())
        .collect()
}
