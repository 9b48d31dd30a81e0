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
mod needs;
mod own_cluster;
mod report;
mod stores;
mod write;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use controller_kit::driver::Outcome;
use controller_kit::patience::Patience;
use gateway_semantics::{Event, Outcome as Evaluated, Settings, Snapshot, Statuses, evaluate};
use jiff::Timestamp;

use super::{Context, ControllerError, REFUSED_RETRY, Told};
use crate::convert::nodes::{Addresses, NodeChoice, convert};
use crate::metrics::GatewayMetrics;
pub use answers::{Answers, Prober, Settling, Target, TcpProber};
pub use former::Writers;
pub use lingering::Lingering;
pub use memory::Memory;
pub use own_cluster::Refusals;
use report::Finding;
pub use report::{ByPart, Findings, Part};
pub use stores::{Shared, Stores};
use write::Changed;

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
    /// Which nodes are asked, and at which address.
    pub choice: NodeChoice,
    /// Shadow Services that nobody needs any more.
    pub lingering: Lingering,
    /// Who wrote the status of what may have been ours.
    pub writers: Writers,
    /// What the last run found, to be told.
    pub findings: Findings,
    /// How long statuses wait for the hub's answer.
    pub patience: Patience,
    /// What the last run made and compared.
    pub memory: Memory,
    /// What was told.
    pub told: ByPart<Told<Event>>,
}

impl GatewayApi {
    /// One run.
    ///
    /// While the hub cannot be used, what the tenant's objects mean is still told, from the hub's last facts;
    /// nothing is pruned then and nothing goes to the hub.
    ///
    /// # Errors
    /// When something could not be written and trying again may help.
    pub async fn reconcile(&self) -> Result<Outcome, ControllerError> {
        let Some((synced, term)) = self.stores.synced().zip(self.context.gate.term()) else {
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
        self.tell_early(term, &outcome);
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
        self.count_changes(&outcome, &written.changed, started.elapsed());
        let of_hub = (unread || written.left || !written.refused.is_empty()).then_some(REFUSED_RETRY);
        self.findings.put(Finding {
            term,
            statuses: outcome.statuses,
            provisional: outcome.provisional,
            more: written.more,
            events: outcome.events,
            refused: written.refused,
        });
        applied?;
        let at_once = written.more.then_some(Duration::ZERO);
        let of_own = self
            .refusals
            .due_in(tokio::time::Instant::now())
            .filter(|_| may_delegate);
        Ok(Outcome {
            requeue_after: [of_hub, of_own, written.lingers, settling.due_in, at_once]
                .into_iter()
                .flatten()
                .min(),
        })
    }

    /// Where there is much to bring to the hub, what routes attach to is told before the next portion of them is
    /// brought. What the hub refused is as it was.
    fn tell_early(&self, term: u64, outcome: &Evaluated) {
        let last = self.findings.last();
        let Some(last) = last.filter(|last| last.more && last.term == term) else {
            return;
        };
        let Statuses {
            gateway_classes,
            gateways,
            former,
            listener_sets,
            policies,
            routes: _,
        } = &outcome.statuses;
        self.findings.put_early(Finding {
            term,
            statuses: Statuses {
                gateway_classes: gateway_classes.clone(),
                gateways: gateways.clone(),
                former: former.clone(),
                listener_sets: listener_sets.clone(),
                policies: policies.clone(),
                routes: Vec::new(),
            },
            provisional: outcome.provisional.clone(),
            more: true,
            events: outcome.events.clone(),
            refused: last.refused.clone(),
        });
    }

    /// Nodes are asked where the hub will send requests to.
    fn settling(&self, snapshot: &Snapshot) -> Settling {
        let addresses = || {
            let nodes = self.stores.nodes.snapshot();
            match convert(nodes.iter().map(AsRef::as_ref), &self.choice).addresses {
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
    fn count_changes(&self, evaluated: &Evaluated, changed: &Changed, took: Duration) {
        let mut present = self.stores.namespaces_by_kind();
        let secrets = evaluated.sync_secrets.iter().map(|secret| &secret.namespace);
        let authorities = evaluated.authorities.iter().map(|authority| &authority.namespace);
        let secrets = secrets.chain(authorities).cloned().collect();
        present.insert(write::SECRET_ORIGIN, secrets);
        for ((kind, namespace), success) in changed {
            self.metrics.changed(kind, namespace, took, *success);
            if !success {
                present.entry(kind).or_default().insert(namespace.clone());
            }
        }
        self.metrics.keep_only(&present);
    }
}
