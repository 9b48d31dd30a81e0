//! The first look at a Route: is it what it says it is, and how old is it?
//!
//! Nothing in a Route is trusted. The resource must be of the kind, namespace, name and UID that `origin`
//! says, or a tenant could take over the hub object of another of its objects by mistake.

use api::meta;
use api::v1alpha1::{Route, RouteOrigin, route_condition as condition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use crate::names;
use crate::output::{Kind, ObjectKey};
use crate::verdict::Problem;

/// When a Route came to the hub: the oldest sorts first. Unlike the time in `origin`, no tenant can choose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Created<'a> {
    undated: bool,
    at: Option<&'a Time>,
}

/// The same, to be kept. It sorts alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CreatedAt {
    undated: bool,
    at: Option<Time>,
}

impl From<Created<'_>> for CreatedAt {
    fn from(created: Created<'_>) -> Self {
        let Created { undated, at } = created;
        Self {
            undated,
            at: at.cloned(),
        }
    }
}

/// When a Route came to the hub. One without a timestamp counts as the youngest.
pub(crate) fn created(route: &Route) -> Created<'_> {
    let at = route.metadata.creation_timestamp.as_ref();
    Created {
        undated: at.is_none(),
        at,
    }
}

/// Name of the Route object.
pub(crate) fn route_name(route: &Route) -> &str {
    route.metadata.name.as_deref().unwrap_or_default()
}

/// A Route whose resource is what its origin says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The Route.
    pub(crate) route: &'a Route,
    /// Who it came from.
    pub(crate) origin: &'a RouteOrigin,
    /// Gateway, ListenerSet or one of the routes.
    pub(crate) kind: Kind,
    /// The resource's `spec`.
    pub(crate) spec: &'a Value,
}

impl Source<'_> {
    /// The hub route with this number, of those that a route becomes in `namespace`.
    pub(crate) fn part(&self, namespace: &str, number: usize) -> ObjectKey {
        let RouteOrigin {
            namespace: of, name, ..
        } = self.origin;
        ObjectKey::new(
            self.kind,
            namespace,
            names::route_part(self.kind, of, name, number),
        )
    }
}

/// Checks that a Route is what it says it is.
pub(crate) fn check(route: &Route) -> Result<Source<'_>, Problem> {
    let origin = route
        .spec
        .origin
        .as_ref()
        .ok_or_else(|| invalid("spec.origin is missing"))?;
    let resource = route.spec.source.kubernetes.as_ref().map(|k| &k.resource.0);
    let resource = resource.ok_or_else(|| invalid("spec.source.kubernetes is missing"))?;
    let kind = kind(origin)?;
    check_identity(origin, resource)?;
    check_name(route, origin)?;
    let spec = resource
        .get("spec")
        .ok_or_else(|| Problem::unsupported("spec is missing from the resource"))?;
    Ok(Source {
        route,
        origin,
        kind,
        spec,
    })
}

fn kind(origin: &RouteOrigin) -> Result<Kind, Problem> {
    let RouteOrigin { group, kind, .. } = origin;
    Kind::of_tenant(group, kind).ok_or_else(|| {
        let message = format!("{kind}.{group} is not served: only Gateways, ListenerSets and routes are.");
        Problem::new(condition::REASON_UNSUPPORTED_KIND, message)
    })
}

fn check_identity(origin: &RouteOrigin, resource: &Value) -> Result<(), Problem> {
    let text = |pointer: &str| {
        resource
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let version = text("/apiVersion");
    if !matches!(
        version,
        "gateway.networking.k8s.io/v1" | "gateway.networking.k8s.io/v1beta1"
    ) {
        return Err(Problem::new(
            condition::REASON_UNSUPPORTED_KIND,
            format!("apiVersion {version:?} is not served: use gateway.networking.k8s.io/v1."),
        ));
    }
    let parts = [
        ("kind", text("/kind"), &origin.kind),
        (
            "metadata.namespace",
            text("/metadata/namespace"),
            &origin.namespace,
        ),
        ("metadata.name", text("/metadata/name"), &origin.name),
        ("metadata.uid", text("/metadata/uid"), &origin.uid),
    ];
    for (field, found, said) in parts {
        if found != said {
            return Err(invalid(format!(
                "the resource's {field} is {found:?}, but spec.origin says {said:?}"
            )));
        }
    }
    match resource.pointer("/metadata/generation").map(Value::as_i64) {
        Some(generation) if generation != Some(origin.generation) => Err(invalid(
            "the resource's metadata.generation is not the one in spec.origin",
        )),
        _ => Ok(()),
    }
}

/// A CCM names its Routes by UID. Routes made by hand have any name, but not the CCM's label.
fn check_name(route: &Route, origin: &RouteOrigin) -> Result<(), Problem> {
    let label = route
        .metadata
        .labels
        .as_ref()
        .and_then(|l| l.get(meta::MANAGED_BY_LABEL));
    let from_ccm = label.is_some_and(|value| value == meta::MANAGED_BY);
    if from_ccm && route_name(route) != origin.uid {
        return Err(invalid(format!(
            "the Route's name is not spec.origin.uid, {:?}",
            origin.uid
        )));
    }
    Ok(())
}

fn invalid(message: impl std::fmt::Display) -> Problem {
    Problem::new(condition::REASON_INVALID_ORIGIN, format!("{message}."))
}
