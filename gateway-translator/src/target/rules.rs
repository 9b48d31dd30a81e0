//! What HTTPRoutes and GRPCRoutes have in common: where they attach, host names, filters and backends.

use std::collections::BTreeMap;

use api::domain;
use api::names::PortNumber;
use api::v1alpha1::{GatewayReference, GatewayScope, ParentDecision, route_condition as condition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Context, Draft, hub_object};
use crate::backend::Resolver;
use crate::domain::hostname;
use crate::names;
use crate::origin::Source;
use crate::source::filters::{Filter, FilterScope};
use crate::source::http_route::{BackendObjectReference, BackendRef};
use crate::source::route::RouteSpec;
use crate::source::{parse, to_json};
use crate::verdict::Problem;

/// Most parentRefs that the API server takes.
const MAX_PARENT_REFS: usize = 32;
/// Port of a reference that leads nowhere. A Service reference must have one.
const INVALID_BACKEND_PORT: i32 = 80;

/// Translates a route of any kind; `rewrite` knows the kind's rules.
pub(crate) fn draft_route<'a, Rule: Default + Serialize + DeserializeOwned>(
    context: &Context<'a>,
    source: &Source<'a>,
    scope: FilterScope,
    rewrite: impl Fn(&mut Rewriter<'a>, usize, Rule) -> Result<Rule, Problem>,
) -> Result<Draft<'a>, Problem> {
    let RouteSpec {
        parent_refs: unused,
        hostnames,
        rules,
    } = parse::<RouteSpec<Rule>>("spec", source.spec)?;
    let parents = parent_refs(context, source)?;
    check_hostnames(context, source, &hostnames)?;
    let mut rewriter = Rewriter::new(context, source, scope);
    let rules = rules
        .into_iter()
        .enumerate()
        .map(|(index, rule)| rewrite(&mut rewriter, index, rule));
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    let spec = to_json(&RouteSpec {
        parent_refs: unused,
        hostnames,
        rules,
    })?;
    let spec = with_parents(spec, parents);
    let name = names::route(source.kind, &source.origin.namespace, &source.origin.name);
    let Rewriter {
        scope: _,
        resolver,
        problems,
    } = rewriter;
    Ok(Draft {
        object: hub_object(context, source, name, &spec),
        backends: Some(resolver.finish()),
        problems,
        refused_listeners: BTreeMap::new(),
    })
}

/// parentRefs of the hub route: one for each listener, by name.
pub(crate) fn parent_refs(context: &Context<'_>, source: &Source<'_>) -> Result<Vec<Value>, Problem> {
    let mut refs: Vec<Value> = Vec::new();
    for parent in &source.route.spec.parents {
        let gateway = hub_gateway(context, source, parent)?;
        for listener in &parent.listeners {
            let mut reference = gateway.clone();
            if let Some(fields) = reference.as_object_mut() {
                fields.insert("sectionName".to_owned(), listener.clone().into());
            }
            if !refs.contains(&reference) {
                refs.push(reference);
            }
        }
    }
    match refs.len() {
        0 => Err(Problem::unsupported(
            "spec.parents names no listener, so that the route is attached to nothing.",
        )),
        1..=MAX_PARENT_REFS => Ok(refs),
        many => Err(Problem::unsupported(format!(
            "spec.parents names {many} listeners; a route can be attached to {MAX_PARENT_REFS} at most."
        ))),
    }
}

fn hub_gateway(
    context: &Context<'_>,
    source: &Source<'_>,
    parent: &ParentDecision,
) -> Result<Value, Problem> {
    let ParentDecision {
        scope,
        namespace,
        name,
        listeners,
    } = parent;
    match scope {
        GatewayScope::Tenant => Ok(json!({"name": names::gateway(namespace, name)})),
        GatewayScope::Hub => {
            let refused = |what: String| Problem::new(condition::REASON_GATEWAY_NOT_ALLOWED, what);
            let shared = &context.settings.shared_gateways;
            let Some(gateway) = shared
                .iter()
                .find(|g| g.namespace == *namespace && g.name == *name)
            else {
                return Err(refused(format!(
                    "The tenant may not use the Gateway {namespace}/{name} of the hub."
                )));
            };
            let kind = source.kind.as_str();
            for listener in listeners {
                let found = gateway.listeners.iter().find(|l| l.name == *listener);
                if !found.is_some_and(|l| l.kinds.is_empty() || l.kinds.iter().any(|k| k == kind)) {
                    return Err(refused(format!(
                        "The listener {listener:?} of the Gateway {namespace}/{name} does not take this {kind}."
                    )));
                }
            }
            Ok(json!({"namespace": namespace, "name": name}))
        }
    }
}

