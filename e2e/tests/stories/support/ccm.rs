//! A tenant's CCM as its operator handles it: its credential, what it says, and putting it back in order.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::cluster::Cluster;
use e2e::product::{self, ISSUED_SECRET, NAMESPACE, OWN_SECRET};
use e2e::wait::{seconds, until};
use serde_json::Value;

use super::{condition, hub_namespace, metrics, text, tidy, warned};

const APP: &str = "kubelb-ccm";
const METRICS_PORT: u16 = 9445;
/// kubelet brings a changed Secret into a pod within a minute and a half.
const SECRET_ARRIVES: u64 = 150;

/// Puts the tenant's CCM back into working order, also after a failed story: with the credential that the hub
/// has issued last, and the name of its own Tenant.
pub struct Restored<'a> {
    pub hub: &'a Cluster,
    pub tenant: &'a Cluster,
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        tidy(|| {
            hand_over(self.hub, self.tenant);
            set_cluster_name(self.tenant, self.tenant.name);
            restart(self.tenant);
            product::rollout(self.tenant, APP).unwrap();
            connected(self.tenant);
        });
    }
}

/// The kubeconfig in use in the tenant.
pub fn kubeconfig(tenant: &Cluster) -> String {
    kubeconfig_in(tenant, NAMESPACE, OWN_SECRET).unwrap()
}

/// The kubeconfig that the hub issued last for a tenant.
pub fn issued(hub: &Cluster, tenant: &Cluster) -> Result<String, String> {
    kubeconfig_in(hub, hub_namespace(tenant), ISSUED_SECRET)
}

fn kubeconfig_in(cluster: &Cluster, namespace: &str, secret: &str) -> Result<String, String> {
    let encoded = product::encoded_kubeconfig(cluster, namespace, secret)?;
    let bytes = STANDARD.decode(encoded).map_err(|e| e.to_string())?;
    String::from_utf8(bytes).map_err(|e| e.to_string())
}

/// Puts a kubeconfig into the tenant's Secret.
pub fn put(tenant: &Cluster, kubeconfig: &str) {
    product::put_encoded_kubeconfig(tenant, &STANDARD.encode(kubeconfig)).unwrap();
}

/// Gives the tenant the credential that the hub issued last, once the hub takes it.
pub fn hand_over(hub: &Cluster, tenant: &Cluster) {
    let kubeconfig = until("a credential that the hub takes", seconds(90), || {
        let kubeconfig = issued(hub, tenant)?;
        accepted(hub, tenant, &kubeconfig)?;
        Ok::<_, String>(kubeconfig)
    })
    .unwrap();
    put(tenant, &kubeconfig);
}

/// Whether the hub takes a credential for the tenant's namespace.
pub fn accepted(hub: &Cluster, tenant: &Cluster, kubeconfig: &str) -> Result<(), String> {
    let file = std::env::temp_dir().join(format!("e2e-{}-{}.probe", std::process::id(), tenant.name));
    std::fs::write(&file, kubeconfig).map_err(|e| e.to_string())?;
    let read = hub.with_kubeconfig(file.clone()).kubectl(&[
        "get",
        "tenantstates",
        "-n",
        hub_namespace(tenant),
        "default",
    ]);
    std::fs::remove_file(file).map_err(|e| e.to_string())?;
    read.map(drop).map_err(|e| e.to_string())
}

/// Makes kubelet look at the pod now, which brings a changed Secret into it without a restart.
pub fn hurry(tenant: &Cluster) {
    let mark = format!("e2e.kubelb.k8c.io/hurry={}", nanos());
    let label = format!("app.kubernetes.io/name={APP}");
    let annotate = [
        "annotate",
        "pods",
        "-n",
        NAMESPACE,
        "-l",
        &label,
        "--overwrite",
        &mark,
    ];
    tenant.kubectl(&annotate).unwrap();
}

fn nanos() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos())
}

