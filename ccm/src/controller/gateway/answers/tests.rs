use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;

const WALL: &str = "2026-01-01T12:00:00Z";

/// Nodes that answer on some ports, and how often they were asked.
#[derive(Clone, Default)]
struct Nodes {
    answering: Arc<Mutex<BTreeSet<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Nodes {
    fn answer(&self, host: &str) {
        self.answering.lock().unwrap().insert(host.to_owned());
    }
}

impl Prober for Nodes {
    fn answers<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, bool> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answers = self.answering.lock().unwrap().contains(&target.host);
        Box::pin(std::future::ready(answers))
    }
}

struct World {
    nodes: Nodes,
    changes: Arc<AtomicUsize>,
    stop: CancellationToken,
    answers: Answers,
}

impl World {
    fn new() -> Self {
        let (nodes, changes, stop) = (Nodes::default(), Arc::default(), CancellationToken::new());
        let count = Arc::clone(&changes);
        let changed = move || {
            AtomicUsize::fetch_add(&count, 1, Ordering::Relaxed);
        };
        let answers = Answers::new(nodes.clone(), changed, &stop);
        Self {
            nodes,
            changes,
            stop,
            answers,
        }
    }

    fn settling(&self, services: &[Service]) -> usize {
        self.observe(services).services.len()
    }

    fn observe(&self, services: &[Service]) -> Settling {
        let wall = WALL.parse().unwrap();
        let services: Vec<_> = services.iter().cloned().map(Arc::new).collect();
        self.answers.observe(
            &services,
            || addresses(&["10.0.0.1", "10.0.0.2"]),
            Instant::now(),
            wall,
        )
    }

    fn asked(&self) -> usize {
        self.nodes.asked.load(Ordering::Relaxed)
    }

    fn changes(&self) -> usize {
        self.changes.load(Ordering::Relaxed)
    }
}

fn addresses(ips: &[&str]) -> Vec<EndpointAddress> {
    let address = |ip: &&str| EndpointAddress {
        ip: Some((*ip).to_owned()),
        hostname: None,
    };
    ips.iter().map(address).collect()
}

fn shadow(uid: &str, protocol: &str, created: &str) -> Service {
    let service = json!({"metadata": {"namespace": "shop", "name": "s", "uid": uid, "creationTimestamp": created,
            "labels": {"kubelb.k8c.io/managed-by": "kubelb", "kubelb.k8c.io/component": "shadow-service"}},
        "spec": {"type": "NodePort", "ipFamilies": ["IPv4"], "ports": [{"port": 80, "nodePort": 30080, "protocol": protocol}]}});
    serde_json::from_value(service).unwrap()
}

fn new_shadow() -> Service {
    shadow("1", "TCP", "2026-01-01T11:59:59Z")
}

#[tokio::test(start_paused = true)]
async fn a_new_service_settles_until_every_node_answers_and_then_for_good() {
    let world = World::new();
    let services = [new_shadow()];
    let settling = world.observe(&services);
    assert_eq!(
        (settling.services[0].name.as_str(), settling.due_in),
        ("s", Some(CEILING))
    );
    world.nodes.answer("10.0.0.1");
    sleep(Duration::from_millis(300)).await;
    assert_eq!((world.settling(&services), world.changes()), (1, 0));
    world.nodes.answer("10.0.0.2");
    sleep(Duration::from_millis(60)).await;
    assert_eq!(
        (world.observe(&services), world.changes()),
        (Settling::default(), 1)
    );
    let asked = world.asked();
    sleep(Duration::from_secs(5)).await;
    assert_eq!((world.settling(&services), world.asked()), (0, asked));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_answers_is_waited_for_until_the_ceiling() {
    let world = World::new();
    let services = [new_shadow()];
    world.observe(&services);
    sleep(Duration::from_millis(1990)).await;
    assert_eq!((world.settling(&services), world.changes()), (1, 0));
    sleep(Duration::from_millis(20)).await;
    assert_eq!((world.settling(&services), world.changes()), (0, 1));
    let asked = world.asked();
    sleep(Duration::from_secs(5)).await;
    assert_eq!((world.settling(&services), world.asked()), (0, asked));
}

#[tokio::test(start_paused = true)]
async fn udp_alone_is_waited_for_and_nobody_is_asked() {
    let world = World::new();
    let services = [shadow("1", "UDP", WALL)];
    assert_eq!(world.observe(&services).due_in, Some(UDP_WAIT));
    sleep(UDP_WAIT).await;
    assert_eq!((world.settling(&services), world.asked()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_nothing_waits() {
    let world = World::new();
    assert_eq!(world.settling(&[shadow("1", "TCP", "2026-01-01T11:59:49Z")]), 0);
    sleep(CEILING).await;
    assert_eq!(world.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn services_that_users_made_are_not_asked() {
    let world = World::new();
    let mut service = new_shadow();
    service.metadata.labels = None;
    assert_eq!(world.settling(&[service]), 0);
    sleep(CEILING).await;
    assert_eq!(world.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_gone_is_forgotten_and_asked_no_more() {
    let world = World::new();
    world.observe(&[new_shadow()]);
    sleep(PAUSE).await;
    assert_eq!(world.settling(&[]), 0);
    let asked = world.asked();
    sleep(CEILING).await;
    assert_eq!((world.asked(), world.changes()), (asked, 0));
    assert!(world.answers.shared.lock().is_empty());
    // Another one of its name is new.
    assert_eq!(world.settling(&[shadow("2", "TCP", WALL)]), 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stops_asks_no_more() {
    let world = World::new();
    world.observe(&[new_shadow()]);
    sleep(PAUSE).await;
    world.stop.cancel();
    let asked = world.asked();
    sleep(CEILING).await;
    assert_eq!((world.asked(), world.changes()), (asked, 0));
}

#[tokio::test(start_paused = true)]
async fn only_so_many_services_are_asked_at_once_and_all_end_at_the_ceiling() {
    let world = World::new();
    let named = |i: usize| {
        let mut service = new_shadow();
        service.metadata.name = Some(format!("s{i}"));
        service
    };
    let services: Vec<_> = (0..MAX_SERVICES + 8).map(named).collect();
    assert_eq!(world.settling(&services), services.len());
    sleep(Duration::from_millis(10)).await;
    assert_eq!(world.asked(), MAX_SERVICES * 2);
    sleep(CEILING).await;
    assert_eq!((world.settling(&services), world.changes()), (0, services.len()));
}

#[test]
fn nodes_are_asked_in_the_families_of_the_service_and_not_all_of_a_large_cluster() {
    let hosts = |addresses: &[EndpointAddress]| -> Vec<String> {
        let targets = targets(&new_shadow(), &[30080], addresses);
        targets.into_iter().map(|target| target.host).collect()
    };
    assert_eq!(hosts(&addresses(&["10.0.0.1", "fd00::1"])), ["10.0.0.1"]);
    let many: Vec<_> = (0..40).map(|i| format!("10.0.0.{i}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(hosts(&addresses(&many)).len(), MAX_ADDRESSES);
}

#[tokio::test]
async fn a_port_that_listens_answers_and_one_that_does_not_refuses() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
    };
    assert!(TcpProber.answers(&target).await);
    drop(listener);
    assert!(!TcpProber.answers(&target).await);
}
