//! GRPCRoute to the hub's GRPCRoute.

use super::rules::{Place, Rewriter, draft_route};
use super::{Context, Draft};
use crate::origin::Source;
use crate::source::filters::FilterScope;
use crate::source::grpc_route::GrpcRule;
use crate::verdict::Problem;

/// Translates a GRPCRoute.
pub(crate) fn draft<'a>(context: &Context<'a>, source: &Source<'a>) -> Result<Draft<'a>, Problem> {
    draft_route(context, source, FilterScope::Grpc, rewrite)
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
