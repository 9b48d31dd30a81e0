//! Tenants in the fleet of all tenants, and one that goes to it and comes back, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::meta;
use api::v1alpha1::{
    CertificateSettings, DnsSettings, EnvoyProxyTopology, HttpsSettings, LoadBalancer, LoadBalancerStatus,
    Tenant, TenantEnvoyProxy, TenantSpec,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use l4_xds::LoadBalancerId;
use l4_xds::ports::PortRange;
use serde_json::json;

use super::assess::{Assessed, View};
use super::built::Built;
use super::https::Https;
use super::plan::{Desired, Known, Tenancy, plan, plan_global};
use super::sites::{ADDRESS_UNTIL, Site};
use super::status::addresses;
use crate::build::envoy::WorkloadKind;
use crate::build::hub_service::{is_named_in_dns, recorded_ports, tenant_namespace};
use crate::fleet::FleetId;
use crate::hostnames::{Claimant, HostnameTable, table};
use crate::settings::{DEFAULT_DRAIN, TenantSettings, merge};

const GLOBAL: EnvoyProxyTopology = EnvoyProxyTopology::Global;
const SHARED: EnvoyProxyTopology = EnvoyProxyTopology::Shared;
const NAME: &str = "web.lb.example.com";

/// One tenant with the load balancer `web`, which has a host name.
struct World {
    tenant: &'static str,
    topology: EnvoyProxyTopology,
    lb: LoadBalancer,
    /// An older load balancer of another tenant's that wants the same host name.
    rival: Option<Arc<LoadBalancer>>,
    services: Vec<Service>,
    global_services: Vec<Service>,
    now: i64,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// As the implementation does that gives the hub its addresses.
fn with_address(service: Arc<Service>) -> Service {
    let mut service = Arc::unwrap_or_clone(service);
    let last = if service.namespace().as_deref() == Some("kubelb") {
        2
    } else {
        1
    };
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": format!("192.0.2.{last}")}]}});
    service.status = serde_json::from_value(ingress).ok();
    service
}

fn lb(tenant: &str, year: u16) -> LoadBalancer {
    let lb = json!({
        "metadata": {"name": "web", "namespace": format!("tenant-{tenant}"), "uid": tenant, "generation": 1,
            "creationTimestamp": format!("{year}-01-01T00:00:00Z"), "annotations": {meta::ORIGIN_NAME: "web"}},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}],
            "endpoints": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 30001}]}]}});
    serde_json::from_value(lb).unwrap()
}

fn shared(services: &[Service]) -> Vec<Arc<Service>> {
    services.iter().cloned().map(Arc::new).collect()
}

impl World {
    fn new(tenant: &'static str, topology: EnvoyProxyTopology) -> Self {
        Self {
            tenant,
            topology,
            lb: lb(tenant, 2026),
            rival: None,
            services: vec![],
            global_services: vec![],
            now: 0,
        }
    }

    fn settings(&self) -> TenantSettings {
        let spec = TenantSpec {
            endpoint_cidrs: Some(vec!["10.0.0.0/8".into()]),
            envoy_proxy: Some(TenantEnvoyProxy {
                topology: Some(self.topology),
                ..TenantEnvoyProxy::default()
            }),
            dns: Some(DnsSettings {
                wildcard_domain: Some("lb.example.com".into()),
                use_dns_annotations: Some(true),
                use_certificate_annotations: Some(true),
                ..DnsSettings::default()
            }),
            certificates: Some(CertificateSettings {
                default_cluster_issuer: Some("hub".into()),
            }),
            ..TenantSpec::default()
        };
        merge(&Tenant::new(self.tenant, spec), None, "kubelb")
    }

