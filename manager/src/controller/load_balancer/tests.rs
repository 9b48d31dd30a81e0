use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::condition::ConditionValue;
use api::v1alpha1::{
    DnsSettings, Limits, LoadBalancer, LoadBalancerSettings, LoadBalancerStatus, LoadBalancerType, Tenant,
    TenantSpec,
};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use l4_xds::ports::PortRange;
use l4_xds::{ContentVersion, LoadBalancerId, LoadBalancerReport, Settings};
use serde_json::json;

use super::assess::{Assessed, Verdict, View};
use super::assessments::Assessments;
use super::built::Built;
use super::plan::{Desired, Known, plan};
use super::sites::Site;
use super::status::{Facts, Refusal, status};
use crate::hostnames::{Claimant, HostnameTable, table};
use crate::settings::{TenantSettings, merge};

pub(super) fn lb(name: &str, second: i64, port: u16) -> LoadBalancer {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "tenant-a", "uid": name, "generation": 1,
            "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
        "spec": {"type": "LoadBalancer",
            "endpoints": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 30001}]}],
            "ports": [{"port": port}]},
    }))
    .unwrap()
}

fn settings(change: impl FnOnce(&mut TenantSpec)) -> TenantSettings {
    let mut spec = TenantSpec {
        endpoint_cidrs: Some(vec!["10.0.0.0/8".into()]),
        ..TenantSpec::default()
    };
    change(&mut spec);
    merge(&Tenant::new("a", spec), None, "kubelb")
}

fn view(settings: TenantSettings, mut load_balancers: Vec<LoadBalancer>, services: Vec<Service>) -> View {
    load_balancers.sort_by_key(|lb| lb.metadata.name.clone());
    View {
        tenant: "a".into(),
        namespace: "tenant-a".into(),
        settings: Some(settings),
        load_balancers: Arc::new(load_balancers.into_iter().map(Arc::new).collect()),
        addresses: vec![],
        services: Arc::new(services.into_iter().map(Arc::new).collect()),
        global_services: vec![],
        workloads: vec![],
        hostnames: Arc::default(),
        gateway_api: true,
        translation: Settings::default(),
    }
}

fn planned(view: &View) -> Desired {
    planned_at(view, &[], 0)
}

fn planned_at(view: &View, arrived: &[&str], second: i64) -> Desired {
    let known = Known {
        arrived: &arrived.iter().map(|name| (*name).to_owned()).collect(),
        now: at(second).0,
    };
    plan(
        view,
        &view.assess(),
        &PortRange::default(),
        &known,
        &mut Built::default(),
    )
}

/// What the API server would hold after the plan was applied.
fn applied(view: &View) -> Vec<Service> {
    let with_address = |service: Arc<Service>| {
        let mut service = Arc::unwrap_or_clone(service);
        service.status =
            serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})).ok();
        service
    };
    planned(view).services.into_iter().map(with_address).collect()
}

fn lb_id(name: &str) -> LoadBalancerId {
    LoadBalancerId::new("tenant-a", name).unwrap()
}

fn envoy_ports(services: &[Service]) -> Vec<u16> {
    services
        .iter()
        .flat_map(|s| crate::build::hub_service::recorded_ports(s).into_values())
        .collect()
}

#[test]
fn ports_that_are_recorded_do_not_move_when_load_balancers_come_and_go() {
    let first = view(settings(|_| ()), vec![lb("b", 1, 80)], vec![]);
    let services = applied(&first);
    let ports = envoy_ports(&services);
    let more = view(
        settings(|_| ()),
        vec![lb("a", 0, 80), lb("b", 1, 80), lb("c", 2, 80)],
        services,
    );
    assert!(envoy_ports(&applied(&more)).contains(&ports[0]));
}

