//! Gateways: accepted, programmed, and what each listener says.

use std::collections::BTreeMap;

use api::condition::ConditionValue;
use api::v1alpha1::HubAddress;
use serde_json::Value;

use crate::address;
use crate::class;
use crate::facts;
use crate::frontend::{self, Frontend};
use crate::index::Index;
use crate::kind::ObjectRef;
use crate::listener::{self, JudgedListener};
use crate::model::{GatewaySpec, Object};
use crate::outcome::{Address, GatewayStatus, ListenerStatus, SecretRef};
use crate::parent::{self, RouteNamespaces};
use crate::reason::{self, Verdict};

/// A Gateway of ours with all that can be said of it in the tenant cluster.
#[derive(Debug)]
pub(crate) struct JudgedGateway<'a> {
    pub object: &'a Object<'a, GatewaySpec>,
    /// Why the Gateway as a whole is not accepted, apart from its listeners.
    pub refusal: Option<Verdict>,
    /// It asks for an address that this tenant may not have. The hub is not asked for it.
    pub address_problem: Option<Verdict>,
    pub frontend: Frontend,
    /// The certificate that Envoy shows to backends, if it names one.
    pub client_certificate: Option<Result<SecretRef, Verdict>>,
    pub listeners: Vec<JudgedListener<'a>>,
    /// The hub has a copy of it.
    has_hub_copy: bool,
}

impl JudgedGateway<'_> {
    /// The hub should have it.
    pub fn delegable(&self) -> bool {
        self.servable() && self.address_problem.is_none()
    }

    fn servable(&self) -> bool {
        self.refusal.is_none() && self.listeners.iter().any(JudgedListener::servable)
    }

    /// The hub serves it or should: what is attached to it goes there too.
    pub fn served(&self) -> bool {
        self.delegable() || (self.keeps_hub_copy() && self.has_hub_copy)
    }

    /// ListenerSets of some namespace may attach.
    pub fn takes_listener_sets(&self) -> bool {
        let namespaces = parent::listener_set_namespaces(&self.object.spec, &self.object.meta.namespace);
        !matches!(namespaces, RouteNamespaces::None)
    }

    /// What the hub has of it stays, although it cannot be sent as it is: it lacks nothing but certificates or an
    /// address, and taking the hub's Gateway away would cost its addresses. The certificates themselves are
    /// withdrawn.
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
        parameters_refusal(&object.spec).or_else(|| address::type_refusal(&object.spec))
    };
    let frontend = Frontend::judge(index, object);
    Some(JudgedGateway {
        object,
        refusal,
        address_problem: address::not_usable(index, &object.spec),
        client_certificate: frontend::client_certificate(index, object),
        listeners: listener::judge(index, &object.reference, &object.spec.listeners, &frontend),
        frontend,
        has_hub_copy: index.hub.routes.contains_key(&object.meta.uid),
    })
}

fn parameters_refusal(spec: &GatewaySpec) -> Option<Verdict> {
    spec.infrastructure.as_ref()?.parameters_ref.as_ref()?;
    Some(Verdict::new(
        reason::INVALID_PARAMETERS,
        "spec.infrastructure.parametersRef is not supported",
    ))
}

/// The wanted status, with the number of routes attached to each listener and of ListenerSets attached.
pub(crate) fn status(
    index: &Index,
    gateway: &JudgedGateway,
    attached: &BTreeMap<String, i32>,
    listener_sets: i32,
) -> GatewayStatus {
    let programmed = programmed(index, gateway);
    let object = &gateway.object.reference;
    let listeners = gateway
        .listeners
        .iter()
        .map(|l| listener_status(index, object, l, &programmed, attached))
        .collect();
    let mut conditions = vec![
        accepted_condition(index, gateway),
        condition(reason::PROGRAMMED, programmed, "the hub serves this generation"),
    ];
    if let Some(certificate) = &gateway.client_certificate {
        let resolved = certificate.as_ref().map(|_| ()).map_err(Clone::clone);
        conditions.push(condition(
            reason::RESOLVED_REFS,
            resolved,
            "all references are resolved",
        ));
    }
    if gateway.frontend.is_insecure() {
        conditions.push(ConditionValue::new(
            reason::INSECURE_FRONTEND_VALIDATION_MODE,
            true,
            reason::CONFIGURATION_CHANGED,
            "spec.tls.frontend lets clients in whose certificate is not valid",
        ));
    }
    // A cluster whose CRDs do not know ListenerSets does not keep the number either.
    let takes_sets = gateway.object.spec.allowed_listeners.is_some();
    GatewayStatus {
        conditions,
        addresses: addresses(index, gateway),
        listeners,
        attached_listener_sets: takes_sets.then_some(listener_sets),
    }
}

