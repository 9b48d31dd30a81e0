//! Which fleets a tenant has, which it needs, and when one that nobody needs goes. Pure.
//!
//! A fleet that nobody needs any more stays for a while: the next Service may come at once, and Envoys take longer to
//! start than a listener takes to reach them. Since when is not remembered but recorded, on the workload itself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::ResourceExt;

use crate::build::envoy::{UNNEEDED_UNTIL, WorkloadKind};
use crate::fleet::FleetId;
use crate::settings::TenantSettings;

/// How long a fleet stays that nobody needs.
pub const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// A Deployment or DaemonSet of a fleet, as the hub has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Whose.
    pub fleet: FleetId,
    /// Which of the two.
    pub kind: WorkloadKind,
    /// All Envoys that it shall have are ready.
    pub is_ready: bool,
    /// Envoys that it shall have.
    pub envoys: i32,
    /// When it goes, if nobody needs it until then.
    pub unneeded_until: Option<Timestamp>,
}

/// What is to be of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// When it goes, if nobody needs it until then. None where somebody does.
    pub unneeded_until: Option<Timestamp>,
    /// What runs its Envoys. Two, while one takes over from the other.
    pub kinds: BTreeSet<WorkloadKind>,
}

impl Workload {
    /// Reads a Deployment; none where it is no fleet's.
    #[must_use]
    pub fn of_deployment(deployment: &Deployment) -> Option<Self> {
        let wanted = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let status = deployment.status.clone().unwrap_or_default();
        let observed = status.observed_generation == deployment.metadata.generation;
        Some(Self {
            fleet: FleetId::of_object(&deployment.metadata)?,
            kind: WorkloadKind::Deployment,
            is_ready: observed && status.ready_replicas.unwrap_or(0) >= wanted,
            envoys: wanted,
            unneeded_until: recorded(deployment),
        })
    }

    /// Reads a DaemonSet; none where it is no fleet's.
    #[must_use]
    pub fn of_daemon_set(daemon_set: &DaemonSet) -> Option<Self> {
        let status = daemon_set.status.clone().unwrap_or_default();
        let observed = status.observed_generation == daemon_set.metadata.generation;
        let wanted = status.desired_number_scheduled;
        Some(Self {
            fleet: FleetId::of_object(&daemon_set.metadata)?,
            kind: WorkloadKind::DaemonSet,
            // On no node at all it is ready for nothing.
            is_ready: observed && wanted > 0 && status.number_ready >= wanted,
            envoys: wanted,
            unneeded_until: recorded(daemon_set),
        })
    }
}

fn recorded(workload: &impl ResourceExt) -> Option<Timestamp> {
    workload.annotations().get(UNNEEDED_UNTIL)?.parse().ok()
}

/// Those that are needed, and those that are there and whose time is not over.
#[must_use]
pub fn plan(
    needed: &BTreeSet<FleetId>,
    live: &[Workload],
    kind: WorkloadKind,
    now: Timestamp,
) -> BTreeMap<FleetId, Fleet> {
    let mut fleets = BTreeMap::new();
    for id in needed {
        let fleet = Fleet {
            unneeded_until: None,
            kinds: kinds(id, live, kind),
        };
        fleets.insert(id.clone(), fleet);
    }
    for workload in live.iter().filter(|workload| !needed.contains(&workload.fleet)) {
        let until = workload.unneeded_until.or_else(|| after(now)).unwrap_or(now);
        if until > now {
            let fleet = fleets.entry(workload.fleet.clone()).or_insert_with(|| Fleet {
                unneeded_until: Some(until),
                kinds: BTreeSet::new(),
            });
            fleet.kinds.insert(workload.kind);
        }
    }
    fleets
}

/// Envoys that a fleet shall have. How many a DaemonSet has is decided by the nodes.
#[must_use]
pub fn envoys(id: &FleetId, fleet: &Fleet, live: &[Workload], settings: &TenantSettings) -> i64 {
    let of = |kind: &WorkloadKind| match kind {
        WorkloadKind::Deployment => settings.envoy.replicas,
        WorkloadKind::DaemonSet => {
            let own = live.iter().find(|w| w.fleet == *id && w.kind == *kind);
            own.map_or(0, |workload| workload.envoys)
        }
    };
    fleet.kinds.iter().map(|kind| i64::from(of(kind))).sum()
}

