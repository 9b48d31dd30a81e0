//! What is said about Routes and SyncSecrets.
//!
//! Written in a queue of its own, always from what was found last: who changes a Route waits for what becomes of it,
//! not for what is said about others. Nothing is decided here but when a status is worth a write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::condition::{self, ConditionValue};
use api::v1alpha1::{
    Route, RouteStatus, SyncSecret, SyncSecretStatus, route_condition as reason,
    sync_secret_condition as secret_reason,
};
use controller_kit::driver::Outcome;
use controller_kit::events::Notice;
use controller_kit::object::ObjectId;
use controller_kit::status::StatusWrite;
use futures::{StreamExt, TryStreamExt, stream};
use gateway_translator::{
    HubObservations, Input, Kind, ObjectKey, Observed, Problem, Settings, Verdict, facts,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, Resource, ResourceExt};
use serde_json::Value;
use tokio::time::Instant;

use super::apply::HubState;
use super::translation::Translation;
use crate::by_namespace::ByNamespace;
use crate::context::{Context, Error, now};

/// Statuses written at the same time.
const CONCURRENCY: usize = 8;

/// Where a run writes so many objects, the next one is likely to write more: what may wait leaves them the API server.
const MANY: usize = 16;

/// How long a status that only says that something is on its way waits for what comes of it. Envoy Gateway usually
/// has looked at an object in a third of that.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// What a run found, to be told.
#[derive(Debug)]
pub struct Finding {
    /// The term of office in which it was found.
    pub epoch: u64,
    /// What was translated.
    pub input: Input,
    /// What held for the tenant.
    pub settings: Settings,
    /// What it became.
    pub translation: Arc<Translation>,
    /// How that is on the hub.
    pub hub: HubState,
}

/// What was found last, by tenant namespace.
#[derive(Debug, Default)]
pub struct Findings(ByNamespace<Option<Arc<Finding>>>);

impl Findings {
    /// Takes the place of what was found before.
    pub fn put(&self, finding: Finding) {
        let namespace = finding.input.namespace.clone();
        self.0.put(&namespace, Some(Arc::new(finding)));
    }

    /// There is nothing to tell of this namespace.
    pub fn forget(&self, namespace: &str) {
        self.0.take(namespace);
    }
}

/// Tells what was found last. A status that only says that something is on its way may wait.
///
/// # Errors
/// When the API server refuses a status.
pub async fn run(ctx: &Context, namespace: &str) -> Result<Outcome, Error> {
    let last = ctx.findings.0.get(namespace);
    let Some(finding) = last.filter(|finding| ctx.leadership.epoch() == Some(finding.epoch)) else {
        return Ok(Outcome::done());
    };
    let time = Time(now());
    let (writes, due_in) = due(ctx, &finding, &time);
    let api: Api<Route> = Api::namespaced(ctx.client.clone(), namespace);
    let writes = (writes.into_iter()).map(|write| write_one(ctx, &api, &finding, write));
    stream::iter(writes)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await?;
    write_secrets(ctx, &finding, &time).await?;
    Ok(Outcome {
        requeue_after: due_in,
    })
}

/// A Route and the status that it is to have.
struct Write {
    route: Arc<Route>,
    status: RouteStatus,
}

/// Statuses to write now, and when one that waits is due.
fn due(ctx: &Context, finding: &Finding, time: &Time) -> (Vec<Write>, Option<Duration>) {
    let Finding {
        epoch: _,
        input,
        settings,
        translation,
        hub,
    } = finding;
    let verdicts: BTreeMap<String, Verdict> = (translation.verdicts.iter())
        .map(|(name, verdict)| (name.clone(), with_refusal(verdict, hub)))
        .collect();
    let shared = shared(ctx, settings);
    let mut all = facts(input, &verdicts, &observations(hub, &shared));
    let mut found = Vec::new();
    for route in &input.routes {
        let Some((facts, now)) = all.remove(&route.name_any()).zip(still_there(ctx, route)) else {
            continue;
        };
        let generation = route.metadata.generation.unwrap_or_default();
        let status = facts.into_status(now.status.as_ref(), generation, time);
        found.push(Write { route: now, status });
    }
    let crowd = match hub.written {
        0..MANY => found.iter().filter(|write| is_on_its_way(&write.status)).count(),
        MANY.. => usize::MAX,
    };
    let asked = Instant::now();
    let mut due_in: Option<Duration> = None;
    found.retain(|Write { route, status }| {
        let uid = route.metadata.uid.as_deref().unwrap_or_default();
        let is_news = route.status.as_ref() != Some(status);
        let may_wait = is_news && is_on_its_way(status);
        let left = ctx.patience.left_in_crowd(crowd, uid, may_wait, asked);
        due_in = due_in.into_iter().chain(left).min();
        is_news && left.is_none()
    });
    (found, due_in)
}

/// The Route as it is by now: its status may have been written since.
fn still_there(ctx: &Context, found: &Route) -> Option<Arc<Route>> {
    let namespace = found.metadata.namespace.as_deref().unwrap_or_default();
    let route = ctx.stores.routes.get(namespace, &found.name_any())?;
    (route.metadata.uid == found.metadata.uid).then_some(route)
}

