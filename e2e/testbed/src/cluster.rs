//! A kind cluster of the lab: made with literal kind, given a network for its pods, repaired or made again when broken.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Doing, Result, json as parse, malformed};
use crate::host::Host;
use crate::progress::{Progress, eventually};
use crate::site::Site;
use crate::state::Cluster;

/// Where kind's pods live; kind's defaults, the same in every cluster, as tenants' networks do overlap.
const POD_SUBNET: &str = "10.244.0.0/16";
const IPV6_POD_SUBNET: &str = "fd00:10:244::/56";
const AUDIT_POLICY: &str = include_str!("../assets/audit-policy.yaml");
/// Pods that start before kube-proxy has its rules would try the API server's address in vain for half a minute.
const AWAIT_PROXY: &str = "tries=0\n\
    until iptables -w -t nat -S KUBE-SERVICES 2>/dev/null | grep -q default/kubernetes:https; do\n\
    tries=$((tries + 1)); [ $tries -lt 300 ] || { echo 'kube-proxy writes no rules'; exit 1; }; sleep 0.2\n\
    done\n";
/// Where a node keeps the API server's audit log.
pub const AUDIT_LOG: &str = "/var/log/kubernetes/audit/audit.log";

/// How clusters of this lab are made.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The node image, or none for kind's published one with its own pod network.
    pub image: NodeImage,
    /// The machine, for its peculiarities.
    pub host: Host,
}

/// Which image nodes run.
#[derive(Clone, Debug)]
pub enum NodeImage {
    /// Ours: it has no pod network of its own.
    Built(String),
    /// kind's published one.
    Published(String),
}

impl NodeImage {
    fn name(&self) -> &str {
        match self {
            Self::Built(name) | Self::Published(name) => name,
        }
    }
}

/// What a cluster is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many nodes.
    pub size: usize,
    /// IPv6 beside IPv4.
    pub dual_stack: bool,
}

/// Makes the cluster unless it stands in this shape.
pub fn ensure(
    site: &Site,
    progress: &Progress,
    recipe: &Recipe,
    name: &str,
    shape: Shape,
    known: Option<&Cluster>,
) -> Result<Cluster> {
    let Shape { size, dual_stack } = shape;
    if let Some(known) = known.filter(|k| k.size == size && k.dual_stack == dual_stack)
        && revive(site, progress, name, known)
    {
        if known.image != recipe.image.name() {
            progress.say(format!(
                "cluster {name} was made with another node image: `lab down` and `lab up` renew it"
            ));
        }
        let (nodes, ipv6_nodes) = addresses(site, name, dual_stack)?;
        return Ok(Cluster {
            nodes,
            ipv6_nodes,
            ..known.clone()
        });
    }
    delete(site, name)?;
    progress.stage(&format!("creating cluster {name} ({size} nodes)"), || {
        create(site, recipe, name, shape)
    })?;
    let (nodes, ipv6_nodes) = addresses(site, name, dual_stack)?;
    Ok(Cluster {
        size,
        image: recipe.image.name().to_owned(),
        nodes,
        dual_stack,
        ipv6_nodes,
        installed: BTreeMap::new(),
    })
}

type Addresses = BTreeMap<String, String>;

/// The addresses of the running nodes, and those of the other family if the cluster has it.
fn addresses(site: &Site, name: &str, dual_stack: bool) -> Result<(Addresses, Addresses)> {
    let ipv6 = match dual_stack {
        true => nodes(site, name, IPV6_ADDRESS)?,
        false => Addresses::new(),
    };
    Ok((nodes(site, name, IPV4_ADDRESS)?, ipv6))
}

/// Whether a known cluster serves, started again where its nodes were stopped.
fn revive(site: &Site, progress: &Progress, name: &str, known: &Cluster) -> bool {
    let running = nodes(site, name, IPV4_ADDRESS).unwrap_or_default();
    if !known.nodes.keys().all(|node| running.contains_key(node)) {
        progress.say(format!("cluster {name} has stopped nodes: starting them"));
        if !site.docker().arg("start").args(known.nodes.keys()).succeeds() {
            return false;
        }
    }
    let ready = || {
        site.kubectl(name)
            .args(["get", "--raw", "/readyz"])
            .output()
            .map(drop)
            .map_err(|e| e.to_string())
    };
    eventually(
        "the API server",
        Duration::from_secs(60),
        Duration::from_millis(500),
        ready,
    )
    .is_ok()
}

