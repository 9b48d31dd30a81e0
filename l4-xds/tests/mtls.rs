//! The server over a real connection: who gets in, and what they get to see.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy.toml allows these in test functions only, and here the helpers are tests too"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
};
use hyper_util::rt::TokioIo;
use l4_xds::server::Limits;
use l4_xds::snapshot::ResourceType::{Cluster, Listener};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use support::control_plane::{PATIENCE, Running, fleet_key};
use support::pki::{Ca, Pair, SERVER_NAME};
use support::{ack, id, nack, snapshot, subscribe, web};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

type Client = AggregatedDiscoveryServiceClient<Channel>;

fn client_config(server_ca: &Ca, client: Option<&Pair>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(server_ca.pem().as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(Pair { certificate, key }) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                .unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn connect(
    address: SocketAddr,
    server_ca: &Ca,
    client: Option<&Pair>,
) -> Result<Client, tonic::transport::Error> {
    let tls = TlsConnector::from(Arc::new(client_config(server_ca, client)));
    let connector = tower::service_fn(move |_| {
        let tls = tls.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            tls.connect(ServerName::try_from(SERVER_NAME).unwrap(), stream)
                .await
                .map(TokioIo::new)
        }
    });
    Ok(Client::new(
        Endpoint::from_static("http://xds")
            .connect_with_connector(connector)
            .await?,
    ))
}

/// An open stream.
struct Stream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Stream {
    async fn open(client: &mut Client) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(16);
        let opening = client.delta_aggregated_resources(ReceiverStream::new(receiver));
        let responses = tokio::time::timeout(PATIENCE, opening)
            .await
            .expect("waited in vain for the stream")?;
        Ok(Self {
            requests,
            responses: responses.into_inner(),
        })
    }

    async fn say(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    async fn hear(&mut self) -> Option<DeltaDiscoveryResponse> {
        let message = tokio::time::timeout(PATIENCE, self.responses.message());
        message.await.expect("waited in vain for a response").unwrap()
    }

    async fn hear_names(&mut self) -> Vec<String> {
        let response = self.hear().await.expect("the stream ended");
        self.say(ack(&response)).await;
        response
            .resources
            .into_iter()
            .map(|resource| resource.name)
            .collect()
    }
}

async fn code_of(client: Result<Client, tonic::transport::Error>) -> Option<Code> {
    match client {
        Err(_) => None,
        Ok(mut client) => Stream::open(&mut client).await.err().map(|status| status.code()),
    }
}

#[tokio::test]
async fn the_certificate_and_not_the_node_says_which_fleet_is_asking() {
    let ca = Ca::new("xds");
    let plane = Running::start(&ca.material(&[&ca]), Limits::default()).await;
    plane.set("tenant-a", snapshot(&[web("a", 10001, "10.0.0.1")]));
    plane.set("tenant-b", snapshot(&[web("b", 10002, "10.0.0.1")]));
    let mut client = connect(plane.address, &ca, Some(&ca.fleet("tenant-a")))
        .await
        .unwrap();
    let mut stream = Stream::open(&mut client).await.unwrap();
    let node = Node {
        id: "tenant-b".to_owned(),
        cluster: "tenant-b".to_owned(),
        ..Default::default()
    };
    stream
        .say(DeltaDiscoveryRequest {
            node: Some(node),
            ..subscribe(Listener, &["*", "tenant-a/b/tcp/80"])
        })
        .await;
    let response = stream.hear().await.unwrap();
    assert_eq!(
        response
            .resources
            .iter()
            .map(|resource| &*resource.name)
            .collect::<Vec<_>>(),
        ["tenant-a/a/tcp/80"]
    );
    assert_eq!(
        response.removed_resources,
        ["tenant-a/b/tcp/80"],
        "another fleet's listener does not exist"
    );
    plane.stop().await;
}

#[tokio::test]
async fn clients_without_a_usable_certificate_are_refused() {
    let (ca, other) = (Ca::new("xds"), Ca::new("somebody else"));
    let plane = Running::start(&ca.material(&[&ca]), Limits::default()).await;
    plane.set("tenant-a", snapshot(&[web("a", 10001, "10.0.0.1")]));
    // Under TLS 1.3 the client learns that it was turned away only with its first read.
    let turned_away = [
        None,
        Some(Code::Unknown),
        Some(Code::Unavailable),
        Some(Code::Cancelled),
        Some(Code::Internal),
    ];
    for pair in [None, Some(other.fleet("tenant-a"))] {
        let code = code_of(connect(plane.address, &ca, pair.as_ref()).await).await;
        assert!(turned_away.contains(&code), "{code:?}");
    }
    let uris: [&[&str]; 5] = [
        &[],
        &["spiffe://kubelb/manager"],
        &["spiffe://kubelb/fleet/"],
        &["spiffe://kubelb/fleet/a/b/c"],
        &["spiffe://kubelb/fleet/tenant-a", "spiffe://kubelb/fleet/tenant-b"],
    ];
    for uris in uris {
        let pair = ca.client(uris);
        assert_eq!(
            code_of(connect(plane.address, &ca, Some(&pair)).await).await,
            Some(Code::PermissionDenied),
            "{uris:?}"
        );
    }
    assert_eq!(plane.counter("refused_total", "no_fleet_in_certificate"), 5);
    assert_eq!(plane.counter("refused_total", "tls_handshake"), 2);
    plane.stop().await;
}

#[tokio::test]
async fn a_server_certificate_cannot_be_used_by_a_client() {
    let ca = Ca::new("xds");
    let plane = Running::start(&ca.material(&[&ca]), Limits::default()).await;
    let code = code_of(connect(plane.address, &ca, Some(&ca.server())).await).await;
    assert_ne!(code, Some(Code::Ok));
    assert_eq!(plane.counter("refused_total", "tls_handshake"), 1);
    plane.stop().await;
}

#[tokio::test]
async fn both_cas_are_trusted_while_one_replaces_the_other_and_then_only_the_new_one() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let plane = Running::start(&old.material(&[&old]), Limits::default()).await;
    plane.tls.reload(&old.material(&[&old, &new])).unwrap();
    for ca in [&old, &new] {
        let mut client = connect(plane.address, &old, Some(&ca.fleet("tenant-a")))
            .await
            .unwrap();
        assert!(Stream::open(&mut client).await.is_ok());
    }
    plane.tls.reload(&new.material(&[&new])).unwrap();
    assert!(
        code_of(connect(plane.address, &new, Some(&old.fleet("tenant-a"))).await).await != Some(Code::Ok)
    );
    let mut client = connect(plane.address, &new, Some(&new.fleet("tenant-a")))
        .await
        .unwrap();
    assert!(Stream::open(&mut client).await.is_ok());
    assert_eq!(plane.counter("refused_total", "tls_handshake"), 1);
    plane.stop().await;
}

