//! A credential that has come to its end while the CCM runs.

use crate::support::ccm::{self, Restored};
use crate::support::lab;
use crate::support::served::Served;
use crate::support::token::{now, token_of, with_life, with_token};

#[test]
fn an_expired_credential_is_named_with_its_end_and_what_is_served_stays_served() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let served = Served::begin("expired", tenant);
    let restored = Restored { hub, tenant };
    let kubeconfig = ccm::kubeconfig(tenant);
    let token = token_of(&kubeconfig);
    let with_end = |end| with_token(&kubeconfig, &with_life(&lab.lab, &token, now() - 3600, end));
    ccm::accepted(hub, tenant, &with_end(now() + 600)).unwrap();
    let expired = with_end(now() - 60);
    ccm::accepted(hub, tenant, &expired).unwrap_err();

    ccm::put(tenant, &expired);
    ccm::hurry(tenant);
    // The CCM says when, so that nobody has to guess between an old credential and a wrong one.
    ccm::named(tenant, "expired", &["expired at 2", "kubelb-ccm-kubeconfig"]);
    served.expose("waiting");
    drop(restored);
    served.is_open_for_more("waiting");
    served.went_on();
}
