//! What the hub knows about each Route: the content of its status, without times.
//!
//! Nothing is claimed for a generation that has not got there: a hub object counts only when it is as this
//! translation wants it, was made from the generation that the Route carries, and Envoy Gateway's condition is
//! about the object's current generation.

mod gateway;
mod parent;
mod route;

use std::collections::BTreeMap;

use api::condition::{self, ConditionValue, Status};
use api::meta;
use api::v1alpha1::{HubAddress, ListenerFact, ParentFact, RouteStatus, route_condition as reasons};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use crate::input::Input;
use crate::origin::{self, Source};
use crate::output::{Kind, ObjectKey};
use crate::verdict::Verdict;

/// A hub object as it is, with its status.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// What it is.
    pub kind: Kind,
    /// The live object.
    pub object: &'a Value,
    /// It is as this translation wants it: nothing is left to be applied.
    pub in_sync: bool,
}

/// Live hub objects: Gateways, ListenerSets and routes of the tenant's namespace, and the Gateways that tenants
/// share, which count as in sync.
#[derive(Debug, Clone, Default)]
pub struct HubObservations<'a> {
    /// All of them.
    pub objects: Vec<Observed<'a>>,
}

/// Content of a RouteStatus, without times.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteStatusFacts {
    /// Generation of the tenant's object that all of this is about.
    pub source_generation: Option<i64>,
    /// `Accepted`, as in the verdict.
    pub accepted: ConditionValue,
    /// `Programmed`.
    pub programmed: ConditionValue,
    /// For a Gateway: its addresses.
    pub addresses: Vec<HubAddress>,
    /// For a Gateway or a ListenerSet: each listener that the CCM asked for.
    pub listeners: Vec<ListenerFact>,
    /// For a route: each Gateway that the CCM attached it to. The reason `Pending` says that nothing is known
    /// yet; any other says why the hub did not accept it.
    pub parents: Vec<ParentFact>,
}

impl RouteStatusFacts {
    /// Facts about what was made from a source, when this much of it has got there. The lists are empty.
    fn of(source: &Source<'_>, verdict: &Verdict, progress: Progress) -> Self {
        let done = format!(
            "Envoy Gateway accepted the {} made from generation {}, and an Envoy is available.",
            source.kind.as_str(),
            source.origin.generation
        );
        Self {
            source_generation: Some(source.origin.generation),
            accepted: verdict.accepted.clone(),
            programmed: progress.into_condition(done),
            addresses: Vec::new(),
            listeners: Vec::new(),
            parents: Vec::new(),
        }
    }

    /// The status to write, given the one that is there: a condition's time moves only with its status.
    #[must_use]
    pub fn into_status(self, previous: Option<&RouteStatus>, generation: i64, now: &Time) -> RouteStatus {
        let Self {
            source_generation,
            accepted,
            programmed,
            addresses,
            listeners,
            parents,
        } = self;
        let existing = previous.map_or(&[][..], |status| &status.conditions);
        RouteStatus {
            observed_generation: Some(generation),
            source_generation,
            conditions: condition::merge(existing, &[accepted, programmed], generation, now),
            addresses,
            listeners,
            parents,
        }
    }
}

/// Facts about every Route that has a verdict.
#[must_use]
pub fn facts(
    input: &Input,
    verdicts: &BTreeMap<String, Verdict>,
    observed: &HubObservations<'_>,
) -> BTreeMap<String, RouteStatusFacts> {
    let live = Live::index(observed);
    let about = |route: &std::sync::Arc<api::v1alpha1::Route>| {
        let name = origin::route_name(route);
        let verdict = verdicts.get(name)?;
        let facts = match (verdict.is_accepted(), origin::check(route)) {
            (true, Ok(source)) => match source.kind {
                Kind::Gateway => gateway::facts(input, &source, verdict, &live),
                Kind::ListenerSet => gateway::facts_of_set(input, &source, verdict, &live),
                _ => route::facts(input, &source, verdict, &live),
            },
            _ => refused(route.spec.origin.as_ref().map(|o| o.generation), verdict),
        };
        Some((name.to_owned(), facts))
    };
    input.routes.iter().filter_map(about).collect()
}

fn refused(source_generation: Option<i64>, verdict: &Verdict) -> RouteStatusFacts {
    let message = format!("Not accepted: {}", verdict.accepted.message);
    RouteStatusFacts {
        source_generation,
        accepted: verdict.accepted.clone(),
        programmed: programmed(false, reasons::REASON_NOT_ACCEPTED, message),
        addresses: Vec::new(),
        listeners: Vec::new(),
        parents: Vec::new(),
    }
}