fn create(site: &Site, recipe: &Recipe, name: &str, shape: Shape) -> Result<()> {
    let config = configuration(site, recipe, name, shape)?;
    let file = site.dir().file(&format!("{name}.kind.json"));
    fs::write(&file, config.to_string()).on("writing", &file)?;
    site.run("kind")
        .args([
            "create",
            "cluster",
            "--retain",
            "--name",
            &site.kind_name(name),
            "--image",
            recipe.image.name(),
            "--config",
        ])
        .arg(&file)
        .arg("--kubeconfig")
        .arg(site.dir().kubeconfig(name))
        .log(site.dir().logs().join(format!("{name}.kind.log")))
        .limit(Duration::from_secs(600))
        .run()
}

/// Deletes the cluster, whatever state it is in.
pub fn delete(site: &Site, name: &str) -> Result<()> {
    let kubeconfig = site.dir().kubeconfig(name);
    site.run("kind")
        .args([
            "delete",
            "cluster",
            "--name",
            &site.kind_name(name),
            "--kubeconfig",
        ])
        .arg(kubeconfig)
        .run()
}

/// Docker's names for a container's addresses in a network.
const IPV4_ADDRESS: &str = "IPAddress";
const IPV6_ADDRESS: &str = "GlobalIPv6Address";

/// The running nodes of a cluster, with their addresses of a family.
fn nodes(site: &Site, name: &str, field: &str) -> Result<Addresses> {
    let list = site
        .docker()
        .args([
            "ps",
            "--filter",
            &site.nodes_filter(name),
            "--format",
            "{{.Names}}",
        ])
        .output()?;
    let network = site.network();
    list.lines()
        .map(|node| {
            let format = format!("{{{{(index .NetworkSettings.Networks {network:?}).{field}}}}}");
            let address = site
                .docker()
                .args(["inspect", "--format", &format, node])
                .output()?;
            Ok((node.to_owned(), address.trim().to_owned()))
        })
        .collect()
}

fn configuration(site: &Site, recipe: &Recipe, name: &str, shape: Shape) -> Result<Value> {
    let Shape { size, dual_stack } = shape;
    let policy = audit_policy(site)?;
    let mut nodes = vec![json!({
        "role": "control-plane",
        "extraMounts": [{"hostPath": policy, "containerPath": "/etc/kubernetes/audit/policy.yaml", "readOnly": true}],
    })];
    nodes.extend((1..size).map(|_| json!({"role": "worker"})));
    Ok(json!({
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": site.kind_name(name),
        "networking": {
            "apiServerAddress": "127.0.0.1",
            "ipFamily": if dual_stack { "dual" } else { "ipv4" },
            "podSubnet": if dual_stack { format!("{POD_SUBNET},{IPV6_POD_SUBNET}") } else { POD_SUBNET.to_owned() },
            "disableDefaultCNI": matches!(recipe.image, NodeImage::Built(_)),
        },
        "kubeadmConfigPatches": kubeadm_patches(&recipe.host).iter().map(Value::to_string).collect::<Vec<_>>(),
        "kubeadmConfigPatchesJSON6902": [{
            "group": "kubeadm.k8s.io", "version": "v1beta4", "kind": "ClusterConfiguration",
            "patch": audit_patch().to_string(),
        }],
        "nodes": nodes,
    }))
}

fn audit_policy(site: &Site) -> Result<PathBuf> {
    let file = site.dir().file("audit-policy.yaml");
    fs::write(&file, AUDIT_POLICY).on("writing", &file)?;
    Ok(file)
}

/// Longer patience for small machines; cgroup v1 only where that is what there is. No cluster of a lab outlives the
/// machine, so that none of them waits for the disk: three share one here, and each write of an object would wait.
fn kubeadm_patches(host: &Host) -> Vec<Value> {
    let timeouts = json!({"kubernetesAPICall": "5m0s", "controlPlaneComponentHealthCheck": "5m0s", "etcdAPICall": "3m0s", "tlsBootstrap": "5m0s"});
    let mut kubelet = json!({"kind": "KubeletConfiguration", "maxPods": 250});
    if !host.cgroup_v2 {
        kubelet["failCgroupV1"] = json!(false);
    }
    vec![
        kubelet,
        json!({"kind": "ClusterConfiguration", "etcd": {"local": {"extraArgs": [{"name": "unsafe-no-fsync", "value": "true"}]}}}),
        json!({"kind": "InitConfiguration", "timeouts": timeouts}),
        json!({"kind": "JoinConfiguration", "timeouts": timeouts}),
    ]
}

