//! The snapshot, parsed once and sorted, so that nothing after it depends on the order of the input.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::v1alpha1::TenantStateStatus;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::events::{Event, EventType};
use crate::former::StatusWriters;
use crate::grants::Grants;
use crate::kind::{ObjectKind, ObjectRef, RouteKind};
use crate::mirror::{SERVICE_NAME_LABEL, SLICE_MANAGED_BY, SLICE_MANAGED_BY_LABEL};
use crate::model::{self, ClassSpec, GatewaySpec, GrantSpec, ListenerSetSpec, Object, PolicySpec, RouteSpec};
use crate::reason;
use crate::snapshot::{AuthorityFacts, HubFacts, RefusedService, SecretFacts, Settings, Snapshot};
use crate::unknown;

/// Namespace and name.
pub(crate) type Key<'a> = (&'a str, &'a str);

/// Everything that the engine looks things up in.
pub(crate) struct Index<'a> {
    pub settings: &'a Settings,
    pub hub: &'a HubFacts,
    /// Classes with our controller name, by name.
    pub classes: BTreeMap<String, Object<'a, ClassSpec>>,
    /// All Gateways that can be read, also those of other controllers.
    pub gateways: BTreeMap<(String, String), Object<'a, GatewaySpec>>,
    /// ListenerSets, also those of other controllers' Gateways.
    pub listener_sets: BTreeMap<(String, String), Object<'a, ListenerSetSpec>>,
    /// BackendTLSPolicies.
    pub policies: BTreeMap<(String, String), Object<'a, PolicySpec>>,
    /// Routes of the enabled kinds.
    pub routes: BTreeMap<(RouteKind, String, String), Object<'a, RouteSpec>>,
    pub grants: Grants,
    pub secrets: BTreeMap<Key<'a>, &'a SecretFacts>,
    pub namespaces: BTreeMap<&'a str, &'a BTreeMap<String, String>>,
    /// Certificate authorities by kind, namespace and name.
    pub authorities: BTreeMap<(&'a str, &'a str, &'a str), &'a AuthorityFacts>,
    pub services: BTreeMap<Key<'a>, &'a Service>,
    /// Who wrote the status of objects that may have been ours, by UID.
    pub status_writers: BTreeMap<&'a str, &'a StatusWriters>,
    /// What the API server of this cluster says of the Services of ours that it refuses.
    pub refused_services: BTreeMap<Key<'a>, &'a str>,
    /// Shadow Services that nodes may not answer for yet.
    pub settling_services: BTreeSet<Key<'a>>,
    /// EndpointSlices by namespace and name of their Service, without ours.
    pub slices: BTreeMap<Key<'a>, Vec<&'a EndpointSlice>>,
    /// Objects that cannot be read, with what is wrong.
    pub malformed: Vec<(ObjectRef, String)>,
}

