//! What tests use: the lab that they run in, read from the environment of `lab exec`.

use std::env;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::command::Run;
use crate::environment::{HUB_SERVER, IPV6_POOL, LAB, POOL, kubeconfig_variable, nodes_variable};
use crate::error::{Error, Result, malformed};

/// The lab that this process runs in.
#[derive(Clone, Debug)]
pub struct Lab {
    name: String,
    pool: Ipv4Net,
}

impl Lab {
    /// Reads the environment of `lab exec`.
    pub fn from_env() -> Result<Self> {
        let name = variable(LAB)?;
        let pool = variable(POOL)?.parse().map_err(|e| malformed(POOL, e))?;
        Ok(Self { name, pool })
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where LoadBalancer Services of the hub get addresses.
    pub fn pool(&self) -> Ipv4Net {
        self.pool
    }

    /// Whether clusters of the lab may have IPv6 beside IPv4.
    pub fn has_ipv6(&self) -> bool {
        env::var_os(IPV6_POOL).is_some()
    }

    /// The hub's API server as tenants reach it.
    pub fn hub_server(&self) -> Result<String> {
        variable(HUB_SERVER)
    }

    /// A cluster's kubeconfig.
    pub fn kubeconfig(&self, cluster: &str) -> Result<PathBuf> {
        variable(&kubeconfig_variable(cluster)).map(PathBuf::from)
    }

    /// The addresses of a cluster's nodes, as a list of CIDRs.
    pub fn node_cidrs(&self, cluster: &str) -> Result<Vec<String>> {
        Ok(variable(&nodes_variable(cluster))?
            .split(',')
            .map(str::to_owned)
            .collect())
    }

    /// kubectl for a cluster; what it printed.
    pub fn kubectl(&self, cluster: &str, args: &[&str]) -> Result<String> {
        self.kubectl_run(cluster)?.args(args).output()
    }

    /// Applies a document with kubectl, server-side.
    pub fn apply(&self, cluster: &str, document: &str) -> Result<()> {
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.kubectl_run(cluster)?.args(apply).stdin(document).run()
    }

    /// kubectl for a cluster, to be completed.
    pub fn kubectl_run(&self, cluster: &str) -> Result<Run> {
        Ok(Run::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.kubeconfig(cluster)?))
    }

    /// Docker's client; what it printed.
    pub fn docker(&self, args: &[&str]) -> Result<String> {
        Run::new("docker").args(args).output()
    }

    /// A shell script inside a node; what it printed.
    pub fn in_node(&self, node: &str, script: &str) -> Result<String> {
        self.docker(&["exec", node, "sh", "-euc", script])
    }

    /// The names of a cluster's nodes.
    pub fn nodes(&self, cluster: &str) -> Result<Vec<String>> {
        let filter = format!("label=io.x-k8s.kind.cluster={}-{cluster}", self.name);
        let list = self.docker(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"])?;
        let mut nodes: Vec<_> = list.lines().map(str::to_owned).collect();
        nodes.sort();
        Ok(nodes)
    }

    /// A cluster's control-plane node.
    pub fn control_plane(&self, cluster: &str) -> String {
        format!("{}-{cluster}-control-plane", self.name)
    }

    /// Stops a node's kubelet: its pods keep running, the cluster learns nothing of them.
    pub fn stop_kubelet(&self, node: &str) -> Result<()> {
        self.in_node(node, "systemctl stop kubelet").map(drop)
    }

    /// Starts it again.
    pub fn start_kubelet(&self, node: &str) -> Result<()> {
        self.in_node(node, "systemctl start kubelet").map(drop)
    }

    /// Kills a cluster's API server; its kubelet starts it again.
    pub fn restart_api_server(&self, cluster: &str) -> Result<()> {
        self.in_node(&self.control_plane(cluster), "pkill -x kube-apiserver")
            .map(drop)
    }

    /// Cuts every node of a cluster off a TCP port of an address, or lets it through again.
    pub fn cut_off(&self, cluster: &str, address: &str, port: u16, cut: bool) -> Result<()> {
        let action = if cut { "-I" } else { "-D" };
        let chains = ["OUTPUT", "FORWARD"];
        let rule = |chain: &&str| {
            format!(
                "iptables -w {action} {chain} -d {address} -p tcp --dport {port} -m comment --comment lab-cut -j DROP"
            )
        };
        let script = chains.iter().map(rule).collect::<Vec<_>>().join("\n");
        self.nodes(cluster)?
            .iter()
            .try_for_each(|node| self.in_node(node, &script).map(drop))
    }

    /// The lines of a cluster's audit log: its writes, one JSON document each.
    pub fn audit(&self, cluster: &str) -> Result<Vec<String>> {
        let log = self.in_node(
            &self.control_plane(cluster),
            &format!("cat {}", crate::cluster::AUDIT_LOG),
        )?;
        Ok(log.lines().map(str::to_owned).collect())
    }
}

fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|_| Error::Unsupported(format!("{name} is not set: run this inside `lab exec`")))
}
