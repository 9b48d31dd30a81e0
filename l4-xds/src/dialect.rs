//! The two ways to say the same over a stream: delta, and state of the world. The core ([`crate::stream`]) knows delta
//! only; a dialect says its responses, and understands requests, in the words of the client.
//!
//! Pure, as the core.

mod homecoming;
mod world;

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use crate::snapshot::{ResourceType, Snapshot};
use crate::subscription::Response;
pub use world::World;

/// What becomes of a response of the core.
#[derive(Debug, Clone, PartialEq)]
pub enum Said<M> {
    /// This is sent.
    Send(M),
    /// There are no words for it, and the client would not miss them: this is the answer to it.
    Unsaid(Box<DeltaDiscoveryRequest>),
}

/// What a dialect does by itself, before the core says anything.
#[derive(Debug, Clone, PartialEq)]
pub enum Own<M> {
    /// The core is to hear this, which had been kept back.
    Hear(Box<DeltaDiscoveryRequest>),
    /// This is sent, and the core need not know.
    Send(ResourceType, M),
}

/// How a client speaks.
pub trait Dialect: Default + Send + 'static {
    /// What the client sends.
    type Request: Send + 'static;
    /// What it is sent.
    type Response: Send + 'static;

    /// Takes a new snapshot, before the core does.
    fn on_snapshot(&mut self, snapshot: Option<Arc<Snapshot>>);

    /// What a request means to the core. None where it is kept back, or is none of the core's business.
    fn hear(&mut self, request: Self::Request) -> Option<DeltaDiscoveryRequest>;

    /// What comes before anything that the core has to say. To be called until there is nothing.
    fn next_own(&mut self) -> Option<Own<Self::Response>> {
        None
    }

    /// What a response of the core is to the client.
    fn say(&mut self, response: Response) -> Said<Self::Response>;

    /// The type that a request is about, as a URL.
    fn type_url(request: &Self::Request) -> &str;

    /// Who the client says that it is.
    fn node(request: &Self::Request) -> Option<&Node>;
}

/// What the core speaks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delta;

impl Dialect for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn on_snapshot(&mut self, _: Option<Arc<Snapshot>>) {}

    fn hear(&mut self, request: DeltaDiscoveryRequest) -> Option<DeltaDiscoveryRequest> {
        Some(request)
    }

    fn say(&mut self, response: Response) -> Said<DeltaDiscoveryResponse> {
        Said::Send(response.into())
    }

    fn type_url(request: &DeltaDiscoveryRequest) -> &str {
        &request.type_url
    }

    fn node(request: &DeltaDiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }
}
