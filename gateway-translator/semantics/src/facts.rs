//! The hub's facts, believed only for the generation that they are about.

use api::condition::find;
use api::v1alpha1::{GatewayScope, ParentKind, RouteStatus, route_condition as hub};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::kind::ObjectRef;
use crate::reason::{self, Verdict};
use crate::snapshot::{HubFacts, RouteFacts};

/// What the hub says of one object at its present generation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current<'a>(&'a RouteStatus);

/// The last facts of an object, of whatever generation.
pub(crate) fn latest<'a>(facts: &'a HubFacts, object: &ObjectRef) -> Option<&'a RouteFacts> {
    facts.routes.get(&object.uid)
}

/// The facts of an object, if they are about its present generation and about what the Route CR now says.
pub(crate) fn current<'a>(facts: &'a HubFacts, object: &ObjectRef) -> Option<Current<'a>> {
    let RouteFacts {
        generation,
        services: _,
        status,
        live: _,
    } = latest(facts, object)?;
    let of_this_source = status.source_generation == Some(object.generation);
    (of_this_source && status.observed_generation == Some(*generation)).then_some(Current(status))
}

/// What the hub serves of this Route may still be what it was before: it has not said what came of the last change.
pub(crate) fn is_unsettled(facts: &RouteFacts) -> bool {
    let RouteFacts {
        generation,
        services: _,
        status,
        live: _,
    } = facts;
    let current = Current(status);
    let settled = current.refusal().is_some() || current.programmed().is_some_and(|said| said.is_ok());
    status.observed_generation != Some(*generation) || !settled
}

/// Programmed at the present generation, or why not.
///
/// # Errors
/// What the hub says, or that it has not said anything yet.
pub(crate) fn programmed(facts: &HubFacts, object: &ObjectRef) -> Result<(), Verdict> {
    let waiting = || {
        let message = format!("the hub has not yet confirmed generation {}", object.generation);
        Verdict::new(reason::PENDING, message)
    };
    let facts = current(facts, object).ok_or_else(waiting)?;
    facts.programmed().unwrap_or_else(|| Err(waiting()))
}

impl<'a> Current<'a> {
    /// Why the hub refuses the whole object.
    pub fn refusal(self) -> Option<Verdict> {
        let accepted = find(&self.0.conditions, hub::ACCEPTED)?;
        (accepted.status == "False").then(|| verdict(accepted))
    }

    /// Why the hub refuses a route on one Gateway or ListenerSet. That it has not got to it yet is no refusal: the
    /// status would say no, and a moment later yes.
    pub fn parent_refusal(
        self,
        scope: GatewayScope,
        kind: ParentKind,
        namespace: &str,
        name: &str,
    ) -> Option<Verdict> {
        let fact = self
            .0
            .parents
            .iter()
            .find(|f| f.scope == scope && f.kind == kind && f.namespace == namespace && f.name == name)?;
        let is_refused = !fact.accepted && fact.reason != hub::REASON_PENDING;
        is_refused.then(|| Verdict {
            reason: reason::from_hub(&fact.reason),
            message: fact.message.clone(),
        })
    }

    /// Programmed, or why not. `None` when the hub does not say.
    pub fn programmed(self) -> Option<Result<(), Verdict>> {
        let programmed = find(&self.0.conditions, hub::PROGRAMMED)?;
        Some(if programmed.status == "True" {
            Ok(())
        } else {
            Err(verdict(programmed))
        })
    }

    /// A listener is programmed, or why not. `None` when the hub does not say.
    pub fn listener(self, name: &str) -> Option<Result<(), Verdict>> {
        let fact = self.0.listeners.iter().find(|fact| fact.name == name)?;
        let problem = || Verdict {
            reason: reason::from_hub(&fact.reason),
            message: fact.message.clone(),
        };
        Some(if fact.programmed { Ok(()) } else { Err(problem()) })
    }
}

fn verdict(condition: &Condition) -> Verdict {
    Verdict {
        reason: reason::from_hub(&condition.reason),
        message: condition.message.clone(),
    }
}