    /// As it is made anew in each run: nothing is remembered but what hub Services record.
    fn hostnames(&self, namespace: &str, load_balancers: &[Arc<LoadBalancer>]) -> HostnameTable {
        let settings = self.settings();
        let services = shared(&[self.services.as_slice(), &self.global_services].concat());
        let rivals: Vec<_> = self.rival.iter().cloned().collect();
        let claimant = |namespace, load_balancers, services| Claimant {
            namespace,
            settings: &settings,
            load_balancers,
            services,
        };
        table([
            claimant("tenant-rival", &rivals, &[]),
            claimant(namespace, load_balancers, &services),
        ])
    }

    fn tenancy(&self) -> Tenancy {
        let namespace = format!("tenant-{}", self.tenant);
        let load_balancers = vec![Arc::new(self.lb.clone())];
        let view = View {
            tenant: self.tenant.into(),
            hostnames: Arc::new(self.hostnames(&namespace, &load_balancers)),
            namespace,
            settings: Some(self.settings()),
            load_balancers: Arc::new(load_balancers),
            addresses: vec![],
            services: Arc::new(shared(&self.services)),
            global_services: shared(&self.global_services),
            workloads: vec![],
            gateway_api: true,
            translation: l4_xds::Settings::default(),
        };
        let assessed = view.assess();
        Tenancy { view, assessed }
    }

    /// A run of its own, and one for all tenants, after which the hub holds what was planned. `arrived` is what the
    /// Envoys of the other fleet say.
    fn step(&mut self, arrived: bool) -> Option<Timestamp> {
        let Tenancy { view, assessed } = self.tenancy();
        let own = self.own(&view, &assessed, arrived);
        let global = planned(std::slice::from_ref(self));
        // The status is written as the last of a run, from what was there at its beginning.
        let item = &assessed[0];
        let shown = item.service_at(item.sites.show(arrived));
        let ingress = shown.map(|service| addresses(service, self.lb.spec.type_));
        self.lb.status = ingress.map(status);
        self.services = own.services.into_iter().map(with_address).collect();
        self.global_services = global.services.into_iter().map(with_address).collect();
        own.due.into_iter().chain(global.due).min()
    }

    fn own(&self, view: &View, assessed: &[Arc<Assessed>], arrived: bool) -> Desired {
        let known = Known {
            arrived: &arrived.then(|| "web".to_owned()).into_iter().collect(),
            now: at(self.now),
        };
        plan(
            view,
            assessed,
            &PortRange::default(),
            &known,
            &mut Built::default(),
        )
    }

    /// Which hub Services external-dns hears the name from. Each that is there records it.
    fn in_dns(&self) -> (bool, bool) {
        let says = |services: &[Service]| {
            for service in services {
                assert_eq!(service.annotations()[meta::HOSTNAME], NAME);
            }
            services.iter().any(|service| is_named_in_dns(service, NAME))
        };
        (says(&self.services), says(&self.global_services))
    }

    fn shown(&self) -> String {
        let status = self.lb.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        let ip = status.and_then(|status| status.ingress.first()?.ip.clone());
        ip.unwrap_or_default()
    }

    /// Which Envoys have its listeners.
    fn served(&self) -> (bool, bool) {
        let item = &self.tenancy().assessed[0];
        let at = |site| item.frontend(site).is_some();
        (at(Site::Tenant), at(Site::Global))
    }
}

fn status(ingress: Vec<LoadBalancerIngress>) -> LoadBalancerStatus {
    let status = json!({"loadBalancer": {"ingress": ingress}});
    serde_json::from_value(status).unwrap()
}

fn planned(worlds: &[World]) -> Desired {
    planned_within(worlds, &PortRange::default())
}

fn planned_within(worlds: &[World], range: &PortRange) -> Desired {
    let tenancies: Vec<_> = worlds.iter().map(World::tenancy).collect();
    let now = worlds.iter().map(|world| world.now).max().unwrap_or_default();
    plan_global(
        &tenancies,
        "kubelb",
        &[],
        WorkloadKind::Deployment,
        range,
        at(now),
        &mut Built::default(),
    )
}

