//! State of the world: every response holds all clusters, or all listeners, that the client is to have.
//!
//! A client that comes back with the version of all that it has is sent its endpoints alone. One that comes back with
//! something else is sent everything, and first what lets it part with its old listeners: see [`Homecoming`].
//!
//! Endpoints are sent as they change: "the management server is not required to send all resources" of a type that is
//! subscribed to by name. Quotations are from Envoy's "xDS REST and gRPC protocol".

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse,
};

use super::homecoming::{Homecoming, Next};
use super::{Dialect, Own, Said};
use crate::snapshot::{Resource, ResourceName, ResourceType, Resources, Snapshot};
use crate::subscription::{Response, WILDCARD};

pub(super) type Held = BTreeMap<ResourceName, Arc<Resource>>;

/// What one client was told, by type.
#[derive(Debug, Default)]
pub struct World {
    snapshot: Option<Arc<Snapshot>>,
    homecoming: Homecoming,
    /// What the core is to hear next.
    understood: VecDeque<DeltaDiscoveryRequest>,
    clusters: Told,
    endpoints: Told,
    listeners: Told,
}

/// What one client was told of one type.
#[derive(Debug, Default)]
struct Told {
    started: bool,
    names: BTreeSet<String>,
    /// "If the client has never explicitly subscribed to any resource name for a given resource type, the server
    /// should treat that identically to how it would treat the client having explicitly subscribed to `*`."
    never_named: bool,
    /// What it has, as far as it has said.
    held: Held,
    /// What it has once it accepts the response with this nonce.
    in_flight: Option<(String, Held)>,
}

impl Dialect for World {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn on_snapshot(&mut self, snapshot: Option<Arc<Snapshot>>) {
        self.snapshot = snapshot;
    }

    fn hear(&mut self, request: DiscoveryRequest) -> Option<DeltaDiscoveryRequest> {
        let ty = ResourceType::from_type_url(&request.type_url);
        let request = match ty {
            Some(ResourceType::Cluster | ResourceType::Listener) => self.homecoming.keep(request),
            Some(ResourceType::Endpoint) | None => Some(request),
        };
        request.map(|request| self.understand(request))
    }

    fn next_own(&mut self) -> Option<Own<DiscoveryResponse>> {
        if let Some(request) = self.understood.pop_front() {
            return Some(Own::Hear(Box::new(request)));
        }
        let endpoints = self.endpoints.started.then_some(&self.endpoints.names);
        match self.homecoming.next(self.snapshot.as_deref(), endpoints)? {
            Next::Ask(message) => Some(Own::Send(ResourceType::Listener, message)),
            Next::Arrived { requests, listeners } => {
                self.listeners.held = listeners;
                let understood = requests.into_iter().map(|request| self.understand(request));
                let mut understood: VecDeque<_> = understood.collect();
                let first = understood.pop_front();
                self.understood = understood;
                first.map(|request| Own::Hear(Box::new(request)))
            }
        }
    }

    fn say(&mut self, response: Response) -> Said<DiscoveryResponse> {
        self.said(response)
    }

    fn type_url(request: &DiscoveryRequest) -> &str {
        &request.type_url
    }

    fn node(request: &DiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }
}

impl World {
    fn understand(&mut self, request: DiscoveryRequest) -> DeltaDiscoveryRequest {
        let DiscoveryRequest {
            version_info,
            node,
            resource_names,
            type_url,
            response_nonce,
            error_detail,
            ..
        } = request;
        let mut delta = DeltaDiscoveryRequest {
            node,
            type_url,
            response_nonce,
            error_detail,
            ..Default::default()
        };
        let Some(ty) = ResourceType::from_type_url(&delta.type_url) else {
            return delta;
        };
        let snapshot = self.snapshot.clone();
        let told = self.told(ty);
        told.answer(&delta.response_nonce, delta.error_detail.is_none());
        let first = !told.started;
        let wanted = told.wanted(ty, resource_names);
        delta.resource_names_subscribe = wanted.difference(&told.names).cloned().collect();
        delta.resource_names_unsubscribe = told.names.difference(&wanted).cloned().collect();
        told.names = wanted;
        told.drop_unwanted();
        // A cluster that has changed needs its endpoints again, and what is repeated here is little.
        if first
            && ty != ResourceType::Endpoint
            && let Some(snapshot) = snapshot
        {
            let resources = snapshot.resources(ty);
            told.resume(resources, &version_info);
            let versions = told.held.iter().map(|(name, held)| {
                let version = held.version().to_string();
                (name.to_string(), version)
            });
            delta.initial_resource_versions = versions.collect();
            if ty == ResourceType::Cluster && delta.initial_resource_versions.is_empty() {
                delta.initial_resource_versions = self.outdated_clusters(resources);
            }
        }
        delta
    }

