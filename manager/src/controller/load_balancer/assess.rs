//! Which LoadBalancers of one tenant are served, and as what. Pure, and the same on every replica: the lease
//! holder writes Services from it and every xDS server makes its snapshot from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::condition;
use api::v1alpha1::load_balancer_condition as reason;
use api::v1alpha1::{Addresses, LoadBalancer, Protocol};
use controller_kit::watch::List;
use k8s_openapi::api::core::v1::Service;
use l4_xds::translate::part;
use l4_xds::{ContentVersion, Frontend, Listener, LoadBalancerId, Port, Settings};

use super::arrival::Seat;
use super::assessments::Assessments;
use super::convert::{Converted, Problem, WantedListener, convert, unbounded};
use super::fleets::Workload;
use super::moves::Place;
use super::sites::{Site, Sites};
use crate::build::hub_service;
use crate::hostnames::HostnameTable;
use crate::settings::TenantSettings;

/// One tenant's L4 world, as the stores have it.
#[derive(Debug, Clone)]
pub struct View {
    /// Name of the Tenant; empty for what is for all of them.
    pub tenant: String,
    /// Its namespace on the hub.
    pub namespace: String,
    /// What holds for it. None where the Tenant is gone or going: then nothing is served.
    pub settings: Option<TenantSettings>,
    /// All LoadBalancers of the namespace, in the order of names.
    pub load_balancers: List<LoadBalancer>,
    /// All Addresses of the namespace.
    pub addresses: Vec<Arc<Addresses>>,
    /// Hub Services of the namespace that we made.
    pub services: List<Service>,
    /// Hub Services that we made for it in the manager's namespace.
    pub global_services: Vec<Arc<Service>>,
    /// What runs Envoys in the namespace.
    pub workloads: Vec<Workload>,
    /// Who holds which host name.
    pub hostnames: Arc<HostnameTable>,
    /// The hub serves the Gateway API.
    pub gateway_api: bool,
    /// What holds for every listener.
    pub translation: Settings,
}

/// What one LoadBalancer comes to.
#[derive(Debug, Clone)]
pub struct Assessed {
    /// The LoadBalancer.
    pub load_balancer: Arc<LoadBalancer>,
    /// Its id for Envoy.
    pub id: LoadBalancerId,
    /// What is served, or why nothing is.
    pub verdict: Verdict,
    /// The hub Service in its own namespace, where it exists.
    pub service: Option<Arc<Service>>,
    /// The one in the manager's, where it exists.
    pub global_service: Option<Arc<Service>>,
    /// Which Envoys of its own namespace serve it, and which shall.
    pub place: Place,
    /// Which address it has, and which it shall have.
    pub sites: Sites,
    /// The fleet that clients reach, and the one that it is to move to.
    pub seat: Seat,
    /// Where the *recorded* status says that Envoy rejected this very content.
    pub left_out: BTreeSet<Site>,
    tenant: Offer,
    global: Offer,
}

/// What Envoys of one site would get if they had rejected nothing.
#[derive(Debug, Clone, Default)]
struct Offer {
    /// Envoy's ports that are recorded, by the hub Service's.
    recorded: BTreeMap<(Protocol, u16), u16>,
    frontend: Option<Arc<Frontend>>,
    is_complete: bool,
}

/// What is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// These listeners. `problem` may still say what keeps it from being accepted.
    Serve(Converted),
    /// Nothing, and what was there is removed.
    Refuse(Problem),
}

impl Assessed {
    /// What is served.
    #[must_use]
    pub fn converted(&self) -> Option<&Converted> {
        match &self.verdict {
            Verdict::Serve(converted) => Some(converted),
            Verdict::Refuse(_) => None,
        }
    }

