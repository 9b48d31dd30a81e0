//! Who holds which host name on a Gateway that several tenants share.
//!
//! The first claimant wins: the Route with the oldest creation timestamp on the hub (which a tenant cannot
//! choose, unlike the one in `origin`), then by namespace and name. Names overlap when some host belongs to
//! both; a tenant's own names never conflict. Whoever is not in the table holds nothing, so a table that is
//! older than the Routes refuses and never shares.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use api::v1alpha1::{GatewayReference, GatewayScope, Route};
use serde_json::Value;

use crate::input::Settings;
use crate::origin;
use crate::output::Kind;

/// One tenant's part in the contest for host names.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// The tenant's namespace on the hub.
    pub namespace: &'a str,
    /// What the hub allows the tenant: it cannot claim a host name that it may not use.
    pub settings: &'a Settings,
    /// The tenant's Routes.
    pub routes: &'a [Arc<Route>],
}

/// Host names on shared Gateways, each with the tenant namespace that holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimTable {
    gateways: BTreeMap<GatewayReference, Holders>,
}

/// Holders on one Gateway. Keys are host names with their labels reversed and a dot after each, so that all
/// names below a domain are neighbours; a wildcard is kept under its domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Holders {
    exact: BTreeMap<String, String>,
    wildcard: BTreeMap<String, BTreeSet<String>>,
}

/// Host names that one tenant wants. What of a Route is no host name does not change it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted(Vec<Claim>);

/// What a tenant wants: a function of its own Routes and settings alone.
#[must_use]
pub fn wanted(claimant: Claimant<'_>) -> Wanted {
    let Claimant {
        namespace,
        settings,
        routes,
    } = claimant;
    if !settings.enabled {
        return Wanted::default();
    }
    let of_route = |route: &Arc<Route>| claims_of_route(namespace, settings, route);
    Wanted(routes.iter().flat_map(of_route).collect())
}

/// Decides who holds what, for all tenants of the hub.
#[must_use]
pub fn claims<'a>(claimants: impl IntoIterator<Item = Claimant<'a>>) -> ClaimTable {
    let all: Vec<Wanted> = claimants.into_iter().map(wanted).collect();
    grant(&all)
}

/// Decides who holds what, given what every tenant of the hub wants.
#[must_use]
pub fn grant<'a>(all: impl IntoIterator<Item = &'a Wanted>) -> ClaimTable {
    let mut claims: Vec<&Claim> = all.into_iter().flat_map(|Wanted(claims)| claims).collect();
    claims.sort();
    let mut table = ClaimTable::default();
    for claim in claims {
        let Claim {
            created: _,
            namespace,
            route: _,
            gateway,
            hostname,
        } = claim;
        let holders = table.gateways.entry(gateway.clone()).or_default();
        if !holders.is_taken(hostname, namespace) {
            holders.grant(hostname, namespace);
        }
    }
    table
}

impl ClaimTable {
    /// True where `namespace` holds exactly this host name on this Gateway.
    #[must_use]
    pub fn holds(&self, namespace: &str, gateway: &GatewayReference, hostname: &str) -> bool {
        self.gateways
            .get(gateway)
            .is_some_and(|holders| holders.holds(hostname, namespace))
    }

    /// Tenant namespaces that hold something else in `other`: their translation may come out differently.
    #[must_use]
    pub fn changed_namespaces(&self, other: &Self) -> BTreeSet<String> {
        let (before, after) = (self.by_namespace(), other.by_namespace());
        let everyone: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
        everyone
            .into_iter()
            .filter(|n| before.get(n) != after.get(n))
            .map(str::to_owned)
            .collect()
    }

    fn by_namespace(&self) -> BTreeMap<&str, BTreeSet<(&GatewayReference, bool, &str)>> {
        let mut held: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
        for (gateway, Holders { exact, wildcard }) in &self.gateways {
            for (name, holder) in exact {
                held.entry(holder)
                    .or_default()
                    .insert((gateway, false, name.as_str()));
            }
            for (domain, holders) in wildcard {
                for holder in holders {
                    held.entry(holder)
                        .or_default()
                        .insert((gateway, true, domain.as_str()));
                }
            }
        }
        held
    }
}

