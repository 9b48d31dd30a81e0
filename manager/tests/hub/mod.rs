//! A hub in memory with a manager on it.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use controller_kit::CancellationToken;
use controller_kit::args::BindAddress;
use controller_kit::lease::{Elector, Leadership, LeaseConfig};
use controller_kit::metrics::Metrics;
use controller_kit::ready::Readiness;
use controller_kit::test_support::{FakeApi, MemoryApi, Recorded, Reply};
use kubelb_manager::app::Manager;
use kubelb_manager::build::credential::TenantApiServer;
use kubelb_manager::context::{Context, Options};
use kubelb_manager::xds::served::Served;
use l4_xds::LoadBalancerId;
use l4_xds::bootstrap::BootstrapInput;
use l4_xds::report::Reporter;
use l4_xds::stream::LoadBalancerState;
use serde_json::{Value, json};

/// The replica without the lease.
pub const FOLLOWER: &str = "manager-1";

const OURS: &str = "/apis/kubelb.k8c.io/v1alpha1";

/// The hub's API server.
#[derive(Clone)]
pub struct Hub {
    pub memory: MemoryApi,
    pub api: FakeApi,
}

/// A manager that runs.
pub struct Running {
    pub ctx: Arc<Context>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Hub {
    pub fn new() -> Self {
        Self::that_refuses(|_| false)
    }

    /// Answers 500 to what `refuse` picks.
    pub fn that_refuses(refuse: impl Fn(&Recorded) -> bool + Send + Sync + 'static) -> Self {
        Self::that_answers(500, refuse)
    }

    /// Answers with this code to what `refuse` picks.
    pub fn that_answers(code: u16, refuse: impl Fn(&Recorded) -> bool + Send + Sync + 'static) -> Self {
        let memory = MemoryApi::new();
        let server = memory.clone();
        let api = FakeApi::new(move |request| {
            if refuse(request) {
                Reply::error(code, "refused")
            } else if request.path.ends_with("/token") {
                token(request)
            } else {
                server.reply(request)
            }
        });
        Self { memory, api }
    }

    pub fn tenant(&self, name: &str, spec: Value) {
        let object = json!({"apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "Tenant", "spec": spec,
            "metadata": {"name": name, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}});
        self.memory.put(&format!("{OURS}/tenants"), object);
    }

    pub fn load_balancer(&self, namespace: &str, name: &str) {
        let object = json!({"apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "LoadBalancer",
            "metadata": {"name": name, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80}],
                "endpoints": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "http", "port": 30080}]}]}});
        self.memory
            .put(&format!("{OURS}/namespaces/{namespace}/loadbalancers"), object);
    }

    /// A pod, with these labels.
    pub fn ready_pod(&self, namespace: &str, name: &str, labels: Value) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        self.memory
            .put(&format!("/api/v1/namespaces/{namespace}/pods"), pod);
    }

    /// A pod of the tenant's shared fleet.
    pub fn envoy(&self, namespace: &str, name: &str) {
        let labels = json!({"kubelb.k8c.io/managed-by": "kubelb", "kubelb.k8c.io/component": "envoy"});
        self.ready_pod(namespace, name, labels);
    }

    /// As the hub's own implementation of load balancers does.
    pub fn give_address(&self, namespace: &str, service: &str, ip: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/services");
        let mut object = self.memory.get(&format!("{path}/{service}")).unwrap();
        object["status"] = json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
        self.memory.put(&path, object);
    }

    /// Status and reason of `Programmed` of a LoadBalancer.
    pub fn programmed(&self, namespace: &str, name: &str) -> Option<(String, String)> {
        let path = format!("{OURS}/namespaces/{namespace}/loadbalancers/{name}");
        let object = self.memory.get(&path)?;
        let all = object.pointer("/status/conditions")?.as_array()?.clone();
        let programmed = all.iter().find(|c| c["type"] == "Programmed")?;
        let text = |key: &str| programmed[key].as_str().map(str::to_owned);
        Some((text("status")?, text("reason")?))
    }

    /// Another generation of a LoadBalancer, with this change to its spec.
    pub fn change(&self, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let path = format!("{OURS}/namespaces/{namespace}/loadbalancers");
        let mut object = self.memory.get(&format!("{path}/{name}")).unwrap();
        let generation = object["metadata"]["generation"].as_i64().unwrap();
        object["metadata"]["generation"] = json!(generation + 1);
        change(&mut object["spec"]);
        self.memory.put(&path, object);
    }

    /// The generation that the status of a LoadBalancer is about.
    pub fn observed_generation(&self, namespace: &str, name: &str) -> Option<i64> {
        let path = format!("{OURS}/namespaces/{namespace}/loadbalancers/{name}");
        self.memory
            .get(&path)?
            .pointer("/status/observedGeneration")?
            .as_i64()
    }

    /// Waits until this is so, at most 20 seconds.
    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let until = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let limit = Duration::from_secs(20);
        let result = tokio::time::timeout(limit, until).await;
        assert!(result.is_ok(), "waited in vain for {what}: {:?}", self.writes());
    }

    /// As somebody with kubectl would; here, to let time pass that is recorded.
    pub fn annotate(&self, collection: &str, name: &str, key: &str, value: &str) {
        let mut object = self.memory.get(&format!("{collection}/{name}")).unwrap();
        object["metadata"]["annotations"][key] = json!(value);
        self.memory.put(collection, object);
    }

    /// As kubectl would.
    pub fn delete_tenant(&self, name: &str) {
        let mut object = self.memory.get(&format!("{OURS}/tenants/{name}")).unwrap();
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        self.memory.put(&format!("{OURS}/tenants"), object);
    }

    pub fn ready_condition(&self, tenant: &str) -> Option<(String, String)> {
        let object = self.memory.get(&format!("{OURS}/tenants/{tenant}"))?;
        let all = object.pointer("/status/conditions")?.as_array()?.clone();
        let ready = all.iter().find(|c| c["type"] == "Ready")?;
        Some((
            ready["status"].as_str()?.to_owned(),
            ready["reason"].as_str()?.to_owned(),
        ))
    }

    /// Writes so far that are not about Events, as lines.
    pub fn writes(&self) -> Vec<String> {
        self.api
            .write_lines()
            .into_iter()
            .filter(|line| !line.contains("/events"))
            .collect()
    }

    /// Waits until nothing was written for longer than a status may wait, and says what had been.
    pub async fn settled(&self) -> Vec<String> {
        let mut seen = usize::MAX;
        loop {
            tokio::time::sleep(Duration::from_millis(1200)).await;
            let writes = self.writes();
            if writes.len() == seen {
                return writes;
            }
            seen = writes.len();
        }
    }

    /// Waits for a write that begins so, at most 20 seconds.
    pub async fn written(&self, what: &str) {
        let until = async {
            while !self.writes().iter().any(|write| write.starts_with(what)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let limit = Duration::from_secs(20);
        let result = tokio::time::timeout(limit, until).await;
        assert!(result.is_ok(), "no {what} within {limit:?}: {:?}", self.writes());
    }

    pub async fn manager(&self) -> Running {
        self.start(Leadership::always()).await
    }

    /// A replica that never gets the lease.
    pub async fn follower(&self) -> Running {
        let replica = FOLLOWER.to_owned();
        self.run(self.never_leads(), Options { replica, ..options() })
    }

    /// Likewise, with a pod of its own, so that the one that leads believes it.
    pub async fn second_replica(&self) -> Running {
        let replica = FOLLOWER.to_owned();
        let pod = json!({"metadata": {"name": replica}});
        self.memory.put("/api/v1/namespaces/kubelb/pods", pod);
        let options = Options { replica, ..options() };
        self.run(self.never_leads(), options)
    }

    fn never_leads(&self) -> Leadership {
        let config = LeaseConfig::new("kubelb", "kubelb-manager", "other");
        let (_never_run, leadership) = Elector::new(self.api.client(), config).unwrap();
        leadership
    }

    /// With the Gateway API switched off on the command line.
    pub async fn manager_without_gateway_api(&self) -> Running {
        self.run(
            Leadership::always(),
            Options {
                gateway_api: false,
                ..options()
            },
        )
    }

    async fn start(&self, leadership: Leadership) -> Running {
        self.run(leadership, options())
    }

    fn run(&self, leadership: Leadership, options: Options) -> Running {
        let (metrics, readiness, stop) = (Metrics::new(), Readiness::new(), CancellationToken::new());
        let manager = Manager::new(
            self.api.client(),
            options,
            leadership,
            &metrics,
            &readiness,
            &stop,
        )
        .unwrap();
        let ctx = manager.context();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move {
                manager
                    .run(&BindAddress::Disabled, &readiness, &stop)
                    .await
                    .unwrap()
            }
        });
        Running { ctx, stop, task }
    }
}

