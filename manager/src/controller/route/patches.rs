//! How an EnvoyPatchPolicy changes in two steps. Pure.
//!
//! It adds a virtual host for domains that no route of the listener has. When a listener goes, a route may get such
//! a domain, and Envoy refuses a RouteConfiguration that has it twice. So what is not wanted any more goes first,
//! then everything else changes, and what is new comes last. Where the first step fails, what could take such a domain
//! over waits for it, and nothing else does.

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

/// What must not change before the policy of a Gateway has shrunk: the Gateway, its ListenerSets, and the routes on
/// either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    gateway: String,
    sets: BTreeSet<String>,
}

impl Behind {
    /// `objects` are those of the namespace by kind, as they are and as they are wanted.
    pub fn of<'a>(gateway: &str, objects: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Self {
        let sets = objects
            .into_iter()
            .filter(|(kind, object)| *kind == "ListenerSet" && object["spec"]["parentRef"]["name"] == gateway)
            .filter_map(|(_, object)| object["metadata"]["name"].as_str());
        Self {
            gateway: gateway.to_owned(),
            sets: sets.map(str::to_owned).collect(),
        }
    }

    /// Whether writing this object could give a route such a domain, or grow the policy before the routes let go.
    #[must_use]
    pub fn must_not_write(&self, kind: &str, object: &Value) -> bool {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        match kind {
            "Gateway" | "EnvoyPatchPolicy" => name == self.gateway,
            "ListenerSet" => self.sets.contains(name),
            "HTTPRoute" | "GRPCRoute" => {
                let parents = object["spec"]["parentRefs"].as_array();
                parents.into_iter().flatten().any(|parent| self.is(parent))
            }
            _ => false,
        }
    }

    /// Whether a domain is free for others when this object goes. With the Gateway itself goes the policy's target.
    #[must_use]
    pub fn must_not_delete(&self, kind: &str, object: &Value) -> bool {
        kind == "ListenerSet" && self.must_not_write(kind, object)
    }

    fn is(&self, parent: &Value) -> bool {
        let name = parent["name"].as_str().unwrap_or_default();
        if parent["kind"] == "ListenerSet" {
            self.sets.contains(name)
        } else {
            name == self.gateway
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

    #[test]
    fn only_what_could_take_a_host_over_waits_for_the_policy_of_its_gateway() {
        let set = |name: &str, gateway: &str| json!({"metadata": {"name": name}, "spec": {"parentRef": {"name": gateway}}});
        let (own, other) = (set("ls-own", "gw"), set("ls-other", "gw-other"));
        let behind = Behind::of("gw", [("ListenerSet", &own), ("ListenerSet", &other)]);
        let named = |name: &str| json!({"metadata": {"name": name}});
        let on = |parent: Value| json!({"metadata": {"name": "rt"}, "spec": {"parentRefs": [{"name": "x"}, parent]}});
        let waits = [
            ("Gateway", named("gw")),
            ("EnvoyPatchPolicy", named("gw")),
            ("ListenerSet", own.clone()),
            ("HTTPRoute", on(json!({"name": "gw", "sectionName": "any"}))),
            ("GRPCRoute", on(json!({"kind": "ListenerSet", "name": "ls-own"}))),
        ];
        let goes_on = [
            ("Gateway", named("gw-other")),
            ("ListenerSet", other.clone()),
            ("HTTPRoute", on(json!({"name": "gw-other"}))),
            ("HTTPRoute", on(json!({"kind": "ListenerSet", "name": "gw"}))),
            (
                "GRPCRoute",
                on(json!({"kind": "ListenerSet", "name": "ls-other"})),
            ),
            ("ClientTrafficPolicy", named("gw")),
            ("Secret", named("gw")),
            ("EndpointSlice", named("gw")),
        ];
        for (kind, object) in waits {
            assert!(behind.must_not_write(kind, &object), "{kind} {object}");
        }
        for (kind, object) in goes_on {
            assert!(!behind.must_not_write(kind, &object), "{kind} {object}");
        }
        assert!(behind.must_not_delete("ListenerSet", &own));
        assert!(!behind.must_not_delete("ListenerSet", &other));
        assert!(!behind.must_not_delete("Gateway", &named("gw")));
        assert!(!behind.must_not_delete("HTTPRoute", &on(json!({"name": "gw"}))));
    }
}
