//! What the hub shall hold for one tenant's LoadBalancers. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::meta;
use api::v1alpha1::EnvoyProxyTopology;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use l4_xds::LoadBalancerId;
use l4_xds::ports::{Assignments, PortKey, PortRange, Taken, allocate};

use super::assess::{Assessed, View, xds_protocol};
use super::built::{Building, Built, HubServiceBuilt, Source};
use super::convert::{Converted, WantedListener};
use super::fleets::{self, Fleet, Workload};
use super::https::{self, Https, https};
use super::moves::{FORMER_FLEET_UNTIL, Next};
use super::sites::{ADDRESS_UNTIL, Keep, Site};
use crate::build::envoy::WorkloadKind;
use crate::build::hub_service::{self, HubPort, HubService};
use crate::fleet::FleetId;
use crate::hostnames;
use crate::settings::TenantSettings;

/// The answer.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// One for each LoadBalancer that is served.
    pub services: Vec<Arc<Service>>,
    /// Ports of Envoy that they take.
    pub ports: usize,
    /// How many select fleets of each topology.
    pub by_topology: BTreeMap<EnvoyProxyTopology, usize>,
    /// Names of live Services that have to go first, because a field that cannot change has to.
    pub recreate: BTreeSet<String>,
    /// LoadBalancers for which no Envoy port was left, with the ports.
    pub exhausted: BTreeMap<LoadBalancerId, Vec<String>>,
    /// Fleets.
    pub fleets: BTreeMap<FleetId, Fleet>,
    /// What comes of HTTPS for LoadBalancers that ask for it. It is in the tenant's namespace, wherever Envoys are.
    pub https: BTreeMap<LoadBalancerId, Https>,
    /// When there is something to do that no event tells.
    pub due: Option<Timestamp>,
}

/// What the records do not say.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// LoadBalancers that the fleet which they are to move to has, by name.
    pub arrived: &'a BTreeSet<String>,
    /// The time.
    pub now: Timestamp,
}

/// One tenant that has to do with the fleet of all tenants.
#[derive(Debug, Clone)]
pub struct Tenancy {
    /// Its world.
    pub view: View,
    /// What its LoadBalancers come to.
    pub assessed: Arc<Vec<Arc<Assessed>>>,
}

/// A LoadBalancer that may have a hub Service at a site.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    view: &'a View,
    settings: &'a TenantSettings,
    item: &'a Arc<Assessed>,
    converted: &'a Converted,
    until: Option<Timestamp>,
}

/// Plans Services, ports and fleets in the tenant's namespace. `built` are the Services of the last plan.
#[must_use]
pub fn plan(
    view: &View,
    assessed: &[Arc<Assessed>],
    range: &PortRange,
    known: &Known<'_>,
    built: &mut Built,
) -> Desired {
    let Some(settings) = &view.settings else {
        return Desired::default();
    };
    let candidates: Vec<_> = candidates(view, assessed, Site::Tenant, known.now).collect();
    let ports = assign(&candidates, Site::Tenant, range);
    let (mut desired, mut needed) = (Desired::default(), BTreeSet::new());
    let mut building = built.begin();
    for candidate in &candidates {
        let item = candidate.item;
        let arrived = item.place.target().is_some() && known.arrived.contains(item.id.name());
        let next = item.place.next(arrived, settings.envoy.drain, known.now);
        item.place.need(&next, &mut needed);
        desired.due = earlier(desired.due, next.former_until);
        desired.add(
            candidate,
            Site::Tenant,
            &view.namespace,
            &next,
            &ports,
            &mut building,
        );
    }
    built.end(building);
    for item in assessed {
        let https = https(view, settings, item);
        (desired.https).extend(https.map(|https| (item.id.clone(), https)));
    }
    desired.set_fleets(&needed, &view.workloads, settings.envoy.kind, known.now);
    desired
}