async fn write_one(ctx: &Context, api: &Api<Route>, finding: &Finding, write: Write) -> Result<(), Error> {
    let Write { route, status } = write;
    if let StatusWrite::Written(Some(now)) = ctx.write_status(api, route.as_ref(), &status).await? {
        ctx.stores.routes.take_in(*now);
    }
    tell(ctx, &route, &status, &finding.translation).await;
    Ok(())
}

/// Says once for each generation what was left out of it.
async fn tell(ctx: &Context, route: &Route, status: &RouteStatus, translation: &Translation) {
    let seen = route
        .status
        .as_ref()
        .and_then(|before| before.observed_generation);
    if seen == status.observed_generation {
        return;
    }
    let verdict = translation.verdicts.get(&route.name_any());
    for problem in verdict.iter().flat_map(|verdict| &verdict.problems) {
        let notice = Notice::warning(problem.reason, "Translate", problem.message.clone());
        ctx.recorder.say(&notice, &route.object_ref(&())).await;
    }
}

/// Nothing is wrong, and not everything is done.
fn is_on_its_way(status: &RouteStatus) -> bool {
    let is_accepted = condition::find(&status.conditions, reason::ACCEPTED)
        .is_some_and(|accepted| accepted.status == "True");
    let is_pending = condition::find(&status.conditions, reason::PROGRAMMED)
        .is_some_and(|programmed| programmed.reason == reason::REASON_PENDING);
    is_accepted && is_pending
}

/// A Route of which the hub refused an object is not accepted, whatever the translator thought of it.
fn with_refusal(verdict: &Verdict, hub: &HubState) -> Verdict {
    let mut verdict = verdict.clone();
    let words = verdict
        .objects
        .iter()
        .find_map(|key| hub.refused.get(&id_of(key)));
    if let Some(words) = words {
        verdict.accepted =
            ConditionValue::new(reason::ACCEPTED, false, reason::REASON_NOT_APPLIED, words.clone());
    }
    verdict
}

fn id_of(key: &ObjectKey) -> ObjectId {
    ObjectId {
        group: key.kind.resource().group.to_owned(),
        kind: key.kind.as_str().to_owned(),
        key: controller_kit::ObjectKey::new(key.namespace.clone(), key.name.clone()),
    }
}

/// The shared Gateways of this tenant as they are: facts about routes on them come from there.
fn shared(ctx: &Context, settings: &Settings) -> Vec<Value> {
    (settings.shared_gateways.iter())
        .filter_map(|gateway| ctx.stores.gateways.get(&gateway.namespace, &gateway.name))
        .filter_map(|gateway| serde_json::to_value(gateway.as_ref()).ok())
        .collect()
}

fn observations<'a>(hub: &'a HubState, shared: &'a [Value]) -> HubObservations<'a> {
    let own = hub.live.iter().filter_map(|object| {
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == object.id().kind)?;
        Some(Observed {
            kind,
            object: object.value(),
            in_sync: !hub.out_of_sync.contains(object.id()),
        })
    });
    let shared = shared.iter().map(|object| Observed {
        kind: Kind::Gateway,
        object,
        in_sync: true,
    });
    HubObservations {
        objects: own.chain(shared).collect(),
    }
}

async fn write_secrets(ctx: &Context, finding: &Finding, now: &Time) -> Result<(), Error> {
    let Input {
        namespace,
        sync_secrets,
        ..
    } = &finding.input;
    let problems = &finding.translation.secret_problems;
    let api: Api<SyncSecret> = Api::namespaced(ctx.client.clone(), namespace);
    let mut writes = Vec::new();
    for found in sync_secrets {
        let name = found.name_any();
        let current = ctx.stores.sync_secrets.get(namespace, &name);
        let Some(secret) = current.filter(|secret| secret.metadata.uid == found.metadata.uid) else {
            continue;
        };
        let generation = found.metadata.generation.unwrap_or_default();
        let status = secret_status(&secret, generation, problems.get(&name), now);
        if secret.status.as_ref() == Some(&status) {
            continue;
        }
        let api = &api;
        writes.push(async move {
            if let StatusWrite::Written(Some(now)) = ctx.write_status(api, secret.as_ref(), &status).await? {
                ctx.stores.sync_secrets.take_in(*now);
            }
            Ok::<_, Error>(())
        });
    }
    stream::iter(writes)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

fn secret_status(
    secret: &SyncSecret,
    generation: i64,
    problem: Option<&Problem>,
    now: &Time,
) -> SyncSecretStatus {
    let before = secret
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    let value = match problem {
        None => ConditionValue::new(
            secret_reason::SYNCED,
            true,
            secret_reason::REASON_SYNCED,
            "the Secret on the hub holds this content",
        ),
        Some(problem) => ConditionValue::new(
            secret_reason::SYNCED,
            false,
            secret_reason::REASON_SYNC_FAILED,
            problem.message.clone(),
        ),
    };
    SyncSecretStatus {
        observed_generation: Some(generation),
        conditions: condition::merge(before, &[value], generation, now),
    }
}
