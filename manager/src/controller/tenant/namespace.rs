//! Whose namespace is it? Pure.
//!
//! A Tenant may take a namespace that does not exist, that is empty, or that is its own already. It never takes
//! one that holds somebody's things, nor one that another Tenant has.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::meta;
use api::names::TenantNamespace;
use api::v1alpha1::Tenant;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;

use crate::build::is_ours;

/// What to do about a Tenant's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It does not exist: make it.
    Create,
    /// It is this Tenant's.
    Own,
    /// Somebody made it beforehand: take it if it turns out to be empty.
    AdoptIfEmpty,
    /// It is being deleted: wait.
    Terminating,
    /// This other Tenant has it.
    Taken(String),
}

/// Decides. `rivals` are all Tenants of this namespace, with this one.
#[must_use]
pub fn claim(tenant: &Tenant, rivals: &[Arc<Tenant>], namespace: Option<&Namespace>) -> Claim {
    if let Some(holder) = holder(rivals, namespace)
        && holder.uid() != tenant.uid()
    {
        return Claim::Taken(holder.name_any());
    }
    match namespace {
        None => Claim::Create,
        Some(ns) if ns.metadata.deletion_timestamp.is_some() => Claim::Terminating,
        Some(ns) if is_ours(&ns.metadata) => Claim::Own,
        Some(_) => Claim::AdoptIfEmpty,
    }
}

/// The Tenant that the namespace says it belongs to, if there still is such a one; else the oldest.
fn holder<'a>(rivals: &'a [Arc<Tenant>], namespace: Option<&Namespace>) -> Option<&'a Arc<Tenant>> {
    let recorded = namespace.filter(|ns| is_ours(&ns.metadata)).and_then(owner_uid);
    let by_record = rivals
        .iter()
        .find(|tenant| recorded.is_some() && tenant.uid().as_deref() == recorded);
    by_record.or_else(|| {
        rivals
            .iter()
            .min_by_key(|t| (t.metadata.creation_timestamp.as_ref().map(|t| t.0), t.uid()))
    })
}

fn owner_uid(namespace: &Namespace) -> Option<&str> {
    namespace.annotations().get(meta::ORIGIN_UID).map(String::as_str)
}

/// All Tenants that would have `namespace`.
#[must_use]
pub fn rivals(tenants: &[Arc<Tenant>], namespace: &str) -> Vec<Arc<Tenant>> {
    let same = |tenant: &&Arc<Tenant>| {
        TenantNamespace::of(&tenant.name_any()).is_ok_and(|n| n.as_str() == namespace)
    };
    tenants.iter().filter(same).cloned().collect()
}

/// The names that a Tenant of this namespace can have.
#[must_use]
pub fn tenant_names(namespace: &str) -> Vec<String> {
    let short = namespace.strip_prefix(api::names::TENANT_NAMESPACE_PREFIX);
    short
        .map(|short| vec![namespace.to_owned(), short.to_owned()])
        .unwrap_or_default()
}

/// True where the namespace belongs to this very Tenant.
#[must_use]
pub fn belongs_to(namespace: &Namespace, tenant: &Tenant) -> bool {
    is_ours(&namespace.metadata)
        && namespace
            .labels()
            .get(meta::TENANT_LABEL)
            .is_some_and(|name| *name == tenant.name_any())
        && owner_uid(namespace) == tenant.uid().as_deref()
}

/// What a namespace holds that was not made by Kubernetes itself: kind to names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents(pub BTreeMap<&'static str, Vec<String>>);

impl Contents {
    /// Adds what was listed, without what every namespace has.
    pub fn add(&mut self, kind: &'static str, names: impl IntoIterator<Item = String>) {
        let foreign: Vec<String> = names
            .into_iter()
            .filter(|name| !is_made_by_kubernetes(kind, name))
            .collect();
        if !foreign.is_empty() {
            self.0.insert(kind, foreign);
        }
    }

    /// A sentence that names some of it; none where there is nothing.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let parts: Vec<String> = (self.0.iter())
            .filter_map(|(kind, names)| names.first().map(|name| format!("{kind} {name:?}")))
            .collect();
        (!parts.is_empty()).then(|| format!("the namespace is not empty: it holds {}", parts.join(", ")))
    }
}

fn is_made_by_kubernetes(kind: &str, name: &str) -> bool {
    match kind {
        "ServiceAccount" => name == "default",
        "ConfigMap" => name == "kube-root-ca.crt",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tenant(name: &str, uid: &str, second: i64) -> Arc<Tenant> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "uid": uid,
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")}, "spec": {}}))
            .unwrap(),
        )
    }

    fn namespace(metadata: serde_json::Value) -> Namespace {
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    fn ours(uid: &str) -> Namespace {
        namespace(
            json!({"name": "tenant-a", "labels": {"kubelb.k8c.io/managed-by": "kubelb",
            "kubelb.k8c.io/tenant": "a"}, "annotations": {"kubelb.k8c.io/origin-uid": uid}}),
        )
    }

    #[test]
    fn a_namespace_is_made_or_adopted_only_when_somebody_looked_into_it() {
        let a = tenant("a", "1", 0);
        assert_eq!(claim(&a, std::slice::from_ref(&a), None), Claim::Create);
        let foreign = namespace(json!({"name": "tenant-a"}));
        assert_eq!(
            claim(&a, std::slice::from_ref(&a), Some(&foreign)),
            Claim::AdoptIfEmpty
        );
        assert_eq!(claim(&a, std::slice::from_ref(&a), Some(&ours("1"))), Claim::Own);
    }

    #[test]
    fn of_two_tenants_the_one_that_has_the_namespace_keeps_it() {
        let (older, newer) = (tenant("a", "1", 0), tenant("tenant-a", "2", 1));
        let both = [older.clone(), newer.clone()];
        assert_eq!(claim(&newer, &both, None), Claim::Taken("a".into()));
        assert_eq!(claim(&newer, &both, Some(&ours("2"))), Claim::Own);
        assert_eq!(
            claim(&older, &both, Some(&ours("2"))),
            Claim::Taken("tenant-a".into())
        );
    }

    #[test]
    fn a_namespace_of_a_tenant_that_is_no_more_goes_to_the_oldest() {
        let a = tenant("a", "made anew", 0);
        assert_eq!(
            claim(&a, std::slice::from_ref(&a), Some(&ours("gone"))),
            Claim::Own
        );
        assert!(!belongs_to(&ours("gone"), &a));
        assert!(belongs_to(&ours("made anew"), &a));
    }

    #[test]
    fn a_namespace_that_is_going_is_waited_for() {
        let a = tenant("a", "1", 0);
        let going = namespace(json!({"name": "tenant-a", "deletionTimestamp": "2026-01-01T00:00:00Z"}));
        assert_eq!(
            claim(&a, std::slice::from_ref(&a), Some(&going)),
            Claim::Terminating
        );
    }

    #[test]
    fn what_kubernetes_puts_into_every_namespace_does_not_count() {
        let mut contents = Contents::default();
        contents.add("ServiceAccount", ["default".to_owned()]);
        contents.add("ConfigMap", ["kube-root-ca.crt".to_owned()]);
        assert_eq!(contents.describe(), None);
        contents.add("Pod", ["web".to_owned(), "web-2".to_owned()]);
        assert_eq!(
            contents.describe().unwrap(),
            r#"the namespace is not empty: it holds Pod "web""#
        );
    }
}
