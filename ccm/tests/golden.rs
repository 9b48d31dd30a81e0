//! One case, one behaviour: a tenant Service in, what is wanted on the hub and what is told out.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows these in test functions only, and here the helpers are tests too"
)]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use api::v1alpha1::{AnnotationSettings, EndpointAddress, IpFamily};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use kubelb_ccm::convert::local::Local;
use kubelb_ccm::convert::provider::CloudProvider;
use kubelb_ccm::convert::service::{ClassPolicy, Settings, Wanted, convert};
use serde_json::json;

/// What nodes have.
static IPV4: LazyLock<BTreeSet<IpFamily>> = LazyLock::new(|| [IpFamily::IPv4].into());

fn settings(annotations: &AnnotationSettings) -> Settings<'_> {
    Settings {
        hub_namespace: "tenant-a",
        class_policy: ClassPolicy::DefaultOrOurs,
        provider: CloudProvider::Ours,
        of_hub: &[],
        annotations,
        has_nodes: true,
        node_families: &IPV4,
        local: &Local::Unknown,
    }
}

/// The Service of a case.
fn case(name: &str) -> Service {
    let file = format!("{}/tests/cases/{name}.in.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// Service `shop/web` has pods on one of two nodes.
fn local() -> Local {
    let address = |n: u8| EndpointAddress {
        ip: Some(format!("10.0.0.{n}")),
        hostname: None,
    };
    Local::Known {
        nodes: [(("shop".to_owned(), "web".to_owned()), ["n1".to_owned()].into())].into(),
        addresses: [
            ("n1".to_owned(), vec![address(1)]),
            ("n2".to_owned(), vec![address(2)]),
        ]
        .into(),
    }
}

#[test]
fn each_service_case_becomes_what_its_snapshot_says() {
    let annotations = AnnotationSettings {
        propagated_annotations: Some([("lb.example.com/*".to_owned(), String::new())].into()),
        ..AnnotationSettings::default()
    };
    insta::glob!("cases/*.in.yaml", |path| {
        let text = std::fs::read_to_string(path).unwrap();
        let service: Service = serde_saphyr::from_str(&text).unwrap();
        let settings = Settings {
            local: &local(),
            ..settings(&annotations)
        };
        let conversion = convert(&service, &settings);
        let wanted = match conversion.wanted {
            Wanted::NotOurs => json!("not ours"),
            Wanted::Nothing => json!("nothing"),
            Wanted::Hold => json!("hold"),
            Wanted::Served(load_balancer) => serde_json::to_value(load_balancer).unwrap(),
        };
        let told: Vec<_> = conversion
            .notices
            .iter()
            .map(|n| format!("{}: {}", n.reason, n.message))
            .collect();
        insta::assert_yaml_snapshot!(json!({"wanted": wanted, "told": told}));
    });
}

#[test]
fn with_the_class_flag_a_service_without_class_is_not_ours() {
    let service = case("tcp-and-udp-on-one-port-number");
    let annotations = AnnotationSettings::default();
    let settings = Settings {
        class_policy: ClassPolicy::OursOnly,
        ..settings(&annotations)
    };
    assert_eq!(convert(&service, &settings).wanted, Wanted::NotOurs);
}

#[test]
fn beside_another_provider_a_service_answers_at_its_own_address_and_ports() {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "web", "uid": "8f1c"},
        "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "externalTrafficPolicy": "Local",
            "loadBalancerIP": "192.0.2.50", "loadBalancerSourceRanges": ["203.0.113.0/24"],
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}, {"ip": "192.0.2.50"}]}},
    }))
    .unwrap();
    let (annotations, of_hub) = (AnnotationSettings::default(), [ingress("203.0.113.7")]);
    let conversion = convert(
        &service,
        &Settings {
            provider: CloudProvider::Another,
            of_hub: &of_hub,
            has_nodes: false,
            ..settings(&annotations)
        },
    );
    let Wanted::Served(load_balancer) = conversion.wanted else {
        panic!("{conversion:?}");
    };
    assert_eq!(
        serde_json::to_value(&load_balancer.spec.endpoints).unwrap(),
        json!([{"addresses": [{"ip": "192.0.2.50"}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]}])
    );
    let told: Vec<&str> = conversion
        .notices
        .iter()
        .map(|notice| notice.message.as_str())
        .collect();
    assert!(
        told.len() == 1 && told[0].starts_with("spec.loadBalancerSourceRanges"),
        "{told:?}"
    );
}

fn ingress(ip: &str) -> LoadBalancerIngress {
    LoadBalancerIngress {
        ip: Some(ip.to_owned()),
        ..LoadBalancerIngress::default()
    }
}

#[test]
fn a_cluster_without_nodes_is_told_on_the_service_and_served_all_the_same() {
    let service = case("class-kubelb-is-ours");
    let annotations = AnnotationSettings::default();
    let conversion = convert(
        &service,
        &Settings {
            has_nodes: false,
            ..settings(&annotations)
        },
    );
    assert!(matches!(conversion.wanted, Wanted::Served(_)));
    assert_eq!(conversion.notices[0].reason, "NoNodes");
}

#[test]
fn a_service_of_local_traffic_waits_while_nothing_is_known_of_the_nodes() {
    let service = case("traffic-policy-local-and-client-affinity-are-carried");
    let annotations = AnnotationSettings::default();
    assert_eq!(convert(&service, &settings(&annotations)).wanted, Wanted::Hold);
}
