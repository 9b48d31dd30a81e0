//! What the Envoys of all tenants are served, on every replica alike.
//!
//! One snapshot holds what is recorded of every tenant. While it is not known what one tenant's should be, the Envoys keep
//! what they have: a part of the world is never published as the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use controller_kit::driver::Outcome;
use l4_xds::LoadBalancerId;
use l4_xds::snapshot::Snapshot;

use super::{Served, complete, hand_over, served, translate};
use crate::context::{Context, Error};
use crate::controller::global::gather::{Gathered, gather};
use crate::controller::load_balancer::sites::Site;
use crate::fleet::{FleetId, GLOBAL};

/// Publishes the snapshot.
///
/// # Errors
/// When it contradicts itself.
pub fn publish(ctx: &Context) -> Result<Outcome, Error> {
    if ctx.stores.proof().is_none() {
        return Ok(Outcome::done());
    }
    let tenancies = match gather(ctx) {
        Gathered::Nothing => {
            ctx.snapshots.forget(GLOBAL);
            // That there was none is no error.
            let _ = ctx.metrics.snapshot_updates.remove_label_values(&[GLOBAL]);
            return Ok(Outcome::done());
        }
        Gathered::Unknown(namespace) => {
            tracing::error!(
                namespace,
                "not all is known of it: the Envoys of all tenants keep what they have"
            );
            return Ok(Outcome::done());
        }
        Gathered::Tenancies(tenancies) => tenancies,
    };
    let assessed = tenancies.iter().flat_map(|tenancy| &tenancy.assessed);
    let frontends = assessed.clone().filter_map(|item| item.frontend(Site::Global));
    let before = ctx.snapshots.parts.lock().remove(GLOBAL).unwrap_or_default();
    let parts = translate(ctx, frontends.collect(), before);
    let snapshot = Snapshot::assemble(parts.values().map(|(_, part)| part.as_ref()));
    let snapshots = BTreeMap::from([(FleetId::Global, snapshot)]);
    let served = served(&parts, snapshots.values(), &complete(assessed, Site::Global));
    ctx.snapshots.parts.lock().insert(GLOBAL.to_owned(), parts);
    (ctx.snapshots.metrics).set_snapshot_size(GLOBAL, snapshots.values());
    (ctx.snapshots).keep_only(GLOBAL, snapshots.keys().cloned().collect());
    let published = hand_over(ctx, GLOBAL, snapshots);
    let before = (ctx.snapshots.served.lock()).insert(GLOBAL.to_owned(), Arc::new(served.clone()));
    for namespace in changed(&before.unwrap_or_default(), &served) {
        ctx.triggers.load_balancer.trigger(namespace);
    }
    published.map(|()| Outcome::done())
}

/// Namespaces with something that is served otherwise than before.
fn changed(
    before: &BTreeMap<LoadBalancerId, Served>,
    now: &BTreeMap<LoadBalancerId, Served>,
) -> BTreeSet<String> {
    let all = before.keys().chain(now.keys());
    let differs = all.filter(|id| before.get(*id) != now.get(*id));
    differs.map(|id| id.namespace().to_owned()).collect()
}