#[test]
fn tenants_of_the_global_fleet_have_hub_services_beside_each_other_and_ports_of_their_own() {
    let mut worlds = [World::new("a", GLOBAL), World::new("b", GLOBAL)];
    let desired = planned(&worlds);
    assert_eq!(desired.fleets.keys().collect::<Vec<_>>(), [&FleetId::Global]);
    let names: BTreeSet<_> = desired
        .services
        .iter()
        .map(|service| service.name_any())
        .collect();
    assert_eq!(names.len(), 2, "the load balancers have the same name");
    let of = |service: &Service| tenant_namespace(service).unwrap().to_owned();
    let ports: BTreeMap<_, _> = (desired.services.iter())
        .map(|service| (of(service), recorded_ports(service)))
        .collect();
    assert_ne!(ports["tenant-a"], ports["tenant-b"]);
    for service in &desired.services {
        assert_eq!(service.namespace().as_deref(), Some("kubelb"));
        assert_eq!(FleetId::selected(service, "web"), Some(FleetId::Global));
    }
    // In the tenants' namespaces there is nothing, and recorded ports stay whoever comes and goes.
    for world in &mut worlds {
        world.step(false);
        assert!(world.services.is_empty());
    }
    let [mut a, b] = worlds;
    let spec = a.global_services[0].spec.as_mut().unwrap();
    spec.ports.as_mut().unwrap()[0].target_port = Some(IntOrString::Int(12_345));
    for beside in [vec![], vec![b, World::new("0", GLOBAL)]] {
        let all: Vec<_> = beside.into_iter().chain([clone(&a)]).collect();
        let desired = planned(&all);
        let is_as = |service: &&Arc<Service>| tenant_namespace(service) == Some("tenant-a");
        let ports = recorded_ports(desired.services.iter().find(is_as).unwrap());
        assert_eq!(ports.into_values().collect::<Vec<_>>(), [12_345]);
    }
}

fn clone(world: &World) -> World {
    World {
        tenant: world.tenant,
        topology: world.topology,
        lb: world.lb.clone(),
        rival: world.rival.clone(),
        services: world.services.clone(),
        global_services: world.global_services.clone(),
        now: world.now,
    }
}

#[test]
fn of_tenants_that_share_all_ports_the_one_without_is_named_and_the_other_served() {
    let worlds = [World::new("a", GLOBAL), World::new("b", GLOBAL)];
    let desired = planned_within(&worlds, &PortRange::new(vec![10000..=10000], vec![]));
    assert_eq!(desired.services.len(), 1);
    let exhausted: Vec<_> = desired.exhausted.keys().map(|id| id.namespace()).collect();
    assert_eq!(exhausted, ["tenant-b"]);
}

