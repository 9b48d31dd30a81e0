//! What the hub has of a route that cannot be sent for now: it waits for a new backend, or cannot be read.
//!
//! It stays as it is, but for what is not permitted any more: that goes at once, whatever the route waits for.
//! Nothing is ever added to it, so that the hub never has half of a change.

use api::v1alpha1::{BackendDecision, ParentDecision, RouteSpec};

use crate::attach;
use crate::backends;
use crate::delegate;
use crate::engine::Judged;
use crate::kind::{ObjectKind, ObjectRef, RouteKind};
use crate::model::ParentRef;
use crate::outcome::DesiredRoute;
use crate::route::{self, Leads, Owners};

/// What becomes of it.
pub(crate) enum Held {
    /// It stays as it is, if it is there.
    Whole,
    /// So much of it stays.
    Part(Box<DesiredRoute>),
    /// None of its parents lets it attach any more.
    Nothing,
}

/// What may stay of what the hub has of a route.
pub(crate) fn judge(judged: Judged, object: &ObjectRef) -> Held {
    let live = judged.index.hub.routes.get(&object.uid);
    let live = live.and_then(|facts| facts.live.as_deref());
    match (object.kind, live) {
        (ObjectKind::Route(kind), Some(live)) => narrowed(judged, kind, object, &live.spec),
        _ => Held::Whole,
    }
}

fn narrowed(judged: Judged, kind: RouteKind, object: &ObjectRef, live: &RouteSpec) -> Held {
    let parents = live.parents.iter();
    let parents: Vec<_> = parents
        .filter_map(|parent| attached(judged, object, parent))
        .collect();
    let backends = live.backends.iter();
    let backends: Vec<_> = backends
        .map(|backend| permitted(judged, kind, object, backend))
        .collect();
    if parents == live.parents && backends == live.backends {
        return Held::Whole;
    }
    if parents.is_empty() {
        return Held::Nothing;
    }
    let spec = RouteSpec {
        parents,
        backends,
        ..live.clone()
    };
    Held::Part(Box::new(delegate::of(object, spec)))
}

/// The listeners of a parent that still admit the route.
fn attached(judged: Judged, object: &ObjectRef, decision: &ParentDecision) -> Option<ParentDecision> {
    let ParentDecision {
        scope,
        kind,
        namespace,
        name,
        listeners,
    } = decision;
    let reference = ParentRef {
        kind: Some(kind.as_str().to_owned()),
        name: name.clone(),
        ..ParentRef::default()
    };
    let owners = Owners {
        gateways: judged.gateways,
        sets: judged.sets,
    };
    let is_it = |object: &ObjectRef| {
        object.kind.as_str() == kind.as_str() && object.namespace == *namespace && object.name == *name
    };
    if judged.index.malformed.iter().any(|(object, _)| is_it(object)) {
        // Not known what it admits: what the hub has of it stays too.
        return Some(decision.clone());
    }
    let Leads::Ours(parent) = route::leads(judged.index, owners, &reference, namespace) else {
        return None;
    };
    let admits = |name: &&String| {
        let mut all = parent.listeners.iter();
        all.any(|listener| listener.name == *name && attach::admits(judged.index, object, listener))
    };
    let listeners: Vec<String> = listeners.iter().filter(admits).cloned().collect();
    (parent.scope == *scope && !listeners.is_empty()).then(|| ParentDecision {
        listeners,
        ..decision.clone()
    })
}

fn permitted(
    judged: Judged,
    kind: RouteKind,
    object: &ObjectRef,
    decision: &BackendDecision,
) -> BackendDecision {
    let BackendDecision {
        pointer,
        service,
        invalid: _,
    } = decision;
    let index = judged.index;
    let problem = service
        .as_ref()
        .and_then(|service| backends::problem(index, judged.policies, kind, object, service));
    problem.map_or_else(
        || decision.clone(),
        |invalid| backends::leads_nowhere(pointer.clone(), invalid),
    )
}
