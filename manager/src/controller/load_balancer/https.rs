//! HTTPS at the host name of a LoadBalancer that asks for it: whether it can be, what it needs, and what is said. Pure.
//!
//! What the LoadBalancer promises to its owner must hold here, too: where HTTPS would go past a promise, such as a source
//! range, it is refused.

use std::collections::BTreeMap;

use api::annotations;
use api::condition::ConditionValue;
use api::v1alpha1::load_balancer_condition as reason;
use api::v1alpha1::{LoadBalancer, LoadBalancerPort, LoadBalancerType, Protocol};
use controller_kit::object::{Object, ObjectError};
use gateway_translator::HubObject;
use kube::ResourceExt;
use kube::core::DynamicObject;
use l4_xds::Backend;
use serde_json::Value;

use super::assess::{Assessed, View};
use super::convert::Problem;
use crate::build::{https as build, hub_service};
use crate::hostnames;
use crate::settings::TenantSettings;
use crate::stores::api_resource;

/// Keys by which cert-manager is told who issues. No other annotation of its own reaches a Gateway: some ask for names
/// that nobody checks.
const ISSUER_KEYS: [&str; 4] = [
    CLUSTER_ISSUER,
    ISSUER,
    "cert-manager.io/issuer-kind",
    "cert-manager.io/issuer-group",
];
const CLUSTER_ISSUER: &str = "cert-manager.io/cluster-issuer";
const ISSUER: &str = "cert-manager.io/issuer";

/// What comes of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Https {
    /// These objects serve it.
    Served {
        /// At this name.
        hostname: String,
        /// By this Gateway.
        gateway: String,
        /// All that it needs.
        objects: Vec<HubObject>,
    },
    /// It cannot be.
    Refused(Problem),
}

impl Https {
    /// What is to be on the hub.
    ///
    /// # Errors
    /// When one cannot be addressed.
    pub fn objects(&self) -> Result<Vec<Object>, ObjectError> {
        match self {
            Self::Refused(_) => Ok(Vec::new()),
            Self::Served { objects, .. } => objects
                .iter()
                .map(|object| Object::from_value(object.value.clone(), &api_resource(object.key.kind)))
                .collect(),
        }
    }

    /// Name of the Gateway that serves it.
    #[must_use]
    pub fn gateway(&self) -> Option<&str> {
        match self {
            Self::Refused(_) => None,
            Self::Served { gateway, .. } => Some(gateway),
        }
    }
}

/// What comes of it for one LoadBalancer. None where it does not ask, or is not served itself.
#[must_use]
pub fn https(view: &View, settings: &TenantSettings, item: &Assessed) -> Option<Https> {
    item.load_balancer.spec.https?;
    item.converted()?;
    Some(served(view, settings, item).unwrap_or_else(Https::Refused))
}

/// True where the host name leads to what serves HTTPS, and not to the hub Service.
#[must_use]
pub fn is_served(view: &View, settings: &TenantSettings, item: &Assessed) -> bool {
    let lb = item.load_balancer.as_ref();
    lb.spec.https.is_some() && item.converted().is_some() && terms(view, settings, lb).is_ok()
}

/// What it is served with.
struct Terms<'a> {
    hostname: String,
    issuer: BTreeMap<String, String>,
    port: &'a LoadBalancerPort,
}

fn terms<'a>(view: &View, settings: &TenantSettings, lb: &'a LoadBalancer) -> Result<Terms<'a>, Problem> {
    if !view.gateway_api || settings.gateway_api_disabled() {
        return Err(problem(
            reason::REASON_DISABLED,
            "the Gateway API is switched off",
        ));
    }
    keeps_its_promises(lb)?;
    let hostname = hostnames::in_force(lb, settings, &view.hostnames).ok().flatten();
    let hostname = hostname.ok_or_else(|| problem(reason::REASON_NO_HOSTNAME, "it has no host name"))?;
    let issuer = issuer(lb, settings)?;
    let port = port(lb)?;
    Ok(Terms {
        hostname,
        issuer,
        port,
    })
}

fn served(view: &View, settings: &TenantSettings, item: &Assessed) -> Result<Https, Problem> {
    let lb = item.load_balancer.as_ref();
    let Terms {
        hostname,
        issuer,
        port,
    } = terms(view, settings, lb)?;
    let namespace = view.namespace.as_str();
    let objects = build::objects(&build::Https {
        tenant: &view.tenant,
        load_balancer: lb,
        hostname: &hostname,
        class: settings.gateway_api.class.as_deref().unwrap_or_default(),
        issuer: &issuer,
        backends: backends(item, port),
        dns_annotations: settings.dns.use_dns_annotations == Some(true),
    });
    Ok(Https::Served {
        hostname,
        gateway: build::name(namespace, &lb.name_any()),
        objects,
    })
}

fn problem(reason: &'static str, why: &str) -> Problem {
    Problem {
        reason,
        message: format!("HTTPS is not served: {why}"),
    }
}

/// Nobody would keep these for clients that come by the Gateway.
fn keeps_its_promises(lb: &LoadBalancer) -> Result<(), Problem> {
    let unsupported = |why| Err(problem(reason::REASON_UNSUPPORTED_VALUE, why));
    if lb.spec.type_ != LoadBalancerType::LoadBalancer {
        return unsupported("it needs spec.type LoadBalancer");
    }
    if !lb.spec.source_ranges.is_empty() {
        return unsupported("source ranges are not kept there");
    }
    if hub_service::sends_proxy_protocol(lb) {
        return unsupported("backends would get no PROXY protocol header");
    }
    Ok(())
}