/// Plans Services, ports and the fleet in the manager's namespace. Ports are given out over all tenants together.
#[must_use]
pub fn plan_global(
    tenancies: &[Tenancy],
    namespace: &str,
    workloads: &[Workload],
    kind: WorkloadKind,
    range: &PortRange,
    now: Timestamp,
    built: &mut Built,
) -> Desired {
    let candidates: Vec<_> = (tenancies.iter())
        .flat_map(|Tenancy { view, assessed }| candidates(view, assessed, Site::Global, now))
        .collect();
    let ports = assign(&candidates, Site::Global, range);
    let (mut desired, mut needed) = (Desired::default(), BTreeSet::new());
    let mut building = built.begin();
    for candidate in &candidates {
        needed.insert(FleetId::Global);
        let next = Next {
            fleet: FleetId::Global,
            former_until: None,
        };
        desired.add(candidate, Site::Global, namespace, &next, &ports, &mut building);
    }
    built.end(building);
    desired.set_fleets(&needed, workloads, kind, now);
    desired
}

/// Those that are served, and whose hub Service at this site shall be there.
fn candidates<'a>(
    view: &'a View,
    assessed: &'a [Arc<Assessed>],
    site: Site,
    now: Timestamp,
) -> impl Iterator<Item = Candidate<'a>> {
    let settings = view.settings.as_ref();
    assessed.iter().filter_map(move |item| {
        let settings = settings?;
        let until = match item.sites.keep(site, settings.envoy.drain, now) {
            Keep::No => return None,
            Keep::Yes => None,
            Keep::Until(until) => Some(until),
        };
        Some(Candidate {
            view,
            settings,
            item,
            converted: item.converted()?,
            until,
        })
    })
}

impl Desired {
    fn add(
        &mut self,
        candidate: &Candidate<'_>,
        site: Site,
        namespace: &str,
        next: &Next,
        ports: &Ports,
        building: &mut Building,
    ) {
        let Candidate {
            view,
            item: assessed,
            converted,
            until,
            ..
        } = *candidate;
        self.due = earlier(self.due, until);
        let source = Source {
            view,
            assessed,
            next,
            until,
        };
        let missing = missing(assessed, &converted.listeners, ports);
        if !missing.is_empty() {
            self.exhausted.insert(assessed.id.clone(), missing);
        }
        let live = assessed.service_at(site);
        let built = building.get(
            &source,
            ports.are_recorded(),
            || hub_ports(assessed, &converted.listeners, ports),
            |ports| service(candidate, site, namespace, next, ports),
            |service| live.is_some_and(|live| class_differs(live, service)),
        );
        if let Some(built) = built {
            self.keep(built);
        }
    }

    fn keep(&mut self, built: HubServiceBuilt) {
        let HubServiceBuilt {
            service,
            topology,
            replaces,
        } = built;
        if replaces {
            self.recreate.insert(service.name_any());
            return;
        }
        self.ports += port_count(&service);
        if let Some(topology) = topology {
            *self.by_topology.entry(topology).or_default() += 1;
        }
        self.services.push(service);
    }

    fn set_fleets(
        &mut self,
        needed: &BTreeSet<FleetId>,
        workloads: &[Workload],
        kind: WorkloadKind,
        now: Timestamp,
    ) {
        self.fleets = fleets::plan(needed, workloads, kind, now);
        for fleet in self.fleets.values() {
            self.due = earlier(self.due, fleet.unneeded_until);
        }
    }
}

