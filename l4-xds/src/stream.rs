//! One client's ADS stream: three subscriptions, and the order between them.
//!
//! Pure: requests and snapshots go in, responses and a record of who is programmed come out. It reads no clock, and
//! the identity of the client has been settled before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3 as discovery;

use crate::ir::LoadBalancerId;
use crate::snapshot::{ContentVersion, Resource, ResourceName, ResourceType, Snapshot};
use crate::subscription::{Gates, Heard, Request, Response, Subscription};

/// What one client has said about one load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadBalancerState {
    /// The content whose every listener and cluster it has accepted, if any. Stays at the older content until newer
    /// content is accepted: that is what Envoy goes on serving.
    pub programmed: Option<ContentVersion>,
    /// The content it would not take, and its words.
    pub rejected: Option<(ContentVersion, String)>,
}

/// One client's stream.
#[derive(Debug)]
pub struct Stream {
    clusters: Subscription,
    endpoints: Subscription,
    listeners: Subscription,
    snapshot: Option<Arc<Snapshot>>,
    responses: u64,
    states: BTreeMap<LoadBalancerId, LoadBalancerState>,
    changed: BTreeSet<LoadBalancerId>,
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl Stream {
    /// A stream that has just been opened.
    pub fn new() -> Self {
        Self {
            clusters: Subscription::new(ResourceType::Cluster),
            endpoints: Subscription::new(ResourceType::Endpoint),
            listeners: Subscription::new(ResourceType::Listener),
            snapshot: None,
            responses: 0,
            states: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Takes a new snapshot. `None` means "not known (any more)": nothing is said until one comes. That is different
    /// from an empty snapshot, which takes everything away; a control plane that has just started must not do that.
    pub fn on_snapshot(&mut self, snapshot: Option<Arc<Snapshot>>) {
        let before = std::mem::replace(&mut self.snapshot, snapshot);
        let Some(now) = self.snapshot.clone() else { return };
        for ty in ResourceType::ALL {
            let before = before.as_ref().map(|before| before.resources(ty));
            self.subscription_mut(ty).on_snapshot(before, now.resources(ty));
        }
        let known = self.states.iter();
        let ids: BTreeSet<LoadBalancerId> = match &before {
            Some(before) => {
                let rejected = known.filter(|(_, state)| state.rejected.is_some());
                let rejected = rejected.map(|(id, _)| id.clone());
                now.changed_since(before).chain(rejected).collect()
            }
            None => now.owners().chain(known.map(|(id, _)| id)).cloned().collect(),
        };
        ids.iter().for_each(|id| self.refresh(id));
    }

    /// Takes a request. `None` if it is about a type that is not served, which is no reason to end the stream.
    pub fn on_request(&mut self, request: discovery::DeltaDiscoveryRequest) -> Option<(ResourceType, Heard)> {
        let ty = ResourceType::from_type_url(&request.type_url)?;
        let first = !self.subscription(ty).started();
        let mut initial_versions: BTreeMap<String, String> =
            request.initial_resource_versions.into_iter().collect();
        if first && ty == ResourceType::Endpoint {
            // A client that comes back may be sent a changed cluster before it says which endpoints it has.
            for name in self.endpoints_behind_clusters_in_flight() {
                initial_versions.remove(name.as_str());
            }
        }
        let heard = self.subscription_mut(ty).on_request(Request {
            subscribe: request.resource_names_subscribe,
            unsubscribe: request.resource_names_unsubscribe,
            initial_versions,
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
        });
        if first {
            let ids: Vec<_> = self
                .snapshot
                .iter()
                .flat_map(|snapshot| snapshot.owners())
                .cloned()
                .collect();
            ids.iter().for_each(|id| self.refresh(id));
        }
        match &heard {
            Heard::Ack(names) => self.refresh_owners(ty, names),
            Heard::Nack { culprits, .. } => self.refresh_owners(ty, culprits),
            Heard::Subscription | Heard::Stale => {}
        }
        Some((ty, heard))
    }

    /// The next response, if any. To be called until it has none: one call may make way for the next.
    pub fn next_response(&mut self) -> Option<Response> {
        let snapshot = self.snapshot.clone()?;
        let mut types = ResourceType::ALL.into_iter();
        let response = types.find_map(|ty| self.response_of(ty, &snapshot))?;
        if response.ty == ResourceType::Cluster {
            self.resend_endpoints_behind(&response);
        }
        Some(response)
    }

    /// Load balancers about which there is news since the last call, and what there is to say. `None`: no longer
    /// served.
    pub fn take_changes(&mut self) -> Vec<(LoadBalancerId, Option<LoadBalancerState>)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|id| (id.clone(), self.states.get(&id).cloned()))
            .collect()
    }

    /// Whether the client has confirmed everything it can be told.
    pub fn is_settled(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| {
            ResourceType::ALL
                .into_iter()
                .all(|ty| self.subscription(ty).is_settled(snapshot.resources(ty)))
        })
    }

