//! A credential that is wrong, and a clusterName that is wrong: each is named, and what is served stays served.

use e2e::cluster::Cluster;
use e2e::wait::{seconds, until};
use e2e::{echo, product};

use crate::support::{Scratch, answered, lab, service_address, text};

/// Puts the tenant's CCM back into working order, also after a failed story.
struct Restored<'a> {
    tenant: &'a Cluster,
    secret: serde_json::Value,
}

impl<'a> Restored<'a> {
    fn of(tenant: &'a Cluster) -> Self {
        let mut secret = tenant
            .get(&["secret", "-n", product::NAMESPACE, "kubelb-cluster"])
            .unwrap();
        let metadata = serde_json::json!({"name": "kubelb-cluster", "namespace": product::NAMESPACE});
        secret["metadata"] = metadata;
        Self { tenant, secret }
    }

    fn restart(&self) {
        let arguments = [
            "rollout",
            "restart",
            "-n",
            product::NAMESPACE,
            "deployment/kubelb-ccm",
        ];
        self.tenant.kubectl(&arguments).unwrap();
    }
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let replace = ["replace", "--force", "-f", "-"];
        self.tenant
            .kubectl_with_input(&replace, &self.secret.to_string())
            .unwrap();
        set_cluster_name(self.tenant, self.tenant.name);
        self.restart();
        product::rollout(self.tenant, "kubelb-ccm").unwrap();
    }
}

fn set_cluster_name(tenant: &Cluster, name: &str) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/kubelb-ccm");
    let set = format!("clusterName={name}");
    let arguments = [
        "upgrade",
        "kubelb-ccm",
        chart,
        "-n",
        product::NAMESPACE,
        "--reuse-values",
        "--set",
        &set,
    ];
    tenant.helm(&arguments).unwrap();
}

/// Waits until a log line of the running CCM contains all `words`.
fn logged(tenant: &Cluster, words: &[&str]) {
    until(format!("a CCM log line with {words:?}"), seconds(90), || {
        let arguments = [
            "logs",
            "-n",
            product::NAMESPACE,
            "-l",
            "app.kubernetes.io/name=kubelb-ccm",
            "--tail=200",
        ];
        let log = tenant.kubectl(&arguments).map_err(|e| e.to_string())?;
        let found = log
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)));
        if found {
            Ok(())
        } else {
            Err(log.lines().last().unwrap_or("no line").to_owned())
        }
    })
    .unwrap();
}

#[test]
fn a_wrong_credential_is_named_and_what_is_served_stays_served() {
    let lab = lab();
    let tenant = &lab.tenant_b;
    let scratch = Scratch::new("trouble", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    let address = service_address(tenant, ns, "web");
    answered(&format!("http://{address}/"), None);

    let restored = Restored::of(tenant);
    let broken = broken_token(&text(&restored.secret["data"]["kubelb"]).unwrap());
    let mut secret = restored.secret.clone();
    secret["data"]["kubelb"] = broken.into();
    tenant
        .kubectl_with_input(&["replace", "-f", "-"], &secret.to_string())
        .unwrap();
    restored.restart();
    logged(tenant, &["Unauthorized"]);
    answered(&format!("http://{address}/"), None);
    assert_eq!(
        service_address(tenant, ns, "web"),
        address,
        "the address stays in the status"
    );
    drop(restored);
    tenant
        .apply(&echo::service(ns, "after", "LoadBalancer").replace("app: after", "app: web"))
        .unwrap();
    answered(&format!("http://{}/", service_address(tenant, ns, "after")), None);
}

fn broken_token(encoded: &str) -> String {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    let text = String::from_utf8(engine.decode(encoded).unwrap()).unwrap();
    // The header of every token: with another letter in it the token is well-formed and belongs to nobody.
    let broken = text.replacen("eyJhbGciOi", "eyJhbGciOj", 1);
    assert_ne!(broken, text, "the kubeconfig has a token");
    engine.encode(broken)
}

#[test]
fn a_wrong_cluster_name_is_named_with_both_names() {
    let lab = lab();
    let tenant = &lab.tenant_b;
    let _restored = Restored::of(tenant);
    set_cluster_name(tenant, "other");
    logged(tenant, &["tenant-other", "tenant-b"]);
}

/// Lets the tenant reach the hub's API server again, also after a failed story.
struct Cut<'a> {
    lab: &'a testbed::Lab,
    tenant: &'a Cluster,
    hub: (String, u16),
}

impl<'a> Cut<'a> {
    fn off(lab: &'a testbed::Lab, tenant: &'a Cluster) -> Self {
        let server = lab.hub_server().unwrap();
        let (address, port) = server.trim_start_matches("https://").rsplit_once(':').unwrap();
        let cut = Self {
            lab,
            tenant,
            hub: (address.to_owned(), port.parse().unwrap()),
        };
        lab.cut_off(tenant.name, &cut.hub.0, cut.hub.1, true).unwrap();
        cut
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.lab
            .cut_off(self.tenant.name, &self.hub.0, self.hub.1, false)
            .unwrap();
    }
}

/// A Service on a port of its own: its address may be given at once to another Service, which must not be
/// taken for it.
fn going_service(namespace: &str) -> String {
    echo::service(namespace, "going", "LoadBalancer")
        .replace("app: going", "app: web")
        .replace("port: 80,", "port: 81,")
}

#[test]
fn a_hub_out_of_reach_is_named_and_what_waited_is_done_when_it_returns() {
    let lab = lab();
    let tenant = &lab.tenant_b;
    let scratch = Scratch::new("hub-away", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "LoadBalancer")
                + &going_service(ns)),
        )
        .unwrap();
    let address = service_address(tenant, ns, "web");
    let going = format!("http://{}:81/", service_address(tenant, ns, "going"));
    answered(&format!("http://{address}/"), None);
    answered(&going, None);

    let cut = Cut::off(&lab.lab, tenant);
    logged(tenant, &["unreachable", "what is served goes on"]);
    tenant
        .apply(&echo::service(ns, "waiting", "LoadBalancer").replace("app: waiting", "app: web"))
        .unwrap();
    // A deletion is not held up by a hub that is away.
    tenant
        .kubectl(&["delete", "service", "-n", ns, "going", "--timeout=30s"])
        .unwrap();
    answered(&format!("http://{address}/"), None);
    assert_eq!(
        service_address(tenant, ns, "web"),
        address,
        "the address stays in the status"
    );

    drop(cut);
    answered(
        &format!("http://{}/", service_address(tenant, ns, "waiting")),
        None,
    );
    until(
        "the deleted Service's address to be silent",
        seconds(60),
        || match e2e::traffic::get(&going, None) {
            Err(_) => Ok(()),
            Ok(echo) => Err(format!("{echo:?}")),
        },
    )
    .unwrap();
}
