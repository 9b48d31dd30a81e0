use std::collections::BTreeSet;
use std::sync::Arc;

use api::v1alpha1::{
    AnnotationSettings, CertificateSettings, DnsSettings, GatewayApiSettings, HttpsSettings, Tenant,
    TenantSpec,
};
use gateway_translator::Kind;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use l4_xds::Settings;
use l4_xds::ports::PortRange;
use serde_json::json;

use super::*;
use crate::controller::load_balancer::built::Built;
use crate::controller::load_balancer::plan::{Known, plan};
use crate::hostnames::{Claimant, table};
use crate::settings::merge;

fn lb(change: impl FnOnce(&mut LoadBalancer)) -> LoadBalancer {
    let mut lb = serde_json::from_value(json!({
        "metadata": {"name": "5f0c", "namespace": "tenant-a", "uid": "u", "generation": 1, "annotations": {
            "kubelb.k8c.io/origin-ns": "shop", "kubelb.k8c.io/origin-name": "web"}},
        "spec": {"type": "LoadBalancer", "https": {},
            "endpoints": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [
                {"name": "admin", "port": 30900}, {"name": "http", "port": 30080}, {"name": "https", "port": 30443}]}],
            "ports": [{"name": "admin", "port": 9000}, {"name": "http", "port": 80}, {"name": "https", "port": 443}]},
    }))
    .unwrap();
    change(&mut lb);
    lb
}

