//! Gateway to the hub's Gateway: listeners the CCM found sound, with synced certificates.

use std::collections::BTreeMap;

use api::v1alpha1::{GatewayDecision, ListenerDecision, route_condition as condition};
use serde_json::{Value, json};

use super::{Context, Draft, hub_object, rules};
use crate::names;
use crate::origin::Source;
use crate::source::gateway::{GatewaySpec, GatewayTls, Infrastructure, Listener, ListenerTls};
use crate::source::parse;
use crate::verdict::Problem;

/// Ports that Envoy and what runs beside it in its pod listen on.
const RESERVED_PORTS: std::ops::RangeInclusive<u16> = 19_000..=19_003;
/// Listeners below this port move up by [`PORT_SHIFT`] inside the pod, so that Envoy needs no privilege.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;
/// By how much.
const PORT_SHIFT: u16 = 10_000;

/// Translates a Gateway. A listener that cannot be served is left out; the others are.
pub(crate) fn draft<'a>(context: &Context<'a>, source: &Source<'a>) -> Result<Draft<'a>, Problem> {
    let spec: GatewaySpec = parse("spec", source.spec)?;
    let mut problems = check_top_level(&spec)?;
    let GatewayDecision { listeners: decisions } = source.route.spec.gateway.clone().unwrap_or_default();
    let mut refused = BTreeMap::new();
    let mut ports = BTreeMap::new();
    let mut listeners = Vec::new();
    for (index, decision) in decisions.iter().enumerate() {
        if decisions
            .iter()
            .take(index)
            .any(|earlier| earlier.name == decision.name)
        {
            continue;
        }
        match listener(context, &spec.listeners, decision, &mut ports, &mut problems) {
            Ok(value) => listeners.push(value),
            Err(problem) => drop(refused.insert(decision.name.clone(), problem)),
        }
    }
    if listeners.is_empty() {
        let none = || Problem::unsupported("spec.gateway names no listener to serve.");
        return Err(refused.into_values().next().unwrap_or_else(none));
    }
    problems.extend(refused.values().cloned());
    let spec = json!({"gatewayClassName": context.settings.gateway_class, "listeners": listeners});
    let name = names::gateway(&source.origin.namespace, &source.origin.name);
    Ok(Draft {
        object: hub_object(context, source, name, &spec),
        backends: None,
        problems,
        refused_listeners: refused,
    })
}

/// Fields beside the listeners. What would have no effect on the hub is refused, or told.
fn check_top_level(spec: &GatewaySpec) -> Result<Vec<Problem>, Problem> {
    let GatewaySpec {
        gateway_class_name: _,
        listeners: _,
        addresses,
        infrastructure,
        allowed_listeners: _,
        tls,
    } = spec;
    if addresses
        .iter()
        .any(|address| address.value.as_deref().is_some_and(|value| !value.is_empty()))
    {
        return Err(Problem::unsupported(
            "spec.addresses: the hub chooses the addresses of a Gateway.",
        ));
    }
    if let Some(GatewayTls { frontend, backend }) = tls {
        frontend.check("spec.tls.frontend", "is not served")?;
        backend.check("spec.tls.backend", "is not served")?;
    }
    let Some(Infrastructure {
        labels,
        annotations,
        parameters_ref,
    }) = infrastructure
    else {
        return Ok(Vec::new());
    };
    parameters_ref.check(
        "spec.infrastructure.parametersRef",
        "is refused: the hub sets what runs a Gateway",
    )?;
    let told = [
        ("labels", labels.is_empty()),
        ("annotations", annotations.is_empty()),
    ];
    let told = told.into_iter().filter(|(_, is_empty)| !is_empty);
    Ok(told
        .map(|(field, _)| {
            Problem::unsupported(format!("spec.infrastructure.{field} has no effect on the hub."))
        })
        .collect())
}

