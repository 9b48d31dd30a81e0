//! A platform team revokes a tenant's credential, and hands over the new one.

use e2e::wait::{seconds, until};

use crate::support::ccm::{self, Restored};
use crate::support::served::Served;
use crate::support::{hub_namespace, lab};

#[test]
fn a_revoked_credential_is_named_and_a_new_one_is_taken_up_without_a_restart() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let served = Served::begin("revoked", tenant);
    let _restored = Restored { hub, tenant };
    let old = ccm::kubeconfig(tenant);
    let pod = ccm::pod(tenant).unwrap()["metadata"]["uid"].clone();

    // Tokens are bound to this Secret: without it they are dead.
    hub.kubectl(&[
        "delete",
        "secret",
        "-n",
        hub_namespace(tenant),
        "kubelb-ccm-token",
    ])
    .unwrap();
    until("a new credential on the hub", seconds(60), || {
        let issued = ccm::issued(hub, tenant)?;
        if issued == old {
            return Err("still the old one".to_owned());
        }
        ccm::accepted(hub, tenant, &issued)
    })
    .unwrap();
    ccm::named(tenant, "unauthorized", &["revoked", "kubelb-ccm-kubeconfig"]);
    ccm::accepted(hub, tenant, &old).unwrap_err();
    served.expose("waiting");
    // With a dead token the CCM cannot fetch the new one: that is the operator's step.
    assert_eq!(ccm::kubeconfig(tenant), old);

    ccm::hand_over(hub, tenant);
    ccm::connected(tenant);
    assert_eq!(
        ccm::pod(tenant).unwrap()["metadata"]["uid"],
        pod,
        "the CCM was not restarted"
    );
    served.is_open_for_more("waiting");
    served.went_on();
}
