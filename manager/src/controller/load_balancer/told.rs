//! LoadBalancers whose status says all that there is to say, so that it is not worked out again while nothing of what it
//! depends on has changed.
//!
//! It decides nothing: a status that is worked out again would be the same.

use std::collections::HashMap;
use std::sync::Arc;

use l4_xds::{ContentVersion, LoadBalancerId, LoadBalancerReport};

use super::assess::Assessed;
use super::sites::Site;
use super::status::Facts;
use crate::hostnames::HostnameTable;

/// Of one namespace.
#[derive(Debug, Default)]
pub struct Told(HashMap<LoadBalancerId, Known>);

/// What a status was worked out from.
#[derive(Debug)]
struct Known {
    assessed: Arc<Assessed>,
    hostnames: Arc<HostnameTable>,
    site: Site,
    content: Option<ContentVersion>,
    report: Option<LoadBalancerReport>,
}

impl Told {
    /// Whether the status is known to say what these facts come to. `before` is what was known the last time; what is
    /// still known is moved from there, so what nobody asks for is forgotten.
    pub fn knows(
        &mut self,
        before: &mut Self,
        item: &Arc<Assessed>,
        facts: &Facts<'_>,
        hostnames: &Arc<HostnameTable>,
    ) -> bool {
        let known = before.0.remove(&item.id);
        let Some(known) = known.filter(|known| known.is_of(item, facts, hostnames)) else {
            return false;
        };
        self.0.insert(item.id.clone(), known);
        true
    }

    /// Remembers that the status says what these facts come to. Facts that come from elsewhere than the LoadBalancer, its
    /// Services and its Envoys are looked at each time.
    pub fn remember(&mut self, item: &Arc<Assessed>, facts: &Facts<'_>, hostnames: &Arc<HostnameTable>) {
        if is_plain(facts) {
            let known = Known {
                assessed: Arc::clone(item),
                hostnames: Arc::clone(hostnames),
                site: facts.site,
                content: facts.content.cloned(),
                report: facts.report.cloned(),
            };
            self.0.insert(item.id.clone(), known);
        }
    }
}

impl Known {
    fn is_of(&self, item: &Arc<Assessed>, facts: &Facts<'_>, hostnames: &Arc<HostnameTable>) -> bool {
        let Self {
            assessed,
            hostnames: known_hostnames,
            site,
            content,
            report,
        } = self;
        is_plain(facts)
            && Arc::ptr_eq(assessed, item)
            && Arc::ptr_eq(known_hostnames, hostnames)
            && *site == facts.site
            && content.as_ref() == facts.content
            && report.as_ref() == facts.report
    }
}

fn is_plain(facts: &Facts<'_>) -> bool {
    facts.exhausted.is_none() && facts.refused.is_none() && facts.https.is_none()
}
