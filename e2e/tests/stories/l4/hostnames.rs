//! A developer's Service has a host name: one below the hub's domain, or one of its own choice.

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::{seconds, until};
use serde_json::{Value, json};

use crate::gateway::tls::{Certificate, answered_securely};
use crate::support::{
    Scratch, answered, condition, gone, hub_namespace, lab, service_address, text, tidy, uid, warned,
};

/// A domain that no other story uses.
const DOMAIN: &str = "lb.hostnames.example";

/// A Tenant has these settings until this is dropped, also after a failed story.
struct Set<'a> {
    hub: &'a Cluster,
    tenant: &'a str,
    before: Value,
}

impl<'a> Set<'a> {
    fn to(hub: &'a Cluster, tenant: &'a Cluster, dns: &Value) -> Self {
        let spec = hub.get(&["tenant", tenant.name]).unwrap()["spec"].take();
        let before = json!({"dns": spec["dns"], "certificates": spec["certificates"]});
        let set = Self {
            hub,
            tenant: tenant.name,
            before,
        };
        set.patch(&json!({"dns": dns, "certificates": {"defaultClusterIssuer": "lab"}}));
        set
    }

    fn patch(&self, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.hub
            .kubectl(&["patch", "tenant", self.tenant, "--type=merge", "-p", &patch])
            .unwrap();
    }
}

impl Drop for Set<'_> {
    fn drop(&mut self) {
        tidy(|| self.patch(&self.before));
    }
}

fn annotate(tenant: &Cluster, [namespace, name]: [&str; 2], annotation: &str) {
    tenant
        .kubectl(&[
            "annotate",
            "--overwrite",
            "service",
            "-n",
            namespace,
            name,
            annotation,
        ])
        .unwrap();
}

/// Waits until a Service shows this name beside its address, or none.
#[track_caller]
fn shows(tenant: &Cluster, [namespace, name]: [&str; 2], hostname: Option<&str>) {
    until(
        format!(
            "Service {namespace}/{name} in {} to show {hostname:?}",
            tenant.name
        ),
        seconds(60),
        || {
            let service = tenant
                .get(&["service", "-n", namespace, name])
                .map_err(|e| e.to_string())?;
            let entry = &service["status"]["loadBalancer"]["ingress"][0];
            if entry["ip"].is_string() && entry["hostname"].as_str() == hostname {
                Ok(())
            } else {
                Err(service["status"].to_string())
            }
        },
    )
    .unwrap();
}

#[test]
fn a_service_shows_its_name_below_the_wildcard_domain_until_it_wants_none() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("l4-hostname", &[tenant]);
    let ns = &scratch.namespace;
    let _set = Set::to(
        &lab.hub,
        tenant,
        &json!({"wildcardDomain": format!("*.{DOMAIN}")}),
    );
    tenant
        .apply(&(echo::deployment(ns, "named", 1) + &echo::service(ns, "named", "LoadBalancer")))
        .unwrap();
    let address = service_address(tenant, ns, "named");
    shows(tenant, [ns, "named"], Some(&format!("named.{DOMAIN}")));
    let shown = tenant
        .kubectl(&["get", "service", "-n", ns, "named", "--no-headers"])
        .unwrap();
    assert!(shown.contains(&address), "kubectl shows the address: {shown}");
    answered(&format!("http://{address}/"), None);

    annotate(
        tenant,
        [ns, "named"],
        "kubelb.k8c.io/request-wildcard-domain=false",
    );
    shows(tenant, [ns, "named"], None);
    assert_eq!(service_address(tenant, ns, "named"), address, "the address stays");
    answered(&format!("http://{address}/"), None);
}

#[test]
fn a_host_name_that_another_tenant_has_is_refused_by_name_until_it_is_free() {
    let lab = lab();
    let (first, second) = (&lab.tenant_a, &lab.tenant_b);
    let scratch = Scratch::new("l4-own-name", &[first, second]);
    let ns = &scratch.namespace;
    let name = format!("shop.{DOMAIN}");
    let ask = format!("kubelb.k8c.io/hostname={name}");
    let explicit = json!({"allowExplicitHostnames": true});
    let _first = Set::to(&lab.hub, first, &explicit);
    for tenant in [first, second] {
        tenant.apply(&echo::service(ns, "web", "LoadBalancer")).unwrap();
        service_address(tenant, ns, "web");
    }
    annotate(first, [ns, "web"], &ask);
    shows(first, [ns, "web"], Some(&name));

    annotate(second, [ns, "web"], &ask);
    let words = format!("metadata.annotations[kubelb.k8c.io/hostname]: host name {name:?} is not used: ");
    let not_allowed = format!("{words}the tenant may not choose host names");
    warned(second, ns, "Service", "web", &not_allowed);
    let _second = Set::to(&lab.hub, second, &explicit);
    let taken = format!("{words}another load balancer has it");
    warned(second, ns, "Service", "web", &taken);
    shows(second, [ns, "web"], None);

    annotate(first, [ns, "web"], "kubelb.k8c.io/hostname-");
    shows(first, [ns, "web"], None);
    shows(second, [ns, "web"], Some(&name));
}

