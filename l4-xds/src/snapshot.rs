//! Everything one fleet of Envoys should have, immutable, with versions that are hashes of the content.
//!
//! A snapshot is made whole from whole inputs; there is no way to change one. It does not know how it is sent.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use sha2::{Digest, Sha256};

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

/// One resource, encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    ty: ResourceType,
    owner: LoadBalancerId,
    version: Version,
    body: Any,
    refers_to: BTreeSet<ResourceName>,
}

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
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resources {
    by_name: BTreeMap<ResourceName, Arc<Resource>>,
    version: String,
}

impl Resources {
    /// These.
    pub fn of(by_name: BTreeMap<ResourceName, Arc<Resource>>) -> Self {
        let parts = by_name
            .iter()
            .flat_map(|(name, resource)| [name.as_str().as_bytes(), resource.version.as_str().as_bytes()]);
        let version = digest(parts);
        Self { by_name, version }
    }

    /// Them, by name.
    pub fn into_inner(self) -> BTreeMap<ResourceName, Arc<Resource>> {
        self.by_name
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

    /// Hash over all names and versions.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// What one load balancer contributes. Kept apart so that a caller with thousands of load balancers can translate
/// only the one that changed and [`Snapshot::assemble`] the rest as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Whose.
    pub id: LoadBalancerId,
    /// Its resources.
    pub resources: Vec<(ResourceName, Arc<Resource>)>,
}

impl Part {
    /// What its listeners and clusters hash to.
    pub fn content_version(&self) -> ContentVersion {
        let counted: BTreeMap<_, _> = (self.resources.iter())
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
        ContentVersion::from(digest(parts))
    }
}

/// What one load balancer has in a snapshot.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    content: ContentVersion,
    counted: Vec<(ResourceType, ResourceName)>,
}

/// Everything one fleet should have.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    clusters: Resources,
    endpoints: Resources,
    listeners: Resources,
    owners: BTreeMap<LoadBalancerId, Owned>,
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
    pub fn assemble<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Self {
        let mut maps: BTreeMap<ResourceType, BTreeMap<ResourceName, Arc<Resource>>> = BTreeMap::new();
        let mut owners = BTreeMap::new();
        for part in parts {
            for (name, resource) in &part.resources {
                maps.entry(resource.ty)
                    .or_default()
                    .insert(name.clone(), resource.clone());
            }
            let counted = (part.resources.iter())
                .filter(|(_, resource)| resource.ty != ResourceType::Endpoint)
                .map(|(name, resource)| (resource.ty, name.clone()))
                .collect();
            owners.insert(
                part.id.clone(),
                Owned {
                    content: part.content_version(),
                    counted,
                },
            );
        }
        let mut take = |ty| Resources::of(maps.remove(&ty).unwrap_or_default());
        Self {
            clusters: take(ResourceType::Cluster),
            endpoints: take(ResourceType::Endpoint),
            listeners: take(ResourceType::Listener),
            owners,
        }
    }

    /// The resources of one type.
    pub fn resources(&self, ty: ResourceType) -> &Resources {
        match ty {
            ResourceType::Cluster => &self.clusters,
            ResourceType::Endpoint => &self.endpoints,
            ResourceType::Listener => &self.listeners,
        }
    }

    /// The load balancers in it.
    pub fn owners(&self) -> impl Iterator<Item = &LoadBalancerId> {
        self.owners.keys()
    }

    /// What `id`'s listeners and clusters hash to.
    pub fn content_version(&self, id: &LoadBalancerId) -> Option<&ContentVersion> {
        self.owners.get(id).map(|owned| &owned.content)
    }

    /// The resources that [`Self::content_version`] is made of.
    pub fn counted(&self, id: &LoadBalancerId) -> &[(ResourceType, ResourceName)] {
        self.owners.get(id).map_or(&[], |owned| &owned.counted)
    }

    /// Whether every reference leads somewhere and everything that must be referred to is.
    pub fn consistent(&self) -> Result<(), Inconsistency> {
        for ty in ResourceType::ALL {
            let Some(target) = ty.refers_to() else { continue };
            let mut wanted = BTreeSet::new();
            for (name, resource) in self.resources(ty).iter() {
                for missing in &resource.refers_to {
                    if self.resources(target).get(missing).is_none() {
                        return Err(Inconsistency::Dangling {
                            from: ty,
                            name: name.clone(),
                            missing: missing.clone(),
                        });
                    }
                    wanted.insert(missing);
                }
            }
            if let Some((name, _)) = self
                .resources(target)
                .iter()
                .find(|(name, _)| !wanted.contains(name))
            {
                return Err(Inconsistency::Unreferenced {
                    ty: target,
                    name: name.clone(),
                });
            }
        }
        Ok(())
    }
}
