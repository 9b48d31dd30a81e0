//! A node that leaves a kind cluster and comes back: kind cannot add nodes, so its kubelet is stopped and its
//! Node object deleted, and later the other way round.

use testbed::Lab;

use crate::cluster::{Cluster, ClusterError};
use crate::wait::{seconds, until};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// kubectl failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The node's container could not be reached, or the node did not come back.
    #[error(transparent)]
    Lab(#[from] testbed::Error),
    /// No worker there.
    #[error("{0} has no worker node")]
    NoWorker(&'static str),
}

/// A node whose kubelet is stopped; it is started when this is dropped, at the latest.
#[derive(Debug)]
pub struct Away {
    lab: Lab,
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

/// Stops the kubelet of a node: the cluster finds out after a while that the node is not ready.
///
/// # Errors
/// When docker fails.
pub fn silence(lab: &Lab, node: &str) -> Result<Away, NodeError> {
    lab.stop_kubelet(node)?;
    Ok(Away {
        lab: lab.clone(),
        node: node.to_owned(),
    })
}

/// Stops the kubelet of a node and deletes its Node object.
///
/// # Errors
/// When docker or kubectl fails.
pub fn remove(lab: &Lab, cluster: &Cluster, node: &str) -> Result<Away, NodeError> {
    let away = silence(lab, node)?;
    cluster.kubectl(&["delete", "node", node, "--timeout=30s"])?;
    Ok(away)
}

impl Away {
    /// Starts the kubelet, which makes the Node object again, and waits until it is ready.
    ///
    /// # Errors
    /// When docker fails or the node does not become ready within two minutes.
    pub fn bring_back(self, cluster: &Cluster) -> Result<(), NodeError> {
        self.lab.start_kubelet(&self.node)?;
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

impl Drop for Away {
    fn drop(&mut self) {
        // Starting a kubelet that runs does nothing, so this is right after bring_back too.
        let _ = self.lab.start_kubelet(&self.node);
    }
}
