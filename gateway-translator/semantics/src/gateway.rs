//! Gateways: accepted, programmed, and what each listener says.

use std::collections::BTreeMap;

use api::condition::ConditionValue;
use api::v1alpha1::HubAddress;
use serde_json::Value;

use crate::class;
use crate::facts;
use crate::index::Index;
use crate::listener::{self, JudgedListener};
use crate::model::{GatewaySpec, Object};
use crate::outcome::{Address, GatewayStatus, ListenerStatus};
use crate::reason::{self, Verdict};

/// A Gateway of ours with all that can be said of it in the tenant cluster.
#[derive(Debug)]
pub(crate) struct JudgedGateway<'a> {
    pub object: &'a Object<'a, GatewaySpec>,
    /// Why the Gateway as a whole is not accepted, apart from its listeners.
    pub refusal: Option<Verdict>,
    pub listeners: Vec<JudgedListener<'a>>,
}

impl JudgedGateway<'_> {
    /// The hub should have it.
    pub fn delegable(&self) -> bool {
        self.refusal.is_none() && self.listeners.iter().any(JudgedListener::servable)
    }

    /// What the hub has of it stays, although no listener can be served: it lacks nothing but certificates, and
    /// taking the hub's Gateway away would cost its addresses. The certificates themselves are withdrawn.
    pub fn keeps_hub_copy(&self) -> bool {
        self.refusal.is_none() && !self.delegable() && self.listeners.iter().any(JudgedListener::accepted)
    }
}

/// Judges a Gateway, if its class is ours.
pub(crate) fn judge<'a>(index: &'a Index, object: &'a Object<'a, GatewaySpec>) -> Option<JudgedGateway<'a>> {
    let class = index.class_of(object)?;
    let refusal = if index.disabled() {
        Some(Verdict::new(
            reason::DISABLED,
            "the Gateway API is switched off for this tenant",
        ))
    } else if !class::is_accepted(class) {
        let message = format!(
            "spec.gatewayClassName: GatewayClass {} is not accepted",
            class.meta.name
        );
        Some(Verdict::new(reason::INVALID_PARAMETERS, message))
    } else {
        parameters_refusal(&object.spec).or_else(|| address_refusal(&object.spec))
    };
    Some(JudgedGateway {
        object,
        refusal,
        listeners: listener::judge(index, object),
    })
}

fn parameters_refusal(spec: &GatewaySpec) -> Option<Verdict> {
    spec.infrastructure.as_ref()?.parameters_ref.as_ref()?;
    Some(Verdict::new(
        reason::INVALID_PARAMETERS,
        "spec.infrastructure.parametersRef is not supported",
    ))
}

fn address_refusal(spec: &GatewaySpec) -> Option<Verdict> {
    spec.addresses.iter().enumerate().find_map(|(position, address)| {
        let type_ = address.type_.as_deref().unwrap_or("IPAddress");
        (!matches!(type_, "IPAddress" | "Hostname")).then(|| {
            let message = format!("spec.addresses[{position}].type: {type_} is not supported");
            Verdict::new(reason::UNSUPPORTED_ADDRESS, message)
        })
    })
}

/// The wanted status, with the number of routes attached to each listener.
pub(crate) fn status(
    index: &Index,
    gateway: &JudgedGateway,
    attached: &BTreeMap<String, i32>,
) -> GatewayStatus {
    let programmed = programmed(index, gateway);
    let listeners = gateway
        .listeners
        .iter()
        .map(|l| listener_status(index, gateway, l, &programmed, attached))
        .collect();
    GatewayStatus {
        conditions: vec![
            accepted_condition(index, gateway),
            condition(reason::PROGRAMMED, programmed, "the hub serves this generation"),
        ],
        addresses: addresses(index, gateway),
        listeners,
    }
}

fn condition(type_: &'static str, held: Result<(), Verdict>, message: &str) -> ConditionValue {
    match held {
        Ok(()) => ConditionValue::new(type_, true, type_, message),
        Err(Verdict { reason, message }) => ConditionValue::new(type_, false, reason, message),
    }
}

/// What is told about the Gateway as a whole: a refusal of ours or of the hub's.
pub(crate) fn refusal(index: &Index, gateway: &JudgedGateway) -> Option<Verdict> {
    let none_accepted = || {
        (!gateway.listeners.iter().any(JudgedListener::accepted))
            .then(|| Verdict::new(reason::LISTENERS_NOT_VALID, listeners_message(gateway)))
    };
    let by_hub = || facts::current(index.hub, &gateway.object.reference).and_then(facts::Current::refusal);
    gateway.refusal.clone().or_else(none_accepted).or_else(by_hub)
}

fn accepted_condition(index: &Index, gateway: &JudgedGateway) -> ConditionValue {
    let sound = |listener: &JudgedListener| listener.accepted() && listener.unresolved.is_none();
    match refusal(index, gateway) {
        Some(refusal) => condition(reason::ACCEPTED, Err(refusal), ""),
        None if gateway.listeners.iter().all(sound) => condition(
            reason::ACCEPTED,
            Ok(()),
            "the Gateway and all its listeners are valid",
        ),
        None => {
            let message = listeners_message(gateway);
            ConditionValue::new(reason::ACCEPTED, true, reason::LISTENERS_NOT_VALID, message)
        }
    }
}

