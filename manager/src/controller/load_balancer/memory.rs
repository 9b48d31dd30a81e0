//! What a run over the LoadBalancers of a namespace leaves to the next one. It says what need not be done again, never
//! what is to be done.

use std::collections::BTreeMap;
use std::sync::Arc;

use controller_kit::diff::{Plan, Portion, Rendered, Settled};
use k8s_openapi::api::core::v1::Service;
use l4_xds::LoadBalancerId;

use super::built::Built;
use super::plan::Desired;
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
    /// What is as it should be.
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

impl Memory {
    /// As much of a plan as one run should do. What Envoys need is written at once.
    pub fn portion(&self, mut plan: Plan, desired: &Desired) -> Portion {
        let (services, others) = std::mem::take(&mut plan.apply)
            .into_iter()
            .partition(|change| desired.owners.contains_key(&change.desired.id().key.name));
        plan.apply = services;
        let mut portion = plan.portion(PORTION, |id| {
            let owner = desired.owners.get(&id.key.name);
            owner.is_some_and(|owner| self.refused.contains_key(owner))
        });
        portion.plan.apply.extend(others);
        portion
    }
}
