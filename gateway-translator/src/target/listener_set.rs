//! ListenerSet to the hub's ListenerSet: on the tenant's own Gateway, or with host names of the tenant's on one
//! that tenants share.

use api::names::PortNumber;
use api::v1alpha1::{
    GatewayDecision, GatewayScope, ParentDecision, ParentKind, SharedGateway, route_condition as condition,
};
use serde_json::json;

use super::attachment::{owner, parent_ref, shared_gateway};
use super::listeners::{self, Built, ListenerProtocol, ServedListener, Terms};
use super::{Content, Context, Draft, Front, Fronts, hostnames};
use crate::names;
use crate::origin::Source;
use crate::output::{Kind, ObjectKey};
use crate::source::gateway::ListenerSetSpec;
use crate::source::parse;
use crate::verdict::Problem;

/// Ports of a shared Gateway that a tenant may serve whether or not the Gateway has a listener there. Any other
/// port would be one tenant's to take from all.
const WELL_KNOWN_PORTS: [u16; 2] = [80, 443];

/// Translates a ListenerSet. A listener that cannot be served is left out; the others are.
pub(crate) fn draft<'a>(
    context: &Context<'a>,
    source: &Source<'a>,
    fronts: &mut Fronts,
) -> Result<Draft<'a>, Problem> {
    let ListenerSetSpec {
        parent_ref: _,
        listeners,
    } = parse("spec", source.spec)?;
    let parent = parent(source)?;
    let shared = match parent.scope {
        GatewayScope::Tenant => None,
        GatewayScope::Hub => Some(shared(context, parent)?),
    };
    let GatewayDecision {
        listeners: decisions,
        client_validation: _,
        backend_client_certificate: _,
        listener_sets: _,
    } = source.route.spec.gateway.clone().unwrap_or_default();
    let gateway = owner(context.input, parent);
    let Front { ports, clients } = front(fronts, &gateway, shared);
    let mut terms = Terms { ports, clients };
    let permit = |path: &str, listener: &ServedListener| match shared {
        Some(shared) => permit_shared(context, parent, shared, path, listener),
        None => Ok(()),
    };
    let built = listeners::build(context, &listeners, &decisions, &mut terms, permit);
    let Built {
        values,
        served,
        refused,
        waiting: _,
        problems,
    } = built.served()?;
    let mut reference = parent_ref(&gateway, &context.input.namespace);
    if let Some(fields) = reference.as_object_mut() {
        fields.insert("kind".to_owned(), "Gateway".into());
    }
    Ok(Draft {
        key: ObjectKey::new(
            Kind::ListenerSet,
            &context.input.namespace,
            names::listener_set(&source.origin.namespace, &source.origin.name),
        ),
        content: Content::Listeners {
            gateway,
            spec: json!({"parentRef": reference, "listeners": values}),
            served,
        },
        backends: None,
        problems,
        refused_listeners: refused,
    })
}

fn parent<'a>(source: &Source<'a>) -> Result<&'a ParentDecision, Problem> {
    match source.route.spec.parents.as_slice() {
        [parent] if parent.kind == ParentKind::Gateway => Ok(parent),
        _ => Err(Problem::unsupported(
            "spec.parents does not name the one Gateway that the ListenerSet belongs to.",
        )),
    }
}

/// What is known of the Gateway. Of a shared one it is what the tenant may see.
fn front<'f>(fronts: &'f mut Fronts, gateway: &ObjectKey, shared: Option<&SharedGateway>) -> &'f mut Front {
    fronts.entry(gateway.clone()).or_insert_with(|| {
        let mut front = Front::default();
        for listener in shared.iter().flat_map(|shared| &shared.listeners) {
            if let Some(protocol) = ListenerProtocol::parse(&listener.protocol) {
                // A Gateway that has such a port already has it whether it can or not.
                drop(front.ports.take(&listener.name, listener.port, protocol));
            }
        }
        front
    })
}

fn shared<'c>(context: &Context<'c>, parent: &ParentDecision) -> Result<&'c SharedGateway, Problem> {
    let gateway = shared_gateway(context, parent)?;
    if gateway.listener_sets {
        return Ok(gateway);
    }
    Err(Problem::new(
        condition::REASON_GATEWAY_NOT_ALLOWED,
        format!(
            "The Gateway {}/{} of the hub takes no ListenerSets.",
            parent.namespace, parent.name
        ),
    ))
}

fn permit_shared(
    context: &Context<'_>,
    parent: &ParentDecision,
    gateway: &SharedGateway,
    path: &str,
    listener: &ServedListener,
) -> Result<(), Problem> {
    let ServedListener {
        name: _,
        port,
        protocol,
        hostname,
    } = listener;
    let Some(hostname) = hostname else {
        return Err(Problem::new(
            condition::REASON_DOMAIN_NOT_ALLOWED,
            format!("{path}: on a Gateway that tenants share, a listener needs a host name."),
        ));
    };
    let there = |port: PortNumber| {
        let listeners = gateway.listeners.iter().filter(move |l| l.port == port);
        listeners.filter_map(|l| ListenerProtocol::parse(&l.protocol))
    };
    let Ok(number) = PortNumber::try_from(i64::from(*port)) else {
        return Err(Problem::unsupported(format!("{path}.port: {port} is no port.")));
    };
    let is_there = there(number).next().is_some();
    let fits = there(number).all(|other| protocol.shares_port_with(other));
    let expected = match protocol {
        ListenerProtocol::Http => *port != 443,
        ListenerProtocol::Https | ListenerProtocol::Tls => *port != 80,
        ListenerProtocol::Tcp | ListenerProtocol::Udp => false,
    };
    if !(fits && expected && (is_there || WELL_KNOWN_PORTS.contains(port))) {
        return Err(Problem::unsupported(format!(
            "{path}.port: this protocol on port {port} is not served on a Gateway that tenants share."
        )));
    }
    hostnames::check_held(context, parent, hostname)
}
