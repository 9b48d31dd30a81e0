//! Which listeners of a Gateway a route is attached to.

use api::v1alpha1::GatewayScope;

use crate::hostname;
use crate::index::Index;
use crate::kind::{ObjectKind, ObjectRef};
use crate::model::{Object, ParentRef, RouteSpec};
use crate::parent::{Parent, ParentListener};
use crate::reason::{self, Verdict};

/// The listeners that the route attaches to by this parentRef, by position.
///
/// # Errors
/// Why it attaches to none. The steps narrow the listeners down, and the first one that leaves none says why.
pub(crate) fn attach(
    index: &Index,
    route: &Object<RouteSpec>,
    reference: &ParentRef,
    parent: &Parent,
) -> Result<Vec<usize>, Verdict> {
    let gateway = parent.named();
    let named = narrow(parent, &(0..parent.listeners.len()).collect::<Vec<_>>(), |l| {
        selects(reference, l)
    })
    .ok_or_else(|| Verdict::new(reason::NO_MATCHING_PARENT, no_listener(&gateway, reference)))?;
    let admitted = narrow(parent, &named, |l| admits(index, &route.reference, l)).ok_or_else(|| {
        let message =
            format!("no listener of {gateway} that parentRefs selects admits this kind and namespace");
        Verdict::new(reason::NOT_ALLOWED_BY_LISTENERS, message)
    })?;
    let matching = narrow(parent, &admitted, |l| {
        hostname::intersect(l.hostname, &route.spec.hostnames)
    });
    let matching = matching.ok_or_else(|| {
        let message = format!("spec.hostnames has no name in common with a listener of {gateway}");
        Verdict::new(reason::NO_MATCHING_LISTENER_HOSTNAME, message)
    })?;
    match domain_refusal(index, &route.spec.hostnames, parent.scope) {
        Some(refusal) => Err(refusal),
        None => Ok(matching),
    }
}

fn narrow(
    parent: &Parent,
    candidates: &[usize],
    keep: impl Fn(&ParentListener) -> bool,
) -> Option<Vec<usize>> {
    let kept: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|i| parent.listeners.get(*i).is_some_and(&keep))
        .collect();
    (!kept.is_empty()).then_some(kept)
}

fn selects(reference: &ParentRef, listener: &ParentListener) -> bool {
    let section = reference.section_name.as_deref().filter(|name| !name.is_empty());
    section.is_none_or(|name| name == listener.name)
        && reference.port.is_none_or(|port| port == listener.port)
}

/// The listener takes routes of this kind and namespace.
pub(crate) fn admits(index: &Index, route: &ObjectRef, listener: &ParentListener) -> bool {
    let kind_fits = matches!(route.kind, ObjectKind::Route(kind) if listener.kinds.contains(&kind));
    kind_fits && listener.namespaces.admit(index, &route.namespace)
}

fn no_listener(gateway: &str, reference: &ParentRef) -> String {
    match (reference.section_name.as_deref(), reference.port) {
        (Some(section), Some(port)) => format!("{gateway} has no listener named {section} on port {port}"),
        (Some(section), None) => format!("{gateway} has no listener named {section}"),
        (None, Some(port)) => format!("{gateway} has no listener on port {port}"),
        (None, None) => format!("{gateway} has no listener"),
    }
}

/// Early word of what the hub enforces: host names outside the tenant's domains, and a route that would take
/// every host name of a Gateway that others use too.
fn domain_refusal(index: &Index, hostnames: &[String], scope: GatewayScope) -> Option<Verdict> {
    let state = index.state()?;
    if hostnames.is_empty() && scope == GatewayScope::Hub {
        let message = "spec.hostnames: a route on a shared Gateway needs a host name";
        return Some(Verdict::new(reason::DOMAIN_NOT_ALLOWED, message));
    }
    let position = hostnames
        .iter()
        .position(|name| !api::domain::is_allowed(name, &state.allowed_domains))?;
    let hostname = hostnames.get(position)?;
    let message =
        format!("spec.hostnames[{position}]: {hostname} is not within the tenant's allowed domains");
    Some(Verdict::new(reason::DOMAIN_NOT_ALLOWED, message))
}
