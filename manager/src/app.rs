//! Wiring: from the command line to running controllers, and back out in good order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use controller_kit::admin::Admin;
use controller_kit::args::BindAddress;
use controller_kit::events::Recorder;
use controller_kit::lease::{Elector, Leadership, LeaseConfig};
use controller_kit::linger::Linger;
use controller_kit::metrics::Metrics;
use controller_kit::patience::Patience;
use controller_kit::ready::Readiness;
use controller_kit::{CancellationToken, client, shutdown, telemetry};
use kube::Client;
use l4_xds::bootstrap::BootstrapInput;
use l4_xds::translate::Bind;
use l4_xds::{Cache, ReportHub};

use crate::api_server;
use crate::args::{Args, METRICS_PORT, XDS_PORT};
use crate::claims::ClaimsCell;
use crate::context::{Context, Options, SharedMap, VERSION};
use crate::controller::global::FindingsCell;
use crate::controller::load_balancer::memory::Memories;
use crate::controller::load_balancer::refresh_hostnames;
use crate::controller::route::apply::{LINGER, SettledByNamespace};
use crate::controller::route::bridge::Bridges;
use crate::controller::route::refresh_claims;
use crate::controller::route::status::{Findings, PATIENCE};
use crate::controller::route::translation::Translations;
use crate::controller::route::young::Young;
use crate::drivers::Drivers;
use crate::hostnames::HostnamesCell;
use crate::metrics::AllMetrics;
use crate::stores::Spawner;
use crate::xds::Snapshots;
use crate::xds_server;

/// Name of the lease.
pub const LEASE: &str = "kubelb-manager";
/// Name under which Events are published.
const CONTROLLER: &str = "kubelb.k8c.io/manager";

/// Runs the manager until it is asked to stop.
///
/// # Errors
/// When it cannot be set up. What fails later is retried.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let log = telemetry::init(&args.log)?;
    let stop = shutdown::on_signal()?;
    let config = api_server::config(args.kubeconfig.as_deref()).await?;
    let options = options(&args, &config)?;
    let client = client::build(config, &format!("kubelb-manager/{VERSION}"))?;
    let (metrics, readiness) = (Metrics::new(), Readiness::new());
    let (elector, leadership) = election(&args, &client, &options)?;
    let manager = Manager::new(client, options, leadership, &metrics, &readiness, &stop)?;

    let admin = Admin {
        readiness: readiness.clone(),
        metrics,
        log: Some(log),
    };
    let (probes, metrics_at) = (
        args.admin.health_probe_bind_address.clone(),
        args.admin.metrics_or(METRICS_PORT),
    );
    let admin_stop = CancellationToken::new();
    let admin = tokio::spawn({
        let stop = admin_stop.clone();
        async move { admin.serve(&probes, &metrics_at, &stop).await }
    });
    let election_stop = CancellationToken::new();
    let election = tokio::spawn({
        let stop = election_stop.clone();
        async move {
            if let Some(elector) = elector {
                elector.run(stop).await;
            }
        }
    });
    tracing::info!(version = VERSION, "started");
    let served = manager.run(&args.listen_address, &readiness, &stop).await;
    // The lease goes last: until then this replica may still be writing.
    stop.cancel();
    election_stop.cancel();
    election.await.context("the election ended badly")?;
    admin_stop.cancel();
    admin.await.context("the probes ended badly")??;
    tracing::info!("stopped");
    served
}

fn options(args: &Args, config: &kube::Config) -> anyhow::Result<Options> {
    let host = format!("{}.{}.svc", args.xds_service_name, args.namespace);
    let server_name = host.parse().context("the xDS Service's name is no host name")?;
    let mut bootstrap = BootstrapInput::new(host, XDS_PORT.try_into()?, server_name);
    bootstrap.bind = if args.envoy_ipv4_only {
        Bind::Ipv4Only
    } else {
        Bind::DualStack
    };
    let tenant_api_server = api_server::for_tenants(
        args.tenant_api_server.as_deref(),
        args.tenant_api_server_ca_file.as_deref(),
        config,
    )?;
    Ok(Options {
        namespace: args.namespace.clone(),
        replica: identity(args),
        gateway_class: args.gateway_class.clone(),
        gateway_api: args.enable_gateway_api,
        envoy_image: args.envoy_image.clone(),
        translation: l4_xds::Settings { bind: bootstrap.bind },
        bootstrap,
        tenant_api_server,
        tenant_token_lifetime: args.tenant_token_lifetime.try_into()?,
    })
}

/// The pod's name; outside a pod one that no other process has.
fn identity(args: &Args) -> String {
    let named = args
        .lease
        .leader_election_identity
        .clone()
        .filter(|name| !name.is_empty());
    named.unwrap_or_else(|| format!("kubelb-manager-{}", std::process::id()))
}

