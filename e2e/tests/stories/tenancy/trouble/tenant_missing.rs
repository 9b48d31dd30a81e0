//! No such Tenant: one that is deleted while its CCM runs and comes back, and one that never was.

use e2e::cluster::Cluster;
use serde_json::Value;

use crate::support::ccm::{self, Restored};
use crate::support::served::Served;
use crate::support::tenant::{Tenant, served_again};
use crate::support::token::with_token;
use crate::support::{Scratch, answered, gone, hub_namespace, lab, service_address, tidy};

#[test]
fn a_tenant_that_is_deleted_under_its_ccm_comes_back_with_a_new_credential() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let bystander = Served::begin("bystander", &lab.tenant_a);
    let scratch = Scratch::new("tenant-gone", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(&(e2e::echo::deployment(ns, "web", 1) + &e2e::echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    answered(&format!("http://{}/", service_address(tenant, ns, "web")), None);
    let restarts = restarts(tenant);
    let _restored = Restored { hub, tenant };
    let manifest = Tenant::of(hub, tenant);

    hub.kubectl(&["delete", "tenant", tenant.name, "--timeout=300s"])
        .unwrap();
    gone(hub, &["namespace", hub_namespace(tenant)]);
    ccm::named(tenant, "unauthorized", &["its Tenant was removed"]);

    manifest.make();
    ccm::hand_over(hub, tenant);
    ccm::hurry(tenant);
    ccm::connected(tenant);
    served_again(ns, None, || service_address(tenant, ns, "web"));
    let log = ccm::log(tenant).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(self::restarts(tenant), restarts);
    bystander.went_on();
}

/// UID of the CCM's pod and how often its container was restarted.
fn restarts(tenant: &Cluster) -> (Value, Value) {
    let pod = ccm::pod(tenant).unwrap();
    (
        pod["metadata"]["uid"].clone(),
        pod["status"]["containerStatuses"][0]["restartCount"].clone(),
    )
}

/// A namespace on the hub with an account that may do all that a CCM does, made by hand and without a Tenant.
const BY_HAND: &str = r"apiVersion: v1
kind: Namespace
metadata: {name: tenant-nobody}
---
apiVersion: v1
kind: ServiceAccount
metadata: {namespace: tenant-nobody, name: by-hand}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: tenant-nobody, name: by-hand}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, namespace: tenant-nobody, name: by-hand}]
";

struct ByHand<'a>(&'a Cluster);

impl Drop for ByHand<'_> {
    fn drop(&mut self) {
        let delete = [
            "delete",
            "namespace",
            "tenant-nobody",
            "--ignore-not-found",
            "--wait=false",
        ];
        tidy(|| drop(self.0.kubectl(&delete).unwrap()));
    }
}

#[test]
fn a_credential_for_a_namespace_without_a_tenant_is_named() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let served = Served::begin("nobody", tenant);
    let _by_hand = ByHand(hub);
    hub.apply(BY_HAND).unwrap();
    let token = hub
        .kubectl(&["create", "token", "-n", "tenant-nobody", "by-hand"])
        .unwrap();
    let restored = Restored { hub, tenant };
    let kubeconfig = with_token(&ccm::kubeconfig(tenant), token.trim());
    ccm::put(
        tenant,
        &kubeconfig.replace("namespace: tenant-b", "namespace: tenant-nobody"),
    );
    ccm::set_cluster_name(tenant, "nobody");
    ccm::named(tenant, "tenant_missing", &["tenant-nobody", "no such Tenant"]);
    let made = hub
        .kubectl(&[
            "get",
            "loadbalancers,routes.kubelb.k8c.io",
            "-n",
            "tenant-nobody",
            "-o",
            "name",
        ])
        .unwrap();
    assert_eq!(made, "", "nothing is written where there is no Tenant");
    drop(restored);
    served.went_on();
}