pub(crate) fn condition(type_: &'static str, held: Result<(), Verdict>, message: &str) -> ConditionValue {
    match held {
        Ok(()) => ConditionValue::new(type_, true, type_, message),
        Err(Verdict { reason, message }) => ConditionValue::new(type_, false, reason, message),
    }
}

/// What is told about the Gateway as a whole: a refusal of ours or of the hub's.
pub(crate) fn refusal(index: &Index, gateway: &JudgedGateway) -> Option<Verdict> {
    let none_accepted = || {
        (!gateway.listeners.iter().any(JudgedListener::accepted))
            .then(|| Verdict::new(reason::LISTENERS_NOT_VALID, listeners_message(&gateway.listeners)))
    };
    let by_hub = || facts::current(index.hub, &gateway.object.reference).and_then(facts::Current::refusal);
    gateway.refusal.clone().or_else(none_accepted).or_else(by_hub)
}

fn accepted_condition(index: &Index, gateway: &JudgedGateway) -> ConditionValue {
    match refusal(index, gateway) {
        Some(refusal) => condition(reason::ACCEPTED, Err(refusal), ""),
        None if gateway.listeners.iter().all(JudgedListener::sound) => condition(
            reason::ACCEPTED,
            Ok(()),
            "the Gateway and all its listeners are valid",
        ),
        None => {
            let message = listeners_message(&gateway.listeners);
            ConditionValue::new(reason::ACCEPTED, true, reason::LISTENERS_NOT_VALID, message)
        }
    }
}

/// Names the listeners that are in order and those that are not, as the Gateway API asks.
pub(crate) fn listeners_message(listeners: &[JudgedListener]) -> String {
    let names = |sound: bool| {
        let fits = listeners.iter().filter(|listener| listener.sound() == sound);
        let names: Vec<_> = fits.map(|listener| listener.spec.name.as_str()).collect();
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
    if !gateway.servable() {
        return Err(Verdict::new(reason::INVALID, "no listener can be served"));
    }
    if let Some(problem) = &gateway.address_problem {
        return Err(problem.clone());
    }
    facts::programmed(index.hub, object)?;
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
pub(crate) fn addresses(index: &Index, gateway: &JudgedGateway) -> Vec<Address> {
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

/// The wanted status of a listener of `owner`.
pub(crate) fn listener_status(
    index: &Index,
    owner: &ObjectRef,
    listener: &JudgedListener,
    owner_programmed: &Result<(), Verdict>,
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
    let programmed = listener_programmed(index, owner, listener, owner_programmed);
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
    owner: &ObjectRef,
    listener: &JudgedListener,
    owner_programmed: &Result<(), Verdict>,
) -> Result<(), Verdict> {
    if let Some(conflict) = &listener.conflict {
        return Err(conflict.clone());
    }
    if !listener.servable() {
        return Err(Verdict::new(reason::INVALID, "the listener cannot be served"));
    }
    // What is not accepted is not on the hub, whatever was said of it before.
    let on_hub =
        |verdict: &&Verdict| !matches!(verdict.reason, reason::INVALID | reason::PARENT_NOT_PROGRAMMED);
    if let Some(refusal) = owner_programmed.as_ref().err().filter(|verdict| !on_hub(verdict)) {
        return Err(refusal.clone());
    }
    let fact = facts::current(index.hub, owner).and_then(|facts| facts.listener(&listener.spec.name));
    fact.unwrap_or_else(|| owner_programmed.clone())
}
