//! Facts about what is attached to a Gateway or ListenerSet: what Envoy Gateway says of it there, and whether there
//! is an Envoy.

use api::v1alpha1::{GatewayScope, ParentDecision, ParentFact, ParentKind};
use serde_json::Value;

use super::{Live, Progress, gateway};
use crate::input::Input;
use crate::output::{Kind, ObjectKey};
use crate::target::attachment;

/// The fact about one parent.
pub(super) fn fact(parent: &ParentDecision, accepted: Progress) -> ParentFact {
    let (accepted, reason, message) = accepted.into_parts();
    let ParentDecision {
        scope,
        kind,
        namespace,
        name,
        listeners: _,
    } = parent.clone();
    ParentFact {
        scope,
        kind,
        namespace,
        name,
        accepted,
        reason,
        message,
    }
}

/// Whether the Gateway behind a parent has an Envoy.
pub(super) fn availability(input: &Input, live: &Live<'_>, parent: &ParentDecision) -> Progress {
    let owner = attachment::owner(input, parent);
    let gateway = match owner.kind {
        Kind::ListenerSet => match live.get(&owner).map(|set| gateway_of(set, &owner)) {
            Some(gateway) => gateway,
            None => return Progress::pending("The ListenerSet is not on the hub yet."),
        },
        _ => owner,
    };
    match live.get(&gateway) {
        Some(object) if gateway::is_available(object) => Progress::Done,
        Some(_) => Progress::pending("Envoy Gateway has no Envoy for the Gateway yet."),
        None => Progress::pending("The Gateway is not on the hub yet."),
    }
}

fn gateway_of(set: &Value, key: &ObjectKey) -> ObjectKey {
    let text = |field: &str| {
        set.pointer(&format!("/spec/parentRef/{field}"))
            .and_then(Value::as_str)
    };
    ObjectKey::new(
        Kind::Gateway,
        text("namespace").unwrap_or(&key.namespace),
        text("name").unwrap_or_default(),
    )
}

/// One entry for each parent, in the order of their first mention.
pub(super) fn merged(parents: &[ParentDecision]) -> Vec<(&ParentDecision, Vec<&str>)> {
    type Identity<'p> = (GatewayScope, ParentKind, &'p str, &'p str);
    fn identity(parent: &ParentDecision) -> Identity<'_> {
        (parent.scope, parent.kind, &parent.namespace, &parent.name)
    }
    let mut merged: Vec<(&ParentDecision, Vec<&str>)> = Vec::new();
    for parent in parents {
        let listeners = parent.listeners.iter().map(String::as_str);
        match merged.iter_mut().find(|(p, _)| identity(p) == identity(parent)) {
            Some((_, all)) => all.extend(listeners),
            None => merged.push((parent, listeners.collect())),
        }
    }
    merged
}
