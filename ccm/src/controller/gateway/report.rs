//! Tells the tenant what became of its objects: statuses and Events, from what was found last.
//!
//! It runs beside the loop that brings objects to the hub, so that a new route does not wait until all is said about
//! the one before; and what routes attach to beside the routes, so that a Gateway's count does not wait for a thousand
//! of them. Nothing is decided here but when a status is worth a write.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use controller_kit::driver::Outcome;
use controller_kit::events::Notice as Told;
use controller_kit::status::{StatusWrite, update_status};
use futures::{StreamExt, stream};
use gateway_semantics::{
    Event, EventType, ObjectKind, ObjectRef, Statuses, clean_former_status, merge_class_status,
    merge_gateway_status, merge_listener_set_status, merge_policy_ancestors, merge_route_parents,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::core::DynamicObject;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::super::{ControllerError, Freshness, about};
use super::{API_VERSION, GatewayApi, stores};
use crate::FIELD_MANAGER;
use crate::convert::origin::Origin;
use crate::hub::refusal::Refusal;
use crate::notice::Notice;

/// Statuses written at the same time.
const CONCURRENCY: usize = 8;

/// What a run found.
#[derive(Debug)]
pub struct Finding {
    /// The term of office in which it was found.
    pub term: u64,
    /// What each object's status shall be.
    pub statuses: Statuses,
    /// UIDs of objects whose status may wait a moment for the hub's answer.
    pub provisional: BTreeSet<String>,
    /// There is more to bring to the hub, before which nothing is told that may wait.
    pub more: bool,
    /// What is worth an Event.
    pub events: Vec<Event>,
    /// What the hub did not take, and will not take without a change.
    pub refused: Vec<Refusal>,
}

/// What is told beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Routes. There may be many.
    Routes,
    /// All else.
    Parents,
}

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Routes, Self::Parents];

    fn of(object: &ObjectRef) -> Self {
        match object.kind {
            ObjectKind::Route(_) => Self::Routes,
            ObjectKind::GatewayClass
            | ObjectKind::Gateway
            | ObjectKind::ListenerSet
            | ObjectKind::BackendTlsPolicy
            | ObjectKind::ReferenceGrant => Self::Parents,
        }
    }
}

/// One for each part.
#[derive(Debug, Default)]
pub struct ByPart<T> {
    routes: T,
    parents: T,
}

impl<T> ByPart<T> {
    fn get(&self, part: Part) -> &T {
        match part {
            Part::Routes => &self.routes,
            Part::Parents => &self.parents,
        }
    }
}

/// What was found last, and who is to be woken for it.
pub struct Findings {
    latest: Mutex<Latest>,
    wake: Box<dyn Fn(Part) + Send + Sync>,
}

#[derive(Default)]
struct Latest {
    whole: Option<Arc<Finding>>,
    /// What a run that has not ended found of all but routes.
    early: Option<Arc<Finding>>,
}

impl Findings {
    /// Nothing yet. `wake` is called for each part of a finding and must not block.
    pub fn new(wake: impl Fn(Part) + Send + Sync + 'static) -> Self {
        Self {
            latest: Mutex::default(),
            wake: Box::new(wake),
        }
    }

    /// Takes the place of what was found before.
    pub(super) fn put(&self, finding: Finding) {
        *self.lock() = Latest {
            whole: Some(Arc::new(finding)),
            early: None,
        };
        Part::ALL.into_iter().for_each(&self.wake);
    }

    /// Takes the place of what was found before of all but routes.
    pub(super) fn put_early(&self, finding: Finding) {
        self.lock().early = Some(Arc::new(finding));
        (self.wake)(Part::Parents);
    }

    /// What the last run that ended found.
    pub(super) fn last(&self) -> Option<Arc<Finding>> {
        self.lock().whole.clone()
    }