#[test]
fn a_listener_reaches_envoy_only_after_its_port_is_recorded() {
    let before = view(settings(|_| ()), vec![lb("a", 0, 80)], vec![]);
    assert_eq!(before.assess()[0].frontend(Site::Tenant), None);
    let after = view(settings(|_| ()), vec![lb("a", 0, 80)], applied(&before));
    let assessed = after.assess();
    let frontend = assessed[0].frontend(Site::Tenant).unwrap();
    assert_eq!(
        frontend.listeners[0].envoy_port.get(),
        envoy_ports(&applied(&before))[0]
    );
}

#[test]
fn beyond_the_limit_the_oldest_are_served() {
    let limit_of_one = |spec: &mut TenantSpec| {
        spec.limits = Some(Limits {
            load_balancers: Some(1),
            ..Limits::default()
        })
    };
    let limited = settings(limit_of_one);
    let assessed = view(limited, vec![lb("young", 9, 80), lb("old", 1, 80)], vec![]).assess();
    let verdicts: Vec<_> = assessed
        .iter()
        .map(|a| (a.id.name(), a.problem().map(|p| p.reason)))
        .collect();
    assert_eq!(verdicts, [("old", None), ("young", Some("LimitExceeded"))]);
    let named_later = vec![lb("z-old", 1, 80), lb("young", 9, 80)];
    let assessed = view(settings(limit_of_one), named_later, vec![]).assess();
    assert_eq!(assessed[0].problem().map(|p| p.reason), Some("LimitExceeded"));
}

#[test]
fn a_tenant_with_l4_switched_off_or_gone_has_nothing() {
    let disable = LoadBalancerSettings {
        disable: Some(true),
        ..LoadBalancerSettings::default()
    };
    let off = view(
        settings(|spec| spec.load_balancer = Some(disable)),
        vec![lb("a", 0, 80)],
        vec![],
    );
    let desired = planned(&off);
    assert!(desired.services.is_empty() && desired.fleets.is_empty());
    assert_eq!(off.assess()[0].problem().unwrap().reason, "Disabled");
    let gone = View {
        settings: None,
        ..off
    };
    let desired = planned(&gone);
    assert!(desired.services.is_empty() && desired.fleets.is_empty());
}

#[test]
fn a_served_load_balancer_that_turns_bad_keeps_its_address_and_a_new_one_gets_none() {
    let mut bad = lb("a", 0, 80);
    bad.spec.endpoints[0].addresses.as_mut().unwrap()[0].ip = Some("169.254.169.254".into());
    let new = view(settings(|_| ()), vec![bad.clone()], vec![]);
    assert!(matches!(new.assess()[0].verdict, Verdict::Refuse(_)));
    let served = applied(&view(settings(|_| ()), vec![lb("a", 0, 80)], vec![]));
    let turned = view(settings(|_| ()), vec![bad], served);
    assert_eq!(planned(&turned).services.len(), 1);
    assert_eq!(
        turned.assess()[0].frontend(Site::Tenant).unwrap().listeners[0].backends,
        []
    );
    assert_eq!(turned.assess()[0].problem().unwrap().reason, "EndpointNotAllowed");
}

#[test]
fn source_ranges_that_nobody_keeps_any_more_take_the_service_away() {
    let before = view(settings(|_| ()), vec![lb("a", 0, 80)], vec![]);
    let mut inside = lb("a", 0, 80);
    inside.spec.type_ = LoadBalancerType::ClusterIP;
    inside.spec.source_ranges = vec!["192.0.2.0/24".into()];
    let after = view(settings(|_| ()), vec![inside], applied(&before));
    assert!(planned(&after).services.is_empty());
    assert_eq!(after.assess()[0].problem().unwrap().reason, "UnsupportedValue");
}

#[test]
fn a_change_of_class_replaces_the_service() {
    let class = |name: &str| LoadBalancerSettings {
        class: Some(name.into()),
        ..LoadBalancerSettings::default()
    };
    let before = view(
        settings(|s| s.load_balancer = Some(class("one"))),
        vec![lb("a", 0, 80)],
        vec![],
    );
    let live = applied(&before);
    let name = live[0].metadata.name.clone().unwrap();
    let after = view(
        settings(|s| s.load_balancer = Some(class("two"))),
        vec![lb("a", 0, 80)],
        live,
    );
    let desired = planned(&after);
    assert_eq!(desired.recreate, BTreeSet::from([name]));
    assert!(desired.services.is_empty());
}

