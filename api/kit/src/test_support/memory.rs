//! An API server in memory: enough of get, list, watch, create, replace, patch and delete to run controllers.
//!
//! It keeps resource versions, refuses stale writes, honours uid preconditions, keeps finalized objects until
//! their finalizers are gone, and does not count a write that changes nothing. It knows no schema, defaults
//! nothing and validates nothing: a real API server is needed for that. Label selectors are honoured for
//! equality and inequality only.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    FakeApi, NOW, Recorded, Reply,
    patch::{may_write, without_removed},
    path::{self, Target},
};
use crate::status::merged;

type Key = (String, String, String, String);

#[derive(Default)]
struct World {
    version: u64,
    objects: BTreeMap<Key, Value>,
    applied: BTreeMap<(Key, String), Value>,
    log: Vec<(u64, Key, Value)>,
    absent: BTreeSet<String>,
}

/// The state of the server. Clones share it.
#[derive(Clone)]
pub struct MemoryApi {
    world: Arc<Mutex<World>>,
    version: Arc<watch::Sender<u64>>,
    fake: Arc<Mutex<Option<FakeApi>>>,
}

impl Default for MemoryApi {
    fn default() -> Self {
        Self {
            world: Arc::default(),
            version: Arc::new(watch::Sender::new(0)),
            fake: Arc::default(),
        }
    }
}

impl MemoryApi {
    /// An empty server.
    pub fn new() -> Self {
        Self::default()
    }

    /// The recording server in front of it; always the same one.
    pub fn fake(&self) -> FakeApi {
        let mut fake = self.fake.lock().unwrap_or_else(PoisonError::into_inner);
        let server = Self {
            fake: Arc::default(),
            ..self.clone()
        };
        fake.get_or_insert_with(|| FakeApi::new(move |request| server.reply(request)))
            .clone()
    }

    /// A client of this server.
    pub fn client(&self) -> kube::Client {
        self.fake().client()
    }

    /// From now on this plural is a kind that is not installed; objects of it are gone.
    pub fn uninstall(&self, plural: &str) {
        let mut world = self.lock();
        world.absent.insert(plural.to_owned());
        world.objects.retain(|key, _| key.1 != plural);
    }

    /// The kind is installed again.
    pub fn install(&self, plural: &str) {
        self.lock().absent.remove(plural);
    }

    /// Puts an object at the path of its collection, such as `/api/v1/namespaces/a/services`, as if somebody
    /// else had written it. No request is recorded. An object of that name is replaced.
    pub fn put(&self, collection: &str, object: Value) {
        let Some(target) = path::parse(collection) else {
            return;
        };
        let mut world = self.lock();
        let key = key(
            &target,
            object
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default(),
        );
        world.write(key, object);
        self.announce(&world);
    }

    /// The object at a path such as `/api/v1/namespaces/a/services/web`.
    pub fn get(&self, path: &str) -> Option<Value> {
        let target = path::parse(path)?;
        self.lock()
            .objects
            .get(&key(&target, target.name.as_deref()?))
            .cloned()
    }

    /// Removes the object at a path, whatever its finalizers. No request is recorded.
    pub fn remove(&self, path: &str) {
        let Some(target) = path::parse(path) else { return };
        let mut world = self.lock();
        world.remove(&key(&target, target.name.as_deref().unwrap_or_default()));
        self.announce(&world);
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, world: &World) {
        self.version.send_replace(world.version);
    }

    /// Answers one request, for a server that stands in front of this one.
    pub fn reply(&self, request: &Recorded) -> Reply {
        let Some(target) = path::parse(&request.path) else {
            return Reply::error(404, "NotFound");
        };
        let mut world = self.lock();
        if world.absent.contains(&target.plural) {
            return Reply::error(404, "NotFound");
        }
        let name = target.name.clone();
        let reply = match (request.method.as_str(), name) {
            ("GET", Some(name)) => world.read(&key(&target, &name)),
            ("GET", None) if request.query.contains_key("watch") => self.watch(&target, request),
            ("GET", None) => world.list(&target, request),
            ("POST", None) => world.create(&target, &request.body),
            ("PUT", Some(name)) => world.replace(&target, &name, &request.body),
            ("PATCH", Some(name)) => world.patch(&target, &name, request),
            ("DELETE", Some(name)) => world.delete(&key(&target, &name), &request.body),
            _ => Reply::error(405, "MethodNotAllowed"),
        };
        self.announce(&world);
        reply
    }

