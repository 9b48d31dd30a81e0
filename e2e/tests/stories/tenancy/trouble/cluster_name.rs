//! A `clusterName` that is another tenant's than the credential's.

use crate::support::ccm::{self, Restored};
use crate::support::lab;
use crate::support::served::Served;

#[test]
fn a_wrong_cluster_name_is_named_with_both_names() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let served = Served::begin("cluster-name", tenant);
    let restored = Restored { hub, tenant };
    ccm::set_cluster_name(tenant, "other");
    ccm::named(tenant, "cluster_name_mismatch", &["tenant-other", "tenant-b"]);
    drop(restored);
    served.went_on();
}
