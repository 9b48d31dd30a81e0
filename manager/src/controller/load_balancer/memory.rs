//! What a run over the LoadBalancers of a namespace leaves to the next one. It says what need not be done again, never
//! what is to be done.

use std::collections::BTreeMap;
use std::sync::Arc;

use controller_kit::diff::{Plan, Portion, Rendered, Settled};
use controller_kit::watch::List;
use k8s_openapi::api::core::v1::Service;
use l4_xds::LoadBalancerId;

use super::assessments::are_same;
use super::built::{Built, Owners};
use super::pace::Pace;
use super::status::Refusal;
use super::told::Told;
use crate::by_namespace::ByNamespace;

/// Hub Services that one run writes at most: the first of many is told, and what happens meanwhile is seen, before the
/// last one is written.
const PORTION: usize = 64;

/// By namespace.
pub type Memories = ByNamespace<Memory>;

/// Of one namespace.
#[derive(Debug, Default)]
pub struct Memory {
    /// Hub Services as they were built.
    pub built: Built,
    /// Hub Services as they were made from that.
    pub services: Rendered<String, Made>,
    /// LoadBalancers whose status is as it should be.
    pub told: Told,
    /// How fast further ones are told that nobody waits for.
    pub pace: Pace,
    /// Hub Services that are as they should be.
    pub settled_services: Settled,
    /// Hub Services about which there was nothing to do.
    pub calm: Calm,
    /// What else is as it should be.
    pub settled: Settled,
    /// LoadBalancers whose Service the hub refused the last time.
    pub refused: BTreeMap<LoadBalancerId, Refusal>,
}

/// A hub Service that was built. Most are the very same as before, which is seen without reading them.
#[derive(Debug, Clone)]
pub struct Made(pub Arc<Service>);

impl PartialEq for Made {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

/// What was wanted and what was there when all of it was as it should be. The very same again is so, too, which is seen
/// without looking into any.
#[derive(Debug, Default)]
pub struct Calm(Option<(Vec<Arc<Service>>, List<Service>)>);

impl Calm {
    /// What was found to be so.
    #[must_use]
    pub fn of(desired: Vec<Arc<Service>>, live: List<Service>) -> Self {
        Self(Some((desired, live)))
    }

    /// Whether it is the very same.
    #[must_use]
    pub fn is(&self, desired: &[Arc<Service>], live: &List<Service>) -> bool {
        let same = |one: &[Arc<Service>]| are_same(one, desired);
        (self.0.as_ref()).is_some_and(|(before, known)| Arc::ptr_eq(known, live) && same(before))
    }
}

impl Memory {
    /// As much of a plan as one run should do. What Envoys need is written at once.
    pub fn portion(&self, mut plan: Plan, owners: &Owners<'_>) -> Portion {
        let (services, others) = std::mem::take(&mut plan.apply)
            .into_iter()
            .partition(|change| owners.contains_key(change.desired.id().key.name.as_str()));
        plan.apply = services;
        let mut portion = plan.portion(PORTION, |id| {
            let owner = owners.get(id.key.name.as_str());
            owner.is_some_and(|owner| self.refused.contains_key(owner))
        });
        portion.plan.apply.extend(others);
        portion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_service_on_either_side_ends_the_calm() {
        let some = || Arc::new(Service::default());
        let (desired, live) = (vec![some()], Arc::new(vec![some(), some()]));
        assert!(!Calm::default().is(&[], &Arc::default()), "nothing was found yet");
        let calm = Calm::of(desired.clone(), Arc::clone(&live));
        assert!(calm.is(&desired, &live));
        assert!(!calm.is(&[some()], &live));
        assert!(!calm.is(&desired, &Arc::new(vec![live[0].clone(), some()])));
        assert!(!calm.is(&[], &live));
    }
}