/// What the tenant asks for, as far as it may, or else what the hub has.
fn issuer(lb: &LoadBalancer, settings: &TenantSettings) -> Result<BTreeMap<String, String>, Problem> {
    let none = |why| Err(problem(reason::REASON_NO_ISSUER, why));
    if settings.dns.use_certificate_annotations != Some(true) {
        return none("the hub sets no annotations for cert-manager");
    }
    let mut asked = annotations::propagated(lb.annotations(), &settings.annotations);
    asked.retain(|key, _| ISSUER_KEYS.contains(&key.as_str()));
    if asked.contains_key(CLUSTER_ISSUER) || asked.contains_key(ISSUER) {
        return Ok(asked);
    }
    match &settings.certificates.default_cluster_issuer {
        Some(issuer) => Ok(BTreeMap::from([(CLUSTER_ISSUER.to_owned(), issuer.clone())])),
        None => none("nobody is named who issues certificates"),
    }
}

/// The port that was asked for, or the first that looks like HTTP, or else the first that does not look like HTTPS.
fn port(lb: &LoadBalancer) -> Result<&LoadBalancerPort, Problem> {
    let tcp = || lb.spec.ports.iter().filter(|port| port.protocol == Protocol::TCP);
    let is_called = |port: &LoadBalancerPort, name: &str| {
        port.name
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if let Some(wanted) = lb.spec.https.and_then(|https| https.port) {
        let found = tcp().find(|port| port.port == wanted);
        return found.ok_or_else(|| {
            problem(
                reason::REASON_INVALID_PORTS,
                &format!("there is no TCP port {wanted}"),
            )
        });
    }
    tcp()
        .find(|port| is_called(port, "http"))
        .or_else(|| tcp().find(|port| !is_called(port, "https")))
        .ok_or_else(|| {
            problem(
                reason::REASON_INVALID_PORTS,
                "there is no TCP port that speaks HTTP without TLS",
            )
        })
}

fn backends<'a>(item: &'a Assessed, port: &LoadBalancerPort) -> &'a [Backend] {
    let listeners = item.converted().map(|converted| converted.listeners.as_slice());
    let listener = listeners
        .unwrap_or_default()
        .iter()
        .find(|listener| (listener.protocol, listener.port) == (port.protocol, port.port));
    listener
        .map(|listener| listener.backends.as_slice())
        .unwrap_or_default()
}

/// How far it is. `gateway` is the live one, `refused` says why an object could not be written.
#[must_use]
pub fn condition(https: &Https, gateway: Option<&DynamicObject>, refused: Option<&str>) -> ConditionValue {
    let no = |reason, message: &str| ConditionValue::new(reason::HTTPS_PROGRAMMED, false, reason, message);
    let hostname = match https {
        Https::Refused(Problem { reason, message }) => return no(reason, message),
        Https::Served { hostname, .. } => hostname,
    };
    if let Some(words) = refused {
        return no(reason::REASON_NOT_APPLIED, words);
    }
    match gateway.map(|gateway| progress(gateway, hostname)) {
        Some(Ok(())) => ConditionValue::new(
            reason::HTTPS_PROGRAMMED,
            true,
            reason::REASON_PROGRAMMED,
            "the certificate is there and an Envoy has it",
        ),
        Some(Err(words)) => no(reason::REASON_PENDING, &words),
        None => no(reason::REASON_PENDING, "the Gateway is not there yet"),
    }
}

/// What Envoy Gateway says of the listener, and of the Gateway, which has an address and an Envoy when it is programmed;
/// its words where it does not serve yet.
fn progress(gateway: &DynamicObject, hostname: &str) -> Result<(), String> {
    let at = |pointer: &str| gateway.data.pointer(pointer);
    let is_of_this_name = at("/spec/listeners/0/hostname").and_then(Value::as_str) == Some(hostname);
    let listeners = at("/status/listeners").and_then(Value::as_array);
    let mut listeners = listeners.into_iter().flatten().filter(|_| is_of_this_name);
    let is_ours = |listener: &&Value| listener.get("name").and_then(Value::as_str) == Some(build::LISTENER);
    let listener = listeners.find(is_ours);
    let whole = at("/status").filter(|_| is_of_this_name);
    let said = [
        (listener, "ResolvedRefs"),
        (listener, "Programmed"),
        (whole, "Programmed"),
    ];
    for (of, type_) in said {
        let Some(condition) = of.and_then(|of| find(of, type_, gateway.metadata.generation)) else {
            return Err("Envoy Gateway has not looked at it yet".to_owned());
        };
        if condition.get("status").and_then(Value::as_str) != Some("True") {
            let words = condition
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or_default();
            return Err(format!("Envoy Gateway says: {words}"));
        }
    }
    Ok(())
}

fn find<'a>(of: &'a Value, type_: &str, generation: Option<i64>) -> Option<&'a Value> {
    let conditions = of.get("conditions").and_then(Value::as_array)?;
    conditions.iter().find(|condition| {
        condition.get("type").and_then(Value::as_str) == Some(type_)
            && condition.get("observedGeneration").and_then(Value::as_i64) == generation
    })
}

#[cfg(test)]
mod tests;