#[test]
fn when_ports_run_out_the_later_ones_are_named_and_the_others_served() {
    let full = view(settings(|_| ()), vec![lb("a", 0, 80), lb("b", 1, 80)], vec![]);
    let known = Known {
        arrived: &BTreeSet::new(),
        now: at(0).0,
    };
    let desired = plan(
        &full,
        &full.assess(),
        &PortRange::new(vec![10000..=10000], vec![]),
        &known,
        &mut Built::default(),
    );
    assert_eq!(desired.services.len(), 1);
    assert_eq!(
        desired.exhausted,
        BTreeMap::from([(lb_id("b"), vec!["80/TCP".to_owned()])])
    );
}

pub(super) fn served(lb: LoadBalancer) -> View {
    let services = applied(&view(settings(|_| ()), vec![lb.clone()], vec![]));
    view(settings(|_| ()), vec![lb], services)
}

fn at(seconds: i64) -> Time {
    Time(jiff::Timestamp::from_second(seconds).unwrap())
}

struct Said<'a> {
    content: Option<&'a str>,
    programmed: &'a [&'a str],
    rejected: &'a [(&'a str, &'a str)],
}

fn status_of(assessed: &Assessed, said: &Said<'_>) -> LoadBalancerStatus {
    let report = LoadBalancerReport {
        programmed: said.programmed.iter().map(|v| ContentVersion::from(*v)).collect(),
        rejected: said
            .rejected
            .iter()
            .map(|(v, words)| (ContentVersion::from(*v), (*words).to_owned()))
            .collect(),
    };
    let content = said.content.map(ContentVersion::from);
    status(
        &Facts {
            assessed,
            settings: &settings(|_| ()),
            hostnames: &HostnameTable::default(),
            site: Site::Tenant,
            content: content.as_ref(),
            report: Some(&report),
            exhausted: None,
            refused: None,
            https: None,
        },
        &at(100),
    )
}

fn programmed(status: &LoadBalancerStatus) -> (String, String) {
    let condition = api::condition::find(&status.conditions, "Programmed").unwrap();
    (condition.status.clone(), condition.reason.clone())
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn programmed_means_that_an_envoy_acknowledged_this_content() {
    let view = served(lb("a", 0, 80));
    let assessed = &view.assess()[0];
    let other = status_of(
        assessed,
        &Said {
            content: Some("v2"),
            programmed: &["v1"],
            rejected: &[],
        },
    );
    assert_eq!(programmed(&other), pair("False", "Pending"));
    let same = status_of(
        assessed,
        &Said {
            content: Some("v2"),
            programmed: &["v1", "v2"],
            rejected: &[],
        },
    );
    assert_eq!(programmed(&same), pair("True", "Programmed"));
    insta::assert_yaml_snapshot!(same);
}

const SILENCE: Said<'_> = Said {
    content: Some("v1"),
    programmed: &[],
    rejected: &[],
};

fn acknowledged(mut lb: LoadBalancer) -> LoadBalancer {
    let said = Said {
        programmed: &["v1"],
        ..SILENCE
    };
    lb.status = Some(status_of(&served(lb.clone()).assess()[0], &said));
    lb
}

#[test]
fn silence_takes_nothing_back_and_another_content_starts_anew() {
    let mut lb = acknowledged(lb("a", 0, 80));
    let told = |lb: &LoadBalancer, content: Option<&'static str>| {
        let said = Said { content, ..SILENCE };
        let status = status_of(&served(lb.clone()).assess()[0], &said);
        (programmed(&status), status.content_version)
    };
    let yes = (pair("True", "Programmed"), Some("v1".to_owned()));
    let no = (pair("False", "Pending"), None);
    assert_eq!(told(&lb, Some("v1")), yes);
    assert_eq!(
        told(&lb, None),
        yes,
        "what is not known here and now says nothing"
    );
    assert_eq!(
        told(&lb, Some("v2")),
        no,
        "as after a change of its tenant's settings"
    );
    lb.metadata.generation = Some(2);
    assert_eq!(told(&lb, Some("v1")), yes, "a change that is none to Envoy");
    assert_eq!(told(&lb, Some("v2")), no);
    assert_eq!(told(&lb, None), no, "what it comes to is not known yet");
}

