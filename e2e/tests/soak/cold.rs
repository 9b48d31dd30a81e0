//! The manager starts with nothing in memory over 5,000 LoadBalancers, or as many as `KUBELB_SOAK_LOAD_BALANCERS` says,
//! while one of them is used.

use e2e::cluster::Cluster;
use e2e::held::Held;
use e2e::wait::{seconds, until};
use serde_json::{Value, json};

use crate::support::envoys::{self, Fleet};
use crate::support::no_manager::NoManager;
use crate::support::served::Served;
use crate::support::{condition, hub_namespace, lab, node_port, tidy};

const COUNT: usize = 5_000;
/// Written with one command.
const AT_ONCE: usize = 250;
const LABEL: &str = "e2e-cold=yes";

/// LoadBalancers by hand, removed at the end.
struct Many<'a> {
    hub: &'a Cluster,
    namespace: &'static str,
}

impl<'a> Many<'a> {
    #[track_caller]
    fn make(hub: &'a Cluster, namespace: &'static str, count: usize, node_port: u64) -> Self {
        let many = Self { hub, namespace };
        let numbers: Vec<usize> = (0..count).collect();
        for numbers in numbers.chunks(AT_ONCE) {
            let items: Vec<Value> = numbers.iter().map(|n| many.one(*n, node_port)).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            hub.apply(&list.to_string()).unwrap();
        }
        many
    }

    /// Its address is inside the hub: a lab has not so many outside.
    fn one(&self, number: usize, node_port: u64) -> Value {
        json!({"apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "LoadBalancer",
            "metadata": {"namespace": self.namespace, "name": format!("cold-{number:05}"),
                "labels": {"e2e-cold": "yes"}},
            "spec": {"type": "ClusterIP", "ports": [{"port": 80}],
                "endpoints": [{"addressesReference": {"name": "default"}, "ports": [{"port": node_port}]}]}})
    }

    #[track_caller]
    fn programmed(&self, count: usize) {
        until(
            format!("{count} LoadBalancers to be programmed"),
            seconds(3600),
            || {
                let all = self
                    .hub
                    .list(&["loadbalancers", "-n", self.namespace, "-l", LABEL])
                    .map_err(|e| e.to_string())?;
                let programmed =
                    |lb: &&Value| condition(&lb["status"]["conditions"], "Programmed")["status"] == "True";
                match all.iter().filter(programmed).count() {
                    found if found == count => Ok(()),
                    found => Err(format!("{found}")),
                }
            },
        )
        .unwrap();
    }
}

impl Drop for Many<'_> {
    fn drop(&mut self) {
        tidy(|| {
            let all = [
                "delete",
                "loadbalancers",
                "-n",
                self.namespace,
                "-l",
                LABEL,
                "--wait=false",
            ];
            self.hub.kubectl(&all).unwrap();
        });
    }
}

#[test]
fn managers_that_start_over_thousands_of_load_balancers_take_no_listener_away() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let told = std::env::var("KUBELB_SOAK_LOAD_BALANCERS").ok();
    let count = told.map_or(COUNT, |text| text.parse().unwrap());
    let served = Served::begin("cold", tenant);
    let node_port = node_port::of(tenant, &served.namespace, "web");
    let many = Many::make(hub, hub_namespace(tenant), count, node_port);
    many.programmed(count);
    let fleet = Fleet::LoadBalancers(tenant, &served.namespace);
    let before = envoys::settled(&fleet);
    let held = Held::open(&served.address, 80, "cold.example.com").unwrap();

    let away = NoManager::begin(&lab.lab, hub);
    away.still();
    away.end();
    // They are at work again, and have told the Envoys of something new.
    served.is_open_for_more("after");
    many.programmed(count);
    envoys::lost_nothing(&fleet, &before);
    assert!(held.end().unwrap() > 0);
    drop(many);
    served.went_on();
}
