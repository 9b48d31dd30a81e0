//! Writes Services and EndpointSlices of ours in the own cluster, and remembers what its API server refuses.
//!
//! A refusal (a quota, an admission webhook, a rule of validation) ends without an event. So it is tried again,
//! after a time that grows, and not with every run; at once if something else is wanted. What could not be
//! written for a moment is no refusal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::meta::{COMPONENT_LABEL, MANAGED_BY, MANAGED_BY_LABEL};
use controller_kit::apply::{Applier, ApplyError, Report};
use controller_kit::backoff::Backoff;
use controller_kit::diff::Plan;
use controller_kit::object::{ObjectError, ObjectId};
use controller_kit::watch::Synced;
use controller_kit::{Object, ObjectKey, ReconcileError};
use gateway_semantics::{
    GATEWAY_COMPONENT, Outcome, RefusedService, SHADOW_COMPONENT, SLICE_MANAGED_BY, SLICE_MANAGED_BY_LABEL,
    Snapshot, evaluate,
};
use serde_json::Value;
use tokio::time::Instant;

use super::super::{ControllerError, REFUSED_RETRY};
use super::GatewayApi;
use super::write::{Written, note_done};
use crate::FIELD_MANAGER;
use crate::hub::fault::chain;

/// When what was refused is tried again. The ceilings are used, not delays at random: there is one writer.
const RETRY: Backoff = Backoff {
    base: Duration::from_secs(5),
    max: REFUSED_RETRY,
};
/// So much of the API server's words is passed on.
const MAX_WORDS: usize = 400;
/// Values of the component label on Services of ours.
const COMPONENTS: [&str; 2] = [SHADOW_COMPONENT, GATEWAY_COMPONENT];

/// What the API server of the own cluster refuses.
#[derive(Debug, Default)]
pub struct Refusals {
    known: Mutex<BTreeMap<ObjectId, Refused>>,
}

#[derive(Debug)]
struct Refused {
    desired: Value,
    words: String,
    attempts: u32,
    due: Instant,
}

impl Refusals {
    /// Leaves out of `plan` what was refused as it is wanted now and is not to be tried again yet. Forgets what is
    /// not wanted any more, or not so, or was written by somebody else.
    fn hold_back(&self, plan: &mut Plan, kind: &str, now: Instant) {
        let mut known = self.lock();
        known.retain(|id, refused| {
            let stands = |desired: &Object| desired.id() == id && *desired.value() == refused.desired;
            id.kind != kind || plan.apply.iter().any(|change| stands(&change.desired))
        });
        plan.apply.retain(|change| {
            known
                .get(change.desired.id())
                .is_none_or(|refused| refused.due <= now)
        });
    }

    /// Takes in how it went. True if some refusal is new, of another cause, or over.
    fn learn(&self, tried: &BTreeMap<ObjectId, Value>, report: &Report, now: Instant) -> bool {
        let mut known = self.lock();
        let mut is_news = false;
        for id in report.applied.iter().map(Object::id).chain(&report.foreign) {
            is_news |= known.remove(id).is_some();
        }
        for (id, words) in report.failed.iter().filter_map(refusal) {
            let Some(desired) = tried.get(id) else { continue };
            let (attempts, words) = match known.get(id) {
                // The words stay as they were told while only numbers in them change, or status would follow them.
                Some(old) if is_alike(&old.words, &words) => {
                    (old.attempts.saturating_add(1), old.words.clone())
                }
                _ => {
                    is_news = true;
                    (0, words)
                }
            };
            let refused = Refused {
                desired: desired.clone(),
                words,
                attempts,
                due: now + RETRY.ceiling(attempts),
            };
            known.insert(id.clone(), refused);
        }
        is_news
    }