#[test]
fn a_status_without_a_content_goes_on_and_learns_its_content_from_an_envoy() {
    let mut lb = acknowledged(lb("a", 0, 80));
    lb.status.as_mut().unwrap().content_version = None;
    let after = |said: &Said<'_>| status_of(&served(lb.clone()).assess()[0], said);
    let silent = after(&SILENCE);
    assert_eq!(&silent, lb.status.as_ref().unwrap(), "nothing is written");
    let said = Said {
        programmed: &["v1"],
        ..SILENCE
    };
    let heard = after(&said);
    assert_eq!(programmed(&heard), pair("True", "Programmed"));
    assert_eq!(heard.content_version.as_deref(), Some("v1"));
}

/// Rejected, as it is with these settings.
fn rejected(mut lb: LoadBalancer) -> LoadBalancer {
    let view = served(lb.clone());
    let assessed = &view.assess()[0];
    let part = l4_xds::translate::part(assessed.frontend(Site::Tenant).unwrap(), &view.translation);
    let content = part.content_version();
    let said = Said {
        content: Some(content.as_str()),
        programmed: &[],
        rejected: &[(content.as_str(), "cannot bind")],
    };
    lb.status = Some(status_of(assessed, &said));
    lb
}

#[test]
fn a_rejection_is_recorded_and_leaves_it_out_until_the_next_generation() {
    let mut lb = rejected(lb("a", 0, 80));
    assert_eq!(programmed(lb.status.as_ref().unwrap()), pair("False", "Rejected"));
    let view = served(lb.clone());
    assert_eq!(view.assess()[0].frontend(Site::Tenant), None);
    let left_out = Said {
        content: None,
        ..SILENCE
    };
    assert_eq!(
        status_of(&view.assess()[0], &left_out),
        lb.status.clone().unwrap()
    );
    lb.metadata.generation = Some(2);
    assert!(served(lb).assess()[0].frontend(Site::Tenant).is_some());
}

#[test]
fn a_rejected_content_is_left_out_and_another_of_the_same_generation_is_tried() {
    let lb = rejected(lb("a", 0, 80));
    let services = applied(&view(settings(|_| ()), vec![lb.clone()], vec![]));
    let timeouts = settings(|spec| {
        let policy = json!({"trafficPolicy": {"idleTimeoutSeconds": 7}});
        spec.load_balancer = serde_json::from_value(policy).ok();
    });
    let other = view(timeouts, vec![lb.clone()], services.clone());
    assert!(other.assess()[0].frontend(Site::Tenant).is_some());
    let status = status_of(
        &other.assess()[0],
        &Said {
            content: None,
            ..SILENCE
        },
    );
    assert_eq!(programmed(&status), pair("False", "Pending"));
    let mut old = lb;
    old.status.as_mut().unwrap().content_version = None;
    let before = view(settings(|_| ()), vec![old], services);
    assert_eq!(
        before.assess()[0].frontend(Site::Tenant),
        None,
        "a status of before stands"
    );
}

#[test]
fn while_a_port_is_not_recorded_a_part_of_it_is_no_whole() {
    let mut lb = lb("a", 0, 80);
    let services = applied(&view(settings(|_| ()), vec![lb.clone()], vec![]));
    let view = |lb: &LoadBalancer| view(settings(|_| ()), vec![lb.clone()], services.clone());
    assert!(view(&lb).assess()[0].is_complete(Site::Tenant));
    let more = serde_json::from_value(json!({"name": "more", "port": 443})).unwrap();
    lb.spec.ports.push(more);
    assert!(view(&lb).assess()[0].frontend(Site::Tenant).is_some());
    assert!(!view(&lb).assess()[0].is_complete(Site::Tenant));
    assert_eq!(
        view(&lb).assess()[0].content(Site::Tenant, &Settings::default()),
        None
    );
}