    fn of(&self, part: Part) -> Option<Arc<Finding>> {
        let latest = self.lock();
        let early = match part {
            Part::Routes => None,
            Part::Parents => latest.early.clone(),
        };
        early.or_else(|| latest.whole.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole new status of an object, if it is to change.
type Merge<'a> = Box<dyn Fn(&DynamicObject) -> Option<Value> + Send + Sync + 'a>;

/// A status to write.
struct Write<'a> {
    object: &'a ObjectRef,
    current: Arc<DynamicObject>,
    merge: Merge<'a>,
}

/// Statuses that are to change.
struct Due<'a> {
    /// Now.
    writes: Vec<Write<'a>>,
    /// UIDs of objects whose status waits for the hub's answer.
    waiting: BTreeSet<&'a str>,
    /// When the first of these is to be written in any case.
    due_in: Option<Duration>,
}

impl GatewayApi {
    /// Writes each status of a part that differs, one write an object, and tells what is new.
    ///
    /// # Errors
    /// When a status could not be written; all others were.
    pub async fn report(&self, part: Part) -> Result<Outcome, ControllerError> {
        let latest = self.findings.of(part);
        let Some(finding) = latest.filter(|finding| self.context.gate.term() == Some(finding.term)) else {
            return Ok(Outcome::done());
        };
        let started = std::time::Instant::now();
        let now = Time(Timestamp::now());
        let Due {
            writes,
            mut waiting,
            due_in,
        } = self.due(part, &finding, &now);
        let mut all = Vec::with_capacity(writes.len());
        for write in writes {
            let object = write.object;
            all.push(async move { (object, self.write_one(write).await) });
        }
        let written: Vec<_> = stream::iter(all).buffer_unordered(CONCURRENCY).collect().await;
        let mut result = Ok(());
        let mut statuses = BTreeSet::new();
        for (object, outcome) in written {
            let success = outcome.is_ok();
            if !matches!(outcome, Ok(false)) {
                let (kind, namespace) = (object.kind.as_str(), &object.namespace);
                self.metrics.changed(kind, namespace, started.elapsed(), success);
            }
            match outcome {
                Ok(true) => statuses.insert(object.uid.as_str()),
                Ok(false) => false,
                Err(_) => waiting.insert(object.uid.as_str()),
            };
            result = result.and(outcome.map(drop));
        }
        self.tell(part, &finding, &statuses, &waiting).await;
        result.map(|()| Outcome {
            requeue_after: due_in,
        })
    }

