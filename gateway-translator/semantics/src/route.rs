//! Routes of every kind: which Gateways of ours they name, where they attach, and what their status says.

use api::condition::ConditionValue;
use api::v1alpha1::{GatewayReference, GatewayScope, ParentDecision, ParentKind};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::attach;
use crate::backends::{self, Backends};
use crate::engine::Gateways;
use crate::facts;
use crate::index::Index;
use crate::kind::{GATEWAY_GROUP, RouteKind};
use crate::listener_set::{self, JudgedListenerSet, ListenerSets};
use crate::model::{Object, ParentRef, RouteSpec};
use crate::outcome::ParentStatus;
use crate::parent::{self, Parent};
use crate::policy::Policies;
use crate::reason::{self, Verdict};
use crate::unknown;

/// A route with all that can be said of it in the tenant cluster.
#[derive(Debug)]
pub(crate) struct JudgedRoute<'a> {
    pub object: &'a Object<'a, RouteSpec>,
    /// One for each parentRef that is ours.
    pub parents: Vec<JudgedParent>,
    pub backends: Backends,
    /// Some parent may be a Gateway of the hub's, which has not told us yet.
    pub undecided: bool,
    /// ParentRefs that cannot be read.
    pub malformed: Vec<Verdict>,
}

/// A parentRef of ours.
#[derive(Debug)]
pub(crate) struct JudgedParent {
    pub reference: Value,
    pub scope: GatewayScope,
    pub kind: ParentKind,
    pub namespace: String,
    pub name: String,
    pub attached: Result<Vec<AttachedListener>, Verdict>,
}

/// A listener that the route is attached to.
#[derive(Debug)]
pub(crate) struct AttachedListener {
    pub name: String,
    pub port: i64,
    pub hostname: Option<String>,
    /// TLS goes through to the backends.
    pub passthrough: bool,
    pub servable: bool,
    /// Who is served there instead.
    pub lost_to: Option<String>,
}

/// A listener: whose it is, kind, namespace and name of its parent, and its own name.
pub(crate) type ListenerKey = (GatewayScope, ParentKind, String, String, String);

/// A Gateway: whose it is, namespace and name.
pub(crate) type GatewayKey = (GatewayScope, String, String);

impl JudgedParent {
    /// Identity of one of its listeners.
    pub fn listener_key(&self, listener: &AttachedListener) -> ListenerKey {
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        (self.scope, self.kind, namespace, name, listener.name.clone())
    }

    /// The Gateway that it is, or that it is attached to.
    pub fn gateway(&self, sets: &ListenerSets) -> GatewayKey {
        let own = (self.namespace.clone(), self.name.clone());
        let set = sets.get(&own).filter(|_| self.kind == ParentKind::ListenerSet);
        let (scope, (namespace, name)) = match set {
            Some(set) => (set.scope, set.gateway.clone()),
            None => (self.scope, own),
        };
        (scope, namespace, name)
    }
}

/// The tenant's own Gateways and ListenerSets that are ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owners<'a> {
    pub gateways: &'a Gateways<'a>,
    pub sets: &'a ListenerSets<'a>,
}

/// Who a parentRef leads to.
pub(crate) enum Leads<'a> {
    Ours(Parent<'a>),
    /// Ours, but attached to nothing.
    Adrift(&'a JudgedListenerSet<'a>),
    NotOurs,
    Undecided,
}

/// Judges a route.
pub(crate) fn judge<'a>(
    index: &Index,
    owners: Owners,
    policies: &Policies,
    kind: RouteKind,
    object: &'a Object<'a, RouteSpec>,
) -> JudgedRoute<'a> {
    let mut judged = JudgedRoute {
        object,
        parents: Vec::new(),
        backends: Backends::default(),
        undecided: false,
        malformed: Vec::new(),
    };
    for (position, reference) in object.spec.parent_refs.iter().enumerate() {
        let path = format!("spec.parentRefs[{position}]");
        match ParentRef::deserialize(reference) {
            Ok(parsed) => {
                let unknown = unknown::in_parent_ref(&parsed, &path);
                judge_parent(index, owners, reference, (&parsed, unknown), &mut judged);
            }
            Err(error) => {
                let message = format!("{path} cannot be read: {error}");
                judged.malformed.push(Verdict::new(reason::MALFORMED, message));
            }
        }
    }
    if object.spec.parent_refs.is_empty() {
        judge_default(index, &mut judged);
    }
    if !judged.parents.is_empty() || judged.undecided {
        judged.backends = backends::resolve(index, policies, kind, object, judged.ends_tls());
    }
    judged
}