fn settings(change: impl FnOnce(&mut TenantSpec)) -> TenantSettings {
    let mut spec = TenantSpec {
        endpoint_cidrs: Some(vec!["10.0.0.0/8".into()]),
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
    change(&mut spec);
    merge(&Tenant::new("a", spec), None, "kubelb")
}

fn view(settings: TenantSettings, lb: LoadBalancer) -> View {
    let load_balancers = vec![Arc::new(lb)];
    let hostnames = table([Claimant {
        namespace: "tenant-a",
        settings: &settings,
        load_balancers: &load_balancers,
        services: &[],
    }]);
    View {
        tenant: "a".into(),
        namespace: "tenant-a".into(),
        settings: Some(settings),
        load_balancers: Arc::new(load_balancers),
        addresses: vec![],
        services: Arc::default(),
        global_services: vec![],
        workloads: vec![],
        hostnames: Arc::new(hostnames),
        gateway_api: true,
        translation: Settings::default(),
    }
}

fn of(view: &View) -> Https {
    https(view, view.settings.as_ref().unwrap(), &view.assess()[0]).unwrap()
}

fn object(https: &Https, kind: Kind) -> Value {
    let Https::Served { objects, .. } = https else {
        panic!("{https:?}");
    };
    let found = objects.iter().find(|object| object.key.kind == kind);
    found.unwrap().value.clone()
}

fn refusal(https: &Https) -> (&'static str, &str) {
    match https {
        Https::Refused(Problem { reason, message }) => (reason, message),
        Https::Served { .. } => panic!("{https:?}"),
    }
}

fn node_port(https: &Https) -> Value {
    object(https, Kind::EndpointSlice)["ports"][0]["port"].clone()
}

fn issuer(https: &Https) -> Vec<(String, String)> {
    let annotations = object(https, Kind::Gateway)["metadata"]["annotations"].clone();
    let all: BTreeMap<String, String> = serde_json::from_value(annotations).unwrap();
    all.into_iter()
        .filter(|(key, _)| key.starts_with("cert-manager.io/"))
        .collect()
}

fn service(view: &View) -> Service {
    let known = Known {
        arrived: &BTreeSet::new(),
        now: Timestamp::UNIX_EPOCH,
    };
    let desired = plan(
        view,
        &view.assess(),
        &PortRange::default(),
        &known,
        &mut Built::default(),
    );
    Arc::unwrap_or_clone(desired.services.into_iter().next().unwrap())
}

/// Names of the annotations about DNS.
fn in_dns(annotations: Option<&BTreeMap<String, String>>) -> usize {
    let keys = annotations.into_iter().flatten();
    keys.filter(|(key, value)| key.starts_with("external-dns.") && *value == "web.lb.example.com")
        .count()
}

#[test]
fn https_needs_to_be_asked_for() {
    let view = view(settings(|_| ()), lb(|lb| lb.spec.https = None));
    assert_eq!(
        https(&view, view.settings.as_ref().unwrap(), &view.assess()[0]),
        None
    );
}

#[test]
fn the_name_leads_to_the_service_or_where_https_is_asked_for_there() {
    let plain = view(settings(|_| ()), lb(|lb| lb.spec.https = None));
    assert_eq!(in_dns(service(&plain).metadata.annotations.as_ref()), 2);
    let with_https = view(settings(|_| ()), lb(|_| ()));
    let hub_service = service(&with_https);
    assert_eq!(in_dns(hub_service.metadata.annotations.as_ref()), 0);
    assert_eq!(
        hub_service.annotations().get("kubelb.k8c.io/hostname").unwrap(),
        "web.lb.example.com"
    );
    let route = object(&of(&with_https), Kind::HttpRoute);
    let annotations = serde_json::from_value(route["metadata"]["annotations"].clone()).unwrap();
    assert_eq!(in_dns(Some(&annotations)), 2);
}

#[test]
fn without_the_switch_nothing_is_said_to_external_dns() {
    let view = view(
        settings(|spec| spec.dns.as_mut().unwrap().use_dns_annotations = Some(false)),
        lb(|lb| lb.spec.https = None),
    );
    let hub_service = service(&view);
    assert_eq!(in_dns(hub_service.metadata.annotations.as_ref()), 0);
    assert!(hub_service.annotations().contains_key("kubelb.k8c.io/hostname"));
}

#[test]
fn requests_go_to_the_http_port_of_several() {
    assert_eq!(node_port(&of(&view(settings(|_| ()), lb(|_| ())))), 30080);
    let asked = lb(|lb| {
        lb.spec.https = Some(HttpsSettings {
            port: Some(9000.try_into().unwrap()),
        });
    });
    assert_eq!(node_port(&of(&view(settings(|_| ()), asked))), 30900);
    let first = lb(|lb| lb.spec.ports.retain(|port| port.name != "http"));
    assert_eq!(node_port(&of(&view(settings(|_| ()), first))), 30900);
}

#[test]
fn without_a_port_that_speaks_http_there_is_no_https() {
    let only_tls = lb(|lb| lb.spec.ports.retain(|port| port.name == "https"));
    let https = of(&view(settings(|_| ()), only_tls));
    assert_eq!(
        refusal(&https),
        (
            "InvalidPorts",
            "HTTPS is not served: there is no TCP port that speaks HTTP without TLS"
        )
    );
    let no_such = lb(|lb| {
        lb.spec.https = Some(HttpsSettings {
            port: Some(81.try_into().unwrap()),
        });
    });
    assert_eq!(refusal(&of(&view(settings(|_| ()), no_such))).0, "InvalidPorts");
}

#[test]
fn the_issuer_is_the_hubs_or_one_that_the_tenant_may_name() {
    let named = |lb: &mut LoadBalancer| {
        let annotations = lb.annotations_mut();
        annotations.insert(ISSUER.into(), "own".into());
        annotations.insert("cert-manager.io/common-name".into(), "bank.example.com".into());
    };
    let key_value = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let not_passed = of(&view(settings(|_| ()), lb(named)));
    assert_eq!(issuer(&not_passed), key_value(CLUSTER_ISSUER, "hub"));
    let all_pass = |spec: &mut TenantSpec| {
        spec.annotations = AnnotationSettings {
            propagate_all_annotations: Some(true),
            ..AnnotationSettings::default()
        };
    };
    let passed = of(&view(settings(all_pass), lb(named)));
    assert_eq!(issuer(&passed), key_value(ISSUER, "own"));
    let nobody = settings(|spec| spec.certificates = None);
    assert_eq!(refusal(&of(&view(nobody, lb(|_| ())))).0, "NoIssuer");
    let off = settings(|spec| spec.dns.as_mut().unwrap().use_certificate_annotations = None);
    assert_eq!(refusal(&of(&view(off, lb(|_| ())))).0, "NoIssuer");
}

#[test]
fn what_nobody_would_keep_for_https_refuses_it() {
    let refused = |change: fn(&mut LoadBalancer)| {
        let https = of(&view(settings(|_| ()), lb(change)));
        refusal(&https).1.to_owned()
    };
    assert!(refused(|lb| lb.spec.source_ranges = vec!["192.0.2.0/24".into()]).contains("source ranges"));
    assert!(
        refused(|lb| lb.spec.proxy_protocol = Some(api::v1alpha1::ProxyProtocol::V2))
            .contains("PROXY protocol")
    );
    assert!(refused(|lb| lb.spec.type_ = LoadBalancerType::ClusterIP).contains("spec.type LoadBalancer"));
}

#[test]
fn https_goes_with_the_host_name_and_with_the_gateway_api_and_dns_leads_to_the_service_again() {
    let opted_out = lb(|lb| {
        lb.annotations_mut()
            .insert("kubelb.k8c.io/request-wildcard-domain".into(), "false".into());
    });
    assert_eq!(refusal(&of(&view(settings(|_| ()), opted_out))).0, "NoHostname");
    let off = |spec: &mut TenantSpec| {
        spec.gateway_api = Some(GatewayApiSettings {
            disable: Some(true),
            ..GatewayApiSettings::default()
        });
    };
    let off = view(settings(off), lb(|_| ()));
    assert_eq!(refusal(&of(&off)).0, "Disabled");
    assert_eq!(in_dns(service(&off).metadata.annotations.as_ref()), 2);
    let not_installed = View {
        gateway_api: false,
        ..view(settings(|_| ()), lb(|_| ()))
    };
    assert_eq!(refusal(&of(&not_installed)).0, "Disabled");
}

/// The hub Gateway as Envoy Gateway sees it.
fn live(generation: i64, hostname: &str, resolved: bool, programmed: bool) -> DynamicObject {
    live_with(generation, hostname, resolved, programmed, programmed)
}

/// The same, where `whole` says whether the Gateway as a whole is programmed.
fn live_with(
    generation: i64,
    hostname: &str,
    resolved: bool,
    programmed: bool,
    whole: bool,
) -> DynamicObject {
    let status = |is: bool| if is { "True" } else { "False" };
    let condition = |type_: &str, is| json!({"type": type_, "status": status(is), "message": "no Secret", "observedGeneration": 1});
    serde_json::from_value(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "https-x", "namespace": "tenant-a", "generation": generation},
        "spec": {"listeners": [{"name": "https", "hostname": hostname}]},
        "status": {"conditions": [condition("Programmed", whole)], "listeners": [{"name": "https", "conditions": [
            condition("ResolvedRefs", resolved), condition("Programmed", programmed)]}]},
    }))
    .unwrap()
}

