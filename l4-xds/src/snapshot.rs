//! Everything one fleet of Envoys should have, immutable, with versions that are hashes of the content.
//!
//! A snapshot is made whole from whole inputs; there is no way to change one. It shares with the one before it what did
//! not change, so that both to make it and to tell what is new in it costs as much as the change, not as the whole. It
//! does not know how it is sent.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use envoy_types::pb::google::protobuf::Any;
use imbl::OrdMap;
use prost::{Message, Name};
use sha2::{Digest, Sha256};

use crate::difference::changed_keys;
use crate::ir::LoadBalancerId;

/// The resource types we serve. The order is the order in which ADS has to deliver them ("make before break"):
/// "CDS updates (if any) must always be pushed first. EDS updates (if any) must arrive after CDS updates for the
/// respective clusters. LDS updates must arrive after corresponding CDS/EDS updates."
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoint,
    /// `envoy.config.listener.v3.Listener`
    Listener,
}

impl ResourceType {
    /// All of them, in order of delivery.
    pub const ALL: [Self; 3] = [Self::Cluster, Self::Endpoint, Self::Listener];

    /// As in `DeltaDiscoveryRequest.type_url`.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
        }
    }

    /// The type with this URL, if we serve it.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.type_url() == url)
    }

    /// The type whose resources this type's resources refer to by name.
    pub const fn refers_to(self) -> Option<Self> {
        match self {
            Self::Listener => Some(Self::Cluster),
            Self::Cluster => Some(Self::Endpoint),
            Self::Endpoint => None,
        }
    }
}

macro_rules! shared_string {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

shared_string! {
    /// A resource's name, unique within its type.
    ResourceName
}
shared_string! {
    /// A resource's version: a hash of its bytes, compared for equality only.
    Version
}
shared_string! {
    /// The version of what Envoy holds of one load balancer: a hash over its listeners and clusters. Endpoints are
    /// left out, or every node that comes or goes would put every load balancer back to "not programmed yet".
    ContentVersion
}

/// 128 bits of SHA-256 over length-prefixed parts, in hex.
fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// One resource, encoded. Two are equal when they have the same owner and version: a version is a hash of all bytes.
#[derive(Debug, Clone)]
pub struct Resource {
    ty: ResourceType,
    owner: LoadBalancerId,
    version: Version,
    body: Any,
    refers_to: BTreeSet<ResourceName>,
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        (self.ty, &self.version, &self.owner) == (other.ty, &other.version, &other.owner)
    }
}

impl Eq for Resource {}

impl Resource {
    /// Encodes `message`. `refers_to` names the resources it needs, of the type [`ResourceType::refers_to`] says.
    pub fn new<M: Message + Name>(
        ty: ResourceType,
        owner: LoadBalancerId,
        message: &M,
        refers_to: BTreeSet<ResourceName>,
    ) -> Self {
        let value = message.encode_to_vec();
        let version = Version::from(digest([value.as_slice()]));
        Self {
            ty,
            owner,
            version,
            body: Any {
                type_url: M::type_url(),
                value,
            },
            refers_to,
        }
    }

    /// Its type.
    pub fn ty(&self) -> ResourceType {
        self.ty
    }

    /// The load balancer it was made for.
    pub fn owner(&self) -> &LoadBalancerId {
        &self.owner
    }

    /// Hash of its bytes.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Its bytes, with the type.
    pub fn body(&self) -> &Any {
        &self.body
    }

    /// Names of what it needs.
    pub fn refers_to(&self) -> &BTreeSet<ResourceName> {
        &self.refers_to
    }
}

/// All resources of one type.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    by_name: OrdMap<ResourceName, Arc<Resource>>,
    version: OnceLock<String>,
}

impl PartialEq for Resources {
    fn eq(&self, other: &Self) -> bool {
        changed_keys(&self.by_name, &other.by_name).next().is_none()
    }
}

impl Resources {
    /// These.
    pub fn of(by_name: BTreeMap<ResourceName, Arc<Resource>>) -> Self {
        Self {
            by_name: by_name.into_iter().collect(),
            version: OnceLock::new(),
        }
    }

    /// Them, by name.
    pub fn into_inner(self) -> BTreeMap<ResourceName, Arc<Resource>> {
        self.by_name.into_iter().collect()
    }

