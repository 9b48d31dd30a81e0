//! Hub Services as they were built the last time, so that one that changed is one that is built.
//!
//! It decides nothing: what is remembered is what would be built again.

use std::collections::HashMap;
use std::sync::Arc;

use api::v1alpha1::EnvoyProxyTopology;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use l4_xds::LoadBalancerId;

use super::assess::{Assessed, View};
use super::moves::Next;
use super::previous::{About, Previous};
use crate::build::hub_service::HubPort;
use crate::fleet::selected_topology;
use crate::hostnames::HostnameTable;

/// Of one namespace, in the order of ids.
#[derive(Debug, Default)]
pub struct Built(Vec<Known>);

/// Whose hub Services are, by their names.
pub type Owners<'a> = HashMap<&'a str, &'a LoadBalancerId>;

/// A plan that is being made.
#[derive(Debug)]
pub struct Building {
    before: Previous<Known>,
    now: Vec<Known>,
}

/// A hub Service that shall be there.
#[derive(Debug, Clone)]
pub struct HubServiceBuilt {
    /// The Service.
    pub service: Arc<Service>,
    /// The topology of the fleet that it selects.
    pub topology: Option<EnvoyProxyTopology>,
    /// The live one has to go first, because a field that cannot change has to.
    pub replaces: bool,
}

/// All that a hub Service is built from but its ports. Settings are not among it: with others, what is assessed is another
/// one.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The world that it is in.
    pub view: &'a View,
    /// The LoadBalancer, and what it comes to.
    pub assessed: &'a Arc<Assessed>,
    /// Whose Envoys it selects.
    pub next: &'a Next,
    /// Until when it stays, if it goes.
    pub until: Option<Timestamp>,
}

/// A hub Service, and what it was built from.
#[derive(Debug)]
struct Known {
    tenant: String,
    assessed: Arc<Assessed>,
    hostnames: Arc<HostnameTable>,
    gateway_api: bool,
    next: Next,
    until: Option<Timestamp>,
    ports: Vec<HubPort>,
    /// All of them are as the live Service records them.
    are_recorded: bool,
    built: HubServiceBuilt,
}

impl HubServiceBuilt {
    /// The same object again is the same to all who compare it later.
    fn of(now: Service, before: Option<Arc<Service>>, replaces: impl FnOnce(&Service) -> bool) -> Self {
        let same = before.filter(|before| **before == now);
        let service = same.unwrap_or_else(|| Arc::new(now));
        Self {
            topology: selected_topology(&service),
            replaces: replaces(&service),
            service,
        }
    }
}

impl About for Known {
    fn id(&self) -> &LoadBalancerId {
        &self.assessed.id
    }
}

impl Known {
    fn of(source: &Source<'_>, ports: Vec<HubPort>, are_recorded: bool, built: HubServiceBuilt) -> Self {
        Self {
            tenant: source.view.tenant.clone(),
            assessed: Arc::clone(source.assessed),
            hostnames: Arc::clone(&source.view.hostnames),
            gateway_api: source.view.gateway_api,
            next: source.next.clone(),
            until: source.until,
            ports,
            are_recorded,
            built,
        }
    }

    fn is_from(&self, source: &Source<'_>) -> bool {
        let Self {
            tenant,
            assessed,
            hostnames,
            gateway_api,
            next,
            until,
            ports: _,
            are_recorded: _,
            built: _,
        } = self;
        Arc::ptr_eq(assessed, source.assessed)
            && Arc::ptr_eq(hostnames, &source.view.hostnames)
            && (tenant, *gateway_api, next, *until)
                == (
                    &source.view.tenant,
                    source.view.gateway_api,
                    source.next,
                    source.until,
                )
    }
}

impl Built {
    /// Begins a plan, which asks in the order of ids.
    #[must_use]
    pub fn begin(&mut self) -> Building {
        let before = std::mem::take(&mut self.0);
        Building {
            now: Vec::with_capacity(before.len()),
            before: Previous::of(before),
        }
    }

    /// Ends a plan: what it did not ask for is forgotten.
    pub fn end(&mut self, building: Building) {
        self.0 = building.now;
    }

    /// Whose the hub Services of the last plan are. Also of those that have to be replaced.
    #[must_use]
    pub fn owners(&self) -> Owners<'_> {
        let named = self.0.iter().filter_map(|known| {
            let name = known.built.service.metadata.name.as_deref()?;
            Some((name, known.id()))
        });
        named.collect()
    }
}

impl Building {
    /// The Service that is built from this; the one of before, where nothing that it is built from is another one.
    /// `are_recorded` says that all ports are as the live Service records them: then they are the same if they were so
    /// before, and are not asked for. `replaces` says whether the live one has to go first. None without ports.
    pub fn get(
        &mut self,
        source: &Source<'_>,
        are_recorded: bool,
        ports: impl FnOnce() -> Vec<HubPort>,
        build: impl FnOnce(&[HubPort]) -> Service,
        replaces: impl FnOnce(&Service) -> bool,
    ) -> Option<HubServiceBuilt> {
        let before = self.before.take(&source.assessed.id);
        let is_same = before.as_ref().is_some_and(|known| known.is_from(source));
        let known = match before {
            Some(known) if is_same && are_recorded && known.are_recorded => known,
            before => {
                let ports = Some(ports()).filter(|ports| !ports.is_empty())?;
                match before {
                    Some(known) if is_same && known.ports == ports => Known {
                        are_recorded,
                        ..known
                    },
                    before => {
                        let before = before.map(|known| known.built.service);
                        let built = HubServiceBuilt::of(build(&ports), before, replaces);
                        Known::of(source, ports, are_recorded, built)
                    }
                }
            }
        };
        let built = known.built.clone();
        self.now.push(known);
        Some(built)
    }
}
