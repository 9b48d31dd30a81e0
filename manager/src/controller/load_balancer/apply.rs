//! Writes what one tenant's L4 needs and removes what it does not need any more.

use std::collections::BTreeMap;

use api::meta;
use api::v1alpha1::load_balancer_condition as reason;
use controller_kit::ReconcileError;
use controller_kit::apply::{ApplyError, Report};
use controller_kit::diff::plan as diff;
use controller_kit::object::{Object, ObjectError, ObjectId};
use gateway_translator::Kind;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::assess::View;
use super::plan::Desired;
use super::status::Refusal;
use crate::build::envoy::{self, CERTIFICATE_SECRET, Fleet, FleetObjects};
use crate::build::{component, https, hub_service};
use crate::context::{Context, Error, made_for, now};
use crate::controller::pki as server_pki;
use crate::pki::{self, Place, Purpose};
use crate::stores::api_resource;

/// What came of it.
#[derive(Debug, Default)]
pub struct Applied {
    /// LoadBalancers whose Service could not be written, by name.
    pub refused: BTreeMap<String, Refusal>,
    /// Why HTTPS of a LoadBalancer could not be written, by its name.
    pub refused_https: BTreeMap<String, String>,
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
pub async fn run(ctx: &Context, view: &View, desired: &Desired) -> Result<Applied, Error> {
    let certificate = if desired.fleet {
        due_certificate(ctx, view)?
    } else {
        None
    };
    let keep_certificate = desired.fleet && certificate.is_none();
    let objects = objects(ctx, view, desired, certificate.as_ref())?;
    let live = live(ctx, view, keep_certificate)?;
    let plan = diff(objects, &live, made_for(&view.tenant));
    let foreign = plan.foreign.clone();
    // A LoadBalancer that cannot be read looks as if it were gone.
    let unread = ctx
        .stores
        .load_balancers
        .undecodable()
        .iter()
        .any(|key| key.namespace == view.namespace);
    let synced = ctx.stores.proof().filter(|_| !unread);
    let report = ctx
        .applier
        .execute(plan, synced.as_ref(), made_for(&view.tenant))
        .await;
    log(view, &report);
    Ok(summarize(ctx, view, report, foreign))
}

/// Everything that shall be there. The certificate is made only when it is due, so that it stays as it is.
fn objects(
    ctx: &Context,
    view: &View,
    desired: &Desired,
    certificate: Option<&Secret>,
) -> Result<Vec<Object>, Error> {
    let mut objects = desired
        .services
        .iter()
        .map(Object::typed)
        .collect::<Result<Vec<_>, _>>()?;
    for https in desired.https.values() {
        objects.extend(https.objects()?);
    }
    let Some(settings) = view.settings.as_ref().filter(|_| desired.fleet) else {
        return Ok(objects);
    };
    let FleetObjects {
        service_account,
        config_map,
        deployment,
        disruption_budget,
    } = envoy::objects(&Fleet {
        tenant: &view.tenant,
        namespace: &view.namespace,
        settings: &settings.envoy,
        default_image: &ctx.options.envoy_image,
        bootstrap: &ctx.options.bootstrap,
    });
    objects.push(Object::typed(&service_account)?);
    objects.push(Object::typed(&config_map)?);
    objects.push(Object::typed(&deployment)?);
    objects.extend(disruption_budget.as_ref().map(Object::typed).transpose()?);
    objects.extend(certificate.map(Object::typed).transpose()?);
    Ok(objects)
}

/// A new certificate, where one is due.
fn due_certificate(ctx: &Context, view: &View) -> Result<Option<Secret>, Error> {
    let authority = server_pki::authority(ctx)?;
    let Ok(fleet) = view.namespace.parse() else {
        return Ok(None);
    };
    let purpose = Purpose::Fleet(l4_xds::identity::fleet_uri(&fleet));
    let live = ctx.stores.secrets.get(&view.namespace, CERTIFICATE_SECRET);
    if !pki::is_due(live.as_deref(), &purpose, Some(&authority), now()) {
        return Ok(None);
    }
    let place = Place {
        namespace: &view.namespace,
        name: CERTIFICATE_SECRET,
        tenant: &view.tenant,
        component: component::ENVOY,
    };
    Ok(Some(pki::leaf(&place, &purpose, &authority, now())?))
}

/// What is there of ours. A certificate that stays as it is is left out: it is compared with nothing.
fn live(ctx: &Context, view: &View, keep_certificate: bool) -> Result<Vec<Object>, Error> {
    let (stores, namespace) = (&ctx.stores, view.namespace.as_str());
    let mut all = stores.services.objects_in(namespace)?;
    all.extend(stores.service_accounts.objects_in(namespace)?);
    all.extend(stores.config_maps.objects_in(namespace)?);
    all.extend(stores.deployments.objects_in(namespace)?);
    all.extend(stores.disruption_budgets.objects_in(namespace)?);
    if !keep_certificate {
        all.extend(stores.secrets.objects_in(namespace)?);
    }
    let ours = [component::LOAD_BALANCER, component::ENVOY, component::HTTPS];
    all.retain(|object| {
        object
            .label(meta::COMPONENT_LABEL)
            .is_some_and(|component| ours.contains(&component))
    });
    all.extend(live_https(ctx, namespace)?);
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
fn https_owner(view: &View, id: &ObjectId) -> Option<String> {
    if !https::is_name(&id.key.name) {
        return None;
    }
    let names = view.load_balancers.iter().map(|lb| lb.name_any());
    names.into_iter().find(|name| {
        let backend = https::backend_name(&view.namespace, name);
        id.key.name == https::name(&view.namespace, name) || id.key.name.starts_with(&backend)
    })
}

fn summarize(ctx: &Context, view: &View, report: Report, foreign: Vec<ObjectId>) -> Applied {
    let services: BTreeMap<String, String> = (view.load_balancers.iter())
        .map(|lb| (hub_service::name(&view.namespace, &lb.name_any()), lb.name_any()))
        .collect();
    let lb_of = |id: &ObjectId| {
        services
            .get(&id.key.name)
            .filter(|_| id.kind == "Service")
            .cloned()
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
        if let Some(lb) = https_owner(view, id) {
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
        if let Some(lb) = https_owner(view, id) {
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
        failed: report.into_result().err(),
    }
}