    /// Clusters that the client has in some version, as its endpoints tell.
    fn outdated_clusters(&self, resources: &Resources) -> HashMap<String, String> {
        let names = self.endpoints.names.iter();
        let there = names.filter(|name| resources.get(&ResourceName::from(name.as_str())).is_some());
        there.map(|name| (name.clone(), String::new())).collect()
    }

    fn said(&mut self, response: Response) -> Said<DiscoveryResponse> {
        let Response {
            ty,
            nonce,
            resources,
            removed,
        } = response;
        let told = self.told(ty);
        let mut after = told.held.clone();
        removed.iter().for_each(|name| drop(after.remove(name)));
        after.extend(resources.iter().cloned());
        let all = Resources::of(after);
        let sent: Vec<&Arc<Resource>> = match ty {
            ResourceType::Cluster | ResourceType::Listener => {
                all.iter().map(|(_, resource)| resource).collect()
            }
            ResourceType::Endpoint => resources.iter().map(|(_, resource)| resource).collect(),
        };
        if ty == ResourceType::Endpoint && sent.is_empty() {
            // What is gone goes with its cluster.
            told.held = all.into_inner();
            return Said::Unsaid(Box::new(DeltaDiscoveryRequest {
                type_url: ty.type_url().to_owned(),
                response_nonce: nonce,
                ..Default::default()
            }));
        }
        let message = DiscoveryResponse {
            version_info: all.version().to_owned(),
            resources: sent.into_iter().map(|resource| resource.body().clone()).collect(),
            type_url: ty.type_url().to_owned(),
            nonce: nonce.clone(),
            ..Default::default()
        };
        told.in_flight = Some((nonce, all.into_inner()));
        Said::Send(message)
    }

    fn told(&mut self, ty: ResourceType) -> &mut Told {
        match ty {
            ResourceType::Cluster => &mut self.clusters,
            ResourceType::Endpoint => &mut self.endpoints,
            ResourceType::Listener => &mut self.listeners,
        }
    }
}

impl Told {
    fn answer(&mut self, nonce: &str, accepted: bool) {
        let answered = self.in_flight.take_if(|(sent, _)| sent == nonce);
        if let Some((_, after)) = answered.filter(|_| accepted) {
            self.held = after;
        }
    }

    /// What the client is subscribed to after a request with these names.
    fn wanted(&mut self, ty: ResourceType, names: Vec<String>) -> BTreeSet<String> {
        if !self.started {
            self.started = true;
            self.never_named = names.is_empty() && ty != ResourceType::Endpoint;
        } else if !names.is_empty() {
            self.never_named = false;
        }
        if self.never_named {
            BTreeSet::from([WILDCARD.to_owned()])
        } else {
            names.into_iter().collect()
        }
    }

    fn drop_unwanted(&mut self) {
        let names = &self.names;
        if !names.contains(WILDCARD) {
            self.held.retain(|name, _| names.contains(name.as_str()));
        }
    }

    /// A client that comes back says the version of all that it has. If that is what it would be sent, it has it.
    fn resume(&mut self, resources: &Resources, version: &str) {
        let wanted =
            |name: &ResourceName| self.names.contains(WILDCARD) || self.names.contains(name.as_str());
        let all = resources.iter().filter(|(name, _)| wanted(name));
        let all = Resources::of(all.map(|(name, held)| (name.clone(), held.clone())).collect());
        if !all.is_empty() && all.version() == version {
            self.held = all.into_inner();
        }
    }
}
