//! Brings Services of type LoadBalancer to the hub, and their addresses back.
//!
//! Level-triggered over the whole cluster: what was missed while this process or the hub was away is found in
//! the next run. Status is cleared before the hub's object goes, so that a crash between the two is repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use api::meta::DEFAULT_NAME;
use api::v1alpha1::{Addresses, IpFamily, LoadBalancer, TenantState, TenantStateStatus};
use controller_kit::apply::{Applier, Report};
use controller_kit::diff::plan;
use controller_kit::driver::Outcome;
use controller_kit::events::Notice as Event;
use controller_kit::status::{StatusWrite, update_status};
use controller_kit::watch::{Synced, Watched};
use controller_kit::{Object, ObjectKey};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, ResourceExt};

use super::{
    Context, ControllerError, Freshness, REFUSED_RETRY, Told, about, is_made_from, origin_name, settings_of,
};
use crate::FIELD_MANAGER;
use crate::convert::local::Local;
use crate::convert::nodes::{NodeChoice, by_name};
use crate::convert::origin::Origin;
use crate::convert::provider::CloudProvider;
use crate::convert::service::{ClassPolicy, Conversion, ORIGIN_KIND, Settings, Wanted, convert, wants_local};
use crate::hub::refusal::Refusal;
use crate::metrics::KindMetrics;
use crate::notice::{Notice, reason};
use crate::status::service::{HubView, addresses, everywhere, first_address, project, refusals};

/// How many statuses are written at the same time.
const STATUS_WRITES: usize = 8;

/// The loop over Services.
pub struct Services {
    /// Clients, gate, Events.
    pub context: Context,
    /// Services of the own cluster.
    pub services: Watched<Service>,
    /// LoadBalancers of this tenant on the hub.
    pub load_balancers: Watched<LoadBalancer>,
    /// Addresses of this tenant on the hub.
    pub addresses: Watched<Addresses>,
    /// Nodes of the own cluster.
    pub nodes: Watched<Node>,
    /// EndpointSlices of the own cluster.
    pub endpoint_slices: Watched<EndpointSlice>,
    /// TenantState on the hub.
    pub states: Watched<TenantState>,
    /// Which Services are ours.
    pub class_policy: ClassPolicy,
    /// Where they answer, and who writes their status.
    pub provider: CloudProvider,
    /// Which nodes take traffic, and where they are reached.
    pub choice: NodeChoice,
    /// Metrics.
    pub metrics: KindMetrics,
    /// What was told: UID and notice.
    pub told: Told<(String, Notice)>,
    /// Addresses of the hub's that were told because no status shows them: UID and addresses.
    pub shown: Told<(String, String)>,
}

/// One Service with what is known of it.
struct Item {
    service: Arc<Service>,
    wanted: Wanted,
    notices: Vec<Notice>,
    hub: Option<Arc<LoadBalancer>>,
}

impl Item {
    fn uid(&self) -> &str {
        self.service.metadata.uid.as_deref().unwrap_or_default()
    }

    /// What Events about it refer to.
    fn about(&self) -> ObjectReference {
        let origin = Origin {
            kind: ORIGIN_KIND,
            namespace: &self.service.namespace().unwrap_or_default(),
            name: &self.service.name_any(),
            uid: self.uid(),
        };
        about("v1", origin)
    }
}

impl Services {
    /// One run.
    ///
    /// # Errors
    /// When something could not be written and trying again may help.
    pub async fn reconcile(&self) -> Result<Outcome, ControllerError> {
        let stores = Synced::of(&[
            &self.services,
            &self.load_balancers,
            &self.addresses,
            &self.states,
        ]);
        let (true, Some(synced)) = (self.context.gate.may_write_hub(), stores) else {
            return Ok(Outcome::done());
        };
        let Some(settings) = settings_of(&self.states, &self.context.hub_namespace) else {
            return Ok(Outcome::done());
        };
        let started = Instant::now();
        let items = self.gather(&settings);
        self.count(&items);

        let mut changed = BTreeMap::new();
        let before = self.write_statuses(&items, &BTreeSet::new(), &mut changed).await;
        // What could not be cleared must not be pruned: afterwards nobody would know that the address was ours.
        let report = self.apply(&items, before.is_ok().then_some(&synced)).await?;
        let refused = self.context.refusals(&report);
        let after = self.clear_refused(&items, &refused, &mut changed).await;

        self.note_report(&items, &report, &mut changed);
        self.tell(&items, &refused, &report).await;
        self.tell_addresses(&items).await;
        for (namespace, success) in &changed {
            self.metrics.changed(namespace, started.elapsed(), *success);
        }
        self.metrics.changes().keep_only(&namespaces_of(&items, &changed));
        before.and(after)?;
        if refused.iter().any(|refusal| refusal.is_transient) {
            report.into_result()?;
        }
        Ok(if refused.is_empty() {
            Outcome::done()
        } else {
            Outcome::requeue(REFUSED_RETRY)
        })
    }

