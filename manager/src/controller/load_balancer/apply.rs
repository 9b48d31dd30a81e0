//! Writes what one tenant's L4 needs and removes what it does not need any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::meta;
use api::v1alpha1::load_balancer_condition as reason;
use controller_kit::ReconcileError;
use controller_kit::apply::{ApplyError, Report};
use controller_kit::diff::{Plan, Portion};
use controller_kit::object::{Object, ObjectError, ObjectId};
use controller_kit::watch;
use futures::future::join_all;
use gateway_translator::Kind;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use l4_xds::LoadBalancerId;

use super::assess::View;
use super::built::Owners;
use super::memory::{Calm, Made, Memory};
use super::plan::Desired;
use super::status::Refusal;
use crate::build::envoy::{self, Fleet, FleetObjects};
use crate::build::{component, https};
use crate::context::{Context, Error, made_for, now};
use crate::controller::pki as server_pki;
use crate::fleet::FleetId;
use crate::pki::{self, Authority, Place, Purpose};
use crate::stores::api_resource;

/// What is made here, and nowhere else.
const OURS: [&str; 5] = [
    component::LOAD_BALANCER,
    component::ENVOY,
    component::DEDICATED_ENVOY,
    component::GLOBAL_ENVOY,
    component::HTTPS,
];

/// What came of it.
#[derive(Debug, Default)]
pub struct Applied {
    /// LoadBalancers whose Service could not be written.
    pub refused: BTreeMap<LoadBalancerId, Refusal>,
    /// Why HTTPS of a LoadBalancer could not be written.
    pub refused_https: BTreeMap<LoadBalancerId, String>,
    /// There is more to write.
    pub more: bool,
    /// What failed, to be tried again.
    failed: Option<ApplyError>,
}

