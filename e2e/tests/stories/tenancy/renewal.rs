//! A credential in the second half of its life is exchanged by the CCM itself. The whole life of a real one, which
//! takes ten minutes at least, is in the soak tests.

use e2e::wait::{seconds, until};

use crate::support::ccm::{self, Restored};
use crate::support::lab;
use crate::support::served::Served;
use crate::support::token::{claims, now, token_of, with_life, with_token};

#[test]
fn a_credential_past_half_of_its_life_is_exchanged_for_the_one_that_the_hub_offers() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let served = Served::begin("renewal", tenant);
    let _restored = Restored { hub, tenant };
    let offered = ccm::issued(hub, tenant).unwrap();
    let token = token_of(&offered);
    // Issued an hour before the one on the hub, and good for ten more minutes: the hub takes it.
    let issued_at = claims(&token)["iat"].as_i64().unwrap() - 3600;
    let aged = with_token(&offered, &with_life(&lab.lab, &token, issued_at, now() + 600));
    ccm::accepted(hub, tenant, &aged).unwrap();
    ccm::put(tenant, &aged);
    ccm::hurry(tenant);

    until(
        "the CCM to have stored the offered credential",
        seconds(120),
        || {
            if ccm::kubeconfig(tenant) == offered {
                Ok(())
            } else {
                Err("still the aged one")
            }
        },
    )
    .unwrap();
    ccm::logged(tenant, &["hub credential exchanged for a newer one"]);
    ccm::connected(tenant);
    served.is_open_for_more("after");
    served.went_on();
}
