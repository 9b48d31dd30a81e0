//! A client that speaks xDS as our Envoys do: delta ADS over mutual TLS, with the certificate of a fleet. It takes
//! everything, answers at once, and tells when what came.
//!
//! It keeps what it has when a stream ends and names it when it comes back, as Envoy does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::task::Task;

/// Time until a stream that ended is opened again.
const REOPEN: Duration = Duration::from_millis(100);
/// The name in the certificate of the xDS server, by which it is known.
pub const SERVER_NAME: &str = "kubelb-manager-xds.kubelb.svc";

/// Kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// Clusters.
    Cluster,
    /// Endpoints of clusters.
    Endpoints,
    /// Listeners.
    Listener,
}

impl Type {
    const ALL: [Self; 3] = [Self::Cluster, Self::Endpoints, Self::Listener];

    fn url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
        }
    }

    fn of(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.url() == url)
    }
}

/// Certificate, key and authority of a fleet, PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// Who signs the server's.
    pub authority: Vec<u8>,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Heard {
    /// When it was there as a whole.
    pub at: Instant,
    /// Which client heard it: namespace and pod.
    pub client: Arc<(String, String)>,
    /// What it was about.
    pub ty: Type,
    /// Names of resources that it brought.
    pub changed: Vec<String>,
    /// How many it took away.
    pub removed: usize,
    /// Its size, before encryption.
    pub bytes: usize,
}

/// Where responses are told.
pub type Tell = mpsc::UnboundedSender<Heard>;
/// What was told.
pub type Told = mpsc::UnboundedReceiver<Heard>;

/// Versions by name, for each type.
type Held = BTreeMap<Type, BTreeMap<String, String>>;

#[derive(Default)]
struct State {
    held: Held,
    streams: u64,
    opened: Option<Instant>,
    heard: Option<Instant>,
}

/// A connected client. Dropped, it goes.
pub struct Client {
    state: Arc<Mutex<State>>,
    _task: Task,
}

impl Client {
    /// Connects, and again whenever the stream ends.
    ///
    /// # Errors
    /// When the identity is none.
    pub fn begin(port: u16, namespace: &str, pod: &str, identity: &Identity, tell: Tell) -> Result<Self> {
        let tls = TlsConnector::from(Arc::new(client_config(identity)?));
        let state = Arc::new(Mutex::new(State::default()));
        let session = Session {
            port,
            tls,
            who: Arc::new((namespace.to_owned(), pod.to_owned())),
            tell,
            state: Arc::clone(&state),
        };
        let task = Task::begin(async move {
            loop {
                // Whatever ended it, the next try begins where this one stood.
                let _ = session.run().await;
                tokio::time::sleep(REOPEN).await;
            }
        });
        Ok(Self { state, _task: task })
    }

    /// How many resources of a type it has.
    #[must_use]
    pub fn has(&self, ty: Type) -> usize {
        lock(&self.state).held.get(&ty).map_or(0, BTreeMap::len)
    }

    /// How many load balancers with one port it has as a whole.
    #[must_use]
    pub fn load_balancers(&self) -> usize {
        Type::ALL
            .into_iter()
            .map(|ty| self.has(ty))
            .min()
            .unwrap_or_default()
    }

    /// When it heard something last.
    #[must_use]
    pub fn last_heard(&self) -> Option<Instant> {
        lock(&self.state).heard
    }

