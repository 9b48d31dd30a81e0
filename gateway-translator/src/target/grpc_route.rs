//! GRPCRoute to the hub's GRPCRoute.

use std::collections::BTreeMap;

use super::rules::{self, Place, Rewriter};
use super::{Context, Draft, hub_object};
use crate::names;
use crate::origin::Source;
use crate::source::filters::FilterScope;
use crate::source::grpc_route::{GrpcRouteSpec, GrpcRule};
use crate::source::{parse, to_json};
use crate::verdict::Problem;

/// Translates a GRPCRoute.
pub(crate) fn draft<'a>(context: &Context<'a>, source: &Source<'a>) -> Result<Draft<'a>, Problem> {
    let GrpcRouteSpec {
        parent_refs,
        hostnames,
        rules,
    } = parse("spec", source.spec)?;
    let parents = rules::parent_refs(context, source)?;
    rules::check_hostnames(context, source, &hostnames)?;
    let mut rewriter = Rewriter::new(context, source, FilterScope::Grpc);
    let rules = rules
        .into_iter()
        .enumerate()
        .map(|(index, rule)| rewrite(&mut rewriter, index, rule));
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    let spec = rules::with_parents(
        to_json(&GrpcRouteSpec {
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

fn rewrite(rewriter: &mut Rewriter<'_>, index: usize, rule: GrpcRule) -> Result<GrpcRule, Problem> {
    let GrpcRule {
        name,
        matches,
        filters,
        backend_refs,
        session_persistence,
    } = rule;
    let place = Place::rule(index);
    session_persistence.check(place.field("sessionPersistence"), "is not served")?;
    Ok(GrpcRule {
        name,
        matches,
        filters: rewriter.filters(&place, filters)?,
        backend_refs: rewriter.backend_refs(&place, backend_refs)?,
        session_persistence,
    })
}
