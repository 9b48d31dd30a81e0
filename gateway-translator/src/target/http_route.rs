//! HTTPRoute to the hub's HTTPRoute.

use std::collections::BTreeMap;

use super::rules::{self, Place, Rewriter};
use super::{Context, Draft, hub_object};
use crate::names;
use crate::origin::Source;
use crate::source::filters::FilterScope;
use crate::source::http_route::{HttpRouteSpec, HttpRule};
use crate::source::{parse, to_json};
use crate::verdict::Problem;

/// Translates an HTTPRoute.
pub(crate) fn draft<'a>(context: &Context<'a>, source: &Source<'a>) -> Result<Draft<'a>, Problem> {
    let HttpRouteSpec {
        parent_refs,
        hostnames,
        rules,
    } = parse("spec", source.spec)?;
    let parents = rules::parent_refs(context, source)?;
    rules::check_hostnames(context, source, &hostnames)?;
    let mut rewriter = Rewriter::new(context, source, FilterScope::Http);
    let rules = rules
        .into_iter()
        .enumerate()
        .map(|(index, rule)| rewrite(&mut rewriter, index, rule));
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    let spec = rules::with_parents(
        to_json(&HttpRouteSpec {
            parent_refs,
            hostnames,
            rules,
        })?,
        parents,
    );
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

fn rewrite(rewriter: &mut Rewriter<'_>, index: usize, rule: HttpRule) -> Result<HttpRule, Problem> {
    let HttpRule {
        name,
        matches,
        filters,
        backend_refs,
        timeouts,
        retry,
        session_persistence,
    } = rule;
    let place = Place::rule(index);
    session_persistence.check(place.field("sessionPersistence"), "is not served")?;
    Ok(HttpRule {
        name,
        matches,
        filters: rewriter.filters(&place, filters)?,
        backend_refs: rewriter.backend_refs(&place, backend_refs)?,
        timeouts,
        retry,
        session_persistence,
    })
}
