//! One client for the hub that lives as long as the process.
//!
//! Below it, the connection is exchanged when the kubeconfig file changes: watches and writes take up the new
//! credential with their next request, and nothing has to be restarted. Without a usable kubeconfig each
//! request fails at once with the cause. Every request is measured here.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use api::names::TenantNamespace;
use controller_kit::CancellationToken;
use controller_kit::backoff::Backoff;
use controller_kit::client::{Connection, KubeconfigFile};
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;

use super::fault::{Fault, chain};
use crate::metrics::HubMetrics;

/// How the first reading of the kubeconfig is tried again.
const OPEN_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    max: Duration::from_secs(15),
};

/// Which tenant this is, and how it reaches the hub.
#[derive(Debug, Clone)]
pub struct Identity {
    /// As given by `--cluster-name`.
    pub cluster_name: String,
    /// What that means on the hub.
    pub namespace: TenantNamespace,
    /// The kubeconfig file.
    pub kubeconfig: PathBuf,
    /// What the hub's audit log shows.
    pub user_agent: String,
}

/// The exchangeable connection.
pub struct Link {
    identity: Identity,
    metrics: HubMetrics,
    current: RwLock<Result<Client, Fault>>,
    changes: watch::Sender<u64>,
}

/// A request was not sent.
#[derive(Debug, thiserror::Error)]
#[error("no connection to the hub")]
struct NotConnected(#[source] Fault);

impl Link {
    /// A link that is not connected yet.
    #[must_use]
    pub fn new(identity: Identity, metrics: HubMetrics) -> Arc<Self> {
        let current = RwLock::new(Err(Fault::Starting));
        Arc::new(Self {
            identity,
            metrics,
            current,
            changes: watch::Sender::new(0),
        })
    }

    /// A link over a client that is there already, for tests of what uses links.
    #[cfg(test)]
    #[must_use]
    pub fn connected(identity: Identity, metrics: HubMetrics, client: Client) -> Arc<Self> {
        let link = Self::new(identity, metrics);
        link.take(&client);
        link
    }

    /// Which tenant this is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The client that lives as long as the process. Must be called inside a tokio runtime.
    #[must_use]
    pub fn client(self: &Arc<Self>) -> Client {
        let link = self.clone();
        let service = tower::service_fn(move |request| {
            let link = link.clone();
            async move { link.send(request).await }
        });
        Client::new(service, self.identity.namespace.as_str())
    }

    /// What keeps requests from being sent at all.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.read().as_ref().err().cloned()
    }

    /// Counts up with each change of the connection.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reads the kubeconfig file as soon as there is a usable one, and again when it changes.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let Some(file) = self.open(&stop).await else {
            return;
        };
        let mut connections = file.subscribe();
        let follow = async {
            loop {
                let Connection { client, .. } = connections.borrow_and_update().clone();
                self.take(&client);
                if connections.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = file.run(stop.clone()) => {}
            () = follow => {}
        }
    }

    async fn open(&self, stop: &CancellationToken) -> Option<KubeconfigFile> {
        for attempt in 0.. {
            match KubeconfigFile::open(&self.identity.kubeconfig, &self.identity.user_agent).await {
                Ok(file) => return Some(file.counting(self.metrics.reloads())),
                Err(error) => self.set(Err(Fault::Kubeconfig(chain(&error)))),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(OPEN_BACKOFF.delay(attempt)) => {}
            }
        }
        None
    }

    /// Takes a new connection, if it is this tenant's: a credential decides which tenant a cluster is.
    fn take(&self, client: &Client) {
        let found = client.default_namespace();
        let Identity {
            cluster_name,
            namespace,
            ..
        } = &self.identity;
        let checked = if found == namespace.as_str() {
            Ok(client.clone())
        } else {
            Err(Fault::ClusterNameMismatch {
                cluster_name: cluster_name.clone(),
                expected: namespace.as_str().to_owned(),
                found: found.to_owned(),
            })
        };
        self.set(checked);
    }

    fn set(&self, new: Result<Client, Fault>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if matches!((&*current, &new), (Err(old), Err(new)) if old == new) {
            return;
        }
        *current = new;
        drop(current);
        self.changes.send_modify(|count| *count += 1);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Result<Client, Fault>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let client = match &*self.read() {
            Ok(client) => client.clone(),
            Err(fault) => return Err(kube::Error::Service(Box::new(NotConnected(fault.clone())))),
        };
        let operation = operation(&request);
        let started = Instant::now();
        let answer = client.send(request).await;
        let status = answer.as_ref().ok().map(|response| response.status().as_u16());
        self.metrics.request(operation, started.elapsed(), status);
        answer
    }
}

/// The verb of a request, as RBAC names it.
fn operation(request: &Request<Body>) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    let is = |key: &str| query.split('&').any(|pair| pair == key);
    match *request.method() {
        Method::GET if is("watch=true") || is("watch=1") => "watch",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::TenantState;
    use controller_kit::metrics::Metrics;
    use kube::Api;

    use super::*;

    fn identity() -> Identity {
        Identity {
            cluster_name: "a".to_owned(),
            namespace: TenantNamespace::of("a").unwrap(),
            kubeconfig: "/nonexistent/kubeconfig".into(),
            user_agent: "kubelb-ccm/test".to_owned(),
        }
    }

    fn answering(namespace: &'static str) -> Client {
        let service = tower::service_fn(|_: Request<Body>| async {
            let body = br#"{"apiVersion":"kubelb.k8c.io/v1alpha1","kind":"TenantState","metadata":{"name":"default"},"spec":{}}"#;
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(body.to_vec())))
        });
        Client::new(service, namespace)
    }

    fn metrics() -> (Metrics, HubMetrics) {
        let registry = Metrics::new();
        let hub = HubMetrics::new(&registry).unwrap();
        (registry, hub)
    }

    #[tokio::test]
    async fn without_a_kubeconfig_a_request_fails_with_the_cause_and_the_process_lives() {
        let link = Link::new(identity(), metrics().1);
        let stop = CancellationToken::new();
        let task = tokio::spawn(link.clone().run(stop.clone()));
        link.changes().changed().await.unwrap();
        let api: Api<TenantState> = Api::namespaced(link.client(), "tenant-a");
        let error = api.get("default").await.unwrap_err();
        assert!(
            chain(&error).contains("/nonexistent/kubeconfig"),
            "{}",
            chain(&error)
        );
        assert_eq!(link.fault().unwrap().reason(), "kubeconfig");
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_credential_of_another_tenant_is_never_used() {
        let link = Link::connected(identity(), metrics().1, answering("tenant-b"));
        let api: Api<TenantState> = Api::namespaced(link.client(), "tenant-a");
        assert!(api.get("default").await.is_err());
        assert_eq!(link.fault().unwrap().reason(), "cluster_name_mismatch");
    }

    #[tokio::test]
    async fn the_same_client_works_again_after_the_connection_was_exchanged() {
        let (registry, hub) = metrics();
        let link = Link::connected(identity(), hub, answering("tenant-b"));
        let api: Api<TenantState> = Api::namespaced(link.client(), "tenant-a");
        assert!(api.get("default").await.is_err());
        link.take(&answering("tenant-a"));
        assert!(api.get("default").await.is_ok());
        let text = registry.text().unwrap();
        assert!(
            text.contains(
                r#"kubelb_ccm_kubelb_cluster_operations_total{operation="get",result="success"} 1"#
            ),
            "{text}"
        );
    }
}