#[tokio::test]
async fn updates_reach_the_stream_and_answers_reach_the_report() {
    let ca = Ca::new("xds");
    let plane = Running::start(&ca.material(&[&ca]), Limits::default()).await;
    let mut client = connect(plane.address, &ca, Some(&ca.fleet("tenant-a")))
        .await
        .unwrap();
    let mut stream = Stream::open(&mut client).await.unwrap();
    stream.say(subscribe(Cluster, &[])).await;
    let first = snapshot(&[web("a", 10001, "10.0.0.1")]);
    plane.set("tenant-a", first.clone());
    assert_eq!(stream.hear_names().await, ["tenant-a/a/tcp/80"]);
    stream.say(subscribe(Listener, &[])).await;
    assert_eq!(stream.hear_names().await, ["tenant-a/a/tcp/80"]);
    let content = first.content_version(&id("a")).cloned().unwrap();
    plane
        .reported("a is programmed", |report| {
            let fleet = report.fleets.get(&fleet_key("tenant-a"));
            let report = fleet.and_then(|fleet| fleet.load_balancers.get(&id("a")));
            report.is_some_and(|report| report.programmed.contains_key(&content))
        })
        .await;

    plane.set("tenant-a", snapshot(&[web("a", 10009, "10.0.0.1")]));
    let response = stream.hear().await.unwrap();
    stream.say(nack(&response, "tenant-a/a/tcp/80: no")).await;
    plane
        .reported("a is rejected and its older content still programmed", |report| {
            let report = report
                .fleets
                .get(&fleet_key("tenant-a"))
                .and_then(|fleet| fleet.load_balancers.get(&id("a")));
            report
                .is_some_and(|report| report.programmed.contains_key(&content) && report.rejected.len() == 1)
        })
        .await;
    assert_eq!(
        (
            plane.counter("acks_total", "Cluster"),
            plane.counter("nacks_total", "Listener")
        ),
        (1, 1)
    );
    drop(stream);
    plane
        .reported("nobody is connected", |report| report.fleets.is_empty())
        .await;
    plane.stop().await;
}

#[tokio::test]
async fn streams_end_at_their_maximum_age_and_the_connection_with_them() {
    let ca = Ca::new("xds");
    let limits = Limits {
        stream_max_age: Duration::from_millis(100),
        ..Limits::default()
    };
    let plane = Running::start(&ca.material(&[&ca]), limits).await;
    let mut client = connect(plane.address, &ca, Some(&ca.fleet("tenant-a")))
        .await
        .unwrap();
    let mut stream = Stream::open(&mut client).await.unwrap();
    assert_eq!(stream.hear().await, None, "it ends without an error");
    plane.stop().await;
}

