//! Keeps the fleet of all tenants in order: its Envoys, and its hub Services, in the manager's namespace.
//!
//! One for all tenants, because ports of Envoy are given out over all of them together. What tenants are told of it, their
//! own runs tell. Only the lease holder gets past the first line.

pub mod gather;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use api::v1alpha1::{EnvoyProxyTopology, Tenant, TenantSpec};
use controller_kit::driver::Outcome;
use controller_kit::watch::List;
use l4_xds::LoadBalancerId;
use l4_xds::ports::PortRange;

use self::gather::{Gathered, gather};
use super::load_balancer::assess::View;
use super::load_balancer::plan::{Desired, Tenancy, plan_global};
use super::load_balancer::status::Refusal;
use super::load_balancer::{apply, fleets, gives_hostnames, next_look, refresh_hostnames};
use crate::context::{Context, Error, now};
use crate::settings::TenantSettings;
use crate::xds;

/// What there is to tell tenants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why hub Services could not be written.
    pub refused: BTreeMap<LoadBalancerId, Refusal>,
    /// Ports for which no Envoy port was left.
    pub exhausted: BTreeMap<LoadBalancerId, Vec<String>>,
}

/// The last findings, shared by the controllers.
#[derive(Debug, Default)]
pub struct FindingsCell(Mutex<Arc<Findings>>);

impl FindingsCell {
    /// What was found last.
    #[must_use]
    pub fn get(&self) -> Arc<Findings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, findings: Findings) -> Arc<Findings> {
        let mut cell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *cell, Arc::new(findings))
    }
}

impl Findings {
    fn changed_namespaces(&self, other: &Self) -> BTreeSet<String> {
        let refused = self.refused.keys().chain(other.refused.keys());
        let refused = refused.filter(|id| self.refused.get(*id) != other.refused.get(*id));
        let exhausted = self.exhausted.keys().chain(other.exhausted.keys());
        let exhausted = exhausted.filter(|id| self.exhausted.get(*id) != other.exhausted.get(*id));
        refused
            .chain(exhausted)
            .map(|id| id.namespace().to_owned())
            .collect()
    }
}

/// One run.
///
/// # Errors
/// When something could not be written; the rest was.
pub async fn run(ctx: &Context) -> Result<Outcome, Error> {
    if !ctx.leads() || ctx.stores.proof().is_none() {
        return Ok(Outcome::done());
    }
    let tenancies = match gather(ctx) {
        Gathered::Nothing => {
            tell(ctx, Findings::default());
            return Ok(Outcome::done());
        }
        Gathered::Unknown(namespace) => {
            tracing::error!(
                namespace,
                "not all is known of it: nothing is changed for any tenant"
            );
            return Ok(Outcome::done());
        }
        Gathered::Tenancies(tenancies) => with_hostnames(ctx, tenancies),
    };
    let (view, settings) = own_view(ctx, &tenancies);
    let mut memory = ctx.memories.take(&view.namespace);
    let desired = plan_global(
        &tenancies,
        &view.namespace,
        &view.workloads,
        settings.envoy.kind,
        &PortRange::default(),
        now(),
        &mut memory.built,
    );
    let applied = apply::run(ctx, &view, &desired, &mut memory).await?;
    if !desired.services.is_empty() {
        ctx.memories.put(&view.namespace, memory);
    }
    let findings = Findings {
        refused: applied.refused.clone(),
        exhausted: desired.exhausted.clone(),
    };
    tell(ctx, findings);
    measure(ctx, &view, &settings, &desired);
    let more = applied.more;
    applied.into_result()?;
    Ok(next_look(&desired, more, now()))
}

/// Gives host names out before any hub Service is written: after a start nobody has one yet, and a Service that is written
/// without loses the record of its own.
fn with_hostnames(ctx: &Context, mut tenancies: Vec<Tenancy>) -> Vec<Tenancy> {
    let mut settings = (tenancies.iter()).filter_map(|tenancy| tenancy.view.settings.as_ref());
    if settings.any(gives_hostnames) {
        refresh_hostnames(ctx);
        for tenancy in &mut tenancies {
            tenancy.view.hostnames = ctx.hostnames.get();
        }
    }
    tenancies
}

/// The manager's namespace, with what the Config says: no Tenant may change what is for all.
fn own_view(ctx: &Context, tenancies: &[Tenancy]) -> (View, TenantSettings) {
    let mut settings = ctx.settings(&Tenant::new("", TenantSpec::default()));
    let ranges = tenancies
        .iter()
        .filter_map(|tenancy| tenancy.view.settings.as_ref());
    let ranges = ranges.flat_map(|settings| settings.endpoint_policy.allowed.clone());
    let ranges: BTreeSet<_> = ranges.chain(settings.endpoint_policy.allowed.clone()).collect();
    settings.endpoint_policy.allowed = ranges.into_iter().collect();
    let namespace = ctx.options.namespace.clone();
    let view = View {
        tenant: String::new(),
        settings: Some(settings.clone()),
        load_balancers: List::default(),
        addresses: Vec::new(),
        services: ctx.stores.services.list(&namespace),
        global_services: Vec::new(),
        workloads: xds::workloads(ctx, &namespace),
        hostnames: Arc::default(),
        gateway_api: false,
        namespace,
        translation: ctx.options.translation,
    };
    (view, settings)
}

fn tell(ctx: &Context, findings: Findings) {
    let before = ctx.global.replace(findings.clone());
    for namespace in before.changed_namespaces(&findings) {
        ctx.triggers.load_balancer.trigger(namespace);
    }
}

fn measure(ctx: &Context, view: &View, settings: &TenantSettings, desired: &Desired) {
    let namespace = view.namespace.as_str();
    let topology = EnvoyProxyTopology::Global.as_str();
    if desired.fleets.is_empty() {
        // That there were none is no error.
        let _ = ctx
            .metrics
            .envoy_proxies
            .remove_label_values(&[namespace, topology]);
        let _ = ctx.metrics.allocated_ports.remove_label_values(&[namespace]);
        return;
    }
    let envoys = (desired.fleets.iter())
        .map(|(id, fleet)| fleets::envoys(id, fleet, &view.workloads, settings))
        .sum();
    (ctx.metrics
        .envoy_proxies
        .with_label_values(&[namespace, topology]))
    .set(envoys);
    ctx.metrics.set_allocated_ports(namespace, desired.ports);
}
