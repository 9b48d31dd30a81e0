//! A load balancer that moves between fleets, step by step: what the hub holds after each, and what each fleet is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::v1alpha1::{EnvoyProxyTopology, LoadBalancer, Tenant, TenantEnvoyProxy, TenantSpec};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use l4_xds::ports::PortRange;
use serde_json::json;

use super::assess::{Assessed, View};
use super::assessments::Assessments;
use super::built::Built;
use super::fleets::{GRACE, Workload};
use super::moves::FORMER_FLEET_UNTIL;
use super::next_look;
use super::plan::{Desired, Known, plan};
use super::sites::Site;
use crate::build::envoy::WorkloadKind;
use crate::build::hub_service::recorded_ports;
use crate::fleet::FleetId;
use crate::hostnames::HostnameTable;
use crate::settings::{DEFAULT_DRAIN, merge};

const SHARED: EnvoyProxyTopology = EnvoyProxyTopology::Shared;
const DEDICATED: EnvoyProxyTopology = EnvoyProxyTopology::Dedicated;

/// A tenant with the load balancers `web` and `api`, and what the hub holds for it.
struct Hub {
    topology: EnvoyProxyTopology,
    load_balancers: BTreeMap<&'static str, Arc<LoadBalancer>>,
    services: Vec<Arc<Service>>,
    workloads: Vec<Workload>,
    now: i64,
    hostnames: Arc<HostnameTable>,
    /// What the last step remembered.
    assessments: Assessments,
    built: Built,
}

fn lb(name: &str) -> LoadBalancer {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "tenant-a", "uid": name, "generation": 1},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}],
            "endpoints": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 30001}]}]}}))
    .unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn own(name: &str) -> FleetId {
    FleetId::Dedicated(name.into())
}

impl Hub {
    fn new(topology: EnvoyProxyTopology) -> Self {
        let mut hub = Self {
            topology,
            load_balancers: BTreeMap::new(),
            services: vec![],
            workloads: vec![],
            now: 0,
            hostnames: Arc::default(),
            assessments: Assessments::default(),
            built: Built::default(),
        };
        for name in ["web", "api"] {
            hub.add(name);
        }
        hub.step(&[]);
        hub
    }

    fn add(&mut self, name: &'static str) {
        self.load_balancers.insert(name, Arc::new(lb(name)));
    }

    fn view(&self) -> View {
        let spec = TenantSpec {
            endpoint_cidrs: Some(vec!["10.0.0.0/8".into()]),
            envoy_proxy: Some(TenantEnvoyProxy {
                topology: Some(self.topology),
                ..TenantEnvoyProxy::default()
            }),
            ..TenantSpec::default()
        };
        View {
            tenant: "a".into(),
            namespace: "tenant-a".into(),
            settings: Some(merge(&Tenant::new("a", spec), None, "kubelb")),
            load_balancers: Arc::new(self.load_balancers.values().cloned().collect()),
            addresses: vec![],
            services: Arc::new(self.services.clone()),
            global_services: vec![],
            workloads: self.workloads.clone(),
            hostnames: Arc::clone(&self.hostnames),
            gateway_api: true,
            translation: l4_xds::Settings::default(),
        }
    }

    /// One run, after which the hub holds what was planned.
    fn step(&mut self, arrived: &[&str]) -> Desired {
        let view = self.view();
        let arrived: BTreeSet<String> = arrived.iter().map(|name| (*name).to_owned()).collect();
        let known = Known {
            arrived: &arrived,
            now: at(self.now),
        };
        let plan_with = |assessed: &[Arc<Assessed>], built: &mut Built| {
            plan(&view, assessed, &PortRange::default(), &known, built)
        };
        let desired = plan_with(&self.assessments.of(&view), &mut self.built);
        let afresh = plan_with(&view.assess(), &mut Built::default());
        assert_eq!(
            format!("{desired:?}"),
            format!("{afresh:?}"),
            "what is remembered changes nothing"
        );
        self.services.clone_from(&desired.services);
        self.workloads = (desired.fleets.iter())
            .map(|(fleet, state)| Workload {
                fleet: fleet.clone(),
                kind: WorkloadKind::Deployment,
                is_ready: true,
                envoys: 1,
                unneeded_until: state.unneeded_until,
            })
            .collect();
        desired
    }