    /// Which statuses to write now, and which later.
    fn due<'a>(&'a self, part: Part, finding: &'a Finding, now: &'a Time) -> Due<'a> {
        let asked = Instant::now();
        let mut due_in: Option<Duration> = None;
        let mut writes = Vec::new();
        let mut waiting = BTreeSet::new();
        // What routes attach to counts them in time, however many there are.
        let crowd = match part {
            Part::Routes if finding.more => usize::MAX,
            Part::Routes => finding.provisional.len(),
            Part::Parents => 0,
        };
        let all = merges(&finding.statuses, &self.settings.controller_name, now);
        for (object, merge) in all.filter(|(object, _)| Part::of(object) == part) {
            let current = self
                .stores
                .of_kind(object.kind)
                .get(&object.namespace, &object.name);
            let Some(current) = current.filter(|c| c.metadata.uid.as_ref() == Some(&object.uid)) else {
                continue;
            };
            let is_news = merge(&current).is_some();
            let may_wait = is_news && finding.provisional.contains(&object.uid);
            let left = self.patience.left_in_crowd(crowd, &object.uid, may_wait, asked);
            due_in = due_in.into_iter().chain(left).min();
            if left.is_some() {
                waiting.insert(object.uid.as_str());
            } else if is_news {
                writes.push(Write {
                    object,
                    current,
                    merge,
                });
            }
        }
        Due {
            writes,
            waiting,
            due_in,
        }
    }

    /// Whether something was written.
    async fn write_one(&self, write: Write<'_>) -> Result<bool, ControllerError> {
        let Write {
            object,
            current,
            merge,
        } = write;
        let store = self.stores.of_kind(object.kind);
        let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
        let api: Api<DynamicObject> = match namespace {
            "" => Api::all_with(self.context.tenant.clone(), store.resource()),
            namespace => Api::namespaced_with(self.context.tenant.clone(), namespace, store.resource()),
        };
        let change =
            |object: &DynamicObject| merge(object).map(|wanted| replacement(status_of(object), wanted));
        let StatusWrite::Written(now) = update_status(&api, current.as_ref(), FIELD_MANAGER, change).await?
        else {
            return Ok(false);
        };
        if let Some(now) = now {
            store.take_in(*now);
        }
        let (tenant, kind) = (&*self.context.hub_namespace, object.kind.as_str());
        tracing::info!(tenant, kind, namespace, name, "status written");
        Ok(true)
    }

    /// Tells what is new. Of what stands when the process starts that is only what comes with a changed status: the
    /// rest was told by the process before. `waiting` has a status that is still to be written.
    async fn tell(&self, part: Part, finding: &Finding, statuses: &BTreeSet<&str>, waiting: &BTreeSet<&str>) {
        let Finding { events, refused, .. } = finding;
        let of_hub = refused.iter().filter_map(|refusal| self.event_of(refusal));
        let events = events.iter().cloned().chain(of_hub);
        let events = events.filter(|event| Part::of(&event.object) == part);
        let freshness = |event: &Event| {
            let uid = event.object.uid.as_str();
            if statuses.contains(uid) || refused.iter().any(|r| r.notice.message == event.message) {
                Freshness::Fresh
            } else if waiting.contains(uid) {
                Freshness::Unknown
            } else {
                Freshness::Stale
            }
        };
        for event in self.told.get(part).news(events, freshness) {
            let Event {
                object,
                type_,
                reason,
                message,
            } = &event;
            let tenant = &*self.context.hub_namespace;
            let (kind, namespace, name) = (object.kind.as_str(), &object.namespace, &object.name);
            let about = about(api_version(object.kind), origin(object));
            match type_ {
                EventType::Warning => {
                    tracing::warn!(tenant, kind, namespace, name, reason, "{message}");
                    let notice = Notice::new(reason, message.clone());
                    self.context.warn(&about, "EvaluateGatewayAPI", &notice).await;
                }
                EventType::Normal => {
                    tracing::info!(tenant, kind, namespace, name, reason, "{message}");
                    let event = Told::normal(reason, "EvaluateGatewayAPI", message.clone());
                    self.context.recorder.say(&event, &about).await;
                }
            }
        }
    }

    /// What the hub would not take, as news about the tenant's object.
    fn event_of(&self, refusal: &Refusal) -> Option<Event> {
        let object = self.stores.object_of(&refusal.id.as_ref()?.key.name)?;
        let Notice { reason, message } = refusal.notice.clone();
        Some(Event {
            object,
            type_: EventType::Warning,
            reason,
            message,
        })
    }
}

