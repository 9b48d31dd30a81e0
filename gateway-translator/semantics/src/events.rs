//! News for the tenant, each about one of its objects.

use crate::class;
use crate::engine::Gateways;
use crate::gateway::{self, JudgedGateway};
use crate::index::Index;
use crate::kind::ObjectRef;
use crate::reason::{self, Verdict};
use crate::route::JudgedRoute;

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
pub(crate) fn all(index: &Index, gateways: &Gateways, routes: &[JudgedRoute]) -> Vec<Event> {
    let mut events: Vec<Event> = index.malformed_events().collect();
    for refused in index.classes.values().filter(|class| !class::is_accepted(class)) {
        let refusal = Verdict::new(reason::INVALID_PARAMETERS, "spec.parametersRef is not supported");
        events.push(warning(&refused.reference, refusal));
    }
    for gateway in gateways.values() {
        gateway_events(index, gateway, &mut events);
    }
    for route in routes.iter().filter(|route| !route.undecided) {
        route_events(index, route, &mut events);
    }
    events.sort();
    events.dedup();
    events
}

fn gateway_events(index: &Index, gateway: &JudgedGateway, events: &mut Vec<Event>) {
    let object = &gateway.object.reference;
    let about_listeners = gateway.listeners.iter().flat_map(|listener| {
        let named = |verdict: &Verdict| {
            Verdict::new(
                verdict.reason,
                format!("listener {}: {}", listener.spec.name, verdict.message),
            )
        };
        [&listener.refusal, &listener.conflict, &listener.unresolved]
            .into_iter()
            .flatten()
            .map(named)
            .collect::<Vec<_>>()
    });
    let ignored = gateway
        .object
        .spec
        .tls
        .as_ref()
        .and_then(|tls| tls.backend.as_ref())
        .map(|_| {
            Verdict::new(
                reason::UNSUPPORTED_VALUE,
                "spec.tls.backend is not supported and has no effect",
            )
        });
    let news = gateway::refusal(index, gateway)
        .into_iter()
        .chain(about_listeners)
        .chain(ignored);
    events.extend(news.map(|verdict| warning(object, verdict)));
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
