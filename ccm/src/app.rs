//! Wiring: clients, stores, loops. Decides nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::names::{TenantNamespace, object_reference};
use api::v1alpha1::{Addresses, LoadBalancer, TenantState};
use controller_kit::admin::Admin;
use controller_kit::backoff::Backoff;
use controller_kit::driver::{Driver, Settings, Trigger};
use controller_kit::events::Recorder;
use controller_kit::lease::{Elector, Leadership, LeaseConfig};
use controller_kit::metrics::Metrics;
use controller_kit::patience::Patience;
use controller_kit::ready::Readiness;
use controller_kit::watch::{Event, Failures, Watch, WatchMetrics, Watchable, Watched};
use controller_kit::{CancellationToken, client, shutdown, telemetry};
use k8s_openapi::api::core::v1::{Namespace, Node, ObjectReference, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::args::Args;
use crate::controller::gateway::{
    Answers, ByPart, Findings, GatewayApi, Lingering, Memory, PATIENCE, Part, Refusals, Shared, Stores,
    TcpProber, Writers,
};
use crate::controller::nodes::Nodes;
use crate::controller::services::Services;
use crate::controller::{Context, Gate, Told, credential, heartbeat};
use crate::convert::local::strip_slice;
use crate::convert::provider::CloudProvider;
use crate::convert::service::{ClassPolicy, wants_local};
use crate::hub::credential::Exchange;
use crate::hub::fault::{Fault, chain};
use crate::hub::link::{Identity, Link};
use crate::hub::probe::{Answer, Probe};
use crate::metrics::AgentMetrics;

/// Name of the lease.
const LEASE: &str = "kubelb-ccm";
/// Who the Events are from.
const CONTROLLER: &str = "kubelb.k8c.io/ccm";
/// Where a pod finds its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Port of the metrics.
const METRICS_PORT: u16 = 9445;
/// How long the first reading of the hub kubeconfig is waited for. The process goes on without it.
const FIRST_CONNECTION: Duration = Duration::from_secs(2);
/// How the own cluster is asked for its UID.
const START_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    max: Duration::from_secs(15),
};

/// Who this process is.
struct Own {
    namespace: Option<String>,
    pod: String,
}

impl Own {
    fn of(args: &Args) -> Self {
        let file = || {
            std::fs::read_to_string(NAMESPACE_FILE)
                .ok()
                .map(|text| text.trim().to_owned())
        };
        let named = args
            .lease
            .leader_election_namespace
            .clone()
            .or_else(|| args.namespace.clone());
        let pod = args.lease.leader_election_identity.clone();
        Self {
            namespace: named.or_else(file),
            pod: pod.unwrap_or_else(|| format!("{LEASE}-{}", std::process::id())),
        }
    }

    /// The pod, where the process runs in one.
    fn reference(&self, args: &Args) -> Option<ObjectReference> {
        let pod = args.lease.leader_election_identity.as_ref()?;
        Some(object_reference("v1", "Pod", self.namespace.as_ref()?, pod, ""))
    }
}

/// Runs until the process is asked to stop.
///
/// # Errors
/// When the process cannot start: arguments, the own cluster's client, an address that is taken.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let log = telemetry::init(&args.log)?;
    let stop = shutdown::on_signal()?;
    let metrics = Metrics::new();
    let readiness = Readiness::new();
    let user_agent = format!("{}/{}", crate::FIELD_MANAGER, crate::VERSION);
    let tenant = client::connect(args.kubeconfig.clone(), &user_agent)
        .await
        .context("own cluster")?;
    let namespace = TenantNamespace::of(&args.cluster_name)?;
    let kubeconfig = args.hub_kubeconfig(std::env::var_os("HOME").map(PathBuf::from))?;
    let identity = Identity {
        cluster_name: args.cluster_name.clone(),
        namespace,
        kubeconfig,
        user_agent,
    };
    let counted = AgentMetrics::new(&metrics)?;
    let link = Link::new(identity, counted.hub.clone());
    tracing::info!(
        version = crate::VERSION,
        tenant = link.identity().namespace.as_str(),
        "starting"
    );

    let admin = Admin {
        readiness: readiness.clone(),
        metrics: metrics.clone(),
        log: Some(log),
    };
    let mut tasks = JoinSet::new();
    let (probes, metrics_address) = (
        args.admin.health_probe_bind_address.clone(),
        args.admin.metrics_or(METRICS_PORT),
    );
    let admin_stop = stop.clone();
    tasks.spawn(async move { Ok(admin.serve(&probes, &metrics_address, &admin_stop).await?) });

    let parts = Parts {
        args,
        stop: stop.clone(),
        tenant,
        link,
        metrics: counted,
        readiness,
    };
    let main_stop = stop.clone();
    tasks.spawn(async move {
        let end = parts.run().await;
        main_stop.cancel();
        end
    });
    let mut end = Ok(());
    while let Some(task) = tasks.join_next().await {
        stop.cancel();
        end = end.and(task.map_err(anyhow::Error::from).flatten());
    }
    end
}

