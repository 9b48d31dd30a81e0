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

/// Where kind's pods live; kind's default, the same in every cluster, as tenants' networks do overlap.
const POD_SUBNET: &str = "10.244.0.0/16";
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

/// Makes the cluster unless it stands with this size.
pub fn ensure(
    site: &Site,
    progress: &Progress,
    recipe: &Recipe,
    name: &str,
    size: usize,
    known: Option<&Cluster>,
) -> Result<Cluster> {
    if let Some(known) = known.filter(|k| k.size == size)
        && revive(site, progress, name, known)
    {
        if known.image != recipe.image.name() {
            progress.say(format!(
                "cluster {name} was made with another node image: `lab down` and `lab up` renew it"
            ));
        }
        let nodes = nodes(site, name)?;
        return Ok(Cluster {
            nodes,
            ..known.clone()
        });
    }
    delete(site, name)?;
    progress.stage(&format!("creating cluster {name} ({size} nodes)"), || {
        create(site, recipe, name, size)
    })?;
    let image = recipe.image.name().to_owned();
    Ok(Cluster {
        size,
        image,
        nodes: nodes(site, name)?,
        installed: BTreeMap::new(),
    })
}

/// Whether a known cluster serves, started again where its nodes were stopped.
fn revive(site: &Site, progress: &Progress, name: &str, known: &Cluster) -> bool {
    let running = nodes(site, name).unwrap_or_default();
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

fn create(site: &Site, recipe: &Recipe, name: &str, size: usize) -> Result<()> {
    let config = configuration(site, recipe, name, size)?;
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

/// The running nodes of a cluster, with their addresses.
pub fn nodes(site: &Site, name: &str) -> Result<BTreeMap<String, String>> {
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
            let format = format!("{{{{(index .NetworkSettings.Networks {network:?}).IPAddress}}}}");
            let address = site
                .docker()
                .args(["inspect", "--format", &format, node])
                .output()?;
            Ok((node.to_owned(), address.trim().to_owned()))
        })
        .collect()
}

fn configuration(site: &Site, recipe: &Recipe, name: &str, size: usize) -> Result<Value> {
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
            "podSubnet": POD_SUBNET,
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
            let routes = others
                .filter_map(|(other, subnet)| Some((subnet.as_str(), cluster.nodes.get(other)?.as_str())));
            site.in_node(node, &pod_network_script(own, &routes.collect::<Vec<_>>()))
                .run()?;
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

fn pod_subnets(site: &Site, name: &str, cluster: &Cluster) -> Result<BTreeMap<String, String>> {
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

fn subnets_of(nodes: &str) -> Result<BTreeMap<String, String>> {
    let list: Value = parse("the node list", nodes)?;
    let items = list["items"]
        .as_array()
        .ok_or_else(|| malformed("the node list", "it has no items"))?;
    let pair = |node: &Value| {
        Some((
            node["metadata"]["name"].as_str()?.to_owned(),
            node["spec"]["podCIDR"].as_str()?.to_owned(),
        ))
    };
    Ok(items.iter().filter_map(pair).collect())
}

/// Pods keep their own addresses inside the cluster and take the node's outside.
///
/// A node forwards from the beginning: the `ptp` plugin would switch that on with the node's first pod, and until
/// then its NodePorts would lead nowhere.
fn pod_network_script(own: &str, routes: &[(&str, &str)]) -> String {
    let conflist = json!({
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [
            {"type": "ptp", "ipMasq": false, "ipam": {
                "type": "host-local", "dataDir": "/run/cni-ipam-state",
                "ranges": [[{"subnet": own}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    let rule = format!("POSTROUTING -s {own} ! -d {POD_SUBNET} -m comment --comment lab-pods -j MASQUERADE");
    let mut script = format!(
        "{AWAIT_PROXY}\
         echo 1 > /proc/sys/net/ipv4/ip_forward\n\
         printf '%s' '{conflist}' > /etc/cni/net.d/.10-lab.conflist\n\
         mv /etc/cni/net.d/.10-lab.conflist /etc/cni/net.d/10-lab.conflist\n\
         iptables -w -t nat -C {rule} 2>/dev/null || iptables -w -t nat -A {rule}\n"
    );
    for (subnet, via) in routes {
        script += &format!("ip route replace {subnet} via {via}\n");
    }
    script
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
        let script = pod_network_script(
            "10.244.1.0/24",
            &[("10.244.0.0/24", "10.70.0.2"), ("10.244.2.0/24", "10.70.0.4")],
        );
        assert!(script.contains("echo 1 > /proc/sys/net/ipv4/ip_forward\n"));
        assert!(script.contains("ip route replace 10.244.0.0/24 via 10.70.0.2\n"));
        assert!(script.contains(r#""subnet":"10.244.1.0/24""#) && script.contains("! -d 10.244.0.0/16"));
    }

    #[test]
    fn subnets_are_read_from_the_node_list() -> Result<()> {
        let list = r#"{"items":[{"metadata":{"name":"a"},"spec":{"podCIDR":"10.244.0.0/24"}},{"metadata":{"name":"b"},"spec":{}}]}"#;
        assert_eq!(
            subnets_of(list)?.into_iter().collect::<Vec<_>>(),
            [("a".to_owned(), "10.244.0.0/24".to_owned())]
        );
        Ok(())
    }

    #[test]
    fn the_old_cgroups_are_allowed_only_where_they_are() {
        let host = |cgroup_v2| Host {
            root: true,
            cgroup_v2,
            sys_resource: true,
            docker: None,
        };
        assert!(kubeadm_patches(&host(true))[0].get("failCgroupV1").is_none());
        assert_eq!(kubeadm_patches(&host(false))[0]["failCgroupV1"], json!(false));
    }
}
