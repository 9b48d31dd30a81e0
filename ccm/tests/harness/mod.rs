//! Two API servers in memory, with what the loops need around them.

#![allow(dead_code)]

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::v1alpha1::{Addresses, LoadBalancer, TenantState};
use controller_kit::CancellationToken;
use controller_kit::driver::{Outcome, Trigger};
use controller_kit::events::Recorder;
use controller_kit::lease::Leadership;
use controller_kit::metrics::Metrics;
use controller_kit::patience::Patience;
use controller_kit::test_support::{FakeApi, MemoryApi, Recorded, Reply};
use controller_kit::watch::{Failures, Watch, WatchMetrics};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kubelb_ccm::controller::gateway::{
    Answers as NodeAnswers, ByPart, Findings, GatewayApi, Lingering, Memory, Part, Prober, Refusals, Shared,
    Stores, Target, Writers,
};
use kubelb_ccm::controller::nodes::Nodes;
use kubelb_ccm::controller::services::Services;
use kubelb_ccm::controller::{Context, ControllerError, Gate, Told};
use kubelb_ccm::convert::local::strip_slice;
use kubelb_ccm::convert::nodes::{NodeAddressType, NodeChoice};
use kubelb_ccm::convert::provider::CloudProvider;
use kubelb_ccm::convert::service::ClassPolicy;
use kubelb_ccm::hub::fault::Fault;
use kubelb_ccm::hub::probe::Answer;
use kubelb_ccm::metrics::{GatewayMetrics, HubMetrics, KindMetrics, NodeMetrics};
use serde_json::{Value, json};
use tokio::sync::watch;

pub const HUB: &str = "/apis/kubelb.k8c.io/v1alpha1/namespaces/tenant-a";

/// Nodes that answer at once, until they are told not to.
#[derive(Clone)]
struct AnsweringNodes(Arc<AtomicBool>);

impl Prober for AnsweringNodes {
    fn answers<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(self.0.load(Ordering::Relaxed)))
    }
}

#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Vec<(String, u16, String)>>>);

/// The loop that brings objects to the hub and the one that tells, one after the other.
pub struct BothLoops(pub GatewayApi);

impl Deref for BothLoops {
    type Target = GatewayApi;

    fn deref(&self) -> &GatewayApi {
        &self.0
    }
}

impl BothLoops {
    pub async fn reconcile(&self) -> Result<Outcome, ControllerError> {
        let brought = self.0.reconcile().await;
        let routes = self.0.report(Part::Routes).await;
        let parents = self.0.report(Part::Parents).await;
        let all = [brought?, routes?, parents?];
        Ok(Outcome {
            requeue_after: all.into_iter().filter_map(|outcome| outcome.requeue_after).min(),
        })
    }
}

pub struct World {
    pub tenant: MemoryApi,
    pub hub: MemoryApi,
    pub metrics: Metrics,
    tenant_front: FakeApi,
    hub_front: FakeApi,
    refusals: Answers,
    own_refusals: Answers,
    tenant_away: Arc<Mutex<bool>>,
    nodes_answer: Arc<AtomicBool>,
    /// How often the Gateway API loop was told that nodes answer.
    pub answered: Arc<AtomicUsize>,
    answers: watch::Sender<Answer>,
    hub_metrics: HubMetrics,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    pub async fn new() -> Self {
        let (tenant, hub) = (MemoryApi::new(), MemoryApi::new());
        let (refusals, own_refusals) = (Answers::default(), Answers::default());
        let tenant_away = Arc::new(Mutex::new(false));
        let (behind, refuse) = (hub.clone(), refusals.clone());
        let hub_front =
            FakeApi::new(move |request| refuse.reply(request).unwrap_or_else(|| behind.reply(request)));
        let (behind, away, refuse) = (tenant.clone(), tenant_away.clone(), own_refusals.clone());
        let tenant_front = FakeApi::new(move |request| match *away.lock().unwrap() {
            true => Reply::error(503, "away"),
            false => refuse.reply(request).unwrap_or_else(|| behind.reply(request)),
        });
        let metrics = Metrics::new();
        let hub_metrics = HubMetrics::new(&metrics).unwrap();
        let answers = watch::Sender::new(Answer {
            fault: None,
            state: None,
        });
        let world = Self {
            tenant,
            hub,
            metrics,
            tenant_front,
            hub_front,
            refusals,
            own_refusals,
            tenant_away,
            nodes_answer: Arc::new(AtomicBool::new(true)),
            answered: Arc::default(),
            answers,
            hub_metrics,
            stop: CancellationToken::new(),
        };
        world.put_hub("tenantstates", json!({"metadata": {"name": "default"}, "spec": {}, "status": {"tenant": "a", "allowedDomains": ["**"]}}));
        world.put_hub(
            "addresses",
            json!({"metadata": {"name": "default"}, "spec": {"addresses": [{"ip": "10.9.9.9"}]}}),
        );
        world
    }

