//! What is to be held, on the hub and in the tenant cluster.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::engine::Judged;
use crate::held::{self, Held};
use crate::index::Index;
use crate::kind::ObjectRef;
use crate::listener::JudgedListener;
use crate::outcome::{AuthorityRef, DesiredRoute, SecretRef};
use crate::route::JudgedRoute;
use crate::snapshot::ServiceName;
use crate::{delegate, facts, infrastructure, mirror, shadow};

/// What the hub should hold, and what stays there as it is.
pub(crate) fn routes(judged: Judged) -> (BTreeMap<String, DesiredRoute>, BTreeSet<String>) {
    let Judged {
        index,
        gateways,
        sets,
        policies: _,
        routes,
    } = judged;
    let mut plan = Plan::default();
    if index.state().is_none() {
        // Not knowing the settings is no reason to take anything away.
        plan.hold.extend(index.malformed_uids());
        plan.hold.extend(index.hub.routes.keys().cloned());
        return plan.settle();
    }
    for (object, _) in &index.malformed {
        plan.hold(judged, object);
    }
    for gateway in gateways.values().filter(|gateway| gateway.delegable()) {
        plan.send(&gateway.object.reference, delegate::gateway(gateway));
    }
    for gateway in gateways.values().filter(|gateway| gateway.keeps_hub_copy()) {
        let object = &gateway.object.reference;
        if index.hub.routes.contains_key(&object.uid) {
            plan.hold(judged, object);
        }
    }
    for set in sets.values().filter(|set| set.delegable(gateways)) {
        plan.send(&set.object.reference, delegate::listener_set(set));
    }
    for route in routes {
        let (object, parents) = (&route.object.reference, route.decisions());
        match (parents.is_empty(), route.backends.pending) {
            (true, _) => {}
            (false, true) => plan.hold(judged, object),
            (false, false) => plan.send(object, delegate::route(route, parents)),
        }
    }
    plan.settle()
}

/// What is sent, and what stays as it is, by UID.
#[derive(Default)]
struct Plan {
    desired: BTreeMap<String, DesiredRoute>,
    hold: BTreeSet<String>,
}

impl Plan {
    fn send(&mut self, object: &ObjectRef, route: DesiredRoute) {
        self.desired.insert(object.uid.clone(), route);
    }

    /// What the hub has stays, as far as it may.
    fn hold(&mut self, judged: Judged, object: &ObjectRef) {
        match held::judge(judged, object) {
            Held::Whole => {
                self.hold.insert(object.uid.clone());
            }
            Held::Part(part) => self.send(object, *part),
            Held::Nothing => {}
        }
    }

    /// An object without a UID has no name on the hub.
    fn settle(self) -> (BTreeMap<String, DesiredRoute>, BTreeSet<String>) {
        let Self {
            mut desired,
            mut hold,
        } = self;
        desired.remove("");
        hold.remove("");
        desired.retain(|uid, _| !hold.contains(uid));
        (desired, hold)
    }
}

/// Shadows of the Services that routes on their way to the hub need, with their slices. As long as the hub is
/// silent, those that are there stay, and no new ones come. One that the hub may still send requests to stays too.
pub(crate) fn shadows(judged: Judged) -> (Vec<Service>, Vec<EndpointSlice>) {
    let index = judged.index;
    let silent = index.state().is_none();
    let wanted = |route: &&JudgedRoute| silent || !route.decisions().is_empty();
    let needed: BTreeSet<_> = judged
        .routes
        .iter()
        .filter(wanted)
        .flat_map(|route| &route.backends.shadows)
        .cloned()
        .collect();
    let exists = |namespace: &str, name: &str| {
        index
            .services
            .contains_key(&(namespace, shadow::shadow_name(namespace, name).as_str()))
    };
    let in_use = in_use(judged).into_iter();
    let in_use = in_use.filter(|(namespace, name)| exists(namespace, name));
    let mut all: BTreeSet<_> = needed.into_iter().collect();
    if silent {
        all.retain(|(namespace, name)| exists(namespace, name));
    }
    all.extend(in_use);
    let originals: Vec<&Service> = all
        .iter()
        .filter_map(|(namespace, name)| index.services.get(&(namespace.as_str(), name.as_str())).copied())
        .collect();
    // A shadow that is not there and will not be has no use for endpoints.
    let comes = |original: &&&Service| {
        let of = |field: &Option<String>| field.clone().unwrap_or_default();
        let (namespace, name) = (of(&original.metadata.namespace), of(&original.metadata.name));
        exists(&namespace, &name) || shadow::refusal(index, &namespace, &name).is_none()
    };
    let slices = originals
        .iter()
        .filter(comes)
        .flat_map(|original| mirror::slices(index, original));
    let slices = slices.collect();
    (originals.into_iter().map(shadow::build).collect(), slices)
}

/// Services that the hub may send requests to: those of its Routes as they are, and, while it has not said what
/// came of a change, whatever it could send them to before.
fn in_use(judged: Judged) -> BTreeSet<(String, String)> {
    let Index { hub, services, .. } = judged.index;
    let routes = judged.routes.iter();
    let mut known = routes.filter_map(|route| hub.routes.get(&route.object.meta.uid));
    if known.any(facts::is_unsettled) {
        return services
            .values()
            .filter_map(|service| shadow::original_of(service))
            .collect();
    }
    let named = hub.routes.values().flat_map(|facts| &facts.services);
    named
        .map(|ServiceName { namespace, name }| (namespace.clone(), name.clone()))
        .collect()
}

/// Services that stand for Gateways, with their slices.
pub(crate) fn gateway_services(judged: Judged) -> (Vec<Service>, Vec<EndpointSlice>) {
    let build = |gateway| infrastructure::build(judged.index, judged.sets, gateway);
    let (services, slices): (Vec<_>, Vec<_>) = judged.gateways.values().filter_map(build).unzip();
    (services, slices.into_iter().flatten().collect())
}

/// Certificates that the hub needs.
pub(crate) fn certificates(judged: Judged) -> BTreeSet<SecretRef> {
    let served = judged.gateways.values().filter(|gateway| gateway.served());
    let own = served.clone().flat_map(|gateway| &gateway.listeners);
    let sets = judged.sets.values().filter(|set| set.delegable(judged.gateways));
    let listeners = own
        .chain(sets.flat_map(|set| &set.listeners))
        .filter(|listener: &&JudgedListener| listener.servable());
    let clients = served.filter_map(|gateway| gateway.client_certificate.as_ref()?.as_ref().ok());
    listeners
        .flat_map(|listener| &listener.certificates)
        .chain(clients)
        .cloned()
        .collect()
}

/// Certificate authorities that the hub needs: those of Gateways it serves, and of the policies over backends of
/// routes on their way to it.
pub(crate) fn authorities(judged: Judged) -> BTreeSet<AuthorityRef> {
    let served = judged.gateways.values().filter(|gateway| gateway.served());
    let clients = served.flat_map(|gateway| gateway.frontend.authorities());
    let routes = judged.routes.iter().filter(|route| !route.decisions().is_empty());
    let services = routes
        .flat_map(|route| &route.backends.decisions)
        .filter_map(|decision| decision.service.as_ref())
        .filter(|service| service.tls.is_some());
    let policies = services
        .filter_map(|service| {
            judged
                .policies
                .of_port(&service.namespace, &service.name, &service.port_name)
        })
        .flat_map(|policy| &policy.authorities);
    clients.chain(policies).cloned().collect()
}
