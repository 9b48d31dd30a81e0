//! ListenerSets: whether their Gateway lets them attach, and what each of their listeners says. The Gateway is the
//! tenant's own, or one that the hub shares.

use std::collections::BTreeMap;

use api::condition::ConditionValue;
use api::v1alpha1::{GatewayScope, ParentKind, SharedGateway};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::conflict::{self, Taken};
use crate::engine::Gateways;
use crate::facts;
use crate::frontend::Frontend;
use crate::gateway::{self, JudgedGateway, condition};
use crate::index::Index;
use crate::listener::{self, JudgedListener};
use crate::model::{ListenerSetSpec, Object};
use crate::outcome::ListenerSetStatus;
use crate::parent;
use crate::reason::{self, Verdict};
use crate::unknown;

/// The ListenerSets whose Gateway is ours, by namespace and name.
pub(crate) type ListenerSets<'a> = BTreeMap<(String, String), JudgedListenerSet<'a>>;

/// A ListenerSet with all that can be said of it in the tenant cluster.
#[derive(Debug)]
pub(crate) struct JudgedListenerSet<'a> {
    pub object: &'a Object<'a, ListenerSetSpec>,
    /// Whose Gateway it is for.
    pub scope: GatewayScope,
    /// Namespace and name of its Gateway.
    pub gateway: (String, String),
    /// Why it is not attached, whatever its listeners are.
    pub refusal: Option<Verdict>,
    pub listeners: Vec<JudgedListener<'a>>,
}

impl JudgedListenerSet<'_> {
    /// It counts for its Gateway.
    pub fn attached(&self) -> bool {
        self.refusal.is_none() && self.listeners.iter().any(JudgedListener::servable)
    }

    /// The hub should have it.
    pub fn delegable(&self, gateways: &Gateways) -> bool {
        let served = || gateways.get(&self.gateway).is_some_and(JudgedGateway::served);
        self.attached() && (self.scope == GatewayScope::Hub || served())
    }

    fn precedence(&self) -> (bool, Option<&Time>, &str, &str) {
        let created = self.object.meta.creation_timestamp.as_ref();
        let reference = &self.object.reference;
        (created.is_none(), created, &reference.namespace, &reference.name)
    }
}

/// Judges every ListenerSet whose Gateway is ours, and settles the conflicts between all listeners of a Gateway.
pub(crate) fn judge<'a>(index: &'a Index, gateways: &mut Gateways) -> ListenerSets<'a> {
    let mut sets: ListenerSets = index
        .listener_sets
        .iter()
        .filter_map(|(key, object)| Some((key.clone(), judge_one(index, gateways, object)?)))
        .collect();
    let mut taken = BTreeMap::<(GatewayScope, (String, String)), Taken>::new();
    for (key, gateway) in gateways.iter_mut() {
        let taken = taken.entry((GatewayScope::Tenant, key.clone())).or_default();
        conflict::mark(&mut gateway.listeners, taken);
    }
    for shared in index.state().iter().flat_map(|state| &state.gateways) {
        let key = (shared.namespace.clone(), shared.name.clone());
        let taken = taken.entry((GatewayScope::Hub, key)).or_default();
        conflict::take_shared(&shared.listeners, taken);
    }
    let mut attached: Vec<_> = sets.values_mut().filter(|set| set.refusal.is_none()).collect();
    attached.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
    for set in attached {
        let taken = taken.entry((set.scope, set.gateway.clone())).or_default();
        conflict::mark(&mut set.listeners, taken);
    }
    sets
}

fn judge_one<'a>(
    index: &Index,
    gateways: &Gateways,
    object: &'a Object<'a, ListenerSetSpec>,
) -> Option<JudgedListenerSet<'a>> {
    let own = &object.meta.namespace;
    let key = gateway_of(object)?;
    // A Gateway of the tenant's own goes before one of the hub's with the same name, whoever serves it.
    if !index.gateways.contains_key(&key) {
        return judge_shared(index, object, key);
    }
    let gateway = gateways.get(&key)?;
    let listeners = listener::judge(
        index,
        &object.reference,
        &object.spec.listeners,
        &gateway.frontend,
    );
    Some(JudgedListenerSet {
        object,
        scope: GatewayScope::Tenant,
        refusal: unknown_refusal(object).or_else(|| refusal(index, gateway, own)),
        gateway: key,
        listeners,
    })
}

/// Namespace and name of the Gateway that it names.
fn gateway_of(object: &Object<ListenerSetSpec>) -> Option<(String, String)> {
    let parent_ref = &object.spec.parent_ref;
    let own = || object.meta.namespace.clone();
    let namespace = parent_ref.namespace.clone().unwrap_or_else(own);
    let is_gateway = parent_ref.parent_kind() == Some(ParentKind::Gateway);
    is_gateway.then(|| (namespace, parent_ref.name.clone()))
}

/// Its Gateway may be one of the hub's, which has not told us yet.
pub(crate) fn is_undecided(index: &Index, set: &(String, String)) -> bool {
    let gateway = index.listener_sets.get(set).and_then(gateway_of);
    index.state().is_none() && gateway.is_some_and(|gateway| !index.gateways.contains_key(&gateway))
}

/// Its Gateway is none of ours, and none that the hub may still tell of.
pub(crate) fn is_nobodys(index: &Index, object: &Object<ListenerSetSpec>) -> bool {
    let Some(key) = gateway_of(object) else {
        return true;
    };
    if let Some(gateway) = index.gateways.get(&key) {
        return index.class_of(gateway).is_none();
    }
    index.state().is_some_and(|state| {
        let is_it = |shared: &SharedGateway| shared.namespace == key.0 && shared.name == key.1;
        !state.gateways.iter().any(is_it)
    })
}

