//! TLSRoute, TCPRoute and UDPRoute to the hub's.

use api::v1alpha1::Protocol;

use super::rules::{Place, Rewriter, Rule, draft_route};
use super::{Context, Draft};
use crate::origin::Source;
use crate::output::Kind;
use crate::source::filters::FilterScope;
use crate::source::l4_route::L4Rule;
use crate::verdict::Problem;

/// Translates a TLSRoute, TCPRoute or UDPRoute.
pub(crate) fn draft<'a>(context: &'a Context<'a>, source: &Source<'a>) -> Result<Draft<'a>, Problem> {
    let transport = if source.kind == Kind::UdpRoute {
        Protocol::UDP
    } else {
        Protocol::TCP
    };
    draft_route(context, source, transport, FilterScope::None, rewrite)
}

impl Rule for L4Rule {
    /// Every rule takes all that there is.
    fn match_keys(&self) -> Vec<String> {
        vec![String::new()]
    }
}

fn rewrite(rewriter: &mut Rewriter<'_>, index: usize, rule: L4Rule) -> Result<L4Rule, Problem> {
    let L4Rule { name, backend_refs } = rule;
    Ok(L4Rule {
        name,
        backend_refs: rewriter.backend_refs(&Place::rule(index), backend_refs)?,
    })
}
