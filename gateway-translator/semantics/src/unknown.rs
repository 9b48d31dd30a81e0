//! Fields that nobody knows, in what is judged here and means nothing to the hub.
//!
//! One of them may narrow what stands beside it, and to pass over it would let in more than was meant. So what it
//! stands in is refused, and nothing else of the object. Any other field that nobody knows goes to the hub, which
//! refuses it.

use crate::model::{
    AllowedListeners, AllowedRoutes, GatewayBackendTls, GrantFrom, GrantSpec, GrantTo, LabelRequirement,
    LabelSelector, Others, ParentRef, RouteGroupKind, RouteNamespaces, SecretReference,
};

/// What is said of such a field.
pub(crate) fn message(field: &str) -> String {
    format!("{field} is not supported")
}

/// The first such field of a parentRef.
pub(crate) fn in_parent_ref(reference: &ParentRef, path: &str) -> Option<String> {
    let ParentRef {
        group: _,
        kind: _,
        namespace: _,
        name: _,
        section_name: _,
        port: _,
        others,
    } = reference;
    first(others, path)
}

/// The first such field of a reference to a Secret.
pub(crate) fn in_secret_reference(reference: &SecretReference, path: &str) -> Option<String> {
    let SecretReference {
        group: _,
        kind: _,
        namespace: _,
        name: _,
        others,
    } = reference;
    first(others, path)
}

/// The first such field of `spec.tls.backend`, but for the reference in it.
pub(crate) fn in_backend_tls(tls: &GatewayBackendTls, path: &str) -> Option<String> {
    let GatewayBackendTls {
        client_certificate_ref: _,
        others,
    } = tls;
    first(others, path)
}

/// The first such field of a listener's `allowedRoutes`.
pub(crate) fn in_allowed_routes(allowed: &AllowedRoutes, path: &str) -> Option<String> {
    let AllowedRoutes {
        namespaces,
        kinds,
        others,
    } = allowed;
    let in_kinds = || {
        let mut kinds = kinds.iter().enumerate();
        kinds.find_map(|(i, kind)| {
            let RouteGroupKind {
                group: _,
                kind: _,
                others,
            } = kind;
            first(others, &format!("{path}.kinds[{i}]"))
        })
    };
    first(others, path)
        .or_else(|| in_namespaces(namespaces.as_ref()?, &format!("{path}.namespaces")))
        .or_else(in_kinds)
}

/// The first such field of a Gateway's `allowedListeners`.
pub(crate) fn in_allowed_listeners(allowed: &AllowedListeners, path: &str) -> Option<String> {
    let AllowedListeners { namespaces, others } = allowed;
    first(others, path).or_else(|| in_namespaces(namespaces.as_ref()?, &format!("{path}.namespaces")))
}

fn in_namespaces(namespaces: &RouteNamespaces, path: &str) -> Option<String> {
    let RouteNamespaces {
        from: _,
        selector,
        others,
    } = namespaces;
    first(others, path).or_else(|| in_selector(selector.as_ref()?, &format!("{path}.selector")))
}

fn in_selector(selector: &LabelSelector, path: &str) -> Option<String> {
    let LabelSelector {
        match_labels: _,
        match_expressions,
        others,
    } = selector;
    let in_requirement = |(i, requirement): (usize, &LabelRequirement)| {
        let LabelRequirement {
            key: _,
            operator: _,
            values: _,
            others,
        } = requirement;
        first(others, &format!("{path}.matchExpressions[{i}]"))
    };
    first(others, path).or_else(|| match_expressions.iter().enumerate().find_map(in_requirement))
}

/// The first such field of a ReferenceGrant.
pub(crate) fn in_grant(grant: &GrantSpec) -> Option<String> {
    let GrantSpec { from, to, others } = grant;
    let in_from = |(i, from): (usize, &GrantFrom)| {
        let GrantFrom {
            group: _,
            kind: _,
            namespace: _,
            others,
        } = from;
        first(others, &format!("spec.from[{i}]"))
    };
    let in_to = |(i, to): (usize, &GrantTo)| {
        let GrantTo {
            group: _,
            kind: _,
            name: _,
            others,
        } = to;
        first(others, &format!("spec.to[{i}]"))
    };
    first(others, "spec")
        .or_else(|| from.iter().enumerate().find_map(in_from))
        .or_else(|| to.iter().enumerate().find_map(in_to))
}

fn first(others: &Others, path: &str) -> Option<String> {
    let name = others.keys().next()?;
    Some(format!("{path}.{name}"))
}