#[test]
fn a_content_is_the_same_in_each_generation_until_envoy_has_to_be_told() {
    let content = |change: &dyn Fn(&mut LoadBalancer)| {
        let mut lb = lb("a", 0, 80);
        change(&mut lb);
        served(lb).assess()[0]
            .content(Site::Tenant, &Settings::default())
            .unwrap()
    };
    let first = content(&|_| ());
    let other_node = content(&|lb| {
        lb.metadata.generation = Some(2);
        lb.spec.endpoints[0].addresses.as_mut().unwrap()[0].ip = Some("10.0.0.2".into());
    });
    let sticky =
        content(&|lb| lb.spec.persistence = serde_json::from_value(json!({"type": "SourceIP"})).unwrap());
    assert_eq!(first, other_node);
    assert_ne!(first, sticky);
}

#[test]
fn without_an_address_it_is_acknowledged_but_not_programmed() {
    let mut view = served(lb("a", 0, 80));
    let mut service = (*view.services[0]).clone();
    service.status = None;
    view.services = Arc::new(vec![Arc::new(service)]);
    let acked = Said {
        programmed: &["v1"],
        ..SILENCE
    };
    let status = status_of(&view.assess()[0], &acked);
    assert_eq!(programmed(&status), pair("False", "AddressNotAssigned"));
    assert_eq!(status.content_version.as_deref(), Some("v1"));
    assert_eq!(status.load_balancer, None);
}

#[test]
fn a_service_that_the_hub_refused_is_told_on_the_load_balancer() {
    let view = view(settings(|_| ()), vec![lb("a", 0, 80)], vec![]);
    let refusal = Refusal {
        reason: "UnsupportedValue",
        message: "exceeded quota: services".into(),
    };
    let status = status(
        &Facts {
            assessed: &view.assess()[0],
            settings: &settings(|_| ()),
            hostnames: &HostnameTable::default(),
            site: Site::Tenant,
            content: None,
            report: None,
            exhausted: None,
            refused: Some(&refusal),
            https: None,
        },
        &at(1),
    );
    insta::assert_yaml_snapshot!(status);
}

fn dns(wildcard: bool) -> impl FnOnce(&mut TenantSpec) {
    move |spec| {
        spec.dns = Some(DnsSettings {
            wildcard_domain: wildcard.then(|| "lb.example.com".into()),
            ..DnsSettings::default()
        });
    }
}

/// The status of the one load balancer under these settings, with the host names given out.
fn named(lb: LoadBalancer, settings: TenantSettings, https: Option<ConditionValue>) -> LoadBalancerStatus {
    let mut view = served(lb);
    let hostnames = table([Claimant {
        namespace: "tenant-a",
        settings: &settings,
        load_balancers: &view.load_balancers,
        services: &view.services,
    }]);
    view.settings = Some(settings);
    let assessed = &view.assess()[0];
    status(
        &Facts {
            assessed,
            settings: view.settings.as_ref().unwrap(),
            hostnames: &hostnames,
            site: Site::Tenant,
            content: None,
            report: None,
            exhausted: None,
            refused: None,
            https,
        },
        &at(1),
    )
}

