//! A platform team bounds a tenant by a ResourceQuota, and annotations pass only by an allow-list.

use e2e::echo;
use e2e::wait::{seconds, until};

use crate::support::{Scratch, hub_namespace, lab, service_address, uid, warned};

/// Removes the quota also when the story fails: other stories need the tenant.
struct Quota<'a>(&'a e2e::cluster::Cluster, &'static str);

impl Drop for Quota<'_> {
    fn drop(&mut self) {
        self.0
            .kubectl(&[
                "delete",
                "resourcequota",
                "-n",
                self.1,
                "e2e",
                "--ignore-not-found",
            ])
            .unwrap();
    }
}

#[test]
fn a_quota_on_the_hub_is_told_on_the_tenants_object_and_lifted_by_itself() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_b, &lab.hub);
    let scratch = Scratch::new("quota", &[tenant]);
    let (ns, hub_ns) = (&scratch.namespace, hub_namespace(tenant));
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    let served = service_address(tenant, ns, "web");
    let used = hub.list(&["loadbalancers", "-n", hub_ns]).unwrap().len();
    let quota = Quota(hub, hub_ns);
    hub.apply(&format!(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{namespace: {hub_ns}, name: e2e}}\nspec: {{hard: {{count/loadbalancers.kubelb.k8c.io: \"{used}\"}}}}\n"
    ))
    .unwrap();
    until("the quota to count", seconds(30), || {
        let found = hub
            .get(&["resourcequota", "-n", hub_ns, "e2e"])
            .map_err(|e| e.to_string())?;
        let counted =
            found["status"]["used"]["count/loadbalancers.kubelb.k8c.io"].as_str() == Some(&used.to_string());
        if counted {
            Ok(())
        } else {
            Err(found["status"].to_string())
        }
    })
    .unwrap();

    tenant
        .apply(&echo::service(ns, "more", "LoadBalancer").replace("app: more", "app: web"))
        .unwrap();
    warned(tenant, ns, "Service", "more", "exceeded quota");
    assert_eq!(
        service_address(tenant, ns, "web"),
        served,
        "what was served stays served"
    );
    drop(quota);
    service_address(tenant, ns, "more");
}

#[test]
fn an_annotation_outside_the_allow_list_does_not_reach_the_hub() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_b, &lab.hub);
    let scratch = Scratch::new("annotations", &[tenant]);
    let (ns, hub_ns) = (&scratch.namespace, hub_namespace(tenant));
    let service = echo::service(ns, "web", "LoadBalancer").replace(
        "name: web}",
        "name: web, annotations: {example.com/secret: hidden, metallb.io/address-pool: other}}",
    );
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &service))
        .unwrap();
    service_address(tenant, ns, "web");
    let name = uid(tenant, &["service", "-n", ns, "web"]);
    let label = format!("kubelb.k8c.io/lb-name={name}");
    let services = hub.list(&["services", "-n", hub_ns, "-l", &label]).unwrap();
    assert_eq!(services.len(), 1);
    let annotations = services[0]["metadata"]["annotations"].to_string();
    assert!(
        !annotations.contains("example.com/secret") && !annotations.contains("metallb.io"),
        "{annotations}"
    );
}