#[tokio::test]
async fn one_fleet_cannot_open_streams_without_end() {
    let ca = Ca::new("xds");
    let plane = Running::start(
        &ca.material(&[&ca]),
        Limits {
            streams_per_fleet: 1,
            ..Limits::default()
        },
    )
    .await;
    let mut a = connect(plane.address, &ca, Some(&ca.fleet("tenant-a")))
        .await
        .unwrap();
    let _open = Stream::open(&mut a).await.unwrap();
    assert_eq!(
        Stream::open(&mut a).await.err().map(|status| status.code()),
        Some(Code::ResourceExhausted)
    );
    let mut b = connect(plane.address, &ca, Some(&ca.fleet("tenant-b")))
        .await
        .unwrap();
    assert!(Stream::open(&mut b).await.is_ok());
    plane.stop().await;
}

#[tokio::test]
async fn the_state_of_the_world_is_served_by_the_same_rules() {
    let ca = Ca::new("xds");
    let plane = Running::start(&ca.material(&[&ca]), Limits::default()).await;
    plane.set("tenant-a", snapshot(&[web("web", 10001, "10.0.0.1")]));
    plane.set("tenant-b", snapshot(&[]));
    let ask = async |fleet: &str| {
        let mut client = connect(plane.address, &ca, Some(&ca.fleet(fleet))).await.unwrap();
        let request = DiscoveryRequest {
            type_url: Cluster.type_url().to_owned(),
            ..Default::default()
        };
        // The request is the only one, and the stream stays open.
        let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
        let mut responses = client
            .stream_aggregated_resources(requests)
            .await
            .unwrap()
            .into_inner();
        responses.message().await.unwrap().unwrap()
    };
    assert_eq!(ask("tenant-a").await.resources.len(), 1);
    assert_eq!(ask("tenant-b").await.resources.len(), 0);
    plane.stop().await;
}

/// Streams of many Envoys of one fleet, all opened at once.
async fn many(plane: &Running, ca: &Ca, pair: &Pair, count: usize) -> Vec<(Client, Stream)> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut client = connect(plane.address, ca, Some(pair)).await.unwrap();
        let stream = Stream::open(&mut client).await.unwrap();
        open.push((client, stream));
    }
    open
}

#[tokio::test]
async fn new_certificates_end_no_stream_and_later_all_end_one_after_the_other() {
    const STREAMS: usize = 24;
    let ca = Ca::new("xds");
    let max_age = Duration::from_secs(5);
    let limits = Limits {
        stream_max_age: max_age,
        ..Limits::default()
    };
    let plane = Running::start(&ca.material(&[&ca]), limits).await;
    plane.set("tenant-a", snapshot(&[web("a", 10001, "10.0.0.1")]));
    let mut open = many(&plane, &ca, &ca.fleet("tenant-a"), STREAMS).await;
    let opened = tokio::time::Instant::now();

    plane.tls.reload(&ca.material(&[&ca])).unwrap();
    for (_, stream) in &mut open {
        stream.say(subscribe(Listener, &[])).await;
        assert_eq!(stream.hear_names().await, ["tenant-a/a/tcp/80"], "it goes on");
    }

    let mut ends = tokio::task::JoinSet::new();
    for (client, mut stream) in open {
        ends.spawn(async move {
            while stream.hear().await.is_some() {}
            drop(client);
            opened.elapsed()
        });
    }
    let mut ends = ends.join_all().await;
    ends.sort();
    let (first, last) = (ends[0], ends[STREAMS - 1]);
    assert!(first >= max_age.mul_f64(0.7), "the first ended after {first:?}");
    assert!(last <= max_age.mul_f64(1.5), "the last ended after {last:?}");
    // All within a fifth of what they are spread over would be a storm.
    let in_one = Duration::from_millis(400);
    let together = |from: &Duration| {
        ends.iter()
            .filter(|end| **end >= *from && **end < *from + in_one)
            .count()
    };
    let most = ends.iter().map(together).max().unwrap();
    assert!(
        most <= STREAMS * 3 / 4,
        "{most} of {STREAMS} ended within {in_one:?}: {ends:?}"
    );
    plane.stop().await;
}

#[tokio::test]
async fn a_stream_outlives_its_certificate_by_its_maximum_age_at_most() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let limits = Limits {
        stream_max_age: Duration::from_millis(500),
        ..Limits::default()
    };
    let plane = Running::start(&old.material(&[&old, &new]), limits).await;
    let pair = old.fleet("tenant-a");
    let mut client = connect(plane.address, &old, Some(&pair)).await.unwrap();
    let mut stream = Stream::open(&mut client).await.unwrap();
    plane.tls.reload(&old.material(&[&new])).unwrap();
    assert_eq!(stream.hear().await, None, "it ends without an error");
    // The connection goes with it, so the next stream needs a certificate that counts.
    let again = Stream::open(&mut client).await;
    assert!(again.is_err(), "the old certificate still counts");
    assert_ne!(
        code_of(connect(plane.address, &old, Some(&pair)).await).await,
        Some(Code::Ok)
    );
    plane.stop().await;
}