/// What everything is built from.
struct Parts {
    args: Args,
    stop: CancellationToken,
    tenant: Client,
    link: Arc<Link>,
    metrics: AgentMetrics,
    readiness: Readiness,
}

impl Parts {
    async fn run(self) -> anyhow::Result<()> {
        let own = Own::of(&self.args);
        let mut own_cluster = self
            .readiness
            .register("own cluster: UID of namespace kube-system");
        let Some(cluster_uid) = cluster_uid(&self.tenant, &self.stop).await else {
            return Ok(());
        };
        own_cluster.ready();
        let recorder = Recorder::new(self.tenant.clone(), CONTROLLER, own.pod.clone());
        let (sender, answers) = watch::channel(Answer {
            fault: Some(Fault::Starting),
            state: None,
        });
        // Writers stop first; then the lease is given back, so that the next leader never meets them.
        let lease_stop = CancellationToken::new();
        let (leadership, election) = self.elect(&own, &lease_stop)?;

        let hub = self.link.client();
        let context = Context {
            tenant: self.tenant.clone(),
            hub: hub.clone(),
            hub_namespace: self.link.identity().namespace.as_str().into(),
            gate: Gate::new(leadership.clone(), answers),
            recorder: recorder.clone(),
            hub_metrics: self.metrics.hub.clone(),
        };
        let probe = Probe {
            link: self.link.clone(),
            cluster_uid: cluster_uid.clone(),
            metrics: self.metrics.hub.clone(),
            readiness: self.readiness.clone(),
            recorder,
            about: own.reference(&self.args),
        };
        let mut writers = JoinSet::new();
        let mut connected = self.link.changes();
        writers.spawn(self.link.clone().run(self.stop.clone()));
        // Usually the kubeconfig is there: a moment of patience spares every watch a failure and its backoff.
        let _ = tokio::time::timeout(FIRST_CONNECTION, connected.changed()).await;
        writers.spawn(probe.run(sender, self.stop.clone()));
        writers.spawn(heartbeat::run(context.clone(), cluster_uid, self.stop.clone()));
        self.renew_credential(&own, &context, &mut writers);
        self.controllers(&own, &context, &leadership, &mut writers)?;
        while let Some(ended) = writers.join_next().await {
            if let Err(error) = ended {
                self.stop.cancel();
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a task broke, the process ends"
                );
            }
        }
        lease_stop.cancel();
        if let Some(election) = election {
            election.await?;
        }
        Ok(())
    }

    fn elect(
        &self,
        own: &Own,
        stop: &CancellationToken,
    ) -> anyhow::Result<(Leadership, Option<tokio::task::JoinHandle<()>>)> {
        if !self.args.lease.enable_leader_election {
            return Ok((Leadership::always(), None));
        }
        let namespace = own
            .namespace
            .as_deref()
            .context("--leader-election-namespace is not given and this is no pod")?;
        let config = LeaseConfig::new(namespace, LEASE, own.pod.clone()).timing(&self.args.lease);
        let (elector, leadership) = Elector::new(self.tenant.clone(), config)?;
        Ok((leadership, Some(tokio::spawn(elector.run(stop.clone())))))
    }

    fn renew_credential(&self, own: &Own, context: &Context, tasks: &mut JoinSet<()>) {
        let Some(namespace) = own.namespace.clone().filter(|_| self.args.renew_credential) else {
            tracing::info!("the hub credential is not renewed by this process");
            return;
        };
        let exchange = Exchange {
            identity: self.link.identity().clone(),
            hub: context.hub.clone(),
            tenant: context.tenant.clone(),
            namespace,
            secret: self.args.credential_secret.clone(),
        };
        tasks.spawn(credential::run(
            context.clone(),
            exchange,
            own.reference(&self.args),
            self.stop.clone(),
        ));
    }

    fn controllers(
        &self,
        own: &Own,
        context: &Context,
        leadership: &Leadership,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let Self {
            args, stop, metrics, ..
        } = self;
        let AgentMetrics {
            hub: _,
            nodes: node_metrics,
            services: service_metrics,
            gateway_api,
            runs,
            watches,
        } = metrics.clone();
        let driver = |name, settings| {
            let settings = Settings {
                concurrency: 1,
                ..settings
            };
            Driver::<()>::new(name, settings, &runs)
        };
        let nodes_driver = driver("nodes", Settings::default());
        let services_driver = driver("services", Settings::default());
        let gateway_driver = driver("gateway", Settings::prompt());
        let status_settings = Settings {
            concurrency: Part::ALL.len(),
            ..Settings::prompt()
        };
        let status_driver = Driver::<Part>::new("gateway_status", status_settings, &runs);
        let l4 = [services_driver.handle()];
        let l7 = [gateway_driver.handle()];
        let both = [services_driver.handle(), gateway_driver.handle()];
        let all = [
            nodes_driver.handle(),
            services_driver.handle(),
            gateway_driver.handle(),
        ];

        let hub = &context.hub;
        let hub_namespace = &*context.hub_namespace;
        // What is wrong with the hub or the credential fails all of its watches: that is one line, not one for each.
        let hub_failures = Failures::default();
        let services = self.watch(Watch::<Service>::all(self.tenant.clone()), &both, &watches);
        let states = self.watch(
            Watch::<TenantState>::namespaced(hub.clone(), hub_namespace).failures(&hub_failures),
            &both,
            &watches,
        );
        let addresses = Watch::<Addresses>::namespaced(hub.clone(), hub_namespace).failures(&hub_failures);
        let addresses = self.watch(
            addresses,
            &[nodes_driver.handle(), services_driver.handle()],
            &watches,
        );

        let of_pods = LocalHint::new(self, &services, &l4);
        let of_nodes = of_pods.clone();
        let trigger = nodes_driver.handle();
        let nodes = Watch::<Node>::all(self.tenant.clone())
            .modify(strip_node)
            .metrics(&watches)
            .on_event(move |_| {
                trigger.trigger(());
                of_nodes.any();
            })
            .spawn(&self.stop);
        let shared_nodes = nodes.clone();
        let nodes = Nodes {
            context: context.clone(),
            nodes,
            addresses: addresses.clone(),
            choice: args.node_choice(),
            metrics: node_metrics,
            about: own.reference(args),
            told: Told::default(),
        };
        tasks.spawn(drive(nodes_driver, Arc::new(nodes), stop.clone()));
        if !args.disable_service_controller {
            let load_balancers =
                Watch::<LoadBalancer>::namespaced(hub.clone(), hub_namespace).failures(&hub_failures);
            let endpoint_slices = Watch::<EndpointSlice>::all(self.tenant.clone())
                .modify(strip_slice)
                .metrics(&watches)
                .on_event(move |event| of_pods.in_namespace(event))
                .spawn(&self.stop);
            let controller = Services {
                context: context.clone(),
                services: services.clone(),
                load_balancers: self.watch(load_balancers, &l4, &watches),
                addresses,
                nodes: shared_nodes.clone(),
                endpoint_slices,
                states: states.clone(),
                class_policy: args.class_policy(),
                provider: args.cloud_provider(),
                choice: args.node_choice(),
                metrics: service_metrics,
                told: Told::default(),
                shown: Told::default(),
            };
            tasks.spawn(drive(services_driver, Arc::new(controller), stop.clone()));
        }
        if args.enable_gateway_api {
            let [trigger] = l7;
            let answered = trigger.clone();
            let found = status_driver.handle();
            let stores = Stores::watch(
                (&self.tenant, hub, hub_namespace),
                Shared {
                    services,
                    nodes: shared_nodes,
                    states,
                    hub_failures,
                },
                move || trigger.trigger(()),
                &watches,
                stop,
            );
            let controller = GatewayApi {
                context: context.clone(),
                stores,
                settings: args.gateway_settings(),
                metrics: gateway_api,
                refusals: Refusals::default(),
                answers: Answers::new(TcpProber, move || answered.trigger(()), stop),
                choice: args.node_choice(),
                lingering: Lingering::default(),
                findings: Findings::new(move |part| found.trigger(part)),
                patience: Patience::new(PATIENCE),
                memory: Memory::default(),
                writers: Writers::default(),
                told: ByPart::default(),
            };
            let controller = Arc::new(controller);
            tasks.spawn(tell(status_driver, controller.clone(), stop.clone()));
            tasks.spawn(drive(gateway_driver, controller, stop.clone()));
        }
        tasks.spawn(trigger_on_gate(
            all,
            leadership.clone(),
            context.gate.answers(),
            stop.clone(),
        ));
        Ok(())
    }

    fn watch<K: Watchable, const N: usize>(
        &self,
        watch: Watch<K>,
        triggers: &[Trigger<()>; N],
        metrics: &WatchMetrics,
    ) -> Watched<K> {
        let triggers = triggers.clone();
        let hint = move |_: &Event| triggers.iter().for_each(|trigger| trigger.trigger(()));
        watch.metrics(metrics).on_event(hint).spawn(&self.stop)
    }
}

