//! The rule that names backends and never matches, and the other rules of a route. JSON only: nothing here knows why a
//! backend is named, or for how long.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Name of the rule. A tenant may have a rule of that name, so its match counts too.
pub const NAME: &str = "kubelb-bridge";
/// Most backends in a rule, says the Gateway API.
pub const MAX_BACKENDS: usize = 16;
/// Most rules in a route.
const MAX_RULES: usize = 16;
/// Most matches in all rules of a route.
const MAX_MATCHES: usize = 128;
/// Weight of a backend that requests have been led to. Nothing is led anywhere by a rule that never matches.
const WARM_WEIGHT: i64 = 2;

/// A Service port that rules name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Name of the Service, in the route's namespace.
    pub name: String,
    port: i64,
}

impl Backend {
    fn new((name, port): (&str, i64)) -> Self {
        Self {
            name: name.to_owned(),
            port,
        }
    }

    /// Name and port.
    pub fn key(&self) -> (&str, i64) {
        (&self.name, self.port)
    }
}

/// What is known of a backend that the bridge names. It is read off the weight, so that it outlives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Nothing has been led to it yet.
    Cold,
    /// Envoys have its cluster.
    Warm,
}

/// Rules of a route.
#[derive(Debug, Default)]
pub struct Rules<'a> {
    /// All but the bridge.
    own: Vec<&'a Value>,
    /// What they name: backends, and mirrors.
    pub named: BTreeSet<Backend>,
    /// What the bridge names.
    pub held: BTreeMap<Backend, Held>,
}

impl<'a> Rules<'a> {
    /// Reads a route.
    pub fn of(route: &'a Value) -> Self {
        let matches = never(route);
        let (bridges, own): (Vec<_>, Vec<_>) =
            items(&route["spec"]["rules"]).partition(|rule| is_bridge(rule, &matches));
        let named = services(own.iter().copied(), route).map(Backend::new).collect();
        let held = (bridges.iter().flat_map(|rule| items(&rule["backendRefs"])))
            .filter_map(|reference| {
                Some((Backend::new(key(reference, namespace(route))?), warmth(reference)))
            })
            .collect();
        Self { own, named, held }
    }

    /// Whether there is nothing but a bridge: a route that has not begun yet.
    pub fn has_not_begun(&self) -> bool {
        self.own.is_empty() && !self.held.is_empty()
    }

    /// What is known of a backend that this route names.
    pub fn warmth(&self, backend: &Backend) -> Held {
        if self.named.contains(backend) {
            return Held::Warm;
        }
        self.held.get(backend).copied().unwrap_or(Held::Cold)
    }

    /// Whether the route may have a bridge besides: the API server has limits, and wants names to differ.
    pub fn has_room(&self) -> bool {
        let matches = |rule: &&Value| items(&rule["matches"]).count().max(1);
        self.own.len() < MAX_RULES
            && self.own.iter().map(matches).sum::<usize>() < MAX_MATCHES
            && self.own.iter().all(|rule| rule["name"] != NAME)
    }

    /// These rules with a bridge, the last one. `route` is of the kind that they are for.
    pub fn with(&self, held: BTreeMap<Backend, Held>, route: &Value) -> Value {
        let reference = |(Backend { name, port }, held)| {
            let weight = match held {
                Held::Cold => 1,
                Held::Warm => WARM_WEIGHT,
            };
            json!({"group": "", "kind": "Service", "name": name, "port": port, "weight": weight})
        };
        let references: Vec<Value> = held.into_iter().map(reference).collect();
        let bridge = json!({"name": NAME, "matches": never(route), "backendRefs": references});
        self.own.iter().copied().cloned().chain([bridge]).collect()
    }
}

/// Name and port of the Services that the rules of a route name, without its bridge.
pub fn led_to(route: &Value) -> impl Iterator<Item = (&str, i64)> {
    let matches = never(route);
    let own = items(&route["spec"]["rules"]).filter(move |rule| !is_bridge(rule, &matches));
    services(own, route)
}

/// Name and port of the Services that these rules of a route name.
fn services<'a>(
    rules: impl Iterator<Item = &'a Value>,
    route: &'a Value,
) -> impl Iterator<Item = (&'a str, i64)> {
    let namespace = namespace(route);
    rules
        .flat_map(references)
        .filter_map(move |reference| key(reference, namespace))
}

fn namespace(route: &Value) -> &str {
    route["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn is_bridge(rule: &Value, never: &Value) -> bool {
    rule["name"] == NAME && rule["matches"] == *never
}

/// What no request matches: a header with a character that is neither space nor anything else.
fn never(route: &Value) -> Value {
    let header = json!({"type": "RegularExpression", "name": "x-kubelb-bridge", "value": r"[^\s\S]"});
    if route["kind"] == "GRPCRoute" {
        return json!([{"headers": [header]}]);
    }
    json!([{"path": {"type": "Exact", "value": "/"}, "headers": [header]}])
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Backends of a rule and their mirrors, and mirrors of the rule.
fn references(rule: &Value) -> impl Iterator<Item = &Value> {
    let backends = || items(&rule["backendRefs"]);
    let filters =
        items(&rule["filters"]).chain(backends().flat_map(|reference| items(&reference["filters"])));
    let mirrors = filters.filter_map(|filter| filter.pointer("/requestMirror/backendRef"));
    backends().chain(mirrors)
}

fn key<'a>(reference: &'a Value, namespace: &str) -> Option<(&'a str, i64)> {
    let text = |field: &str| reference.get(field).and_then(Value::as_str);
    let is_service =
        text("group").unwrap_or_default().is_empty() && text("kind").unwrap_or("Service") == "Service";
    let is_here = text("namespace").unwrap_or(namespace) == namespace;
    let port = reference.get("port")?.as_i64()?;
    Some((text("name").filter(|_| is_service && is_here)?, port))
}

fn warmth(reference: &Value) -> Held {
    match reference["weight"].as_i64() {
        Some(WARM_WEIGHT) => Held::Warm,
        _ => Held::Cold,
    }
}
