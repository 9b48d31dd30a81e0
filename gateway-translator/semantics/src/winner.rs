//! Which of several TCP, UDP or TLS routes on one listener is served.
//!
//! All of them are attached and counted. A TCP or UDP listener has room for one: the oldest, then the first by
//! namespace and name. On a TLS listener each name that clients ask for has room for one: the route whose own
//! host name is the most specific, then the oldest. Listeners of one Gateway that share a port share its names
//! too, because Envoy refuses a port on which a name leads to two places. Whether the hub accepts a route means
//! nothing here: else two routes could push each other out for ever.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use api::v1alpha1::GatewayScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::engine::Gateways;
use crate::hostname;
use crate::kind::{ListenerProtocol, ObjectKind, RouteKind};
use crate::listener_set::ListenerSets;
use crate::route::{AttachedListener, GatewayKey, JudgedRoute, ListenerKey};

/// The Gateway whose port it is, and the port.
type Port = (GatewayKey, i64);

/// Position of a route, of its parent and of the listener in there.
type At = (usize, usize, usize);

/// One route that wants a listener.
struct Wish {
    at: At,
    listener: ListenerKey,
    port: Port,
    names: Vec<String>,
    order: Order,
}

/// Smaller goes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    specificity: Reverse<(bool, usize)>,
    created: (bool, Option<Time>),
    namespace: String,
    name: String,
    listener: Reverse<(bool, usize)>,
    at: At,
}

/// Takes the listeners away from the routes that lose them.
pub(crate) fn settle(gateways: &Gateways, sets: &ListenerSets, routes: &mut [JudgedRoute]) {
    for kind in [RouteKind::Tls, RouteKind::Tcp, RouteKind::Udp] {
        let mut taken = if kind == RouteKind::Tls {
            https_names(gateways, sets)
        } else {
            BTreeMap::new()
        };
        let mut wishes = wishes(kind, sets, routes);
        wishes.sort_by(|a, b| a.order.cmp(&b.order));
        for wish in wishes {
            let (route, parent, position) = wish.at;
            if let Some(holder) = holder_of(&wish, &taken) {
                let attached = routes
                    .get_mut(route)
                    .and_then(|route| route.parents.get_mut(parent))
                    .and_then(|parent| parent.attached.as_mut().ok())
                    .and_then(|attached| attached.get_mut(position));
                if let Some(attached) = attached {
                    attached.lost_to = Some(holder);
                }
                continue;
            }
            let winner = Holder {
                place: Some((route, wish.listener)),
                named: routes
                    .get(route)
                    .map(|route| route.object.reference.to_string())
                    .unwrap_or_default(),
            };
            for name in wish.names {
                taken.insert((wish.port.clone(), name), winner.clone());
            }
        }
    }
}

/// Who has a name of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    /// The route and the listener; none for an HTTPS listener.
    place: Option<(usize, ListenerKey)>,
    named: String,
}

type Taken = BTreeMap<(Port, String), Holder>;

/// Who stands in the way. The same route may come to a listener by two parentRefs.
fn holder_of(wish: &Wish, taken: &Taken) -> Option<String> {
    let itself = Some((wish.at.0, wish.listener.clone()));
    wish.names
        .iter()
        .filter_map(|name| taken.get(&(wish.port.clone(), name.clone())))
        .find(|holder| holder.place != itself)
        .map(|holder| match &holder.place {
            Some((_, listener)) if *listener != wish.listener => {
                format!("{} on listener {}", holder.named, listener.4)
            }
            _ => holder.named.clone(),
        })
}

fn wishes(kind: RouteKind, sets: &ListenerSets, routes: &[JudgedRoute]) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let of_kind = routes
        .iter()
        .enumerate()
        .filter(|(_, route)| route.object.reference.kind == ObjectKind::Route(kind));
    for (i, route) in of_kind {
        for (j, parent) in route.parents.iter().enumerate() {
            for (k, attached) in parent.attached.iter().flatten().enumerate() {
                let at = (i, j, k);
                wishes.push(Wish {
                    at,
                    listener: parent.listener_key(attached),
                    port: (parent.gateway(sets), attached.port),
                    names: names(kind, route, attached),
                    order: order(route, attached, at),
                });
            }
        }
    }
    wishes
}

/// The names that a route serves on a listener. On a port without names, that of the listener stands for all.
fn names(kind: RouteKind, route: &JudgedRoute, attached: &AttachedListener) -> Vec<String> {
    if kind != RouteKind::Tls {
        return vec![String::new()];
    }
    hostname::common(attached.hostname.as_deref(), &route.object.spec.hostnames)
}

fn order(route: &JudgedRoute, attached: &AttachedListener, at: At) -> Order {
    let meta = &route.object.meta;
    let own = route
        .object
        .spec
        .hostnames
        .iter()
        .map(|name| hostname::specificity(name))
        .max()
        .unwrap_or_default();
    Order {
        specificity: Reverse(own),
        created: (meta.creation_timestamp.is_none(), meta.creation_timestamp.clone()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        listener: Reverse(hostname::specificity(
            attached.hostname.as_deref().unwrap_or_default(),
        )),
        at,
    }
}

/// The names of HTTPS listeners, which no TLS route on the same port can have.
fn https_names(gateways: &Gateways, sets: &ListenerSets) -> Taken {
    let own = gateways.iter().flat_map(|(key, gateway)| {
        gateway
            .listeners
            .iter()
            .map(move |l| (GatewayScope::Tenant, key, l))
    });
    let of_sets = sets
        .values()
        .flat_map(|set| set.listeners.iter().map(move |l| (set.scope, &set.gateway, l)));
    let https = own
        .chain(of_sets)
        .filter(|(_, _, listener)| listener.protocol == Some(ListenerProtocol::Https) && listener.accepted());
    https
        .map(|(scope, (namespace, name), listener)| {
            let gateway = (scope, namespace.clone(), name.clone());
            let holder = Holder {
                place: None,
                named: format!("the HTTPS listener {}", listener.spec.name),
            };
            let names = hostname::common(listener.spec.hostname.as_deref(), &[]);
            let name = names.into_iter().next().unwrap_or_default();
            (((gateway, listener.spec.port), name), holder)
        })
        .collect()
}
