//! A client that comes back to a world that has changed meanwhile.
//!
//! Each response holds all clusters, so one with new clusters takes away the old ones, and nobody knows any more what those
//! were. If they still have listeners, those lose their clusters. So it is asked for its clusters last: first it is sent
//! the listeners whose clusters it has, by which it parts with all others, and only when it has answered is it sent the
//! world in the usual order. Which clusters it has, it tells by the endpoints it asks for.
//!
//! It is waited for until it has asked for all of these. One that has clusters asks for endpoints at once; an Envoy that was
//! still starting asks for listeners when it has those, or has waited for them as long as its clusters say (15 s).

use std::collections::BTreeSet;

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use super::world::Held;
use crate::snapshot::{Resource, ResourceName, ResourceType, Resources, Snapshot};
use crate::subscription::WILDCARD;

/// The core counts its own nonces, from 1.
const NONCE: &str = "home";

/// What has been kept back of a client that comes back.
#[derive(Debug, Default)]
pub(super) struct Homecoming {
    stage: Stage,
    clusters: Option<DiscoveryRequest>,
    listeners: Option<DiscoveryRequest>,
}

#[derive(Debug, Default)]
enum Stage {
    /// Its first requests are awaited.
    #[default]
    Expected,
    /// It was sent these listeners.
    Asked(Held),
    /// It was sent these listeners, and keeps them if it took them.
    Answered(Held),
    /// Nothing is kept back any more.
    Home,
}

/// What to do with one that comes back.
pub(super) enum Next {
    /// This is sent.
    Ask(DiscoveryResponse),
    /// These requests are understood as any others, of a client that has these listeners.
    Arrived {
        requests: Vec<DiscoveryRequest>,
        listeners: Held,
    },
}

impl Homecoming {
    /// Keeps a request for clusters or listeners back, or gives it back. A client that has nothing yet says no version.
    pub(super) fn keep(&mut self, request: DiscoveryRequest) -> Option<DiscoveryRequest> {
        let is_listener = ResourceType::from_type_url(&request.type_url) == Some(ResourceType::Listener);
        let has_nothing = self.has_nothing(&request);
        match &mut self.stage {
            Stage::Home => return Some(request),
            Stage::Asked(sent) if is_listener && request.response_nonce == NONCE => {
                let taken = request.error_detail.is_none();
                let sent = std::mem::take(sent);
                self.stage = Stage::Answered(if taken { sent } else { Held::new() });
                return None;
            }
            Stage::Expected if has_nothing => {
                self.stage = Stage::Home;
                return Some(request);
            }
            Stage::Expected | Stage::Asked(_) | Stage::Answered(_) => {}
        }
        let kept = if is_listener {
            &mut self.listeners
        } else {
            &mut self.clusters
        };
        *kept = Some(request);
        None
    }

    fn has_nothing(&self, request: &DiscoveryRequest) -> bool {
        request.version_info.is_empty() && self.clusters.is_none() && self.listeners.is_none()
    }

    /// What to do now, if anything. `endpoints` names those that it asks for, once it has asked.
    pub(super) fn next(
        &mut self,
        snapshot: Option<&Snapshot>,
        endpoints: Option<&BTreeSet<String>>,
    ) -> Option<Next> {
        let (snapshot, clusters, listeners) = (snapshot?, self.clusters.as_ref()?, self.listeners.as_ref()?);
        let is_current = match &self.stage {
            Stage::Home | Stage::Asked(_) => return None,
            Stage::Expected => parts_with_nothing(snapshot, clusters, listeners),
            // Something may have gone while it was answering.
            Stage::Answered(kept) => {
                let offered = snapshot.resources(ResourceType::Listener);
                kept.keys().all(|name| offered.get(name).is_some())
            }
        };
        if !is_current {
            let stay = Resources::of(staying(snapshot, listeners, endpoints?));
            let message = response(&stay);
            self.stage = Stage::Asked(stay.into_inner());
            return Some(Next::Ask(message));
        }
        let kept = match std::mem::replace(&mut self.stage, Stage::Home) {
            Stage::Answered(kept) => kept,
            Stage::Expected | Stage::Asked(_) | Stage::Home => Held::new(),
        };
        Some(Next::Arrived {
            requests: self
                .clusters
                .take()
                .into_iter()
                .chain(self.listeners.take())
                .collect(),
            listeners: kept,
        })
    }
}

/// Whether it has no cluster, or its clusters or listeners are those that are offered.
fn parts_with_nothing(
    snapshot: &Snapshot,
    clusters: &DiscoveryRequest,
    listeners: &DiscoveryRequest,
) -> bool {
    let is_at =
        |request: &DiscoveryRequest, resources: &Resources| request.version_info == resources.version();
    clusters.version_info.is_empty()
        || is_at(clusters, &Resources::of(Held::new()))
        || is_at(clusters, snapshot.resources(ResourceType::Cluster))
        || is_at(listeners, snapshot.resources(ResourceType::Listener))
}

/// Listeners that the client may have now: it asks for them, and has their clusters, since it asks for their endpoints.
fn staying(snapshot: &Snapshot, asked: &DiscoveryRequest, endpoints: &BTreeSet<String>) -> Held {
    let names = &asked.resource_names;
    let wanted = |name: &ResourceName| {
        names.is_empty()
            || names
                .iter()
                .any(|asked| asked == WILDCARD || asked == name.as_str())
    };
    let clusters = snapshot.resources(ResourceType::Cluster);
    let has_cluster = |name: &ResourceName| {
        let cluster = clusters.get(name);
        cluster.is_some_and(|cluster| {
            cluster
                .refers_to()
                .iter()
                .all(|name| endpoints.contains(name.as_str()))
        })
    };
    let has_clusters = |listener: &Resource| listener.refers_to().iter().all(has_cluster);
    let all = snapshot.resources(ResourceType::Listener).iter();
    all.filter(|(name, listener)| wanted(name) && has_clusters(listener))
        .map(|(name, listener)| (name.clone(), listener.clone()))
        .collect()
}

fn response(listeners: &Resources) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: listeners.version().to_owned(),
        resources: listeners
            .iter()
            .map(|(_, listener)| listener.body().clone())
            .collect(),
        type_url: ResourceType::Listener.type_url().to_owned(),
        nonce: NONCE.to_owned(),
        ..Default::default()
    }
}
