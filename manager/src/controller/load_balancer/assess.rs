//! Which LoadBalancers of one tenant are served, and as what. Pure, and the same on every replica: the lease
//! holder writes Services from it and every xDS server makes its snapshot from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::condition;
use api::v1alpha1::load_balancer_condition as reason;
use api::v1alpha1::{Addresses, LoadBalancer, Protocol};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use l4_xds::translate::part;
use l4_xds::{ContentVersion, Frontend, Listener, LoadBalancerId, Port, Settings};

use super::convert::{Converted, Problem, convert, unbounded};
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
    /// All LoadBalancers of the namespace.
    pub load_balancers: Vec<Arc<LoadBalancer>>,
    /// All Addresses of the namespace.
    pub addresses: Vec<Arc<Addresses>>,
    /// Hub Services of the namespace that we made.
    pub services: Vec<Arc<Service>>,
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
    /// Where the *recorded* status says that Envoy rejected this very content.
    pub left_out: BTreeSet<Site>,
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

    /// Envoy's ports that are recorded for it.
    #[must_use]
    pub fn recorded(&self, site: Site) -> BTreeMap<(Protocol, u16), u16> {
        self.service_at(site)
            .map(hub_service::recorded_ports)
            .unwrap_or_default()
    }

    /// What Envoys of a site get: only listeners whose port is recorded, since that is what all replicas agree on.
    ///
    /// None where nothing is served, nothing is recorded yet, or Envoy rejected this content.
    #[must_use]
    pub fn frontend(&self, site: Site) -> Option<Frontend> {
        self.offered(site).filter(|_| !self.left_out.contains(&site))
    }

    /// True where each of its ports is recorded. Before that an Envoy can acknowledge a part of it only.
    #[must_use]
    pub fn is_complete(&self, site: Site) -> bool {
        let recorded = self.recorded(site);
        self.converted().is_some_and(|converted| {
            let mut wanted = converted.listeners.iter();
            wanted.all(|listener| recorded.contains_key(&(listener.protocol, listener.port.get())))
        })
    }

    /// What an Envoy of a site acknowledges that has all of it. None where there is nothing to acknowledge, or a part only.
    #[must_use]
    pub fn content(&self, site: Site, translation: &Settings) -> Option<ContentVersion> {
        let whole = self.frontend(site).filter(|_| self.is_complete(site))?;
        Some(part(&whole, translation).content_version())
    }

    /// What Envoys would get if they had rejected nothing.
    fn offered(&self, site: Site) -> Option<Frontend> {
        let converted = self.converted()?;
        let recorded = self.recorded(site);
        let listeners: Vec<Listener> = (converted.listeners.iter())
            .filter_map(|wanted| {
                let envoy_port = *recorded.get(&(wanted.protocol, wanted.port.get()))?;
                Some(Listener {
                    name: wanted.name.clone(),
                    protocol: xds_protocol(wanted.protocol),
                    port: Port::try_from(wanted.port.get()).ok()?,
                    envoy_port: Port::try_from(envoy_port).ok()?,
                    backends: wanted.backends.clone(),
                    policy: wanted.policy.clone(),
                })
            })
            .collect();
        let generation = self.load_balancer.metadata.generation.unwrap_or_default();
        (!listeners.is_empty()).then(|| Frontend {
            id: self.id.clone(),
            generation,
            listeners,
        })
    }
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
            let offered = item
                .offered(site)
                .map(|offered| part(&offered, translation).content_version());
            offered.is_some_and(|offered| offered.as_str() == judged)
        })
}

impl View {
    /// True for what is in the manager's namespace: it is for all tenants.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        self.tenant.is_empty()
    }

    /// Assesses every LoadBalancer, oldest first. Those that are being deleted are not served any more.
    #[must_use]
    pub fn assess(&self) -> Vec<Assessed> {
        let Some(settings) = &self.settings else {
            return Vec::new();
        };
        let by_name = |services: &[Arc<Service>]| -> BTreeMap<String, Arc<Service>> {
            let services = services.iter();
            services
                .map(|service| (service.name_any(), service.clone()))
                .collect()
        };
        let (services, global_services) = (by_name(&self.services), by_name(&self.global_services));
        let addresses: BTreeMap<String, &Addresses> = self
            .addresses
            .iter()
            .map(|a| (a.name_any(), a.as_ref()))
            .collect();
        let limit = settings
            .limits
            .load_balancers
            .map_or(usize::MAX, |limit| limit as usize);
        (self.oldest_first().into_iter().enumerate())
            .filter_map(|(index, lb)| {
                let id = LoadBalancerId::new(self.namespace.as_str(), lb.name_any()).ok()?;
                let name = hub_service::name(&self.namespace, &lb.name_any());
                let (service, global_service) = (services.get(&name), global_services.get(&name));
                let verdict = if settings.load_balancer_disabled() {
                    Verdict::Refuse(disabled())
                } else if index >= limit {
                    Verdict::Refuse(beyond(limit))
                } else if let Some(problem) = unbounded(lb) {
                    // Also where it was served before: what nobody bounds any more must not go on.
                    Verdict::Refuse(problem)
                } else {
                    judge(
                        convert(lb, &addresses, settings),
                        service.or(global_service).is_some(),
                    )
                };
                let (service, global_service) = (service.cloned(), global_service.cloned());
                let (here, there) = (service.as_deref(), global_service.as_deref());
                let mut item = Assessed {
                    place: Place::of(settings.topology, id.name(), here),
                    sites: Sites::of(settings.topology, lb, here, there),
                    load_balancer: lb.clone(),
                    id,
                    verdict,
                    service,
                    global_service,
                    left_out: BTreeSet::new(),
                };
                let sites = [Site::Tenant, Site::Global].into_iter();
                item.left_out = sites
                    .filter(|site| is_left_out(&item, *site, &self.translation))
                    .collect();
                Some(item)
            })
            .collect()
    }

    /// Ties are broken by uid, so that the order never depends on when who was seen.
    fn oldest_first(&self) -> Vec<&Arc<LoadBalancer>> {
        let mut all: Vec<_> = self
            .load_balancers
            .iter()
            .filter(|lb| lb.metadata.deletion_timestamp.is_none())
            .collect();
        all.sort_by_cached_key(|lb| {
            (
                lb.metadata.creation_timestamp.as_ref().map(|t| t.0),
                lb.uid().unwrap_or_default(),
                lb.name_any(),
            )
        });
        all
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

fn beyond(limit: usize) -> Problem {
    Problem {
        reason: reason::REASON_LIMIT_EXCEEDED,
        message: format!("the tenant may have {limit} load balancers and older ones use them up"),
    }
}
