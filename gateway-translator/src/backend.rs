//! Backends: from the CCM's decisions to headless Services with EndpointSlices.
//!
//! A Service has no selector and no address of its own; its EndpointSlices hold the tenant's nodes and the
//! NodePort, so that Envoy sends straight there. It is shared by all routes of the tenant that lead to the
//! same Service port.

pub(crate) mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use api::meta;
use api::names::PortNumber;
use api::v1alpha1::{
    BackendDecision, IpFamily, Protocol, Route, ServiceBackend, route_condition as condition,
};
use serde_json::{Value, json};

use crate::endpoints::AddressPool;
use crate::metadata::{component, labels};
use crate::names;
use crate::origin;
use crate::output::{HubObject, Kind, ObjectKey};
use crate::verdict::Problem;

/// Most endpoints in one EndpointSlice: the API server's limit.
const MAX_ENDPOINTS: usize = 1000;
/// Who manages our EndpointSlices, so that no controller of the hub's takes them for its own.
const SLICES_MANAGED_BY: &str = "kubelb.k8c.io";

/// Where the addresses of a Route's backends come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EndpointSource<'a> {
    /// `Addresses/default`.
    Default,
    /// Other Addresses objects.
    Named(BTreeSet<&'a str>),
    /// Addresses in the Route of this name.
    Own(&'a str),
}

impl<'a> EndpointSource<'a> {
    /// Reads `spec.endpoints`.
    pub(crate) fn of(route: &'a Route) -> Self {
        let sets = &route.spec.endpoints;
        let names: BTreeSet<&str> = sets
            .iter()
            .filter_map(|set| set.addresses_reference.as_ref())
            .map(|r| r.name.as_str())
            .collect();
        let inline = sets.iter().any(|set| set.addresses_reference.is_none());
        match (inline, names) {
            (true, _) => Self::Own(origin::route_name(route)),
            (false, names) if names.is_empty() || names.iter().eq([&meta::DEFAULT_NAME]) => Self::Default,
            (false, names) => Self::Named(names),
        }
    }
}

/// Looks references up in the CCM's decisions, and remembers what was used.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    decisions: BTreeMap<&'a str, &'a BackendDecision>,
    endpoints: EndpointSource<'a>,
    terms: Terms<'a>,
    used: BTreeMap<String, &'a ServiceBackend>,
    problems: Vec<Problem>,
    invalid: bool,
}

/// What a backend must keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Ports on the tenant's nodes that are allowed.
    pub(crate) node_ports: &'a RangeInclusive<u16>,
    /// SyncSecrets that have arrived with certificate authorities.
    pub(crate) authorities: &'a BTreeSet<&'a str>,
    /// What the route runs over.
    pub(crate) transport: Protocol,
}

/// What a Route's references came to.
#[derive(Debug)]
pub(crate) struct Backends<'a> {
    /// Where their addresses come from.
    pub(crate) endpoints: EndpointSource<'a>,
    /// Hub Service name to what it stands for.
    pub(crate) used: BTreeMap<String, &'a ServiceBackend>,
    /// References that were left to lead nowhere here, and not by the CCM.
    pub(crate) problems: Vec<Problem>,
    /// Some reference leads nowhere.
    pub(crate) has_invalid: bool,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(route: &'a Route, terms: Terms<'a>) -> Self {
        let decisions = route
            .spec
            .backends
            .iter()
            .rev()
            .map(|d| (d.pointer.as_str(), d))
            .collect();
        let endpoints = EndpointSource::of(route);
        Self {
            decisions,
            endpoints,
            terms,
            used: BTreeMap::new(),
            problems: Vec::new(),
            invalid: false,
        }
    }

    /// The hub Service for the reference at `pointer`. None where the reference leads nowhere.
    pub(crate) fn resolve(&mut self, pointer: &str) -> Result<Option<(String, PortNumber)>, Problem> {
        let service = self
            .decisions
            .get(pointer)
            .and_then(|d| d.service.as_ref().filter(|_| d.invalid.is_none()));
        let Some(service) = service else {
            self.invalid = true;
            return Ok(None);
        };
        check(service, &self.terms).map_err(|problem| at(pointer, problem))?;
        if let Some(Err(problem)) = service.tls.as_ref().map(|tls| tls::check(tls, &self.terms)) {
            // Nothing is sent to a backend that cannot be checked, and the other backends are served.
            self.problems.push(at(pointer, problem));
            self.invalid = true;
            return Ok(None);
        }
        let name = names::backend(service, &self.endpoints);
        self.used.insert(name.clone(), service);
        Ok(Some((name, service.port)))
    }

    pub(crate) fn finish(self) -> Backends<'a> {
        let Self {
            decisions: _,
            endpoints,
            terms: _,
            used,
            problems,
            invalid,
        } = self;
        Backends {
            endpoints,
            used,
            problems,
            has_invalid: invalid,
        }
    }
}

fn at(pointer: &str, problem: Problem) -> Problem {
    Problem::new(
        problem.reason,
        format!("The backend of {pointer}: {}", problem.message),
    )
}

