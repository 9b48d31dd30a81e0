//! Gateways and ListenerSets as routes see them: the tenant's own, and those that the hub shares.

use api::v1alpha1::{GatewayReference, GatewayScope, ParentKind, SharedGateway, SharedListener};

use crate::gateway::JudgedGateway;
use crate::index::Index;
use crate::kind::{ListenerProtocol, RouteKind};
use crate::listener::JudgedListener;
use crate::listener_set::JudgedListenerSet;
use crate::model::{self, GatewaySpec, LabelSelector, Listener};
use crate::selector;
use crate::unknown;

/// A Gateway or ListenerSet that is ours to judge routes against.
#[derive(Debug)]
pub(crate) struct Parent<'a> {
    pub scope: GatewayScope,
    pub kind: ParentKind,
    pub namespace: &'a str,
    pub name: &'a str,
    pub listeners: Vec<ParentListener<'a>>,
}

impl Parent<'_> {
    /// As people call it.
    pub fn named(&self) -> String {
        format!("{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// A listener, as routes see it.
#[derive(Debug)]
pub(crate) struct ParentListener<'a> {
    pub name: &'a str,
    pub port: i64,
    pub hostname: Option<&'a str>,
    /// TLS goes through to the backends.
    pub passthrough: bool,
    pub kinds: Vec<RouteKind>,
    pub namespaces: RouteNamespaces<'a>,
    /// The hub can serve it. A route may attach to one that it cannot, but is not sent for it.
    pub servable: bool,
}

/// Namespaces whose routes or ListenerSets may attach.
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
    Parent {
        scope: GatewayScope::Tenant,
        kind: ParentKind::Gateway,
        namespace,
        name: &gateway.object.meta.name,
        listeners: own_listeners(&gateway.listeners, namespace, gateway.served()),
    }
}

/// The tenant's own ListenerSet. `served`: the hub should have it.
pub(crate) fn listener_set<'a>(set: &'a JudgedListenerSet<'a>, served: bool) -> Parent<'a> {
    let namespace = set.object.meta.namespace.as_str();
    Parent {
        scope: GatewayScope::Tenant,
        kind: ParentKind::ListenerSet,
        namespace,
        name: &set.object.meta.name,
        listeners: own_listeners(&set.listeners, namespace, served),
    }
}

fn own_listeners<'a>(
    listeners: &'a [JudgedListener<'a>],
    namespace: &'a str,
    served: bool,
) -> Vec<ParentListener<'a>> {
    let listener = |listener: &'a JudgedListener<'a>| ParentListener {
        name: &listener.spec.name,
        port: listener.spec.port,
        hostname: listener.spec.hostname.as_deref(),
        passthrough: listener.passthrough,
        kinds: listener.supported_kinds.clone(),
        namespaces: namespaces(listener.spec, namespace),
        servable: served && listener.servable(),
    };
    listeners.iter().map(listener).collect()
}

/// A Gateway on the hub, as TenantState lists it. The hub lists only listeners that admit the tenant.
pub(crate) fn shared<'a>(index: &Index<'a>, namespace: &str, name: &str) -> Option<Parent<'a>> {
    let gateways: &'a [SharedGateway] = &index.state()?.gateways;
    let gateway = gateways
        .iter()
        .find(|g| g.namespace == namespace && g.name == name)?;
    Some(Parent {
        scope: GatewayScope::Hub,
        kind: ParentKind::Gateway,
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
        // Not told. That TLS ends there is the safe guess: then nothing goes to a backend unprotected.
        passthrough: false,
        kinds: possible.iter().copied().filter(named).collect(),
        namespaces: RouteNamespaces::All,
        servable: true,
    }
}

fn namespaces<'a>(listener: &'a Listener, own: &'a str) -> RouteNamespaces<'a> {
    let allowed = listener.allowed_routes.as_ref();
    if allowed.is_some_and(|allowed| unknown::in_allowed_routes(allowed, "").is_some()) {
        return RouteNamespaces::None;
    }
    let namespaces = allowed.and_then(|allowed| allowed.namespaces.as_ref());
    namespaces_of(namespaces, "Same", own)
}

/// Namespaces whose ListenerSets may attach to a Gateway.
pub(crate) fn listener_set_namespaces<'a>(spec: &'a GatewaySpec, own: &'a str) -> RouteNamespaces<'a> {
    let allowed = spec.allowed_listeners.as_ref();
    if listener_sets_unknown(spec).is_some() {
        return RouteNamespaces::None;
    }
    let namespaces = allowed.and_then(|allowed| allowed.namespaces.as_ref());
    namespaces_of(namespaces, "None", own)
}

/// The field that makes it unknown whose ListenerSets may attach to a Gateway.
pub(crate) fn listener_sets_unknown(spec: &GatewaySpec) -> Option<String> {
    unknown::in_allowed_listeners(spec.allowed_listeners.as_ref()?, "spec.allowedListeners")
}

fn namespaces_of<'a>(
    allowed: Option<&'a model::RouteNamespaces>,
    default: &str,
    own: &'a str,
) -> RouteNamespaces<'a> {
    let from = allowed
        .and_then(|allowed| allowed.from.as_deref())
        .unwrap_or(default);
    match (from, allowed.and_then(|allowed| allowed.selector.as_ref())) {
        ("All", _) => RouteNamespaces::All,
        ("Same", _) => RouteNamespaces::Only(own),
        ("Selector", Some(selector)) => RouteNamespaces::Selected(selector),
        // Closed on anything that is not understood.
        _ => RouteNamespaces::None,
    }
}
