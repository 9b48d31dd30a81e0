//! Brings the Gateway API to the hub, and what the hub says back as status.
//!
//! Everything is decided by [`gateway_semantics::evaluate`] over one snapshot; here is only reading, writing in
//! the right order, and telling. Needs come before what needs them: shadow Services, Secrets, Routes; removal
//! goes the other way round.

mod authorities;
mod stores;
mod write;

use std::collections::BTreeMap;
use std::time::Instant;

use controller_kit::driver::Outcome;
use gateway_semantics::{Event, EventType, ObjectKind, ObjectRef, Settings, evaluate};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Context, ControllerError, REFUSED_RETRY, Told};
use crate::convert::origin::Origin;
use crate::hub::refusal::Refusal;
use crate::metrics::{Changes, KindMetrics};
use crate::notice::Notice;
pub use stores::{Shared, Stores};

/// Version of the Gateway API that is read and written.
pub const API_VERSION: &str = "gateway.networking.k8s.io/v1";

/// Metrics of each kind.
#[derive(Debug, Clone)]
pub struct GatewayMetrics {
    /// Gateways.
    pub gateways: KindMetrics,
    /// HTTPRoutes.
    pub http_routes: KindMetrics,
    /// GRPCRoutes.
    pub grpc_routes: KindMetrics,
    /// Certificates that are brought to the hub.
    pub sync_secrets: Changes,
}

impl GatewayMetrics {
    fn of(&self, kind: &str) -> Option<&KindMetrics> {
        match kind {
            "Gateway" => Some(&self.gateways),
            "HTTPRoute" => Some(&self.http_routes),
            "GRPCRoute" => Some(&self.grpc_routes),
            _ => None,
        }
    }

    fn changes_of(&self, kind: &str) -> Option<&Changes> {
        match kind {
            write::SECRET_ORIGIN | write::CONFIG_MAP_ORIGIN => Some(&self.sync_secrets),
            kind => self.of(kind).map(KindMetrics::changes),
        }
    }
}

/// The loop over the Gateway API.
pub struct GatewayApi {
    /// Clients, gate, Events.
    pub context: Context,
    /// What is read.
    pub stores: Stores,
    /// Switches.
    pub settings: Settings,
    /// Metrics.
    pub metrics: GatewayMetrics,
    /// What was told.
    pub told: Told<Event>,
}

impl GatewayApi {
    /// One run.
    ///
    /// While the hub cannot be used, what the tenant's objects mean is still written to their status, from the
    /// hub's last facts; nothing is pruned then and nothing goes to the hub.
    ///
    /// # Errors
    /// When something could not be written and trying again may help.
    pub async fn reconcile(&self) -> Result<Outcome, ControllerError> {
        let Some(synced) = self.stores.synced().filter(|_| self.context.gate.is_leader()) else {
            return Ok(Outcome::done());
        };
        let started = Instant::now();
        let snapshot = self
            .stores
            .snapshot(&self.context.hub_namespace, &self.settings)
            .await?;
        let outcome = evaluate(&snapshot, &self.settings);
        self.count(&outcome.routes);

        let mut written = write::Written::default();
        let applied = match self.context.gate.may_write_hub() && snapshot.hub.state.is_some() {
            true => self.delegate(&outcome, &synced, &mut written).await,
            false => Ok(()),
        };
        let reported = self
            .write_statuses(&outcome.statuses, &Time(Timestamp::now()), &mut written)
            .await;

        self.tell(outcome.events, &written).await;
        for ((kind, namespace), success) in &written.changed {
            if let Some(metrics) = self.metrics.changes_of(kind) {
                metrics.changed(namespace, started.elapsed(), *success);
            }
        }
        applied.and(reported)?;
        let refused = !written.refused.is_empty();
        Ok(if refused {
            Outcome::requeue(REFUSED_RETRY)
        } else {
            Outcome::done()
        })
    }

    fn count(&self, routes: &BTreeMap<String, gateway_semantics::DesiredRoute>) {
        let mut by_kind: BTreeMap<&str, BTreeMap<String, i64>> = BTreeMap::new();
        for origin in routes.values().filter_map(|route| route.spec.origin.as_ref()) {
            *by_kind
                .entry(&origin.kind)
                .or_default()
                .entry(origin.namespace.clone())
                .or_insert(0) += 1;
        }
        for kind in ["Gateway", "HTTPRoute", "GRPCRoute"] {
            let none = BTreeMap::new();
            if let Some(metrics) = self.metrics.of(kind) {
                metrics.managed(by_kind.get(kind).unwrap_or(&none));
            }
        }
    }

    /// Tells what is new. In the first run of the process that is only what comes with a changed status: the
    /// rest was told by the process before.
    async fn tell(&self, events: Vec<Event>, written: &write::Written) {
        let events = events.into_iter().chain(
            written
                .refused
                .iter()
                .filter_map(|refusal| self.event_of(refusal)),
        );
        let is_fresh = |event: &Event| {
            written.statuses.contains(&event.object.uid)
                || written.refused.iter().any(|r| r.notice.message == event.message)
        };
        for event in self.told.news(events, is_fresh) {
            let Event {
                object,
                type_,
                reason,
                message,
            } = &event;
            let tenant = &*self.context.hub_namespace;
            let (kind, namespace, name) = (object.kind.as_str(), &object.namespace, &object.name);
            let about = super::about(api_version(object.kind), origin(object));
            match type_ {
                EventType::Warning => {
                    tracing::warn!(tenant, kind, namespace, name, reason, "{message}");
                    let notice = Notice::new(reason, message.clone());
                    self.context.warn(&about, "EvaluateGatewayAPI", &notice).await;
                }
                EventType::Normal => {
                    tracing::info!(tenant, kind, namespace, name, reason, "{message}");
                    let event =
                        controller_kit::events::Notice::normal(reason, "EvaluateGatewayAPI", message.clone());
                    self.context.recorder.say(&event, &about).await;
                }
            }
        }
    }

    /// What the hub would not take, as news about the tenant's object.
    fn event_of(&self, refusal: &Refusal) -> Option<Event> {
        let object = self.stores.object_of(&refusal.id.as_ref()?.key.name)?;
        let Notice { reason, message } = refusal.notice.clone();
        Some(Event {
            object,
            type_: EventType::Warning,
            reason,
            message,
        })
    }
}

fn origin(object: &ObjectRef) -> Origin<'_> {
    Origin {
        kind: object.kind.as_str(),
        namespace: &object.namespace,
        name: &object.name,
        uid: &object.uid,
    }
}

fn api_version(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::ReferenceGrant => stores::REFERENCE_GRANT_API_VERSION,
        ObjectKind::GatewayClass
        | ObjectKind::Gateway
        | ObjectKind::ListenerSet
        | ObjectKind::Route(_)
        | ObjectKind::BackendTlsPolicy => API_VERSION,
    }
}
