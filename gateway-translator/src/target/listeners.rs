//! Listeners of a Gateway or ListenerSet: those that the CCM found sound, with synced certificates.
//!
//! A Gateway without a listener is taken away, and its address with it. So of one whose listeners lack nothing but
//! Secrets the listeners stay, with a certificate that never exists: Envoy Gateway serves none of them, and leaves
//! alone what runs a Gateway that has no listener in order.

use std::collections::BTreeMap;

use api::names::PortNumber;
use api::v1alpha1::{ListenerDecision, SyncSecretType, route_condition as condition};
use serde_json::{Map, Value, json};

use super::{Context, hostnames};
use crate::names;
use crate::source::gateway::{Listener, ListenerTls};
use crate::source::parse;
use crate::verdict::Problem;

/// Ports that Envoy and what runs beside it in its pod listen on.
const RESERVED_PORTS: std::ops::RangeInclusive<u16> = 19_000..=19_003;
/// Listeners below this port move up by [`PORT_SHIFT`] inside the pod, so that Envoy needs no privilege.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;
/// By how much.
const PORT_SHIFT: u16 = 10_000;

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListenerProtocol {
    /// HTTP without TLS.
    Http,
    /// HTTP over TLS, which Envoy terminates.
    Https,
    /// TLS, which Envoy terminates or passes on.
    Tls,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl ListenerProtocol {
    /// Reads the protocol of a listener.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "HTTP" => Some(Self::Http),
            "HTTPS" => Some(Self::Https),
            "TLS" => Some(Self::Tls),
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            _ => None,
        }
    }

    /// Listeners of these two protocols on one port are told apart by host name: in the request or, with TLS, in
    /// the handshake.
    pub(crate) fn shares_port_with(self, other: Self) -> bool {
        let over_tls = |p| matches!(p, Self::Https | Self::Tls);
        match self {
            Self::Http => other == Self::Http,
            Self::Https | Self::Tls => over_tls(other),
            Self::Tcp | Self::Udp => false,
        }
    }
}

/// A listener that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServedListener {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: ListenerProtocol,
    pub(crate) hostname: Option<String>,
}

/// Ports inside the pod that are taken, with the listener's port that took each. TCP and UDP are apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports(BTreeMap<(bool, u16), u16>);

/// What holds for all listeners of one Gateway, wherever they are written.
#[derive(Debug)]
pub(crate) struct Terms<'t> {
    /// Ports that are taken.
    pub(crate) ports: &'t mut Ports,
    /// May an HTTPS listener of this port be served? Not while clients could not be checked.
    pub(crate) clients: &'t super::clients::ClientChecks,
}

/// What came of a list of listeners.
#[derive(Debug, Default)]
pub(crate) struct Built {
    /// For the hub.
    pub(crate) values: Vec<Value>,
    /// The same, as others have to know them.
    pub(crate) served: Vec<ServedListener>,
    /// Those that were left out, by name.
    pub(crate) refused: BTreeMap<String, Problem>,
    /// Of those left out, for the hub: the ones that lack nothing but a Secret. Nobody serves them so.
    pub(crate) waiting: Vec<Value>,
    /// Parts that were left out.
    pub(crate) problems: Vec<Problem>,
}

impl Built {
    /// As it is, if there is a listener to serve.
    pub(crate) fn served(self) -> Result<Self, Problem> {
        if self.values.is_empty() {
            return Err(self.nothing());
        }
        Ok(self)
    }

    /// As it is, if there is a listener to serve or only Secrets are missing for one.
    pub(crate) fn served_or_waiting(mut self) -> Result<Self, Problem> {
        if self.values.is_empty() {
            self.values = std::mem::take(&mut self.waiting);
        }
        self.served()
    }

    fn nothing(self) -> Problem {
        let none = || Problem::unsupported("spec.gateway names no listener to serve.");
        self.refused.into_values().next().unwrap_or_else(none)
    }
}

/// Why a listener is left out.
#[derive(Debug)]
struct Left {
    problem: Problem,
    /// For the hub, where it lacks nothing but a Secret.
    waiting: Option<Value>,
}

impl From<Problem> for Left {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            waiting: None,
        }
    }
}

