//! What a hub route is attached to: listeners of hub Gateways and of hub ListenerSets.

use api::v1alpha1::{GatewayScope, ParentDecision, ParentKind, SharedGateway, route_condition as condition};
use serde_json::{Value, json};

use super::Context;
use crate::input::Input;
use crate::names;
use crate::origin::Source;
use crate::output::{Kind, ObjectKey};
use crate::verdict::Problem;

/// Most parentRefs that the API server takes.
const MAX_PARENT_REFS: usize = 32;

/// One listener on the hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attachment {
    /// The Gateway or ListenerSet that has it.
    pub(crate) owner: ObjectKey,
    /// Its name there.
    pub(crate) listener: String,
}

impl Attachment {
    /// The parentRef of a route in `namespace`.
    pub(crate) fn parent_ref(&self, namespace: &str) -> Value {
        let Self { owner, listener } = self;
        let mut reference = parent_ref(owner, namespace);
        if let Some(fields) = reference.as_object_mut() {
            fields.insert("sectionName".to_owned(), listener.clone().into());
        }
        reference
    }
}

/// A reference from `namespace` to a Gateway or ListenerSet.
pub(crate) fn parent_ref(owner: &ObjectKey, namespace: &str) -> Value {
    let mut reference = json!({"name": owner.name});
    if let Some(fields) = reference.as_object_mut() {
        if owner.kind != Kind::Gateway {
            fields.insert("kind".to_owned(), owner.kind.as_str().into());
        }
        if owner.namespace != namespace {
            fields.insert("namespace".to_owned(), owner.namespace.clone().into());
        }
    }
    reference
}

/// Identity on the hub of what a route is attached to.
pub(crate) fn owner(input: &Input, parent: &ParentDecision) -> ObjectKey {
    let ParentDecision {
        scope,
        kind,
        namespace,
        name,
        listeners: _,
    } = parent;
    match (scope, kind) {
        (GatewayScope::Hub, ParentKind::Gateway) => ObjectKey::new(Kind::Gateway, namespace, name),
        (GatewayScope::Tenant, ParentKind::Gateway) => {
            ObjectKey::new(Kind::Gateway, &input.namespace, names::gateway(namespace, name))
        }
        (_, ParentKind::ListenerSet) => ObjectKey::new(
            Kind::ListenerSet,
            &input.namespace,
            names::listener_set(namespace, name),
        ),
    }
}

/// The listeners of a route, each once.
pub(crate) fn attachments(context: &Context<'_>, source: &Source<'_>) -> Result<Vec<Attachment>, Problem> {
    let mut all: Vec<Attachment> = Vec::new();
    for parent in &source.route.spec.parents {
        check(context, source, parent)?;
        let owner = owner(context.input, parent);
        for listener in &parent.listeners {
            let attachment = Attachment {
                owner: owner.clone(),
                listener: listener.clone(),
            };
            if !all.contains(&attachment) {
                all.push(attachment);
            }
        }
    }
    match all.len() {
        0 => Err(Problem::unsupported(
            "spec.parents names no listener, so that the route is attached to nothing.",
        )),
        1..=MAX_PARENT_REFS => Ok(all),
        many => Err(Problem::unsupported(format!(
            "spec.parents names {many} listeners; a route can be attached to {MAX_PARENT_REFS} at most."
        ))),
    }
}

fn check(context: &Context<'_>, source: &Source<'_>, parent: &ParentDecision) -> Result<(), Problem> {
    let ParentDecision {
        scope,
        kind: _,
        namespace,
        name,
        listeners,
    } = parent;
    if *scope == GatewayScope::Tenant {
        return Ok(());
    }
    let gateway = shared_gateway(context, parent)?;
    let kind = source.kind.as_str();
    for listener in listeners {
        let found = gateway.listeners.iter().find(|l| l.name == *listener);
        if !found.is_some_and(|l| l.kinds.is_empty() || l.kinds.iter().any(|k| k == kind)) {
            return Err(Problem::new(
                condition::REASON_GATEWAY_NOT_ALLOWED,
                format!(
                    "The listener {listener:?} of the Gateway {namespace}/{name} does not take this {kind}."
                ),
            ));
        }
    }
    Ok(())
}

/// The shared Gateway that a parent names, if the tenant may use it.
pub(crate) fn shared_gateway<'c>(
    context: &Context<'c>,
    parent: &ParentDecision,
) -> Result<&'c SharedGateway, Problem> {
    let ParentDecision {
        scope: _,
        kind,
        namespace,
        name,
        listeners: _,
    } = parent;
    let shared = &context.settings.shared_gateways;
    let found = shared
        .iter()
        .find(|g| *kind == ParentKind::Gateway && g.namespace == *namespace && g.name == *name);
    found.ok_or_else(|| {
        Problem::new(
            condition::REASON_GATEWAY_NOT_ALLOWED,
            format!(
                "The tenant may not use the {} {namespace}/{name} of the hub.",
                kind.as_str()
            ),
        )
    })
}
