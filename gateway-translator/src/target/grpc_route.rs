//! GRPCRoute to the hub's GRPCRoute.

use api::v1alpha1::Protocol;

use super::rules::{Place, Rewriter, Rule, draft_route, keys_of};
use super::{Context, Draft};
use crate::origin::Source;
use crate::source::filters::FilterScope;
use crate::source::grpc_route::GrpcRule;
use crate::verdict::Problem;

/// Translates a GRPCRoute.
pub(crate) fn draft<'a>(context: &'a Context<'a>, source: &Source<'a>) -> Result<Draft<'a>, Problem> {
    draft_route(context, source, Protocol::TCP, FilterScope::Grpc, rewrite)
}

impl Rule for GrpcRule {
    fn match_keys(&self) -> Vec<String> {
        keys_of(&self.matches)
    }
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
