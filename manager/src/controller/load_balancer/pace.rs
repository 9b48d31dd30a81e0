//! How fast statuses are written that tell nothing but that all is well with a newer generation too. Pure.
//!
//! Each change that a tenant makes would have the manager write once more, at the cost of everybody else on the hub's API
//! server. What Envoys are served waits for nothing, and neither does a status that says anything else: an address, a
//! refusal, what an Envoy said.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use api::v1alpha1::LoadBalancerStatus;
use l4_xds::LoadBalancerId;

/// So many at once: more than people change by hand.
const BURST: usize = 50;
/// From one to the next, for a tenant that changes more than that.
const BEAT: Duration = Duration::from_millis(100);
/// When to look again at those that wait.
pub const WAIT: Duration = Duration::from_secs(1);

/// Of one tenant.
#[derive(Debug, Default)]
pub struct Pace {
    /// All that were written would have been written one by one until then.
    until: Option<Instant>,
    /// The last one that was written. The next ones come first the next time, so that nobody waits for ever.
    last: Option<LoadBalancerId>,
}

impl Pace {
    /// Those that may be written now, of those that are due, in the order of ids.
    pub fn take(&mut self, due: &[LoadBalancerId], now: Instant) -> BTreeSet<LoadBalancerId> {
        let begin = self.until.unwrap_or(now).max(now);
        let ahead = begin.duration_since(now).as_millis() / BEAT.as_millis();
        let left = BURST.saturating_sub(usize::try_from(ahead).unwrap_or(usize::MAX));
        let first = match &self.last {
            Some(last) => due.partition_point(|id| id <= last),
            None => 0,
        };
        let (before, after) = due.split_at(first);
        let taken: Vec<_> = after.iter().chain(before).take(left).collect();
        if let Some(last) = taken.last() {
            self.last = Some((*last).clone());
            self.until = u32::try_from(taken.len()).ok().map(|count| begin + BEAT * count);
        }
        taken.into_iter().cloned().collect()
    }
}

/// True where `now` says of a newer generation what `before` said of the one before, which is that all is well, and
/// nothing else.
#[must_use]
pub fn is_only_newer(before: &LoadBalancerStatus, now: &LoadBalancerStatus) -> bool {
    if now.conditions.iter().any(|condition| condition.status != "True") {
        return false;
    }
    let mut renewed = before.clone();
    renewed.observed_generation = now.observed_generation;
    for condition in &mut renewed.conditions {
        condition.observed_generation = now.observed_generation;
    }
    renewed == *now
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ids(count: usize) -> Vec<LoadBalancerId> {
        let id = |number| LoadBalancerId::new("tenant-a", format!("lb-{number:04}")).unwrap();
        (0..count).map(id).collect()
    }

    #[test]
    fn a_burst_is_written_at_once_and_then_ten_a_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let due = ids(1000);
        assert_eq!(pace.take(&due, at(0)).len(), 50);
        assert_eq!(pace.take(&due, at(0)).len(), 0);
        assert_eq!(pace.take(&due, at(1)).len(), 10);
        assert_eq!(pace.take(&due, at(3)).len(), 20);
        assert_eq!(pace.take(&due[..5], at(60)).len(), 5, "few wait for nothing");
        assert_eq!(pace.take(&due, at(60)).len(), 45);
    }

    #[test]
    fn everybody_has_a_turn_while_all_are_due_all_the_time() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let due = ids(200);
        let mut had: Vec<_> = (0..16)
            .flat_map(|second| pace.take(&due, start + Duration::from_secs(second)))
            .collect();
        assert_eq!(had.len(), 200);
        had.sort();
        assert_eq!(had, due);
    }

    #[test]
    fn only_the_generation_is_nothing_new() {
        let status = |generation: i64, programmed: &str, ip: &str| -> LoadBalancerStatus {
            let condition = json!({"type": "Programmed", "status": programmed, "reason": "Programmed", "message": "",
                "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let ingress = json!({"ingress": [{"ip": ip}]});
            serde_json::from_value(json!({"observedGeneration": generation, "loadBalancer": ingress,
                "conditions": [condition]}))
            .unwrap()
        };
        let before = status(1, "True", "192.0.2.1");
        assert!(is_only_newer(&before, &status(2, "True", "192.0.2.1")));
        assert!(!is_only_newer(&before, &status(2, "False", "192.0.2.1")));
        assert!(!is_only_newer(&before, &status(2, "True", "192.0.2.2")));
        assert!(!is_only_newer(&LoadBalancerStatus::default(), &before));
        // What Envoy rejected is offered again with each generation until it is written that it rejected that one too.
        let rejected = status(1, "False", "192.0.2.1");
        assert!(!is_only_newer(&rejected, &status(2, "False", "192.0.2.1")));
    }
}