/// Builds the listeners that were decided for. One that cannot be served is left out; the others are.
pub(crate) fn build(
    context: &Context<'_>,
    listeners: &[Value],
    decisions: &[ListenerDecision],
    terms: &mut Terms<'_>,
    permit: impl Fn(&str, &ServedListener) -> Result<(), Problem>,
) -> Built {
    let mut built = Built::default();
    for (index, decision) in decisions.iter().enumerate() {
        let earlier = decisions.iter().take(index);
        if earlier.clone().any(|earlier| earlier.name == decision.name) {
            continue;
        }
        let path = format!("spec.listeners[{}]", decision.name);
        let made = one(context, &path, listeners, decision, terms, &permit);
        match made {
            Ok((value, served, problems)) => {
                built.values.push(value);
                built.served.push(served);
                built.problems.extend(problems);
            }
            Err(Left { problem, waiting }) => {
                built.waiting.extend(waiting);
                built.refused.insert(decision.name.clone(), problem);
            }
        }
    }
    built.problems.extend(built.refused.values().cloned());
    built
}

fn one(
    context: &Context<'_>,
    path: &str,
    listeners: &[Value],
    decision: &ListenerDecision,
    terms: &mut Terms<'_>,
    permit: impl Fn(&str, &ServedListener) -> Result<(), Problem>,
) -> Result<(Value, ServedListener, Vec<Problem>), Left> {
    let named = |value: &&Value| value.get("name").and_then(Value::as_str) == Some(&decision.name);
    let Some(value) = listeners.iter().find(named) else {
        return Err(Problem::unsupported(format!("{path} is not in the resource.")).into());
    };
    let Listener {
        name,
        hostname,
        port,
        protocol: protocol_name,
        tls,
        _allowed_routes: _,
    } = parse(path, value)?;
    let Some(protocol) = ListenerProtocol::parse(&protocol_name) else {
        return Err(
            Problem::unsupported(format!("{path}.protocol: {protocol_name:?} is not served.")).into(),
        );
    };
    // The API server turns an empty host name into none.
    let hostname = hostname.filter(|name| !name.is_empty());
    if let Some(hostname) = &hostname {
        let path = format!("{path}.hostname");
        hostnames::check(&path, hostname, &context.settings.allowed_domains)?;
        if matches!(protocol, ListenerProtocol::Tcp | ListenerProtocol::Udp) {
            let message = format!("{path} is not allowed where protocol is {protocol_name}.");
            return Err(Problem::unsupported(message).into());
        }
    }
    let served = ServedListener {
        name,
        port: port.get(),
        protocol,
        hostname,
    };
    permit(path, &served)?;
    let found = listener_tls(context, path, protocol, tls, decision).and_then(|found| {
        if protocol == ListenerProtocol::Https {
            terms.clients.check(path, port)?;
        }
        Ok(found)
    });
    let (tls, problems) = found.map_err(|problem| without_tls(problem, &served, &protocol_name))?;
    terms.ports.take(path, port, protocol)?;
    let value = to_value(&served, &protocol_name, tls);
    Ok((value, served, problems))
}

/// A listener of which the certificate or what clients are checked by is not in order.
fn without_tls(problem: Problem, served: &ServedListener, protocol_name: &str) -> Left {
    let only_waits = problem.reason == condition::REASON_SECRET_NOT_FOUND;
    let never = || {
        Tls::Terminate(vec![
            json!({"kind": "Secret", "name": names::MISSING_CERTIFICATE}),
        ])
    };
    Left {
        waiting: only_waits.then(|| to_value(served, protocol_name, Some(never()))),
        problem,
    }
}

fn to_value(served: &ServedListener, protocol_name: &str, tls: Option<Tls>) -> Value {
    let ServedListener {
        name,
        port,
        protocol,
        hostname,
    } = served;
    let kinds: Vec<Value> = kinds(*protocol, tls.as_ref())
        .iter()
        .map(|kind| json!({"group": "gateway.networking.k8s.io", "kind": kind}))
        .collect();
    let mut listener = Map::new();
    listener.insert("name".to_owned(), name.clone().into());
    listener.insert("port".to_owned(), (*port).into());
    listener.insert("protocol".to_owned(), protocol_name.into());
    listener.insert(
        "allowedRoutes".to_owned(),
        json!({"namespaces": {"from": "Same"}, "kinds": kinds}),
    );
    if let Some(hostname) = hostname {
        listener.insert("hostname".to_owned(), hostname.clone().into());
    }
    match tls {
        Some(Tls::Terminate(certificates)) => drop(listener.insert(
            "tls".to_owned(),
            json!({"mode": "Terminate", "certificateRefs": certificates}),
        )),
        Some(Tls::Passthrough) => drop(listener.insert("tls".to_owned(), json!({"mode": "Passthrough"}))),
        None => {}
    }
    listener.into()
}