impl Running {
    /// An Envoy of the tenant's shared fleet acknowledges all that it is served, for as long as what is returned lives.
    pub fn acknowledge_all(&self, namespace: &str, envoy: &str) -> Reporter {
        let reporter = self.ctx.reports.open(namespace.parse().unwrap(), 9).unwrap();
        reporter.introduce(envoy.to_owned().into());
        let acknowledged = |(id, served): (&LoadBalancerId, &Served)| {
            let state = LoadBalancerState {
                programmed: Some(served.content.clone()),
                rejected: None,
            };
            (id.clone(), Some(state))
        };
        let served = self.ctx.snapshots.served(namespace);
        reporter.report(served.iter().map(acknowledged).collect());
        reporter
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn options() -> Options {
    let host = "kubelb-manager-xds.kubelb.svc";
    Options {
        namespace: "kubelb".into(),
        replica: "manager-0".into(),
        gateway_class: "kubelb".into(),
        gateway_api: true,
        envoy_image: "envoy:1".into(),
        bootstrap: BootstrapInput::new(host, 18000.try_into().unwrap(), host.parse().unwrap()),
        translation: l4_xds::Settings::default(),
        tenant_api_server: TenantApiServer {
            url: "https://hub.example.com:6443".into(),
            ca_pem: None,
        },
        tenant_token_lifetime: jiff::SignedDuration::from_hours(168),
    }
}

fn token(request: &Recorded) -> Reply {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(168);
    Reply::ok(
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
        "spec": request.body["spec"], "status": {"token": "a-token", "expirationTimestamp": end.to_string()}}),
    )
}

