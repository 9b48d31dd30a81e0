//! What Envoys say of the LoadBalancers of a namespace, to this replica and to the others.
//!
//! Nothing is worked out before somebody asks: most LoadBalancers are as they were, and nobody does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use l4_xds::report::FleetReport;
use l4_xds::{LoadBalancerId, LoadBalancerReport, Report};

use super::{ARRIVALS_KEY, REPLICA, Reports, about, add, entries, is_alive, read};
use crate::context::Context;
use crate::controller::load_balancer::arrival::{self, Arrivals, Contents, Crews, Seats};
use crate::controller::load_balancer::assess::Assessed;
use crate::controller::load_balancer::sites::Site;
use crate::controller::load_balancer::told::Basis;
use crate::fleet::FleetId;
use crate::hostnames::HostnameTable;
use crate::xds::served::{Served, ServedById};

/// What Envoys of a namespace say, on all replicas.
#[derive(Debug)]
pub struct Merged {
    /// What they said to this one.
    heard: Heard,
    /// What they said to others.
    elsewhere: Arc<Reports>,
    /// LoadBalancers that the fleet which they are to move to has, by name.
    pub arrived: BTreeSet<String>,
}

impl Merged {
    /// What it is about, and what it was made from.
    #[must_use]
    pub fn basis(&self, hostnames: &Arc<HostnameTable>) -> Basis {
        let Heard {
            said,
            crews,
            contents,
        } = &self.heard;
        Basis {
            hostnames: Arc::clone(hostnames),
            contents: contents.clone(),
            said: said.clone(),
            elsewhere: Arc::clone(&self.elsewhere),
            crews: crews.clone(),
        }
    }

    /// What is served of a LoadBalancer at a site.
    #[must_use]
    pub fn served(&self, site: Site, id: &LoadBalancerId) -> Option<&Served> {
        match site {
            Site::Tenant => self.heard.contents.own.get(id),
            Site::Global => self.heard.contents.global.get(id),
        }
    }

    /// The word of those that clients reach, about one LoadBalancer after the other.
    #[must_use]
    pub fn listen(&self) -> Listener<'_> {
        self.heard.listen()
    }

    /// The same with what was said elsewhere.
    #[must_use]
    pub fn report<'a>(
        &'a self,
        listener: &mut Listener<'a>,
        item: &'a Assessed,
    ) -> Option<LoadBalancerReport> {
        let here = listener.report(item);
        let Some(there) = self.elsewhere.get(&item.id) else {
            return here;
        };
        let mut report = here.unwrap_or_default();
        report.programmed.extend(there.programmed.iter().cloned());
        for (content, words) in &there.rejected {
            let words = || words.clone();
            report.rejected.entry(content.clone()).or_insert_with(words);
        }
        Some(report)
    }
}

/// What all replicas heard about a namespace.
#[must_use]
pub fn merged(ctx: &Context, namespace: &str, assessed: &[Arc<Assessed>]) -> Merged {
    let heard = Heard::of(ctx, namespace);
    let moving = moving(assessed);
    let mut elsewhere = Reports::new();
    let mut arrivals = vec![heard.arrivals(&moving)];
    for map in about(ctx, namespace) {
        let replica = map.annotations().get(REPLICA).cloned().unwrap_or_default();
        if replica != ctx.options.replica && is_alive(ctx, &replica) {
            add(&mut elsewhere, namespace, entries(&map));
            arrivals.push(read(&map, ARRIVALS_KEY));
        }
    }
    let Heard { contents, crews, .. } = &heard;
    Merged {
        arrived: arrival::arrived(&moving, contents, &arrivals, crews),
        elsewhere: Arc::new(elsewhere),
        heard,
    }
}

/// Those that are to move to another fleet. Mostly there are none.
pub(super) fn moving(assessed: &[Arc<Assessed>]) -> Seats {
    let moving = assessed.iter().filter(|item| item.seat.target.is_some());
    moving.map(|item| (item.id.clone(), item.seat.clone())).collect()
}

/// What Envoys said to this replica, and whose word counts. One that starts, or is on its way out, may acknowledge what no
/// client of it will ever see, and so may a fleet that does not serve yet, or not any more.
#[derive(Debug)]
pub(super) struct Heard {
    said: Report,
    crews: Crews,
    contents: Contents,
}

impl Heard {
    pub(super) fn of(ctx: &Context, namespace: &str) -> Self {
        let pods = |namespace| ctx.stores.envoy_pods.in_namespace(namespace);
        let (own, global) = (pods(namespace), pods(ctx.options.namespace.as_str()));
        Self {
            said: ctx.reports.subscribe().borrow().clone(),
            crews: Crews::of(own.iter().chain(&global).map(Arc::as_ref)),
            contents: ctx.snapshots.contents(namespace),
        }
    }

    pub(super) fn listen(&self) -> Listener<'_> {
        Listener {
            heard: self,
            fleets: BTreeMap::new(),
        }
    }

    /// What clients are served.
    pub(super) fn served(&self, assessed: &[Arc<Assessed>]) -> ServedById {
        let served = |item: &Arc<Assessed>| {
            let served = self.contents.at(&item.seat.serving, &item.id)?;
            Some((item.id.clone(), served.clone()))
        };
        assessed.iter().filter_map(served).collect()
    }

    /// Which Envoys of other fleets told this replica that they have what is to move to them.
    pub(super) fn arrivals(&self, moving: &Seats) -> Arrivals {
        arrival::heard(moving, &self.contents, &self.said, &self.crews)
    }
}

/// Hears those that clients reach.
#[derive(Debug)]
pub struct Listener<'a> {
    heard: &'a Heard,
    /// Most LoadBalancers are served by the same fleet.
    fleets: BTreeMap<&'a FleetId, Fleet<'a>>,
}

/// A fleet, and its Envoys whose word counts.
#[derive(Debug)]
struct Fleet<'a> {
    report: Option<&'a FleetReport>,
    crew: BTreeSet<String>,
}

impl<'a> Listener<'a> {
    pub(super) fn report(&mut self, item: &'a Assessed) -> Option<LoadBalancerReport> {
        let (heard, serving) = (self.heard, &item.seat.serving);
        let Fleet { report, crew } = (self.fleets.entry(serving)).or_insert_with(|| {
            let key = serving.key(item.id.namespace()).ok();
            Fleet {
                report: key.and_then(|key| heard.said.fleets.get(&key)),
                crew: heard.crews.of_fleet(serving, item.id.namespace()),
            }
        });
        let voices = report.as_ref()?.load_balancers.get(&item.id)?;
        Some(voices.of(|node| crew.contains(node.as_str())))
    }
}
