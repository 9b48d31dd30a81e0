//! News for the tenant, each about one of its objects.

use crate::class;
use crate::engine::Judged;
use crate::gateway::{self, JudgedGateway};
use crate::index::Index;
use crate::infrastructure;
use crate::kind::ObjectRef;
use crate::listener::JudgedListener;
use crate::listener_set::{self, JudgedListenerSet};
use crate::parent;
use crate::reason::{self, Verdict};
use crate::route::JudgedRoute;
use crate::unknown;

/// Weight of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// For information.
    Normal,
    /// Something is refused or missing.
    Warning,
}

impl EventType {
    /// The text used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Event {
    /// The object it is about.
    pub object: ObjectRef,
    /// Weight.
    pub type_: EventType,
    /// Reason in CamelCase, from a closed set.
    pub reason: &'static str,
    /// A sentence for a person. Names the field where there is one.
    pub message: String,
}

/// All news, sorted and without doubles.
pub(crate) fn all(judged: Judged) -> Vec<Event> {
    let Judged {
        index,
        gateways,
        sets,
        policies,
        routes,
    } = judged;
    let mut events: Vec<Event> = index.malformed_events().collect();
    for refused in index.classes.values().filter(|class| !class::is_accepted(class)) {
        let refusal = Verdict::new(reason::INVALID_PARAMETERS, "spec.parametersRef is not supported");
        events.push(warning(&refused.reference, refusal));
    }
    for gateway in gateways.values() {
        gateway_events(index, gateway, &mut events);
    }
    for set in sets.values() {
        listener_set_events(index, set, &mut events);
    }
    let about_policies = policies.problems(index);
    events.extend(about_policies.map(|(object, verdict)| warning(object, verdict)));
    for route in routes.iter().filter(|route| !route.undecided) {
        route_events(index, route, &mut events);
    }
    events.sort();
    events.dedup();
    events
}

fn gateway_events(index: &Index, gateway: &JudgedGateway, events: &mut Vec<Event>) {
    let certificate = gateway.client_certificate.as_ref();
    let closed = parent::listener_sets_unknown(&gateway.object.spec);
    let closed = closed.map(|field| Verdict::new(reason::UNSUPPORTED_VALUE, unknown::message(&field)));
    let news = gateway::refusal(index, gateway)
        .into_iter()
        .chain(gateway.address_problem.clone())
        .chain(certificate.and_then(|certificate| certificate.as_ref().err().cloned()))
        .chain(infrastructure::refusal(index, gateway))
        .chain(closed)
        .chain(about_listeners(&gateway.listeners));
    let object = &gateway.object.reference;
    events.extend(news.map(|verdict| warning(object, verdict)));
}

fn listener_set_events(index: &Index, set: &JudgedListenerSet, events: &mut Vec<Event>) {
    let listeners = if set.refusal.is_some() {
        Vec::new()
    } else {
        about_listeners(&set.listeners)
    };
    let news = listener_set::not_accepted(index, set)
        .into_iter()
        .chain(listeners);
    let object = &set.object.reference;
    events.extend(news.map(|verdict| warning(object, verdict)));
}

fn about_listeners(listeners: &[JudgedListener]) -> Vec<Verdict> {
    let about = |listener: &JudgedListener| {
        let named = |verdict: &Verdict| {
            let message = format!("listener {}: {}", listener.spec.name, verdict.message);
            Verdict::new(verdict.reason, message)
        };
        let all = [&listener.refusal, &listener.conflict, &listener.unresolved];
        all.into_iter().flatten().map(named).collect::<Vec<_>>()
    };
    listeners.iter().flat_map(about).collect()
}

fn route_events(index: &Index, route: &JudgedRoute, events: &mut Vec<Event>) {
    let object = &route.object.reference;
    let refusals = route
        .parents
        .iter()
        .filter_map(|parent| route.refusal(index, parent))
        // Every new route waits for the hub for a moment: that is no news.
        .filter(|verdict| verdict.reason != reason::PENDING);
    let news = refusals
        .chain(route.backends.problems.iter().cloned())
        .chain(route.backends.warnings.iter().cloned())
        .chain(route.malformed.iter().cloned());
    events.extend(news.map(|verdict| warning(object, verdict)));
}

fn warning(object: &ObjectRef, verdict: Verdict) -> Event {
    let Verdict { reason, message } = verdict;
    Event {
        object: object.clone(),
        type_: EventType::Warning,
        reason,
        message,
    }
}