/// Checks the host names of a route: form, domains, and who holds them where Gateways are shared.
pub(crate) fn check_hostnames(
    context: &Context<'_>,
    source: &Source<'_>,
    hostnames: &[String],
) -> Result<(), Problem> {
    for name in hostnames {
        check_hostname("spec.hostnames", name, &context.settings.allowed_domains)?;
    }
    let shared = source
        .route
        .spec
        .parents
        .iter()
        .filter(|parent| parent.scope == GatewayScope::Hub);
    for parent in shared {
        if hostnames.is_empty() {
            return Err(Problem::new(
                condition::REASON_DOMAIN_NOT_ALLOWED,
                format!(
                    "spec.hostnames is empty: on the Gateway {}/{}, which tenants share, a route needs host names.",
                    parent.namespace, parent.name
                ),
            ));
        }
        let gateway = GatewayReference {
            namespace: parent.namespace.clone(),
            name: parent.name.clone(),
        };
        for name in hostnames {
            if !context
                .input
                .claims
                .holds(&context.input.namespace, &gateway, name)
            {
                return Err(Problem::new(
                    condition::REASON_HOSTNAME_CONFLICT,
                    format!(
                        "{name} is held by another tenant on the Gateway {}/{}.",
                        parent.namespace, parent.name
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Checks the form and the domain of one host name.
pub(crate) fn check_hostname(path: &str, name: &str, domains: &[String]) -> Result<(), Problem> {
    if !hostname::is_hostname(name) {
        return Err(Problem::unsupported(format!(
            "{path}: {name:?} is not a host name."
        )));
    }
    if !domain::is_allowed(name, domains) {
        return Err(Problem::new(
            condition::REASON_DOMAIN_NOT_ALLOWED,
            format!("{path}: {name} is not within the tenant's allowedDomains."),
        ));
    }
    Ok(())
}

/// Rewrites the filters and backends of one route.
#[derive(Debug)]
pub(crate) struct Rewriter<'a> {
    pub(crate) scope: FilterScope,
    pub(crate) resolver: Resolver<'a>,
    pub(crate) problems: Vec<Problem>,
}

/// A place in a resource: as a JSON pointer for decisions, and as a path for people.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pointer: String,
    path: String,
}

impl Place {
    /// The rule with this index.
    pub(crate) fn rule(index: usize) -> Self {
        Self {
            pointer: format!("/spec/rules/{index}"),
            path: format!("spec.rules[{index}]"),
        }
    }

    fn item(&self, field: &str, index: usize) -> Self {
        Self {
            pointer: format!("{}/{field}/{index}", self.pointer),
            path: format!("{}.{field}[{index}]", self.path),
        }
    }

    /// The path of a field, for people.
    pub(crate) fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}

impl<'a> Rewriter<'a> {
    pub(crate) fn new(context: &Context<'a>, source: &Source<'a>, scope: FilterScope) -> Self {
        let resolver = Resolver::new(source.route, &context.settings.node_ports);
        Self {
            scope,
            resolver,
            problems: Vec::new(),
        }
    }

    /// Filters as they may reach the hub.
    pub(crate) fn filters(&mut self, place: &Place, filters: Vec<Filter>) -> Result<Vec<Filter>, Problem> {
        let mut kept = Vec::with_capacity(filters.len());
        for (index, mut filter) in filters.into_iter().enumerate() {
            let place = place.item("filters", index);
            filter.sanitize(&place.path, self.scope)?;
            if self.resolve_mirror(&place, &mut filter)? {
                kept.push(filter);
            }
        }
        Ok(kept)
    }

    /// False for a mirror that leads nowhere: "it MUST be dropped", says the Gateway API, whereas Envoy Gateway
    /// would answer the whole rule with 500.
    fn resolve_mirror(&mut self, place: &Place, filter: &mut Filter) -> Result<bool, Problem> {
        let Some(mirror) = &mut filter.request_mirror else {
            return Ok(true);
        };
        let pointer = format!("{}/requestMirror/backendRef", place.pointer);
        let Some((name, port)) = self.resolver.resolve(&pointer)? else {
            let message = format!("{} is left out, because its backend leads nowhere.", place.path);
            self.problems.push(Problem::unsupported(message));
            return Ok(false);
        };
        mirror.backend_ref = BackendObjectReference::to_service(name, port);
        Ok(true)
    }

    /// Backends as they may reach the hub. One that leads nowhere stays in its place and keeps its weight.
    pub(crate) fn backend_refs(
        &mut self,
        place: &Place,
        references: Vec<BackendRef>,
    ) -> Result<Vec<BackendRef>, Problem> {
        let rewrite = |(index, reference)| self.backend_ref(&place.item("backendRefs", index), reference);
        references.into_iter().enumerate().map(rewrite).collect()
    }

    fn backend_ref(&mut self, place: &Place, reference: BackendRef) -> Result<BackendRef, Problem> {
        let BackendRef {
            group,
            kind,
            name: _,
            namespace,
            port: _,
            weight,
            filters,
        } = reference;
        let filters = self.filters(place, filters)?;
        Ok(match self.resolver.resolve(&place.pointer)? {
            Some((name, port)) => BackendRef {
                group,
                kind,
                name,
                namespace,
                port: Some(port),
                weight,
                filters,
            },
            None => BackendRef {
                group,
                kind,
                name: names::INVALID_BACKEND.to_owned(),
                namespace,
                port: PortNumber::try_from(INVALID_BACKEND_PORT).ok(),
                weight,
                filters: Vec::new(),
            },
        })
    }
}

/// `spec` of a hub route: what was parsed and rewritten, with our parentRefs.
pub(crate) fn with_parents(mut spec: Value, parent_refs: Vec<Value>) -> Value {
    if let Some(fields) = spec.as_object_mut() {
        fields.insert("parentRefs".to_owned(), parent_refs.into());
    }
    spec
}
