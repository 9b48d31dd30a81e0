//! What a tenant's Routes become, remembered until something that it was made from changes.
//!
//! Most runs come because the hub's own objects have new statuses, and those change nothing here. What an object
//! becomes is decided in `gateway_translator`; this module only knows when it need not be asked again.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::v1alpha1::{Route, SyncSecret};
use controller_kit::object::{Object, ObjectError};
use gateway_translator::{Input, Kind, Objects, Output, Problem, Settings, Verdict, translate};
use kube::Resource;
use kube::core::ApiResource;

use crate::by_namespace::ByNamespace;
use crate::stores::api_resource;

/// The result of a translation, and what it was made from.
#[derive(Debug)]
pub struct Translation {
    input: Input,
    settings: Settings,
    /// Objects for the hub.
    pub objects: Vec<Object>,
    /// What became of every Route, by its name.
    pub verdicts: BTreeMap<String, Verdict>,
    /// SyncSecrets that no Secret was made from, by name.
    pub secret_problems: BTreeMap<String, Problem>,
}

/// The last translation of each tenant, by namespace.
#[derive(Debug, Default)]
pub struct Translations(ByNamespace<Option<Arc<Translation>>>);

impl Translations {
    /// The last one if it was made from the same, else a new one.
    ///
    /// # Errors
    /// When an object has no name.
    pub fn of(&self, input: &Input, settings: &Settings) -> Result<Arc<Translation>, ObjectError> {
        let namespace = &input.namespace;
        let last = self.0.take(namespace);
        let translation = match last.filter(|last| last.is_from(input, settings)) {
            Some(last) => last,
            None => Arc::new(Translation::new(input.clone(), settings.clone())?),
        };
        self.0.put(namespace, Some(translation.clone()));
        Ok(translation)
    }

    /// Nothing is remembered of this namespace.
    pub fn forget(&self, namespace: &str) {
        self.0.take(namespace);
    }
}

impl Translation {
    fn new(input: Input, settings: Settings) -> Result<Self, ObjectError> {
        let Output {
            objects,
            verdicts,
            secret_problems,
        } = translate(&input, &settings);
        Ok(Self {
            input,
            settings,
            objects: whole(objects)?,
            verdicts,
            secret_problems,
        })
    }

    /// Whether the same would come of this.
    fn is_from(&self, input: &Input, settings: &Settings) -> bool {
        let Input {
            tenant,
            namespace,
            routes,
            addresses,
            sync_secrets,
            claims,
            foreign,
        } = &self.input;
        *tenant == input.tenant
            && *namespace == input.namespace
            && same(routes, &input.routes, is_same_route)
            && same(addresses, &input.addresses, |a, b| a.spec == b.spec)
            && same(sync_secrets, &input.sync_secrets, is_same_secret)
            && *claims == input.claims
            && *foreign == input.foreign
            && self.settings == *settings
    }
}

fn whole(objects: Objects) -> Result<Vec<Object>, ObjectError> {
    let resources: BTreeMap<Kind, ApiResource> = (Kind::ALL.into_iter())
        .map(|kind| (kind, api_resource(kind)))
        .collect();
    (objects.into_values())
        .filter_map(|object| Some(Object::from_value(object.value, resources.get(&object.key.kind)?)))
        .collect()
}

/// Lists come sorted by name. Objects of which nothing changed are the same in memory.
fn same<T: Resource>(before: &[Arc<T>], now: &[Arc<T>], is_same: impl Fn(&T, &T) -> bool) -> bool {
    let name = |object: &T| object.meta().name.clone();
    let pairs = || before.iter().zip(now);
    before.len() == now.len()
        && pairs().all(|(a, b)| Arc::ptr_eq(a, b) || name(a) == name(b) && is_same(a, b))
}

/// Statuses change more often than specs, and no translation reads one.
fn is_same_route(a: &Route, b: &Route) -> bool {
    is_same_version(a, b) && a.spec == b.spec
}

fn is_same_secret(a: &SyncSecret, b: &SyncSecret) -> bool {
    is_same_version(a, b) && a.spec == b.spec
}

/// What of the metadata is translated.
fn is_same_version<T: Resource>(a: &T, b: &T) -> bool {
    let (a, b) = (a.meta(), b.meta());
    a.uid == b.uid && a.generation == b.generation && a.creation_timestamp == b.creation_timestamp
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::{Addresses, RouteStatus};
    use gateway_translator::{ClaimTable, ObjectKey};
    use serde_json::json;

    use super::*;

    fn route(uid: &str) -> Route {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "tenant-a", "uid": uid, "generation": 1},
            "spec": {"source": {}}
        }))
        .unwrap()
    }

    fn input(route: Route) -> Input {
        Input {
            tenant: "a".into(),
            namespace: "tenant-a".into(),
            routes: vec![Arc::new(route)],
            addresses: vec![],
            sync_secrets: vec![],
            claims: Arc::new(ClaimTable::default()),
            foreign: [].into(),
        }
    }

    #[test]
    fn a_new_status_needs_no_new_translation() {
        let (all, settings) = (Translations::default(), Settings::default());
        let first = all.of(&input(route("1")), &settings).unwrap();
        let mut told = route("1");
        told.status = Some(RouteStatus::default());
        told.metadata.resource_version = Some("7".into());
        let second = all.of(&input(told), &settings).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn whatever_else_changes_does() {
        let before = || input(route("1"));
        let changed = |change: fn(&mut Input)| {
            let all = Translations::default();
            let first = all.of(&before(), &Settings::default()).unwrap();
            let mut after = before();
            change(&mut after);
            !Arc::ptr_eq(&first, &all.of(&after, &Settings::default()).unwrap())
        };
        assert!(!changed(|_| {}));
        assert!(changed(|input| input.routes.clear()));
        assert!(changed(|input| input.routes = vec![Arc::new(route("2"))]));
        assert!(changed(|input| {
            let mut route = route("1");
            route.metadata.generation = Some(2);
            input.routes = vec![Arc::new(route)];
        }));
        assert!(changed(|input| {
            let spec = json!({"metadata": {"name": "default"}, "spec": {"addresses": [{"ip": "10.0.0.1"}]}});
            let addresses: Addresses = serde_json::from_value(spec).unwrap();
            input.addresses = vec![Arc::new(addresses)];
        }));
        assert!(changed(|input| {
            input.foreign = [ObjectKey::new(Kind::Gateway, "tenant-a", "web")].into();
        }));
        let all = Translations::default();
        let first = all.of(&before(), &Settings::default()).unwrap();
        let off = Settings {
            enabled: false,
            ..Settings::default()
        };
        assert!(!Arc::ptr_eq(&first, &all.of(&before(), &off).unwrap()));
    }
}