/// Ordered by age first: the order in which claims are granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    created: origin::CreatedAt,
    namespace: String,
    route: String,
    gateway: GatewayReference,
    hostname: String,
}

fn claims_of_route(namespace: &str, settings: &Settings, route: &Route) -> Vec<Claim> {
    let Ok(source) = origin::check(route) else {
        return Vec::new();
    };
    let shared = route
        .spec
        .parents
        .iter()
        .filter(|p| p.scope == GatewayScope::Hub)
        .map(|p| GatewayReference {
            namespace: p.namespace.clone(),
            name: p.name.clone(),
        });
    let permitted = |g: &GatewayReference| {
        settings
            .shared_gateways
            .iter()
            .any(|s| s.namespace == g.namespace && s.name == g.name)
    };
    let (created, name) = (origin::created(route), origin::route_name(route));
    shared
        .filter(permitted)
        .flat_map(|gateway| {
            hostnames(&source)
                .filter(|h| {
                    super::hostname::is_hostname(h) && api::domain::is_allowed(h, &settings.allowed_domains)
                })
                .map(|hostname| Claim {
                    created: created.into(),
                    namespace: namespace.to_owned(),
                    route: name.to_owned(),
                    gateway: gateway.clone(),
                    hostname: hostname.to_owned(),
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Host names of a route, or of the listeners of a ListenerSet.
fn hostnames<'a>(source: &origin::Source<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    let of_set = source.kind == Kind::ListenerSet;
    let list = |field: &str| source.spec.get(field).and_then(Value::as_array);
    let names = list(if of_set { "listeners" } else { "hostnames" });
    names.into_iter().flatten().filter_map(move |item| {
        let name = if of_set { item.get("hostname")? } else { item };
        name.as_str()
    })
}

impl Holders {
    fn holds(&self, hostname: &str, namespace: &str) -> bool {
        match key(hostname) {
            Key::Exact(name) => self.exact.get(&name).is_some_and(|holder| holder == namespace),
            Key::Wildcard(domain) => self
                .wildcard
                .get(&domain)
                .is_some_and(|holders| holders.contains(namespace)),
        }
    }

    fn grant(&mut self, hostname: &str, namespace: &str) {
        match key(hostname) {
            Key::Exact(name) => drop(self.exact.insert(name, namespace.to_owned())),
            Key::Wildcard(domain) => {
                self.wildcard
                    .entry(domain)
                    .or_default()
                    .insert(namespace.to_owned());
            }
        }
    }

    /// True where another tenant holds a name that overlaps this one.
    fn is_taken(&self, hostname: &str, namespace: &str) -> bool {
        match key(hostname) {
            Key::Exact(name) => {
                self.exact.get(&name).is_some_and(|holder| holder != namespace)
                    || self.has_wildcard_above(&name, namespace)
            }
            Key::Wildcard(domain) => {
                let others = |holders: &BTreeSet<String>| holders.iter().any(|holder| holder != namespace);
                self.wildcard.get(&domain).is_some_and(others)
                    || self.has_wildcard_above(&domain, namespace)
                    || below(&self.wildcard, &domain).any(others)
                    || below(&self.exact, &domain).any(|holder| holder != namespace)
            }
        }
    }

    fn has_wildcard_above(&self, key: &str, namespace: &str) -> bool {
        let ends = key.char_indices().filter(|(_, c)| *c == '.').map(|(i, _)| i + 1);
        ends.filter(|end| *end < key.len())
            .filter_map(|end| self.wildcard.get(key.get(..end)?))
            .any(|holders| holders.iter().any(|holder| holder != namespace))
    }
}

enum Key {
    Exact(String),
    Wildcard(String),
}

fn key(hostname: &str) -> Key {
    match hostname.strip_prefix("*.") {
        Some(domain) => Key::Wildcard(reversed(domain)),
        None => Key::Exact(reversed(hostname)),
    }
}

fn reversed(name: &str) -> String {
    name.rsplit('.').flat_map(|label| [label, "."]).collect()
}

fn below<'a, V>(map: &'a BTreeMap<String, V>, domain: &'a str) -> impl Iterator<Item = &'a V> {
    map.range::<str, _>((Bound::Excluded(domain), Bound::Unbounded))
        .take_while(move |(name, _)| name.starts_with(domain))
        .map(|(_, value)| value)
}
