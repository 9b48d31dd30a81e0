//! A platform team gives each LoadBalancer Envoys of its own, and takes them back, while clients are connected.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::held::Held;
use e2e::traffic::Stream;
use e2e::wait::{seconds, until};
use e2e::{echo, product};
use serde_json::{Value, json};

use crate::support::served::Served;
use crate::support::{
    Scratch, answered, gone, hub_namespace, lab, more_requests, service_address, text, tidy, uid,
};

/// The topology of a tenant; at the end of the story, also of a failed one, it is the hub's again.
struct Topology<'a> {
    hub: &'a Cluster,
    tenant: &'a Cluster,
}

impl Topology<'_> {
    fn set(&self, topology: &Value) {
        let patch = json!({"spec": {"envoyProxy": {"topology": topology}}}).to_string();
        let arguments = ["patch", "tenant", self.tenant.name, "--type=merge", "-p", &patch];
        self.hub.kubectl(&arguments).unwrap();
    }
}

impl Drop for Topology<'_> {
    fn drop(&mut self) {
        tidy(|| self.set(&Value::Null));
    }
}

/// What the hub holds for the story's Service.
struct OnHub<'a> {
    hub: &'a Cluster,
    namespace: &'static str,
    load_balancer: String,
}

impl OnHub<'_> {
    fn service(&self) -> Result<Value, String> {
        let label = format!("kubelb.k8c.io/lb-name={}", self.load_balancer);
        let mut found = self
            .hub
            .list(&["services", "-n", self.namespace, "-l", &label])
            .map_err(|e| e.to_string())?;
        found.pop().ok_or_else(|| "no hub Service".to_owned())
    }

    /// The Deployment whose Envoys the hub Service selects.
    fn serving(&self) -> Result<String, String> {
        let selector = &self.service()?["spec"]["selector"];
        let own = text(&selector["kubelb.k8c.io/fleet"]);
        Ok(own.unwrap_or_else(|| "envoy".to_owned()))
    }

    /// Waits until it is served in this topology, and names the Deployment.
    #[track_caller]
    fn moved_to(&self, topology: &str) -> String {
        until(format!("a {topology} fleet to serve it"), seconds(120), || {
            let serving = self.serving()?;
            if (serving == "envoy") == (topology == "shared") {
                Ok(serving)
            } else {
                Err(serving)
            }
        })
        .unwrap()
    }

    /// Waits until the fleet that served it before has let it go.
    #[track_caller]
    fn let_go(&self) {
        const UNTIL: &str = "kubelb.k8c.io/former-fleet-until";
        until("the time of the former fleet to be over", seconds(120), || {
            let service = self.service()?;
            match text(&service["metadata"]["annotations"][UNTIL]) {
                None => Ok(()),
                Some(time) => Err(time),
            }
        })
        .unwrap();
    }

    fn ports(&self) -> Value {
        self.service().unwrap()["spec"]["ports"].clone()
    }
}

#[test]
fn load_balancers_move_to_envoys_of_their_own_and_back_without_a_lost_connection() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_b, &lab.hub);
    let served = Served::begin("l4-topologies", tenant);
    let (ns, address) = (served.namespace.clone(), served.address.clone());
    let on_hub = OnHub {
        hub,
        namespace: hub_namespace(tenant),
        load_balancer: uid(tenant, &["service", "-n", &ns, "web"]),
    };
    let before = on_hub.service().unwrap();
    let topology = Topology { hub, tenant };

    let mut last = String::new();
    for wanted in ["dedicated", "shared"] {
        let held = Held::open(&address, 80, "web.example.com").unwrap();
        topology.set(&wanted.into());
        let fleet = on_hub.moved_to(wanted);
        assert_ne!(fleet, last, "other Envoys than before");
        last = fleet;
        // A Service made meanwhile begins where it shall stay.
        served.is_open_for_more(&format!("made-{wanted}"));
        // The connection from before goes on at the Envoys that it was opened to, until their time is over.
        let answers = held.end().unwrap();
        assert!(answers > 0);
        on_hub.let_go();
        assert_eq!(service_address(tenant, &ns, "web"), address, "the address stays");
    }

    // It is the same Service, and so the same address, with the same ports of Envoy.
    let after = on_hub.service().unwrap();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(on_hub.ports(), before["spec"]["ports"]);
    served.went_on();
}

