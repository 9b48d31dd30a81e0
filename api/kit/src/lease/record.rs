//! What is written into a Lease. Pure but for the wall clock, which is written for people and never read.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};

use super::LeaseConfig;

pub(super) fn empty(config: &LeaseConfig) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(config.name.clone()),
            namespace: Some(config.namespace.clone()),
            ..ObjectMeta::default()
        },
        spec: None,
    }
}

/// Who holds the lease, if anybody.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    lease
        .spec
        .as_ref()?
        .holder_identity
        .as_deref()
        .filter(|holder| !holder.is_empty())
}

/// How long its holder said that others will wait.
pub(super) fn promised(lease: &Lease, config: &LeaseConfig) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0);
    seconds.map_or(config.lease_duration, Duration::from_secs)
}

/// The term that the lease is in. Grows with every claim, whoever makes it.
pub(super) fn epoch_of(lease: &Lease) -> u64 {
    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
    transitions
        .and_then(|transitions| u64::try_from(transitions).ok())
        .unwrap_or_default()
}

/// Ours from now on; in a new term, unless we go on leading in one.
pub(super) fn claimed(lease: &Lease, config: &LeaseConfig, goes_on: bool) -> Lease {
    let mut lease = renewed(lease, config);
    if let Some(spec) = lease.spec.as_mut().filter(|_| !goes_on) {
        spec.acquire_time = spec.renew_time.clone();
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
    }
    lease
}

/// Ours for another lease duration.
pub(super) fn renewed(lease: &Lease, config: &LeaseConfig) -> Lease {
    let mut lease = lease.clone();
    let spec = lease.spec.get_or_insert_default();
    let seconds = config.lease_duration.as_secs_f64().ceil();
    spec.holder_identity = Some(config.identity.clone());
    spec.lease_duration_seconds = Some(seconds as i32);
    spec.renew_time = Some(MicroTime(Timestamp::now()));
    lease
}

/// Nobody's.
pub(super) fn vacated(lease: &Lease) -> Lease {
    let mut lease = lease.clone();
    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
    lease.spec = Some(LeaseSpec {
        lease_transitions: transitions,
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    });
    lease
}
