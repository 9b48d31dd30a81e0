//! Gateways as routes see them: the tenant's own, and those that the hub shares.

use api::v1alpha1::{GatewayReference, GatewayScope, SharedGateway, SharedListener};

use crate::gateway::JudgedGateway;
use crate::index::Index;
use crate::kind::{ListenerProtocol, RouteKind};
use crate::listener::JudgedListener;
use crate::model::{LabelSelector, Listener};
use crate::selector;

/// A Gateway that is ours to judge routes against.
#[derive(Debug)]
pub(crate) struct Parent<'a> {
    pub scope: GatewayScope,
    pub namespace: &'a str,
    pub name: &'a str,
    pub listeners: Vec<ParentListener<'a>>,
}

/// A listener, as routes see it.
#[derive(Debug)]
pub(crate) struct ParentListener<'a> {
    pub name: &'a str,
    pub port: i64,
    pub hostname: Option<&'a str>,
    pub kinds: Vec<RouteKind>,
    pub namespaces: RouteNamespaces<'a>,
    /// The hub can serve it. A route may attach to one that it cannot, but is not sent for it.
    pub servable: bool,
}

/// Namespaces whose routes may attach.
#[derive(Debug)]
pub(crate) enum RouteNamespaces<'a> {
    All,
    Only(&'a str),
    Selected(&'a LabelSelector),
    None,
}

impl RouteNamespaces<'_> {
    pub fn admit(&self, index: &Index, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => *only == namespace,
            Self::Selected(wanted) => index
                .namespaces
                .get(namespace)
                .is_some_and(|labels| selector::matches(wanted, labels)),
            Self::None => false,
        }
    }
}

/// The tenant's own Gateway.
pub(crate) fn own<'a>(gateway: &'a JudgedGateway<'a>) -> Parent<'a> {
    let namespace = gateway.object.meta.namespace.as_str();
    let served = gateway.delegable();
    let listener = |listener: &'a JudgedListener<'a>| ParentListener {
        name: &listener.spec.name,
        port: listener.spec.port,
        hostname: listener.spec.hostname.as_deref(),
        kinds: listener.supported_kinds.clone(),
        namespaces: namespaces(listener.spec, namespace),
        servable: served && listener.servable(),
    };
    Parent {
        scope: GatewayScope::Tenant,
        namespace,
        name: &gateway.object.meta.name,
        listeners: gateway.listeners.iter().map(listener).collect(),
    }
}

/// A Gateway on the hub, as TenantState lists it. The hub lists only listeners that admit the tenant.
pub(crate) fn shared<'a>(index: &Index<'a>, namespace: &str, name: &str) -> Option<Parent<'a>> {
    let gateways: &'a [SharedGateway] = &index.state()?.gateways;
    let gateway = gateways
        .iter()
        .find(|g| g.namespace == namespace && g.name == name)?;
    Some(Parent {
        scope: GatewayScope::Hub,
        namespace: &gateway.namespace,
        name: &gateway.name,
        listeners: gateway.listeners.iter().map(shared_listener).collect(),
    })
}

/// The hub Gateway for routes that name no parent.
pub(crate) fn default_gateway<'a>(index: &Index<'a>) -> Option<&'a GatewayReference> {
    index.state()?.gateway_api.default_gateway.as_ref()
}

fn shared_listener(listener: &SharedListener) -> ParentListener<'_> {
    let SharedListener {
        name,
        port,
        protocol,
        hostname,
        kinds,
    } = listener;
    let possible = ListenerProtocol::from_name(protocol)
        .map(ListenerProtocol::route_kinds)
        .unwrap_or_default();
    let named = |kind: &RouteKind| kinds.is_empty() || kinds.iter().any(|name| name == kind.as_str());
    ParentListener {
        name,
        port: i64::from(port.get()),
        hostname: hostname.as_deref(),
        kinds: possible.iter().copied().filter(named).collect(),
        namespaces: RouteNamespaces::All,
        servable: true,
    }
}

fn namespaces<'a>(listener: &'a Listener, own: &'a str) -> RouteNamespaces<'a> {
    let allowed = listener
        .allowed_routes
        .as_ref()
        .and_then(|allowed| allowed.namespaces.as_ref());
    let from = allowed
        .and_then(|allowed| allowed.from.as_deref())
        .unwrap_or("Same");
    match (from, allowed.and_then(|allowed| allowed.selector.as_ref())) {
        ("All", _) => RouteNamespaces::All,
        ("Same", _) => RouteNamespaces::Only(own),
        ("Selector", Some(selector)) => RouteNamespaces::Selected(selector),
        // Closed on anything that is not understood.
        _ => RouteNamespaces::None,
    }
}
