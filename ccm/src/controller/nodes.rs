//! Keeps `Addresses/default` on the hub as the nodes are.

use std::time::Instant;

use api::meta::{DEFAULT_NAME, MANAGED_BY, MANAGED_BY_LABEL};
use api::v1alpha1::{Addresses, AddressesSpec};
use controller_kit::Object;
use controller_kit::apply::Applier;
use controller_kit::diff::plan;
use controller_kit::driver::Outcome;
use controller_kit::watch::{Synced, Watched};
use k8s_openapi::api::core::v1::{Node, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Context, ControllerError, Freshness, REFUSED_RETRY, Told};
use crate::FIELD_MANAGER;
use crate::convert::nodes::{Addresses as Found, Conversion, NodeChoice, convert};
use crate::metrics::NodeMetrics;
use crate::notice::Notice;

/// The loop over nodes.
pub struct Nodes {
    /// Clients, gate, Events.
    pub context: Context,
    /// Nodes of the own cluster.
    pub nodes: Watched<Node>,
    /// Addresses of this tenant on the hub.
    pub addresses: Watched<Addresses>,
    /// Which nodes take traffic, and where they are reached.
    pub choice: NodeChoice,
    /// Metrics.
    pub metrics: NodeMetrics,
    /// The object that Events about all nodes are about: the pod of this process.
    pub about: Option<ObjectReference>,
    /// What was told.
    pub told: Told<Notice>,
}

impl Nodes {
    /// One run.
    ///
    /// # Errors
    /// When the hub could not be written to and trying again may help.
    pub async fn reconcile(&self) -> Result<Outcome, ControllerError> {
        let synced = Synced::of(&[&self.nodes, &self.addresses]);
        if !self.context.gate.may_write_hub() || synced.is_none() {
            return Ok(Outcome::done());
        }
        let started = Instant::now();
        let nodes = self.nodes.snapshot();
        let Conversion {
            addresses,
            serving,
            notices,
        } = convert(nodes.iter().map(AsRef::as_ref), &self.choice);
        self.tell(notices).await;
        let written = match addresses {
            Found::Keep => Ok(Outcome::done()),
            Found::Publish(addresses) => self.publish(AddressesSpec { addresses }).await,
        };
        self.metrics.run(serving, started.elapsed(), written.is_ok());
        written
    }

    async fn publish(&self, spec: AddressesSpec) -> Result<Outcome, ControllerError> {
        let namespace = &*self.context.hub_namespace;
        let desired = Object::typed(&desired(namespace, spec))?;
        let live = self.addresses.objects()?;
        // There is one such object for a tenant and this agent writes it, whoever made it first.
        let plan = plan(
            [desired],
            live.iter().filter(|o| o.id().key.name == DEFAULT_NAME),
            |_| true,
        );
        let applier = Applier::new(self.context.hub.clone(), FIELD_MANAGER, &[]);
        let report = applier.execute(plan, None, |_| true).await;
        for object in &report.applied {
            let count = object
                .value()
                .pointer("/spec/addresses")
                .and_then(|a| a.as_array())
                .map(Vec::len);
            tracing::info!(tenant = namespace, addresses = count, "node addresses published");
        }
        let refusals = self.context.refusals(&report);
        if refusals.iter().any(|refusal| refusal.is_transient) {
            report.into_result()?;
        }
        Ok(if refusals.is_empty() {
            Outcome::done()
        } else {
            Outcome::requeue(REFUSED_RETRY)
        })
    }

    async fn tell(&self, notices: Vec<Notice>) {
        for notice in self.told.news(notices, |_| Freshness::Fresh) {
            tracing::warn!(
                tenant = &*self.context.hub_namespace,
                reason = notice.reason,
                "{}",
                notice.message
            );
            if let Some(about) = &self.about {
                self.context.warn(about, "PublishAddresses", &notice).await;
            }
        }
    }
}

fn desired(namespace: &str, spec: AddressesSpec) -> Addresses {
    Addresses {
        metadata: ObjectMeta {
            name: Some(DEFAULT_NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}
