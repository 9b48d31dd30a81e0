//! Listeners, of a Gateway or of a ListenerSet: which are sound, and which certificates they use.

use std::collections::BTreeSet;

use crate::frontend::{Frontend, Validation};
use crate::index::Index;
use crate::kind::{GATEWAY_GROUP, ListenerProtocol, ObjectRef, RouteKind};
use crate::model::{Listener, RouteGroupKind};
use crate::outcome::SecretRef;
use crate::reason::{self, Verdict};
use crate::secret;
use crate::unknown;

/// A listener with all that can be said of it in the tenant cluster.
#[derive(Debug)]
pub(crate) struct JudgedListener<'a> {
    pub spec: &'a Listener,
    /// The protocol, if it is served.
    pub protocol: Option<ListenerProtocol>,
    /// TLS goes through to the backends.
    pub passthrough: bool,
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

    /// `Accepted` and `ResolvedRefs` hold.
    pub fn sound(&self) -> bool {
        self.accepted() && self.unresolved.is_none()
    }

    /// The hub can serve it: one certificate that is missing does not stop the others.
    pub fn servable(&self) -> bool {
        self.accepted() && !self.lacks_certificate && !self.supported_kinds.is_empty()
    }
}

/// Judges the listeners of a Gateway or ListenerSet, each alone: conflicts are for
/// [`conflict::mark`](crate::conflict::mark).
pub(crate) fn judge<'a>(
    index: &Index,
    owner: &ObjectRef,
    listeners: &'a [Listener],
    frontend: &Frontend,
) -> Vec<JudgedListener<'a>> {
    listeners
        .iter()
        .enumerate()
        .map(|(position, listener)| {
            let path = format!("spec.listeners[{position}]");
            judge_alone(index, owner, listener, frontend, &path)
        })
        .collect()
}

fn judge_alone<'a>(
    index: &Index,
    owner: &ObjectRef,
    spec: &'a Listener,
    frontend: &Frontend,
    path: &str,
) -> JudgedListener<'a> {
    let known = ListenerProtocol::from_name(&spec.protocol);
    // HTTP and HTTPS are served whenever Gateways are.
    let served = |protocol: &ListenerProtocol| {
        matches!(protocol, ListenerProtocol::Http | ListenerProtocol::Https)
            || protocol.enabled(index.settings)
    };
    let Some(protocol) = known.filter(served) else {
        let message = format!("{path}.protocol: {} is not supported", spec.protocol);
        return unsupported(spec, Verdict::new(reason::UNSUPPORTED_PROTOCOL, message));
    };
    let passthrough = protocol == ListenerProtocol::Tls && tls_mode(spec) == "Passthrough";
    let needs_certificate =
        matches!(protocol, ListenerProtocol::Https | ListenerProtocol::Tls) && !passthrough;
    let certificates = if needs_certificate {
        certificates(index, owner, spec, path)
    } else {
        Certificates::default()
    };
    let clients = frontend
        .of_port(spec.port)
        .filter(|_| protocol == ListenerProtocol::Https);
    let (supported_kinds, bad_kinds) = route_kinds(index, protocol, spec, path);
    let refusal = tls_refusal(protocol, spec, path)
        .or_else(|| unknown_refusal(spec, path))
        .or_else(|| domain_refusal(index, spec, path))
        .or_else(|| clients.and_then(|check| check.refusal.clone()));
    let bad_clients = clients.and_then(|check: &Validation| check.unresolved.clone());
    JudgedListener {
        spec,
        protocol: Some(protocol),
        passthrough,
        supported_kinds,
        refusal,
        conflict: None,
        unresolved: certificates.problem.or(bad_clients).or(bad_kinds),
        lacks_certificate: needs_certificate && certificates.found.is_empty(),
        certificates: certificates.found,
    }
}

fn unsupported(spec: &Listener, refusal: Verdict) -> JudgedListener<'_> {
    JudgedListener {
        spec,
        protocol: None,
        passthrough: false,
        supported_kinds: Vec::new(),
        refusal: Some(refusal),
        conflict: None,
        unresolved: None,
        certificates: Vec::new(),
        lacks_certificate: false,
    }
}

fn tls_mode(spec: &Listener) -> &str {
    let mode = spec.tls.as_ref().and_then(|tls| tls.mode.as_deref());
    mode.filter(|mode| !mode.is_empty()).unwrap_or("Terminate")
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
/// let everybody in, so it is refused where it is not understood.
fn tls_refusal(protocol: ListenerProtocol, spec: &Listener, path: &str) -> Option<Verdict> {
    let modes: &[&str] = match protocol {
        ListenerProtocol::Https => &["Terminate"],
        ListenerProtocol::Tls => &["Terminate", "Passthrough"],
        ListenerProtocol::Http | ListenerProtocol::Tcp | ListenerProtocol::Udp => return None,
    };
    let mode = tls_mode(spec);
    if !modes.contains(&mode) {
        let message = format!(
            "{path}.tls.mode: {mode} is not supported for {}, use {}",
            spec.protocol,
            modes.join(" or ")
        );
        return Some(Verdict::new(reason::UNSUPPORTED_VALUE, message));
    }
    spec.tls.as_ref()?.frontend_validation.as_ref()?;
    let message =
        format!("{path}.tls.frontendValidation is not supported, use spec.tls.frontend of the Gateway");
    Some(Verdict::new(reason::UNSUPPORTED_VALUE, message))
}

/// Who may attach is not known.
fn unknown_refusal(spec: &Listener, path: &str) -> Option<Verdict> {
    let allowed = spec.allowed_routes.as_ref()?;
    let field = unknown::in_allowed_routes(allowed, &format!("{path}.allowedRoutes"))?;
    Some(Verdict::new(reason::UNSUPPORTED_VALUE, unknown::message(&field)))
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

fn certificates(index: &Index, owner: &ObjectRef, spec: &Listener, path: &str) -> Certificates {
    let references = spec
        .tls
        .as_ref()
        .map(|tls| tls.certificate_refs.as_slice())
        .unwrap_or_default();
    let mut certificates = Certificates::default();
    if references.is_empty() {
        let message = format!("{path}.tls.certificateRefs: a listener that ends TLS needs a certificate");
        certificates.problem = Some(Verdict::new(reason::INVALID_CERTIFICATE_REF, message));
    }
    for (position, reference) in references.iter().enumerate() {
        let path = format!("{path}.tls.certificateRefs[{position}]");
        match secret::resolve(index, owner, reference, &path, reason::INVALID_CERTIFICATE_REF) {
            Ok(secret) => certificates.found.push(secret),
            Err(problem) => certificates.problem = certificates.problem.or(Some(problem)),
        }
    }
    certificates
}
