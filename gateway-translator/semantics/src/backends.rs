//! Where each backend reference of a route leads.

use std::collections::BTreeSet;

use api::names::PortNumber;
use api::v1alpha1::{BackendDecision, InvalidBackend, IpFamily, ServiceBackend};
use k8s_openapi::api::core::v1::{Service, ServicePort};

use crate::index::Index;
use crate::kind::{ObjectRef, RouteKind};
use crate::model::{BackendRef, Filter, Object, RouteSpec};
use crate::policy::Policies;
use crate::reason::{self, Verdict};
use crate::shadow::{self, Exposure};

/// How many decisions one Route CR may hold. A reference without one is answered with 500.
const MAX_DECISIONS: usize = 512;

/// All references of a route.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    /// One for each reference whose way is known.
    pub decisions: Vec<BackendDecision>,
    /// What is wrong with the others, in the order of the resource.
    pub problems: Vec<Verdict>,
    /// What keeps a backend from being kept up to date, while it is served as it was.
    pub warnings: Vec<Verdict>,
    /// Services that need a shadow: namespace and name.
    pub shadows: BTreeSet<(String, String)>,
    /// Services whose BackendTLSPolicies count here: namespace and name.
    pub protectable: BTreeSet<(String, String)>,
    /// Some NodePort is not known yet, or nodes may not answer on it yet.
    pub pending: bool,
}

/// A reference, and where it stands.
struct Reference<'a> {
    pointer: String,
    field: String,
    target: &'a BackendRef,
}

/// Resolves all references of a route, also those of mirrors.
pub(crate) fn resolve(
    index: &Index,
    policies: &Policies,
    kind: RouteKind,
    route: &Object<RouteSpec>,
    ends_tls: bool,
) -> Backends {
    let protects = match kind {
        RouteKind::Http | RouteKind::Grpc | RouteKind::Tcp => true,
        RouteKind::Tls => ends_tls,
        RouteKind::Udp => false,
    };
    let mut backends = Backends::default();
    for reference in references(&route.spec) {
        if backends.decisions.len() >= MAX_DECISIONS {
            let message = format!(
                "{}: more than {MAX_DECISIONS} backend references",
                reference.field
            );
            backends
                .problems
                .push(Verdict::new(reason::UNSUPPORTED_VALUE, message));
            break;
        }
        resolve_one(index, kind, &route.reference, reference, &mut backends);
    }
    if protects {
        protect(policies, &mut backends);
    }
    backends.problems.extend(extension_problems(&route.spec));
    backends
}

/// Lays what BackendTLSPolicies ask for on the backends. One whose policy cannot be honoured leads nowhere.
fn protect(policies: &Policies, backends: &mut Backends) {
    for decision in &mut backends.decisions {
        let Some(service) = &mut decision.service else {
            continue;
        };
        backends
            .protectable
            .insert((service.namespace.clone(), service.name.clone()));
        match policies.of_port(&service.namespace, &service.name, &service.port_name) {
            None => {}
            Some(policy) => match &policy.tls {
                Ok(tls) => service.tls = Some(tls.clone()),
                Err(_) => {
                    decision.service = None;
                    decision.invalid = Some(InvalidBackend::UnsupportedValue);
                }
            },
        }
    }
}

fn references(spec: &RouteSpec) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    for (i, rule) in spec.rules.iter().enumerate() {
        let (pointer, field) = (format!("/spec/rules/{i}"), format!("spec.rules[{i}]"));
        for (j, backend) in rule.backend_refs.iter().enumerate() {
            let (pointer, field) = (
                format!("{pointer}/backendRefs/{j}"),
                format!("{field}.backendRefs[{j}]"),
            );
            mirrors(&backend.filters, &pointer, &field, &mut found);
            found.push(Reference {
                pointer,
                field,
                target: backend,
            });
        }
        mirrors(&rule.filters, &pointer, &field, &mut found);
    }
    found
}

fn mirrors<'a>(filters: &'a [Filter], pointer: &str, field: &str, found: &mut Vec<Reference<'a>>) {
    for (k, filter) in filters.iter().enumerate() {
        let Some(mirror) = &filter.request_mirror else {
            continue;
        };
        found.push(Reference {
            pointer: format!("{pointer}/filters/{k}/requestMirror/backendRef"),
            field: format!("{field}.filters[{k}].requestMirror.backendRef"),
            target: &mirror.backend_ref,
        });
    }
}

