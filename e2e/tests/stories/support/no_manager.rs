//! A hub without a manager for a while.

use std::thread::{self, JoinHandle};
use std::time::Instant;

use e2e::cluster::Cluster;
use e2e::product;
use e2e::wait::{seconds, until};
use serde_json::Value;
use testbed::Lab;

use super::{condition, tidy};

const LABEL: &str = "app.kubernetes.io/name=kubelb-manager";
/// While this file is on the hub's node, every manager that starts there is killed.
const FLAG: &str = "/run/e2e-no-manager";
/// Ends by itself after ten minutes, should nobody be left to end it.
const KILL: &str = "i=0
while [ -e /run/e2e-no-manager ] && [ $i -lt 12000 ]; do
  pkill -KILL -x kubelb-manager || [ $? -eq 1 ]
  i=$((i + 1))
  sleep 0.05
done";

/// No manager runs until this is ended, also after a failed story. All replicas are killed at once and get no chance
/// to say farewell; kubelet starts them again, and they are killed again.
pub struct NoManager<'a> {
    lab: &'a Lab,
    hub: &'a Cluster,
    node: String,
    killer: Option<JoinHandle<testbed::Result<String>>>,
}

impl<'a> NoManager<'a> {
    #[track_caller]
    pub fn begin(lab: &'a Lab, hub: &'a Cluster) -> Self {
        assert_eq!(lab.nodes("hub").unwrap().len(), 1, "the hub has one node");
        let node = lab.control_plane("hub");
        lab.in_node(&node, &format!("touch {FLAG}")).unwrap();
        let killer = thread::spawn({
            let (lab, node) = (lab.clone(), node.clone());
            move || lab.in_node(&node, KILL)
        });
        let away = Self {
            lab,
            hub,
            node,
            killer: Some(killer),
        };
        until("no manager to be ready", seconds(60), || {
            match readiness(hub)?.iter().filter(|ready| **ready).count() {
                0 => Ok(()),
                count => Err(format!("{count} ready")),
            }
        })
        .unwrap();
        away
    }

    /// Nobody has come back until now.
    #[track_caller]
    pub fn still(&self) {
        let ready = readiness(self.hub).unwrap();
        assert!(ready.iter().all(|ready| !ready), "a manager is ready");
        let killing = self.killer.as_ref().is_some_and(|killer| !killer.is_finished());
        assert!(killing, "managers that start are no longer killed");
    }

    /// Lets them start, and gives the moment from which all of them are ready.
    #[track_caller]
    pub fn end(mut self) -> Instant {
        self.let_back();
        // kubelet waits longer after every start that failed: five minutes at most.
        until("every manager to be ready", seconds(400), || {
            let ready = readiness(self.hub)?;
            if !ready.is_empty() && ready.iter().all(|ready| *ready) {
                Ok(())
            } else {
                Err(format!("{ready:?}"))
            }
        })
        .unwrap();
        Instant::now()
    }

    fn let_back(&mut self) {
        let Some(killer) = self.killer.take() else {
            return;
        };
        self.lab.in_node(&self.node, &format!("rm -f {FLAG}")).unwrap();
        killer.join().unwrap().unwrap();
    }
}

impl Drop for NoManager<'_> {
    fn drop(&mut self) {
        tidy(|| {
            if self.killer.is_some() {
                self.let_back();
                product::rollout(self.hub, "kubelb-manager").unwrap();
            }
        });
    }
}

/// Whether each manager's pod is ready.
fn readiness(hub: &Cluster) -> Result<Vec<bool>, String> {
    let pods = hub
        .list(&["pods", "-n", product::NAMESPACE, "-l", LABEL])
        .map_err(|e| e.to_string())?;
    let ready = |pod: &Value| condition(&pod["status"]["conditions"], "Ready")["status"] == "True";
    Ok(pods.iter().map(ready).collect())
}