#[test]
fn https_is_served_at_the_host_name_when_its_certificate_is_there_and_goes_with_the_annotation() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("l4-https", &[tenant]);
    let ns = &scratch.namespace;
    let dns = json!({"wildcardDomain": DOMAIN, "useDNSAnnotations": true, "useCertificateAnnotations": true});
    let _set = Set::to(&lab.hub, tenant, &dns);
    tenant
        .apply(&(echo::deployment(ns, "secure", 1) + &echo::service(ns, "secure", "LoadBalancer")))
        .unwrap();
    let plain = service_address(tenant, ns, "secure");
    annotate(tenant, [ns, "secure"], "kubelb.k8c.io/manage-certificates=true");

    let (hub, hub_ns) = (&lab.hub, hub_namespace(tenant));
    let load_balancer = uid(tenant, &["service", "-n", ns, "secure"]);
    let gateway = gateway_of(hub, hub_ns, &load_balancer);
    let name = text(&gateway["metadata"]["name"]).unwrap();
    let issuer = &gateway["metadata"]["annotations"]["cert-manager.io/cluster-issuer"];
    assert_eq!(issuer, "lab");
    // No cert-manager runs here: the story does what it would do.
    let secret = text(&gateway["spec"]["listeners"][0]["tls"]["certificateRefs"][0]["name"]).unwrap();
    let host = format!("secure.{DOMAIN}");
    let certificate = Certificate::of(&lab.lab, &host);
    certificate.put_as(hub, hub_ns, &secret);
    let _issued = Issued { hub, hub_ns, secret };
    https_programmed(hub, hub_ns, &load_balancer);
    let gateway = hub.get(&["gateway", "-n", hub_ns, &name]).unwrap();
    let address = text(&gateway["status"]["addresses"][0]["value"]).unwrap();
    answered_securely(&lab.lab, &address, &host, &certificate);
    answered(&format!("http://{plain}/"), None);

    annotate(tenant, [ns, "secure"], "kubelb.k8c.io/manage-certificates-");
    for kind in ["gateway", "httproute"] {
        gone(
            hub,
            &[
                kind,
                "-n",
                hub_ns,
                "--field-selector",
                &format!("metadata.name={name}"),
            ],
        );
    }
    answered(&format!("http://{plain}/"), None);
}

/// What an issuer made is nobody's of ours, so the story removes it.
struct Issued<'a> {
    hub: &'a Cluster,
    hub_ns: &'a str,
    secret: String,
}

impl Drop for Issued<'_> {
    fn drop(&mut self) {
        tidy(|| {
            let arguments = [
                "delete",
                "secret",
                "-n",
                self.hub_ns,
                &self.secret,
                "--ignore-not-found",
            ];
            self.hub.kubectl(&arguments).unwrap();
        });
    }
}

/// Waits for the hub Gateway that a LoadBalancer owns.
#[track_caller]
fn gateway_of(hub: &Cluster, namespace: &str, load_balancer: &str) -> Value {
    until(
        format!("a Gateway of LoadBalancer {load_balancer}"),
        seconds(60),
        || {
            let all = hub
                .list(&["gateways", "-n", namespace])
                .map_err(|e| e.to_string())?;
            let owned = |gateway: &&Value| gateway["metadata"]["ownerReferences"][0]["name"] == load_balancer;
            let names: Vec<_> = all.iter().map(|gateway| &gateway["metadata"]["name"]).collect();
            all.iter()
                .find(owned)
                .cloned()
                .ok_or_else(|| format!("{names:?}"))
        },
    )
    .unwrap()
}

/// Waits until the hub says that HTTPS is served.
#[track_caller]
fn https_programmed(hub: &Cluster, namespace: &str, load_balancer: &str) {
    until("HTTPS to be programmed", seconds(90), || {
        let found = hub
            .get(&["loadbalancer", "-n", namespace, load_balancer])
            .map_err(|e| e.to_string())?;
        let programmed = condition(&found["status"]["conditions"], "HTTPSProgrammed");
        if programmed["status"] == "True" && found["status"]["hostname"]["tlsEnabled"] == true {
            Ok(())
        } else {
            Err(found["status"].to_string())
        }
    })
    .unwrap();
}