#[test]
fn what_envoy_rejected_of_one_tenant_is_left_out_and_the_others_are_served() {
    let mut worlds = [World::new("a", GLOBAL), World::new("b", GLOBAL)];
    for world in &mut worlds {
        world.step(false);
    }
    let condition = json!({"type": "Programmed", "status": "False", "reason": "Rejected", "message": "no",
        "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    worlds[0].lb.status = serde_json::from_value(json!({"conditions": [condition]})).ok();
    assert_eq!(worlds[0].served(), (false, false));
    assert_eq!(worlds[1].served(), (false, true));
}

#[test]
fn to_the_global_fleet_and_back_both_addresses_serve_until_the_new_one_was_shown_for_a_while() {
    let mut world = World::new("a", SHARED);
    for _ in 0..3 {
        world.step(false);
    }
    let drain = DEFAULT_DRAIN.as_secs();
    assert_eq!(
        (world.shown().as_str(), world.served()),
        ("192.0.2.1", (true, false))
    );

    for (topology, old, new, now) in [
        (GLOBAL, "192.0.2.1", "192.0.2.2", 1000),
        (SHARED, "192.0.2.2", "192.0.2.1", 2000),
    ] {
        (world.topology, world.now) = (topology, now);
        // The other hub Service comes and gets its address; nobody is told of it before its Envoys have it.
        for _ in 0..3 {
            assert_eq!(world.step(false), None);
        }
        assert_eq!((world.shown().as_str(), world.served()), (old, (true, true)));

        // They have it: the status shows it, and from then on the time runs.
        world.step(true);
        assert_eq!((world.shown().as_str(), world.served()), (new, (true, true)));
        assert_eq!(world.step(false), Some(at(now + drain)));
        let services = world.services.iter().chain(&world.global_services);
        let going: Vec<_> = services
            .filter_map(|s| s.annotations().get(ADDRESS_UNTIL))
            .collect();
        assert_eq!(going, [&at(now + drain).to_string()]);
        world.now += drain - 1;
        world.step(false);
        assert_eq!((world.shown().as_str(), world.served()), (new, (true, true)));

        // It is over.
        world.now += 1;
        world.step(false);
        let there = (world.services.len(), world.global_services.len());
        assert_eq!(there, if topology == GLOBAL { (0, 1) } else { (1, 0) });
        assert_eq!(world.shown(), new);
    }
}

#[test]
fn a_change_of_mind_on_the_way_to_the_global_fleet_takes_the_new_hub_service_away() {
    let mut world = World::new("a", SHARED);
    for _ in 0..3 {
        world.step(false);
    }
    let first = world.services[0].clone();
    world.topology = GLOBAL;
    world.step(false);
    world.topology = SHARED;
    for now in [0, DEFAULT_DRAIN.as_secs()] {
        world.now += now;
        world.step(false);
    }
    assert_eq!(world.services, [first]);
    assert!(world.global_services.is_empty());
    assert_eq!(world.shown(), "192.0.2.1");
}

#[test]
fn a_host_name_stays_through_a_move_to_the_global_fleet_and_back_and_dns_never_misses_it() {
    let mut world = World::new("a", SHARED);
    for _ in 0..3 {
        world.step(false);
    }
    world.rival = Some(Arc::new(lb("rival", 2025)));
    let (tenants, both, managers) = ((true, false), (true, true), (false, true));
    for (topology, now, old, new) in [
        (GLOBAL, 1000, tenants, managers),
        (SHARED, 2000, managers, tenants),
    ] {
        (world.topology, world.now) = (topology, now);
        // While the old address is shown, it is the one that the name leads to.
        for arrived in [false, false, false, true] {
            world.step(arrived);
            assert_eq!(world.in_dns(), old);
        }
        // The new one is shown: it gets the name before the old one, which serves still, lets go of it.
        world.step(false);
        assert_eq!(world.in_dns(), both);
        world.step(false);
        assert_eq!(world.in_dns(), new);
        assert_eq!((world.services.len(), world.global_services.len()), (1, 1));
        world.now += DEFAULT_DRAIN.as_secs();
        for _ in 0..2 {
            world.step(false);
            assert_eq!(world.in_dns(), new);
        }
        assert_eq!(world.services.len() + world.global_services.len(), 1);
    }
}

#[test]
fn a_load_balancer_of_the_global_fleet_has_its_https_in_the_tenants_namespace() {
    let mut world = World::new("a", GLOBAL);
    world.lb.spec.https = Some(HttpsSettings { port: None });
    for _ in 0..2 {
        world.step(false);
    }
    let Tenancy { view, assessed } = world.tenancy();
    let desired = world.own(&view, &assessed, false);
    let id = LoadBalancerId::new("tenant-a", "web").unwrap();
    let Some(Https::Served { objects, .. }) = desired.https.get(&id) else {
        panic!("{:?}", desired.https);
    };
    assert!(objects.iter().all(|object| object.key.namespace == "tenant-a"));
    assert!(planned(std::slice::from_ref(&world)).https.is_empty());
    // The name leads there, and the hub Service only records it.
    assert_eq!((world.global_services.len(), world.in_dns()), (1, (false, false)));
}