    /// Services that are refused, for the snapshot.
    pub fn services(&self) -> Vec<RefusedService> {
        let known = self.lock();
        let services = known.iter().filter(|(id, _)| id.kind == "Service");
        services
            .map(|(id, refused)| RefusedService {
                namespace: id.key.namespace.clone(),
                name: id.key.name.clone(),
                message: refused.words.clone(),
            })
            .collect()
    }

    /// How long until the next one is to be tried again.
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        let next = self.lock().values().map(|refused| refused.due).min()?;
        Some(next.saturating_duration_since(now).max(Duration::from_secs(1)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectId, Refused>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The API server's words, if it will not take the object as it is. That the name is not found, that somebody
/// else wrote, that it is asked too often or does not know us any more says nothing about the object.
fn refusal(error: &ApplyError) -> Option<(&ObjectId, String)> {
    let (ApplyError::Apply { id, source } | ApplyError::Get { id, source }) = error else {
        return None;
    };
    let kube::Error::Api(status) = source.as_ref() else {
        return None;
    };
    let code = status.code;
    if !(400..500).contains(&code) || matches!(code, 401 | 404 | 408 | 409 | 429) {
        return None;
    }
    let mut words: String = status.message.chars().take(MAX_WORDS).collect();
    if words.len() < status.message.len() {
        words.push('…');
    }
    Some((id, format!("{words} ({code})")))
}

/// The same words but for their numbers, and names made of numbers: a quota tells how much is used.
fn is_alike(a: &str, b: &str) -> bool {
    let stable = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words
            .filter(|word| !word.chars().any(|c| c.is_ascii_digit()))
            .map(str::to_owned)
            .collect()
    };
    let code = |text: &str| text.rsplit_once('(').map(|(_, code)| code.to_owned());
    code(a) == code(b) && stable(a) == stable(b)
}

/// What is to be removed from the own cluster, after the hub has taken what does without it.
#[derive(Debug, Default)]
pub(super) struct Removal {
    services: Plan,
    slices: Plan,
}

impl GatewayApi {
    /// Brings Services and EndpointSlices of the own cluster to what was decided. What turns out to be refused goes
    /// into the snapshot, and all is decided anew: what the refusal means is told and sent in the same run. What
    /// nobody needs any more is given back, to be removed later.
    pub(super) async fn expose(
        &self,
        snapshot: &mut Snapshot,
        outcome: &mut Outcome,
        written: &mut Written,
    ) -> (Removal, Result<(), ControllerError>) {
        let mut removal = Removal::default();
        let result = self.expose_all(snapshot, outcome, written, &mut removal).await;
        let Removal { services, slices } = &mut removal;
        written.lingers = self.lingering.hold_back(services, slices, Instant::now());
        (removal, result)
    }

    async fn expose_all(
        &self,
        snapshot: &mut Snapshot,
        outcome: &mut Outcome,
        written: &mut Written,
        removal: &mut Removal,
    ) -> Result<(), ControllerError> {
        let mut services = self.plan_services(outcome)?;
        removal.services.delete = std::mem::take(&mut services.delete);
        let result = self.write(services, "Service", is_own_service, written).await;
        let refused = self.refusals.services();
        if refused != snapshot.refused_services {
            snapshot.refused_services = refused;
            *outcome = evaluate(snapshot, &self.settings);
        }
        let mut slices = self.plan_slices(outcome)?;
        removal.slices.delete = std::mem::take(&mut slices.delete);
        let slices = self.write(slices, "EndpointSlice", is_own_slice, written).await;
        result.and(slices)
    }

    /// Removes what nobody needs any more.
    pub(super) async fn withdraw(
        &self,
        removal: Removal,
        synced: &Synced,
        written: &mut Written,
    ) -> Result<(), ControllerError> {
        let Removal { services, slices } = removal;
        let applier = self.own_applier();
        let report = applier.execute(slices, Some(synced), is_own_slice).await;
        let result = self.note_own(report, written);
        let report = applier.execute(services, Some(synced), is_own_service).await;
        result.and(self.note_own(report, written))
    }

    fn own_applier(&self) -> Applier {
        Applier::new(self.context.tenant.clone(), FIELD_MANAGER, &[])
    }

    async fn write(
        &self,
        mut plan: Plan,
        kind: &str,
        is_ours: impl Fn(&Object) -> bool + Sync,
        written: &mut Written,
    ) -> Result<(), ControllerError> {
        self.refusals.hold_back(&mut plan, kind, Instant::now());
        let tried = plan.apply.iter().map(|change| &change.desired);
        let tried = tried.map(|desired| (desired.id().clone(), desired.value().clone()));
        let tried: BTreeMap<ObjectId, Value> = tried.collect();
        let report = self.own_applier().execute(plan, None, is_ours).await;
        let is_news = self.refusals.learn(&tried, &report, Instant::now());
        self.log_failures(&report, is_news);
        self.note_own(report, written)
    }

    fn log_failures(&self, report: &Report, is_news: bool) {
        let tenant = &*self.context.hub_namespace;
        for error in &report.failed {
            self.metrics.own_cluster.error(error.reason());
            let (reason, text) = (error.reason(), chain(error));
            if is_news || refusal(error).is_none() {
                tracing::warn!(
                    tenant,
                    reason,
                    "the API server of the own cluster did not take an object: {text}"
                );
            } else {
                tracing::debug!(
                    tenant,
                    reason,
                    "the API server of the own cluster still refuses: {text}"
                );
            }
        }
    }

    /// Logs what was done. The error is one that may pass by itself.
    fn note_own(&self, report: Report, written: &mut Written) -> Result<(), ControllerError> {
        note_done(&self.context.hub_namespace, &report, written);
        written.left |= report
            .failed
            .iter()
            .any(|error| matches!(error, ApplyError::Delete { .. }));
        if report.failed.iter().any(ApplyError::is_transient) {
            report.into_result()?;
        }
        Ok(())
    }

    fn plan_services(&self, outcome: &Outcome) -> Result<Plan, ObjectError> {
        let wanted = outcome.shadow_services.iter().chain(&outcome.gateway_services);
        let mut memory = self.memory.lock();
        let desired = memory.services.render(
            wanted.map(|service| (ObjectKey::of(service), service)),
            |_, service| Object::typed(service),
        )?;
        let names: BTreeSet<&str> = desired
            .iter()
            .map(|object| object.id().key.name.as_str())
            .collect();
        // Only what may be ours is turned into JSON: a cluster may have thousands of other Services.
        let live = self.stores.services.objects_where(|service| {
            let labels = service.metadata.labels.as_ref();
            let component = labels.and_then(|labels| labels.get(COMPONENT_LABEL));
            component.is_some_and(|component| COMPONENTS.contains(&component.as_str()))
                || (service.metadata.name.as_deref()).is_some_and(|name| names.contains(name))
        })?;
        Ok(memory.settled_services.plan(desired, &live, is_own_service))
    }

    fn plan_slices(&self, outcome: &Outcome) -> Result<Plan, ObjectError> {
        let desired = outcome
            .endpoint_slices
            .iter()
            .map(Object::typed)
            .collect::<Result<Vec<_>, _>>()?;
        let live = self.stores.endpoint_slices.objects()?;
        let mut memory = self.memory.lock();
        Ok(memory.settled_slices.plan(desired, &live, is_own_slice))
    }
}

fn is_own_service(object: &Object) -> bool {
    let component = object.label(COMPONENT_LABEL);
    object.label(MANAGED_BY_LABEL) == Some(MANAGED_BY)
        && component.is_some_and(|component| COMPONENTS.contains(&component))
}

fn is_own_slice(object: &Object) -> bool {
    object.label(SLICE_MANAGED_BY_LABEL) == Some(SLICE_MANAGED_BY)
        && object.label(MANAGED_BY_LABEL) == Some(MANAGED_BY)
}

#[cfg(test)]
mod tests {
    use controller_kit::ObjectKey;
    use controller_kit::diff::Change;
    use controller_kit::test_support::api_error_saying;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    use super::*;

    fn service(port: i32) -> Object {
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "shop", "name": "s"}, "spec": {"ports": [{"port": port}]}});
        Object::typed(&serde_json::from_value::<Service>(service).unwrap()).unwrap()
    }

    fn failed(code: u16, message: &str) -> ApplyError {
        let id = ObjectId {
            group: String::new(),
            kind: "Service".to_owned(),
            key: ObjectKey::new("shop", "s"),
        };
        ApplyError::Apply {
            id,
            source: Box::new(api_error_saying(code, message)),
        }
    }

    /// One run in which `desired` is wanted and not there. Says whether it was tried, and whether there is news.
    fn run(refusals: &Refusals, desired: &Object, answer: Option<ApplyError>, now: Instant) -> (bool, bool) {
        let mut plan = Plan::default();
        plan.apply.push(Change {
            desired: desired.clone(),
            replaces: None,
        });
        refusals.hold_back(&mut plan, "Service", now);
        if plan.apply.is_empty() {
            return (false, false);
        }
        let tried = BTreeMap::from([(desired.id().clone(), desired.value().clone())]);
        let mut report = Report::default();
        match answer {
            Some(error) => report.failed.push(error),
            None => report.applied.push(desired.clone()),
        }
        (true, refusals.learn(&tried, &report, now))
    }

    #[test]
    fn what_is_refused_is_tried_again_after_a_time_that_grows() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let quota = |used: u32| Some(failed(403, &format!("exceeded quota: used: {used}")));
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(run(&refusals, &service(80), quota(1), at(0)), (true, true));
        assert_eq!(run(&refusals, &service(80), quota(1), at(4)), (false, false));
        assert_eq!(run(&refusals, &service(80), quota(2), at(5)), (true, false));
        assert_eq!(run(&refusals, &service(80), quota(2), at(14)), (false, false));
        assert_eq!(refusals.services()[0].message, "exceeded quota: used: 1 (403)");
        assert_eq!(refusals.due_in(at(14)), Some(Duration::from_secs(1)));
        assert_eq!(run(&refusals, &service(80), None, at(15)), (true, true));
        assert_eq!((refusals.services(), refusals.due_in(at(15))), (Vec::new(), None));
    }

    #[test]
    fn another_wish_is_tried_at_once_and_another_cause_is_news() {
        let refusals = Refusals::default();
        let now = Instant::now();
        run(&refusals, &service(80), Some(failed(403, "exceeded quota")), now);
        assert_eq!(
            run(
                &refusals,
                &service(81),
                Some(failed(403, "denied by a webhook")),
                now
            ),
            (true, true)
        );
        assert_eq!(refusals.services()[0].message, "denied by a webhook (403)");
    }

    #[test]
    fn what_is_not_wanted_any_more_is_forgotten() {
        let refusals = Refusals::default();
        let now = Instant::now();
        run(&refusals, &service(80), Some(failed(422, "invalid")), now);
        refusals.hold_back(&mut Plan::default(), "EndpointSlice", now);
        assert_eq!(refusals.services().len(), 1);
        refusals.hold_back(&mut Plan::default(), "Service", now);
        assert_eq!(refusals.services(), Vec::new());
    }

    #[test]
    fn only_a_definite_answer_is_a_refusal() {
        for code in [400, 403, 405, 413, 422] {
            assert!(refusal(&failed(code, "no")).is_some(), "{code}");
        }
        for code in [401, 404, 408, 409, 429, 500, 503, 504] {
            assert!(refusal(&failed(code, "no")).is_none(), "{code}");
        }
    }

    #[test]
    fn long_words_are_cut() {
        let error = failed(400, &"é".repeat(1000));
        let (_, words) = refusal(&error).unwrap();
        assert_eq!(words.chars().count(), MAX_WORDS + "… (400)".chars().count());
    }
}
