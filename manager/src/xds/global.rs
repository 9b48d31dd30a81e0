//! What the Envoys of all tenants are served, on every replica alike.
//!
//! One snapshot holds what is recorded of every tenant. While it is not known what one tenant's should be, the Envoys keep
//! what they have: a part of the world is never published as the whole.

use std::collections::{BTreeMap, BTreeSet};

use controller_kit::driver::Outcome;
use l4_xds::LoadBalancerId;

use super::{hand_over, served_of, translate};
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
    let mut assessed: Vec<_> = (tenancies.iter())
        .flat_map(|tenancy| tenancy.assessed.iter())
        .collect();
    assessed.sort_by(|one, other| one.id.cmp(&other.id));
    let frontends = assessed.iter().filter_map(|item| item.frontend(Site::Global));
    let before = ctx.snapshots.parts.lock().remove(GLOBAL).unwrap_or_default();
    let parts = translate(ctx, frontends, before);
    let snapshot = (ctx.snapshots).next(
        GLOBAL,
        &FleetId::Global,
        parts.iter().map(|translated| &translated.part),
    );
    let snapshots = BTreeMap::from([(FleetId::Global, snapshot)]);
    let served = served_of(&parts, assessed, Site::Global);
    ctx.snapshots.parts.lock().insert(GLOBAL.to_owned(), parts);
    (ctx.snapshots.metrics).set_snapshot_size(GLOBAL, snapshots.values());
    (ctx.snapshots).keep_only(GLOBAL, snapshots.keys().cloned().collect());
    let published = hand_over(ctx, GLOBAL, snapshots);
    let before = ctx.snapshots.set_served(GLOBAL, &served);
    let changed = served.changed_since(&before.unwrap_or_default());
    let namespaces: BTreeSet<&str> = changed.iter().map(LoadBalancerId::namespace).collect();
    for namespace in namespaces {
        ctx.triggers.load_balancer.trigger(namespace.to_owned());
    }
    published.map(|()| Outcome::done())
}