/// The API server writes down who changed what.
fn audit_patch() -> Value {
    let arg = |name: &str, value: &str| json!({"op": "add", "path": "/apiServer/extraArgs/-", "value": {"name": name, "value": value}});
    let volume = |name: &str, path: &str, read_only: bool, kind: &str| json!({"name": name, "hostPath": path, "mountPath": path, "readOnly": read_only, "pathType": kind});
    json!([
        arg("audit-policy-file", "/etc/kubernetes/audit/policy.yaml"),
        arg("audit-log-path", AUDIT_LOG),
        arg("audit-log-maxsize", "200"),
        arg("audit-log-maxbackup", "2"),
        {"op": "add", "path": "/apiServer/extraVolumes", "value": [
            volume("audit-policy", "/etc/kubernetes/audit", true, "Directory"),
            volume("audit-log", "/var/log/kubernetes/audit", false, "DirectoryOrCreate"),
        ]},
    ])
}

/// Gives every node its part of the pod network, routes to the other parts, and makes every node schedulable.
pub fn connect(site: &Site, recipe: &Recipe, name: &str, cluster: &Cluster) -> Result<()> {
    if let NodeImage::Built(_) = recipe.image {
        let subnets = pod_subnets(site, name, cluster)?;
        for (node, own) in &subnets {
            let others = subnets.iter().filter(|(other, _)| *other != node);
            let routes: Vec<_> = others
                .flat_map(|(other, subnets)| routes_to(cluster, other, subnets))
                .collect();
            site.in_node(node, &pod_network_script(own, &routes)).run()?;
        }
    }
    // The taint is absent on single nodes and on a second run.
    let _ = site
        .kubectl(name)
        .args([
            "taint",
            "nodes",
            "--all",
            "node-role.kubernetes.io/control-plane-",
        ])
        .run();
    Ok(())
}

/// A node's part of the pod network.
#[derive(Debug, PartialEq, Eq)]
struct PodSubnets {
    ipv4: String,
    ipv6: Option<String>,
}

/// Subnets and the addresses by which they are reached.
fn routes_to<'a>(
    cluster: &'a Cluster,
    node: &str,
    subnets: &'a PodSubnets,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let PodSubnets { ipv4, ipv6 } = subnets;
    let ipv4 = Some(ipv4.as_str()).zip(cluster.nodes.get(node));
    let ipv6 = ipv6.as_deref().zip(cluster.ipv6_nodes.get(node));
    [ipv4, ipv6]
        .into_iter()
        .flatten()
        .map(|(subnet, via)| (subnet, via.as_str()))
}

fn pod_subnets(site: &Site, name: &str, cluster: &Cluster) -> Result<BTreeMap<String, PodSubnets>> {
    let look = || {
        let text = site
            .kubectl(name)
            .args(["get", "nodes", "-o", "json"])
            .output()
            .map_err(|e| e.to_string())?;
        let subnets = subnets_of(&text).map_err(|e| e.to_string())?;
        let all = cluster.nodes.keys().all(|node| subnets.contains_key(node));
        if all {
            Ok(subnets)
        } else {
            Err(format!("subnets of {:?}", subnets.keys()))
        }
    };
    eventually(
        &format!("pod subnets of the nodes of {name}"),
        Duration::from_secs(120),
        Duration::from_millis(300),
        look,
    )
}

fn subnets_of(nodes: &str) -> Result<BTreeMap<String, PodSubnets>> {
    let list: Value = parse("the node list", nodes)?;
    let items = list["items"]
        .as_array()
        .ok_or_else(|| malformed("the node list", "it has no items"))?;
    let pair = |node: &Value| {
        let subnets = node["spec"]["podCIDRs"].as_array()?;
        let of_family = |ipv6: bool| {
            let mut subnets = subnets.iter().filter_map(Value::as_str);
            subnets
                .find(|subnet| subnet.contains(':') == ipv6)
                .map(str::to_owned)
        };
        let subnets = PodSubnets {
            ipv4: of_family(false)?,
            ipv6: of_family(true),
        };
        Some((node["metadata"]["name"].as_str()?.to_owned(), subnets))
    };
    Ok(items.iter().filter_map(pair).collect())
}

