//! ReferenceGrants: who may refer to what in another namespace.

use std::collections::BTreeMap;

use crate::kind::{GATEWAY_GROUP, ObjectKind, ObjectRef};
use crate::model::{GrantSpec, GrantTo, Object};

/// All grants, by the namespace that they open.
#[derive(Debug, Default)]
pub(crate) struct Grants(BTreeMap<String, Vec<GrantSpec>>);

impl Grants {
    /// Collects the grants.
    pub fn new<'a>(grants: impl Iterator<Item = Object<'a, GrantSpec>>) -> Self {
        let mut by_namespace = BTreeMap::<String, Vec<GrantSpec>>::new();
        for grant in grants {
            by_namespace
                .entry(grant.meta.namespace)
                .or_default()
                .push(grant.spec);
        }
        Self(by_namespace)
    }

    /// True when `from` may refer to the core object `kind` `namespace`/`name`. Within one namespace it always may.
    pub fn permit(&self, from: &ObjectRef, kind: &str, namespace: &str, name: &str) -> bool {
        from.namespace == namespace
            || self
                .0
                .get(namespace)
                .is_some_and(|grants| grants.iter().any(|g| grants_to(g, from, kind, name)))
    }
}

fn grants_to(grant: &GrantSpec, from: &ObjectRef, kind: &str, name: &str) -> bool {
    grants_from(grant, from.kind, &from.namespace) && grant.to.iter().any(|to| names(to, kind, name))
}

fn grants_from(grant: &GrantSpec, kind: ObjectKind, namespace: &str) -> bool {
    grant
        .from
        .iter()
        .any(|from| from.group == GATEWAY_GROUP && from.kind == kind.as_str() && from.namespace == namespace)
}

fn names(to: &GrantTo, kind: &str, name: &str) -> bool {
    // An empty name is written by clients that do not leave out what they do not set.
    let name_fits = to
        .name
        .as_deref()
        .is_none_or(|wanted| wanted.is_empty() || wanted == name);
    to.group.is_empty() && to.kind == kind && name_fits
}