fn port_count(service: &Service) -> usize {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    ports.map_or(0, Vec::len)
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// The host name is recorded on it, at either site: a move keeps the name.
fn service(
    candidate: &Candidate<'_>,
    site: Site,
    namespace: &str,
    next: &Next,
    ports: &[HubPort],
) -> Service {
    let Candidate {
        view,
        settings,
        item,
        converted: _,
        until,
    } = candidate;
    let lb = item.load_balancer.as_ref();
    let mut annotations = api::annotations::propagated(lb.annotations(), &settings.annotations);
    for (key, time) in [(FORMER_FLEET_UNTIL, next.former_until), (ADDRESS_UNTIL, *until)] {
        if let Some(time) = time {
            annotations.insert(key.to_owned(), time.to_string());
        }
    }
    if let Ok(Some(name)) = hostnames::in_force(lb, settings, &view.hostnames) {
        if settings.dns.use_dns_annotations == Some(true)
            && !https::is_served(view, settings, item)
            && leads_to(item, site, &name)
        {
            hub_service::name_in_dns(&mut annotations, &name);
        }
        annotations.insert(meta::HOSTNAME.to_owned(), name);
    }
    hub_service::service(&HubService {
        tenant: &view.tenant,
        namespace,
        load_balancer: lb,
        fleet: &next.fleet,
        ports,
        class: settings.load_balancer.class.as_deref(),
        allocate_node_ports: settings.allocate_node_ports,
        annotations,
    })
}

/// Whether a name in DNS leads to the hub Service at a site: to the one whose address is shown. The other one keeps saying
/// it until that one does: a name that nobody says for a moment is taken out of DNS.
fn leads_to(item: &Assessed, site: Site, hostname: &str) -> bool {
    let shown = item.sites.serving();
    let says = |site| {
        let service = item.service_at(site);
        service.is_some_and(|service| hub_service::is_named_in_dns(service, hostname))
    };
    site == shown || (says(site) && !says(shown))
}

/// The class cannot change on a live Service: it has to go, and its address with it.
///
/// What we asked for last time is compared, not what the Service says: a hub that fills in a class of its own
/// would make us replace the Service for ever.
fn class_differs(live: &Service, desired: &Service) -> bool {
    let external = |s: &Service| {
        s.spec
            .as_ref()
            .is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
    };
    let asked = |s: &Service| s.annotations().get(hub_service::CLASS_ASKED).cloned();
    external(live) && external(desired) && asked(live) != asked(desired)
}

fn key(item: &Assessed, listener: &WantedListener) -> PortKey {
    PortKey {
        id: item.id.clone(),
        port: listener.port.get(),
        protocol: xds_protocol(listener.protocol),
    }
}

/// Ports of Envoy.
enum Ports {
    /// All are recorded, and none has to move.
    Recorded(Site),
    /// Some had to be found.
    Assigned(Assignments),
}

impl Ports {
    fn are_recorded(&self) -> bool {
        match self {
            Self::Recorded(_) => true,
            Self::Assigned(_) => false,
        }
    }

    fn get(&self, item: &Assessed, listener: &WantedListener) -> Option<u16> {
        match self {
            Self::Recorded(site) => {
                let recorded = item.recorded(*site);
                recorded.get(&(listener.protocol, listener.port.get())).copied()
            }
            Self::Assigned(ports) => ports.assigned.get(&key(item, listener)).copied(),
        }
    }

    fn is_exhausted(&self, item: &Assessed, listener: &WantedListener) -> bool {
        match self {
            Self::Recorded(_) => false,
            Self::Assigned(ports) => ports.exhausted.contains(&key(item, listener)),
        }
    }
}

fn assign(candidates: &[Candidate<'_>], site: Site, range: &PortRange) -> Ports {
    if all_recorded(candidates, site, range) {
        return Ports::Recorded(site);
    }
    let mut wanted = BTreeSet::new();
    let mut previous = BTreeMap::new();
    for Candidate { item, converted, .. } in candidates {
        let recorded = item.recorded(site);
        for listener in &converted.listeners {
            let key = key(item, listener);
            if let Some(port) = recorded.get(&(listener.protocol, listener.port.get())) {
                previous.insert(key.clone(), *port);
            }
            wanted.insert(key);
        }
    }
    Ports::Assigned(allocate(&wanted, &previous, range))
}

/// Whether each has its ports, and no two have the same: then there is nothing to give out.
fn all_recorded(candidates: &[Candidate<'_>], site: Site, range: &PortRange) -> bool {
    let mut taken = Taken::default();
    candidates.iter().all(|Candidate { item, converted, .. }| {
        let recorded = item.recorded(site);
        converted.listeners.iter().all(|listener| {
            let port = recorded.get(&(listener.protocol, listener.port.get()));
            port.is_some_and(|port| {
                !range.is_reserved(*port) && taken.insert(xds_protocol(listener.protocol), *port)
            })
        })
    })
}

fn hub_ports(item: &Assessed, listeners: &[WantedListener], ports: &Ports) -> Vec<HubPort> {
    let port = |listener: &WantedListener| {
        Some(HubPort {
            name: listener.name.clone(),
            protocol: listener.protocol,
            port: listener.port,
            envoy_port: ports.get(item, listener)?,
        })
    };
    listeners.iter().filter_map(port).collect()
}

fn missing(item: &Assessed, listeners: &[WantedListener], ports: &Ports) -> Vec<String> {
    (listeners.iter())
        .filter(|listener| ports.is_exhausted(item, listener))
        .map(|listener| format!("{}/{}", listener.port, listener.protocol.as_str()))
        .collect()
}
