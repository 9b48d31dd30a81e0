//! The Envoys of a tenant's fleet, stopped for a while: they are there, and say nothing.

use e2e::cluster::Cluster;
use testbed::Lab;

use super::envoys::of_load_balancers;
use super::{text, tidy};

/// All Envoys of a fleet, stopped until this is ended, also after a failed story.
pub struct Stopped<'a> {
    lab: &'a Lab,
    node: String,
    pids: Vec<String>,
}

impl<'a> Stopped<'a> {
    #[track_caller]
    pub fn begin(lab: &'a Lab, tenant: &Cluster) -> Self {
        assert_eq!(lab.nodes("hub").unwrap().len(), 1, "the hub has one node");
        let node = lab.control_plane("hub");
        let pods = of_load_balancers(tenant).unwrap();
        let names = pods.iter().filter_map(|pod| text(&pod["metadata"]["name"]));
        let pids: Vec<String> = names.map(|name| pid(lab, &node, &name)).collect();
        assert!(!pids.is_empty(), "no Envoy");
        let stopped = Self { lab, node, pids };
        stopped.signal("STOP");
        stopped
    }

    fn signal(&self, signal: &str) {
        let Self { lab, node, pids } = self;
        lab.in_node(node, &format!("kill -{signal} {}", pids.join(" ")))
            .unwrap();
    }

    /// Lets them go on.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        tidy(|| self.signal("CONT"));
    }
}

/// The process of the Envoy in this pod, as the hub's node numbers it. Others on that node are Envoys, too.
#[track_caller]
fn pid(lab: &Lab, node: &str, pod: &str) -> String {
    let script = format!(
        "for process in /proc/[0-9]*; do
  [ \"$(cat $process/comm 2>/dev/null)\" = envoy ] || continue
  tr '\\0' ' ' <$process/cmdline | grep -qF -- '--service-node {pod} ' || continue
  echo ${{process#/proc/}}
done"
    );
    let found = lab.in_node(node, &script).unwrap();
    let pids: Vec<&str> = found.split_whitespace().collect();
    assert_eq!(pids.len(), 1, "processes of {pod}");
    pids[0].to_owned()
}
