//! The whole life of a credential, with the shortest that an API server issues: ten minutes.

use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::product;
use e2e::wait::{seconds, until};

use crate::support::ccm::{self, Restored};
use crate::support::served::Served;
use crate::support::token::{claims, token_of};
use crate::support::{hub_namespace, lab, tidy};

const LIFE: i64 = 600;

/// The manager's lifetime of tokens as it is by default, again, and a credential of that life in the tenant.
struct Lifetime<'a>(&'a Cluster, &'a Cluster);

impl<'a> Lifetime<'a> {
    fn short(hub: &'a Cluster, tenant: &'a Cluster) -> Self {
        let lifetime = Self(hub, tenant);
        lifetime.set("10m");
        lifetime
    }

    /// A credential that is there lives its own life: it goes, so that one of the new life is issued.
    fn set(&self, lifetime: &str) {
        let Self(hub, tenant) = self;
        let value = format!("kubelb.tenantTokenLifetime={lifetime}");
        product::set_value(hub, "kubelb-manager", &value).unwrap();
        product::rollout(hub, "kubelb-manager").unwrap();
        hub.kubectl(&[
            "delete",
            "secret",
            "-n",
            hub_namespace(tenant),
            product::ISSUED_SECRET,
        ])
        .unwrap();
    }
}

impl Drop for Lifetime<'_> {
    fn drop(&mut self) {
        tidy(|| self.set("168h"));
    }
}

#[test]
fn a_tenant_outlives_its_credential_without_anybody_doing_anything() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let served = Served::begin("life", tenant);
    // Dropped last: it hands over what the restored lifetime gives.
    let _restored = Restored { hub, tenant };
    let _lifetime = Lifetime::short(hub, tenant);
    ccm::hand_over(hub, tenant);
    ccm::restart(tenant);
    product::rollout(tenant, "kubelb-ccm").unwrap();
    ccm::connected(tenant);
    let first = ccm::kubeconfig(tenant);
    let claims = claims(&token_of(&first));
    let of = |claim: &str| claims[claim].as_i64().unwrap();
    assert_eq!(of("exp") - of("iat"), LIFE);

    let begin = Instant::now();
    // The hub issues the next one at a third of the life …
    until("the next credential on the hub", seconds(270), || {
        differs(&first, ccm::issued(hub, tenant)?)
    })
    .unwrap();
    // … and the CCM takes it at half.
    until("the CCM to have stored it", seconds(180), || {
        differs(&first, ccm::kubeconfig(tenant))
    })
    .unwrap();
    until(
        "the first credential to be dead",
        seconds(480),
        || match ccm::accepted(hub, tenant, &first) {
            Ok(()) => Err(format!("good after {:?}", begin.elapsed())),
            Err(_) => Ok(()),
        },
    )
    .unwrap();
    assert!(
        begin.elapsed() > Duration::from_secs(500),
        "{:?}",
        begin.elapsed()
    );
    served.is_open_for_more("after");
    ccm::connected(tenant);
    for reason in ["unauthorized", "expired"] {
        let series = format!("kubelb_ccm_hub_errors_total{{reason=\"{reason}\"}}");
        assert_eq!(ccm::measured(tenant, &series).unwrap(), 0, "{reason}");
    }
    served.went_on();
}

fn differs(first: &str, now: String) -> Result<(), String> {
    if now == first {
        Err("still the first one".to_owned())
    } else {
        Ok(())
    }
}
