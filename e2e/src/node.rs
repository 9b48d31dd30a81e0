//! A node that leaves a kind cluster and comes back: kind cannot add nodes, so its kubelet is stopped and its
//! Node object deleted, and later the other way round.

use std::process::Command;

use crate::cluster::{Cluster, ClusterError};
use crate::wait::{TimedOut, seconds, until};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// kubectl failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// docker failed.
    #[error("docker {command}: {message}")]
    Docker {
        /// Arguments.
        command: String,
        /// What it printed.
        message: String,
    },
    /// No worker there.
    #[error("{0} has no worker node")]
    NoWorker(&'static str),
    /// It did not come back.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
}

/// A node that left; it comes back when this is dropped, at the latest.
#[derive(Debug)]
pub struct Removed {
    node: String,
}

/// The name of a worker node.
///
/// # Errors
/// When the cluster has none.
pub fn worker(cluster: &Cluster) -> Result<String, NodeError> {
    let nodes = cluster.list(&["nodes", "-l", "!node-role.kubernetes.io/control-plane"])?;
    let name = nodes.first().and_then(|node| node["metadata"]["name"].as_str());
    name.map(str::to_owned).ok_or(NodeError::NoWorker(cluster.name))
}

/// Stops the kubelet of a node and deletes its Node object.
///
/// # Errors
/// When docker or kubectl fails.
pub fn remove(cluster: &Cluster, node: &str) -> Result<Removed, NodeError> {
    docker(&["exec", node, "systemctl", "stop", "kubelet"])?;
    let removed = Removed {
        node: node.to_owned(),
    };
    cluster.kubectl(&["delete", "node", node, "--timeout=30s"])?;
    Ok(removed)
}

impl Removed {
    /// Starts the kubelet, which makes the Node object again, and waits until it is ready.
    ///
    /// # Errors
    /// When docker fails or the node does not become ready within two minutes.
    pub fn bring_back(self, cluster: &Cluster) -> Result<(), NodeError> {
        docker(&["exec", &self.node, "systemctl", "start", "kubelet"])?;
        until(format!("node {} to be ready", self.node), seconds(120), || {
            let node = cluster.get(&["node", &self.node]).map_err(|e| e.to_string())?;
            let conditions = node["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let ready = conditions
                .iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True");
            if ready {
                Ok(())
            } else {
                Err("not ready".to_owned())
            }
        })?;
        Ok(())
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        // Starting a kubelet that runs does nothing, so this is right after bring_back too.
        let _ = docker(&["exec", &self.node, "systemctl", "start", "kubelet"]);
    }
}

fn docker(arguments: &[&str]) -> Result<(), NodeError> {
    let failed = |message: String| NodeError::Docker {
        command: arguments.join(" "),
        message,
    };
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}