fn election(
    args: &Args,
    client: &Client,
    options: &Options,
) -> anyhow::Result<(Option<Elector>, Leadership)> {
    if !args.lease.enable_leader_election {
        return Ok((None, Leadership::always()));
    }
    let namespace = args
        .lease
        .leader_election_namespace
        .clone()
        .unwrap_or_else(|| options.namespace.clone());
    let config = LeaseConfig::new(namespace, LEASE, &options.replica).timing(&args.lease);
    let (elector, leadership) = Elector::new(client.clone(), config)?;
    Ok((Some(elector), leadership))
}

/// Stores, queues and what they share.
pub struct Manager {
    ctx: Arc<Context>,
    drivers: Drivers,
    plane: xds_server::Plane,
}

impl Manager {
    /// Starts the watches; nothing is decided before [`Manager::run`].
    ///
    /// # Errors
    /// When a metric cannot be registered.
    pub fn new(
        client: Client,
        options: Options,
        leadership: Leadership,
        metrics: &Metrics,
        readiness: &Readiness,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let AllMetrics {
            own,
            runs,
            watches,
            xds: xds_metrics,
        } = AllMetrics::new(metrics)?;
        let drivers = Drivers::new(&runs);
        let triggers = drivers.triggers(&options.namespace);
        let stores = Spawner {
            client: client.clone(),
            namespace: &options.namespace,
            readiness,
            metrics: &watches,
            triggers: &triggers,
            stop,
            gateway_api: options.gateway_api,
        }
        .spawn();
        let (cache, reports) = (Cache::new(), ReportHub::new());
        let plane = xds_server::Plane {
            cache: cache.clone(),
            reports: reports.clone(),
            metrics: xds_metrics.clone(),
        };
        let ctx = Arc::new(Context {
            applier: Context::applier(client.clone()),
            recorder: Recorder::new(client.clone(), CONTROLLER, &options.replica),
            client,
            stores,
            leadership,
            options,
            triggers,
            snapshots: Snapshots::new(cache, xds_metrics),
            reports,
            claims: ClaimsCell::default(),
            hostnames: HostnamesCell::default(),
            global: FindingsCell::default(),
            linger: Linger::new(LINGER),
            patience: Patience::new(PATIENCE),
            bridges: Bridges::default(),
            young: Young::default(),
            translations: Translations::default(),
            findings: Findings::default(),
            settled: SettledByNamespace::default(),
            memories: Memories::default(),
            assessments: SharedMap::default(),
            metrics: own,
        });
        Ok(Self { ctx, drivers, plane })
    }

    /// What the controllers share.
    #[must_use]
    pub fn context(&self) -> Arc<Context> {
        self.ctx.clone()
    }

    /// Runs controllers and the xDS server until `stop` is cancelled.
    ///
    /// # Errors
    /// When the xDS server cannot listen, or ends by itself.
    pub async fn run(
        self,
        xds: &BindAddress,
        readiness: &Readiness,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { ctx, drivers, plane } = self;
        let work = async {
            drivers.run(&ctx, stop).await;
            Ok(())
        };
        let serve = async {
            let served = xds_server::run(&ctx, plane, xds, readiness, stop).await;
            if served.is_err() {
                stop.cancel();
            }
            served.map_err(anyhow::Error::from)
        };
        let wake = async {
            wake(&ctx, stop).await;
            Ok(())
        };
        tokio::try_join!(work, serve, wake)?;
        Ok(())
    }
}

/// Tells the controllers of what no watch tells: that the stores are complete, that this replica leads from now
/// on, and what Envoys said.
async fn wake(ctx: &Arc<Context>, stop: &CancellationToken) {
    let work = async {
        ctx.stores.synced().await;
        tracing::info!("all stores are synced");
        // Before anybody looks: with an empty table every name would be taken away for a moment.
        refresh_claims(ctx);
        refresh_hostnames(ctx);
        ctx.triggers.everything();
        tokio::join!(follow_leadership(ctx), follow_reports(ctx));
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

async fn follow_leadership(ctx: &Context) {
    loop {
        let epoch = ctx.leadership.until_leader().await;
        tracing::info!(epoch, replica = ctx.options.replica, "leading");
        ctx.triggers.everything();
        report_all(ctx);
        ctx.leadership.until_lost(epoch).await;
        tracing::warn!(epoch, "not leading any more");
        report_all(ctx);
    }
}

fn report_all(ctx: &Context) {
    for namespace in ctx.tenant_namespaces() {
        ctx.triggers.report.trigger(namespace);
    }
}

async fn follow_reports(ctx: &Context) {
    /// Reports change with every acknowledgement; looking at them a few times a second is enough.
    const PAUSE: Duration = Duration::from_millis(50);
    let mut updates = ctx.reports.subscribe();
    let mut before = l4_xds::Report::default();
    while updates.changed().await.is_ok() {
        tokio::time::sleep(PAUSE).await;
        let now = updates.borrow_and_update().clone();
        let spoken_of = now.changed_since(&before);
        let namespaces: BTreeSet<&str> = spoken_of.iter().map(|id| id.namespace()).collect();
        for namespace in namespaces.into_iter().map(str::to_owned) {
            ctx.triggers.load_balancer.trigger(namespace.clone());
            ctx.triggers.report.trigger(namespace);
        }
        before = now;
    }
}
