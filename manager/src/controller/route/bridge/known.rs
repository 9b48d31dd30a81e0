//! Which backends Envoys know already, because another route leads to them. JSON only.

use std::collections::HashSet;

use serde_json::Value;

use super::rule::{self, Backend};

/// Backends by kind of route and Gateway: Envoy Gateway makes a cluster for each protocol, in the Envoys of each
/// Gateway, and routes share it.
#[derive(Debug, Default)]
pub struct Known<'a>(HashSet<(&'a str, Gateway<'a>, &'a str, i64)>);

/// Namespace and name.
type Gateway<'a> = (&'a str, &'a str);

impl<'a> Known<'a> {
    /// What these live routes lead to. What a bridge alone names is not known yet.
    pub fn of(routes: impl Iterator<Item = &'a Value>) -> Self {
        let known = routes.flat_map(|route| {
            let kind = kind(route);
            gateways(route).flat_map(move |gateway| {
                rule::led_to(route).map(move |(name, port)| (kind, gateway, name, port))
            })
        });
        Self(known.collect())
    }

    /// Whether Envoys of all Gateways that the route wants have this backend.
    pub fn includes(&self, route: &Value, backend: &Backend) -> bool {
        let (name, port) = backend.key();
        gateways(route).all(|gateway| self.0.contains(&(kind(route), gateway, name, port)))
    }
}

fn kind(route: &Value) -> &str {
    route["kind"].as_str().unwrap_or_default()
}

/// Gateways that a route names. A ListenerSet counts as one of its own, so that a route may get a bridge that it does
/// not need.
fn gateways(route: &Value) -> impl Iterator<Item = Gateway<'_>> {
    let here = route["metadata"]["namespace"].as_str().unwrap_or_default();
    let parents = route["spec"]["parentRefs"].as_array().into_iter().flatten();
    parents.filter_map(move |parent| {
        Some((
            parent["namespace"].as_str().unwrap_or(here),
            parent["name"].as_str()?,
        ))
    })
}
