//! What Envoys say of their listeners. Ours and Envoy Gateway's show their statistics at the same port.

use std::collections::BTreeMap;

use e2e::cluster::Cluster;
use e2e::wait::{seconds, until};
use serde_json::Value;

use super::{hub_namespace, lab, page, text};

/// Label that tells Envoys of a tenant's shared fleet from those of one LoadBalancer.
pub const COMPONENT: &str = "kubelb.k8c.io/component";
/// Its value for the former.
pub const SHARED: &str = "envoy";
const STATISTICS_PORT: u16 = 19001;
/// What Envoy counts when a listener is taken from under its connections.
const LOSSES: [&str; 4] = [
    "listener_removed",
    "listener_modified",
    "listener_in_place_updated",
    "listener_stopped",
];
/// What is not zero while connections of a listener are being closed.
const DRAINING: [&str; 2] = ["total_listeners_draining", "total_filter_chains_draining"];

/// Whose Envoys.
pub enum Fleet<'a> {
    /// The shared ones of all LoadBalancers of a tenant; the story's own are in this namespace of the tenant.
    LoadBalancers(&'a Cluster, &'a str),
    /// Those of a Gateway of a tenant, by namespace and name in the tenant.
    Gateway(&'a Cluster, &'a str, &'a str),
}

/// Losses of each Envoy, by its name and how often it was started.
pub type Losses = BTreeMap<String, BTreeMap<&'static str, u64>>;

/// Waits until no listener of the fleet is draining and nothing is left of what earlier stories made, and gives
/// what was lost until then.
#[track_caller]
pub fn settled(fleet: &Fleet<'_>) -> Losses {
    until("Envoys without a listener that is draining", seconds(180), || {
        if let Fleet::LoadBalancers(tenant, namespace) = fleet {
            nothing_of_others(fleet, tenant, namespace)?;
        }
        let draining = sum(fleet, &DRAINING)?;
        if draining == 0 {
            losses(fleet)
        } else {
            Err(format!("{draining} are draining"))
        }
    })
    .unwrap()
}

/// Since `before`, no Envoy was started, and none removed, replaced or drained a listener.
#[track_caller]
pub fn lost_nothing(fleet: &Fleet<'_>, before: &Losses) {
    assert_eq!(losses(fleet).as_ref(), Ok(before), "listeners were taken away");
    assert_eq!(sum(fleet, &DRAINING), Ok(0), "listeners are draining");
}

/// No other story's LoadBalancers are there, and every Envoy has a listener for each port of those that are, and its own.
fn nothing_of_others(fleet: &Fleet<'_>, tenant: &Cluster, own: &str) -> Result<(), String> {
    let balancers = lab()
        .hub
        .list(&["loadbalancers", "-n", hub_namespace(tenant)])
        .map_err(|e| e.to_string())?;
    let namespaces = balancers
        .iter()
        .filter_map(|balancer| text(&balancer["metadata"]["annotations"]["kubelb.k8c.io/origin-ns"]));
    if let Some(other) = namespaces
        .into_iter()
        .find(|ns| ns.starts_with("e2e-") && ns != own)
    {
        return Err(format!("a LoadBalancer of {other} is still there"));
    }
    let ports = |balancer: &Value| balancer["spec"]["ports"].as_array().map_or(0, Vec::len);
    let wanted = 1 + balancers.iter().map(ports).sum::<usize>();
    for (envoy, statistics) in statistics(fleet)? {
        let active = value(&statistics, "total_listeners_active")?;
        if usize::try_from(active) != Ok(wanted) {
            return Err(format!("{envoy}: {active} listeners, not {wanted}"));
        }
    }
    Ok(())
}

fn losses(fleet: &Fleet<'_>) -> Result<Losses, String> {
    let of_one = |(envoy, statistics): (String, String)| {
        let counted = LOSSES.map(|name| Ok::<_, String>((name, value(&statistics, name)?)));
        Ok((envoy, counted.into_iter().collect::<Result<_, _>>()?))
    };
    statistics(fleet)?.into_iter().map(of_one).collect()
}

fn sum(fleet: &Fleet<'_>, names: &[&str]) -> Result<u64, String> {
    let mut sum = 0;
    for (_, statistics) in statistics(fleet)? {
        for name in names {
            sum += value(&statistics, name)?;
        }
    }
    Ok(sum)
}

fn value(statistics: &str, name: &str) -> Result<u64, String> {
    let prefix = format!("envoy_listener_manager_{name}{{");
    let line = statistics.lines().find(|line| line.starts_with(&prefix));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.ok_or_else(|| format!("no {name} in the statistics"))
}

/// The statistics of each Envoy.
fn statistics(fleet: &Fleet<'_>) -> Result<BTreeMap<String, String>, String> {
    let pods = match fleet {
        Fleet::LoadBalancers(tenant, _) => of_load_balancers(tenant)?,
        Fleet::Gateway(tenant, namespace, name) => of_gateway(tenant, namespace, name)?,
    };
    if pods.is_empty() {
        return Err("no Envoy".to_owned());
    }
    let ask = |pod: &Value| {
        let name = text(&pod["metadata"]["name"]).ok_or("a pod without a name")?;
        let page = page(&lab().hub, pod, STATISTICS_PORT, "/stats/prometheus")?;
        Ok((format!("{name}, started {} times", starts(pod)), page))
    };
    pods.iter().map(ask).collect()
}

fn starts(pod: &Value) -> u64 {
    let containers = pod["status"]["containerStatuses"].as_array();
    let restarts = containers
        .into_iter()
        .flatten()
        .map(|c| c["restartCount"].as_u64());
    1 + restarts.flatten().sum::<u64>()
}

/// The pods of the Envoys of all LoadBalancers of a tenant.
pub fn of_load_balancers(tenant: &Cluster) -> Result<Vec<Value>, String> {
    let pods = lab()
        .hub
        .list(&["pods", "-n", hub_namespace(tenant)])
        .map_err(|e| e.to_string())?;
    let is_ours = |pod: &Value| pod["metadata"]["labels"][COMPONENT] == SHARED;
    Ok(pods.into_iter().filter(is_ours).collect())
}

fn of_gateway(tenant: &Cluster, namespace: &str, name: &str) -> Result<Vec<Value>, String> {
    let hub = lab().hub;
    let gateways = hub
        .list(&["gateways.gateway.networking.k8s.io", "-n", hub_namespace(tenant)])
        .map_err(|e| e.to_string())?;
    let is_it = |gateway: &&Value| {
        let annotations = &gateway["metadata"]["annotations"];
        annotations["kubelb.k8c.io/origin-ns"] == namespace
            && annotations["kubelb.k8c.io/origin-name"] == name
    };
    let found = gateways.iter().find(is_it).ok_or("no such Gateway on the hub")?;
    let name = text(&found["metadata"]["name"]).unwrap_or_default();
    let label = format!("gateway.envoyproxy.io/owning-gateway-name={name}");
    hub.list(&["pods", "-n", hub_namespace(tenant), "-l", &label])
        .map_err(|e| e.to_string())
}