    fn gather(&self, settings: &TenantStateStatus) -> Vec<Item> {
        let namespace = &*self.context.hub_namespace;
        let published = self.addresses.get(namespace, DEFAULT_NAME);
        let node_families = families(published.as_deref());
        let services = self.services.snapshot();
        let local = self.local(&services);
        let settings = Settings {
            hub_namespace: namespace,
            class_policy: self.class_policy,
            provider: self.provider,
            of_hub: &[],
            annotations: &settings.annotations,
            has_nodes: published.is_none_or(|addresses| !addresses.spec.addresses.is_empty()),
            node_families: &node_families,
            local: &local,
        };
        let to_item = |service: Arc<Service>| {
            let hub = self
                .load_balancers
                .get(namespace, &service.uid().unwrap_or_default());
            let of_hub = match self.provider {
                CloudProvider::Ours => Vec::new(),
                CloudProvider::Another => hub.as_deref().map(everywhere).unwrap_or_default(),
            };
            let settings = Settings {
                of_hub: &of_hub,
                ..settings
            };
            let Conversion { wanted, notices } = convert(&service, &settings);
            Item {
                service,
                wanted,
                notices,
                hub,
            }
        };
        services.into_iter().map(to_item).collect()
    }

    /// Where the pods of those Services are that want it known; costs nothing where there is none.
    fn local(&self, services: &[Arc<Service>]) -> Local {
        if self.provider == CloudProvider::Another {
            return Local::Unknown;
        }
        let asking: BTreeSet<(&str, &str)> = services
            .iter()
            .filter(|service| wants_local(service, self.class_policy))
            .filter_map(|service| {
                let metadata = &service.metadata;
                Some((metadata.namespace.as_deref()?, metadata.name.as_deref()?))
            })
            .collect();
        let known = Synced::of(&[&self.nodes, &self.endpoint_slices]);
        if asking.is_empty() || known.is_none() {
            return Local::Unknown;
        }
        let nodes = self.nodes.snapshot();
        let addresses = by_name(nodes.iter().map(AsRef::as_ref), &self.choice);
        let namespaces: BTreeSet<&str> = asking.iter().map(|(namespace, _)| *namespace).collect();
        let slices: Vec<_> = namespaces
            .into_iter()
            .flat_map(|namespace| self.endpoint_slices.in_namespace(namespace))
            .collect();
        Local::of(addresses, &slices, |namespace, name| {
            asking.contains(&(namespace, name))
        })
    }

    async fn apply(&self, items: &[Item], synced: Option<&Synced>) -> Result<Report, ControllerError> {
        let mut desired = Vec::new();
        let mut held = BTreeSet::new();
        for item in items {
            match &item.wanted {
                Wanted::Served(load_balancer) => desired.push(Object::typed(load_balancer.as_ref())?),
                Wanted::Hold => {
                    held.insert(item.uid());
                }
                Wanted::NotOurs | Wanted::Nothing => {}
            }
        }
        // A Service that cannot be decoded is not unwanted: what was made from it stays.
        let unknown = self.services.undecodable();
        let is_kept = |object: &Object| {
            let origin = origin_name(object).map(|(namespace, name)| ObjectKey::new(namespace, name));
            held.contains(object.id().key.name.as_str()) || origin.is_some_and(|key| unknown.contains(&key))
        };
        let live = self.load_balancers.objects()?;
        let is_ours = |object: &Object| is_made_from(object, &[ORIGIN_KIND]);
        let mut plan = plan(desired, &live, is_ours);
        plan.delete.retain(|object| !is_kept(object));
        let foreign = plan.foreign.clone();
        let applier = Applier::new(self.context.hub.clone(), FIELD_MANAGER, &[]);
        let mut report = applier.execute(plan, synced, is_ours).await;
        report.foreign.extend(foreign);
        Ok(report)
    }

