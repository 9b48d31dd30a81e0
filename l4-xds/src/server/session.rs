//! One stream, from its first request to its end: feeds the state machine and carries out what it says.

use std::time::Instant;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};

use crate::cache::{FleetKey, Published};
use crate::metrics::Metrics;
use crate::report::Reporter;
use crate::snapshot::ResourceType;
use crate::stream::Stream;
use crate::subscription::Heard;

/// What a stream works with.
pub(super) struct Session {
    pub(super) fleet: FleetKey,
    pub(super) updates: watch::Receiver<Option<Published>>,
    pub(super) outbound: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    pub(super) reporter: Reporter,
    pub(super) metrics: Metrics,
}

impl Session {
    /// Runs until the client goes. May be dropped at any time, which closes the stream in good order.
    pub(super) async fn run(mut self, mut inbound: Streaming<DeltaDiscoveryRequest>) {
        let mut stream = Stream::new();
        stream.on_snapshot(self.newest().map(|published| published.snapshot));
        // Only updates that come while the client is connected say something about how fast we are.
        let mut unconfirmed: Option<Instant> = None;
        loop {
            if self.flush(&mut stream).await.is_err() {
                break;
            }
            if let Some(since) = unconfirmed.take_if(|_| stream.is_settled()) {
                self.metrics.push_seconds.observe(since.elapsed().as_secs_f64());
            }
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(request)) => self.on_request(&mut stream, request),
                    Ok(None) => break,
                    Err(status) => {
                        tracing::debug!(fleet = %self.fleet, %status, "xDS stream broke");
                        break;
                    }
                },
                changed = self.updates.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let published = self.newest();
                    self.metrics.updates.inc();
                    unconfirmed = published.as_ref().map(|published| published.since).or(unconfirmed);
                    stream.on_snapshot(published.map(|published| published.snapshot));
                }
                () = self.outbound.closed() => break,
            }
        }
        tracing::info!(fleet = %self.fleet, "xDS stream closed");
    }

    fn newest(&mut self) -> Option<Published> {
        self.updates.borrow_and_update().clone()
    }

    async fn flush(&self, stream: &mut Stream) -> Result<(), mpsc::error::SendError<()>> {
        self.reporter.report(stream.take_changes());
        while let Some(response) = stream.next_response() {
            let slot = self.outbound.reserve().await?;
            self.metrics
                .responses
                .with_label_values(&[response.ty.type_url()])
                .inc();
            tracing::debug!(
                fleet = %self.fleet, ty = ?response.ty, changed = response.resources.len(),
                removed = response.removed.len(), "xDS response",
            );
            slot.send(Ok(response.into()));
        }
        Ok(())
    }

    fn on_request(&self, stream: &mut Stream, request: DeltaDiscoveryRequest) {
        if let Some(Node { id, cluster, .. }) = &request.node {
            tracing::debug!(fleet = %self.fleet, node = id, cluster, "xDS request with a node");
            self.reporter.introduce(id.clone().into());
        }
        // The client chooses the text, so an unknown one must not become a label.
        let label = ResourceType::from_type_url(&request.type_url).map_or("other", ResourceType::type_url);
        self.metrics.requests.with_label_values(&[label]).inc();
        match stream.on_request(request) {
            Some((_, Heard::Ack(_))) => self.metrics.acks.with_label_values(&[label]).inc(),
            Some((
                ty,
                Heard::Nack {
                    message,
                    culprits,
                    named,
                },
            )) => {
                self.metrics.nacks.with_label_values(&[label]).inc();
                let culprits: Vec<_> = culprits.iter().map(|name| name.as_str()).take(10).collect();
                tracing::warn!(fleet = %self.fleet, ?ty, named, ?culprits, message, "an Envoy rejected its configuration");
            }
            Some((_, Heard::Subscription | Heard::Stale)) | None => {}
        }
    }
}