fn kinds(protocol: ListenerProtocol, tls: Option<&Tls>) -> &'static [&'static str] {
    match (protocol, tls) {
        (ListenerProtocol::Http | ListenerProtocol::Https, _) => &["HTTPRoute", "GRPCRoute"],
        (ListenerProtocol::Tls, Some(Tls::Terminate(_))) => &["TLSRoute", "TCPRoute"],
        (ListenerProtocol::Tls, _) => &["TLSRoute"],
        (ListenerProtocol::Tcp, _) => &["TCPRoute"],
        (ListenerProtocol::Udp, _) => &["UDPRoute"],
    }
}

/// Where TLS ends.
#[derive(Debug)]
enum Tls {
    /// At Envoy, with references to these certificates.
    Terminate(Vec<Value>),
    /// At the backend.
    Passthrough,
}

fn listener_tls(
    context: &Context<'_>,
    path: &str,
    protocol: ListenerProtocol,
    tls: Option<ListenerTls>,
    decision: &ListenerDecision,
) -> Result<(Option<Tls>, Vec<Problem>), Problem> {
    let over_tls = matches!(protocol, ListenerProtocol::Https | ListenerProtocol::Tls);
    let ListenerTls {
        mode,
        certificate_refs: _,
        options,
    } = match (over_tls, tls) {
        (false, None) => return Ok((None, Vec::new())),
        (true, Some(tls)) => tls,
        (false, Some(_)) => {
            return Err(Problem::unsupported(format!(
                "{path}.tls is not allowed where the protocol is not HTTPS or TLS."
            )));
        }
        (true, None) => return Err(Problem::unsupported(format!("{path}.tls is missing."))),
    };
    if !options.is_empty() {
        return Err(Problem::unsupported(format!("{path}.tls.options is not served.")));
    }
    match mode.as_deref().unwrap_or("Terminate") {
        "Terminate" => {
            let (certificates, problems) = certificates(context, path, decision)?;
            Ok((Some(Tls::Terminate(certificates)), problems))
        }
        "Passthrough" if protocol == ListenerProtocol::Tls => Ok((Some(Tls::Passthrough), Vec::new())),
        mode => Err(Problem::unsupported(format!(
            "{path}.tls.mode: {mode:?} is not served."
        ))),
    }
}

/// The hub Secrets of a listener. While some of its certificates have not arrived it is served with the others.
fn certificates(
    context: &Context<'_>,
    path: &str,
    decision: &ListenerDecision,
) -> Result<(Vec<Value>, Vec<Problem>), Problem> {
    let (arrived, missing): (Vec<_>, Vec<_>) = decision
        .certificates
        .iter()
        .partition(|name| context.has_secret(name, SyncSecretType::Tls));
    let missing = missing.into_iter().map(|name| {
        let message = match context.refused_secrets.get(name) {
            Some(problem) => format!("{path}.tls: {}", problem.message),
            None => format!("{path}.tls: the certificate in SyncSecret {name} has not arrived."),
        };
        Problem::new(condition::REASON_SECRET_NOT_FOUND, message)
    });
    let problems: Vec<Problem> = missing.collect();
    if arrived.is_empty() {
        let none = || {
            Problem::new(
                condition::REASON_SECRET_NOT_FOUND,
                format!("{path}.tls has no certificate."),
            )
        };
        return Err(problems.into_iter().next().unwrap_or_else(none));
    }
    let namespace = &context.input.namespace;
    let reference = |name: &String| json!({"kind": "Secret", "name": names::secret(namespace, name)});
    Ok((arrived.into_iter().map(reference).collect(), problems))
}

impl Ports {
    /// Two listeners may share a port, but two ports may not meet inside the pod: Envoy would bind neither.
    pub(crate) fn take(
        &mut self,
        path: &str,
        port: PortNumber,
        protocol: ListenerProtocol,
    ) -> Result<(), Problem> {
        let port = port.get();
        let inside = if port < FIRST_UNPRIVILEGED_PORT {
            port + PORT_SHIFT
        } else {
            port
        };
        if RESERVED_PORTS.contains(&inside) {
            return Err(Problem::unsupported(format!(
                "{path}.port: {port} is reserved for the proxy itself."
            )));
        }
        let taken = self
            .0
            .entry((protocol == ListenerProtocol::Udp, inside))
            .or_insert(port);
        if *taken == port {
            Ok(())
        } else {
            Err(Problem::unsupported(format!(
                "{path}.port: {port} cannot be served together with {taken}."
            )))
        }
    }
}
