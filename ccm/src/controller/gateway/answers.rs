//! Asks nodes whether they answer on the NodePorts of a new shadow Service.
//!
//! The API server names a NodePort at once; kube-proxy has it on the nodes a moment later, and nothing in the
//! cluster tells when. Until then a connection is refused, so a route must not rely on it. No data is sent, and
//! nothing is waited for longer than the ceiling: a node that cannot be reached from here may well be from the hub.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::v1alpha1::EndpointAddress;
use controller_kit::CancellationToken;
use futures::StreamExt;
use futures::future::BoxFuture;
use gateway_semantics::{ServiceName, is_shadow};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Service;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// A Service that is older has its NodePorts everywhere: after a restart nothing waits.
const YOUNG: SignedDuration = SignedDuration::from_secs(10);
/// No Service is waited for longer, from when it was first seen.
const CEILING: Duration = Duration::from_secs(2);
/// Nobody can ask whether a UDP port answers.
const UDP_WAIT: Duration = Duration::from_secs(1);
/// Between two connections to one port of one node.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one connection is tried.
const CONNECT: Duration = Duration::from_millis(500);
/// So many nodes are asked; kube-proxy is about as fast on the others.
const MAX_ADDRESSES: usize = 16;
/// So many ports of a Service are asked: they come together.
const MAX_PORTS: usize = 4;
/// So many connections of one Service are tried at once.
const MAX_CONNECTIONS: usize = 16;
/// So many Services are asked about at once.
const MAX_SERVICES: usize = 32;

/// A port of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// IP address or host name.
    pub host: String,
    /// Port number.
    pub port: u16,
}

/// Finds out whether somebody answers.
pub trait Prober: Send + Sync + 'static {
    /// Tries once.
    fn answers<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, bool>;
}

/// Opens a TCP connection and closes it at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpProber;

impl Prober for TcpProber {
    fn answers<'a>(&'a self, Target { host, port }: &'a Target) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let connect = TcpStream::connect((host.as_str(), *port));
            matches!(timeout(CONNECT, connect).await, Ok(Ok(_)))
        })
    }
}

/// What is known of the shadow Services.
pub struct Answers {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

/// Shadow Services that do not answer yet.
#[derive(Debug, Default, PartialEq)]
pub struct Settling {
    /// Their names, sorted.
    pub services: Vec<ServiceName>,
    /// After this time one less is waited for, whatever it answers.
    pub due_in: Option<Duration>,
}

struct Shared {
    prober: Box<dyn Prober>,
    changed: Box<dyn Fn() + Send + Sync>,
    slots: Semaphore,
    known: Mutex<BTreeMap<ServiceName, Known>>,
}

struct Known {
    uid: String,
    /// Waited for until then; none once it answers, which is for good.
    until: Option<Instant>,
    /// Ends with what is known.
    _task: Option<Task>,
}

struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answers {
    /// `changed` is called when a Service that was waited for answers, or is waited for no longer.
    pub fn new(
        prober: impl Prober,
        changed: impl Fn() + Send + Sync + 'static,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                prober: Box::new(prober),
                changed: Box::new(changed),
                slots: Semaphore::new(MAX_SERVICES),
                known: Mutex::default(),
            }),
            stop: stop.clone(),
        }
    }

    /// Takes in all Services of the cluster, begins to ask about shadows that are new, and forgets those that are
    /// gone. Never waits.
    pub fn observe(
        &self,
        services: &[Arc<Service>],
        addresses: impl FnOnce() -> Vec<EndpointAddress>,
        now: Instant,
        wall: Timestamp,
    ) -> Settling {
        let addresses = LazyCell::new(addresses);
        let shadows: BTreeMap<ServiceName, &Service> = services
            .iter()
            .filter(|service| is_shadow(service))
            .map(|service| (name_of(service), service.as_ref()))
            .collect();
        let mut known = self.shared.lock();
        known.retain(|name, known| {
            shadows
                .get(name)
                .is_some_and(|service| uid_of(service) == known.uid)
        });
        for (name, service) in shadows {
            if known.contains_key(&name) || !is_young(service, wall) {
                continue;
            }
            let wait = match ways(service) {
                Ways::None => continue,
                Ways::Udp => Some((now + UDP_WAIT, Vec::new())),
                Ways::Tcp(ports) => {
                    let targets = targets(service, &ports, &addresses);
                    (!targets.is_empty()).then_some((now + CEILING, targets))
                }
            };
            let uid = uid_of(service).to_owned();
            let entry = match wait {
                None => Known {
                    uid,
                    until: None,
                    _task: None,
                },
                Some((until, targets)) => Known {
                    _task: (!targets.is_empty()).then(|| self.ask(name.clone(), uid.clone(), targets, until)),
                    uid,
                    until: Some(until),
                },
            };
            known.insert(name, entry);
        }
        settling(&known, now)
    }

    fn ask(&self, name: ServiceName, uid: String, targets: Vec<Target>, until: Instant) -> Task {
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        let task = async move {
            let answered = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                answered = timeout_at(until, shared.all_answer(&targets)) => answered.is_ok(),
            };
            let ServiceName {
                namespace,
                name: service,
            } = &name;
            tracing::debug!(namespace, service, answered, "NodePorts of a new Service");
            shared.settle(&name, &uid);
            (shared.changed)();
        };
        Task(tokio::spawn(task).abort_handle())
    }
}