/// On a Gateway that the hub shares. The hub has the last word: it knows the other tenants.
fn judge_shared<'a>(
    index: &Index,
    object: &'a Object<'a, ListenerSetSpec>,
    key: (String, String),
) -> Option<JudgedListenerSet<'a>> {
    let gateways = &index.state()?.gateways;
    let shared = gateways
        .iter()
        .find(|shared| shared.namespace == key.0 && shared.name == key.1)?;
    let mut listeners = listener::judge(
        index,
        &object.reference,
        &object.spec.listeners,
        &Frontend::default(),
    );
    for (position, listener) in listeners.iter_mut().enumerate() {
        let hostname = listener.spec.hostname.as_deref().unwrap_or_default();
        if hostname.is_empty() && listener.refusal.is_none() {
            let message = format!(
                "spec.listeners[{position}].hostname: a listener on a shared Gateway needs a host name"
            );
            listener.refusal = Some(Verdict::new(reason::DOMAIN_NOT_ALLOWED, message));
        }
    }
    Some(JudgedListenerSet {
        object,
        scope: GatewayScope::Hub,
        refusal: unknown_refusal(object).or_else(|| shared_refusal(index, shared)),
        gateway: key,
        listeners,
    })
}

fn unknown_refusal(object: &Object<ListenerSetSpec>) -> Option<Verdict> {
    let field = unknown::in_parent_ref(&object.spec.parent_ref, "spec.parentRef")?;
    Some(Verdict::new(reason::UNSUPPORTED_VALUE, unknown::message(&field)))
}

fn shared_refusal(index: &Index, shared: &SharedGateway) -> Option<Verdict> {
    if index.disabled() {
        let message = "the Gateway API is switched off for this tenant";
        return Some(Verdict::new(reason::DISABLED, message));
    }
    (!shared.listener_sets).then(|| {
        let message = format!(
            "Gateway {}/{} of the hub takes no ListenerSets",
            shared.namespace, shared.name
        );
        Verdict::new(reason::NOT_ALLOWED, message)
    })
}

fn refusal(index: &Index, gateway: &JudgedGateway, namespace: &str) -> Option<Verdict> {
    let reference = &gateway.object.reference;
    let named = format!("Gateway {}/{}", reference.namespace, reference.name);
    if gateway.refusal.is_some() {
        let message = format!("{named} is not accepted");
        return Some(Verdict::new(reason::PARENT_NOT_ACCEPTED, message));
    }
    if let Some(field) = parent::listener_sets_unknown(&gateway.object.spec) {
        let message = format!("{named}: {}", unknown::message(&field));
        return Some(Verdict::new(reason::NOT_ALLOWED, message));
    }
    (!parent::listener_set_namespaces(&gateway.object.spec, &reference.namespace).admit(index, namespace))
        .then(|| {
            let message =
                format!("{named} does not let ListenerSets of this namespace attach (spec.allowedListeners)");
            Verdict::new(reason::NOT_ALLOWED, message)
        })
}

/// Why the ListenerSet as a whole is not accepted: for a reason of ours, or of the hub's.
pub(crate) fn not_accepted(index: &Index, set: &JudgedListenerSet) -> Option<Verdict> {
    let none_valid = || {
        (!set.attached()).then(|| {
            Verdict::new(
                reason::LISTENERS_NOT_VALID,
                gateway::listeners_message(&set.listeners),
            )
        })
    };
    let by_hub = || facts::current(index.hub, &set.object.reference).and_then(facts::Current::refusal);
    set.refusal.clone().or_else(none_valid).or_else(by_hub)
}

/// The wanted status, with the number of routes attached to each listener.
pub(crate) fn status(
    index: &Index,
    gateways: &Gateways,
    set: &JudgedListenerSet,
    attached: &BTreeMap<String, i32>,
) -> ListenerSetStatus {
    let programmed = programmed(index, gateways, set);
    let accepted = match not_accepted(index, set) {
        Some(refusal) => condition(reason::ACCEPTED, Err(refusal), ""),
        None if set.listeners.iter().all(JudgedListener::sound) => condition(
            reason::ACCEPTED,
            Ok(()),
            "the ListenerSet and all its listeners are valid",
        ),
        None => {
            let message = gateway::listeners_message(&set.listeners);
            ConditionValue::new(reason::ACCEPTED, true, reason::LISTENERS_NOT_VALID, message)
        }
    };
    let object = &set.object.reference;
    // What is not attached has no listeners anywhere.
    let listeners = set.listeners.iter().filter(|_| set.refusal.is_none());
    ListenerSetStatus {
        listeners: listeners
            .map(|l| gateway::listener_status(index, object, l, &programmed, attached))
            .collect(),
        conditions: vec![
            accepted,
            condition(reason::PROGRAMMED, programmed, "the hub serves this generation"),
        ],
    }
}

/// Programmed at the present generation, or why not. The hub alone can say that it is.
fn programmed(index: &Index, gateways: &Gateways, set: &JudgedListenerSet) -> Result<(), Verdict> {
    if let Some(Verdict { reason, message }) = not_accepted(index, set) {
        let reason = match reason {
            reason::PARENT_NOT_ACCEPTED => reason::PARENT_NOT_PROGRAMMED,
            other => other,
        };
        return Err(Verdict { reason, message });
    }
    if !set.delegable(gateways) {
        let (namespace, name) = &set.gateway;
        let message = format!("Gateway {namespace}/{name} is not served");
        return Err(Verdict::new(reason::PARENT_NOT_PROGRAMMED, message));
    }
    facts::programmed(index.hub, &set.object.reference)
}