/// What is to be told about each object.
fn merges<'a>(
    statuses: &'a Statuses,
    controller: &'a str,
    now: &'a Time,
) -> impl Iterator<Item = (&'a ObjectRef, Merge<'a>)> {
    let Statuses {
        gateway_classes,
        gateways,
        former,
        listener_sets,
        policies,
        routes,
    } = statuses;
    let classes = gateway_classes.iter().map(move |(object, wanted)| {
        of_status(object, move |old| {
            merge_class_status(old, wanted, object.generation, now)
        })
    });
    let gateways = gateways.iter().map(move |(object, wanted)| {
        of_status(object, move |old| {
            merge_gateway_status(old, wanted, object.generation, now)
        })
    });
    let former = former.iter().map(|(object, wanted)| {
        let clean = |current: &DynamicObject| {
            // Of another version it is not known what in it is ours.
            let is_it = current.metadata.resource_version.as_deref() == Some(&wanted.resource_version);
            is_it
                .then(|| clean_former_status(status_of(current), wanted))
                .flatten()
        };
        (object, Box::new(clean) as Merge<'a>)
    });
    let sets = listener_sets.iter().map(move |(object, wanted)| {
        of_status(object, move |old| {
            merge_listener_set_status(old, wanted, object.generation, now)
        })
    });
    let policies = policies.iter().map(move |(object, wanted)| {
        of_status(object, move |old| {
            merge_policy_ancestors(old, wanted, controller, object.generation, now)
        })
    });
    let routes = routes.iter().map(move |(object, wanted)| {
        of_status(object, move |old| {
            merge_route_parents(old, wanted, controller, object.generation, now)
        })
    });
    classes
        .chain(gateways)
        .chain(former)
        .chain(sets)
        .chain(policies)
        .chain(routes)
}

fn of_status<'a>(
    object: &'a ObjectRef,
    merge: impl Fn(&Value) -> Option<Value> + Send + Sync + 'a,
) -> (&'a ObjectRef, Merge<'a>) {
    (
        object,
        Box::new(move |current: &DynamicObject| merge(status_of(current))),
    )
}

fn status_of(object: &DynamicObject) -> &Value {
    object.data.get("status").unwrap_or(&Value::Null)
}

/// A merge patch that makes `existing` be `wanted`: what is not wanted any more must be named.
fn replacement(existing: &Value, wanted: Value) -> Value {
    let Value::Object(mut patch) = wanted else {
        return wanted;
    };
    let gone: Map<String, Value> = existing
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !patch.contains_key(*key))
        .map(|(key, _)| (key.clone(), Value::Null))
        .collect();
    patch.extend(gone);
    Value::Object(patch)
}

fn origin(object: &ObjectRef) -> Origin<'_> {
    Origin {
        kind: object.kind.as_str(),
        namespace: &object.namespace,
        name: &object.name,
        uid: &object.uid,
    }
}

fn api_version(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::ReferenceGrant => stores::REFERENCE_GRANT_API_VERSION,
        ObjectKind::GatewayClass
        | ObjectKind::Gateway
        | ObjectKind::ListenerSet
        | ObjectKind::Route(_)
        | ObjectKind::BackendTlsPolicy => API_VERSION,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finding(term: u64) -> Finding {
        Finding {
            term,
            statuses: Statuses::default(),
            provisional: BTreeSet::new(),
            more: true,
            events: Vec::new(),
            refused: Vec::new(),
        }
    }

    #[test]
    fn what_routes_attach_to_is_told_while_a_run_goes_on_and_routes_when_it_has_ended() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let findings = Findings::new({
            let woken = woken.clone();
            move |part| woken.lock().unwrap().push(part)
        });
        let terms = || Part::ALL.map(|part| findings.of(part).map(|finding| finding.term));
        findings.put(finding(1));
        findings.put_early(finding(2));
        assert_eq!(terms(), [Some(1), Some(2)]);
        assert_eq!(findings.last().map(|finding| finding.term), Some(1));
        findings.put(finding(3));
        assert_eq!(terms(), [Some(3), Some(3)]);
        let (routes, parents) = (Part::Routes, Part::Parents);
        assert_eq!(
            *woken.lock().unwrap(),
            [routes, parents, parents, routes, parents]
        );
    }

    #[test]
    fn a_status_is_replaced_with_what_is_not_wanted_any_more_named() {
        let existing = json!({"addresses": [1], "listeners": []});
        assert_eq!(
            replacement(&existing, json!({"listeners": [2]})),
            json!({"listeners": [2], "addresses": null})
        );
        assert_eq!(
            replacement(&Value::Null, json!({"parents": []})),
            json!({"parents": []})
        );
    }
}
