//! What a failed story's namespace looks like: printed with the failure, because the lab is often gone when
//! somebody reads it. Asks only; changes nothing, and never fails itself.

use std::fmt::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use serde_json::Value;

use super::{hub_namespace, lab};

/// Longest wait for one connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// More of one answer than this is left out.
const MOST_LINES: usize = 25;

/// Prints the objects of `namespace` in `cluster`, its tenant's on the hub, and which NodePorts answer.
pub fn print(cluster: &Cluster, namespace: &str) {
    let hub = lab().hub;
    let mut text = format!("\nwhat {} has in {namespace}:\n", cluster.name);
    text += &answer(
        cluster,
        &[
            "get",
            "pods,services,endpointslices",
            "-n",
            namespace,
            "-o",
            "wide",
        ],
    );
    text += &answer(cluster, &["get", "nodes", "-o", "wide"]);
    text += &answer(
        cluster,
        &["get", "events", "-n", namespace, "--sort-by=.lastTimestamp"],
    );
    text += &node_ports(cluster, namespace);
    if cluster.name != hub.name {
        let tenant = hub_namespace(cluster);
        let _ = writeln!(text, "what the hub has in {tenant}:");
        text += &answer(&hub, &["get", "pods,services", "-n", tenant, "-o", "wide"]);
        text += &answer(
            &hub,
            &["get", "loadbalancers,routes,httproutes,gateways", "-n", tenant],
        );
    }
    println!("{text}");
}

fn answer(cluster: &Cluster, arguments: &[&str]) -> String {
    let found = cluster
        .kubectl(arguments)
        .unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = found.lines().collect();
    let newest = lines.len().saturating_sub(MOST_LINES);
    lines[newest..].iter().map(|line| format!("  {line}\n")).collect()
}

/// Which node answers on which NodePort, and how soon.
fn node_ports(cluster: &Cluster, namespace: &str) -> String {
    let services = cluster.list(&["services", "-n", namespace]).unwrap_or_default();
    let nodes = cluster.list(&["nodes"]).unwrap_or_default();
    let mut text = String::new();
    for service in &services {
        for port in service["spec"]["ports"].as_array().into_iter().flatten() {
            let (Some(number), "TCP") = (
                port["nodePort"].as_u64(),
                port["protocol"].as_str().unwrap_or("TCP"),
            ) else {
                continue;
            };
            for address in nodes.iter().filter_map(internal_address) {
                let _ = writeln!(
                    text,
                    "  connect {address}:{number}: {}",
                    connect(&address, number)
                );
            }
        }
    }
    text
}

/// Where a node is reached inside its network.
pub fn internal_address(node: &Value) -> Option<String> {
    let addresses = node["status"]["addresses"].as_array()?;
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP")?;
    internal["address"].as_str().map(str::to_owned)
}

fn connect(address: &str, port: u64) -> String {
    let Ok(target) = format!("{address}:{port}").parse::<SocketAddr>() else {
        return "not an address".to_owned();
    };
    let begin = Instant::now();
    match TcpStream::connect_timeout(&target, CONNECT_LIMIT) {
        Ok(_) => format!("after {} ms", begin.elapsed().as_millis()),
        Err(error) => error.to_string(),
    }
}