impl<'a> Index<'a> {
    pub fn new(input: &'a Snapshot, settings: &'a Settings) -> Self {
        let mut malformed = Vec::new();
        let classes = read::<ClassSpec>(ObjectKind::GatewayClass, &input.gateway_classes, &mut malformed)
            .filter(|class| settings.gateways && class.spec.controller_name == settings.controller_name)
            .map(|class| (class.meta.name.clone(), class))
            .collect();
        let gateways = read(ObjectKind::Gateway, &input.gateways, &mut malformed);
        let gateways = gateways.map(by_name).collect();
        let sets = if settings.listener_sets {
            input.listener_sets.as_slice()
        } else {
            &[]
        };
        let listener_sets = read(ObjectKind::ListenerSet, sets, &mut malformed);
        let listener_sets = listener_sets.map(by_name).collect();
        let policies = if settings.backend_tls_policies {
            input.backend_tls_policies.as_slice()
        } else {
            &[]
        };
        let policies = read(ObjectKind::BackendTlsPolicy, policies, &mut malformed);
        let policies = policies.map(by_name).collect();
        let grants = Grants::new(grants(&input.reference_grants, &mut malformed).into_iter());
        let routes = RouteKind::ALL
            .into_iter()
            .filter(|kind| kind.enabled(settings))
            .flat_map(|kind| routes(kind, kind.objects(input), &mut malformed))
            .collect();
        malformed.sort();
        Self {
            settings,
            hub: &input.hub,
            classes,
            gateways,
            listener_sets,
            policies,
            routes,
            grants,
            secrets: sorted(&input.secrets, |s| (&s.namespace, &s.name), |s| &s.uid),
            namespaces: input
                .namespaces
                .iter()
                .map(|n| (n.name.as_str(), &n.labels))
                .collect(),
            services: sorted(input.services.iter().map(Arc::as_ref), service_key, |s| {
                s.metadata.uid.as_deref().unwrap_or_default()
            }),
            status_writers: writers(&input.status_writers),
            refused_services: refused(&input.refused_services),
            settling_services: input
                .settling_services
                .iter()
                .map(|s| (s.namespace.as_str(), s.name.as_str()))
                .collect(),
            authorities: authorities(&input.authorities),
            slices: slices(&input.endpoint_slices),
            malformed,
        }
    }

    /// The settings in force, once the hub has told them.
    pub fn state(&self) -> Option<&'a TenantStateStatus> {
        self.hub.state.as_ref()
    }

    /// The hub has switched the Gateway API off for this tenant.
    pub fn disabled(&self) -> bool {
        self.state()
            .is_some_and(|state| state.gateway_api.disable == Some(true))
    }

    /// The class of a Gateway, if that is one of ours.
    pub fn class_of(&self, gateway: &Object<GatewaySpec>) -> Option<&Object<'a, ClassSpec>> {
        self.classes.get(&gateway.spec.gateway_class_name)
    }

    /// News about the objects that cannot be read.
    pub fn malformed_events(&self) -> impl Iterator<Item = Event> {
        self.malformed.iter().map(|(object, problem)| Event {
            object: object.clone(),
            type_: EventType::Warning,
            reason: reason::MALFORMED,
            message: problem.clone(),
        })
    }

    /// UIDs of the objects that cannot be read: what the hub has of them stays.
    pub fn malformed_uids(&self) -> BTreeSet<String> {
        self.malformed
            .iter()
            .map(|(object, _)| object.uid.clone())
            .filter(|uid| !uid.is_empty())
            .collect()
    }
}

/// The objects that can be read and that are not being deleted. An object on its way out is gone for us:
/// a finalizer of somebody else must not keep it served.
fn read<'a, S: DeserializeOwned>(
    kind: ObjectKind,
    objects: &'a [Arc<Value>],
    malformed: &mut Vec<(ObjectRef, String)>,
) -> impl Iterator<Item = Object<'a, S>> {
    let mut readable: Vec<Object<'a, S>> = Vec::with_capacity(objects.len());
    for object in objects {
        match model::parse(kind, object) {
            Ok(object) => readable.push(object),
            Err(problem) => malformed.push(problem),
        }
    }
    readable.retain(|object| object.meta.deletion_timestamp.is_none());
    readable.sort_by(|a, b| a.reference.cmp(&b.reference));
    readable.into_iter()
}

/// Grants of which every field is known. What another one grants is not known, so it grants nothing.
fn grants<'a>(
    objects: &'a [Arc<Value>],
    malformed: &mut Vec<(ObjectRef, String)>,
) -> Vec<Object<'a, GrantSpec>> {
    let mut known: Vec<_> = read::<GrantSpec>(ObjectKind::ReferenceGrant, objects, malformed).collect();
    known.retain(|grant| {
        let field = unknown::in_grant(&grant.spec);
        let problem = field.map(|field| (grant.reference.clone(), unknown::message(&field)));
        let is_known = problem.is_none();
        malformed.extend(problem);
        is_known
    });
    known
}

