//! Whose status is likely to be another one as soon as the hub has said what became of the last change.

use std::collections::{BTreeMap, BTreeSet};

use api::v1alpha1::{GatewayScope, ParentKind};

use crate::engine::Judged;
use crate::facts;
use crate::kind::ObjectRef;
use crate::outcome::DesiredRoute;
use crate::route::JudgedParent;

/// UIDs of objects on their way to the hub that the hub has not answered for, and of the Gateways and ListenerSets
/// that count such routes.
pub(crate) fn provisional(judged: Judged, desired: &BTreeMap<String, DesiredRoute>) -> BTreeSet<String> {
    let Judged {
        index,
        gateways,
        sets,
        policies: _,
        routes,
    } = judged;
    let is_unanswered =
        |object: &ObjectRef| desired.contains_key(&object.uid) && facts::current(index.hub, object).is_none();
    let parent = |parent: &JudgedParent| {
        let key = (parent.namespace.clone(), parent.name.clone());
        let object = match parent.kind {
            ParentKind::Gateway => gateways.get(&key).map(|gateway| &gateway.object.reference),
            ParentKind::ListenerSet => sets.get(&key).map(|set| &set.object.reference),
        };
        object.map(|object| object.uid.clone())
    };
    let own_gateways = gateways.values().map(|gateway| &gateway.object.reference);
    let own_sets = sets.values().map(|set| &set.object.reference);
    let mut found: BTreeSet<String> = own_gateways
        .chain(own_sets)
        .filter(|object| is_unanswered(object))
        .map(|object| object.uid.clone())
        .collect();
    for route in routes
        .iter()
        .filter(|route| is_unanswered(&route.object.reference))
    {
        found.insert(route.object.reference.uid.clone());
        let own = route
            .parents
            .iter()
            .filter(|parent| parent.scope == GatewayScope::Tenant);
        found.extend(own.filter_map(parent));
    }
    found
}