/// Names the listeners that are in order and those that are not, as the Gateway API asks.
fn listeners_message(gateway: &JudgedGateway) -> String {
    let names = |sound: bool| {
        let fits = |l: &&JudgedListener| (l.accepted() && l.unresolved.is_none()) == sound;
        let names: Vec<_> = gateway
            .listeners
            .iter()
            .filter(fits)
            .map(|l| l.spec.name.as_str())
            .collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    format!(
        "listeners that are not valid: {}; valid: {}",
        names(false),
        names(true)
    )
}

/// Programmed at the present generation, or why not. The hub alone can say that it is.
fn programmed(index: &Index, gateway: &JudgedGateway) -> Result<(), Verdict> {
    let object = &gateway.object.reference;
    if refusal(index, gateway).is_some() {
        return Err(Verdict::new(reason::INVALID, "the Gateway is not accepted"));
    }
    if !gateway.delegable() {
        return Err(Verdict::new(reason::INVALID, "no listener can be served"));
    }
    let waiting = || {
        let message = format!("the hub has not yet confirmed generation {}", object.generation);
        Verdict::new(reason::PENDING, message)
    };
    let facts = facts::current(index.hub, object).ok_or_else(waiting)?;
    facts.programmed().unwrap_or_else(|| Err(waiting()))?;
    requested_address(index, gateway)
}

/// An address that was asked for must be among those that the hub gave.
fn requested_address(index: &Index, gateway: &JudgedGateway) -> Result<(), Verdict> {
    let given = addresses(index, gateway);
    for (position, address) in gateway.object.spec.addresses.iter().enumerate() {
        let Some(value) = address.value.as_deref().filter(|value| !value.is_empty()) else {
            continue;
        };
        if !given.iter().any(|given| given.value == value) {
            let message = format!("spec.addresses[{position}]: the hub cannot give {value}");
            return Err(Verdict::new(reason::ADDRESS_NOT_USABLE, message));
        }
    }
    Ok(())
}

/// The hub's addresses, also while a newer generation is on its way: traffic still goes there.
fn addresses(index: &Index, gateway: &JudgedGateway) -> Vec<Address> {
    if !gateway.delegable() && !gateway.keeps_hub_copy() {
        return Vec::new();
    }
    let latest = facts::latest(index.hub, &gateway.object.reference);
    match latest {
        Some(facts) => facts.status.addresses.iter().map(address).collect(),
        // A silent hub has not taken them back.
        None if index.state().is_none() => recorded_addresses(gateway),
        None => Vec::new(),
    }
}

fn address(address: &HubAddress) -> Address {
    let HubAddress { type_, value } = address;
    Address {
        type_: type_.clone(),
        value: value.clone(),
    }
}

fn recorded_addresses(gateway: &JudgedGateway) -> Vec<Address> {
    let recorded = gateway
        .object
        .raw
        .pointer("/status/addresses")
        .and_then(Value::as_array);
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let address = |entry: &Value| {
        Some(Address {
            type_: text(entry, "type")?,
            value: text(entry, "value")?,
        })
    };
    recorded.into_iter().flatten().filter_map(address).collect()
}

fn listener_status(
    index: &Index,
    gateway: &JudgedGateway,
    listener: &JudgedListener,
    gateway_programmed: &Result<(), Verdict>,
    attached: &BTreeMap<String, i32>,
) -> ListenerStatus {
    let accepted = match listener.refusal.as_ref().or(listener.conflict.as_ref()) {
        Some(refusal) => Err(refusal.clone()),
        None => Ok(()),
    };
    let conflicted = match &listener.conflict {
        Some(Verdict { reason, message }) => {
            ConditionValue::new(reason::CONFLICTED, true, reason, message.clone())
        }
        None => ConditionValue::new(
            reason::CONFLICTED,
            false,
            reason::NO_CONFLICTS,
            "no other listener is in the way",
        ),
    };
    let resolved = listener.unresolved.clone().map_or(Ok(()), Err);
    let programmed = listener_programmed(index, gateway, listener, gateway_programmed);
    ListenerStatus {
        name: listener.spec.name.clone(),
        supported_kinds: listener.supported_kinds.clone(),
        attached_routes: attached.get(&listener.spec.name).copied().unwrap_or_default(),
        conditions: vec![
            condition(reason::ACCEPTED, accepted, "the listener is valid"),
            conflicted,
            condition(reason::RESOLVED_REFS, resolved, "all references are resolved"),
            condition(reason::PROGRAMMED, programmed, "the hub serves this listener"),
        ],
    }
}

fn listener_programmed(
    index: &Index,
    gateway: &JudgedGateway,
    listener: &JudgedListener,
    gateway_programmed: &Result<(), Verdict>,
) -> Result<(), Verdict> {
    if gateway.refusal.is_some() || !listener.servable() {
        return Err(Verdict::new(reason::INVALID, "the listener cannot be served"));
    }
    let fact = facts::current(index.hub, &gateway.object.reference)
        .and_then(|facts| facts.listener(&listener.spec.name));
    fact.unwrap_or_else(|| gateway_programmed.clone())
}
