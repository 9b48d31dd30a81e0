//! Gateway to the hub's Gateway.

use std::net::IpAddr;

use api::annotations;
use api::v1alpha1::GatewayDecision;
use serde_json::{Map, Value, json};

use super::clients::{self, ClientChecks};
use super::listeners::{self, Built, Ports, Terms};
use super::{Content, Context, Draft, Front, Fronts};
use crate::names;
use crate::origin::Source;
use crate::output::{Kind, ObjectKey};
use crate::source::gateway::{GatewaySpec, GatewayTls, Infrastructure, SpecAddress};
use crate::source::parse;
use crate::verdict::Problem;

/// Prefixes whose labels mean something to Kubernetes, Envoy Gateway or us, and all below them.
const RESERVED_LABEL_PREFIXES: [&str; 4] = ["kubernetes.io", "k8s.io", "envoyproxy.io", "kubelb.k8c.io"];

/// Translates a Gateway. A listener that cannot be served is left out; the others are. Where nothing but Secrets is
/// missing, the Gateway is there and serves nothing, so that it keeps its address.
pub(crate) fn draft<'a>(
    context: &Context<'a>,
    source: &Source<'a>,
    fronts: &mut Fronts,
) -> Result<Draft<'a>, Problem> {
    let GatewaySpec {
        gateway_class_name: _,
        listeners,
        addresses,
        infrastructure,
        allowed_listeners: _,
        tls,
    } = parse("spec", source.spec)?;
    let GatewayDecision {
        listeners: decisions,
        client_validation,
        backend_client_certificate,
        listener_sets,
    } = source.route.spec.gateway.clone().unwrap_or_default();
    let addresses = requested(context, &addresses)?;
    let (infrastructure, mut problems) = metadata(context, infrastructure.unwrap_or_default())?;
    let GatewayTls { frontend, backend: _ } = tls.unwrap_or_default();
    let clients = ClientChecks::read(context, frontend.unwrap_or_default(), &client_validation);
    let mut ports = Ports::default();
    let mut terms = Terms {
        ports: &mut ports,
        clients: &clients,
    };
    let built = listeners::build(context, &listeners, &decisions, &mut terms, |_, _| Ok(()));
    let Built {
        values,
        served,
        refused,
        waiting: _,
        problems: told,
    } = built.served_or_waiting()?;
    problems.extend(told);
    let mut spec = Map::new();
    spec.insert(
        "gatewayClassName".to_owned(),
        context.settings.gateway_class.clone().into(),
    );
    spec.insert("listeners".to_owned(), values.into());
    if listener_sets {
        spec.insert(
            "allowedListeners".to_owned(),
            json!({"namespaces": {"from": "Same"}}),
        );
    }
    if !addresses.is_empty() {
        spec.insert("addresses".to_owned(), addresses.into());
    }
    if !infrastructure.is_empty() {
        spec.insert("infrastructure".to_owned(), infrastructure.into());
    }
    let backend = backend_client_certificate.map(|name| clients::backend(context, &name));
    let backend = match backend {
        Some(Err(problem)) => {
            problems.push(problem);
            None
        }
        Some(Ok(backend)) => Some(backend),
        None => None,
    };
    if let Some(tls) = gateway_tls(clients.frontend(), backend) {
        spec.insert("tls".to_owned(), tls);
    }
    let key = ObjectKey::new(
        Kind::Gateway,
        &context.input.namespace,
        names::gateway(&source.origin.namespace, &source.origin.name),
    );
    fronts.insert(key.clone(), Front { ports, clients });
    Ok(Draft {
        content: Content::Listeners {
            gateway: key.clone(),
            spec: spec.into(),
            served,
        },
        key,
        backends: None,
        problems,
        refused_listeners: refused,
    })
}

fn gateway_tls(frontend: Option<Value>, backend: Option<Value>) -> Option<Value> {
    let mut tls = Map::new();
    for (name, value) in [("frontend", frontend), ("backend", backend)] {
        if let Some(value) = value {
            tls.insert(name.to_owned(), value);
        }
    }
    (!tls.is_empty()).then(|| tls.into())
}

/// Addresses that were asked for by value. One without a value is any address, as without asking.
fn requested(context: &Context<'_>, addresses: &[SpecAddress]) -> Result<Vec<Value>, Problem> {
    let mut all = Vec::new();
    for (index, SpecAddress { type_, value }) in addresses.iter().enumerate() {
        let Some(text) = value.as_deref().filter(|value| !value.is_empty()) else {
            continue;
        };
        let path = format!("spec.addresses[{index}]");
        if type_.as_deref().is_some_and(|type_| type_ != "IPAddress") {
            return Err(Problem::unsupported(format!(
                "{path}: only addresses of type IPAddress can be asked for."
            )));
        }
        let Ok(address) = text.parse::<IpAddr>() else {
            return Err(Problem::unsupported(format!(
                "{path}: {text:?} is not an IP address."
            )));
        };
        let address = address.to_canonical();
        if context.settings.gateway_addresses.check(address).is_err() {
            return Err(Problem::unsupported(format!(
                "{path}: the hub does not let the tenant ask for {address}."
            )));
        }
        all.push(json!({"type": "IPAddress", "value": address.to_string()}));
    }
    Ok(all)
}

/// `spec.infrastructure` of the hub Gateway. What has no effect is told.
fn metadata(
    context: &Context<'_>,
    infrastructure: Infrastructure,
) -> Result<(Map<String, Value>, Vec<Problem>), Problem> {
    let Infrastructure {
        mut labels,
        mut annotations,
        parameters_ref,
    } = infrastructure;
    parameters_ref.check(
        "spec.infrastructure.parametersRef",
        "is refused: the hub sets what runs a Gateway",
    )?;
    let asked = [labels.len(), annotations.len()];
    if context.settings.infrastructure_metadata {
        labels.retain(|key, value| !is_reserved(key) && api::meta::is_label_value(value));
        annotations = annotations::propagated(&annotations, &context.settings.annotations);
    } else {
        labels.clear();
        annotations.clear();
    }
    let mut kept = Map::new();
    let mut problems = Vec::new();
    for ((field, all), asked) in [("labels", labels), ("annotations", annotations)]
        .into_iter()
        .zip(asked)
    {
        if all.len() < asked {
            let what = if all.is_empty() { "has" } else { "has in part" };
            problems.push(Problem::unsupported(format!(
                "spec.infrastructure.{field} {what} no effect on the hub."
            )));
        }
        if !all.is_empty() {
            kept.insert(field.to_owned(), json!(all));
        }
    }
    Ok((kept, problems))
}

fn is_reserved(key: &str) -> bool {
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    RESERVED_LABEL_PREFIXES
        .iter()
        .any(|reserved| prefix == *reserved || prefix.ends_with(&format!(".{reserved}")))
}
