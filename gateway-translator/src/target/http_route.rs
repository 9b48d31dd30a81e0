//! HTTPRoute to the hub's HTTPRoute.

use super::rules::{Place, Rewriter, draft_route};
use super::{Context, Draft};
use crate::origin::Source;
use crate::source::filters::FilterScope;
use crate::source::http_route::HttpRule;
use crate::verdict::Problem;

/// Translates an HTTPRoute.
pub(crate) fn draft<'a>(context: &Context<'a>, source: &Source<'a>) -> Result<Draft<'a>, Problem> {
    draft_route(context, source, FilterScope::Http, rewrite)
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