    /// An address that led to what the hub does not take any more leads nowhere.
    async fn clear_refused(
        &self,
        items: &[Item],
        refused: &[Refusal],
        changed: &mut BTreeMap<String, bool>,
    ) -> Result<(), ControllerError> {
        let permanent = refused.iter().filter(|refusal| !refusal.is_transient);
        let uids: BTreeSet<String> = permanent
            .filter_map(|r| Some(r.id.as_ref()?.key.name.clone()))
            .collect();
        let items = items
            .iter()
            .filter(|item| item.hub.is_none() && uids.contains(item.uid()));
        self.write_statuses(items, &uids, changed).await
    }

    /// Writes the statuses that differ, unless they are another provider's. `refused` names what the hub would not take.
    async fn write_statuses<'a>(
        &self,
        items: impl IntoIterator<Item = &'a Item>,
        refused: &BTreeSet<String>,
        changed: &mut BTreeMap<String, bool>,
    ) -> Result<(), ControllerError> {
        if self.provider == CloudProvider::Another {
            return Ok(());
        }
        let differs = |item: &Item| project(&item.service, self.class_policy, view(item, refused)).is_some();
        let mut writes = Vec::new();
        for item in items.into_iter().filter(|item| differs(item)) {
            writes.push(async move { (item, self.write_status(item, refused).await) });
        }
        let results: Vec<_> = futures::stream::iter(writes)
            .buffered(STATUS_WRITES)
            .collect()
            .await;
        let mut outcome = Ok(());
        for (item, result) in results {
            let namespace = item.service.namespace().unwrap_or_default();
            *changed.entry(namespace).or_insert(true) &= result.is_ok();
            outcome = outcome.and(result);
        }
        outcome
    }

    async fn write_status(&self, item: &Item, refused: &BTreeSet<String>) -> Result<(), ControllerError> {
        let service = &item.service;
        let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
        let api: Api<Service> = Api::namespaced(self.context.tenant.clone(), &namespace);
        let change = |service: &Service| project(service, self.class_policy, view(item, refused));
        let written = update_status(&api, service, FIELD_MANAGER, change).await?;
        if let StatusWrite::Written(_) = written {
            let patch = change(service).unwrap_or_default();
            let address = first_address(&patch).unwrap_or("none");
            tracing::info!(
                tenant = &*self.context.hub_namespace,
                namespace,
                service = name,
                address,
                "service status written"
            );
        }
        Ok(())
    }

    fn note_report(&self, items: &[Item], report: &Report, changed: &mut BTreeMap<String, bool>) {
        let tenant = &*self.context.hub_namespace;
        let names: BTreeMap<&str, &Item> = items.iter().map(|item| (item.uid(), item)).collect();
        for object in &report.applied {
            let (namespace, service) = origin_name(object).unwrap_or_default();
            tracing::info!(
                tenant,
                namespace,
                service,
                load_balancer = object.id().key.name,
                "load balancer written"
            );
            changed.entry(namespace.to_owned()).or_insert(true);
        }
        for id in &report.deleted {
            tracing::info!(tenant, load_balancer = id.key.name, "load balancer removed");
        }
        let failed = report
            .failed
            .iter()
            .filter_map(|error| crate::hub::refusal::of(error).id);
        for id in failed {
            if let Some(item) = names.get(id.key.name.as_str()) {
                changed.insert(item.service.namespace().unwrap_or_default(), false);
            }
        }
    }

    async fn tell(&self, items: &[Item], refused: &[Refusal], report: &Report) {
        let mut all: Vec<(String, Notice)> = Vec::new();
        for item in items {
            let uid = item.uid().to_owned();
            all.extend(item.notices.iter().map(|notice| (uid.clone(), notice.clone())));
            if let (Wanted::Served(_) | Wanted::Hold, Some(hub)) = (&item.wanted, &item.hub) {
                all.extend(refusals(hub).into_iter().map(|notice| (uid.clone(), notice)));
            }
        }
        let refused = refused.iter().filter(|refusal| !refusal.is_transient);
        all.extend(refused.filter_map(|r| Some((r.id.as_ref()?.key.name.clone(), r.notice.clone()))));
        let foreign = "an object of this name on the hub was not made by this agent and is left alone";
        all.extend(
            report
                .foreign
                .iter()
                .map(|id| (id.key.name.clone(), Notice::new(reason::NAME_CONFLICT, foreign))),
        );
        let by_uid: BTreeMap<&str, &Item> = items.iter().map(|item| (item.uid(), item)).collect();
        for (uid, notice) in self.told.news(all, |_| Freshness::Fresh) {
            let Some(item) = by_uid.get(uid.as_str()) else {
                continue;
            };
            let (namespace, name) = (
                item.service.namespace().unwrap_or_default(),
                item.service.name_any(),
            );
            tracing::warn!(
                tenant = &*self.context.hub_namespace,
                namespace,
                service = name,
                reason = notice.reason,
                "{}",
                notice.message
            );
            self.context
                .warn(&item.about(), "EnsureLoadBalancer", &notice)
                .await;
        }
    }

    /// Tells where the hub serves what no status of ours shows.
    async fn tell_addresses(&self, items: &[Item]) {
        if self.provider == CloudProvider::Ours {
            return;
        }
        let shown = |item: &Item| {
            let hub = item
                .hub
                .as_ref()
                .filter(|_| matches!(item.wanted, Wanted::Served(_)))?;
            Some((item.uid().to_owned(), addresses(hub)?))
        };
        let by_uid: BTreeMap<&str, &Item> = items.iter().map(|item| (item.uid(), item)).collect();
        let news = self
            .shown
            .news(items.iter().filter_map(shown), |_| Freshness::Fresh);
        for (uid, addresses) in news {
            let Some(item) = by_uid.get(uid.as_str()) else {
                continue;
            };
            let message = format!("the hub serves it at {addresses}");
            let event = Event::normal(reason::SERVED_BY_HUB, "EnsureLoadBalancer", message);
            self.context.recorder.say(&event, &item.about()).await;
        }
    }

    fn count(&self, items: &[Item]) {
        let mut by_namespace = BTreeMap::new();
        for item in items
            .iter()
            .filter(|item| matches!(item.wanted, Wanted::Served(_) | Wanted::Hold))
        {
            *by_namespace
                .entry(item.service.namespace().unwrap_or_default())
                .or_insert(0) += 1;
        }
        self.metrics.managed(&by_namespace);
    }
}