fn listener(
    context: &Context<'_>,
    listeners: &[Value],
    decision: &ListenerDecision,
    ports: &mut BTreeMap<u16, u16>,
    problems: &mut Vec<Problem>,
) -> Result<Value, Problem> {
    let named = |value: &&Value| value.get("name").and_then(Value::as_str) == Some(&decision.name);
    let path = format!("spec.listeners[{}]", decision.name);
    let Some(value) = listeners.iter().find(named) else {
        return Err(Problem::unsupported(format!("{path} is not in the resource.")));
    };
    let Listener {
        name,
        hostname,
        port,
        protocol,
        tls,
        _allowed_routes: _,
    } = parse(&path, value)?;
    // The API server turns an empty host name into none.
    let hostname = hostname.filter(|name| !name.is_empty());
    if let Some(hostname) = &hostname {
        rules::check_hostname(
            &format!("{path}.hostname"),
            hostname,
            &context.settings.allowed_domains,
        )?;
    }
    let mut listener = json!({
        "name": name,
        "port": port,
        "protocol": protocol,
        "allowedRoutes": {
            "namespaces": {"from": "Same"},
            "kinds": [
                {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"},
                {"group": "gateway.networking.k8s.io", "kind": "GRPCRoute"},
            ],
        },
    });
    let certificates = match (protocol.as_str(), tls) {
        ("HTTP", None) => Vec::new(),
        ("HTTPS", Some(tls)) => certificates(context, &path, &tls, decision, problems)?,
        ("HTTP", Some(_)) => {
            return Err(Problem::unsupported(format!(
                "{path}.tls is not allowed where protocol is HTTP."
            )));
        }
        ("HTTPS", None) => return Err(Problem::unsupported(format!("{path}.tls is missing."))),
        _ => {
            return Err(Problem::unsupported(format!(
                "{path}.protocol: {protocol:?} is not served."
            )));
        }
    };
    check_port(&path, port.get(), ports)?;
    if let Some(fields) = listener.as_object_mut() {
        if let Some(hostname) = hostname {
            fields.insert("hostname".to_owned(), hostname.into());
        }
        if !certificates.is_empty() {
            fields.insert(
                "tls".to_owned(),
                json!({"mode": "Terminate", "certificateRefs": certificates}),
            );
        }
    }
    Ok(listener)
}

/// The hub Secrets of a listener. While some of its certificates have not arrived it is served with the others.
fn certificates(
    context: &Context<'_>,
    path: &str,
    tls: &ListenerTls,
    decision: &ListenerDecision,
    problems: &mut Vec<Problem>,
) -> Result<Vec<Value>, Problem> {
    let ListenerTls {
        mode,
        certificate_refs: _,
        options,
    } = tls;
    if let Some(mode) = mode.as_deref().filter(|mode| *mode != "Terminate") {
        return Err(Problem::unsupported(format!(
            "{path}.tls.mode: {mode:?} is not served."
        )));
    }
    if !options.is_empty() {
        return Err(Problem::unsupported(format!("{path}.tls.options is not served.")));
    }
    let (arrived, missing): (Vec<_>, Vec<_>) = decision
        .certificates
        .iter()
        .partition(|name| context.secrets.contains(name.as_str()));
    let mut missing = missing.into_iter().map(|name| {
        let message = format!("{path}.tls: the certificate in SyncSecret {name} has not arrived.");
        Problem::new(condition::REASON_SECRET_NOT_FOUND, message)
    });
    if arrived.is_empty() {
        let none = || {
            Problem::new(
                condition::REASON_SECRET_NOT_FOUND,
                format!("{path}.tls has no certificate."),
            )
        };
        return Err(missing.next().unwrap_or_else(none));
    }
    problems.extend(missing);
    let namespace = &context.input.namespace;
    let reference = |name: &String| json!({"kind": "Secret", "name": names::secret(namespace, name)});
    Ok(arrived.into_iter().map(reference).collect())
}

/// Two listeners may share a port, but two ports may not meet inside the pod: Envoy would bind neither.
fn check_port(path: &str, port: u16, ports: &mut BTreeMap<u16, u16>) -> Result<(), Problem> {
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
    match ports.insert(inside, port) {
        Some(other) if other != port => {
            ports.insert(inside, other);
            Err(Problem::unsupported(format!(
                "{path}.port: {port} cannot be served together with {other}."
            )))
        }
        _ => Ok(()),
    }
}