fn programmed(status: impl Into<Status>, reason: &'static str, message: impl Into<String>) -> ConditionValue {
    ConditionValue::new(reasons::PROGRAMMED, status, reason, message)
}

/// How far something got on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Done,
    Pending(String),
    /// In Envoy Gateway's words.
    Rejected {
        reason: String,
        message: String,
    },
}

impl Progress {
    fn pending(message: impl Into<String>) -> Self {
        Self::Pending(message.into())
    }

    /// The worse of two, the first of equals.
    fn and(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Done, _) | (Self::Pending(_), Self::Rejected { .. }) => other,
            _ => self,
        }
    }

    fn into_condition(self, done: impl Into<String>) -> ConditionValue {
        match self {
            Self::Done => programmed(true, reasons::REASON_PROGRAMMED, done),
            Self::Pending(message) => programmed(false, reasons::REASON_PENDING, message),
            Self::Rejected { reason, message } => {
                programmed(false, reasons::REASON_REJECTED, format!("{reason}: {message}"))
            }
        }
    }

    /// As in the parts of a status: reached or not, reason, message.
    fn into_parts(self) -> (bool, String, String) {
        match self {
            Self::Done => (true, String::new(), String::new()),
            Self::Pending(message) => (false, reasons::REASON_PENDING.to_owned(), message),
            Self::Rejected { reason, message } => (false, reason, message),
        }
    }
}

/// Live objects by identity.
#[derive(Debug)]
struct Live<'a> {
    objects: BTreeMap<ObjectKey, Observed<'a>>,
}

impl<'a> Live<'a> {
    fn index(observed: &HubObservations<'a>) -> Self {
        let HubObservations { objects: all } = observed;
        let mut objects = BTreeMap::new();
        for observed in all {
            let text = |pointer| {
                observed
                    .object
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let key = ObjectKey::new(observed.kind, text("/metadata/namespace"), text("/metadata/name"));
            objects.insert(key, *observed);
        }
        Self { objects }
    }

    fn get(&self, key: &ObjectKey) -> Option<&'a Value> {
        self.objects.get(key).map(|observed| observed.object)
    }

    /// The object that was made from what the Route carries now, or why there is none.
    fn current(&self, key: &ObjectKey, source: &Source<'_>) -> Result<&'a Value, Progress> {
        let what = key.kind.as_str();
        let Some(Observed {
            kind: _,
            object,
            in_sync,
        }) = self.objects.get(key).copied()
        else {
            return Err(Progress::pending(format!("The {what} is not on the hub yet.")));
        };
        let annotation = object
            .get("metadata")
            .and_then(|m| m.get("annotations")?.get(meta::SOURCE_GENERATION));
        let made_from = annotation
            .and_then(Value::as_str)
            .and_then(|text| text.parse::<i64>().ok());
        if in_sync && made_from == Some(source.origin.generation) {
            Ok(object)
        } else {
            Err(Progress::pending(format!(
                "The {what} on the hub is being updated."
            )))
        }
    }
}

/// A condition of Envoy Gateway's that is about the object as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said<'a> {
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

impl Said<'_> {
    fn rejected(self) -> Progress {
        Progress::Rejected {
            reason: self.reason.to_owned(),
            message: self.message.to_owned(),
        }
    }

    fn pending(self) -> Progress {
        Progress::Pending(format!("{}: {}", self.reason, self.message))
    }
}

/// Finds a condition in `holder.conditions` that was computed for `generation`.
fn said<'a>(holder: &'a Value, type_: &str, generation: Option<i64>) -> Option<Said<'a>> {
    let found = find_condition(holder, type_)?;
    let is_current =
        generation.is_some() && found.get("observedGeneration").and_then(Value::as_i64) == generation;
    let text = |field| found.get(field).and_then(Value::as_str).unwrap_or_default();
    is_current.then(|| Said {
        status: text("status"),
        reason: text("reason"),
        message: text("message"),
    })
}

fn find_condition<'a>(holder: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = holder.get("conditions")?.as_array()?;
    conditions
        .iter()
        .find(|c| c.get("type").and_then(Value::as_str) == Some(type_))
}

fn generation(object: &Value) -> Option<i64> {
    object.pointer("/metadata/generation").and_then(Value::as_i64)
}