/// A Gateway of the tenant's and a route on it, as its CCM sends them.
impl Hub {
    pub fn gateway_and_route(&self, namespace: &str) {
        self.addresses(namespace, "10.0.0.1");
        let gateway = json!({"gatewayClassName": "kubelb",
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]});
        self.route(
            namespace,
            "Gateway",
            "web",
            gateway,
            json!({"gateway": {"listeners": [{"name": "http"}]}}),
        );
        let route = json!({"parentRefs": [{"name": "web"}], "hostnames": ["shop.example.com"],
            "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}]});
        let decisions = json!({
            "parents": [{"scope": "Tenant", "namespace": "shop", "name": "web", "listeners": ["http"]}],
            "backends": [{"pointer": "/spec/rules/0/backendRefs/0", "service": {"namespace": "shop",
                "name": "shop", "port": 80, "portName": "http", "nodePort": 30080}}]});
        self.route(namespace, "HTTPRoute", "shop", route, decisions);
    }

    /// The one node of the tenant's.
    pub fn addresses(&self, namespace: &str, ip: &str) {
        let object = json!({"apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "Addresses",
            "metadata": {"name": "default", "generation": 1}, "spec": {"addresses": [{"ip": ip}]}});
        self.memory
            .put(&format!("{OURS}/namespaces/{namespace}/addresses"), object);
    }

    /// A certificate with its key.
    pub fn certificate(&self, namespace: &str, name: &str) {
        let made = rcgen::generate_simple_self_signed(["own.example.com".to_owned()]).unwrap();
        let text = |pem: String| base64::engine::general_purpose::STANDARD.encode(pem);
        let object = json!({"apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "SyncSecret",
            "metadata": {"name": name, "generation": 1},
            "spec": {"type": "kubernetes.io/tls", "data": {
                "tls.crt": text(made.cert.pem()), "tls.key": text(made.signing_key.serialize_pem())}}});
        self.memory
            .put(&format!("{OURS}/namespaces/{namespace}/syncsecrets"), object);
    }

    /// As a CCM does when the tenant's Secret is gone, or a ReferenceGrant for it.
    pub fn withdraw_certificate(&self, namespace: &str, name: &str) {
        self.memory
            .remove(&format!("{OURS}/namespaces/{namespace}/syncsecrets/{name}"));
    }

    pub fn route(&self, namespace: &str, kind: &str, name: &str, spec: Value, decisions: Value) {
        let uid = format!("uid-of-{kind}").to_lowercase();
        let resource = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "spec": spec,
            "metadata": {"namespace": "shop", "name": name, "uid": uid, "generation": 1}});
        let mut whole = json!({"source": {"kubernetes": {"resource": resource}}, "origin": {
            "group": "gateway.networking.k8s.io", "kind": kind, "namespace": "shop", "name": name,
            "uid": uid, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}});
        for (key, value) in decisions.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let object = json!({"apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "Route", "spec": whole,
            "metadata": {"name": uid, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}});
        self.memory
            .put(&format!("{OURS}/namespaces/{namespace}/routes"), object);
    }

    /// Accepted condition of a Route.
    pub fn accepted(&self, namespace: &str, route: &str) -> (String, String) {
        self.condition(namespace, route, "Accepted")
    }

    /// Status and reason of a condition of a Route.
    pub fn condition(&self, namespace: &str, route: &str, type_: &str) -> (String, String) {
        let status = self.route_status(namespace, route);
        let all = status["conditions"].as_array().unwrap();
        let condition = all.iter().find(|c| c["type"] == type_).unwrap();
        let text = |key: &str| condition[key].as_str().unwrap().to_owned();
        (text("status"), text("reason"))
    }

    /// What is said about a Route.
    pub fn route_status(&self, namespace: &str, route: &str) -> Value {
        let path = format!("{OURS}/namespaces/{namespace}/routes/{route}");
        self.memory.get(&path).unwrap()["status"].clone()
    }
}
