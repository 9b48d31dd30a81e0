//! Facts about a Gateway or a ListenerSet: addresses, listeners, and whether Envoy Gateway programmed it.

use api::v1alpha1::{HubAddress, ListenerDecision, ListenerFact};
use serde_json::Value;

use super::{Live, Progress, RouteStatusFacts, find_condition, generation, parent, said};
use crate::input::Input;
use crate::names;
use crate::origin::Source;
use crate::output::{Kind, ObjectKey};
use crate::verdict::{Problem, Verdict};

/// Most addresses in a status.
const MAX_ADDRESSES: usize = 16;

pub(super) fn facts(
    input: &Input,
    source: &Source<'_>,
    verdict: &Verdict,
    live: &Live<'_>,
) -> RouteStatusFacts {
    let name = names::gateway(&source.origin.namespace, &source.origin.name);
    let key = ObjectKey::new(Kind::Gateway, &input.namespace, name);
    let current = live.current(&key, source);
    let progress = match &current {
        Ok(object) => progress(object),
        Err(progress) => progress.clone(),
    };
    RouteStatusFacts {
        // An address stays in force while an update is on its way.
        addresses: live.get(&key).map(addresses).unwrap_or_default(),
        listeners: listeners(source, verdict, &current),
        ..RouteStatusFacts::of(source, verdict, progress.and(serves_any(source, verdict)))
    }
}

/// An Envoy is there for a Gateway that serves nothing too, which is not what it was asked for.
fn serves_any(source: &Source<'_>, verdict: &Verdict) -> Progress {
    let decided = source.route.spec.gateway.iter().flat_map(|d| &d.listeners);
    let mut refused = Progress::Done;
    for ListenerDecision {
        name,
        certificates: _,
    } in decided
    {
        match verdict.refused_listeners.get(name) {
            Some(problem) => refused = refused.and(rejected(problem)),
            None => return Progress::Done,
        }
    }
    refused
}

fn rejected(problem: &Problem) -> Progress {
    Progress::Rejected {
        reason: problem.reason.to_owned(),
        message: problem.message.clone(),
    }
}

/// Facts about a ListenerSet.
pub(super) fn facts_of_set(
    input: &Input,
    source: &Source<'_>,
    verdict: &Verdict,
    live: &Live<'_>,
) -> RouteStatusFacts {
    let name = names::listener_set(&source.origin.namespace, &source.origin.name);
    let current = live.current(&ObjectKey::new(Kind::ListenerSet, &input.namespace, name), source);
    let mut total = match &current {
        Ok(object) => progress(object),
        Err(progress) => progress.clone(),
    };
    let accepted = match &current {
        Ok(object) => accepted(object),
        Err(progress) => progress.clone(),
    };
    let mut parents = Vec::new();
    for (parent, _) in parent::merged(&source.route.spec.parents) {
        total = total.and(parent::availability(input, live, parent));
        parents.push(parent::fact(parent, accepted.clone()));
    }
    RouteStatusFacts {
        listeners: listeners(source, verdict, &current),
        parents,
        ..RouteStatusFacts::of(source, verdict, total)
    }
}

/// True where Envoy Gateway has an Envoy for this Gateway, perhaps not yet with its newest spec.
pub(super) fn is_available(gateway: &Value) -> bool {
    let condition = gateway
        .get("status")
        .and_then(|status| find_condition(status, "Programmed"));
    condition.and_then(|c| c.get("status")).and_then(Value::as_str) == Some("True")
}

fn accepted(object: &Value) -> Progress {
    let status = object.get("status").unwrap_or(&Value::Null);
    match said(status, "Accepted", generation(object)) {
        None => waiting(object),
        Some(accepted) if accepted.status == "True" => Progress::Done,
        Some(accepted) if accepted.status == "False" => accepted.rejected(),
        Some(accepted) => accepted.pending(),
    }
}

fn progress(object: &Value) -> Progress {
    let status = object.get("status").unwrap_or(&Value::Null);
    let accepted = accepted(object);
    if accepted != Progress::Done {
        return accepted;
    }
    match said(status, "Programmed", generation(object)) {
        None => waiting(object),
        Some(programmed) if programmed.status == "True" => Progress::Done,
        Some(programmed) if matches!(programmed.reason, "Invalid" | "ListenersNotValid") => {
            programmed.rejected()
        }
        Some(programmed) => programmed.pending(),
    }
}

fn waiting(object: &Value) -> Progress {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or("object");
    Progress::pending(format!("Envoy Gateway has not looked at the {kind} yet."))
}

fn addresses(gateway: &Value) -> Vec<HubAddress> {
    let list = gateway.pointer("/status/addresses").and_then(Value::as_array);
    let text = |address: &Value, field: &str| address.get(field).and_then(Value::as_str).map(str::to_owned);
    let read = |address: &Value| {
        let type_ = text(address, "type").unwrap_or_else(|| "IPAddress".to_owned());
        Some(HubAddress {
            type_,
            value: text(address, "value")?,
        })
    };
    list.into_iter()
        .flatten()
        .filter_map(read)
        .take(MAX_ADDRESSES)
        .collect()
}

fn listeners(
    source: &Source<'_>,
    verdict: &Verdict,
    current: &Result<&Value, Progress>,
) -> Vec<ListenerFact> {
    let decided = source
        .route
        .spec
        .gateway
        .iter()
        .flat_map(|decision| &decision.listeners);
    let mut facts: Vec<ListenerFact> = Vec::new();
    for ListenerDecision {
        name,
        certificates: _,
    } in decided
    {
        if facts.iter().all(|fact| fact.name != *name) {
            facts.push(listener(name, verdict, current));
        }
    }
    facts
}

fn listener(name: &str, verdict: &Verdict, current: &Result<&Value, Progress>) -> ListenerFact {
    let progress = match (verdict.refused_listeners.get(name), current) {
        (Some(problem), _) => rejected(problem),
        (None, Err(progress)) => progress.clone(),
        (None, Ok(gateway)) => listener_progress(gateway, name),
    };
    let (programmed, reason, message) = progress.into_parts();
    ListenerFact {
        name: name.to_owned(),
        programmed,
        reason,
        message,
    }
}

fn listener_progress(gateway: &Value, name: &str) -> Progress {
    let list = gateway.pointer("/status/listeners").and_then(Value::as_array);
    let named = |listener: &&Value| listener.get("name").and_then(Value::as_str) == Some(name);
    let programmed = list
        .and_then(|list| list.iter().find(named))
        .and_then(|listener| said(listener, "Programmed", generation(gateway)));
    match programmed {
        None => Progress::pending("Envoy Gateway has not looked at the listener yet."),
        Some(programmed) if programmed.status == "True" => Progress::Done,
        Some(programmed) if programmed.reason == "Pending" => programmed.pending(),
        Some(programmed) => programmed.rejected(),
    }
}
