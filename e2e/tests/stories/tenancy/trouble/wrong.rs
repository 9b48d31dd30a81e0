//! A credential that belongs to nobody.

use crate::support::ccm::{self, Restored};
use crate::support::lab;
use crate::support::served::Served;

#[test]
fn a_wrong_credential_is_named_and_what_is_served_stays_served() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let served = Served::begin("trouble", tenant);
    let restored = Restored { hub, tenant };
    ccm::put(tenant, &broken(&ccm::kubeconfig(tenant)));
    // A CCM that starts with it knows nothing of what is served: it must not take that for nothing.
    ccm::restart(tenant);
    ccm::named(tenant, "unauthorized", &["does not accept the credential"]);
    drop(restored);
    served.is_open_for_more("after");
    served.went_on();
}

fn broken(kubeconfig: &str) -> String {
    // The header of every token: with another letter in it the token is well-formed and belongs to nobody.
    let broken = kubeconfig.replacen("eyJhbGciOi", "eyJhbGciOj", 1);
    assert_ne!(broken, kubeconfig, "the kubeconfig has a token");
    broken
}
