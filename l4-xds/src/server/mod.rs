//! The gRPC server: ADS over mutual TLS. Thin: it moves messages between the network and [`crate::stream`].

mod connection;
mod session;

use std::pin::Pin;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures::Stream;
use rand::Rng;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::cache::{Cache, FleetKey};
use crate::dialect::{Delta, Dialect, World};
use crate::identity::{IdentityError, Tls};
use crate::metrics::Metrics;
use crate::report::ReportHub;
use connection::Peer;

/// Bounds on what clients can make the server do. The defaults suit a production hub.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// A client has this long for its TLS handshake.
    pub handshake_timeout: Duration,
    /// Handshakes at the same time; more wait in the kernel's queue.
    pub handshakes: usize,
    /// HTTP/2 PING after this much silence …
    pub keepalive_interval: Duration,
    /// … and the connection is gone if nothing comes back for this long.
    pub keepalive_timeout: Duration,
    /// Largest request. Envoy lists everything it has when it reconnects; tonic's 4 MiB stop a large fleet for good.
    pub request_bytes: usize,
    /// Streams of one fleet at the same time, so that no tenant can use up the server.
    pub streams_per_fleet: usize,
    /// Streams end after this long, give or take a fifth, so that every client has to show a valid certificate again.
    pub stream_max_age: Duration,
    /// On shutdown connections have this long to close.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            handshakes: 128,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            request_bytes: 32 * 1024 * 1024,
            streams_per_fleet: 64,
            stream_max_age: Duration::from_secs(30 * 60),
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The shortest that [`Self::stream_age`] can be.
    fn shortest_age(&self) -> Duration {
        self.stream_max_age.mul_f64(0.8)
    }

    /// Spread out, or all streams that a restart has opened together would end together, for ever.
    fn stream_age(&self) -> Duration {
        self.stream_max_age.mul_f64(rand::rng().random_range(0.8..=1.2))
    }
}

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The transport failed.
    #[error("failed to serve xDS")]
    Transport(#[from] tonic::transport::Error),
}

/// Everything the server needs.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// Certificates.
    pub tls: Tls,
    /// What to serve.
    pub cache: Cache,
    /// Where to say what Envoys said.
    pub reports: ReportHub,
    /// Metrics.
    pub metrics: Metrics,
    /// Bounds.
    pub limits: Limits,
}

impl ControlPlane {
    /// Serves until `shutdown`. Then streams are closed in good order, and Envoys go to another replica.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ServeError> {
        let limits = self.limits.clone();
        let incoming = connection::accept(listener, &self, shutdown.clone());
        let service = Service {
            plane: self,
            shutdown: shutdown.clone(),
        };
        let service =
            AggregatedDiscoveryServiceServer::new(service).max_decoding_message_size(limits.request_bytes);
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(limits.keepalive_interval))
            .http2_keepalive_timeout(Some(limits.keepalive_timeout))
            // An Envoy needs one stream; more would only be there to get around the limit for its fleet.
            .max_concurrent_streams(4)
            // Envoy opens its next stream on the connection it has, without another handshake. So the connection has
            // to go too: from this age on it takes no new stream, and it closes with its last one.
            .max_connection_age(limits.shortest_age())
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
        let too_late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(limits.shutdown_grace).await;
        };
        tokio::select! {
            result = serving => Ok(result?),
            () = too_late => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Service {
    plane: ControlPlane,
    shutdown: CancellationToken,
}

impl Service {
    fn fleet(&self, peer: Option<&Peer>) -> Result<FleetKey, Status> {
        let identity = peer.map_or(Err(IdentityError::NoCertificate), |peer| peer.fleet.clone());
        identity.map_err(|error| {
            self.plane
                .metrics
                .refused
                .with_label_values(&[error.reason()])
                .inc();
            tracing::warn!(address = ?peer.map(|peer| peer.address), %error, "xDS client refused");
            match error {
                IdentityError::NoCertificate => Status::unauthenticated(error.to_string()),
                _ => Status::permission_denied(error.to_string()),
            }
        })
    }

    fn open<D: Dialect>(
        &self,
        request: Request<Streaming<D::Request>>,
    ) -> Result<Response<Outbound<D::Response>>, Status> {
        let fleet = self.fleet(request.extensions().get::<Peer>())?;
        let limits = &self.plane.limits;
        let reporter = self
            .plane
            .reports
            .open(fleet.clone(), limits.streams_per_fleet)
            .map_err(|error| {
                self.plane
                    .metrics
                    .refused
                    .with_label_values(&["too_many_streams"])
                    .inc();
                tracing::warn!(%fleet, %error, "xDS stream refused");
                Status::resource_exhausted(error.to_string())
            })?;
        // One message: a client that does not read holds back its own stream and nothing else.
        let (sender, receiver) = mpsc::channel(1);
        let session = session::Session {
            updates: self.plane.cache.subscribe(&fleet),
            fleet,
            outbound: sender,
            reporter,
            metrics: self.plane.metrics.clone(),
            dialect: D::default(),
        };
        let shutdown = self.shutdown.clone();
        let age = limits.stream_age();
        tokio::spawn(async move {
            tokio::select! {
                () = session.run(request.into_inner()) => {}
                () = tokio::time::sleep(age) => tracing::debug!("xDS stream has reached its maximum age"),
                () = shutdown.cancelled() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

type Outbound<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Outbound<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Outbound<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.open::<World>(request)
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.open::<Delta>(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_client_is_asked_and_given_up_long_before_its_stream_is_old() {
        let limits = Limits::default();
        assert!(limits.keepalive_interval > Duration::ZERO && limits.keepalive_timeout > Duration::ZERO);
        assert!(limits.keepalive_interval + limits.keepalive_timeout <= Duration::from_secs(60));
        assert!(limits.keepalive_interval + limits.keepalive_timeout < limits.shortest_age());
    }

    #[test]
    fn ages_of_streams_are_spread_over_two_fifths_of_the_maximum_age() {
        let limits = Limits::default();
        let ages: Vec<_> = (0..1000).map(|_| limits.stream_age()).collect();
        let (shortest, longest) = (
            limits.stream_max_age.mul_f64(0.8),
            limits.stream_max_age.mul_f64(1.2),
        );
        assert!(ages.iter().all(|age| (shortest..=longest).contains(age)));
        let early = ages.iter().filter(|age| **age < limits.stream_max_age).count();
        assert!((300..700).contains(&early), "{early} of 1000 in the first half");
    }
}