    fn context(&self) -> Context {
        let tenant = self.tenant_front.client();
        Context {
            tenant: tenant.clone(),
            hub: self.hub_client(),
            hub_namespace: "tenant-a".into(),
            gate: Gate::new(Leadership::always(), self.answers.subscribe()),
            recorder: Recorder::new(tenant, "kubelb.k8c.io/ccm", "test"),
            hub_metrics: self.hub_metrics.clone(),
        }
    }

    fn hub_client(&self) -> Client {
        self.hub_front.client()
    }

    pub fn services_unsynced(&self) -> Services {
        let (tenant, hub) = (self.tenant_front.client(), self.hub_client());
        Services {
            context: self.context(),
            services: Watch::<Service>::all(tenant).spawn(&self.stop),
            load_balancers: Watch::<LoadBalancer>::namespaced(hub.clone(), "tenant-a").spawn(&self.stop),
            addresses: Watch::<Addresses>::namespaced(hub.clone(), "tenant-a").spawn(&self.stop),
            nodes: Watch::<Node>::all(self.tenant_front.client()).spawn(&self.stop),
            endpoint_slices: Watch::<EndpointSlice>::all(self.tenant_front.client())
                .modify(strip_slice)
                .spawn(&self.stop),
            states: Watch::<TenantState>::namespaced(hub, "tenant-a").spawn(&self.stop),
            class_policy: ClassPolicy::DefaultOrOurs,
            provider: CloudProvider::Ours,
            choice: internal_ips(),
            metrics: KindMetrics::new(&Metrics::new(), "service", "managed_services_total").unwrap(),
            told: Told::default(),
            shown: Told::default(),
        }
    }

    pub async fn services(&self) -> Services {
        let services = self.services_unsynced();
        services.services.synced().await;
        services.load_balancers.synced().await;
        services.addresses.synced().await;
        services.nodes.synced().await;
        services.endpoint_slices.synced().await;
        services.states.synced().await;
        services
    }

    pub async fn nodes(&self) -> Nodes {
        let nodes = Nodes {
            context: self.context(),
            nodes: Watch::<Node>::all(self.tenant_front.client()).spawn(&self.stop),
            addresses: Watch::<Addresses>::namespaced(self.hub_client(), "tenant-a").spawn(&self.stop),
            choice: internal_ips(),
            metrics: NodeMetrics::new(&Metrics::new()).unwrap(),
            about: Some(api::names::object_reference("v1", "Pod", "kubelb", "ccm-0", "")),
            told: Told::default(),
        };
        nodes.nodes.synced().await;
        nodes.addresses.synced().await;
        nodes
    }

    /// As [`World::nodes`], with a trigger for each event about a node.
    pub async fn nodes_with(&self, trigger: Trigger<()>) -> Nodes {
        let mut nodes = self.nodes().await;
        nodes.nodes = Watch::<Node>::all(self.tenant_front.client())
            .on_event(move |_| trigger.trigger(()))
            .spawn(&self.stop);
        nodes.nodes.synced().await;
        nodes
    }

    pub async fn gateway(&self) -> BothLoops {
        let (tenant, hub) = (self.tenant_front.client(), self.hub_client());
        let registry = Metrics::new();
        let shared = Shared {
            services: Watch::<Service>::all(tenant.clone()).spawn(&self.stop),
            nodes: Watch::<Node>::all(tenant.clone()).spawn(&self.stop),
            states: Watch::<TenantState>::namespaced(hub.clone(), "tenant-a").spawn(&self.stop),
            hub_failures: Failures::default(),
        };
        let watches = WatchMetrics::new(&registry, "test").unwrap();
        let stores = Stores::watch((&tenant, &hub, "tenant-a"), shared, || {}, &watches, &self.stop);
        let answered = self.answered.clone();
        let answered = move || {
            answered.fetch_add(1, Ordering::Relaxed);
        };
        let controller = GatewayApi {
            context: self.context(),
            stores,
            settings: gateway_semantics::Settings::default(),
            metrics: GatewayMetrics::new(&self.metrics)
                .unwrap_or_else(|_| GatewayMetrics::new(&Metrics::new()).unwrap()),
            refusals: Refusals::default(),
            answers: NodeAnswers::new(AnsweringNodes(self.nodes_answer.clone()), answered, &self.stop),
            choice: internal_ips(),
            lingering: Lingering::default(),
            findings: Findings::new(|_| {}),
            patience: Patience::new(Duration::ZERO),
            memory: Memory::default(),
            writers: Writers::default(),
            told: ByPart::default(),
        };
        while controller.stores.synced().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        BothLoops(controller)
    }