/// Families of the addresses that are published.
fn families(published: Option<&Addresses>) -> BTreeSet<IpFamily> {
    let addresses = published
        .into_iter()
        .flat_map(|published| &published.spec.addresses);
    let ips = addresses.filter_map(|address| address.ip.as_ref()?.parse().ok());
    ips.map(IpFamily::of).collect()
}

/// Namespaces with Services of ours, or with something that could not be changed.
fn namespaces_of(items: &[Item], changed: &BTreeMap<String, bool>) -> BTreeSet<String> {
    let is_ours =
        |item: &&Item| item.hub.is_some() || matches!(item.wanted, Wanted::Served(_) | Wanted::Hold);
    let present = items.iter().filter(is_ours);
    let failed = changed.iter().filter(|(_, success)| !**success);
    present
        .filter_map(|item| item.service.namespace())
        .chain(failed.map(|(namespace, _)| namespace.clone()))
        .collect()
}

fn view<'a>(item: &'a Item, refused: &BTreeSet<String>) -> HubView<'a> {
    match (&item.hub, &item.wanted) {
        (_, Wanted::Nothing) => HubView::Absent,
        (Some(hub), _) => HubView::Found(hub),
        (None, _) if refused.contains(item.uid()) => HubView::Absent,
        (None, _) => HubView::Pending,
    }
}
