//! Listeners: which are sound, which conflict, which certificates they use.

use std::collections::{BTreeMap, BTreeSet};

use crate::index::Index;
use crate::kind::{GATEWAY_GROUP, ListenerProtocol, ObjectRef, RouteKind};
use crate::model::{GatewaySpec, Listener, Object, RouteGroupKind, SecretReference};
use crate::outcome::SecretRef;
use crate::reason::{self, Verdict};
use crate::secret::TLS_TYPE;

/// A listener with all that can be said of it in the tenant cluster.
#[derive(Debug)]
pub(crate) struct JudgedListener<'a> {
    pub spec: &'a Listener,
    pub supported_kinds: Vec<RouteKind>,
    /// Why it is not accepted, other than for a conflict.
    pub refusal: Option<Verdict>,
    pub conflict: Option<Verdict>,
    /// What is wrong with its references; it may be served all the same.
    pub unresolved: Option<Verdict>,
    pub certificates: Vec<SecretRef>,
    lacks_certificate: bool,
}

impl JudgedListener<'_> {
    /// `Accepted` holds.
    pub fn accepted(&self) -> bool {
        self.refusal.is_none() && self.conflict.is_none()
    }

    /// The hub can serve it: one certificate that is missing does not stop the others.
    pub fn servable(&self) -> bool {
        self.accepted() && !self.lacks_certificate && !self.supported_kinds.is_empty()
    }
}

/// Judges all listeners of a Gateway.
pub(crate) fn judge<'a>(index: &Index, gateway: &'a Object<GatewaySpec>) -> Vec<JudgedListener<'a>> {
    let mut judged: Vec<_> = gateway
        .spec
        .listeners
        .iter()
        .enumerate()
        .map(|(i, l)| judge_alone(index, gateway, i, l))
        .collect();
    mark_conflicts(&mut judged);
    judged
}

fn judge_alone<'a>(
    index: &Index,
    gateway: &'a Object<GatewaySpec>,
    position: usize,
    spec: &'a Listener,
) -> JudgedListener<'a> {
    let path = format!("spec.listeners[{position}]");
    let Some(protocol) = ListenerProtocol::from_name(&spec.protocol) else {
        let message = format!(
            "{path}.protocol: {} is not supported, use HTTP or HTTPS",
            spec.protocol
        );
        return unsupported(spec, Verdict::new(reason::UNSUPPORTED_PROTOCOL, message));
    };
    let (supported_kinds, bad_kinds) = route_kinds(index, protocol, spec, &path);
    let refusal = tls_refusal(gateway, protocol, spec, &path).or_else(|| domain_refusal(index, spec, &path));
    let certificates = match protocol {
        ListenerProtocol::Http => Certificates::default(),
        ListenerProtocol::Https => certificates(index, &gateway.reference, spec, &path),
    };
    let lacks_certificate = protocol == ListenerProtocol::Https && certificates.found.is_empty();
    JudgedListener {
        spec,
        supported_kinds,
        refusal,
        conflict: None,
        unresolved: certificates.problem.or(bad_kinds),
        certificates: certificates.found,
        lacks_certificate,
    }
}

fn unsupported(spec: &Listener, refusal: Verdict) -> JudgedListener<'_> {
    JudgedListener {
        spec,
        supported_kinds: Vec::new(),
        refusal: Some(refusal),
        conflict: None,
        unresolved: None,
        certificates: Vec::new(),
        lacks_certificate: false,
    }
}

