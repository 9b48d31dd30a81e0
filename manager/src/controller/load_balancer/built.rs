//! Hub Services as they were built the last time, so that one that changed is one that is built.
//!
//! It decides nothing: what is remembered is what would be built again.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use l4_xds::LoadBalancerId;

use super::assess::Assessed;
use super::moves::Next;
use crate::build::hub_service::HubPort;
use crate::hostnames::HostnameTable;

/// Of one namespace.
#[derive(Debug, Default)]
pub struct Built {
    before: HashMap<LoadBalancerId, (Source, Arc<Service>)>,
    now: HashMap<LoadBalancerId, (Source, Arc<Service>)>,
}

/// All that a hub Service is built from. Settings are not among it: with others, what is assessed is another one.
#[derive(Debug)]
pub struct Source {
    /// Name of the Tenant.
    pub tenant: String,
    /// The LoadBalancer, and what it comes to.
    pub assessed: Arc<Assessed>,
    /// Who holds which host name.
    pub hostnames: Arc<HostnameTable>,
    /// The hub serves the Gateway API.
    pub gateway_api: bool,
    /// Whose Envoys it selects.
    pub next: Next,
    /// Until when it stays, if it goes.
    pub until: Option<Timestamp>,
    /// Its ports.
    pub ports: Vec<HubPort>,
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            tenant,
            assessed,
            hostnames,
            gateway_api,
            next,
            until,
            ports,
        } = self;
        Arc::ptr_eq(assessed, &other.assessed)
            && Arc::ptr_eq(hostnames, &other.hostnames)
            && (tenant, gateway_api, next, until, ports)
                == (
                    &other.tenant,
                    &other.gateway_api,
                    &other.next,
                    &other.until,
                    &other.ports,
                )
    }
}

impl Built {
    /// The Service that is built from this.
    pub fn get(&mut self, source: Source, build: impl FnOnce(&Source) -> Service) -> Arc<Service> {
        let id = source.assessed.id.clone();
        let service = match self.before.remove(&id) {
            Some((known, service)) if known == source => service,
            Some((_, service)) => {
                let now = build(&source);
                // The same object again is the same to all who compare it later.
                if now == *service { service } else { Arc::new(now) }
            }
            None => Arc::new(build(&source)),
        };
        self.now.insert(id, (source, Arc::clone(&service)));
        service
    }

    /// Ends a plan: what it did not ask for is forgotten.
    pub fn forget_others(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}