    /// "In general, to avoid traffic drop, sequencing of updates should follow a make before break model, wherein:
    /// CDS updates (if any) must always be pushed first. EDS updates (if any) must arrive after CDS updates for the
    /// respective clusters. LDS updates must arrive after corresponding CDS/EDS updates. […] Stale CDS clusters and
    /// related EDS endpoints (ones no longer being referenced) can then be removed."
    fn response_of(&mut self, ty: ResourceType, snapshot: &Arc<Snapshot>) -> Option<Response> {
        let Self {
            clusters,
            endpoints,
            listeners,
            responses,
            ..
        } = self;
        // A client that has just reconnected may ask for clusters first. As long as it has not said which listeners it
        // has, they may need those clusters.
        let gone_first = |user: &Subscription, of: ResourceType| {
            user.started() && user.holds_only_current(snapshot.resources(of))
        };
        let nonce = || {
            *responses += 1;
            responses.to_string()
        };
        match ty {
            ResourceType::Cluster => {
                let may_remove = gone_first(listeners, ResourceType::Listener);
                clusters.next_response(
                    snapshot,
                    &Gates {
                        may_send: &|_| true,
                        may_remove,
                    },
                    nonce,
                )
            }
            ResourceType::Endpoint => {
                let may_remove = gone_first(clusters, ResourceType::Cluster);
                endpoints.next_response(
                    snapshot,
                    &Gates {
                        may_send: &|_| true,
                        may_remove,
                    },
                    nonce,
                )
            }
            ResourceType::Listener => {
                let may_send = |resource: &Resource| ready(resource, snapshot, clusters, endpoints);
                listeners.next_response(
                    snapshot,
                    &Gates {
                        may_send: &may_send,
                        may_remove: true,
                    },
                    nonce,
                )
            }
        }
    }

    /// A changed cluster is a new cluster to Envoy: "Warming of Cluster is completed only when a new
    /// ClusterLoadAssignment response is supplied by management server even though there is no change in endpoints."
    /// It does not ask for one, since the names it is subscribed to have not changed; and it does not even acknowledge
    /// the cluster before. So the endpoints go out right behind the cluster.
    fn resend_endpoints_behind(&mut self, response: &Response) {
        for (name, cluster) in &response.resources {
            if self.clusters.may_hold(name) {
                cluster
                    .refers_to()
                    .iter()
                    .for_each(|name| self.endpoints.forget(name));
            }
        }
    }

    fn endpoints_behind_clusters_in_flight(&self) -> BTreeSet<ResourceName> {
        let Some(snapshot) = &self.snapshot else {
            return BTreeSet::new();
        };
        let clusters = snapshot.resources(ResourceType::Cluster);
        let sent = self.clusters.on_their_way().filter_map(|name| clusters.get(name));
        sent.flat_map(|cluster| cluster.refers_to().iter().cloned())
            .collect()
    }

    fn refresh_owners(&mut self, ty: ResourceType, names: &BTreeSet<ResourceName>) {
        let Some(snapshot) = &self.snapshot else { return };
        let resources = snapshot.resources(ty);
        let owners: BTreeSet<_> = names
            .iter()
            .filter_map(|n| Some(resources.get(n)?.owner().clone()))
            .collect();
        owners.iter().for_each(|id| self.refresh(id));
    }

