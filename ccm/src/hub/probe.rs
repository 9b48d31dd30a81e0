//! Asks the hub every few seconds whether it may be used, and tells everybody when the answer changes.
//!
//! One question, one answer: reading TenantState. It proves connection, credential, Tenant and that no other
//! cluster writes with this credential. While the answer is a fault, nothing is written, cleared or pruned;
//! what is served goes on.

use std::sync::Arc;
use std::time::Duration;

use api::meta::DEFAULT_NAME;
use api::v1alpha1::TenantState;
use controller_kit::CancellationToken;
use controller_kit::backoff::jitter;
use controller_kit::events::{Notice, Recorder};
use controller_kit::ready::{Handle, Readiness};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Api;
use tokio::sync::watch;

use super::credential::life_of_file;
use super::fault::{Fault, of_tenant_state};
use super::link::{Identity, Link};
use crate::metrics::HubMetrics;
use crate::notice::reason;

/// How often the hub is asked.
const PERIOD: Duration = Duration::from_secs(10);
/// How often it is asked while it does not answer: what waits is to be done soon after its return.
const AWAY_PERIOD: Duration = Duration::from_secs(2);
/// Begin of what `/readyz` shows while the hub cannot be used.
const READINESS_PREFIX: &str = "hub";

/// The last answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Why the hub cannot be used; none when it can.
    pub fault: Option<Fault>,
    /// The TenantState that was read last.
    pub state: Option<Arc<TenantState>>,
}

/// Asks the hub.
pub struct Probe {
    /// The connection.
    pub link: Arc<Link>,
    /// UID of the tenant cluster's `kube-system` namespace.
    pub cluster_uid: String,
    /// Where connection and causes are counted.
    pub metrics: HubMetrics,
    /// What `/readyz` shows.
    pub readiness: Readiness,
    /// Says a new cause in the tenant cluster.
    pub recorder: Recorder,
    /// The object that Events are about: the pod. None where there is no pod.
    pub about: Option<ObjectReference>,
}

impl Probe {
    /// Asks until `stop` is cancelled.
    pub async fn run(self, answers: watch::Sender<Answer>, stop: CancellationToken) {
        let api: Api<TenantState> =
            Api::namespaced(self.link.client(), self.link.identity().namespace.as_str());
        let mut changes = self.link.changes();
        let mut waiting = Waiting::start(&self.readiness);
        loop {
            let answer = self.ask(&api, Timestamp::now()).await;
            let before = answers.borrow().fault.clone();
            let period = period_after(answer.fault.as_ref());
            self.report(&before, &answer.fault, &mut waiting).await;
            answers.send_if_modified(|last| {
                let changed = *last != answer;
                *last = answer;
                changed
            });
            tokio::select! {
                () = stop.cancelled() => return,
                _ = changes.changed() => {}
                () = tokio::time::sleep(jitter(period, 0.2)) => {}
            }
        }
    }

    async fn ask(&self, api: &Api<TenantState>, now: Timestamp) -> Answer {
        if let Some(fault) = self.link.fault() {
            return Answer {
                fault: Some(fault),
                state: None,
            };
        }
        match api.get(DEFAULT_NAME).await {
            Ok(state) => {
                let fault = of_tenant_state(&state, &self.cluster_uid, now);
                Answer {
                    fault,
                    state: Some(Arc::new(state)),
                }
            }
            Err(error) => {
                let Identity {
                    namespace,
                    kubeconfig,
                    ..
                } = self.link.identity();
                let fault = match Fault::of_error(&error, namespace.as_str()) {
                    Fault::Unauthorized => Fault::Unauthorized.explained(life_of_file(kubeconfig), now),
                    other => other,
                };
                Answer {
                    fault: Some(fault),
                    state: None,
                }
            }
        }
    }

    async fn report(&self, before: &Option<Fault>, now: &Option<Fault>, waiting: &mut Waiting) {
        self.metrics.connected(now.is_none());
        let tenant = self.link.identity().namespace.as_str();
        match now {
            None => {
                if before.is_some() {
                    tracing::info!(tenant, "the hub can be used");
                }
                waiting.over();
            }
            Some(fault) => {
                if *fault != Fault::Starting {
                    self.metrics.error(fault.reason());
                }
                waiting.because(&self.readiness, fault);
                if before.as_ref().is_none_or(|before| !before.is_like(fault)) && *fault != Fault::Starting {
                    tracing::error!(tenant, reason = fault.reason(), "{fault}; what is served goes on");
                    self.tell(fault).await;
                }
            }
        }
    }

    async fn tell(&self, fault: &Fault) {
        if let Some(about) = &self.about {
            let notice = Notice::warning(reason::HUB_UNAVAILABLE, "ProbeHub", fault.to_string());
            self.recorder.say(&notice, about).await;
        }
    }
}

fn period_after(fault: Option<&Fault>) -> Duration {
    match fault {
        Some(Fault::Unreachable(_) | Fault::HubError { .. }) => AWAY_PERIOD,
        _ => PERIOD,
    }
}

/// What `/readyz` waits for: a name with the cause in it.
struct Waiting {
    handle: Option<Handle>,
    name: String,
}

impl Waiting {
    fn start(readiness: &Readiness) -> Self {
        let mut waiting = Self {
            handle: None,
            name: String::new(),
        };
        waiting.because(readiness, &Fault::Starting);
        waiting
    }

    fn because(&mut self, readiness: &Readiness, fault: &Fault) {
        let name = format!("{READINESS_PREFIX}: {fault}");
        if self.handle.is_none() || self.name != name {
            // The new cause is registered before the old one goes, or a probe between the two would see ready.
            self.handle = Some(readiness.register(name.clone()));
            self.name = name;
        }
    }

    fn over(&mut self) {
        self.handle = None;
    }
}