#[test]
fn a_fleet_of_ones_own_goes_with_its_service() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_b, &lab.hub);
    let topology = Topology { hub, tenant };
    let served = Served::begin("l4-own-fleet", tenant);
    topology.set(&"dedicated".into());
    served.is_open_for_more("own");
    let on_hub = OnHub {
        hub,
        namespace: hub_namespace(tenant),
        load_balancer: uid(tenant, &["service", "-n", &served.namespace, "own"]),
    };
    let fleet = on_hub.moved_to("dedicated");
    tenant
        .kubectl(&[
            "delete",
            "service",
            "-n",
            &served.namespace,
            "own",
            "--timeout=30s",
        ])
        .unwrap();
    let label = format!("kubelb.k8c.io/fleet={fleet}");
    let made = "deployments,configmaps,secrets,serviceaccounts,pods";
    until("nothing of the fleet to be left", seconds(180), || {
        let left = hub
            .kubectl(&[
                "get",
                made,
                "-n",
                hub_namespace(tenant),
                "-l",
                &label,
                "-o",
                "name",
            ])
            .map_err(|e| e.to_string())?;
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    })
    .unwrap();
    served.went_on();
}

/// Waits until the Service has another address than this.
#[track_caller]
fn another_address(tenant: &Cluster, namespace: &str, than: &str) -> String {
    until(format!("another address than {than}"), seconds(120), || {
        let service = tenant
            .get(&["service", "-n", namespace, "web"])
            .map_err(|e| e.to_string())?;
        let address = text(&service["status"]["loadBalancer"]["ingress"][0]["ip"]);
        address
            .filter(|address| address != than)
            .ok_or_else(|| service["status"].to_string())
    })
    .unwrap()
}

fn requests(address: &str) -> Stream {
    let url = format!("http://{address}/");
    Stream::begin(url, None, Duration::from_millis(20), seconds(300))
}

#[test]
fn to_the_fleet_of_all_tenants_and_back_both_addresses_serve_for_a_while() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_b, &lab.hub);
    let topology = Topology { hub, tenant };
    let scratch = Scratch::new("l4-global", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    let mut address = service_address(tenant, ns, "web");
    answered(&format!("http://{address}/"), None);
    let load_balancer = uid(tenant, &["service", "-n", ns, "web"]);
    let label = format!("kubelb.k8c.io/lb-name={load_balancer}");
    let namespaces = [hub_namespace(tenant), product::NAMESPACE];

    for (wanted, old, new) in [("global", 0, 1), ("shared", 1, 0)] {
        let (stream, held) = (
            requests(&address),
            Held::open(&address, 80, "web.example.com").unwrap(),
        );
        topology.set(&wanted.into());
        let other = another_address(tenant, ns, &address);
        answered(&format!("http://{other}/"), None);
        let others = requests(&other);
        more_requests(&stream, 100, "at the old address");
        more_requests(&others, 100, "at the new address");
        assert!(held.end().unwrap() > 0);
        // Both serve until here; then the old one goes.
        for (what, stream) in [("old", stream), ("new", others)] {
            let report = stream.end();
            assert_eq!(report.failures, Vec::<String>::new(), "at the {what} address");
        }
        let there = hub
            .list(&["services", "-n", namespaces[new], "-l", &label])
            .unwrap();
        assert_eq!(there.len(), 1);
        gone(hub, &["services", "-n", namespaces[old], "-l", &label]);
        address = other;
    }
}