    /// What keeps it from being accepted.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match &self.verdict {
            Verdict::Serve(converted) => converted.problem.as_ref(),
            Verdict::Refuse(problem) => Some(problem),
        }
    }

    /// The hub Service at a site.
    #[must_use]
    pub fn service_at(&self, site: Site) -> Option<&Service> {
        match site {
            Site::Tenant => self.service.as_deref(),
            Site::Global => self.global_service.as_deref(),
        }
    }

    fn offer(&self, site: Site) -> &Offer {
        match site {
            Site::Tenant => &self.tenant,
            Site::Global => &self.global,
        }
    }

    /// Envoy's ports that are recorded for it.
    #[must_use]
    pub fn recorded(&self, site: Site) -> &BTreeMap<(Protocol, u16), u16> {
        &self.offer(site).recorded
    }

    /// What Envoys of a site get: only listeners whose port is recorded, since that is what all replicas agree on.
    ///
    /// None where nothing is served, nothing is recorded yet, or Envoy rejected this content.
    #[must_use]
    pub fn frontend(&self, site: Site) -> Option<&Arc<Frontend>> {
        let frontend = self.offer(site).frontend.as_ref();
        frontend.filter(|_| !self.left_out.contains(&site))
    }

    /// True where each of its ports is recorded. Before that an Envoy can acknowledge a part of it only.
    #[must_use]
    pub fn is_complete(&self, site: Site) -> bool {
        self.offer(site).is_complete
    }

    /// What an Envoy of a site acknowledges that has all of it. None where there is nothing to acknowledge, or a part only.
    #[must_use]
    pub fn content(&self, site: Site, translation: &Settings) -> Option<ContentVersion> {
        let whole = self.frontend(site).filter(|_| self.is_complete(site))?;
        Some(part(whole, translation).content_version().clone())
    }
}

impl Offer {
    fn of(
        id: &LoadBalancerId,
        generation: i64,
        converted: Option<&Converted>,
        service: Option<&Service>,
    ) -> Self {
        let recorded = service.map(hub_service::recorded_ports).unwrap_or_default();
        let Some(converted) = converted else {
            return Self {
                recorded,
                ..Self::default()
            };
        };
        let wanted = &converted.listeners;
        let listeners: Vec<Listener> = (wanted.iter())
            .filter_map(|wanted| listener(wanted, *recorded.get(&(wanted.protocol, wanted.port.get()))?))
            .collect();
        let is_complete =
            (wanted.iter()).all(|wanted| recorded.contains_key(&(wanted.protocol, wanted.port.get())));
        let frontend = (!listeners.is_empty()).then(|| Frontend {
            id: id.clone(),
            generation,
            listeners,
        });
        Self {
            recorded,
            frontend: frontend.map(Arc::new),
            is_complete,
        }
    }
}

fn listener(wanted: &WantedListener, envoy_port: u16) -> Option<Listener> {
    Some(Listener {
        name: wanted.name.clone(),
        protocol: xds_protocol(wanted.protocol),
        port: Port::try_from(wanted.port.get()).ok()?,
        envoy_port: Port::try_from(envoy_port).ok()?,
        backends: wanted.backends.clone(),
        policy: wanted.policy.clone(),
    })
}

/// The protocol in Envoy's words.
#[must_use]
pub fn xds_protocol(protocol: Protocol) -> l4_xds::Protocol {
    match protocol {
        Protocol::TCP => l4_xds::Protocol::Tcp,
        Protocol::UDP => l4_xds::Protocol::Udp,
    }
}

/// True where the *recorded* status says that Envoy rejected this very content: only what is recorded makes all
/// replicas leave it out alike. It is tried again with each generation, since a hash of the content knows no endpoints,
/// and as soon as settings of its tenant, or a translation of another release, make another content of it.
///
/// A status of before contents were recorded is about its generation, whatever the content.
fn is_left_out(item: &Assessed, site: Site, translation: &Settings) -> bool {
    let lb = &item.load_balancer;
    let Some(status) = &lb.status else { return false };
    let programmed = condition::find(&status.conditions, reason::PROGRAMMED);
    let is_rejected = programmed.is_some_and(|programmed| {
        programmed.status == "False"
            && programmed.reason == reason::REASON_REJECTED
            && programmed.observed_generation == lb.metadata.generation
    });
    is_rejected
        && status.content_version.as_ref().is_none_or(|judged| {
            let offered = item.offer(site).frontend.as_ref();
            offered.is_some_and(|offered| part(offered, translation).content_version().as_str() == judged)
        })
}

impl View {
    /// True for what is in the manager's namespace: it is for all tenants.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        self.tenant.is_empty()
    }

    /// Assesses every LoadBalancer, in the order of names. Those that are being deleted are not served any more.
    #[must_use]
    pub fn assess(&self) -> Arc<Vec<Arc<Assessed>>> {
        Assessments::default().of(self)
    }

    /// Those that are not being deleted, in the order of names.
    pub(super) fn staying(&self) -> Vec<&Arc<LoadBalancer>> {
        let all = self.load_balancers.iter();
        all.filter(|lb| lb.metadata.deletion_timestamp.is_none())
            .collect()
    }
}