    /// Whether nodes answer on their NodePorts.
    pub fn nodes_answer(&self, answer: bool) {
        self.nodes_answer.store(answer, Ordering::Relaxed);
    }

    /// Time goes on for what waits for a time to come, and for nothing else.
    pub async fn later(&self, seconds: u64) {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    }

    /// Lets the watches see what was written.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(60)).await;
    }

    pub fn forget(&self) {
        self.tenant_front.clear();
        self.hub_front.clear();
    }

    pub fn hub_writes(&self) -> Vec<String> {
        self.hub_front.write_lines()
    }

    pub fn tenant_writes(&self) -> Vec<String> {
        self.tenant_front.write_lines()
    }

    /// Objects that were asked for by name.
    pub fn tenant_reads(&self) -> Vec<String> {
        let is_get = |request: &Recorded| request.method == "GET" && !request.query.contains_key("watch");
        let named = |path: &str| {
            path.rsplit('/')
                .nth(1)
                .is_some_and(|plural| plural.ends_with('s') && plural != "namespaces")
        };
        self.tenant_front
            .requests()
            .into_iter()
            .filter(|request| is_get(request) && named(&request.path))
            .filter(|request| request.path.contains("/namespaces/"))
            .map(|request| request.path)
            .collect()
    }

    pub fn events(&self) -> Vec<Value> {
        let is_event = |request: &Recorded| request.path.ends_with("/events");
        self.tenant_front
            .writes()
            .into_iter()
            .filter(is_event)
            .map(|request| request.body)
            .collect()
    }

    pub fn fault(&self, fault: Option<Fault>) {
        self.answers.send_replace(Answer { fault, state: None });
    }

    pub fn refuse(&self, name: &str, code: u16, message: &str) {
        self.refusals
            .0
            .lock()
            .unwrap()
            .push((name.to_owned(), code, message.to_owned()));
    }

    /// The own cluster refuses to write what is named so.
    pub fn own_cluster_refuses(&self, name: &str, code: u16, message: &str) {
        self.own_refusals
            .0
            .lock()
            .unwrap()
            .push((name.to_owned(), code, message.to_owned()));
    }

    /// The own cluster takes everything again.
    pub fn own_cluster_yields(&self) {
        self.own_refusals.0.lock().unwrap().clear();
    }

    pub fn tenant_is_away(&self) {
        *self.tenant_away.lock().unwrap() = true;
    }

    pub fn add_service(&self, service: Value) {
        self.tenant.put("/api/v1/namespaces/shop/services", service);
    }

    pub fn add_node(&self, name: &str, ip: &str, ready: bool) {
        let status = if ready { "True" } else { "False" };
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {
            "addresses": [{"type": "InternalIP", "address": ip}],
            "conditions": [{"type": "Ready", "status": status}]}});
        self.tenant.put("/api/v1/nodes", node);
    }

    pub fn put_hub(&self, plural: &str, mut object: Value) {
        let kind = match plural {
            "tenantstates" => "TenantState",
            "addresses" => "Addresses",
            "routes" => "Route",
            _ => "LoadBalancer",
        };
        object["apiVersion"] = "kubelb.k8c.io/v1alpha1".into();
        object["kind"] = kind.into();
        self.hub.put(&format!("{HUB}/{plural}"), object);
    }

    pub fn hub_lb(&self, name: &str) -> Option<Value> {
        self.hub.get(&format!("{HUB}/loadbalancers/{name}"))
    }

    pub fn hub_addresses(&self) -> Value {
        self.hub.get(&format!("{HUB}/addresses/default")).unwrap()["spec"]["addresses"].clone()
    }

    /// The manager's status of a LoadBalancer.
    pub fn hub_says(&self, name: &str, ingress: Value) {
        let mut object = self.hub_lb(name).unwrap();
        object["metadata"]["generation"] = 1.into();
        let programmed = json!({"type": "Programmed", "status": "True", "reason": "Programmed", "message": "",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        object["status"] = json!({"observedGeneration": 1, "loadBalancer": {"ingress": ingress},
            "conditions": [programmed]});
        self.hub.put(&format!("{HUB}/loadbalancers"), object);
    }
}

impl Answers {
    fn reply(&self, request: &Recorded) -> Option<Reply> {
        let refusals = self.0.lock().unwrap();
        let found = refusals
            .iter()
            .find(|(name, ..)| request.is_write() && request.path.ends_with(name));
        found.map(|(_, code, message)| Reply::error(*code, message))
    }
}

fn internal_ips() -> NodeChoice {
    NodeChoice {
        address_type: NodeAddressType::InternalIp,
        ..NodeChoice::default()
    }
}

/// A Service of type LoadBalancer.
pub fn service(name: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": name, "uid": uid},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}]}})
}
