//! What is said about Routes and SyncSecrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::condition::{self, ConditionValue};
use api::v1alpha1::{
    Route, RouteStatus, SyncSecret, SyncSecretStatus, route_condition as reason,
    sync_secret_condition as secret_reason,
};
use controller_kit::object::ObjectId;
use controller_kit::status::StatusWrite;
use futures::{StreamExt, TryStreamExt, stream};
use gateway_translator::{
    HubObservations, Input, Kind, ObjectKey, Observed, Output, Problem, Settings, Verdict, facts,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt};
use serde_json::Value;
use tokio::time::Instant;

use super::apply::Applied;
use crate::context::{Context, Error, now};

/// Statuses written at the same time.
const CONCURRENCY: usize = 8;

/// How long a status that only says that something is on its way waits for what comes of it. Envoy Gateway usually
/// has looked at an object in a third of that.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Writes those that changed, and tells when one that waits is due.
///
/// # Errors
/// When the API server refuses one.
pub async fn write_all(
    ctx: &Context,
    input: &Input,
    settings: &Settings,
    output: &Output,
    applied: &Applied,
) -> Result<Option<Duration>, Error> {
    let verdicts: BTreeMap<String, Verdict> = output
        .verdicts
        .iter()
        .map(|(name, v)| (name.clone(), with_refusal(v, applied)))
        .collect();
    let shared = shared(ctx, settings);
    let all = facts(input, &verdicts, &observations(applied, &shared));
    let time = Time(now());
    let api: Api<Route> = Api::namespaced(ctx.client.clone(), &input.namespace);
    let asked = Instant::now();
    let mut due_in: Option<Duration> = None;
    let mut writes = Vec::new();
    for route in &input.routes {
        let Some(facts) = all.get(&route.name_any()).cloned() else {
            continue;
        };
        let generation = route.metadata.generation.unwrap_or_default();
        let status = facts.into_status(route.status.as_ref(), generation, &time);
        let uid = route.metadata.uid.as_deref().unwrap_or_default();
        let is_news = route.status.as_ref() != Some(&status);
        let left = ctx.patience.left(uid, is_news && is_on_its_way(&status), asked);
        due_in = due_in.into_iter().chain(left).min();
        if !is_news || left.is_some() {
            continue;
        }
        let api = &api;
        writes.push(async move {
            if let StatusWrite::Written(Some(now)) = ctx.write_status(api, route.as_ref(), &status).await? {
                ctx.stores.routes.take_in(*now);
            }
            Ok::<_, Error>(())
        });
    }
    stream::iter(writes)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await?;
    write_secrets(ctx, input, output, &time).await?;
    Ok(due_in)
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
fn with_refusal(verdict: &Verdict, applied: &Applied) -> Verdict {
    let mut verdict = verdict.clone();
    let words = verdict
        .objects
        .iter()
        .find_map(|key| applied.refused.get(&id_of(key)));
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

fn observations<'a>(applied: &'a Applied, shared: &'a [Value]) -> HubObservations<'a> {
    let own = applied.live.iter().filter_map(|object| {
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == object.id().kind)?;
        Some(Observed {
            kind,
            object: object.value(),
            in_sync: !applied.out_of_sync.contains(object.id()),
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

async fn write_secrets(ctx: &Context, input: &Input, output: &Output, now: &Time) -> Result<(), Error> {
    let api: Api<SyncSecret> = Api::namespaced(ctx.client.clone(), &input.namespace);
    let mut writes = Vec::with_capacity(input.sync_secrets.len());
    for secret in &input.sync_secrets {
        let status = secret_status(secret, output.secret_problems.get(&secret.name_any()), now);
        if secret.status.as_ref() == Some(&status) {
            continue;
        }
        let api = &api;
        writes.push(async move { ctx.write_status(api, secret.as_ref(), &status).await });
    }
    stream::iter(writes)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

fn secret_status(secret: &Arc<SyncSecret>, problem: Option<&Problem>, now: &Time) -> SyncSecretStatus {
    let generation = secret.metadata.generation.unwrap_or_default();
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