    /// One of them.
    pub fn get(&self, name: &ResourceName) -> Option<&Arc<Resource>> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, &Arc<Resource>)> {
        self.by_name.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Names of those that are not as they were in `before`, and of those that are gone.
    pub fn changed_since(&self, before: &Self) -> impl Iterator<Item = ResourceName> {
        changed_keys(&before.by_name, &self.by_name)
    }

    /// Hash over all names and versions. Worked out when it is first asked for, since most clients never do.
    pub fn version(&self) -> &str {
        self.version.get_or_init(|| {
            let parts = self.by_name.iter().flat_map(|(name, resource)| {
                [name.as_str().as_bytes(), resource.version.as_str().as_bytes()]
            });
            digest(parts)
        })
    }

    fn insert(&mut self, name: &ResourceName, resource: &Arc<Resource>) {
        self.version.take();
        self.by_name.insert(name.clone(), resource.clone());
    }

    fn remove(&mut self, name: &ResourceName) {
        self.version.take();
        self.by_name.remove(name);
    }
}

/// What one load balancer contributes. Kept apart so that a caller with thousands of load balancers can translate
/// only the one that changed and [`Snapshot::with`] the rest as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    id: LoadBalancerId,
    resources: Vec<(ResourceName, Arc<Resource>)>,
    content: ContentVersion,
    counted: Vec<(ResourceType, ResourceName)>,
}

impl Part {
    /// These resources of this load balancer.
    pub fn new(id: LoadBalancerId, resources: Vec<(ResourceName, Arc<Resource>)>) -> Self {
        let counted: BTreeMap<_, _> = (resources.iter())
            .filter(|(_, resource)| resource.ty != ResourceType::Endpoint)
            .map(|(name, resource)| ((resource.ty, name), &resource.version))
            .collect();
        let parts = counted.iter().flat_map(|((ty, name), version)| {
            [
                ty.type_url().as_bytes(),
                name.as_str().as_bytes(),
                version.as_str().as_bytes(),
            ]
        });
        let content = ContentVersion::from(digest(parts));
        let counted = counted.into_keys().map(|(ty, name)| (ty, name.clone())).collect();
        Self {
            id,
            resources,
            content,
            counted,
        }
    }

    /// Whose.
    pub fn id(&self) -> &LoadBalancerId {
        &self.id
    }

    /// Its resources.
    pub fn resources(&self) -> &[(ResourceName, Arc<Resource>)] {
        &self.resources
    }

    /// What its listeners and clusters hash to.
    pub fn content_version(&self) -> &ContentVersion {
        &self.content
    }

