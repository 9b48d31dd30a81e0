//! Keeps a route for a moment after it was written, even if it is not wanted any more.
//!
//! An Envoy that hears of a cluster asks for its endpoints and secrets, and takes no other change of clusters until it
//! has them. If the route is gone by then, Envoy Gateway does not know the cluster any more and never answers: for 30
//! seconds all routes of that Gateway stay as they are, also those of other tenants on a shared one. So a route must
//! not go before its clusters have come. Says only when; what is unwanted is decided in the plan.

use std::collections::BTreeMap;
use std::time::Duration;

use controller_kit::diff::Plan;
use controller_kit::object::{Object, ObjectId};
use controller_kit::patience::remaining;
use gateway_translator::Kind;
use tokio::time::Instant;

use crate::by_namespace::ByNamespace;

/// How long a route stays after it was written: until the slowest Envoy has its clusters.
pub const YOUTH: Duration = Duration::from_secs(3);

/// Routes that were written lately, by tenant namespace. A process that starts anew takes all for old.
#[derive(Debug, Default)]
pub struct Young(ByNamespace<BTreeMap<ObjectId, Instant>>);

impl Young {
    /// Remembers the routes among what was written.
    pub fn note<'a>(&self, namespace: &str, written: impl Iterator<Item = &'a Object>, now: Instant) {
        let routes: Vec<ObjectId> = written
            .map(Object::id)
            .filter(|id| is_route(id))
            .cloned()
            .collect();
        let mut young = self.0.take(namespace);
        young.retain(|_, since| remaining(*since, YOUTH, now).is_some());
        young.extend(routes.into_iter().map(|id| (id, now)));
        if !young.is_empty() {
            self.0.put(namespace, young);
        }
    }

    /// Takes out of the deletions the routes that must not go yet. Says how long until the next of them may.
    pub fn hold_back(&self, namespace: &str, plan: &mut Plan, now: Instant) -> Option<Duration> {
        if plan.delete.is_empty() {
            return None;
        }
        let young = self.0.get(namespace);
        let mut next: Option<Duration> = None;
        plan.delete.retain(|object| {
            let since = young.get(object.id());
            let left = since.and_then(|since| remaining(*since, YOUTH, now));
            next = next.into_iter().chain(left).min();
            left.is_none()
        });
        next
    }
}

fn is_route(id: &ObjectId) -> bool {
    Kind::ALL
        .iter()
        .any(|kind| kind.is_route() && kind.as_str() == id.kind)
}

#[cfg(test)]
mod tests {
    use kube::core::{ApiResource, GroupVersionKind};
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str) -> Object {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("g", "v1", kind));
        Object::from_value(json!({"metadata": {"namespace": "t", "name": name}}), &resource).unwrap()
    }

    /// Names of what goes, and the seconds until more may.
    fn goes(young: &Young, delete: &[Object], now: Instant) -> (Vec<String>, Option<u64>) {
        let mut plan = Plan {
            delete: delete.to_vec(),
            ..Plan::default()
        };
        let next = young.hold_back("t", &mut plan, now);
        let names = plan.delete.iter().map(|object| object.id().key.name.clone());
        (names.collect(), next.map(|left| left.as_secs()))
    }

    #[test]
    fn a_route_stays_for_three_seconds_after_it_was_written_and_nothing_else_does() {
        let (young, start) = (Young::default(), Instant::now());
        let all = [
            object("TCPRoute", "new"),
            object("Gateway", "edge"),
            object("HTTPRoute", "old"),
        ];
        young.note("t", all.iter().take(2), start);
        assert_eq!(
            goes(&young, &all, start),
            (vec!["edge".into(), "old".into()], Some(3))
        );
        assert_eq!(goes(&young, &all[..1], start + YOUTH), (vec!["new".into()], None));
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let (young, start) = (Young::default(), Instant::now());
        young.note("t", [object("HTTPRoute", "a")].iter(), start);
        young.note("t", [].iter(), start + YOUTH);
        assert!(young.0.is_empty());
    }
}
