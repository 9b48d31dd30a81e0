//! The work queues, one for each controller, and what runs when a key is due.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use controller_kit::CancellationToken;
use controller_kit::driver::{Driver, Outcome, Settings};
use controller_kit::metrics::ReconcileMetrics;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::context::{Context, Error};
use crate::controller::{config, fan_out, global, load_balancer, pki, report, route, tenant};
use crate::triggers::{FanOut, Triggers};
use crate::xds;

/// All queues.
pub struct Drivers {
    tenant: Driver<String>,
    load_balancer: Driver<String>,
    snapshot: Driver<String>,
    global: Driver<()>,
    global_snapshot: Driver<()>,
    report: Driver<String>,
    route: Driver<String>,
    route_status: Driver<String>,
    claims: Driver<()>,
    config: Driver<()>,
    pki: Driver<()>,
    fan_out: Driver<FanOut>,
}

impl Drivers {
    /// Empty queues.
    #[must_use]
    pub fn new(metrics: &ReconcileMetrics) -> Self {
        let many = Settings {
            concurrency: 8,
            ..Settings::default()
        };
        let routes = Settings {
            concurrency: 8,
            ..Settings::prompt()
        };
        // Mostly the lease holder hears the same from another Envoy and records it meanwhile; then there is no news.
        let slow = Settings {
            debounce: Duration::from_millis(500),
            debounce_max: Duration::from_secs(2),
            ..Settings::default()
        };
        Self {
            tenant: Driver::new("tenant", many, metrics),
            load_balancer: Driver::new("load_balancer", many, metrics),
            snapshot: Driver::new("snapshot", many, metrics),
            global: Driver::new("global", Settings::default(), metrics),
            global_snapshot: Driver::new("global_snapshot", Settings::default(), metrics),
            report: Driver::new("report", slow, metrics),
            route: Driver::new("route", routes, metrics),
            route_status: Driver::new("route_status", routes, metrics),
            claims: Driver::new("claims", Settings::default(), metrics),
            config: Driver::new("config", Settings::default(), metrics),
            pki: Driver::new("pki", Settings::default(), metrics),
            fan_out: Driver::new("fan_out", Settings::default(), metrics),
        }
    }

    /// Handles to all of them.
    #[must_use]
    pub fn triggers(&self, own_namespace: &str) -> Triggers {
        Triggers {
            own_namespace: own_namespace.to_owned(),
            tenant: self.tenant.handle(),
            load_balancer: self.load_balancer.handle(),
            snapshot: self.snapshot.handle(),
            global: self.global.handle(),
            global_snapshot: self.global_snapshot.handle(),
            report: self.report.handle(),
            route: self.route.handle(),
            route_status: self.route_status.handle(),
            claims: self.claims.handle(),
            config: self.config.handle(),
            pki: self.pki.handle(),
            fan_out: self.fan_out.handle(),
        }
    }

    /// Runs them all until `stop` is cancelled, and ends when running work has ended.
    pub async fn run(self, ctx: &Arc<Context>, stop: &CancellationToken) {
        let Self {
            tenant,
            load_balancer,
            snapshot,
            global,
            global_snapshot,
            report,
            route,
            route_status,
            claims,
            config,
            pki,
            fan_out,
        } = self;
        let mut tasks = JoinSet::new();
        spawn(&mut tasks, tenant, ctx, stop, |ctx, name| async move {
            let span = tracing::info_span!("tenant", tenant = name);
            let (took, result) = timed(while_leading(&ctx, tenant::run(&ctx, &name)).instrument(span)).await;
            if ctx.leads() {
                ctx.metrics.tenant_run(took, result.is_ok());
            }
            result
        });
        spawn(
            &mut tasks,
            load_balancer,
            ctx,
            stop,
            |ctx, namespace| async move {
                let work = while_leading(&ctx, load_balancer::run(&ctx, &namespace));
                let (took, result) = timed(work).await;
                if counts(&ctx, &namespace) {
                    ctx.metrics.load_balancer_run(&namespace, took, result.is_ok());
                }
                result
            },
        );
        spawn(&mut tasks, snapshot, ctx, stop, |ctx, namespace| async move {
            let (took, result) = timed(async { xds::publish(&ctx, &namespace) }).await;
            ctx.metrics.snapshot_run(took, result.is_ok());
            result
        });
        spawn(&mut tasks, global, ctx, stop, |ctx, ()| async move {
            while_leading(&ctx, global::run(&ctx)).await
        });
        spawn(&mut tasks, global_snapshot, ctx, stop, |ctx, ()| async move {
            xds::global::publish(&ctx)
        });
        spawn(&mut tasks, report, ctx, stop, |ctx, namespace| async move {
            report::run(&ctx, &namespace).await
        });
        spawn(&mut tasks, route, ctx, stop, |ctx, namespace| async move {
            let (took, result) = timed(while_leading(&ctx, route::run(&ctx, &namespace))).await;
            if counts(&ctx, &namespace) {
                let found = route::found(&ctx, &namespace);
                ctx.metrics.route_run(&namespace, &found, took, result.is_ok());
            }
            result
        });
        spawn(&mut tasks, route_status, ctx, stop, |ctx, namespace| async move {
            while_leading(&ctx, route::status::run(&ctx, &namespace)).await
        });
        spawn(&mut tasks, claims, ctx, stop, |ctx, ()| async move {
            route::refresh_claims(&ctx);
            load_balancer::refresh_hostnames(&ctx);
            Ok(Outcome::done())
        });
        spawn(&mut tasks, config, ctx, stop, |ctx, ()| async move {
            while_leading(&ctx, config::run(&ctx)).await
        });
        spawn(&mut tasks, pki, ctx, stop, |ctx, ()| async move {
            while_leading(&ctx, pki::run(&ctx)).await
        });
        spawn(&mut tasks, fan_out, ctx, stop, |ctx, what| async move {
            fan_out::run(&ctx, &what)
        });
        while tasks.join_next().await.is_some() {}
    }
}

/// Whether a run has metrics: this replica did the work, and the tenant is not gone with its series.
fn counts(ctx: &Context, namespace: &str) -> bool {
    ctx.leads() && ctx.owner(namespace).is_some()
}

async fn timed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let started = Instant::now();
    let result = work.await;
    (started.elapsed(), result)
}

/// Breaks work off as soon as this replica may not write any more: another one may have begun.
async fn while_leading(
    ctx: &Context,
    work: impl Future<Output = Result<Outcome, Error>>,
) -> Result<Outcome, Error> {
    let Some(epoch) = ctx.leadership.epoch() else {
        return Ok(Outcome::done());
    };
    tokio::select! {
        result = work => result,
        () = ctx.leadership.until_lost(epoch) => Ok(Outcome::done()),
    }
}

fn spawn<K, F, R>(
    tasks: &mut JoinSet<()>,
    driver: Driver<K>,
    ctx: &Arc<Context>,
    stop: &CancellationToken,
    run: F,
) where
    K: controller_kit::driver::Key,
    F: Fn(Arc<Context>, K) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Outcome, Error>> + Send + 'static,
{
    let (ctx, stop) = (ctx.clone(), stop.clone());
    tasks.spawn(driver.run(stop, move |key| run(ctx.clone(), key)));
}