impl Applied {
    /// The failure, for the driver.
    ///
    /// # Errors
    /// What failed.
    pub fn into_result(self) -> Result<(), Error> {
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Applies and prunes.
///
/// # Errors
/// When objects cannot be compared or a certificate cannot be made. Refusals of the API server are in the answer.
pub async fn run(
    ctx: &Context,
    view: &View,
    desired: &Desired,
    memory: &mut Memory,
) -> Result<Applied, Error> {
    let Certificates { due, kept } = certificates(ctx, view, desired)?;
    let mut others = others(ctx, view, desired)?;
    for certificate in &due {
        others.push(Object::typed(certificate)?);
    }
    let (of_https, others): (Vec<_>, Vec<_>) = others.into_iter().partition(is_service);
    let services = plan_services(ctx, view, desired, of_https, memory)?;
    let live = live(ctx, view, &kept)?;
    let plan = services.join(memory.settled.plan(others, &live, made_for(&view.tenant)));
    // Mostly there is nothing to do, and nobody asks.
    let owners = match plan.is_settled() {
        true => Owners::new(),
        false => memory.built.owners(),
    };
    let Portion { plan, left } = memory.portion(plan, &owners);
    let foreign = plan.foreign.clone();
    // A LoadBalancer that cannot be read looks as if it were gone.
    let unread = ctx
        .stores
        .load_balancers
        .undecodable()
        .iter()
        .any(|key| view.is_for_all() || key.namespace == view.namespace);
    let synced = ctx.stores.proof().filter(|_| !unread);
    let report = ctx
        .applier
        .execute(plan, synced.as_ref(), made_for(&view.tenant))
        .await;
    log(view, &report);
    await_recorded(ctx, &report.applied).await;
    let mut applied = summarize(ctx, view, desired, &owners, report, foreign);
    // What was not tried again is as it was.
    for owner in left.iter().filter_map(|id| owners.get(id.key.name.as_str())) {
        if let Some(refusal) = memory.refused.get(owner) {
            applied.refused.insert((*owner).clone(), refusal.clone());
        }
    }
    applied.more = !left.is_empty();
    memory.refused.clone_from(&applied.refused);
    Ok(applied)
}

/// Ports are recorded in Services. A run that came before the watch shows those would see ports as free that are not, and
/// might move one.
async fn await_recorded(ctx: &Context, written: &[Object]) {
    let services = written.iter().filter(|object| is_service(object));
    let shown = services.map(|service| ctx.stores.services.shown(service));
    watch::await_shown(join_all(shown)).await;
}

fn is_service(object: &Object) -> bool {
    object.id().kind == "Service"
}

/// Compares the hub Services. There is one for each LoadBalancer, and all but the changed ones are the very same as
/// before: where that is so on both sides, there is nothing to compare.
fn plan_services(
    ctx: &Context,
    view: &View,
    desired: &Desired,
    of_https: Vec<Object>,
    memory: &mut Memory,
) -> Result<Plan, Error> {
    let stores = &ctx.stores;
    let live = stores.services.list(&view.namespace);
    if of_https.is_empty() && memory.calm.is(&desired.services, &live) {
        return Ok(Plan::default());
    }
    let made: Vec<_> = desired
        .services
        .iter()
        .map(|service| Made(Arc::clone(service)))
        .collect();
    let mut wanted = memory.services.render(
        made.iter().map(|made| (made.0.name_any(), made)),
        |_, Made(service)| Object::typed(service.as_ref()),
    )?;
    let is_calm = of_https.is_empty();
    wanted.extend(of_https);
    let mut there = stores.services.objects_in(&view.namespace)?;
    there.retain(is_ours);
    let settled = &mut memory.settled_services;
    let plan = settled.plan(wanted, &there, made_for(&view.tenant));
    memory.calm = match is_calm && plan.is_settled() {
        true => Calm::of(desired.services.clone(), live),
        false => Calm::default(),
    };
    Ok(plan)
}

/// Everything else that shall be there but certificates.
fn others(ctx: &Context, view: &View, desired: &Desired) -> Result<Vec<Object>, Error> {
    let mut objects = Vec::new();
    for https in desired.https.values() {
        objects.extend(https.objects()?);
    }
    let Some(settings) = &view.settings else {
        return Ok(objects);
    };
    for (id, fleet) in &desired.fleets {
        let FleetObjects {
            service_account,
            config_map,
            deployment,
            daemon_set,
            disruption_budget,
            network_policy,
        } = envoy::objects(&Fleet {
            id,
            tenant: &view.tenant,
            namespace: &view.namespace,
            settings,
            manager_namespace: &ctx.options.namespace,
            default_image: &ctx.options.envoy_image,
            bootstrap: &ctx.options.bootstrap,
            kinds: &fleet.kinds,
            unneeded_until: fleet.unneeded_until,
        });
        objects.push(Object::typed(&service_account)?);
        objects.push(Object::typed(&config_map)?);
        objects.extend(deployment.as_ref().map(Object::typed).transpose()?);
        objects.extend(daemon_set.as_ref().map(Object::typed).transpose()?);
        objects.extend(disruption_budget.as_ref().map(Object::typed).transpose()?);
        objects.extend(network_policy.as_ref().map(Object::typed).transpose()?);
    }
    Ok(objects)
}

/// Certificates of the fleets. One is made only when it is due, so that it stays as it is.
struct Certificates {
    /// Made anew.
    due: Vec<Secret>,
    /// Names of those that stay.
    kept: BTreeSet<String>,
}

fn certificates(ctx: &Context, view: &View, desired: &Desired) -> Result<Certificates, Error> {
    let (mut due, mut kept) = (Vec::new(), BTreeSet::new());
    if desired.fleets.is_empty() {
        return Ok(Certificates { due, kept });
    }
    let authority = server_pki::authority(ctx)?;
    for id in desired.fleets.keys() {
        match due_certificate(ctx, view, id, &authority)? {
            Some(certificate) => due.push(certificate),
            None => drop(kept.insert(id.certificate(&view.namespace))),
        }
    }
    Ok(Certificates { due, kept })
}

/// A new certificate, where one is due.
fn due_certificate(
    ctx: &Context,
    view: &View,
    id: &FleetId,
    authority: &Authority,
) -> Result<Option<Secret>, Error> {
    let Ok(key) = id.key(&view.namespace) else {
        return Ok(None);
    };
    let purpose = Purpose::Fleet(l4_xds::identity::fleet_uri(&key));
    let name = id.certificate(&view.namespace);
    let live = ctx.stores.secrets.get(&view.namespace, &name);
    if !pki::is_due(live.as_deref(), &purpose, Some(authority), now()) {
        return Ok(None);
    }
    let place = Place {
        namespace: &view.namespace,
        name: &name,
        tenant: &view.tenant,
        component: id.component(),
    };
    let mut certificate = pki::leaf(&place, &purpose, authority, now())?;
    certificate.metadata.labels = Some(id.labels(&view.tenant, &view.namespace));
    Ok(Some(certificate))
}

fn is_ours(object: &Object) -> bool {
    let component = object.label(meta::COMPONENT_LABEL);
    component.is_some_and(|component| OURS.contains(&component))
}

/// What is there of ours but Services. Certificates that stay as they are are left out: they are compared with nothing.
fn live(ctx: &Context, view: &View, kept: &BTreeSet<String>) -> Result<Vec<Object>, Error> {
    let (stores, namespace) = (&ctx.stores, view.namespace.as_str());
    let mut all = stores.secrets.objects_in(namespace)?;
    all.retain(|secret| !kept.contains(&secret.id().key.name));
    all.extend(stores.service_accounts.objects_in(namespace)?);
    all.extend(stores.config_maps.objects_in(namespace)?);
    all.extend(stores.deployments.objects_in(namespace)?);
    all.extend(stores.daemon_sets.objects_in(namespace)?);
    all.extend(stores.disruption_budgets.objects_in(namespace)?);
    all.extend(stores.network_policies.objects_in(namespace)?);
    all.retain(is_ours);
    // HTTPS is served in tenants' namespaces alone.
    if !view.is_for_all() {
        all.extend(live_https(ctx, namespace)?);
    }
    Ok(all)
}

/// What there is under the names of Gateways, routes and EndpointSlices for HTTPS, also of somebody else's: all objects
/// of these kinds are seen, so what is not shown here is taken for absent.
fn live_https(ctx: &Context, namespace: &str) -> Result<Vec<Object>, ObjectError> {
    let stores = &ctx.stores;
    let gateways = stores.gateways.in_namespace(namespace).into_iter();
    let others = stores.envoy_gateway.in_namespace(namespace).into_iter();
    let all = gateways.map(|gateway| (Kind::Gateway, gateway)).chain(others);
    let named = all.filter(|(_, object)| https::is_name(&object.name_any()));
    let mut live = named
        .map(|(kind, object)| Object::dynamic(object.as_ref(), &api_resource(kind)))
        .collect::<Result<Vec<_>, _>>()?;
    for slice in stores.endpoint_slices.in_namespace(namespace) {
        if https::is_name(&slice.name_any()) {
            live.push(Object::typed(slice.as_ref())?);
        }
    }
    Ok(live)
}

fn log(view: &View, report: &Report) {
    for object in &report.applied {
        tracing::info!(tenant = view.tenant, object = %object.id(), "applied");
    }
    for id in &report.deleted {
        tracing::info!(tenant = view.tenant, object = %id, "deleted");
    }
}

/// Whom an object for HTTPS is for.
fn https_owner(desired: &Desired, id: &ObjectId) -> Option<LoadBalancerId> {
    if !https::is_name(&id.key.name) {
        return None;
    }
    let is_its = |lb: &&LoadBalancerId| {
        let backend = https::backend_name(lb.namespace(), lb.name());
        id.key.name == https::name(lb.namespace(), lb.name()) || id.key.name.starts_with(&backend)
    };
    desired.https.keys().find(is_its).cloned()
}

fn summarize(
    ctx: &Context,
    view: &View,
    desired: &Desired,
    owners: &Owners<'_>,
    report: Report,
    foreign: Vec<ObjectId>,
) -> Applied {
    let lb_of = |id: &ObjectId| {
        let owner = owners.get(id.key.name.as_str());
        owner.filter(|_| id.kind == "Service").copied().cloned()
    };
    let mut refused = BTreeMap::new();
    let mut refused_https = BTreeMap::new();
    for id in foreign.iter().chain(&report.foreign) {
        ctx.metrics
            .refused
            .with_label_values(&[id.kind.as_str(), "NameConflict"])
            .inc();
        let message = format!("{id} exists and is not the manager's");
        tracing::warn!(tenant = view.tenant, object = %id, "not written: it exists and is not ours");
        if let Some(lb) = https_owner(desired, id) {
            refused_https.insert(lb, message.clone());
        }
        if let Some(lb) = lb_of(id) {
            refused.insert(
                lb,
                Refusal {
                    reason: reason::REASON_NAME_CONFLICT,
                    message,
                },
            );
        }
    }
    for error in &report.failed {
        let (ApplyError::Apply { id, source }
        | ApplyError::Get { id, source }
        | ApplyError::Delete { id, source }) = error
        else {
            continue;
        };
        ctx.metrics
            .refused
            .with_label_values(&[id.kind.as_str(), error.reason()])
            .inc();
        if error.is_transient() {
            continue;
        }
        if let Some(lb) = https_owner(desired, id) {
            refused_https.insert(lb, source.to_string());
        }
        if let Some(lb) = lb_of(id) {
            refused.insert(
                lb,
                Refusal {
                    reason: reason::REASON_NOT_APPLIED,
                    message: source.to_string(),
                },
            );
        }
    }
    Applied {
        refused,
        refused_https,
        more: false,
        failed: report.into_result().err(),
    }
}
