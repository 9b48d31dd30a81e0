//! What HTTPS listeners need beside their routes: HTTP/2 where certificates overlap, and 421 for requests that came
//! over a connection that is not theirs.
//!
//! A client may send requests for several hosts over one connection. Envoy chose the listener by the name in the
//! handshake, so a request for a host that another listener of the port has is misdirected, and 421 sends the client
//! to open a connection for it.
//!
//! Envoy Gateway has nothing for that, so a patch adds one virtual host to the listener's RouteConfiguration, of a
//! fixed shape: nothing in it is the tenant's but host names of its listeners, which are checked. It must never name
//! a domain that a route on the listener has, or Envoy refuses the whole RouteConfiguration. It cannot:
//!
//! - a host that another listener names is in no hub route on this one ([`super::precedence`]), and Envoy Gateway
//!   leaves it out too, which is also why no HTTPRoute could answer for it;
//! - `*` is no route's domain where the listener has a host name, and is left alone where it has none.
//!
//! While listeners change, the patch shrinks before and grows after everything else is applied.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::topology::{Placed, Topology};
use crate::output::{Kind, ObjectKey};
use crate::target::attachment::Attachment;
use crate::target::listeners::ListenerProtocol;

/// Name of the virtual host. No host name has a slash, so that Envoy Gateway makes none of this name.
const VIRTUAL_HOST: &str = "misdirected/421";
/// `typeUrl` of a RouteConfiguration.
const ROUTE_CONFIGURATION: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// "Misdirected Request".
const STATUS: u16 = 421;

/// What a Gateway or ListenerSet needs beside itself: kind and `spec` of each object, which is called like its owner.
pub(crate) fn policies(
    owner: &ObjectKey,
    gateway: &ObjectKey,
    topology: &Topology,
    routed: &BTreeSet<&Attachment>,
) -> Vec<(ObjectKey, Value)> {
    let named = |kind, spec| (ObjectKey::new(kind, &owner.namespace, &owner.name), spec);
    let clients = client_policy(owner, topology.of_gateway(gateway));
    let patches = (owner == gateway).then(|| patch_policy(gateway, topology, routed));
    let clients = clients.map(|spec| named(Kind::ClientTrafficPolicy, spec));
    let patches = patches.flatten().map(|spec| named(Kind::EnvoyPatchPolicy, spec));
    clients.into_iter().chain(patches).collect()
}

/// `spec` of the ClientTrafficPolicy for the HTTPS listeners that one Gateway or ListenerSet has. Without it Envoy
/// Gateway offers no HTTP/2 where host names overlap. Listeners of other protocols have no say in ALPN.
fn client_policy<'t>(owner: &ObjectKey, listeners: impl IntoIterator<Item = &'t Placed>) -> Option<Value> {
    let targets: Vec<Value> = listeners
        .into_iter()
        .filter(|placed| placed.at.owner == *owner && placed.listener.protocol == ListenerProtocol::Https)
        .map(|placed| {
            json!({
                "group": Kind::Gateway.resource().group,
                "kind": owner.kind.as_str(),
                "name": owner.name,
                "sectionName": placed.listener.name,
            })
        })
        .collect();
    (!targets.is_empty())
        .then(|| json!({"targetRefs": targets, "tls": {"alpnProtocols": ["h2", "http/1.1"]}}))
}

/// `spec` of the EnvoyPatchPolicy of a Gateway, for those HTTPS listeners that have routes.
fn patch_policy(gateway: &ObjectKey, topology: &Topology, routed: &BTreeSet<&Attachment>) -> Option<Value> {
    let patches: BTreeMap<String, Value> = topology
        .of_gateway(gateway)
        .filter(|placed| placed.listener.protocol == ListenerProtocol::Https && routed.contains(&placed.at))
        .filter_map(|placed| {
            let name = route_configuration(placed);
            Some((name.clone(), patch(&name, &domains(placed, topology)?)))
        })
        .collect();
    let target =
        json!({"group": gateway.kind.resource().group, "kind": gateway.kind.as_str(), "name": gateway.name});
    let patches: Vec<Value> = patches.into_values().collect();
    (!patches.is_empty()).then(|| json!({"targetRef": target, "type": "JSONPatch", "jsonPatches": patches}))
}

/// Hosts for which a request on this listener is misdirected. None where there is no such host.
fn domains(placed: &Placed, topology: &Topology) -> Option<BTreeSet<String>> {
    let mut domains: BTreeSet<String> = topology.owned_by_others(placed).map(str::to_owned).collect();
    if placed.listener.hostname.is_some() {
        domains.insert("*".to_owned());
    }
    (!domains.is_empty()).then_some(domains)
}

fn patch(route_configuration: &str, domains: &BTreeSet<String>) -> Value {
    json!({
        "type": ROUTE_CONFIGURATION,
        "name": route_configuration,
        "operation": {
            "op": "add",
            "path": "/virtual_hosts/-",
            "value": {
                "name": VIRTUAL_HOST,
                "domains": domains,
                "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": STATUS}}],
            },
        },
    })
}

/// As Envoy Gateway names it, under either of its naming schemes.
fn route_configuration(placed: &Placed) -> String {
    let Placed {
        at: Attachment { owner, listener },
        gateway,
        listener: _,
    } = placed;
    let ObjectKey {
        kind: _,
        namespace,
        name,
    } = gateway;
    match owner.kind {
        Kind::ListenerSet => format!("{namespace}/{name}/{}/{}/{listener}", owner.namespace, owner.name),
        _ => format!("{namespace}/{name}/{listener}"),
    }
}
