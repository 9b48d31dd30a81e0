//! What the Envoys of all tenants are served, on every replica alike.
//!
//! One snapshot holds what is recorded of every tenant. While it is not known what one tenant's should be, the Envoys keep
//! what they have: a part of the world is never published as the whole.

use std::collections::{BTreeMap, BTreeSet};

use controller_kit::driver::Outcome;

use super::{ServedById, hand_over, served, translate};
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
    let mut assessed: Vec<_> = (tenancies.iter()).flat_map(|tenancy| &tenancy.assessed).collect();
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
    let served = served(&parts, assessed, Site::Global);
    ctx.snapshots.parts.lock().insert(GLOBAL.to_owned(), parts);
    (ctx.snapshots.metrics).set_snapshot_size(GLOBAL, snapshots.values());
    (ctx.snapshots).keep_only(GLOBAL, snapshots.keys().cloned().collect());
    let published = hand_over(ctx, GLOBAL, snapshots);
    let before = ctx.snapshots.set_served(GLOBAL, &served);
    for namespace in changed(&before.unwrap_or_default(), &served) {
        ctx.triggers.load_balancer.trigger(namespace);
    }
    published.map(|()| Outcome::done())
}

/// Namespaces with something that is served otherwise than before.
fn changed(before: &ServedById, now: &ServedById) -> BTreeSet<String> {
    let all = before.keys().chain(now.keys());
    let differs = all.filter(|id| before.get(*id) != now.get(*id));
    differs.map(|id| id.namespace().to_owned()).collect()
}
