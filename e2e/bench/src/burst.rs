//! P10: a thousand HTTPRoutes at once: until they are counted, until they are served, and how often the Gateway's
//! status was written meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use kube::runtime::watcher;
use serde::{Deserialize, Serialize};
use testbed::Progress;

use crate::clusters::{delete_labelled, gateway_api, objects};
use crate::probe::{Unexpected, client, until_served};
use crate::scene::{SHARED_BACKEND, Scene, Side};

/// Requests that create routes at the same time.
const CREATORS: usize = 32;
/// Hosts that are asked for at the same time.
const ASKERS: usize = 16;
/// Time from one request for a host to the next: seconds are measured, and who asks must not be most of the load.
const BEAT: Duration = Duration::from_millis(50);
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// How one way did. Times are in seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Way {
    /// From the first request that creates a route to the answer to the last.
    pub creation: f64,
    /// From the last route's creation to its being counted with all others in `attachedRoutes`.
    pub attached: Option<f64>,
    /// From the last route's creation to the first 200 of the route that came last.
    pub served: Option<f64>,
    /// Writes of the Gateway from the first route's creation to the last count.
    pub gateway_writes: u64,
    /// Answers that were neither 404 before nor 200 after.
    pub unexpected: Unexpected,
    /// From the deletion of all routes to a count of none.
    pub detached: Option<f64>,
}

/// Both ways.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Burst {
    /// Routes at once.
    pub routes: usize,
    /// By delegation.
    pub delegated: Way,
    /// Directly on the hub.
    pub raw: Way,
}

/// Runs one way after the other.
///
/// # Errors
/// When an API server refuses something.
pub async fn run(scene: &Scene, count: usize, progress: &Progress) -> Result<Burst> {
    let mut ways = Vec::new();
    for side in [&scene.tenant, &scene.raw] {
        progress.say(format!("P10: {count} routes at once, {}", side.name));
        ways.push(one_way(side, count).await?);
    }
    let raw = ways.pop();
    let delegated = ways.pop();
    match (delegated, raw) {
        (Some(delegated), Some(raw)) => Ok(Burst {
            routes: count,
            delegated,
            raw,
        }),
        _ => anyhow::bail!("a way is missing"),
    }
}

async fn one_way(side: &Side, count: usize) -> Result<Way> {
    let counter = Counter::begin(side).await;
    let first = Instant::now();
    stream::iter(0..count)
        .map(|index| async move {
            let route = side.route("burst", &format!("burst-{index}"), &host(index), SHARED_BACKEND);
            side.create_route(&route).await
        })
        .buffer_unordered(CREATORS)
        .try_collect::<()>()
        .await?;
    let last = Instant::now();
    let (attached, (served, unexpected)) = tokio::join!(counter.until(count as u64), all_served(side, count));
    let gateway_writes = counter.writes();
    let begin = Instant::now();
    let routes = gateway_api("HTTPRoute");
    let (deleted, detached) = tokio::join!(
        delete_labelled(&side.client, side.namespace, &routes, "bench=burst"),
        counter.until(0)
    );
    deleted?;
    let since = |from: Instant| move |at: Instant| at.saturating_duration_since(from).as_secs_f64();
    Ok(Way {
        creation: (last - first).as_secs_f64(),
        attached: attached.map(since(last)),
        served: served?.map(since(last)),
        gateway_writes,
        unexpected,
        detached: detached.map(since(begin)),
    })
}

/// When the last host was first served.
async fn all_served(side: &Side, count: usize) -> (Result<Option<Instant>>, Unexpected) {
    let client = match client() {
        Ok(client) => client,
        Err(error) => return (Err(error), Unexpected::new()),
    };
    let answers: Vec<(Option<Instant>, Unexpected)> = stream::iter(0..count)
        .map(|index| {
            let client = client.clone();
            async move {
                let mut unexpected = Unexpected::new();
                let at = until_served(&client, &side.address, &host(index), BEAT, &mut unexpected).await;
                (at, unexpected)
            }
        })
        .buffer_unordered(ASKERS)
        .collect()
        .await;
    let mut all = Unexpected::new();
    for (answer, times) in answers.iter().flat_map(|(_, unexpected)| unexpected) {
        *all.entry(answer.clone()).or_default() += times;
    }
    let times: Option<Vec<Instant>> = answers.iter().map(|(at, _)| *at).collect();
    (Ok(times.and_then(|times| times.into_iter().max())), all)
}

/// Follows a Gateway: its attached routes, and how often it was written.
struct Counter {
    attached: tokio::sync::watch::Receiver<(u64, Instant)>,
    writes: Arc<AtomicU64>,
    worker: tokio::task::JoinHandle<()>,
}

impl Counter {
    async fn begin(side: &Side) -> Self {
        let (tell, attached) = tokio::sync::watch::channel((u64::MAX, Instant::now()));
        let writes = Arc::new(AtomicU64::new(0));
        let gateways = objects(&side.client, side.namespace, &gateway_api("Gateway"));
        let count = Arc::clone(&writes);
        let worker = tokio::spawn(async move {
            let mut events = Box::pin(watcher(gateways, watcher::Config::default()));
            while let Some(event) = events.next().await {
                let gateway = match event {
                    Ok(watcher::Event::Apply(gateway)) => {
                        count.fetch_add(1, Ordering::Relaxed);
                        gateway
                    }
                    Ok(watcher::Event::InitApply(gateway)) => gateway,
                    _ => continue,
                };
                let routes = gateway.data["status"]["listeners"][0]["attachedRoutes"].as_u64();
                let _ = tell.send((routes.unwrap_or_default(), Instant::now()));
            }
        });
        let mut counter = Self {
            attached,
            writes,
            worker,
        };
        // The first look is not a write.
        let _ = counter.attached.changed().await;
        counter
    }

    fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// When the count became this.
    async fn until(&self, routes: u64) -> Option<Instant> {
        let mut attached = self.attached.clone();
        let wanted = attached.wait_for(|(seen, _)| *seen == routes);
        match tokio::time::timeout(PATIENCE, wanted).await {
            Ok(Ok(seen)) => Some(seen.1),
            _ => None,
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

fn host(index: usize) -> String {
    format!("{index}-burst.example.com")
}
