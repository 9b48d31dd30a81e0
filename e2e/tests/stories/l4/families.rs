//! A developer whose cluster speaks IPv4 and IPv6, behind a hub that does, too.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::environment::Environment;
use e2e::held::Held;
use e2e::traffic::{self, Stream};
use e2e::wait::{seconds, until};
use serde_json::{Value, json};

use crate::support::{Scratch, answered, lab, more_requests, own_address, patch_service, text};

/// The lab; it must have both families.
#[track_caller]
fn dual_stack_lab() -> Environment {
    let lab = lab();
    assert!(
        lab.lab.has_ipv6(),
        "this lab has no IPv6, so that none of this can be shown: see e2e/testbed/README.md"
    );
    lab
}

/// A Service of the second tenant with these families, and its pods.
fn expose(tenant: &Cluster, namespace: &str, families: &[&str]) {
    let policy = match families {
        [_] => "SingleStack",
        _ => "RequireDualStack",
    };
    let service = echo::service(namespace, "web", "LoadBalancer").replace(
        "  type: LoadBalancer\n",
        &format!(
            "  type: LoadBalancer\n  ipFamilyPolicy: {policy}\n  ipFamilies: [{}]\n",
            families.join(", ")
        ),
    );
    tenant
        .apply(&(echo::deployment(namespace, "web", 1) + &service))
        .unwrap();
}

/// Waits until the Service shows one address of each of these families, in this order, and no other.
#[track_caller]
fn shown(tenant: &Cluster, namespace: &str, families: &[&str]) -> Vec<IpAddr> {
    until(
        format!("one address of each of {families:?}"),
        seconds(60),
        || {
            let found = tenant
                .get(&["service", "-n", namespace, "web"])
                .map_err(|e| e.to_string())?;
            let addresses = addresses_in(&found["status"]["loadBalancer"]["ingress"]);
            let are = addresses.iter().map(|ip| family(*ip));
            if are.eq(families.iter().copied()) {
                Ok(addresses)
            } else {
                Err(format!("{addresses:?}"))
            }
        },
    )
    .unwrap()
}

fn addresses_in(ingress: &Value) -> Vec<IpAddr> {
    let listed = ingress.as_array().into_iter().flatten();
    listed.filter_map(|one| text(&one["ip"])?.parse().ok()).collect()
}

fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

fn url(address: IpAddr) -> String {
    format!("http://{}/", SocketAddr::new(address, 80))
}

#[test]
fn a_service_of_both_families_shows_both_in_its_order_and_answers_at_each() {
    let lab = dual_stack_lab();
    let tenant = &lab.tenant_b;
    let scratch = Scratch::new("l4-both-families", &[tenant]);
    let ns = &scratch.namespace;
    expose(tenant, ns, &["IPv6", "IPv4"]);
    for address in shown(tenant, ns, &["IPv6", "IPv4"]) {
        answered(&url(address), None);
    }
}

#[test]
fn a_service_of_one_family_shows_an_address_of_that_one() {
    let lab = dual_stack_lab();
    let tenant = &lab.tenant_b;
    for (name, of) in [("l4-ipv4", "IPv4"), ("l4-ipv6", "IPv6")] {
        let scratch = Scratch::new(name, &[tenant]);
        let ns = &scratch.namespace;
        expose(tenant, ns, &[of]);
        // Its NodePort answers at node addresses of this family only, so that an answer came by it all the way.
        answered(&url(shown(tenant, ns, &[of])[0]), None);
    }
}

#[test]
fn a_second_family_comes_and_goes_without_a_lost_request_of_the_first() {
    let lab = dual_stack_lab();
    let tenant = &lab.tenant_b;
    let scratch = Scratch::new("l4-second-family", &[tenant]);
    let ns = &scratch.namespace;
    expose(tenant, ns, &["IPv4"]);
    let first = shown(tenant, ns, &["IPv4"]);
    answered(&url(first[0]), None);
    let held = Held::open(&first[0].to_string(), 80, "web").unwrap();
    let stream = Stream::begin(url(first[0]), None, Duration::from_millis(20), seconds(180));

    patch_service(tenant, ns, "web", &json!({"ipFamilyPolicy": "RequireDualStack"}));
    let both = shown(tenant, ns, &["IPv4", "IPv6"]);
    assert_eq!(both[0], first[0]);
    answered(&url(both[1]), None);

    patch_service(tenant, ns, "web", &json!({"ipFamilyPolicy": "SingleStack"}));
    assert_eq!(shown(tenant, ns, &["IPv4"]), first);
    more_requests(&stream, 50, "after the second family left");
    held.end().unwrap();
    assert_eq!(stream.end().failures, Vec::<String>::new());
}

#[test]
fn ranges_of_one_family_let_nobody_of_the_other_in() {
    let lab = dual_stack_lab();
    let tenant = &lab.tenant_b;
    let scratch = Scratch::new("l4-family-ranges", &[tenant]);
    let ns = &scratch.namespace;
    expose(tenant, ns, &["IPv4", "IPv6"]);
    let addresses = shown(tenant, ns, &["IPv4", "IPv6"]);
    for address in &addresses {
        answered(&url(*address), None);
    }
    let own = format!("{}/128", own_address(addresses[1]));
    patch_service(tenant, ns, "web", &json!({"loadBalancerSourceRanges": [own]}));
    until(
        "no answer for a client by IPv4",
        seconds(60),
        || match traffic::status(&url(addresses[0]), None) {
            Err(_) => Ok(()),
            Ok(status) => Err(format!("{status}")),
        },
    )
    .unwrap();
    answered(&url(addresses[1]), None);
}
