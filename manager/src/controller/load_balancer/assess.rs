//! Which LoadBalancers of one tenant are served, and as what. Pure, and the same on every replica: the lease
//! holder writes Services from it and every xDS server makes its snapshot from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::condition;
use api::v1alpha1::load_balancer_condition as reason;
use api::v1alpha1::{Addresses, LoadBalancer, Protocol};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use l4_xds::{Frontend, Listener, LoadBalancerId, Port};

use super::convert::{Converted, Problem, convert, unbounded};
use crate::build::hub_service;
use crate::hostnames::HostnameTable;
use crate::settings::TenantSettings;

/// One tenant's L4 world, as the stores have it.
#[derive(Debug, Clone)]
pub struct View {
    /// Name of the Tenant.
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
    /// Who holds which host name.
    pub hostnames: Arc<HostnameTable>,
    /// The hub serves the Gateway API.
    pub gateway_api: bool,
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
    /// The hub Service, where it exists.
    pub service: Option<Arc<Service>>,
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

    /// Envoy's ports that are recorded for it.
    #[must_use]
    pub fn recorded(&self) -> BTreeMap<(Protocol, u16), u16> {
        self.service
            .as_deref()
            .map(hub_service::recorded_ports)
            .unwrap_or_default()
    }

    /// What Envoy gets: only listeners whose port is recorded, since that is what all replicas agree on.
    ///
    /// None where nothing is served, nothing is recorded yet, or Envoy rejected this generation.
    #[must_use]
    pub fn frontend(&self) -> Option<Frontend> {
        let converted = self.converted()?;
        if is_left_out(&self.load_balancer) {
            return None;
        }
        let recorded = self.recorded();
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

/// True where the *recorded* status says that Envoy rejected this very generation: only what is recorded makes
/// all replicas leave it out alike.
#[must_use]
pub fn is_left_out(lb: &LoadBalancer) -> bool {
    let conditions = lb
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    condition::find(conditions, reason::PROGRAMMED).is_some_and(|programmed| {
        programmed.status == "False"
            && programmed.reason == reason::REASON_REJECTED
            && programmed.observed_generation == lb.metadata.generation
    })
}

impl View {
    /// Assesses every LoadBalancer, oldest first. Those that are being deleted are not served any more.
    #[must_use]
    pub fn assess(&self) -> Vec<Assessed> {
        let Some(settings) = &self.settings else {
            return Vec::new();
        };
        let services: BTreeMap<String, &Arc<Service>> = self
            .services
            .iter()
            .map(|service| (service.name_any(), service))
            .collect();
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
                let service = services.get(&hub_service::name(&self.namespace, &lb.name_any()));
                let verdict = if settings.load_balancer_disabled() {
                    Verdict::Refuse(disabled())
                } else if index >= limit {
                    Verdict::Refuse(beyond(limit))
                } else if let Some(problem) = unbounded(lb) {
                    // Also where it was served before: what nobody bounds any more must not go on.
                    Verdict::Refuse(problem)
                } else {
                    judge(convert(lb, &addresses, settings), service.is_some())
                };
                let service = service.map(|s| Arc::clone(s));
                Some(Assessed {
                    load_balancer: lb.clone(),
                    id,
                    verdict,
                    service,
                })
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