/// Names of those beyond the limit: the oldest are served. Ties are broken by uid, so that it never depends on when who
/// was seen.
pub(super) fn beyond_limit<'a>(
    all: &[&'a Arc<LoadBalancer>],
    settings: &TenantSettings,
) -> BTreeSet<&'a str> {
    let limit = settings.limits.load_balancers;
    let Some(limit) = limit
        .map(|limit| limit as usize)
        .filter(|limit| *limit < all.len())
    else {
        return BTreeSet::new();
    };
    let mut all = all.to_vec();
    let age = |lb: &LoadBalancer| lb.metadata.creation_timestamp.as_ref().map(|t| t.0);
    all.sort_by(|one, other| {
        let (a, b) = (&one.metadata, &other.metadata);
        (age(one).cmp(&age(other))).then_with(|| (&a.uid, &a.name).cmp(&(&b.uid, &b.name)))
    });
    let beyond = all.into_iter().skip(limit);
    beyond.filter_map(|lb| lb.metadata.name.as_deref()).collect()
}

/// What one LoadBalancer is assessed by.
pub(super) struct Inputs<'a> {
    pub settings: &'a TenantSettings,
    pub addresses: &'a BTreeMap<String, &'a Addresses>,
    pub translation: &'a Settings,
    pub load_balancer: &'a Arc<LoadBalancer>,
    pub service: Option<&'a Arc<Service>>,
    pub global_service: Option<&'a Arc<Service>>,
    /// There are as many older ones as the tenant may have.
    pub is_beyond_limit: bool,
}

impl Assessed {
    pub(super) fn of(id: LoadBalancerId, inputs: &Inputs<'_>) -> Self {
        let Inputs {
            settings,
            addresses: _,
            translation,
            load_balancer: lb,
            service,
            global_service,
            is_beyond_limit: _,
        } = inputs;
        let verdict = verdict(inputs);
        let (service, global_service) = (service.cloned(), global_service.cloned());
        let (here, there) = (service.as_deref(), global_service.as_deref());
        let converted = match &verdict {
            Verdict::Serve(converted) => Some(converted),
            Verdict::Refuse(_) => None,
        };
        let generation = lb.metadata.generation.unwrap_or_default();
        let place = Place::of(settings.topology, id.name(), here);
        let sites = Sites::of(settings.topology, lb, here, there);
        let mut item = Self {
            seat: Seat::of(&place, &sites),
            place,
            sites,
            tenant: Offer::of(&id, generation, converted, here),
            global: Offer::of(&id, generation, converted, there),
            load_balancer: Arc::clone(lb),
            id,
            verdict,
            service,
            global_service,
            left_out: BTreeSet::new(),
        };
        let sites = [Site::Tenant, Site::Global].into_iter();
        item.left_out = sites
            .filter(|site| is_left_out(&item, *site, translation))
            .collect();
        item
    }
}

fn verdict(inputs: &Inputs<'_>) -> Verdict {
    let Inputs {
        settings,
        addresses,
        translation: _,
        load_balancer: lb,
        service,
        global_service,
        is_beyond_limit,
    } = inputs;
    if settings.load_balancer_disabled() {
        Verdict::Refuse(disabled())
    } else if *is_beyond_limit {
        Verdict::Refuse(beyond(settings))
    } else if let Some(problem) = unbounded(lb) {
        // Also where it was served before: what nobody bounds any more must not go on.
        Verdict::Refuse(problem)
    } else {
        judge(
            convert(lb, addresses, settings),
            service.is_some() || global_service.is_some(),
        )
    }
}

/// A LoadBalancer with a problem that was served before keeps its address and what is left of it; a new one gets
/// nothing.
fn judge(converted: Converted, exists: bool) -> Verdict {
    match converted.problem {
        Some(problem) if !exists => Verdict::Refuse(problem),
        _ => Verdict::Serve(converted),
    }
}

fn disabled() -> Problem {
    Problem {
        reason: reason::REASON_DISABLED,
        message: "L4 load balancing is switched off for this tenant".into(),
    }
}

fn beyond(settings: &TenantSettings) -> Problem {
    let limit = settings.limits.load_balancers.unwrap_or_default();
    Problem {
        reason: reason::REASON_LIMIT_EXCEEDED,
        message: format!("the tenant may have {limit} load balancers and older ones use them up"),
    }
}
