//! How an EnvoyPatchPolicy changes in two steps. Pure.
//!
//! It adds a virtual host for domains that no route of the listener has. When a listener goes, a route may get such
//! a domain, and Envoy refuses a RouteConfiguration that has it twice. So what is not wanted any more goes first,
//! then everything else changes, and what is new comes last.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// What becomes of a live policy before anything else is changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Shrunk {
    /// Nothing in it is unwanted.
    Unchanged,
    /// It keeps these parts only.
    To(Value),
    /// None of it is wanted.
    Gone,
}

/// Decides what is left of a live policy, given the wanted one.
#[must_use]
pub fn shrunk(live: &Value, desired: Option<&Value>) -> Shrunk {
    let Some(desired) = desired else {
        return Shrunk::Gone;
    };
    let wanted: BTreeMap<&str, &Value> = patches(desired).collect();
    let mut kept = Vec::new();
    let mut changed = false;
    for (name, patch) in patches(live) {
        let domains: BTreeSet<&str> = wanted.get(name).copied().map(domains).unwrap_or_default();
        let left: Vec<&str> = domains_in_order(patch)
            .filter(|domain| domains.contains(domain))
            .collect();
        changed |= left.len() != domains_in_order(patch).count();
        if !left.is_empty() {
            let mut patch = patch.clone();
            patch["operation"]["value"]["domains"] = json!(left);
            kept.push(patch);
        }
    }
    match (changed, kept.is_empty()) {
        (false, _) => Shrunk::Unchanged,
        (true, true) => Shrunk::Gone,
        (true, false) => {
            let mut value = desired.clone();
            value["spec"]["jsonPatches"] = kept.into();
            Shrunk::To(value)
        }
    }
}

fn patches(policy: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let list = policy.pointer("/spec/jsonPatches").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|patch| Some((patch.get("name")?.as_str()?, patch)))
}

fn domains(patch: &Value) -> BTreeSet<&str> {
    domains_in_order(patch).collect()
}

fn domains_in_order(patch: &Value) -> impl Iterator<Item = &str> {
    let list = patch
        .pointer("/operation/value/domains")
        .and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(patches: &[(&str, &[&str])]) -> Value {
        let patch = |(name, domains): &(&str, &[&str])| json!({"name": name, "operation": {"op": "add", "value": {"domains": domains}}});
        let patches: Vec<Value> = patches.iter().map(patch).collect();
        json!({"metadata": {"name": "gw"}, "spec": {"jsonPatches": patches}})
    }

    #[test]
    fn what_is_not_wanted_any_more_goes_and_nothing_is_added() {
        let live = policy(&[("a", &["*", "x.com"]), ("b", &["y.com"])]);
        let desired = policy(&[("a", &["*", "z.com"]), ("c", &["*"])]);
        assert_eq!(
            shrunk(&live, Some(&desired)),
            Shrunk::To(policy(&[("a", &["*"])]))
        );
    }

    #[test]
    fn a_policy_that_only_grows_is_left_for_later() {
        let live = policy(&[("a", &["x.com"])]);
        let desired = policy(&[("a", &["*", "x.com"]), ("b", &["*"])]);
        assert_eq!(shrunk(&live, Some(&desired)), Shrunk::Unchanged);
        assert_eq!(shrunk(&live, Some(&live)), Shrunk::Unchanged);
    }

    #[test]
    fn a_policy_of_which_nothing_is_wanted_goes() {
        let live = policy(&[("a", &["x.com"])]);
        assert_eq!(shrunk(&live, None), Shrunk::Gone);
        assert_eq!(shrunk(&live, Some(&policy(&[("a", &["y.com"])]))), Shrunk::Gone);
    }
}