fn check(service: &ServiceBackend, terms: &Terms<'_>) -> Result<(), Problem> {
    let Terms {
        node_ports,
        authorities: _,
        transport,
    } = terms;
    let ServiceBackend {
        namespace: _,
        name: _,
        port: _,
        port_name,
        protocol,
        app_protocol,
        node_port,
        ip_families: _,
        tls: _,
    } = service;
    if !node_ports.contains(&node_port.get()) {
        return Err(Problem::new(
            condition::REASON_ENDPOINT_NOT_ALLOWED,
            format!(
                "nodePort {node_port} is not within {} to {}.",
                node_ports.start(),
                node_ports.end()
            ),
        ));
    }
    if protocol != transport {
        return Err(Problem::unsupported(format!(
            "the route runs over {}, the Service port over {}.",
            transport.as_str(),
            protocol.as_str()
        )));
    }
    if !port_name.is_empty() && !is_port_name(port_name) {
        return Err(Problem::unsupported(format!(
            "{port_name:?} is not the name of a Service port."
        )));
    }
    match app_protocol {
        Some(text) if !is_qualified_name(text) => {
            Err(Problem::unsupported(format!("{text:?} is not an appProtocol.")))
        }
        _ => Ok(()),
    }
}

fn is_port_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= 63 && text.bytes().all(legal) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = text
        .split_once('/')
        .map_or((None, text), |(prefix, name)| (Some(prefix), name));
    !name.is_empty() && meta::is_label_value(name) && prefix.is_none_or(crate::domain::hostname::is_precise)
}

/// One hub Service with all of its addresses.
#[derive(Debug)]
pub(crate) struct BackendPlan<'a> {
    pub(crate) name: String,
    pub(crate) service: &'a ServiceBackend,
    pub(crate) pool: &'a AddressPool,
}

impl BackendPlan<'_> {
    /// Everything that is made for it.
    pub(crate) fn objects(&self, tenant: &str, namespace: &str) -> Vec<HubObject> {
        let mut objects = vec![self.service(tenant, namespace)];
        objects.extend(self.endpoint_slices(tenant, namespace));
        objects.extend(self.tls_policy(tenant, namespace));
        objects
    }

    /// The Service.
    fn service(&self, tenant: &str, namespace: &str) -> HubObject {
        let key = ObjectKey::new(Kind::Service, namespace, &self.name);
        let mut port = json!({
            "port": self.service.port,
            "protocol": self.service.protocol,
            "targetPort": self.service.node_port,
        });
        if let Some(fields) = port.as_object_mut() {
            if !self.service.port_name.is_empty() {
                fields.insert("name".to_owned(), self.service.port_name.clone().into());
            }
            if let Some(app_protocol) = &self.service.app_protocol {
                fields.insert("appProtocol".to_owned(), app_protocol.clone().into());
            }
        }
        let value = json!({
            "apiVersion": Kind::Service.api_version(),
            "kind": Kind::Service.as_str(),
            "metadata": {
                "namespace": namespace,
                "name": self.name,
                "labels": labels(tenant, component::BACKEND),
                "annotations": self.origin(),
            },
            "spec": {"type": "ClusterIP", "clusterIP": "None", "ports": [port]},
        });
        HubObject { key, value }
    }

    /// Its EndpointSlices: one for each address family that has addresses, more beyond the size limit.
    fn endpoint_slices(&self, tenant: &str, namespace: &str) -> Vec<HubObject> {
        let mut objects = Vec::new();
        for (family, addresses) in self.pool.answering(&self.service.ip_families) {
            let suffix = match family {
                IpFamily::IPv4 => "ipv4",
                IpFamily::IPv6 => "ipv6",
            };
            for (index, chunk) in addresses.chunks(MAX_ENDPOINTS).enumerate() {
                let name = names::endpoint_slice(&self.name, suffix, index);
                objects.push(self.endpoint_slice(tenant, namespace, name, family.as_str(), chunk));
            }
        }
        objects
    }

    fn endpoint_slice(
        &self,
        tenant: &str,
        namespace: &str,
        name: String,
        family: &str,
        addresses: &[String],
    ) -> HubObject {
        let mut labels = labels(tenant, component::BACKEND);
        labels.insert("kubernetes.io/service-name".to_owned(), self.name.clone().into());
        labels.insert(
            "endpointslice.kubernetes.io/managed-by".to_owned(),
            SLICES_MANAGED_BY.into(),
        );
        let endpoints: Vec<Value> = addresses
            .iter()
            .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
            .collect();
        let value = json!({
            "apiVersion": Kind::EndpointSlice.api_version(),
            "kind": Kind::EndpointSlice.as_str(),
            "metadata": {"namespace": namespace, "name": name, "labels": labels},
            "addressType": family,
            "endpoints": endpoints,
            "ports": [{
                // The same name as the Service port's, or Envoy Gateway finds no endpoint.
                "name": self.service.port_name,
                "protocol": self.service.protocol,
                "port": self.service.node_port,
            }],
        });
        HubObject {
            key: ObjectKey::new(Kind::EndpointSlice, namespace, name),
            value,
        }
    }

    fn origin(&self) -> Value {
        json!({
            meta::ORIGIN_NAMESPACE: self.service.namespace,
            meta::ORIGIN_NAME: self.service.name,
            meta::ORIGIN_KIND: "Service",
        })
    }
}