    /// How many streams it has opened so far, and when the last one.
    #[must_use]
    pub fn streams(&self) -> (u64, Option<Instant>) {
        let state = lock(&self.state);
        (state.streams, state.opened)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Session {
    port: u16,
    tls: TlsConnector,
    who: Arc<(String, String)>,
    tell: Tell,
    state: Arc<Mutex<State>>,
}

impl Session {
    /// One stream, to its end.
    async fn run(&self) -> Result<()> {
        // Room for all that is said before the first answer.
        let (say, requests) = mpsc::channel(16);
        for request in self.greeting() {
            say.send(request).await?;
        }
        let mut client = self.connect().await?;
        let mut responses = client
            .delta_aggregated_resources(ReceiverStream::new(requests))
            .await?
            .into_inner();
        {
            let mut state = lock(&self.state);
            state.streams += 1;
            state.opened = Some(Instant::now());
        }
        while let Some(response) = responses.message().await? {
            for answer in self.take(response) {
                say.send(answer).await?;
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<AggregatedDiscoveryServiceClient<Channel>> {
        let (tls, port) = (self.tls.clone(), self.port);
        let connector = tower::service_fn(move |_| {
            let tls = tls.clone();
            async move {
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from(SERVER_NAME).map_err(std::io::Error::other)?;
                tls.connect(name, stream).await.map(TokioIo::new)
            }
        });
        let channel = Endpoint::from_static("http://xds")
            .initial_stream_window_size(16 * 1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .connect_with_connector(connector)
            .await?;
        // Envoy knows no limit either.
        Ok(AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(usize::MAX))
    }

    /// The first requests: everything, and what is there already. Envoy asks for endpoints when it has clusters.
    fn greeting(&self) -> Vec<DeltaDiscoveryRequest> {
        let held = &lock(&self.state).held;
        let (namespace, pod) = &*self.who;
        let versions = |ty| held.get(&ty).cloned().unwrap_or_default();
        let request = |ty: Type, names: Vec<String>| DeltaDiscoveryRequest {
            type_url: ty.url().to_owned(),
            resource_names_subscribe: names,
            initial_resource_versions: versions(ty).into_iter().collect(),
            ..DeltaDiscoveryRequest::default()
        };
        let node = Node {
            id: pod.clone(),
            cluster: namespace.clone(),
            ..Node::default()
        };
        let mut all = vec![DeltaDiscoveryRequest {
            node: Some(node),
            ..request(Type::Cluster, vec!["*".to_owned()])
        }];
        let endpoints: Vec<String> = versions(Type::Endpoints).into_keys().collect();
        if !endpoints.is_empty() {
            all.push(request(Type::Endpoints, endpoints));
        }
        all.push(request(Type::Listener, vec!["*".to_owned()]));
        all
    }

    /// Takes a response in; what is to be said to it.
    fn take(&self, response: DeltaDiscoveryResponse) -> Vec<DeltaDiscoveryRequest> {
        let (at, bytes) = (Instant::now(), response.encoded_len());
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        let Some(ty) = Type::of(&response.type_url) else {
            return vec![answer];
        };
        let endpoints = (ty == Type::Cluster).then(|| self.endpoints_for(&response));
        let mut state = lock(&self.state);
        state.heard = Some(at);
        let held = state.held.entry(ty).or_default();
        for resource in &response.resources {
            held.insert(resource.name.clone(), resource.version.clone());
        }
        for name in &response.removed_resources {
            held.remove(name);
        }
        if ty == Type::Cluster {
            let endpoints = state.held.entry(Type::Endpoints).or_default();
            for name in &response.removed_resources {
                endpoints.remove(name);
            }
        }
        drop(state);
        // Who does not listen any more does not mind.
        let _ = self.tell.send(Heard {
            at,
            client: Arc::clone(&self.who),
            ty,
            removed: response.removed_resources.len(),
            changed: response.resources.into_iter().map(|r| r.name).collect(),
            bytes,
        });
        std::iter::once(answer).chain(endpoints.flatten()).collect()
    }

    /// Asks for the endpoints of clusters that came, and no more for those of clusters that went.
    fn endpoints_for(&self, response: &DeltaDiscoveryResponse) -> Option<DeltaDiscoveryRequest> {
        let state = lock(&self.state);
        let known = state.held.get(&Type::Cluster);
        let is_new = |name: &str| known.is_none_or(|known| !known.contains_key(name));
        let subscribe: Vec<String> = (response.resources.iter())
            .filter(|resource| is_new(&resource.name))
            .filter_map(|resource| endpoints_name(&resource.resource.as_ref()?.value))
            .collect();
        let unsubscribe = response.removed_resources.clone();
        (!subscribe.is_empty() || !unsubscribe.is_empty()).then(|| DeltaDiscoveryRequest {
            type_url: Type::Endpoints.url().to_owned(),
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            ..DeltaDiscoveryRequest::default()
        })
    }
}

/// Under which name the endpoints of a cluster come; none where it holds them itself.
fn endpoints_name(cluster: &[u8]) -> Option<String> {
    let cluster = Cluster::decode(cluster).ok()?;
    let named = cluster.eds_cluster_config?.service_name;
    Some(if named.is_empty() { cluster.name } else { named })
}

fn client_config(identity: &Identity) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&identity.authority) {
        roots.add(authority?)?;
    }
    let chain = CertificateDer::pem_slice_iter(&identity.certificate).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key).context("the fleet's key")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::cluster::EdsClusterConfig;
    use envoy_types::pb::envoy::service::discovery::v3::Resource;
    use envoy_types::pb::google::protobuf::Any;

    use super::*;

    fn session() -> (Session, Told) {
        let (tell, told) = mpsc::unbounded_channel();
        let pair = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let identity = Identity {
            authority: certificate.clone().into_bytes(),
            certificate: certificate.into_bytes(),
            key: key.into_bytes(),
        };
        let session = Session {
            port: 1,
            tls: TlsConnector::from(Arc::new(client_config(&identity).unwrap())),
            who: Arc::new(("tenant-a".to_owned(), "envoy-0".to_owned())),
            tell,
            state: Arc::default(),
        };
        (session, told)
    }

    fn clusters(names: &[&str], removed: &[&str]) -> DeltaDiscoveryResponse {
        let resource = |name: &&str| Resource {
            name: (*name).to_owned(),
            version: "1".to_owned(),
            resource: Some(Any {
                value: Cluster {
                    name: (*name).to_owned(),
                    eds_cluster_config: Some(EdsClusterConfig::default()),
                    ..Cluster::default()
                }
                .encode_to_vec(),
                ..Any::default()
            }),
            ..Resource::default()
        };
        DeltaDiscoveryResponse {
            type_url: Type::Cluster.url().to_owned(),
            nonce: "n".to_owned(),
            resources: names.iter().map(resource).collect(),
            removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..DeltaDiscoveryResponse::default()
        }
    }

    #[test]
    fn a_cluster_is_acknowledged_and_its_endpoints_are_asked_for_once() {
        let (session, mut told) = session();
        let said = session.take(clusters(&["a", "b"], &[]));
        assert_eq!(said[0].response_nonce, "n");
        assert_eq!(said[1].resource_names_subscribe, ["a", "b"]);
        assert_eq!(
            session.take(clusters(&["a"], &[])).len(),
            1,
            "it is known already"
        );
        let gone = session.take(clusters(&[], &["a"]));
        assert_eq!(gone[1].resource_names_unsubscribe, ["a"]);
        assert_eq!(told.try_recv().unwrap().changed, ["a", "b"]);
    }

    #[test]
    fn who_comes_back_names_what_it_has() {
        let (session, _told) = session();
        assert_eq!(
            session.greeting().len(),
            2,
            "no endpoints before there are clusters"
        );
        session.take(clusters(&["a"], &[]));
        let again = session.greeting();
        assert_eq!(again[0].initial_resource_versions["a"], "1");
        assert_eq!(again[0].node.as_ref().unwrap().id, "envoy-0");
    }
}