#[test]
fn https_is_programmed_when_envoy_gateway_says_so_of_this_name_and_generation() {
    let https = of(&view(settings(|_| ()), lb(|_| ())));
    let said = |gateway: Option<&DynamicObject>| {
        let value = condition(&https, gateway, None);
        (value.status == api::condition::Status::True, value.reason)
    };
    let name = "web.lb.example.com";
    assert_eq!(said(Some(&live(1, name, true, true))), (true, "Programmed"));
    assert_eq!(said(Some(&live(1, name, false, false))), (false, "Pending"));
    assert_eq!(said(Some(&live(1, name, true, false))), (false, "Pending"));
    assert_eq!(said(Some(&live(2, name, true, true))), (false, "Pending"));
    let without_address = live_with(1, name, true, true, false);
    assert_eq!(said(Some(&without_address)), (false, "Pending"));
    assert_eq!(
        said(Some(&live(1, "old.lb.example.com", true, true))),
        (false, "Pending")
    );
    assert_eq!(said(None), (false, "Pending"));
    let waiting = condition(&https, Some(&live(1, name, false, false)), None);
    assert_eq!(waiting.message, "Envoy Gateway says: no Secret");
    let refused = condition(&https, None, Some("exceeded quota"));
    assert_eq!(
        (refused.reason, refused.message.as_str()),
        ("NotApplied", "exceeded quota")
    );
}
