//! A developer says from where clients may connect.

use e2e::cluster::Cluster;
use e2e::wait::{seconds, until};
use e2e::{echo, traffic};
use serde_json::json;

use crate::support::{Scratch, answered, lab, own_address, patch_service, service_address};

/// Addresses for documentation: nobody has them.
const ELSEWHERE: &str = "203.0.113.0/24";

#[test]
fn clients_outside_the_ranges_are_kept_out_until_the_ranges_let_them_in() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("l4-ranges", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    let address = service_address(tenant, ns, "web");
    let url = format!("http://{address}/");
    answered(&url, None);

    allow(tenant, ns, &[ELSEWHERE.to_owned()]);
    until(
        "no answer for a client outside the ranges",
        seconds(60),
        || match traffic::status(&url, None) {
            Err(_) => Ok(()),
            Ok(status) => Err(format!("{status}")),
        },
    )
    .unwrap();
    allow(
        tenant,
        ns,
        &[
            ELSEWHERE.to_owned(),
            format!("{}/32", own_address(address.parse().unwrap())),
        ],
    );
    answered(&url, None);
    allow(tenant, ns, &[]);
    answered(&url, None);
}

fn allow(tenant: &Cluster, namespace: &str, ranges: &[String]) {
    patch_service(
        tenant,
        namespace,
        "web",
        &json!({"loadBalancerSourceRanges": ranges}),
    );
}
