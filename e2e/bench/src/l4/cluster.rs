//! A cluster that is nothing but its API server: etcd and kube-apiserver as plain processes on loopback, with the
//! admission that a cluster has by default. There is no controller and no node; see [`super::stand_in`].

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use testbed::tools::Built;

use super::audit::{Audit, POLICY};
use super::pki::Authority;
use super::process::Running;
use super::wait::{Beat, until};
use crate::clusters::{apply_cluster_wide, kind};

/// Addresses of Services.
const SERVICE_RANGE: &str = "10.96.0.0/12";
/// Who the bench itself is.
pub const BENCH_USER: &str = "bench";

/// A running cluster.
pub struct Cluster {
    /// As the bench itself, which may do all and is not audited.
    pub client: Client,
    /// What others asked for.
    pub audit: Audit,
    /// Its URL.
    pub server: String,
    authority: Authority,
    etcd: Running,
    api_server: Running,
}

impl Cluster {
    /// Starts one whose files go to `dir`, and waits until it is ready.
    ///
    /// # Errors
    /// Says what did not start.
    pub async fn start(kubernetes: &Built, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let authority = Authority::new(dir)?;
        let (etcd, etcd_url) = start_etcd(kubernetes, dir)?;
        let port = free_port()?;
        let server = format!("https://127.0.0.1:{port}");
        let api_server = start_api_server(kubernetes, dir, &authority, &etcd_url, port)?;
        let kubeconfig = authority.kubeconfig(&server, BENCH_USER, BENCH_USER, &["system:masters"])?;
        let mut cluster = Self {
            client: client(&kubeconfig).await?,
            audit: Audit::at(dir.join("audit.log")),
            server,
            authority,
            etcd,
            api_server,
        };
        cluster.ready().await?;
        Ok(cluster)
    }

    async fn ready(&mut self) -> Result<()> {
        until("the API server is ready", Beat::Quick, async || {
            self.etcd.check()?;
            self.api_server.check()?;
            let ready = http::Request::get("/readyz").body(Vec::new())?;
            Ok(self.client.request_text(ready).await.ok().map(drop))
        })
        .await
    }

    /// A kubeconfig of somebody who may do all that is asked of the authorizer: as in a cluster, requests of a service
    /// account take the priority and the checks of rights that such requests take.
    ///
    /// # Errors
    /// When the right cannot be given or the file not written.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("bench-{name}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        let bindings = kind(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
        );
        apply_cluster_wide(&self.client, &bindings, &binding).await?;
        let of_namespace = format!("system:serviceaccounts:{namespace}");
        let groups = ["system:serviceaccounts", of_namespace.as_str()];
        self.authority.kubeconfig(&self.server, name, &user, &groups)
    }

    /// Ends it. Nothing of it is needed any more, and an API server that is asked waits for its watches.
    ///
    /// # Errors
    /// When a process cannot be ended.
    pub async fn end(mut self) -> Result<()> {
        self.api_server.kill().await?;
        self.etcd.kill().await
    }
}

/// A client by a kubeconfig. The environment's proxy is for other addresses than these.
async fn client(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

fn start_etcd(kubernetes: &Built, dir: &Path) -> Result<(Running, String)> {
    let (client, peer) = (local_url(free_port()?), local_url(free_port()?));
    let data = dir.join("etcd");
    let args = [
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // The disk of this machine is not what is measured.
        "--unsafe-no-fsync".to_owned(),
        "--quota-backend-bytes=8589934592".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    let etcd = Running::start(&kubernetes.program("etcd"), "etcd", dir, args, &[])?;
    Ok((etcd, client))
}

fn start_api_server(
    kubernetes: &Built,
    dir: &Path,
    authority: &Authority,
    etcd: &str,
    port: u16,
) -> Result<Running> {
    let server = authority.server("127.0.0.1")?;
    let (token_key, token_public_key) = authority.token_keys()?;
    let policy = dir.join("audit-policy.yaml");
    std::fs::write(&policy, POLICY).with_context(|| format!("writing {}", policy.display()))?;
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let args = [
        format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        // Nobody here asks for the Service `kubernetes`, and its endpoint may not be on loopback.
        "--endpoint-reconciler-type=none".to_owned(),
        file("tls-cert-file", &server.certificate),
        file("tls-private-key-file", &server.key),
        file("client-ca-file", &authority.certificate()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        file("service-account-signing-key-file", &token_key),
        file("service-account-key-file", &token_public_key),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        file("audit-policy-file", &policy),
        file("audit-log-path", &dir.join("audit.log")),
        "--audit-log-maxsize=100000".to_owned(),
    ];
    Running::start(
        &kubernetes.program("kube-apiserver"),
        "kube-apiserver",
        dir,
        args,
        &[],
    )
}

/// A port of loopback that nobody listens on. Somebody else may take it before it is used; rarely.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

fn local_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
