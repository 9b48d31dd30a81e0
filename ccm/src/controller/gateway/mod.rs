//! Brings the Gateway API to the hub, and what the hub says back as status.
//!
//! Everything is decided by [`gateway_semantics::evaluate`] over one snapshot; here is only reading, writing in
//! the right order, and telling. Needs come before what needs them: shadow Services, Secrets, Routes; removal
//! goes the other way round.

mod answers;
mod authorities;
mod former;
mod lingering;
mod memory;
mod own_cluster;
mod stores;
mod write;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use controller_kit::driver::Outcome;
use controller_kit::patience::Patience;
use gateway_semantics::{
    Event, EventType, ObjectKind, ObjectRef, Outcome as Evaluated, Settings, Snapshot, evaluate,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Context, ControllerError, REFUSED_RETRY, Told};
use crate::convert::nodes::{Addresses, NodeAddressType, convert};
use crate::convert::origin::Origin;
use crate::hub::refusal::Refusal;
use crate::metrics::GatewayMetrics;
use crate::notice::Notice;
pub use answers::{Answers, Prober, Settling, Target, TcpProber};
pub use former::Writers;
pub use lingering::Lingering;
pub use memory::Memory;
pub use own_cluster::Refusals;
pub use stores::{Shared, Stores};

/// Version of the Gateway API that is read and written.
pub const API_VERSION: &str = "gateway.networking.k8s.io/v1";

/// How long a status waits for the hub to answer. It is usually there in a third of that.
pub const PATIENCE: Duration = Duration::from_secs(1);

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
    /// What the own cluster refuses.
    pub refusals: Refusals,
    /// Whether nodes answer for new shadow Services.
    pub answers: Answers,
    /// Which address of a node they are asked at.
    pub address_type: NodeAddressType,
    /// Shadow Services that nobody needs any more.
    pub lingering: Lingering,
    /// Who wrote the status of what may have been ours.
    pub writers: Writers,
    /// How long statuses wait for the hub's answer.
    pub patience: Patience,
    /// What the last run made and compared.
    pub memory: Memory,
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
        let mut snapshot = self
            .stores
            .snapshot(&self.context.hub_namespace, &self.settings)
            .await?;
        snapshot.refused_services = self.refusals.services();
        let settling = self.settling(&snapshot);
        snapshot.settling_services = settling.services;
        let unread = self.read_writers(&mut snapshot).await;
        let mut outcome = evaluate(&snapshot, &self.settings);

        let mut written = write::Written::default();
        let may_delegate = self.context.gate.may_write_hub() && snapshot.hub.state.is_some();
        let applied = match may_delegate {
            true => {
                self.delegate(&mut snapshot, &mut outcome, &synced, &mut written)
                    .await
            }
            false => {
                self.lingering.forget();
                Ok(())
            }
        };
        self.count(&outcome.routes);
        written.provisional = std::mem::take(&mut outcome.provisional);
        let reported = self
            .write_statuses(&outcome.statuses, &Time(Timestamp::now()), &mut written)
            .await;

        let events = std::mem::take(&mut outcome.events);
        self.tell(events, &written).await;
        self.count_changes(&outcome, &written, started.elapsed());
        applied.and(reported)?;
        let of_hub = (unread || written.left || !written.refused.is_empty()).then_some(REFUSED_RETRY);
        let of_own = self
            .refusals
            .due_in(tokio::time::Instant::now())
            .filter(|_| may_delegate);
        Ok(Outcome {
            requeue_after: [of_hub, of_own, written.lingers, written.waits, settling.due_in]
                .into_iter()
                .flatten()
                .min(),
        })
    }

    /// Nodes are asked where the hub will send requests to.
    fn settling(&self, snapshot: &Snapshot) -> Settling {
        let addresses = || {
            let nodes = self.stores.nodes.snapshot();
            match convert(nodes.iter().map(AsRef::as_ref), self.address_type).addresses {
                Addresses::Publish(addresses) => addresses,
                Addresses::Keep => Vec::new(),
            }
        };
        let (now, wall) = (tokio::time::Instant::now(), Timestamp::now());
        self.answers.observe(&snapshot.services, addresses, now, wall)
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
        self.metrics.managed(&by_kind);
    }

    /// Counts what was changed, and drops what is counted of namespaces that have nothing of a kind any more. What
    /// could not be changed still shows.
    fn count_changes(&self, evaluated: &Evaluated, written: &write::Written, took: Duration) {
        let mut present = self.stores.namespaces_by_kind();
        let secrets = evaluated.sync_secrets.iter().map(|secret| &secret.namespace);
        let authorities = evaluated.authorities.iter().map(|authority| &authority.namespace);
        let secrets = secrets.chain(authorities).cloned().collect();
        present.insert(write::SECRET_ORIGIN, secrets);
        for ((kind, namespace), success) in &written.changed {
            self.metrics.changed(kind, namespace, took, *success);
            if !success {
                present.entry(kind).or_default().insert(namespace.clone());
            }
        }
        self.metrics.keep_only(&present);
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