impl Shared {
    async fn all_answer(&self, targets: &[Target]) {
        let _slot = self.slots.acquire().await;
        let until_it_answers = |target| async move {
            while !self.prober.answers(target).await {
                sleep(PAUSE).await;
            }
        };
        futures::stream::iter(targets)
            .for_each_concurrent(MAX_CONNECTIONS, until_it_answers)
            .await;
    }

    fn settle(&self, name: &ServiceName, uid: &str) {
        if let Some(known) = self.lock().get_mut(name).filter(|known| known.uid == uid) {
            known.until = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock has the last word: a task that broke keeps no route waiting.
fn settling(known: &BTreeMap<ServiceName, Known>, now: Instant) -> Settling {
    let waiting = || {
        let until = known
            .iter()
            .filter_map(|(name, known)| Some((name, known.until?)));
        until.filter(|(_, until)| *until > now)
    };
    Settling {
        services: waiting().map(|(name, _)| name.clone()).collect(),
        due_in: waiting().map(|(_, until)| until - now).min(),
    }
}

fn name_of(service: &Service) -> ServiceName {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    ServiceName {
        namespace: text(&service.metadata.namespace),
        name: text(&service.metadata.name),
    }
}

fn uid_of(service: &Service) -> &str {
    service.metadata.uid.as_deref().unwrap_or_default()
}

fn is_young(service: &Service, wall: Timestamp) -> bool {
    let created = service.metadata.creation_timestamp.as_ref();
    created.is_some_and(|created| wall.duration_since(created.0) < YOUNG)
}

/// How a Service could be asked.
#[derive(Debug, PartialEq)]
enum Ways {
    /// It has no NodePorts yet.
    None,
    Udp,
    Tcp(Vec<u16>),
}

fn ways(service: &Service) -> Ways {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut with_number = ports
        .filter_map(|port| {
            let number = u16::try_from(port.node_port?).ok().filter(|number| *number > 0)?;
            Some((port.protocol.as_deref().unwrap_or("TCP"), number))
        })
        .peekable();
    if with_number.peek().is_none() {
        return Ways::None;
    }
    let tcp: Vec<u16> = with_number
        .filter(|(protocol, _)| *protocol == "TCP")
        .map(|(_, number)| number)
        .take(MAX_PORTS)
        .collect();
    if tcp.is_empty() { Ways::Udp } else { Ways::Tcp(tcp) }
}

/// Ports of nodes, those of one family only where the Service has but one.
fn targets(service: &Service, ports: &[u16], addresses: &[EndpointAddress]) -> Vec<Target> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref());
    let families = families.unwrap_or_default();
    let is_served = |host: &&str| {
        let family = match host.parse() {
            Ok(IpAddr::V4(_)) => "IPv4",
            Ok(IpAddr::V6(_)) => "IPv6",
            Err(_) => return true,
        };
        families.is_empty() || families.iter().any(|served| served == family)
    };
    let hosts = addresses
        .iter()
        .filter_map(|address| address.ip.as_deref().or(address.hostname.as_deref()));
    hosts
        .filter(is_served)
        .take(MAX_ADDRESSES)
        .flat_map(|host| {
            ports.iter().map(|port| Target {
                host: host.to_owned(),
                port: *port,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
