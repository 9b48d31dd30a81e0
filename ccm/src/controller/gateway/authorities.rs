//! Certificate authorities in ConfigMaps and Secrets.
//!
//! All of their metadata is watched, but only those that something refers to are read, and only their `ca.crt` is
//! kept: a cluster may hold many large ones that are nobody's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use controller_kit::CancellationToken;
use controller_kit::error::is_transient;
use controller_kit::watch::{Event, Watch, WatchMetrics, Watched};
use gateway_semantics::AuthorityFacts;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource};

/// The key that holds the authorities.
pub const CA_KEY: &str = "ca.crt";

/// Kind, namespace and name.
pub type AuthorityKey = (String, String, String);

/// One that was read.
#[derive(Debug, Clone)]
struct Known {
    resource_version: Option<String>,
    facts: AuthorityFacts,
    content: Option<ByteString>,
}

/// Authorities that something refers to.
pub struct Authorities {
    /// Metadata of all ConfigMaps.
    pub config_maps: Watched<PartialObjectMeta<ConfigMap>>,
    /// Metadata of all Secrets.
    pub secrets: Watched<PartialObjectMeta<Secret>>,
    client: Client,
    known: Mutex<BTreeMap<AuthorityKey, Known>>,
    wanted: Arc<Mutex<BTreeSet<AuthorityKey>>>,
}

impl Authorities {
    /// Starts the watches. `hint` is called when one changed that something refers to.
    pub fn watch(
        client: &Client,
        hint: impl Fn() + Clone + Send + Sync + 'static,
        metrics: &WatchMetrics,
        stop: &CancellationToken,
    ) -> Self {
        let wanted = Arc::new(Mutex::new(BTreeSet::new()));
        let hook = |kind: &'static str| {
            let (hint, wanted) = (hint.clone(), wanted.clone());
            move |event: &Event| {
                let matters = match event {
                    Event::Synced => true,
                    Event::Changed(key) => {
                        let key = (kind.to_owned(), key.namespace.clone(), key.name.clone());
                        locked(&wanted).contains(&key)
                    }
                };
                if matters {
                    hint();
                }
            }
        };
        let config_maps = Watch::<PartialObjectMeta<ConfigMap>>::all(client.clone());
        let secrets = Watch::<PartialObjectMeta<Secret>>::all(client.clone());
        Self {
            config_maps: config_maps
                .metrics(metrics)
                .on_event(hook("ConfigMap"))
                .spawn(stop),
            secrets: secrets.metrics(metrics).on_event(hook("Secret")).spawn(stop),
            client: client.clone(),
            known: Mutex::default(),
            wanted,
        }
    }

    /// Reads those of `wanted` that changed, forgets the others, and says what matters of those that exist.
    ///
    /// # Errors
    /// When one could not be read for a reason that passes, and nothing is known of it from before.
    pub async fn facts(&self, wanted: BTreeSet<AuthorityKey>) -> Result<Vec<AuthorityFacts>, kube::Error> {
        locked(&self.wanted).clone_from(&wanted);
        locked(&self.known).retain(|key, _| wanted.contains(key));
        for key in wanted {
            let Some(version) = self.version(&key) else {
                locked(&self.known).remove(&key);
                continue;
            };
            let known = locked(&self.known).get(&key).cloned();
            if known
                .as_ref()
                .is_some_and(|known| known.resource_version == version)
            {
                continue;
            }
            match self.read(&key).await {
                Ok(Some(read)) => {
                    locked(&self.known).insert(key, read);
                }
                Ok(None) => {
                    locked(&self.known).remove(&key);
                }
                Err(error) if known.is_none() && is_transient(&error) => return Err(error),
                Err(error) => self.unreadable(key, known, &error),
            }
        }
        Ok(locked(&self.known)
            .values()
            .map(|known| known.facts.clone())
            .collect())
    }

    /// The content of one that was read.
    #[must_use]
    pub fn content(&self, key: &AuthorityKey) -> Option<ByteString> {
        locked(&self.known).get(key)?.content.clone()
    }

    /// What is known from before stays.
    fn unreadable(&self, key: AuthorityKey, known: Option<Known>, error: &kube::Error) {
        let (kind, namespace, name) = &key;
        tracing::warn!(
            kind,
            namespace,
            name,
            error = error as &dyn std::error::Error,
            "certificate authorities cannot be read"
        );
        if known.is_none() {
            let facts = AuthorityFacts {
                kind: kind.clone(),
                namespace: namespace.clone(),
                name: name.clone(),
                problem: Some(format!("it cannot be read: {error}")),
                ..AuthorityFacts::default()
            };
            let known = Known {
                resource_version: None,
                facts,
                content: None,
            };
            locked(&self.known).insert(key, known);
        }
    }

    /// The version of an object that exists.
    fn version(&self, (kind, namespace, name): &AuthorityKey) -> Option<Option<String>> {
        match kind.as_str() {
            "ConfigMap" => self
                .config_maps
                .get(namespace, name)
                .map(|object| version(&*object)),
            _ => self.secrets.get(namespace, name).map(|object| version(&*object)),
        }
    }

    async fn read(&self, (kind, namespace, name): &AuthorityKey) -> Result<Option<Known>, kube::Error> {
        let client = self.client.clone();
        if kind == "ConfigMap" {
            let read = Api::<ConfigMap>::namespaced(client, namespace)
                .get_opt(name)
                .await?;
            return Ok(read.map(|object| Known {
                resource_version: version(&object),
                facts: AuthorityFacts::from_config_map(&object),
                content: config_map_content(object),
            }));
        }
        let read = Api::<Secret>::namespaced(client, namespace).get_opt(name).await?;
        Ok(read.map(|object| Known {
            resource_version: version(&object),
            facts: AuthorityFacts::from_secret(&object),
            content: object.data.and_then(|mut data| data.remove(CA_KEY)),
        }))
    }
}

fn version(object: &impl Resource) -> Option<String> {
    object.meta().resource_version.clone()
}

fn config_map_content(object: ConfigMap) -> Option<ByteString> {
    let text = object.data.and_then(|mut data| data.remove(CA_KEY));
    let bytes = object.binary_data.and_then(|mut data| data.remove(CA_KEY));
    text.map(|text| ByteString(text.into_bytes())).or(bytes)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