/// Filters of other makers: nothing here can resolve them.
fn extension_problems(spec: &RouteSpec) -> Vec<Verdict> {
    let mut problems = Vec::new();
    for (i, rule) in spec.rules.iter().enumerate() {
        let on_rule = rule
            .filters
            .iter()
            .enumerate()
            .map(|(k, f)| (format!("spec.rules[{i}].filters[{k}]"), f));
        let on_backends = rule.backend_refs.iter().enumerate().flat_map(|(j, backend)| {
            let path = move |k| format!("spec.rules[{i}].backendRefs[{j}].filters[{k}]");
            backend
                .filters
                .iter()
                .enumerate()
                .map(move |(k, filter)| (path(k), filter))
        });
        for (path, filter) in on_rule.chain(on_backends) {
            let Some(extension) = &filter.extension_ref else {
                continue;
            };
            let named = format!(
                "{} {:?} of group {:?}",
                extension.kind, extension.name, extension.group
            );
            let message = format!("{path}.extensionRef: {named} is not supported");
            problems.push(Verdict::new(reason::INVALID_KIND, message));
        }
    }
    problems
}

fn resolve_one(index: &Index, kind: RouteKind, route: &ObjectRef, reference: Reference, into: &mut Backends) {
    let Reference {
        pointer,
        field,
        target,
    } = reference;
    match way(index, kind, route, target) {
        Ok(Way {
            backend,
            shadow,
            settling,
            refusal,
        }) => {
            into.shadows.extend(shadow);
            into.pending |= settling;
            let refusal = refusal.map(|why| Verdict::new(reason::SERVICE_REFUSED, format!("{field}: {why}")));
            match (backend, refusal) {
                (Some(service), refusal) => {
                    into.warnings.extend(refusal);
                    into.decisions.push(BackendDecision {
                        pointer,
                        service: Some(service),
                        invalid: None,
                    });
                }
                (None, Some(refusal)) => {
                    into.problems.push(refusal);
                    into.decisions
                        .push(leads_nowhere(pointer, InvalidBackend::UnsupportedValue));
                }
                (None, None) => into.pending = true,
            }
        }
        Err((invalid, problem)) => {
            into.problems.push(Verdict::new(
                invalid_reason(invalid),
                format!("{field}: {problem}"),
            ));
            into.decisions.push(leads_nowhere(pointer, invalid));
        }
    }
}

/// Why the hub may not go on sending requests to a backend that it has.
pub(crate) fn problem(
    index: &Index,
    policies: &Policies,
    kind: RouteKind,
    route: &ObjectRef,
    service: &ServiceBackend,
) -> Option<InvalidBackend> {
    let target = BackendRef {
        namespace: Some(service.namespace.clone()),
        name: service.name.clone(),
        port: Some(i64::from(service.port.get())),
        ..BackendRef::default()
    };
    if let Err((invalid, _)) = way(index, kind, route, &target) {
        return Some(invalid);
    }
    // Where TLS ends is not known of what the route was. What is protected now must be so by a policy that holds.
    let policy = policies.of_port(&service.namespace, &service.name, &service.port_name)?;
    (service.tls.is_some() && policy.tls.is_err()).then_some(InvalidBackend::UnsupportedValue)
}

pub(crate) fn leads_nowhere(pointer: String, invalid: InvalidBackend) -> BackendDecision {
    BackendDecision {
        pointer,
        service: None,
        invalid: Some(invalid),
    }
}

fn invalid_reason(invalid: InvalidBackend) -> &'static str {
    match invalid {
        InvalidBackend::BackendNotFound => reason::BACKEND_NOT_FOUND,
        InvalidBackend::RefNotPermitted => reason::REF_NOT_PERMITTED,
        InvalidBackend::InvalidKind => reason::INVALID_KIND,
        InvalidBackend::UnsupportedValue => reason::UNSUPPORTED_VALUE,
    }
}

/// The way to a Service port. Without a backend its NodePort is still to come, unless the shadow is refused.
struct Way {
    backend: Option<ServiceBackend>,
    shadow: Option<(String, String)>,
    /// Nodes may not answer for the shadow yet.
    settling: bool,
    /// Why the shadow is not as it should be.
    refusal: Option<String>,
}

type Problem = (InvalidBackend, String);

