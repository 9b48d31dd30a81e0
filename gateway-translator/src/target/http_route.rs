//! HTTPRoute to the hub's HTTPRoute.

use api::v1alpha1::Protocol;

use super::rules::{Place, Rewriter, Rule, draft_route, keys_of};
use super::{Context, Draft};
use crate::origin::Source;
use crate::source::filters::FilterScope;
use crate::source::http_route::HttpRule;
use crate::verdict::Problem;

/// Translates an HTTPRoute.
pub(crate) fn draft<'a>(context: &'a Context<'a>, source: &Source<'a>) -> Result<Draft<'a>, Problem> {
    draft_route(context, source, Protocol::TCP, FilterScope::Http, rewrite)
}

impl Rule for HttpRule {
    fn match_keys(&self) -> Vec<String> {
        keys_of(&self.matches)
    }
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