fn routes<'a>(
    kind: RouteKind,
    objects: &'a [Arc<Value>],
    malformed: &mut Vec<(ObjectRef, String)>,
) -> Vec<((RouteKind, String, String), Object<'a, RouteSpec>)> {
    read::<RouteSpec>(ObjectKind::Route(kind), objects, malformed)
        .map(|route| {
            (
                (kind, route.meta.namespace.clone(), route.meta.name.clone()),
                route,
            )
        })
        .collect()
}

fn by_name<S>(object: Object<'_, S>) -> ((String, String), Object<'_, S>) {
    ((object.meta.namespace.clone(), object.meta.name.clone()), object)
}

fn writers(writers: &[StatusWriters]) -> BTreeMap<&str, &StatusWriters> {
    let mut sorted: Vec<_> = writers.iter().collect();
    sorted.sort_by(|a, b| a.resource_version.cmp(&b.resource_version));
    sorted
        .into_iter()
        .map(|writers| (writers.uid.as_str(), writers))
        .collect()
}

fn refused(services: &[RefusedService]) -> BTreeMap<Key<'_>, &str> {
    let mut services: Vec<_> = services.iter().collect();
    services.sort_by(|a, b| a.message.cmp(&b.message));
    services
        .into_iter()
        .map(|refused| {
            let RefusedService {
                namespace,
                name,
                message,
            } = refused;
            ((namespace.as_str(), name.as_str()), message.as_str())
        })
        .collect()
}

fn authorities(facts: &[AuthorityFacts]) -> BTreeMap<(&str, &str, &str), &AuthorityFacts> {
    let mut facts: Vec<_> = facts.iter().collect();
    facts.sort_by(|a, b| a.uid.cmp(&b.uid));
    facts
        .into_iter()
        .map(|facts| {
            let key = (facts.kind.as_str(), facts.namespace.as_str(), facts.name.as_str());
            (key, facts)
        })
        .collect()
}

fn slices(slices: &[Arc<EndpointSlice>]) -> BTreeMap<Key<'_>, Vec<&EndpointSlice>> {
    let label = |slice: &'_ EndpointSlice, key: &str| -> Option<String> {
        slice.metadata.labels.as_ref()?.get(key).cloned()
    };
    let mut sorted: Vec<&EndpointSlice> = slices
        .iter()
        .map(Arc::as_ref)
        .filter(|slice| label(slice, SLICE_MANAGED_BY_LABEL).as_deref() != Some(SLICE_MANAGED_BY))
        .filter(|slice| slice.metadata.deletion_timestamp.is_none())
        .collect();
    sorted.sort_by(|a, b| {
        let key = |slice: &EndpointSlice| (slice.metadata.name.clone(), slice.metadata.uid.clone());
        key(a).cmp(&key(b))
    });
    let mut found = BTreeMap::<Key<'_>, Vec<&EndpointSlice>>::new();
    for slice in sorted {
        let service = slice
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        if let (Some(namespace), Some(service)) = (&slice.metadata.namespace, service) {
            found.entry((namespace, service)).or_default().push(slice);
        }
    }
    found
}

/// By namespace and name. Of two with one name, which a cluster cannot have, the greater UID wins in any order.
fn sorted<'a, T>(
    items: impl IntoIterator<Item = &'a T>,
    key: impl Fn(&'a T) -> (&'a String, &'a String),
    uid: impl Fn(&'a T) -> &'a str,
) -> BTreeMap<Key<'a>, &'a T> {
    let mut items: Vec<&'a T> = items.into_iter().collect();
    items.sort_by(|a, b| uid(a).cmp(uid(b)));
    items
        .into_iter()
        .map(|item| (key(item), item))
        .map(|((ns, name), item)| ((ns.as_str(), name.as_str()), item))
        .collect()
}

fn service_key(service: &Service) -> (&String, &String) {
    static NONE: String = String::new();
    (
        service.metadata.namespace.as_ref().unwrap_or(&NONE),
        service.metadata.name.as_ref().unwrap_or(&NONE),
    )
}