/// Whole seconds: people read it.
fn after(now: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(now.as_second().saturating_add(GRACE.as_secs())).ok()
}

/// The wanted kind; and until its Envoys are ready, the other one beside it.
fn kinds(id: &FleetId, live: &[Workload], kind: WorkloadKind) -> BTreeSet<WorkloadKind> {
    let own = || live.iter().filter(|workload| workload.fleet == *id);
    let took_over = own().any(|workload| workload.kind == kind && workload.is_ready);
    let others = own().filter(|_| !took_over).map(|workload| workload.kind);
    others.chain([kind]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: WorkloadKind = WorkloadKind::Deployment;
    const DAEMON_SET: WorkloadKind = WorkloadKind::DaemonSet;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn live(kind: WorkloadKind, is_ready: bool, unneeded_until: Option<i64>) -> Workload {
        Workload {
            fleet: FleetId::Shared,
            kind,
            is_ready,
            envoys: 1,
            unneeded_until: unneeded_until.map(at),
        }
    }

    fn fleet(unneeded_until: Option<i64>, kinds: &[WorkloadKind]) -> BTreeMap<FleetId, Fleet> {
        let fleet = Fleet {
            unneeded_until: unneeded_until.map(at),
            kinds: kinds.iter().copied().collect(),
        };
        BTreeMap::from([(FleetId::Shared, fleet)])
    }

    fn unneeded(live: &[Workload], second: i64) -> BTreeMap<FleetId, Fleet> {
        plan(&BTreeSet::new(), live, DEPLOYMENT, at(second))
    }

    fn needed(live: &[Workload], kind: WorkloadKind) -> BTreeMap<FleetId, Fleet> {
        plan(&BTreeSet::from([FleetId::Shared]), live, kind, at(100))
    }

    #[test]
    fn a_fleet_that_nobody_needs_goes_when_its_time_is_over() {
        assert_eq!(
            unneeded(&[live(DEPLOYMENT, true, None)], 100),
            fleet(Some(160), &[DEPLOYMENT])
        );
        // Whoever looks later finds the time recorded.
        let given_up = [live(DEPLOYMENT, true, Some(160))];
        assert_eq!(unneeded(&given_up, 159), fleet(Some(160), &[DEPLOYMENT]));
        assert_eq!(unneeded(&given_up, 160), BTreeMap::new());
    }

    #[test]
    fn a_fleet_that_is_needed_again_stays() {
        let given_up = [live(DEPLOYMENT, true, Some(160))];
        assert_eq!(needed(&given_up, DEPLOYMENT), fleet(None, &[DEPLOYMENT]));
    }

    #[test]
    fn one_kind_of_workload_goes_when_the_other_has_taken_over() {
        let other = live(DEPLOYMENT, true, None);
        assert_eq!(
            needed(std::slice::from_ref(&other), DAEMON_SET),
            fleet(None, &[DEPLOYMENT, DAEMON_SET])
        );
        let starting = [other.clone(), live(DAEMON_SET, false, None)];
        assert_eq!(
            needed(&starting, DAEMON_SET),
            fleet(None, &[DEPLOYMENT, DAEMON_SET])
        );
        let ready = [other, live(DAEMON_SET, true, None)];
        assert_eq!(needed(&ready, DAEMON_SET), fleet(None, &[DAEMON_SET]));
    }

    #[test]
    fn a_workload_is_ready_when_all_its_envoys_are_at_its_newest_generation() {
        let deployment = |observed: i64, ready: i32| -> Deployment {
            serde_json::from_value(serde_json::json!({
                "metadata": {"generation": 2, "labels": FleetId::Shared.labels("a", "tenant-a")},
                "spec": {"replicas": 2, "selector": {}, "template": {}},
                "status": {"observedGeneration": observed, "readyReplicas": ready}}))
            .unwrap()
        };
        let is_ready = |observed, ready| {
            Workload::of_deployment(&deployment(observed, ready))
                .unwrap()
                .is_ready
        };
        assert!(is_ready(2, 2));
        assert!(!is_ready(2, 1));
        assert!(!is_ready(1, 2));
    }
}