    fn service(&self, name: &str) -> &Service {
        let is_its = |service: &&Arc<Service>| service.labels()["kubelb.k8c.io/lb-name"] == name;
        self.services.iter().find(is_its).unwrap()
    }

    fn serving(&self, name: &str) -> FleetId {
        FleetId::selected(self.service(name), name).unwrap()
    }

    /// Which load balancers each fleet has listeners of.
    fn served(&self) -> BTreeMap<FleetId, Vec<String>> {
        let mut served: BTreeMap<FleetId, Vec<String>> = BTreeMap::new();
        for item in self.view().assess().iter() {
            assert!(item.frontend(Site::Tenant).is_some(), "its ports are recorded");
            for fleet in item.place.homes() {
                served
                    .entry(fleet.into_owned())
                    .or_default()
                    .push(item.id.name().to_owned());
            }
        }
        for names in served.values_mut() {
            names.sort();
        }
        served
    }

    /// Fleets that are there, and when they go.
    fn fleets(&self) -> Vec<(FleetId, Option<i64>)> {
        let until = |workload: &Workload| workload.unneeded_until.map(Timestamp::as_second);
        self.workloads
            .iter()
            .map(|w| (w.fleet.clone(), until(w)))
            .collect()
    }
}

fn served(fleets: &[(FleetId, &[&str])]) -> BTreeMap<FleetId, Vec<String>> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    fleets
        .iter()
        .map(|(fleet, all)| (fleet.clone(), names(all)))
        .collect()
}

#[test]
fn in_a_dedicated_topology_each_load_balancer_has_a_fleet_of_its_own() {
    let hub = Hub::new(DEDICATED);
    assert_eq!(hub.serving("web"), own("web"));
    assert_eq!(hub.fleets(), [(own("api"), None), (own("web"), None)]);
    assert_eq!(
        hub.served(),
        served(&[(own("api"), &["api"]), (own("web"), &["web"])])
    );
}

#[test]
fn a_change_of_topology_moves_each_when_its_new_envoys_have_it_and_keeps_the_old_ones_for_a_while() {
    let mut hub = Hub::new(SHARED);
    let ports: Vec<_> = hub
        .services
        .iter()
        .map(|service| recorded_ports(service))
        .collect();
    hub.topology = DEDICATED;

    // The new fleets come; clients still reach the old one, and nobody has decided anything by the clock.
    let desired = hub.step(&[]);
    assert_eq!(desired.due, None);
    assert_eq!(
        hub.fleets(),
        [(FleetId::Shared, None), (own("api"), None), (own("web"), None)]
    );
    let both: &[(FleetId, &[&str])] = &[
        (FleetId::Shared, &["api", "web"]),
        (own("api"), &["api"]),
        (own("web"), &["web"]),
    ];
    assert_eq!(hub.served(), served(both));
    assert_eq!(hub.serving("web"), FleetId::Shared);

    // One has arrived: it moves, the other one waits, and every fleet is served what it was.
    hub.now = 100;
    let desired = hub.step(&["web"]);
    assert_eq!(
        (hub.serving("web"), hub.serving("api")),
        (own("web"), FleetId::Shared)
    );
    let until = 100 + DEFAULT_DRAIN.as_secs();
    assert_eq!(desired.due, Some(at(until)));
    assert_eq!(
        hub.service("web").annotations()[FORMER_FLEET_UNTIL],
        at(until).to_string()
    );
    assert_eq!(hub.served(), served(both));
    assert_eq!(hub.step(&[]).services, desired.services, "a second look");
    for (second, left) in [(100, DEFAULT_DRAIN.as_secs()), (until, 0), (until + 1, 0)] {
        let wait = next_look(&desired, false, at(second)).requeue_after;
        assert_eq!(wait.map(|wait| wait.as_secs()), u64::try_from(left).ok());
    }

    // Its time with the old fleet is over; that one goes on for the other.
    hub.now = until;
    hub.step(&[]);
    assert!(!hub.service("web").annotations().contains_key(FORMER_FLEET_UNTIL));
    assert_eq!(
        hub.served(),
        served(&[
            (FleetId::Shared, &["api"]),
            (own("api"), &["api"]),
            (own("web"), &["web"])
        ])
    );

    // The last one moves: the old fleet is needed until its time is over, and then stays for a grace.
    hub.step(&["api"]);
    hub.now += DEFAULT_DRAIN.as_secs();
    hub.step(&[]);
    let gone = hub.now + GRACE.as_secs();
    assert_eq!(
        hub.fleets(),
        [
            (FleetId::Shared, Some(gone)),
            (own("api"), None),
            (own("web"), None)
        ]
    );
    hub.now = gone;
    hub.step(&[]);
    assert_eq!(hub.fleets(), [(own("api"), None), (own("web"), None)]);

    // All the while no port moved: the address and the ports are the same to clients, and so are Envoy's.
    assert_eq!(
        hub.services
            .iter()
            .map(|service| recorded_ports(service))
            .collect::<Vec<_>>(),
        ports
    );
}