fn judge_parent(
    index: &Index,
    owners: Owners,
    reference: &Value,
    (parsed, unknown): (&ParentRef, Option<String>),
    judged: &mut JudgedRoute,
) {
    let namespace = parsed
        .namespace
        .as_deref()
        .unwrap_or(&judged.object.meta.namespace);
    let parent = match leads(index, owners, parsed, namespace) {
        Leads::Ours(parent) => parent,
        Leads::Adrift(set) => {
            judged.parents.push(adrift(set, reference));
            return;
        }
        Leads::NotOurs => return,
        Leads::Undecided => {
            judged.undecided = true;
            return;
        }
    };
    let attached = match unknown {
        Some(field) => Err(Verdict::new(reason::UNSUPPORTED_VALUE, unknown::message(&field))),
        None => attach_to(index, judged.object, parsed, &parent),
    };
    judged.parents.push(JudgedParent {
        reference: with_defaults(reference),
        scope: parent.scope,
        kind: parent.kind,
        namespace: parent.namespace.to_owned(),
        name: parent.name.to_owned(),
        attached,
    });
}

/// A Gateway of the tenant's own goes before one of the hub's with the same name, whoever serves it.
pub(crate) fn leads<'a>(
    index: &Index<'a>,
    owners: Owners<'a>,
    parsed: &ParentRef,
    namespace: &str,
) -> Leads<'a> {
    let Owners { gateways, sets } = owners;
    let key = (namespace.to_owned(), parsed.name.clone());
    match parsed.parent_kind() {
        None => return Leads::NotOurs,
        Some(ParentKind::ListenerSet) => {
            return match sets.get(&key) {
                None if listener_set::is_undecided(index, &key) => Leads::Undecided,
                None => Leads::NotOurs,
                Some(set) if set.refusal.is_some() => Leads::Adrift(set),
                Some(set) => Leads::Ours(parent::listener_set(set, set.delegable(gateways))),
            };
        }
        Some(ParentKind::Gateway) => {}
    }
    if index.gateways.contains_key(&key) {
        return gateways
            .get(&key)
            .map_or(Leads::NotOurs, |gateway| Leads::Ours(parent::own(gateway)));
    }
    match parent::shared(index, namespace, &parsed.name) {
        Some(parent) => Leads::Ours(parent),
        None if index.state().is_none() => Leads::Undecided,
        None => Leads::NotOurs,
    }
}

fn adrift(set: &JudgedListenerSet, reference: &Value) -> JudgedParent {
    let (namespace, name) = (set.object.meta.namespace.clone(), set.object.meta.name.clone());
    let message = format!("ListenerSet {namespace}/{name} is not attached to its Gateway");
    JudgedParent {
        reference: with_defaults(reference),
        scope: GatewayScope::Tenant,
        kind: ParentKind::ListenerSet,
        namespace,
        name,
        attached: Err(Verdict::new(reason::NO_MATCHING_PARENT, message)),
    }
}

fn attach_to(
    index: &Index,
    route: &Object<RouteSpec>,
    parsed: &ParentRef,
    parent: &Parent,
) -> Result<Vec<AttachedListener>, Verdict> {
    if index.disabled() {
        return Err(Verdict::new(
            reason::DISABLED,
            "the Gateway API is switched off for this tenant",
        ));
    }
    let positions = attach::attach(index, route, parsed, parent)?;
    let listener = |position: &usize| {
        let listener = parent.listeners.get(*position)?;
        Some(AttachedListener {
            name: listener.name.to_owned(),
            port: listener.port,
            hostname: listener.hostname.map(str::to_owned),
            passthrough: listener.passthrough,
            servable: listener.servable,
            lost_to: None,
        })
    };
    Ok(positions.iter().filter_map(listener).collect())
}

