//! Facts about a route of any kind: whether Envoy Gateway accepted it on each of its listeners.

use serde_json::Value;

use super::{Live, Progress, RouteStatusFacts, generation, parent, said};
use crate::input::Input;
use crate::origin::Source;
use crate::output::ObjectKey;
use crate::target::attachment::{self, Attachment};
use crate::verdict::Verdict;

pub(super) fn facts(
    input: &Input,
    source: &Source<'_>,
    verdict: &Verdict,
    live: &Live<'_>,
) -> RouteStatusFacts {
    let made = verdict.objects.iter().filter(|key| key.kind == source.kind);
    let current: Vec<Result<&Value, Progress>> = made.map(|key| live.current(key, source)).collect();
    let mut total = Progress::Done;
    let mut parents = Vec::new();
    for (parent, listeners) in parent::merged(&source.route.spec.parents) {
        let owner = attachment::owner(input, parent);
        let mut seen = Seen {
            accepted: Progress::Done,
            programmed: Progress::Done,
        };
        for object in &current {
            seen = seen.and(match object {
                Ok(object) => on_owner(object, &owner, &listeners, verdict),
                Err(progress) => Seen {
                    accepted: progress.clone(),
                    programmed: progress.clone(),
                },
            });
        }
        let availability = parent::availability(input, live, parent);
        total = total.and(seen.programmed).and(availability);
        parents.push(parent::fact(parent, seen.accepted));
    }
    RouteStatusFacts {
        parents,
        ..RouteStatusFacts::of(source, verdict, total)
    }
}

/// What Envoy Gateway says of a route on one Gateway or ListenerSet.
#[derive(Debug)]
struct Seen {
    accepted: Progress,
    /// Stricter: no rule was dropped, and no reference failed that should have worked.
    programmed: Progress,
}

impl Seen {
    fn and(self, other: Self) -> Self {
        Self {
            accepted: self.accepted.and(other.accepted),
            programmed: self.programmed.and(other.programmed),
        }
    }
}

/// A hub route is not on all listeners of the tenant's route where others go first: what it has nothing on, it is
/// not asked about.
fn on_owner(route: &Value, owner: &ObjectKey, listeners: &[&str], verdict: &Verdict) -> Seen {
    let namespace = route
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let references = route.pointer("/spec/parentRefs").and_then(Value::as_array);
    let mut seen = Seen {
        accepted: Progress::Done,
        programmed: Progress::Done,
    };
    for listener in listeners {
        let at = Attachment {
            owner: owner.clone(),
            listener: (*listener).to_owned(),
        };
        if references
            .into_iter()
            .flatten()
            .any(|reference| refers_to(reference, &at, namespace))
        {
            seen = seen.and(on_listener(route, &at, namespace, verdict));
        }
    }
    seen
}

fn on_listener(route: &Value, at: &Attachment, namespace: &str, verdict: &Verdict) -> Seen {
    let generation = generation(route);
    let parents = route.pointer("/status/parents").and_then(Value::as_array);
    let parent = parents.into_iter().flatten().find(|parent| {
        parent
            .get("parentRef")
            .is_some_and(|reference| refers_to(reference, at, namespace))
    });
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

fn refers_to(reference: &Value, at: &Attachment, namespace: &str) -> bool {
    let text = |field: &str| reference.get(field).and_then(Value::as_str);
    let Attachment { owner, listener } = at;
    text("kind").unwrap_or("Gateway") == owner.kind.as_str()
        && text("name") == Some(&owner.name)
        && text("namespace").unwrap_or(namespace) == owner.namespace
        && text("sectionName") == Some(listener)
}