    fn watch(&self, target: &Target, request: &Recorded) -> Reply {
        let from = request
            .query
            .get("resourceVersion")
            .and_then(|v| v.parse().ok())
            .unwrap_or_default();
        let (target, selector) = (target.clone(), selector(request));
        let (world, versions) = (self.world.clone(), self.version.subscribe());
        let events: BoxStream<'static, Value> =
            futures::stream::unfold((from, versions), move |(seen, mut versions)| {
                let (world, target, selector) = (world.clone(), target.clone(), selector.clone());
                async move {
                    loop {
                        versions.borrow_and_update();
                        let (last, events) = events_after(&world, seen, &target, &selector);
                        if !events.is_empty() {
                            return Some((futures::stream::iter(events), (last, versions)));
                        }
                        versions.changed().await.ok()?;
                    }
                }
            })
            .flatten()
            .boxed();
        Reply::events(events)
    }
}

fn events_after(
    world: &Mutex<World>,
    seen: u64,
    target: &Target,
    selector: &[(String, String, bool)],
) -> (u64, Vec<Value>) {
    let world = world.lock().unwrap_or_else(PoisonError::into_inner);
    let later = world
        .log
        .iter()
        .filter(|(version, key, _)| *version > seen && belongs(key, target));
    let events = later.filter(|(_, _, event)| selects(selector, &event["object"]));
    (world.version, events.map(|(_, _, event)| event.clone()).collect())
}

fn key(target: &Target, name: &str) -> Key {
    (
        target.base.clone(),
        target.plural.clone(),
        target.namespace.clone(),
        name.to_owned(),
    )
}

fn belongs(key: &Key, target: &Target) -> bool {
    let (base, plural, namespace, _) = key;
    *base == target.base
        && *plural == target.plural
        && (target.namespace.is_empty() || *namespace == target.namespace)
}

/// Key, value, and whether the label shall have it.
fn selector(request: &Recorded) -> Vec<(String, String, bool)> {
    let text = request
        .query
        .get("labelSelector")
        .map(String::as_str)
        .unwrap_or_default();
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| {
            let value = value.trim_start_matches('=').trim().to_owned();
            match key.trim().strip_suffix('!') {
                Some(key) => (key.trim().to_owned(), value, false),
                None => (key.trim().to_owned(), value, true),
            }
        })
        .collect()
}

fn selects(selector: &[(String, String, bool)], object: &Value) -> bool {
    selector
        .iter()
        .all(|(key, value, wanted)| (object["metadata"]["labels"][key] == **value) == *wanted)
}

impl World {
    fn read(&self, key: &Key) -> Reply {
        self.objects
            .get(key)
            .cloned()
            .map_or_else(|| Reply::error(404, "NotFound"), Reply::ok)
    }

