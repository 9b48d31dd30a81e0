//! What all routes have in common: where they attach, host names, filters and backends.

use std::collections::BTreeMap;

use api::names::PortNumber;
use api::v1alpha1::Protocol;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Content, Context, Draft, RouteContent, RuleContent, attachment, hostnames};
use crate::backend::{Resolver, Terms};
use crate::names;
use crate::origin::Source;
use crate::output::{Kind, ObjectKey};
use crate::source::filters::{Filter, FilterScope};
use crate::source::http_route::{BackendObjectReference, BackendRef};
use crate::source::matches::MatchKey;
use crate::source::route::RouteSpec;
use crate::source::{parse, to_json};
use crate::verdict::Problem;

/// Port of a reference that leads nowhere. A Service reference must have one.
const INVALID_BACKEND_PORT: i32 = 80;

/// A rule of some kind of route.
pub(crate) trait Rule: Default + Serialize + DeserializeOwned {
    /// What makes its matches equal to those of others: one for each match, one where it matches everything.
    fn match_keys(&self) -> Vec<String>;
}

/// Keys of a rule that has matches, or none and so matches everything.
pub(crate) fn keys_of<M: MatchKey + Default>(matches: &[M]) -> Vec<String> {
    if matches.is_empty() {
        return vec![M::default().key()];
    }
    matches.iter().map(MatchKey::key).collect()
}

/// Translates a route of any kind; `rewrite` knows the kind's rules.
pub(crate) fn draft_route<'a, R: Rule>(
    context: &'a Context<'a>,
    source: &Source<'a>,
    transport: Protocol,
    scope: FilterScope,
    rewrite: impl Fn(&mut Rewriter<'a>, usize, R) -> Result<R, Problem>,
) -> Result<Draft<'a>, Problem> {
    let RouteSpec {
        parent_refs: _,
        hostnames,
        rules,
    } = parse::<RouteSpec<R>>("spec", source.spec)?;
    let attachments = attachment::attachments(context, source)?;
    if !hostnames.is_empty() && matches!(source.kind, Kind::TcpRoute | Kind::UdpRoute) {
        return Err(Problem::unsupported(format!(
            "spec.hostnames is not allowed in a {}.",
            source.kind.as_str()
        )));
    }
    hostnames::check_route(context, source, &hostnames)?;
    let mut rewriter = Rewriter::new(context, source, transport, scope);
    let mut contents = Vec::with_capacity(rules.len());
    for (index, rule) in rules.into_iter().enumerate() {
        let rule = rewrite(&mut rewriter, index, rule)?;
        contents.push(RuleContent {
            match_keys: rule.match_keys(),
            value: to_json(&rule)?,
        });
    }
    let Rewriter {
        scope: _,
        resolver,
        mut problems,
    } = rewriter;
    let backends = resolver.finish();
    problems.extend(backends.problems.iter().cloned());
    let name = names::route(source.kind, &source.origin.namespace, &source.origin.name);
    Ok(Draft {
        key: ObjectKey::new(source.kind, &context.input.namespace, name),
        content: Content::Route(RouteContent {
            hostnames,
            rules: contents,
            attachments,
        }),
        backends: Some(backends),
        problems,
        refused_listeners: BTreeMap::new(),
    })
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
    pub(crate) fn new(
        context: &'a Context<'a>,
        source: &Source<'a>,
        transport: Protocol,
        scope: FilterScope,
    ) -> Self {
        let terms = Terms {
            node_ports: &context.settings.node_ports,
            authorities: &context.authorities,
            transport,
        };
        let resolver = Resolver::new(source.route, terms);
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
