//! What comes out: statuses to write, what to delegate, and what to tell the tenant.

use std::collections::{BTreeMap, BTreeSet};

use api::condition::ConditionValue;
use api::v1alpha1::RouteSpec;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use crate::events::Event;
use crate::kind::{ObjectRef, RouteKind};

/// All that follows from a snapshot. Every list is sorted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The wanted status of each object that is ours.
    pub statuses: Statuses,
    /// Route CRs that the hub should hold, by name (the UID of the tenant's object).
    pub routes: BTreeMap<String, DesiredRoute>,
    /// Route CRs that stay on the hub as they are, if they are there: neither changed nor pruned nor created.
    /// Never also in `routes`.
    pub hold: BTreeSet<String>,
    /// Shadow Services that the tenant cluster should hold. One that is not here and is labelled as ours is
    /// no longer needed.
    pub shadow_services: Vec<Service>,
    /// Services that stand for Gateways in the tenant cluster, on the same terms.
    pub gateway_services: Vec<Service>,
    /// EndpointSlices of both, on the same terms.
    pub endpoint_slices: Vec<EndpointSlice>,
    /// Certificates that the hub needs.
    pub sync_secrets: BTreeSet<SecretRef>,
    /// Certificate authorities that the hub needs.
    pub authorities: BTreeSet<AuthorityRef>,
    /// UIDs of objects whose status is likely to be another one as soon as the hub has answered for what is on its
    /// way: to wait a moment for that saves a write that says less.
    pub provisional: BTreeSet<String>,
    /// Refusals and other news for the tenant. The same on every evaluation: tell only what is new.
    pub events: Vec<Event>,
}

/// Wanted statuses, without times. Merge each into what exists. While the hub is silent, an object whose status
/// was already written for its generation is left out: that status stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statuses {
    /// GatewayClasses with our controller name.
    pub gateway_classes: Vec<(ObjectRef, ClassStatus)>,
    /// Gateways of those classes.
    pub gateways: Vec<(ObjectRef, GatewayStatus)>,
    /// Gateways and ListenerSets that are not ours any more, as far as something of ours is left in their status.
    pub former: Vec<(ObjectRef, FormerStatus)>,
    /// ListenerSets of those Gateways.
    pub listener_sets: Vec<(ObjectRef, ListenerSetStatus)>,
    /// Every BackendTLSPolicy, with our entries of `status.ancestors`.
    pub policies: Vec<(ObjectRef, Vec<AncestorStatus>)>,
    /// Every route of an enabled kind, with our entries of `status.parents`: none for a route that is not
    /// ours, so that an entry from earlier goes.
    pub routes: Vec<(ObjectRef, Vec<ParentStatus>)>,
}

/// Wanted status of a GatewayClass.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassStatus {
    /// Conditions.
    pub conditions: Vec<ConditionValue>,
    /// Names of the features that are served, sorted.
    pub supported_features: Vec<&'static str>,
}

/// Wanted status of a Gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayStatus {
    /// `Accepted` and `Programmed`, and those of [`OPTIONAL_GATEWAY_CONDITIONS`](crate::OPTIONAL_GATEWAY_CONDITIONS)
    /// that there is a cause for.
    pub conditions: Vec<ConditionValue>,
    /// Addresses, as the hub said.
    pub addresses: Vec<Address>,
    /// One for each listener, in the order of the spec.
    pub listeners: Vec<ListenerStatus>,
    /// How many ListenerSets are attached; none where the Gateway says nothing about ListenerSets.
    pub attached_listener_sets: Option<i32>,
}

/// Wanted status of a ListenerSet.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerSetStatus {
    /// `Accepted` and `Programmed`.
    pub conditions: Vec<ConditionValue>,
    /// One for each listener, in the order of the spec. None while the ListenerSet is not attached.
    pub listeners: Vec<ListenerStatus>,
}

/// What is ours in the status of a Gateway or ListenerSet that is not ours any more, and is to be taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormerStatus {
    /// The version of the object for which this holds. Another version may be somebody else's work.
    pub resource_version: String,
    /// Types of conditions.
    pub conditions: BTreeSet<String>,
    /// Names of listeners.
    pub listeners: BTreeSet<String>,
    /// Other fields.
    pub fields: BTreeSet<String>,
}

/// An address of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `IPAddress` or `Hostname`.
    pub type_: String,
    /// The address.
    pub value: String,
}

/// Wanted status of a listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Kinds of route that may attach.
    pub supported_kinds: Vec<RouteKind>,
    /// How many accepted routes are attached.
    pub attached_routes: i32,
    /// `Accepted`, `Conflicted`, `ResolvedRefs` and `Programmed`.
    pub conditions: Vec<ConditionValue>,
}

/// Wanted entry of a route's `status.parents`.
#[derive(Debug, Clone, PartialEq)]
pub struct ParentStatus {
    /// The parentRef as the route declares it; for a route without one, a reference to the default Gateway.
    pub parent_ref: Value,
    /// `Accepted` and `ResolvedRefs`.
    pub conditions: Vec<ConditionValue>,
}

/// Wanted entry of a policy's `status.ancestors`.
#[derive(Debug, Clone, PartialEq)]
pub struct AncestorStatus {
    /// The Gateway from which routes lead to the policy's target.
    pub ancestor_ref: Value,
    /// `Accepted` and `ResolvedRefs`.
    pub conditions: Vec<ConditionValue>,
}

/// A Route CR that the hub should hold. Its name is the key in [`Outcome::routes`].
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredRoute {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Spec.
    pub spec: RouteSpec,
}

/// A Secret of the tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretRef {
    /// UID: the name of the SyncSecret.
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A ConfigMap or Secret of the tenant with certificate authorities.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuthorityRef {
    /// Name of the SyncSecret.
    pub sync_name: String,
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}