#[test]
fn a_fleet_that_does_not_come_up_keeps_nobody_from_being_served() {
    let mut hub = Hub::new(SHARED);
    hub.topology = DEDICATED;
    for second in [0, 1000, 1_000_000] {
        hub.now = second;
        hub.step(&[]);
        assert_eq!(hub.serving("web"), FleetId::Shared);
        assert_eq!(hub.served()[&FleetId::Shared], ["api", "web"]);
    }
}

#[test]
fn a_load_balancer_made_after_the_change_begins_with_a_fleet_of_its_own() {
    let mut hub = Hub::new(SHARED);
    hub.topology = DEDICATED;
    hub.add("new");
    hub.step(&[]);
    assert_eq!(hub.serving("new"), own("new"));
    assert!(!hub.served()[&FleetId::Shared].contains(&"new".to_owned()));
}

#[test]
fn a_tenant_whose_last_load_balancer_went_keeps_its_fleet_for_the_next() {
    let mut hub = Hub::new(SHARED);
    hub.load_balancers.clear();
    hub.now = 100;
    let desired = hub.step(&[]);
    assert!(desired.services.is_empty());
    assert_eq!(hub.fleets(), [(FleetId::Shared, Some(100 + GRACE.as_secs()))]);
    assert_eq!(desired.due, Some(at(100 + GRACE.as_secs())));

    // The next one comes in time, and the fleet stays.
    hub.now += GRACE.as_secs() - 1;
    hub.add("web");
    hub.step(&[]);
    assert_eq!(hub.fleets(), [(FleetId::Shared, None)]);

    // Nobody comes in time.
    hub.load_balancers.clear();
    hub.step(&[]);
    hub.now += GRACE.as_secs();
    hub.step(&[]);
    assert_eq!(hub.fleets(), []);
}

#[test]
fn the_fleet_of_a_deleted_load_balancer_goes_after_its_connections_had_their_time() {
    let mut hub = Hub::new(DEDICATED);
    hub.load_balancers.remove("web");
    hub.step(&[]);
    assert_eq!(
        hub.fleets(),
        [(own("api"), None), (own("web"), Some(GRACE.as_secs()))]
    );
    assert!(GRACE > DEFAULT_DRAIN);
}

#[test]
fn when_the_tenant_goes_all_its_fleets_go_at_once() {
    let mut hub = Hub::new(SHARED);
    hub.topology = DEDICATED;
    hub.step(&["web"]);
    let gone = View {
        settings: None,
        ..hub.view()
    };
    let known = Known {
        arrived: &BTreeSet::new(),
        now: at(0),
    };
    let desired = plan(
        &gone,
        &gone.assess(),
        &PortRange::default(),
        &known,
        &mut Built::default(),
    );
    assert!(desired.services.is_empty() && desired.fleets.is_empty());
}