#[test]
fn a_host_name_is_told_and_when_it_goes_so_does_its_condition() {
    let mut lb = lb("a", 0, 80);
    let annotations = lb.metadata.annotations.get_or_insert_default();
    annotations.insert("kubelb.k8c.io/origin-name".into(), "web".into());
    let is = |status, reason| Some(ConditionValue::new("HTTPSProgrammed", status, reason, ""));
    let https = is(true, "Programmed");
    let with = named(lb.clone(), settings(dns(true)), https);
    let hostname = with.hostname.clone().unwrap();
    assert_eq!(
        (
            hostname.hostname.as_str(),
            hostname.tls_enabled,
            hostname.dns_record_created
        ),
        ("web.lb.example.com", true, None)
    );
    let types = |status: &LoadBalancerStatus| -> Vec<String> {
        status.conditions.iter().map(|c| c.type_.clone()).collect()
    };
    assert_eq!(
        types(&with),
        ["Accepted", "Programmed", "HostnameAssigned", "HTTPSProgrammed"]
    );
    lb.status = Some(with);
    let waiting = named(lb.clone(), settings(dns(true)), is(false, "Pending"));
    assert!(!waiting.hostname.unwrap().tls_enabled);
    let without = named(lb, settings(dns(false)), None);
    assert_eq!(without.hostname, None);
    assert_eq!(types(&without), ["Accepted", "Programmed"]);
}

#[test]
fn a_host_name_that_is_refused_is_told_and_the_rest_is_served() {
    let mut lb = lb("a", 0, 80);
    lb.spec.hostname = Some("shop.example.com".into());
    let status = named(lb, settings(dns(true)), None);
    let condition = |type_| api::condition::find(&status.conditions, type_).unwrap();
    let assigned = condition("HostnameAssigned");
    assert_eq!(
        (assigned.status.as_str(), assigned.reason.as_str()),
        ("False", "HostnameNotAllowed")
    );
    assert_eq!(condition("Accepted").status, "True");
    assert_eq!(status.hostname, None);
}

#[test]
fn what_changed_is_assessed_again_and_nothing_else_and_the_outcome_is_that_of_a_first_look() {
    let mut world = served(lb("a", 0, 80));
    Arc::make_mut(&mut world.load_balancers).push(Arc::new(lb("b", 1, 80)));
    let mut memory = Assessments::default();
    let mut look = |world: &View| {
        let assessed = memory.of(world);
        assert_eq!(format!("{assessed:?}"), format!("{:?}", world.assess()));
        assert!(
            world.settings.is_none() || Arc::ptr_eq(&assessed, &memory.of(world)),
            "a second look"
        );
        assessed
    };
    let is_kept = |before: &[Arc<Assessed>], after: &[Arc<Assessed>]| -> Vec<bool> {
        let pairs = before.iter().zip(after);
        pairs.map(|(before, after)| Arc::ptr_eq(before, after)).collect()
    };
    let first = look(&world);
    assert_eq!(is_kept(&first, &look(&world)), [true, true]);

    Arc::make_mut(&mut world.load_balancers)[1] = Arc::new(lb("b", 1, 81));
    let port = look(&world);
    assert_eq!(is_kept(&first, &port), [true, false]);

    let gone = Arc::make_mut(&mut world.load_balancers).remove(0);
    assert_eq!(look(&world).len(), 1);
    Arc::make_mut(&mut world.load_balancers).insert(0, gone);
    let back = look(&world);
    assert!(back[0].service.is_some(), "its Service was there all the time");
    assert!(Arc::ptr_eq(&port[1], &back[1]));
    let port = back;

    let services = world.services.iter();
    world.services = Arc::new(
        services
            .map(|service| Arc::new(service.as_ref().clone()))
            .collect(),
    );
    let service = look(&world);
    assert_eq!(is_kept(&port, &service), [false, true]);

    world.addresses.push(Arc::new(
        serde_json::from_value(json!({"metadata": {"name": "default"},
        "spec": {"addresses": []}}))
        .unwrap(),
    ));
    let addresses = look(&world);
    assert_eq!(is_kept(&service, &addresses), [false, false]);

    world.settings = Some(settings(|spec| {
        spec.limits = Some(Limits {
            load_balancers: Some(1),
            ..Limits::default()
        });
    }));
    let limited = look(&world);
    assert_eq!(is_kept(&addresses, &limited), [false, false]);
    assert_eq!(limited[1].problem().unwrap().reason, "LimitExceeded");

    // An older one goes: the next one is within the limit.
    Arc::make_mut(&mut world.load_balancers).remove(0);
    assert_eq!(look(&world)[0].problem(), None);
    world.settings = None;
    assert!(look(&world).is_empty());
}