/// Restarts the CCM.
pub fn restart(tenant: &Cluster) {
    let deployment = format!("deployment/{APP}");
    tenant
        .kubectl(&["rollout", "restart", "-n", NAMESPACE, &deployment])
        .unwrap();
}

/// Makes the CCM take itself for the cluster of this Tenant.
pub fn set_cluster_name(tenant: &Cluster, name: &str) {
    product::set_value(tenant, APP, &format!("clusterName={name}")).unwrap();
}

/// The newest pod of the CCM that is not on its way out.
pub fn pod(tenant: &Cluster) -> Result<Value, String> {
    super::pod(tenant, APP)
}

/// Waits until a log line of the running CCM contains all `words`.
pub fn logged(tenant: &Cluster, words: &[&str]) {
    until(
        format!("a CCM log line with {words:?}"),
        seconds(SECRET_ARRIVES),
        || {
            let log = log(tenant)?;
            let found = log
                .lines()
                .any(|line| words.iter().all(|word| line.contains(word)));
            if found {
                Ok(())
            } else {
                Err(log.lines().last().unwrap_or("no line").to_owned())
            }
        },
    )
    .unwrap();
}

/// What the newest CCM has said.
pub fn log(tenant: &Cluster) -> Result<String, String> {
    let name = text(&pod(tenant)?["metadata"]["name"]).ok_or("a pod without a name")?;
    tenant
        .kubectl(&["logs", "-n", NAMESPACE, &name, "--tail=-1"])
        .map_err(|e| e.to_string())
}

/// Waits until the CCM names a trouble in every place where people look: log, metrics, an Event on its pod, and
/// the pod is not ready.
pub fn named(tenant: &Cluster, reason: &str, words: &[&str]) {
    let label = format!("\"reason\":\"{reason}\"");
    let mut all = vec![label.as_str(), "what is served goes on"];
    all.extend_from_slice(words);
    logged(tenant, &all);
    let counted = format!("kubelb_ccm_hub_errors_total{{reason=\"{reason}\"}}");
    until(format!("{counted}, and not connected"), seconds(60), || {
        let metrics = metrics(tenant, APP, METRICS_PORT)?;
        let seen = |line: &str| metrics.lines().any(|l| l.starts_with(line));
        if seen(&counted) && seen("kubelb_ccm_kubelb_cluster_connected 0") {
            Ok(())
        } else {
            Err(hub_lines(&metrics))
        }
    })
    .unwrap();
    let pod = until("the CCM's pod to be not ready", seconds(60), || {
        let pod = pod(tenant)?;
        if condition(&pod["status"]["conditions"], "Ready")["status"] == "False" {
            Ok(pod)
        } else {
            Err(pod["status"]["conditions"].to_string())
        }
    })
    .unwrap();
    let name = text(&pod["metadata"]["name"]).unwrap();
    warned(tenant, NAMESPACE, "Pod", &name, words.first().unwrap_or(&""));
}

/// Waits until the CCM can use the hub.
pub fn connected(tenant: &Cluster) {
    until("the CCM to be connected", seconds(SECRET_ARRIVES), || {
        let metrics = metrics(tenant, APP, METRICS_PORT)?;
        if metrics
            .lines()
            .any(|l| l == "kubelb_ccm_kubelb_cluster_connected 1")
        {
            Ok(())
        } else {
            Err(hub_lines(&metrics))
        }
    })
    .unwrap();
}

/// The value of one series of the CCM's; 0 where it is not there.
pub fn measured(tenant: &Cluster, series: &str) -> Result<u64, String> {
    let metrics = metrics(tenant, APP, METRICS_PORT)?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(Ok(0), |value| value.trim().parse().map_err(|_| value.to_owned()))
}

fn hub_lines(metrics: &str) -> String {
    let about = |line: &&str| line.starts_with("kubelb_ccm_hub_errors") || line.contains("cluster_connected");
    metrics.lines().filter(about).collect::<Vec<_>>().join("; ")
}