    fn list(&self, target: &Target, request: &Recorded) -> Reply {
        let selector = selector(request);
        let all = self
            .objects
            .iter()
            .filter(|(key, object)| belongs(key, target) && selects(&selector, object));
        let items: Vec<_> = all.map(|(_, object)| object.clone()).collect();
        let metadata = json!({"resourceVersion": self.version.to_string()});
        Reply::ok(json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items}))
    }

    fn create(&mut self, target: &Target, body: &Value) -> Reply {
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        let key = key(target, name);
        if self.objects.contains_key(&key) {
            return Reply::error(409, "AlreadyExists");
        }
        Reply::ok(self.write(key, body.clone()))
    }

    fn replace(&mut self, target: &Target, name: &str, body: &Value) -> Reply {
        let key = key(target, name);
        let Some(old) = self.objects.get(&key).cloned() else {
            return Reply::error(404, "NotFound");
        };
        if !may_write(&old, body) {
            return Reply::error(409, "Conflict");
        }
        let new = match target.subresource.as_deref() {
            Some("status") => old.with("status", &body["status"]),
            _ => body.clone().with("status", &old["status"]),
        };
        Reply::ok(self.write(key, new))
    }

    fn patch(&mut self, target: &Target, name: &str, request: &Recorded) -> Reply {
        let key = key(target, name);
        let is_apply = request
            .content_type
            .as_deref()
            .is_some_and(|kind| kind.contains("apply-patch"));
        let old = match self.objects.get(&key) {
            Some(old) => old.clone(),
            None if is_apply && target.subresource.is_none() && request.body["metadata"]["uid"].is_null() => {
                json!({})
            }
            None if is_apply && target.subresource.is_none() => return Reply::error(409, "Conflict"),
            None => return Reply::error(404, "NotFound"),
        };
        if !may_write(&old, &request.body) {
            return Reply::error(409, "Conflict");
        }
        let manager = request.query.get("fieldManager").cloned().unwrap_or_default();
        let base = match is_apply {
            true => {
                let last = self.applied.insert((key.clone(), manager), request.body.clone());
                without_removed(&old, &last.unwrap_or_default(), &request.body)
            }
            false => old,
        };
        Reply::ok(self.write(key, merged(&base, &request.body)))
    }

    fn delete(&mut self, key: &Key, body: &Value) -> Reply {
        let Some(mut object) = self.objects.get(key).cloned() else {
            return Reply::error(404, "NotFound");
        };
        let wanted = &body["preconditions"]["uid"];
        if !wanted.is_null() && *wanted != object["metadata"]["uid"] {
            return Reply::error(409, "Conflict");
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = NOW.to_string().into();
        }
        self.write(key.clone(), object.clone());
        Reply::ok(object)
    }

    /// Stores the object, unless it is being deleted and nothing holds it any more.
    fn write(&mut self, key: Key, mut object: Value) -> Value {
        let old = self.objects.get(&key);
        let uid = old.map(|old| old["metadata"]["uid"].clone());
        let given = object["metadata"]["uid"].clone();
        let fresh = if given.is_null() {
            format!("uid-{}", self.version + 1).into()
        } else {
            given
        };
        object["metadata"]["uid"] = uid.unwrap_or(fresh);
        if !key.2.is_empty() {
            object["metadata"]["namespace"] = key.2.clone().into();
        }
        object["metadata"]["name"] = key.3.clone().into();
        let old_version = old
            .map(|old| old["metadata"]["resourceVersion"].clone())
            .unwrap_or_default();
        object["metadata"]["resourceVersion"] = old_version;
        if old == Some(&object) {
            return object;
        }
        let is_held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        if !object["metadata"]["deletionTimestamp"].is_null() && !is_held {
            self.remove(&key);
            return object;
        }
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log
            .push((self.version, key.clone(), json!({"type": kind, "object": object})));
        self.objects.insert(key, object.clone());
        object
    }

    fn remove(&mut self, key: &Key) {
        if let Some(mut object) = self.objects.remove(key) {
            self.version += 1;
            self.applied.retain(|(other, _), _| other != key);
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.log.push((
                self.version,
                key.clone(),
                json!({"type": "DELETED", "object": object}),
            ));
        }
    }
}

trait With {
    fn with(self, field: &str, value: &Value) -> Self;
}

impl With for Value {
    /// The same with this field, or without it if the value is null.
    fn with(mut self, field: &str, value: &Value) -> Self {
        if let Some(map) = self.as_object_mut() {
            match value {
                Value::Null => map.remove(field),
                value => map.insert(field.to_owned(), value.clone()),
            };
        }
        self
    }
}