/// Kinds that may attach, and what is wrong with those that the listener names.
fn route_kinds(
    index: &Index,
    protocol: ListenerProtocol,
    spec: &Listener,
    path: &str,
) -> (Vec<RouteKind>, Option<Verdict>) {
    let possible: Vec<RouteKind> = protocol
        .route_kinds()
        .iter()
        .copied()
        .filter(|kind| kind.enabled(index.settings))
        .collect();
    let named = spec
        .allowed_routes
        .as_ref()
        .map(|allowed| allowed.kinds.as_slice())
        .unwrap_or_default();
    if named.is_empty() {
        return (possible, None);
    }
    let known = |kind: &RouteGroupKind| {
        let group = kind.group.as_deref().unwrap_or(GATEWAY_GROUP);
        RouteKind::from_name(&kind.kind).filter(|known| group == GATEWAY_GROUP && possible.contains(known))
    };
    let wanted: BTreeSet<RouteKind> = named.iter().filter_map(known).collect();
    let bad = named
        .iter()
        .position(|kind| known(kind).is_none())
        .map(|position| {
            let kind = named
                .get(position)
                .map(|kind| kind.kind.as_str())
                .unwrap_or_default();
            let message = format!(
                "{path}.allowedRoutes.kinds[{position}]: {kind} is not supported by a {} listener",
                spec.protocol
            );
            Verdict::new(reason::INVALID_ROUTE_KINDS, message)
        });
    (wanted.into_iter().collect(), bad)
}

/// What a listener asks of TLS that is not served. To leave out the check of client certificates would be to
/// let everybody in, so it is refused.
fn tls_refusal(
    gateway: &Object<GatewaySpec>,
    protocol: ListenerProtocol,
    spec: &Listener,
    path: &str,
) -> Option<Verdict> {
    if protocol != ListenerProtocol::Https {
        return None;
    }
    let mode = spec
        .tls
        .as_ref()
        .and_then(|tls| tls.mode.as_deref())
        .unwrap_or("Terminate");
    if mode != "Terminate" {
        let message = format!("{path}.tls.mode: {mode} is not supported for HTTPS, use Terminate");
        return Some(Verdict::new(reason::UNSUPPORTED_VALUE, message));
    }
    let in_listener = spec
        .tls
        .as_ref()
        .is_some_and(|tls| tls.frontend_validation.is_some());
    (in_listener || validates_clients(&gateway.spec, spec.port)).then(|| {
        let message = format!("{path}: client certificate validation is not supported (spec.tls.frontend)");
        Verdict::new(reason::UNSUPPORTED_VALUE, message)
    })
}

fn validates_clients(spec: &GatewaySpec, port: i64) -> bool {
    let Some(frontend) = spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref()) else {
        return false;
    };
    let of_port = frontend
        .per_port
        .iter()
        .find(|entry| entry.port == port)
        .map(|entry| entry.tls.as_ref());
    // An entry for the port stands in place of the default, also when it asks for nothing.
    of_port
        .unwrap_or(frontend.default.as_ref())
        .is_some_and(|config| config.validation.is_some())
}

fn domain_refusal(index: &Index, spec: &Listener, path: &str) -> Option<Verdict> {
    let hostname = spec.hostname.as_deref().filter(|hostname| !hostname.is_empty())?;
    let state = index.state()?;
    (!api::domain::is_allowed(hostname, &state.allowed_domains)).then(|| {
        let message = format!("{path}.hostname: {hostname} is not within the tenant's allowed domains");
        Verdict::new(reason::DOMAIN_NOT_ALLOWED, message)
    })
}

#[derive(Debug, Default)]
struct Certificates {
    found: Vec<SecretRef>,
    problem: Option<Verdict>,
}

fn certificates(index: &Index, gateway: &ObjectRef, spec: &Listener, path: &str) -> Certificates {
    let references = spec
        .tls
        .as_ref()
        .map(|tls| tls.certificate_refs.as_slice())
        .unwrap_or_default();
    let mut certificates = Certificates::default();
    if references.is_empty() {
        let message = format!("{path}.tls.certificateRefs: an HTTPS listener needs a certificate");
        certificates.problem = Some(Verdict::new(reason::INVALID_CERTIFICATE_REF, message));
    }
    for (position, reference) in references.iter().enumerate() {
        let path = format!("{path}.tls.certificateRefs[{position}]");
        match certificate(index, gateway, reference, &path) {
            Ok(secret) => certificates.found.push(secret),
            Err(problem) => certificates.problem = certificates.problem.or(Some(problem)),
        }
    }
    certificates
}