/// Wakes the loop over Services when something happens that only those with `externalTrafficPolicy: Local` are about:
/// pods and nodes change far more often than Services.
#[derive(Clone)]
struct LocalHint {
    services: Watched<Service>,
    class_policy: ClassPolicy,
    provider: CloudProvider,
    trigger: Trigger<()>,
}

impl LocalHint {
    fn new(parts: &Parts, services: &Watched<Service>, [trigger]: &[Trigger<()>; 1]) -> Self {
        Self {
            services: services.clone(),
            class_policy: parts.args.class_policy(),
            provider: parts.args.cloud_provider(),
            trigger: trigger.clone(),
        }
    }

    fn any(&self) {
        self.wake(&self.services.snapshot());
    }

    fn in_namespace(&self, event: &Event) {
        match event {
            Event::Changed(key) => self.wake(&self.services.in_namespace(&key.namespace)),
            Event::Synced => self.trigger.trigger(()),
        }
    }

    fn wake(&self, services: &[Arc<Service>]) {
        let wants_local = |service: &Arc<Service>| wants_local(service, self.class_policy);
        if self.provider == CloudProvider::Ours && services.iter().any(wants_local) {
            self.trigger.trigger(());
        }
    }
}

/// A loop that a driver runs.
trait Loop: Send + Sync + 'static {
    fn run_once(
        self: Arc<Self>,
    ) -> impl Future<Output = Result<controller_kit::driver::Outcome, crate::controller::ControllerError>> + Send;
}

