//! Publishes Events, and keeps quiet about what was said a moment ago.
//!
//! kube's own recorder counts repetitions with a write each, and drops the new note of an Event whose reason it
//! has seen. Here the same note on the same object is not written again for a while, so that a reconcile that
//! finds the same problem every time makes no writes, and a new note is always written.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event as K8sEvent},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;

pub use kube::runtime::events::EventType;

mod recent;
use recent::Recent;

/// Names may be 253 characters long, of which 18 are ours.
const NAME_LIMIT: usize = 230;
/// What the API server takes.
const NOTE_LIMIT: usize = 1024;

/// An Event could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot publish event {reason}")]
pub struct EventError {
    reason: String,
    #[source]
    source: Box<kube::Error>,
}

/// What is said about an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notice {
    /// Normal or a warning.
    pub type_: EventType,
    /// A CamelCase word from a closed set.
    pub reason: &'static str,
    /// What the controller was doing, a CamelCase word.
    pub action: &'static str,
    /// For people, naming what is wrong and where. Cut at 1024 bytes.
    pub note: String,
}

impl Notice {
    /// Something went as it should.
    pub fn normal(reason: &'static str, action: &'static str, note: impl Into<String>) -> Self {
        Self {
            type_: EventType::Normal,
            reason,
            action,
            note: note.into(),
        }
    }

    /// Somebody should do something.
    pub fn warning(reason: &'static str, action: &'static str, note: impl Into<String>) -> Self {
        Self {
            type_: EventType::Warning,
            reason,
            action,
            note: note.into(),
        }
    }
}

/// Writes Events in the name of one controller. Cheap to clone; clones share the memory of what was said.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    controller: String,
    instance: String,
    recent: Arc<Mutex<Recent>>,
}

impl Recorder {
    /// `controller` such as `kubelb.k8c.io/ccm`, `instance` the name of the pod. Remembers 4096 Events for 10
    /// minutes.
    pub fn new(client: Client, controller: impl Into<String>, instance: impl Into<String>) -> Self {
        let recent = Arc::new(Mutex::new(Recent::new(4096, Duration::from_secs(600))));
        Self {
            client,
            controller: controller.into(),
            instance: instance.into(),
            recent,
        }
    }

    /// Writes to another cluster from now on, and remembers what was said.
    #[must_use]
    pub fn with_client(&self, client: Client) -> Self {
        Self {
            client,
            ..self.clone()
        }
    }

    /// Publishes unless the same was said about the same object lately. True if it was written.
    pub async fn publish(&self, notice: &Notice, regarding: &ObjectReference) -> Result<bool, EventError> {
        let key = (fingerprint(regarding), notice.clone());
        if !self.recent().insert(key.clone(), Instant::now()) {
            return Ok(false);
        }
        let event = self.event(notice, regarding, Timestamp::now());
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<K8sEvent> = Api::namespaced(self.client.clone(), &namespace);
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => Ok(true),
            Err(source) => {
                self.recent().remove(&key);
                Err(EventError {
                    reason: notice.reason.to_owned(),
                    source: Box::new(source),
                })
            }
        }
    }

    /// As [`Recorder::publish`]; a failure is logged and forgotten, as an Event is never worth a retry.
    pub async fn say(&self, notice: &Notice, regarding: &ObjectReference) {
        if let Err(error) = self.publish(notice, regarding).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "event not published");
        }
    }

    fn event(&self, notice: &Notice, regarding: &ObjectReference, now: Timestamp) -> K8sEvent {
        let about = regarding.name.as_deref().unwrap_or(&self.controller);
        let name = format!(
            "{}.{:x}",
            cut(about, NAME_LIMIT).trim_end_matches(['.', '-']),
            now.as_nanosecond()
        );
        let namespace = regarding
            .namespace
            .clone()
            .filter(|namespace| !namespace.is_empty());
        let kind = match notice.type_ {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        K8sEvent {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.unwrap_or_else(|| "default".into())),
                ..ObjectMeta::default()
            },
            action: Some(notice.action.into()),
            event_time: Some(MicroTime(now)),
            note: Some(cut(&notice.note, NOTE_LIMIT).into()),
            reason: Some(notice.reason.into()),
            regarding: Some(regarding.clone()),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(kind.into()),
            ..K8sEvent::default()
        }
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fingerprint(object: &ObjectReference) -> String {
    let parts = [
        &object.api_version,
        &object.kind,
        &object.namespace,
        &object.name,
        &object.uid,
    ];
    parts.map(|part| part.as_deref().unwrap_or_default()).join("/")
}

/// At most `limit` bytes, whole characters.
fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests;
