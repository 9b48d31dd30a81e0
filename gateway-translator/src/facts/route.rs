//! Facts about an HTTPRoute or GRPCRoute: whether Envoy Gateway accepted it on each of its Gateways.

use api::v1alpha1::{GatewayScope, ParentDecision, ParentFact};
use serde_json::Value;

use super::{Live, Progress, RouteStatusFacts, gateway, generation, said};
use crate::input::Input;
use crate::names;
use crate::origin::Source;
use crate::output::{Kind, ObjectKey};
use crate::verdict::Verdict;

pub(super) fn facts(
    input: &Input,
    source: &Source<'_>,
    verdict: &Verdict,
    live: &Live<'_>,
) -> RouteStatusFacts {
    let name = names::route(source.kind, &source.origin.namespace, &source.origin.name);
    let current = live.current(&ObjectKey::new(source.kind, &input.namespace, name), source);
    let mut total = Progress::Done;
    let mut parents: Vec<ParentFact> = Vec::new();
    for (parent, listeners) in merged(&source.route.spec.parents) {
        let gateway = hub_gateway(input, parent);
        let seen = match &current {
            Ok(object) => on_gateway(object, &gateway, &listeners, verdict),
            Err(progress) => Seen {
                accepted: progress.clone(),
                programmed: progress.clone(),
            },
        };
        total = total.and(seen.programmed).and(availability(live, &gateway));
        let (accepted, reason, message) = seen.accepted.into_parts();
        let ParentDecision {
            scope,
            namespace,
            name,
            listeners: _,
        } = parent.clone();
        parents.push(ParentFact {
            scope,
            namespace,
            name,
            accepted,
            reason,
            message,
        });
    }
    let done = format!(
        "Envoy Gateway accepted the {} made from generation {}, and an Envoy is available.",
        source.kind.as_str(),
        source.origin.generation
    );
    RouteStatusFacts {
        source_generation: Some(source.origin.generation),
        accepted: verdict.accepted.clone(),
        programmed: total.into_condition(done),
        addresses: Vec::new(),
        listeners: Vec::new(),
        parents,
    }
}

/// One entry for each Gateway, in the order of their first mention.
fn merged(parents: &[ParentDecision]) -> Vec<(&ParentDecision, Vec<&str>)> {
    let mut merged: Vec<(&ParentDecision, Vec<&str>)> = Vec::new();
    for parent in parents {
        let same = |(p, _): &&mut (&ParentDecision, _)| {
            p.scope == parent.scope && p.namespace == parent.namespace && p.name == parent.name
        };
        let listeners = parent.listeners.iter().map(String::as_str);
        match merged.iter_mut().find(same) {
            Some((_, all)) => all.extend(listeners),
            None => merged.push((parent, listeners.collect())),
        }
    }
    merged
}

fn hub_gateway(input: &Input, parent: &ParentDecision) -> ObjectKey {
    match parent.scope {
        GatewayScope::Tenant => ObjectKey::new(
            Kind::Gateway,
            &input.namespace,
            names::gateway(&parent.namespace, &parent.name),
        ),
        GatewayScope::Hub => ObjectKey::new(Kind::Gateway, &parent.namespace, &parent.name),
    }
}

fn availability(live: &Live<'_>, gateway: &ObjectKey) -> Progress {
    match live.get(gateway) {
        Some(object) if gateway::is_available(object) => Progress::Done,
        Some(_) => Progress::pending("Envoy Gateway has no Envoy for the Gateway yet."),
        None => Progress::pending("The Gateway is not on the hub yet."),
    }
}

/// What Envoy Gateway says of a route on one Gateway.
#[derive(Debug)]
struct Seen {
    accepted: Progress,
    /// Stricter: no rule was dropped, and no reference failed that should have worked.
    programmed: Progress,
}

fn on_gateway(route: &Value, gateway: &ObjectKey, listeners: &[&str], verdict: &Verdict) -> Seen {
    let mut seen = Seen {
        accepted: Progress::Done,
        programmed: Progress::Done,
    };
    for listener in listeners {
        let Seen { accepted, programmed } = on_listener(route, gateway, listener, verdict);
        seen.accepted = seen.accepted.and(accepted);
        seen.programmed = seen.programmed.and(programmed);
    }
    seen
}

fn on_listener(route: &Value, gateway: &ObjectKey, listener: &str, verdict: &Verdict) -> Seen {
    let generation = generation(route);
    let parent = parent_status(route, gateway, listener);
    let accepted = match parent.and_then(|parent| said(parent, "Accepted", generation)) {
        None => Progress::pending("Envoy Gateway has not looked at the route yet."),
        Some(accepted) if accepted.status == "True" => Progress::Done,
        Some(accepted) if accepted.status == "False" => accepted.rejected(),
        Some(accepted) => accepted.pending(),
    };
    let dropped = parent.and_then(|parent| said(parent, "PartiallyInvalid", generation));
    let dropped = dropped
        .filter(|said| said.status == "True")
        .map_or(Progress::Done, super::Said::rejected);
    let resolved = parent.and_then(|parent| said(parent, "ResolvedRefs", generation));
    // The Service of a backend that leads nowhere does not exist on purpose.
    let is_error = |said: &super::Said<'_>| {
        said.status == "False" && !(verdict.has_invalid_backends && said.reason == "BackendNotFound")
    };
    let resolved = resolved
        .filter(is_error)
        .map_or(Progress::Done, super::Said::rejected);
    Seen {
        accepted: accepted.clone(),
        programmed: accepted.and(dropped).and(resolved),
    }
}

fn parent_status<'a>(route: &'a Value, gateway: &ObjectKey, listener: &str) -> Option<&'a Value> {
    let own = route
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let parents = route.pointer("/status/parents")?.as_array()?;
    parents.iter().find(|parent| {
        let text = |field: &str| parent.get("parentRef").and_then(|r| r.get(field)?.as_str());
        text("name") == Some(&gateway.name)
            && text("namespace").unwrap_or(own) == gateway.namespace
            && text("sectionName") == Some(listener)
    })
}