macro_rules! is_loop {
    ($($type:ty),*) => {$(
        impl Loop for $type {
            async fn run_once(
                self: Arc<Self>,
            ) -> Result<controller_kit::driver::Outcome, crate::controller::ControllerError> {
                self.reconcile().await
            }
        }
    )*};
}
is_loop!(Nodes, Services, GatewayApi);

async fn drive<L: Loop>(driver: Driver<()>, controller: Arc<L>, stop: CancellationToken) {
    driver.run(stop, move |()| controller.clone().run_once()).await;
}

async fn tell(driver: Driver<Part>, controller: Arc<GatewayApi>, stop: CancellationToken) {
    let report = move |part| {
        let controller = controller.clone();
        async move { controller.report(part).await }
    };
    driver.run(stop, report).await;
}

/// Everything is looked at again when this process begins to lead, or the hub gives another answer.
async fn trigger_on_gate(
    triggers: [Trigger<()>; 3],
    leadership: Leadership,
    mut answers: watch::Receiver<Answer>,
    stop: CancellationToken,
) {
    loop {
        let term = async {
            match leadership.epoch() {
                Some(epoch) => leadership.until_lost(epoch).await,
                None => {
                    leadership.until_leader().await;
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = term => {}
            changed = answers.changed() => if changed.is_err() { return },
        }
        answers.borrow_and_update();
        triggers.iter().for_each(|trigger| trigger.trigger(()));
    }
}

/// UID of the own cluster's `kube-system` namespace; none if asked to stop before it is known.
async fn cluster_uid(tenant: &Client, stop: &CancellationToken) -> Option<String> {
    let api: Api<Namespace> = Api::all(tenant.clone());
    for attempt in 0.. {
        match api.get("kube-system").await {
            Ok(namespace) => return namespace.metadata.uid,
            Err(error) => tracing::warn!(
                error = chain(&error),
                "own cluster does not tell its UID, trying again"
            ),
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(START_BACKOFF.delay(attempt)) => {}
        }
    }
    None
}

/// A node carries the list of its images, which nobody reads.
fn strip_node(node: &mut Node) {
    if let Some(status) = &mut node.status {
        status.images = None;
        status.volumes_in_use = None;
        status.volumes_attached = None;
    }
}
