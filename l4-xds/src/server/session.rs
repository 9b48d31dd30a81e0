//! One stream, from its first request to its end: feeds the state machine and carries out what it says.

use std::time::Instant;

use envoy_types::pb::envoy::config::core::v3::Node;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};

use crate::cache::{FleetKey, Published};
use crate::dialect::{Dialect, Own, Said};
use crate::metrics::Metrics;
use crate::report::Reporter;
use crate::snapshot::ResourceType;
use crate::stream::Stream;
use crate::subscription::Heard;

/// What a stream works with.
pub(super) struct Session<D: Dialect> {
    pub(super) fleet: FleetKey,
    pub(super) updates: watch::Receiver<Option<Published>>,
    pub(super) outbound: mpsc::Sender<Result<D::Response, Status>>,
    pub(super) reporter: Reporter,
    pub(super) metrics: Metrics,
    pub(super) dialect: D,
}

impl<D: Dialect> Session<D> {
    /// Runs until the client goes. May be dropped at any time, which closes the stream in good order.
    pub(super) async fn run(mut self, mut inbound: Streaming<D::Request>) {
        let mut stream = Stream::new();
        let newest = self.newest();
        self.offer(&mut stream, newest);
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
                    self.offer(&mut stream, published);
                }
                () = self.outbound.closed() => break,
            }
        }
        tracing::info!(fleet = %self.fleet, "xDS stream closed");
    }

    fn newest(&mut self) -> Option<Published> {
        self.updates.borrow_and_update().clone()
    }

    fn offer(&mut self, stream: &mut Stream, published: Option<Published>) {
        let snapshot = published.map(|published| published.snapshot);
        self.dialect.on_snapshot(snapshot.clone());
        stream.on_snapshot(snapshot);
    }

    async fn flush(&mut self, stream: &mut Stream) -> Result<(), mpsc::error::SendError<()>> {
        self.reporter.report(stream.take_changes());
        loop {
            self.flush_own(stream).await?;
            let Some(response) = stream.next_response() else {
                return Ok(());
            };
            self.count_response(response.ty);
            tracing::debug!(
                fleet = %self.fleet, ty = ?response.ty, changed = response.resources.len(),
                removed = response.removed.len(), "xDS response",
            );
            match self.dialect.say(response) {
                Said::Send(message) => self.outbound.reserve().await?.send(Ok(message)),
                Said::Unsaid(answer) => {
                    stream.on_request(*answer);
                    self.reporter.report(stream.take_changes());
                }
            }
        }
    }

    async fn flush_own(&mut self, stream: &mut Stream) -> Result<(), mpsc::error::SendError<()>> {
        while let Some(own) = self.dialect.next_own() {
            match own {
                Own::Hear(request) => {
                    stream.on_request(*request);
                    self.reporter.report(stream.take_changes());
                }
                Own::Send(ty, message) => {
                    self.count_response(ty);
                    self.outbound.reserve().await?.send(Ok(message));
                }
            }
        }
        Ok(())
    }

    fn count_response(&self, ty: ResourceType) {
        self.metrics.responses.with_label_values(&[ty.type_url()]).inc();
    }

    fn on_request(&mut self, stream: &mut Stream, request: D::Request) {
        if let Some(Node { id, cluster, .. }) = D::node(&request) {
            tracing::debug!(fleet = %self.fleet, node = id, cluster, "xDS request with a node");
            self.reporter.introduce(id.clone().into());
        }
        // The client chooses the text, so an unknown one must not become a label.
        let label =
            ResourceType::from_type_url(D::type_url(&request)).map_or("other", ResourceType::type_url);
        self.metrics.requests.with_label_values(&[label]).inc();
        let Some(request) = self.dialect.hear(request) else {
            return;
        };
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
