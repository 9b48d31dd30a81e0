//! A Tenant that goes and comes back in a story.

use e2e::cluster::Cluster;
use e2e::traffic;
use e2e::wait::{seconds, until};
use serde_json::Value;

use super::{gone, tidy};

/// A Tenant as its platform team wrote it; made again at the end of the story, at the latest.
pub struct Tenant<'a> {
    hub: &'a Cluster,
    manifest: Value,
}

impl<'a> Tenant<'a> {
    pub fn of(hub: &'a Cluster, tenant: &Cluster) -> Self {
        let mut manifest = hub.get(&["tenant", tenant.name]).unwrap();
        manifest["metadata"] = serde_json::json!({"name": tenant.name});
        manifest["status"] = Value::Null;
        Self { hub, manifest }
    }

    pub fn make(&self) {
        self.hub.apply(&self.manifest.to_string()).unwrap();
    }
}

impl Drop for Tenant<'_> {
    fn drop(&mut self) {
        tidy(|| {
            // What is applied to a Tenant on its way out goes with it.
            until("the Tenant to be made again", seconds(300), || {
                self.make();
                let name = self.manifest["metadata"]["name"].as_str().unwrap_or_default();
                let found = self.hub.get(&["tenant", name]).map_err(|e| e.to_string())?;
                if found["metadata"]["deletionTimestamp"].is_null() {
                    Ok(())
                } else {
                    Err(found["status"].to_string())
                }
            })
            .unwrap();
        });
    }
}

/// Nothing that carries the Tenant's name is left anywhere on the hub.
#[track_caller]
pub fn nothing_left(hub: &Cluster, tenant: &str) {
    gone(hub, &["namespace", tenant]);
    let label = format!("kubelb.k8c.io/tenant={tenant}");
    let anywhere = "configmaps,secrets,services,deployments,clusterroles,clusterrolebindings";
    gone(hub, &[anywhere, "-A", "-l", &label]);
}

/// Waits until a pod of `namespace` answers at the address. It is asked for every time: what is in the status may be
/// the address from before, which somebody else may have by now.
#[track_caller]
pub fn served_again(namespace: &str, host: Option<&str>, address: impl Fn() -> String) {
    until(format!("{namespace} to be served again"), seconds(120), || {
        let echo = traffic::get(&format!("http://{}/", address()), host).map_err(|e| e.to_string())?;
        if echo.namespace == namespace {
            Ok(())
        } else {
            Err(format!("{echo:?}"))
        }
    })
    .unwrap();
}
