//! The loops. Each reads stores, calls pure functions, writes the difference and reports.

pub mod credential;
pub mod gateway;
pub mod heartbeat;
pub mod nodes;
pub mod services;
mod told;

use std::sync::Arc;
use std::time::Duration;

use api::meta::DEFAULT_NAME;
use api::v1alpha1::{TenantState, TenantStateStatus};
use controller_kit::apply::{ApplyError, Report};
use controller_kit::events::{Notice as Event, Recorder};
use controller_kit::lease::Leadership;
use controller_kit::object::ObjectError;
use controller_kit::status::StatusError;
use controller_kit::watch::Watched;
use controller_kit::{Object, ReconcileError};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use tokio::sync::watch;

use crate::convert::origin;
use crate::hub::fault::Fault;
use crate::hub::probe::Answer;
use crate::hub::refusal::{self, Refusal};
use crate::metrics::HubMetrics;
use crate::notice::Notice;
pub use told::{Freshness, Told};

/// What the hub refused is tried again after this time, since a quota may have been raised meanwhile.
pub const REFUSED_RETRY: Duration = Duration::from_secs(60);

/// May this process write now?
#[derive(Clone)]
pub struct Gate {
    leadership: Leadership,
    answers: watch::Receiver<Answer>,
}

impl Gate {
    /// From the lease and the last answer of the hub.
    #[must_use]
    pub fn new(leadership: Leadership, answers: watch::Receiver<Answer>) -> Self {
        Self { leadership, answers }
    }

    /// This replica writes, not another one.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leadership.is_leader()
    }

    /// The term of office, if this replica writes.
    #[must_use]
    pub fn term(&self) -> Option<u64> {
        self.leadership.epoch()
    }

    /// Why the hub cannot be used.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.answers.borrow().fault.clone()
    }

    /// The hub may be written to.
    #[must_use]
    pub fn may_write_hub(&self) -> bool {
        self.is_leader() && self.fault().is_none()
    }

    /// Each new answer of the hub.
    #[must_use]
    pub fn answers(&self) -> watch::Receiver<Answer> {
        self.answers.clone()
    }
}

/// What every loop has.
#[derive(Clone)]
pub struct Context {
    /// The own cluster.
    pub tenant: Client,
    /// The hub.
    pub hub: Client,
    /// Namespace of this tenant on the hub.
    pub hub_namespace: Arc<str>,
    /// May this process write?
    pub gate: Gate,
    /// Writes Events in the own cluster.
    pub recorder: Recorder,
    /// Where refusals are counted.
    pub hub_metrics: HubMetrics,
}

impl Context {
    /// Counts, logs and returns what the hub did not take.
    fn refusals(&self, report: &Report) -> Vec<Refusal> {
        let refusals: Vec<Refusal> = report.failed.iter().map(refusal::of).collect();
        for Refusal {
            id,
            notice,
            metric,
            is_transient,
        } in &refusals
        {
            self.hub_metrics.error(metric);
            let object = id.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(
                tenant = &*self.hub_namespace,
                object,
                reason = notice.reason,
                will_retry = is_transient,
                "hub did not take an object: {}",
                notice.message
            );
        }
        refusals
    }

    /// Writes one Warning Event.
    async fn warn(&self, about: &ObjectReference, action: &'static str, notice: &Notice) {
        self.recorder
            .say(
                &Event::warning(notice.reason, action, notice.message.clone()),
                about,
            )
            .await;
    }
}

/// The settings in force, once the hub has told them.
fn settings_of(states: &Watched<TenantState>, namespace: &str) -> Option<TenantStateStatus> {
    states.get(namespace, DEFAULT_NAME)?.status.clone()
}

/// Made by this agent from an object of `kind`.
fn is_made_from(object: &Object, kinds: &[&str]) -> bool {
    let managed = object.label(api::meta::MANAGED_BY_LABEL) == Some(api::meta::MANAGED_BY);
    managed && origin_kind(object).is_some_and(|kind| kinds.contains(&kind))
}

/// The kind of the origin, without its group.
fn origin_kind(object: &Object) -> Option<&str> {
    let kind = object.annotation(api::meta::ORIGIN_KIND)?;
    Some(kind.split_once('.').map_or(kind, |(kind, _)| kind))
}

/// Namespace and name of the origin.
fn origin_name(object: &Object) -> Option<(&str, &str)> {
    Some((
        object.annotation(api::meta::ORIGIN_NAMESPACE)?,
        object.annotation(api::meta::ORIGIN_NAME)?,
    ))
}

/// The reference to the tenant's object that Events are about.
fn about(api_version: &str, origin: origin::Origin<'_>) -> ObjectReference {
    let origin::Origin {
        kind,
        namespace,
        name,
        uid,
    } = origin;
    api::names::object_reference(api_version, kind, namespace, name, uid)
}

/// A run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Something is no Kubernetes object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A write failed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A status could not be written.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// Something that is read on demand could not be read.
    #[error("the own cluster did not answer")]
    Read(#[from] kube::Error),
}

impl ReconcileError for ControllerError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Object(_) => "InvalidObject",
            Self::Apply(error) => error.reason(),
            Self::Status(error) => error.reason(),
            Self::Read(error) => error.reason(),
        }
    }
}