    /// Whether every reference leads to something of its own, and everything that must be referred to is.
    pub fn consistent(&self) -> Result<(), Inconsistency> {
        let has = |ty: ResourceType, wanted: &ResourceName| {
            (self.resources.iter()).any(|(name, resource)| resource.ty == ty && name == wanted)
        };
        for ty in ResourceType::ALL {
            let Some(target) = ty.refers_to() else { continue };
            let of_type = |ty| self.resources.iter().filter(move |(_, r)| r.ty == ty);
            let mut wanted = BTreeSet::new();
            for (name, resource) in of_type(ty) {
                let mut references = resource.refers_to.iter();
                if let Some(missing) = references.find(|name| !has(target, name)) {
                    return Err(Inconsistency::Dangling {
                        from: ty,
                        name: name.clone(),
                        missing: missing.clone(),
                    });
                }
                wanted.extend(&resource.refers_to);
            }
            if let Some((name, _)) = of_type(target).find(|(name, _)| !wanted.contains(name)) {
                return Err(Inconsistency::Unreferenced {
                    ty: target,
                    name: name.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Everything one fleet should have.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    clusters: Resources,
    endpoints: Resources,
    listeners: Resources,
    parts: OrdMap<LoadBalancerId, Arc<Part>>,
}

impl PartialEq for Snapshot {
    /// Parts are all there is to it.
    fn eq(&self, other: &Self) -> bool {
        changed_keys(&self.parts, &other.parts).next().is_none()
    }
}

/// A reference that leads nowhere, or a resource that nothing leads to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistency {
    /// Envoy would wait for something that never comes.
    #[error("{from:?} {name} refers to {missing}, which is not in the snapshot")]
    Dangling {
        /// Type of the resource that refers.
        from: ResourceType,
        /// Its name.
        name: ResourceName,
        /// What is missing.
        missing: ResourceName,
    },
    /// Nothing would ever ask for it.
    #[error("nothing refers to {ty:?} {name}")]
    Unreferenced {
        /// Type of the orphan.
        ty: ResourceType,
        /// Its name.
        name: ResourceName,
    },
}

impl Snapshot {
    /// Puts the parts together. If two parts hold a resource of the same name, which distinct ids rule out, the
    /// later one stays.
    pub fn assemble(parts: impl IntoIterator<Item = Arc<Part>>) -> Self {
        let parts: BTreeMap<_, _> = parts.into_iter().map(|part| (part.id.clone(), part)).collect();
        Self::default().with(parts.values())
    }

    /// The snapshot of these parts, made from one that has most of them.
    #[must_use]
    pub fn with<'a>(&self, parts: impl IntoIterator<Item = &'a Arc<Part>>) -> Self {
        let mut wanted: Vec<&Arc<Part>> = parts.into_iter().collect();
        wanted.sort_by(|one, other| one.id.cmp(&other.id));
        let mut next = self.clone();
        let mut before = self.parts.values().peekable();
        for part in wanted {
            // Names are long and much alike: most parts are the same, which is seen without reading them.
            let is_same = |old: &&Arc<Part>| Arc::ptr_eq(old, part);
            while let Some(gone) = before.next_if(|old| !is_same(old) && old.id < part.id) {
                next.remove(gone);
            }
            match before.next_if(|old| is_same(old) || old.id == part.id) {
                Some(old) if is_same(&old) || old == part => {}
                Some(old) => {
                    next.remove(old);
                    next.insert(part);
                }
                None => next.insert(part),
            }
        }
        before.for_each(|gone| next.remove(gone));
        next
    }

    fn insert(&mut self, part: &Arc<Part>) {
        for (name, resource) in &part.resources {
            self.resources_mut(resource.ty).insert(name, resource);
        }
        self.parts.insert(part.id.clone(), part.clone());
    }

    fn remove(&mut self, part: &Part) {
        for (name, resource) in &part.resources {
            self.resources_mut(resource.ty).remove(name);
        }
        self.parts.remove(&part.id);
    }

    /// The resources of one type.
    pub fn resources(&self, ty: ResourceType) -> &Resources {
        match ty {
            ResourceType::Cluster => &self.clusters,
            ResourceType::Endpoint => &self.endpoints,
            ResourceType::Listener => &self.listeners,
        }
    }

    fn resources_mut(&mut self, ty: ResourceType) -> &mut Resources {
        match ty {
            ResourceType::Cluster => &mut self.clusters,
            ResourceType::Endpoint => &mut self.endpoints,
            ResourceType::Listener => &mut self.listeners,
        }
    }

    /// The load balancers in it.
    pub fn owners(&self) -> impl Iterator<Item = &LoadBalancerId> {
        self.parts.keys()
    }

    /// How many load balancers are in it.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Load balancers that are not as they were in `before`, and those that are gone.
    pub fn changed_since(&self, before: &Self) -> impl Iterator<Item = LoadBalancerId> {
        changed_keys(&before.parts, &self.parts)
    }

    /// What `id`'s listeners and clusters hash to.
    pub fn content_version(&self, id: &LoadBalancerId) -> Option<&ContentVersion> {
        self.parts.get(id).map(|part| &part.content)
    }

    /// The resources that [`Self::content_version`] is made of.
    pub fn counted(&self, id: &LoadBalancerId) -> &[(ResourceType, ResourceName)] {
        self.parts.get(id).map_or(&[], |part| &part.counted)
    }

    /// Whether every reference leads somewhere and everything that must be referred to is.
    ///
    /// # Errors
    /// What is wrong with the first part that is not.
    pub fn consistent(&self) -> Result<(), Inconsistency> {
        self.parts.values().try_for_each(|part| part.consistent())
    }

    /// Likewise, looking only at what is not in `before`, which was found consistent.
    ///
    /// # Errors
    /// What is wrong with the first part that is not.
    pub fn consistent_since(&self, before: &Self) -> Result<(), Inconsistency> {
        let mut changed = self.changed_since(before);
        changed.try_for_each(|id| self.parts.get(&id).map_or(Ok(()), |part| part.consistent()))
    }
}
