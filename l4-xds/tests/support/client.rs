//! A client of a [`Stream`] without a network between them.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use l4_xds::ir::Frontend;
use l4_xds::snapshot::ResourceType::{self, Cluster, Endpoint, Listener};
use l4_xds::stream::{LoadBalancerState, Stream};
use l4_xds::subscription::Heard;

use super::{ack, id, snapshot, subscribe};

/// A stream under test.
pub struct Client {
    pub stream: Stream,
}

impl Client {
    pub fn new() -> Self {
        Self {
            stream: Stream::new(),
        }
    }

    pub fn with(frontends: &[Frontend]) -> Self {
        let mut client = Self::new();
        client.offer(frontends);
        client
    }

    pub fn offer(&mut self, frontends: &[Frontend]) {
        self.stream.on_snapshot(Some(Arc::new(snapshot(frontends))));
    }

    pub fn say(&mut self, request: DeltaDiscoveryRequest) -> Option<Heard> {
        self.stream.on_request(request).map(|(_, heard)| heard)
    }

    /// The next response, which must be of this type.
    pub fn hear(&mut self, ty: ResourceType) -> DeltaDiscoveryResponse {
        let response = self
            .stream
            .next_response()
            .unwrap_or_else(|| panic!("no response, where {ty:?} was expected"));
        assert_eq!(response.ty, ty);
        response.into()
    }

    pub fn hear_and_ack(&mut self, ty: ResourceType) -> DeltaDiscoveryResponse {
        let response = self.hear(ty);
        self.say(ack(&response));
        response
    }

    pub fn hear_nothing(&mut self) {
        assert_eq!(self.stream.next_response(), None);
    }

    /// Does what Envoy does after it has connected, up to the last ACK.
    pub fn settle(&mut self) {
        self.say(subscribe(Cluster, &[]));
        let clusters = self.hear(Cluster);
        self.say(subscribe(Endpoint, &names(&clusters)));
        self.say(ack(&clusters));
        self.hear_and_ack(Endpoint);
        self.say(subscribe(Listener, &[]));
        self.hear_and_ack(Listener);
        self.hear_nothing();
    }

    pub fn state(&mut self, name: &str) -> Option<LoadBalancerState> {
        let changes = self.stream.take_changes();
        changes
            .into_iter()
            .filter(|(changed, _)| *changed == id(name))
            .find_map(|(_, state)| state)
    }
}

pub fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect()
}
