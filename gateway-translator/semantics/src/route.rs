//! Routes of every kind: which Gateways of ours they name, where they attach, and what their status says.

use api::condition::ConditionValue;
use api::v1alpha1::{GatewayReference, GatewayScope, ParentDecision};
use serde_json::{Value, json};

use crate::attach;
use crate::backends::{self, Backends};
use crate::engine::Gateways;
use crate::facts;
use crate::index::Index;
use crate::kind::{GATEWAY_GROUP, RouteKind};
use crate::model::{Object, ParentRef, RouteSpec};
use crate::outcome::ParentStatus;
use crate::parent::{self, Parent};
use crate::reason::{self, Verdict};

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
    pub namespace: String,
    pub name: String,
    pub attached: Result<Vec<AttachedListener>, Verdict>,
}

/// A listener that the route is attached to.
#[derive(Debug)]
pub(crate) struct AttachedListener {
    pub name: String,
    pub servable: bool,
}

/// Who a parentRef leads to.
enum Leads<'a> {
    Ours(Parent<'a>),
    NotOurs,
    Undecided,
}

/// Judges a route.
pub(crate) fn judge<'a>(
    index: &Index,
    gateways: &Gateways,
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
        match serde_json::from_value::<ParentRef>(reference.clone()) {
            Ok(parsed) => judge_parent(index, gateways, reference, &parsed, &mut judged),
            Err(error) => {
                let message = format!("spec.parentRefs[{position}] cannot be read: {error}");
                judged.malformed.push(Verdict::new(reason::MALFORMED, message));
            }
        }
    }
    if object.spec.parent_refs.is_empty() {
        judge_default(index, &mut judged);
    }
    if !judged.parents.is_empty() || judged.undecided {
        judged.backends = backends::resolve(index, kind, object);
    }
    judged
}

fn judge_parent(
    index: &Index,
    gateways: &Gateways,
    reference: &Value,
    parsed: &ParentRef,
    judged: &mut JudgedRoute,
) {
    let namespace = parsed
        .namespace
        .as_deref()
        .unwrap_or(&judged.object.meta.namespace);
    let parent = match leads(index, gateways, parsed, namespace) {
        Leads::Ours(parent) => parent,
        Leads::NotOurs => return,
        Leads::Undecided => {
            judged.undecided = true;
            return;
        }
    };
    let attached = attach_to(index, judged.object, parsed, &parent);
    judged.parents.push(JudgedParent {
        reference: with_defaults(reference),
        scope: parent.scope,
        namespace: parent.namespace.to_owned(),
        name: parent.name.to_owned(),
        attached,
    });
}

/// A Gateway of the tenant's own goes before one of the hub's with the same name, whoever serves it.
fn leads<'a>(index: &Index<'a>, gateways: &'a Gateways, parsed: &ParentRef, namespace: &str) -> Leads<'a> {
    if !parsed.is_gateway() {
        return Leads::NotOurs;
    }
    let key = (namespace.to_owned(), parsed.name.clone());
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
            servable: listener.servable,
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
    /// The listeners that the hub should serve the route on, by Gateway.
    pub fn decisions(&self) -> Vec<ParentDecision> {
        let mut decisions = std::collections::BTreeMap::<_, std::collections::BTreeSet<String>>::new();
        for parent in &self.parents {
            let servable = parent
                .attached
                .iter()
                .flatten()
                .filter(|listener| listener.servable);
            for listener in servable {
                let key = (parent.scope, parent.namespace.clone(), parent.name.clone());
                decisions.entry(key).or_default().insert(listener.name.clone());
            }
        }
        let decision =
            |((scope, namespace, name), listeners): (_, std::collections::BTreeSet<_>)| ParentDecision {
                scope,
                namespace,
                name,
                listeners: listeners.into_iter().collect(),
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
                .or_else(|| facts.parent_refusal(parent.scope, &parent.namespace, &parent.name))
        })
    }

    /// Our wanted entries of `status.parents`.
    pub fn status(&self, index: &Index) -> Vec<ParentStatus> {
        let entry = |parent: &JudgedParent| ParentStatus {
            parent_ref: parent.reference.clone(),
            conditions: vec![
                accepted(self.refusal(index, parent)),
                resolved(&self.backends.problems),
            ],
        };
        self.parents.iter().map(entry).collect()
    }
}

fn accepted(refusal: Option<Verdict>) -> ConditionValue {
    match refusal {
        Some(Verdict { reason, message }) => ConditionValue::new(reason::ACCEPTED, false, reason, message),
        None => ConditionValue::new(reason::ACCEPTED, true, reason::ACCEPTED, "the route is attached"),
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
