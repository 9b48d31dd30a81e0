//! What the hub shall hold for one tenant's LoadBalancers. Pure.

use std::collections::{BTreeMap, BTreeSet};

use api::meta;
use api::v1alpha1::LoadBalancer;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use l4_xds::ports::{Assignments, PortKey, PortRange, allocate};

use super::assess::{Assessed, View, xds_protocol};
use super::convert::WantedListener;
use super::https::{Https, https};
use crate::build::hub_service::{self, HubPort, HubService};
use crate::hostnames;
use crate::settings::TenantSettings;

/// The answer.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// One for each LoadBalancer that is served.
    pub services: Vec<Service>,
    /// Names of live Services that have to go first, because a field that cannot change has to.
    pub recreate: BTreeSet<String>,
    /// LoadBalancers for which no Envoy port was left, by name, with the ports.
    pub exhausted: BTreeMap<String, Vec<String>>,
    /// Whether the tenant needs Envoys.
    pub fleet: bool,
    /// What comes of HTTPS for LoadBalancers that ask for it, by name.
    pub https: BTreeMap<String, Https>,
}

/// Plans Services and ports.
#[must_use]
pub fn plan(view: &View, assessed: &[Assessed], range: &PortRange) -> Desired {
    let Some(settings) = &view.settings else {
        return Desired::default();
    };
    let ports = assign(assessed, range);
    let mut desired = Desired::default();
    for item in assessed {
        let Some(converted) = item.converted() else {
            continue;
        };
        desired.fleet = true;
        let hub_ports = hub_ports(item, &converted.listeners, &ports);
        let missing = missing(item, &converted.listeners, &ports);
        let name = item.load_balancer.name_any();
        let https = https(view, settings, item);
        let in_dns = !matches!(https, Some(Https::Served { .. }));
        desired.https.extend(https.map(|https| (name.clone(), https)));
        if !missing.is_empty() {
            desired.exhausted.insert(name, missing);
        }
        if hub_ports.is_empty() {
            continue;
        }
        let service = service(view, settings, &item.load_balancer, &hub_ports, in_dns);
        if item
            .service
            .as_deref()
            .is_some_and(|live| class_differs(live, &service))
        {
            desired.recreate.insert(service.name_any());
        } else {
            desired.services.push(service);
        }
    }
    desired
}

/// The host name is recorded on it. `in_dns` says that it leads here, and not to where HTTPS is served.
fn service(
    view: &View,
    settings: &TenantSettings,
    lb: &LoadBalancer,
    ports: &[HubPort],
    in_dns: bool,
) -> Service {
    let mut annotations = api::annotations::propagated(lb.annotations(), &settings.annotations);
    if let Ok(Some(name)) = hostnames::in_force(lb, settings, &view.hostnames) {
        if in_dns && settings.dns.use_dns_annotations == Some(true) {
            hub_service::name_in_dns(&mut annotations, &name);
        }
        annotations.insert(meta::HOSTNAME.to_owned(), name);
    }
    hub_service::service(&HubService {
        tenant: &view.tenant,
        load_balancer: lb,
        ports,
        class: settings.load_balancer.class.as_deref(),
        allocate_node_ports: settings.allocate_node_ports,
        annotations,
    })
}

/// The class cannot change on a live Service: it has to go, and its address with it.
///
/// What we asked for last time is compared, not what the Service says: a hub that fills in a class of its own
/// would make us replace the Service for ever.
fn class_differs(live: &Service, desired: &Service) -> bool {
    let external = |s: &Service| {
        s.spec
            .as_ref()
            .is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
    };
    let asked = |s: &Service| s.annotations().get(hub_service::CLASS_ASKED).cloned();
    external(live) && external(desired) && asked(live) != asked(desired)
}

fn key(item: &Assessed, listener: &WantedListener) -> PortKey {
    PortKey {
        id: item.id.clone(),
        port: listener.port.get(),
        protocol: xds_protocol(listener.protocol),
    }
}

fn assign(assessed: &[Assessed], range: &PortRange) -> Assignments {
    let mut wanted = BTreeSet::new();
    let mut previous = BTreeMap::new();
    for item in assessed {
        let Some(converted) = item.converted() else {
            continue;
        };
        let recorded = item.recorded();
        for listener in &converted.listeners {
            let key = key(item, listener);
            if let Some(port) = recorded.get(&(listener.protocol, listener.port.get())) {
                previous.insert(key.clone(), *port);
            }
            wanted.insert(key);
        }
    }
    allocate(&wanted, &previous, range)
}

fn hub_ports(item: &Assessed, listeners: &[WantedListener], ports: &Assignments) -> Vec<HubPort> {
    let port = |listener: &WantedListener| {
        Some(HubPort {
            name: listener.name.clone(),
            protocol: listener.protocol,
            port: listener.port,
            envoy_port: *ports.assigned.get(&key(item, listener))?,
        })
    };
    listeners.iter().filter_map(port).collect()
}

fn missing(item: &Assessed, listeners: &[WantedListener], ports: &Assignments) -> Vec<String> {
    (listeners.iter())
        .filter(|listener| ports.exhausted.contains(&key(item, listener)))
        .map(|listener| format!("{}/{}", listener.port, listener.protocol.as_str()))
        .collect()
}