fn way(index: &Index, kind: RouteKind, route: &ObjectRef, target: &BackendRef) -> Result<Way, Problem> {
    let (group, target_kind) = (
        target.group.as_deref().unwrap_or_default(),
        target.kind.as_deref().unwrap_or("Service"),
    );
    if !group.is_empty() || target_kind != "Service" {
        let message = format!("{target_kind} of group {group:?} is not supported, use a Service");
        return Err((InvalidBackend::InvalidKind, message));
    }
    let namespace = target.namespace.as_deref().unwrap_or(&route.namespace);
    let named = format!("Service {namespace}/{}", target.name);
    if !index.grants.permit(route, "Service", namespace, &target.name) {
        let message = format!("no ReferenceGrant in {namespace} permits {named}");
        return Err((InvalidBackend::RefNotPermitted, message));
    }
    let service = index
        .services
        .get(&(namespace, target.name.as_str()))
        .ok_or_else(|| (InvalidBackend::BackendNotFound, format!("{named} does not exist")))?;
    // Before the port: an ExternalName Service need not have any.
    let exposure = match shadow::exposure(service) {
        Exposure::None(why) => {
            return Err((
                InvalidBackend::UnsupportedValue,
                format!("{named} {why}, which is not supported"),
            ));
        }
        exposure => exposure,
    };
    let port = service_port(kind, service, target.port, &named)?;
    let found = Found {
        namespace,
        name: &target.name,
        service,
        port,
        transport: kind.transport(),
    };
    reach(index, exposure, &found)
}

/// A Service port that exists.
struct Found<'a> {
    namespace: &'a str,
    name: &'a str,
    service: &'a Service,
    port: &'a ServicePort,
    transport: api::v1alpha1::Protocol,
}

fn service_port<'a>(
    kind: RouteKind,
    service: &'a Service,
    number: Option<i64>,
    named: &str,
) -> Result<&'a ServicePort, Problem> {
    let Some(number) = number else {
        return Err((
            InvalidBackend::UnsupportedValue,
            format!("port is required for {named}"),
        ));
    };
    let transport = kind.transport().as_str();
    let of_number = || {
        shadow::ports(service.spec.as_ref())
            .iter()
            .filter(move |port| i64::from(port.port) == number)
    };
    if let Some(port) = of_number().find(|port| shadow::protocol(port) == transport) {
        return Ok(port);
    }
    match of_number().next() {
        Some(other) => {
            let message = format!(
                "port {number} of {named} is {}, {} needs {transport}",
                shadow::protocol(other),
                kind.as_str()
            );
            Err((InvalidBackend::UnsupportedValue, message))
        }
        None => Err((
            InvalidBackend::BackendNotFound,
            format!("{named} has no port {number}"),
        )),
    }
}

fn reach(index: &Index, exposure: Exposure, found: &Found) -> Result<Way, Problem> {
    let Found {
        namespace,
        name,
        service,
        port,
        transport,
    } = *found;
    let mut way = Way {
        backend: None,
        shadow: None,
        settling: false,
        refusal: None,
    };
    let answering = if exposure == Exposure::Shadow {
        let shadow_name = shadow::shadow_name(namespace, name);
        let existing = index.services.get(&(namespace, shadow_name.as_str())).copied();
        if existing.is_some_and(|existing| !shadow::is_shadow(existing)) {
            let message = format!("Service {namespace}/{shadow_name} is in the way: it is not ours");
            return Err((InvalidBackend::UnsupportedValue, message));
        }
        way.shadow = Some((namespace.to_owned(), name.to_owned()));
        way.settling = index
            .settling_services
            .contains(&(namespace, shadow_name.as_str()));
        way.refusal = shadow::refusal(index, namespace, name);
        existing
    } else {
        Some(service)
    };
    let node_port = answering.and_then(|service| shadow::node_port(service, port.port, transport.as_str()));
    if let (Some(node_port), Ok(number)) = (node_port, PortNumber::try_from(port.port)) {
        way.backend = Some(ServiceBackend {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port: number,
            port_name: port.name.clone().unwrap_or_default(),
            protocol: transport,
            app_protocol: port.app_protocol.clone(),
            node_port,
            ip_families: answering
                .and_then(|service| service.spec.as_ref())
                .map(IpFamily::of_service)
                .unwrap_or_default(),
            tls: None,
        });
    }
    Ok(way)
}
