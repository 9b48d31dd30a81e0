//! The way between a tenant and its hub is cut.

use e2e::echo;
use e2e::wait::{seconds, until};

use crate::support::cut::Cut;
use crate::support::served::Served;
use crate::support::{answered, ccm, lab, service_address};

/// A Service on a port of its own: its address may be given at once to another Service, which must not be
/// taken for it.
fn going_service(namespace: &str) -> String {
    echo::service(namespace, "going", "LoadBalancer")
        .replace("app: going", "app: web")
        .replace("port: 80,", "port: 81,")
}

#[test]
fn a_hub_out_of_reach_is_named_and_what_waited_is_done_when_it_returns() {
    let lab = lab();
    let tenant = &lab.tenant_b;
    let served = Served::begin("hub-away", tenant);
    let ns = &served.namespace;
    tenant.apply(&going_service(ns)).unwrap();
    let going = format!("http://{}:81/", service_address(tenant, ns, "going"));
    answered(&going, None);

    let cut = Cut::off(&lab.lab, tenant);
    ccm::named(tenant, "unreachable", &["cannot be reached"]);
    served.expose("waiting");
    // A deletion is not held up by a hub that is away.
    tenant
        .kubectl(&["delete", "service", "-n", ns, "going", "--timeout=30s"])
        .unwrap();

    drop(cut);
    served.is_open_for_more("waiting");
    until(
        "the deleted Service's address to be silent",
        seconds(60),
        || match e2e::traffic::get(&going, None) {
            Err(_) => Ok(()),
            Ok(echo) => Err(format!("{echo:?}")),
        },
    )
    .unwrap();
    served.went_on();
}
