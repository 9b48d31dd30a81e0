//! LoadBalancers whose status says all that there is to say, so that it is not worked out again while nothing of what it
//! depends on has changed.
//!
//! It decides nothing: a status that is worked out again would be the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use l4_xds::{LoadBalancerId, Report};

use super::arrival::{Contents, Crews};
use super::assess::Assessed;
use super::previous::{About, Previous};
use crate::controller::report::Reports;
use crate::hostnames::HostnameTable;

/// Of one namespace.
#[derive(Debug, Default)]
pub struct Told {
    basis: Option<Basis>,
    /// In the order of ids.
    known: Vec<Known>,
}

/// What statuses are worked out from, besides the LoadBalancers and their hub Services.
#[derive(Debug, Clone)]
pub struct Basis {
    /// Who holds which host name.
    pub hostnames: Arc<HostnameTable>,
    /// What is served.
    pub contents: Contents,
    /// What Envoys said to this replica.
    pub said: Report,
    /// What they said to others.
    pub elsewhere: Arc<Reports>,
    /// Envoys whose word counts.
    pub crews: Crews,
}

/// A LoadBalancer whose status said all that there was to say.
#[derive(Debug)]
struct Known(Arc<Assessed>);

impl About for Known {
    fn id(&self) -> &LoadBalancerId {
        &self.0.id
    }
}

/// A run over all statuses.
#[derive(Debug)]
pub struct Telling {
    before: Previous<Known>,
    /// Those of which something else may have to be told.
    changed: BTreeSet<LoadBalancerId>,
    now: Vec<Known>,
}

impl Told {
    /// Begins a run, which asks in the order of ids.
    #[must_use]
    pub fn begin(&mut self, basis: &Basis) -> Telling {
        let before = self.basis.take();
        let changed = before.and_then(|before| basis.changed_since(&before));
        let known = match &changed {
            Some(_) => std::mem::take(&mut self.known),
            None => Vec::new(),
        };
        Telling {
            now: Vec::with_capacity(known.len()),
            before: Previous::of(known),
            changed: changed.unwrap_or_default(),
        }
    }

    /// Ends a run: who was not asked for is forgotten.
    pub fn end(&mut self, telling: Telling, basis: Basis) {
        let Telling {
            before: _,
            changed: _,
            now,
        } = telling;
        (self.known, self.basis) = (now, Some(basis));
    }
}

impl Telling {
    /// Whether the status is known to say all that there is to say. Never of one that is not plain: that says more than
    /// what comes of it by its [`Basis`].
    pub fn knows(&mut self, item: &Arc<Assessed>, is_plain: bool) -> bool {
        let known = self.before.take(&item.id).filter(|_| is_plain);
        let known = known.filter(|Known(known)| Arc::ptr_eq(known, item) && !self.changed.contains(&item.id));
        let is_known = known.is_some();
        self.now.extend(known);
        is_known
    }

    /// Remembers that the status says all that there is to say.
    pub fn remember(&mut self, item: &Arc<Assessed>, is_plain: bool) {
        if is_plain {
            self.now.push(Known(Arc::clone(item)));
        }
    }
}

impl Basis {
    /// LoadBalancers of which something else may have to be told. None for all.
    fn changed_since(&self, before: &Self) -> Option<BTreeSet<LoadBalancerId>> {
        let Self {
            hostnames,
            contents,
            said,
            elsewhere,
            crews,
        } = self;
        if !Arc::ptr_eq(hostnames, &before.hostnames) || *crews != before.crews {
            return None;
        }
        let mut changed = said.changed_since(&before.said);
        changed.extend(contents.changed_since(&before.contents));
        let both = elsewhere.keys().chain(before.elsewhere.keys());
        let differs = both.filter(|id| elsewhere.get(*id) != before.elsewhere.get(*id));
        changed.extend(differs.cloned());
        Some(changed)
    }
}

#[cfg(test)]
mod tests {
    use l4_xds::{ContentVersion, LoadBalancerReport};
    use serde_json::json;

    use super::*;
    use crate::controller::load_balancer::tests::{lb, served};
    use crate::fleet::FleetId;
    use crate::xds::served::Served;

    fn basis() -> Basis {
        Basis {
            hostnames: Arc::default(),
            contents: Contents::default(),
            said: Report::default(),
            elsewhere: Arc::default(),
            crews: Crews::default(),
        }
    }

    /// Whether a status that was told on one basis is known to say all on another.
    fn stays(before: &Basis, now: &Basis) -> bool {
        let item = &served(lb("a", 0, 80)).assess()[0];
        let mut told = Told::default();
        let mut telling = told.begin(before);
        assert!(!telling.knows(item, true), "nothing was told yet");
        telling.remember(item, true);
        told.end(telling, before.clone());
        told.begin(now).knows(item, true)
    }

    #[test]
    fn nothing_else_is_to_be_told_while_nothing_changes() {
        let before = basis();
        assert!(stays(&before, &before.clone()));
        let now = Basis {
            hostnames: Arc::default(),
            ..before.clone()
        };
        assert!(!stays(&before, &now), "another table of host names");
        let pod = json!({"metadata": {"name": "envoy-1", "labels": FleetId::Shared.labels("a", "tenant-a")},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let now = Basis {
            crews: Crews::of(&[serde_json::from_value(pod).unwrap()]),
            ..before.clone()
        };
        assert!(!stays(&before, &now), "another Envoy whose word counts");
    }

    #[test]
    fn what_concerns_one_may_have_to_be_told_of_that_one_and_of_no_other() {
        let before = basis();
        for (name, is_kept) in [("a", false), ("b", true)] {
            let id = LoadBalancerId::new("tenant-a", name).unwrap();
            let content = ContentVersion::from("v1");
            let report = LoadBalancerReport {
                programmed: [content.clone()].into(),
                ..LoadBalancerReport::default()
            };
            let elsewhere = Basis {
                elsewhere: Arc::new(Reports::from([(id.clone(), report)])),
                ..before.clone()
            };
            assert_eq!(stays(&before, &elsewhere), is_kept, "{name}");
            assert_eq!(stays(&elsewhere, &before), is_kept, "{name}");
            let served = Served {
                generation: 1,
                content,
            };
            let contents = Contents {
                own: Arc::new([(id, served)].into_iter().collect()),
                global: Arc::default(),
            };
            let served = Basis {
                contents,
                ..before.clone()
            };
            assert_eq!(stays(&before, &served), is_kept, "{name}");
        }
    }

    #[test]
    fn another_reading_of_the_load_balancer_itself_may_have_to_be_told() {
        let (first, second) = (
            &served(lb("a", 0, 80)).assess()[0],
            &served(lb("a", 0, 80)).assess()[0],
        );
        let mut told = Told::default();
        let basis = basis();
        let mut telling = told.begin(&basis);
        telling.remember(first, true);
        told.end(telling, basis.clone());
        assert!(!told.begin(&basis).knows(second, true));
    }
}