fn judge_default(index: &Index, judged: &mut JudgedRoute) {
    if index.state().is_none() {
        judged.undecided = true;
    }
    let Some(GatewayReference { name, namespace }) = parent::default_gateway(index) else {
        return;
    };
    let parsed = ParentRef {
        name: name.clone(),
        ..ParentRef::default()
    };
    let attached = match parent::shared(index, namespace, name) {
        Some(parent) => attach_to(index, judged.object, &parsed, &parent),
        None => {
            let message = format!("the hub has no Gateway {namespace}/{name} for routes without parentRefs");
            Err(Verdict::new(reason::NO_MATCHING_PARENT, message))
        }
    };
    judged.parents.push(JudgedParent {
        reference: with_defaults(&json!({"namespace": namespace, "name": name})),
        scope: GatewayScope::Hub,
        kind: ParentKind::Gateway,
        namespace: namespace.clone(),
        name: name.clone(),
        attached,
    });
}

/// The reference with the defaults that the API server sets, so that what is wanted equals what is stored.
fn with_defaults(reference: &Value) -> Value {
    let mut reference = reference.clone();
    if let Some(fields) = reference.as_object_mut() {
        fields.entry("group").or_insert_with(|| json!(GATEWAY_GROUP));
        fields.entry("kind").or_insert_with(|| json!("Gateway"));
    }
    reference
}

impl JudgedRoute<'_> {
    /// TLS ends at some listener, so that what goes to the backends is plain without a policy. Where nothing is
    /// known of the listeners, that is the safe guess.
    fn ends_tls(&self) -> bool {
        let mut listeners = self
            .parents
            .iter()
            .flat_map(|parent| parent.attached.iter().flatten());
        listeners.any(|listener| !listener.passthrough)
    }

    /// The listeners that the hub should serve the route on, by Gateway or ListenerSet.
    pub fn decisions(&self) -> Vec<ParentDecision> {
        let mut decisions = std::collections::BTreeMap::<_, std::collections::BTreeSet<String>>::new();
        for parent in &self.parents {
            let servable = parent
                .attached
                .iter()
                .flatten()
                .filter(|listener| listener.servable && listener.lost_to.is_none());
            for listener in servable {
                let (namespace, name) = (parent.namespace.clone(), parent.name.clone());
                let key = (parent.scope, parent.kind, namespace, name);
                decisions.entry(key).or_default().insert(listener.name.clone());
            }
        }
        let decision = |((scope, kind, namespace, name), listeners): (_, std::collections::BTreeSet<_>)| {
            ParentDecision {
                scope,
                kind,
                namespace,
                name,
                listeners: listeners.into_iter().collect(),
            }
        };
        decisions.into_iter().map(decision).collect()
    }

    /// Why a parent does not accept the route: for a reason of ours, or of the hub's.
    pub fn refusal(&self, index: &Index, parent: &JudgedParent) -> Option<Verdict> {
        let own = parent.attached.as_ref().err().cloned();
        own.or_else(|| {
            let facts = facts::current(index.hub, &self.object.reference)?;
            facts
                .refusal()
                .or_else(|| facts.parent_refusal(parent.scope, parent.kind, &parent.namespace, &parent.name))
        })
    }

    /// Our wanted entries of `status.parents`.
    pub fn status(&self, index: &Index) -> Vec<ParentStatus> {
        let entry = |parent: &JudgedParent| ParentStatus {
            parent_ref: parent.reference.clone(),
            conditions: vec![
                accepted(self.refusal(index, parent), parent),
                resolved(&self.backends.problems),
            ],
        };
        self.parents.iter().map(entry).collect()
    }
}

fn accepted(refusal: Option<Verdict>, parent: &JudgedParent) -> ConditionValue {
    let lost = parent.attached.iter().flatten().filter_map(|listener| {
        let winner = listener.lost_to.as_ref()?;
        Some(format!(
            "; listener {} is left to {winner}, which goes first",
            listener.name
        ))
    });
    let attached = format!("the route is attached{}", lost.collect::<String>());
    match refusal {
        Some(Verdict { reason, message }) => ConditionValue::new(reason::ACCEPTED, false, reason, message),
        None => ConditionValue::new(reason::ACCEPTED, true, reason::ACCEPTED, attached),
    }
}

/// The first problem gives the reason, the message names them all.
fn resolved(problems: &[Verdict]) -> ConditionValue {
    let type_ = reason::RESOLVED_REFS;
    match problems.first() {
        Some(first) => {
            let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
            ConditionValue::new(type_, false, first.reason, messages.join("; "))
        }
        None => ConditionValue::new(type_, true, type_, "all references are resolved"),
    }
}