/// The Secret behind a reference. The grant is asked for first: whether a Secret exists in another namespace
/// is not for everybody to know.
fn certificate(
    index: &Index,
    gateway: &ObjectRef,
    reference: &SecretReference,
    path: &str,
) -> Result<SecretRef, Verdict> {
    let invalid = |message: String| Verdict::new(reason::INVALID_CERTIFICATE_REF, message);
    let SecretReference {
        group,
        kind,
        namespace,
        name,
    } = reference;
    let (group, kind) = (
        group.as_deref().unwrap_or_default(),
        kind.as_deref().unwrap_or("Secret"),
    );
    if !group.is_empty() || kind != "Secret" {
        return Err(invalid(format!(
            "{path}: {kind} of group {group:?} is not supported, use a Secret"
        )));
    }
    let namespace = namespace.as_deref().unwrap_or(&gateway.namespace);
    if !index.grants.permit(gateway, "Secret", namespace, name) {
        let message = format!("{path}: no ReferenceGrant in {namespace} permits Secret {namespace}/{name}");
        return Err(Verdict::new(reason::REF_NOT_PERMITTED, message));
    }
    let secret = index
        .secrets
        .get(&(namespace, name.as_str()))
        .ok_or_else(|| invalid(format!("{path}: Secret {namespace}/{name} does not exist")))?;
    if secret.type_ != TLS_TYPE {
        let message = format!(
            "{path}: Secret {namespace}/{name} is of type {:?}, use {TLS_TYPE}",
            secret.type_
        );
        return Err(invalid(message));
    }
    match &secret.tls_problem {
        Some(problem) => Err(invalid(format!("{path}: Secret {namespace}/{name}: {problem}"))),
        None => Ok(SecretRef {
            uid: secret.uid.clone(),
            namespace: namespace.to_owned(),
            name: name.clone(),
        }),
    }
}

/// Listeners that cannot be told apart are all refused: the Gateway API forbids to pick a winner. Those of a
/// protocol that is not served take no part, because they take no port.
fn mark_conflicts(listeners: &mut [JudgedListener]) {
    let mut by_port = BTreeMap::<i64, Vec<(ListenerProtocol, String)>>::new();
    for listener in listeners.iter() {
        if let Some(protocol) = ListenerProtocol::from_name(&listener.spec.protocol) {
            by_port
                .entry(listener.spec.port)
                .or_default()
                .push((protocol, hostname_key(listener.spec)));
        }
    }
    for listener in listeners {
        let Some(protocol) = ListenerProtocol::from_name(&listener.spec.protocol) else {
            continue;
        };
        let sharers = by_port
            .get(&listener.spec.port)
            .map(Vec::as_slice)
            .unwrap_or_default();
        listener.conflict = conflict(protocol, listener.spec, sharers);
    }
}

fn conflict(
    protocol: ListenerProtocol,
    spec: &Listener,
    sharers: &[(ListenerProtocol, String)],
) -> Option<Verdict> {
    let (port, hostname) = (spec.port, hostname_key(spec));
    if sharers.iter().any(|(other, _)| *other != protocol) {
        let message = format!("port {port} is used by listeners of different protocols");
        return Some(Verdict::new(reason::PROTOCOL_CONFLICT, message));
    }
    (sharers.iter().filter(|(_, other)| *other == hostname).count() > 1).then(|| {
        let message = format!("port {port} is used by several listeners with hostname {hostname:?}");
        Verdict::new(reason::HOSTNAME_CONFLICT, message)
    })
}

fn hostname_key(spec: &Listener) -> String {
    spec.hostname.as_deref().unwrap_or_default().to_ascii_lowercase()
}