/// Pods keep their own addresses inside the cluster and take the node's outside.
///
/// A node forwards from the beginning: the `ptp` plugin would switch that on with the node's first pod, and until
/// then its NodePorts would lead nowhere.
fn pod_network_script(own: &PodSubnets, routes: &[(&str, &str)]) -> String {
    let PodSubnets { ipv4, ipv6 } = own;
    let ranges = [Some(ipv4), ipv6.as_ref()].into_iter().flatten();
    let ranges: Vec<_> = ranges.map(|subnet| json!([{"subnet": subnet}])).collect();
    let outside = ["0.0.0.0/0", "::/0"].iter().take(ranges.len());
    let outside: Vec<_> = outside.map(|all| json!({"dst": all})).collect();
    let conflist = json!({
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [
            {"type": "ptp", "ipMasq": false, "ipam": {
                "type": "host-local", "dataDir": "/run/cni-ipam-state",
                "ranges": ranges, "routes": outside}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    let mut script = format!(
        "{AWAIT_PROXY}\
         echo 1 > /proc/sys/net/ipv4/ip_forward\n\
         printf '%s' '{conflist}' > /etc/cni/net.d/.10-lab.conflist\n\
         mv /etc/cni/net.d/.10-lab.conflist /etc/cni/net.d/10-lab.conflist\n"
    );
    script += &masquerade("iptables", ipv4, POD_SUBNET);
    if let Some(ipv6) = ipv6 {
        script += "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n";
        script += &masquerade("ip6tables", ipv6, IPV6_POD_SUBNET);
    }
    for (subnet, via) in routes {
        script += &format!("ip route replace {subnet} via {via}\n");
    }
    script
}

fn masquerade(iptables: &str, own: &str, all: &str) -> String {
    let rule = format!("POSTROUTING -s {own} ! -d {all} -m comment --comment lab-pods -j MASQUERADE");
    format!("{iptables} -w -t nat -C {rule} 2>/dev/null || {iptables} -w -t nat -A {rule}\n")
}

/// Waits until the nodes and the cluster's own workloads are ready.
pub fn wait_ready(site: &Site, name: &str) -> Result<()> {
    let limit = Duration::from_secs(200);
    site.kubectl(name)
        .args(["wait", "node", "--all", "--for=condition=Ready", "--timeout=180s"])
        .limit(limit)
        .run()?;
    site.kubectl(name)
        .args([
            "-n",
            "kube-system",
            "rollout",
            "status",
            "deployment/coredns",
            "--timeout=180s",
        ])
        .limit(limit)
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_script_has_a_route_to_every_other_node() {
        let own = PodSubnets {
            ipv4: "10.244.1.0/24".to_owned(),
            ipv6: None,
        };
        let script = pod_network_script(
            &own,
            &[("10.244.0.0/24", "10.70.0.2"), ("10.244.2.0/24", "10.70.0.4")],
        );
        assert!(script.contains("echo 1 > /proc/sys/net/ipv4/ip_forward\n"));
        assert!(script.contains("ip route replace 10.244.0.0/24 via 10.70.0.2\n"));
        assert!(script.contains(r#""subnet":"10.244.1.0/24""#) && script.contains("! -d 10.244.0.0/16"));
        assert!(!script.contains("ip6tables"));
    }

    #[test]
    fn a_node_of_both_families_gives_its_pods_an_address_of_each() {
        let own = PodSubnets {
            ipv4: "10.244.0.0/24".to_owned(),
            ipv6: Some("fd00:10:244::/64".to_owned()),
        };
        let script = pod_network_script(&own, &[]);
        let ranges = r#""ranges":[[{"subnet":"10.244.0.0/24"}],[{"subnet":"fd00:10:244::/64"}]]"#;
        assert!(script.contains(ranges), "{script}");
        assert!(script.contains(r#""routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]"#));
        assert!(
            script.contains("ip6tables -w -t nat -A POSTROUTING -s fd00:10:244::/64 ! -d fd00:10:244::/56")
        );
    }

    #[test]
    fn subnets_are_read_from_the_node_list() -> Result<()> {
        let list = r#"{"items":[{"metadata":{"name":"a"},"spec":{"podCIDRs":["10.244.0.0/24","fd00:10:244::/64"]}},{"metadata":{"name":"b"},"spec":{}}]}"#;
        let subnets = PodSubnets {
            ipv4: "10.244.0.0/24".to_owned(),
            ipv6: Some("fd00:10:244::/64".to_owned()),
        };
        assert_eq!(
            subnets_of(list)?.into_iter().collect::<Vec<_>>(),
            [("a".to_owned(), subnets)]
        );
        Ok(())
    }

    #[test]
    fn the_old_cgroups_are_allowed_only_where_they_are() {
        let host = |cgroup_v2| Host {
            root: true,
            cgroup_v2,
            sys_resource: true,
            ipv6: true,
            docker: None,
        };
        assert!(kubeadm_patches(&host(true))[0].get("failCgroupV1").is_none());
        assert_eq!(kubeadm_patches(&host(false))[0]["failCgroupV1"], json!(false));
    }
}