    /// Works out again what the client says about `id`.
    fn refresh(&mut self, id: &LoadBalancerId) {
        let Some(snapshot) = self.snapshot.clone() else {
            return;
        };
        let Some(content) = snapshot.content_version(id) else {
            if self.states.remove(id).is_some() {
                self.changed.insert(id.clone());
            }
            return;
        };
        let mut state = self.states.get(id).cloned().unwrap_or_default();
        if self.holds_all_of(id, &snapshot) {
            state.programmed = Some(content.clone());
        }
        state.rejected = self
            .refusal_of(id, &snapshot)
            .map(|message| (content.clone(), message));
        if self.states.get(id) != Some(&state) {
            self.states.insert(id.clone(), state);
            self.changed.insert(id.clone());
        }
    }

    fn holds_all_of(&self, id: &LoadBalancerId, snapshot: &Snapshot) -> bool {
        let holds = |(ty, name): &(ResourceType, ResourceName)| {
            (snapshot.resources(*ty).get(name))
                .is_some_and(|resource| self.subscription(*ty).holds_exactly(name, resource.version()))
        };
        self.listeners.started() && self.clusters.started() && snapshot.counted(id).iter().all(holds)
    }

    fn refusal_of(&self, id: &LoadBalancerId, snapshot: &Snapshot) -> Option<String> {
        let clusters = snapshot
            .counted(id)
            .iter()
            .filter(|(ty, _)| *ty == ResourceType::Cluster);
        let endpoints = clusters
            .filter_map(|(ty, name)| snapshot.resources(*ty).get(name))
            .flat_map(|cluster| {
                cluster
                    .refers_to()
                    .iter()
                    .map(|name| (ResourceType::Endpoint, name))
            });
        let mut all = snapshot
            .counted(id)
            .iter()
            .map(|(ty, name)| (*ty, name))
            .chain(endpoints);
        all.find_map(|(ty, name)| {
            let resource = snapshot.resources(ty).get(name)?;
            self.subscription(ty)
                .refusal(name, resource)
                .map(|refusal| refusal.message.clone())
        })
    }

    fn subscription(&self, ty: ResourceType) -> &Subscription {
        match ty {
            ResourceType::Cluster => &self.clusters,
            ResourceType::Endpoint => &self.endpoints,
            ResourceType::Listener => &self.listeners,
        }
    }

    fn subscription_mut(&mut self, ty: ResourceType) -> &mut Subscription {
        match ty {
            ResourceType::Cluster => &mut self.clusters,
            ResourceType::Endpoint => &mut self.endpoints,
            ResourceType::Listener => &mut self.listeners,
        }
    }
}

/// Whether a listener can be sent: the client has its clusters and their endpoints. One that was refused holds back
/// the listener that needs it and no other. A type that the client never asked for holds nothing back.
fn ready(
    listener: &Resource,
    snapshot: &Snapshot,
    clusters: &Subscription,
    endpoints: &Subscription,
) -> bool {
    let has_endpoints = |cluster: &ResourceName| {
        let cluster = snapshot.resources(ResourceType::Cluster).get(cluster);
        cluster.is_none_or(|cluster| cluster.refers_to().iter().all(|name| endpoints.holds(name)))
    };
    listener.refers_to().iter().all(|cluster| {
        (!clusters.started() || clusters.holds(cluster)) && (!endpoints.started() || has_endpoints(cluster))
    })
}

impl From<Response> for discovery::DeltaDiscoveryResponse {
    fn from(response: Response) -> Self {
        let Response {
            ty,
            nonce,
            resources,
            removed,
        } = response;
        let resources = resources.into_iter().map(|(name, resource)| discovery::Resource {
            name: name.to_string(),
            version: resource.version().to_string(),
            resource: Some(resource.body().clone()),
            ..Default::default()
        });
        Self {
            type_url: ty.type_url().to_owned(),
            nonce,
            resources: resources.collect(),
            removed_resources: removed.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }
    }
}
