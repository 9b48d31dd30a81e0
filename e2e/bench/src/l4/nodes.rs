//! P2: one node of a tenant comes or goes: what is sent to an Envoy, and what it costs the manager.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::timeout;

use super::Setting;
use super::audit::{Request, count};
use super::figures::{Figure, Unit};
use super::hub::Hub;
use super::objects::{node_addresses, tenant_name};
use super::xds::{Heard, Type};

/// LoadBalancers of the tenant.
const LOAD_BALANCERS: usize = 1000;
/// Its nodes.
const NODES: usize = 100;
/// Changes; the costs of one are the average.
const CHANGES: usize = 20;
/// A change is over when nothing came for so long.
const QUIET: Duration = Duration::from_secs(2);
/// How long the first message of a change may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The measurement.
///
/// # Errors
/// When something does not come about.
pub async fn run(setting: &Setting) -> Result<Vec<Figure>> {
    let mut hub = Hub::start(setting, "p2", 1).await?;
    let namespace = tenant_name(0);
    let (load_balancers, nodes) = (setting.scaled(LOAD_BALANCERS, 10), setting.scaled(NODES, 5));
    hub.tenants(std::slice::from_ref(&namespace), nodes, None).await?;
    setting
        .progress
        .say(format!("P2: {load_balancers} LoadBalancers at {nodes} nodes"));
    hub.create(&namespace, 0..load_balancers).await?;
    let clients = hub.connect(&namespace, 0..1).await?;
    hub.settled(load_balancers, &clients, load_balancers).await?;
    quiet(&mut hub).await;

    let changes = setting.scaled(CHANGES, 4);
    setting.progress.say(format!("P2: {changes} changes of one node"));
    let all = node_addresses(nodes);
    let (mark, before) = (hub.cluster.audit.mark()?, hub.manager()?.cpu);
    let begin = Instant::now();
    let mut heard = Vec::new();
    for change in 0..changes {
        let there = if change.is_multiple_of(2) {
            nodes - 1
        } else {
            nodes
        };
        hub.set_nodes(&namespace, &all[..there]).await?;
        heard.extend(timeout(PATIENCE, hub.told.recv()).await.ok().flatten());
        heard.extend(quiet(&mut hub).await);
    }
    let busy = hub.manager()?.cpu - before;
    let took = begin.elapsed();
    let idle = idle_cpu(&mut hub, took).await?;
    let requests = hub.cluster.audit.since(mark)?;
    let writes = count(&requests, ":kubelb-manager", Request::is_write);
    let cost = Cost {
        changes,
        cpu: busy.saturating_sub(idle),
        writes,
        heard,
    };
    drop(clients);
    hub.end().await?;
    Ok(cost.figures(&format!("one of {nodes} nodes, {load_balancers} LoadBalancers")))
}

/// What the manager takes in that time although nothing happens.
async fn idle_cpu(hub: &mut Hub, time: Duration) -> Result<Duration> {
    let sample = time.min(Duration::from_secs(10));
    let before = hub.manager()?.cpu;
    tokio::time::sleep(sample).await;
    let used = hub.manager()?.cpu - before;
    Ok(used.mul_f64(time.as_secs_f64() / sample.as_secs_f64()))
}

/// All that comes until nothing comes any more.
async fn quiet(hub: &mut Hub) -> Vec<Heard> {
    let mut all = Vec::new();
    while let Ok(Some(heard)) = timeout(QUIET, hub.told.recv()).await {
        all.push(heard);
    }
    all
}

struct Cost {
    changes: usize,
    cpu: Duration,
    writes: u64,
    heard: Vec<Heard>,
}

impl Cost {
    fn figures(&self, title: &str) -> Vec<Figure> {
        let Self {
            changes,
            cpu,
            writes,
            heard,
        } = self;
        let each = |all: usize| all as f64 / *changes as f64;
        let (endpoints, others): (Vec<&Heard>, Vec<&Heard>) =
            heard.iter().partition(|heard| heard.ty == Type::Endpoints);
        let plain = |what: &str, value, unit| Figure::plain(format!("{title}: {what}"), value, unit);
        vec![
            plain(
                "bytes at the Envoy",
                each(heard.iter().map(|h| h.bytes).sum()),
                Unit::Bytes,
            ),
            plain("messages at the Envoy", each(heard.len()), Unit::Each),
            plain(
                "endpoints at the Envoy",
                each(endpoints.iter().map(|h| h.changed.len()).sum()),
                Unit::Each,
            ),
            Figure::at_most(
                format!("{title}: clusters and listeners at the Envoy"),
                others.iter().map(|h| h.changed.len() + h.removed).sum::<usize>() as f64,
                Unit::Count,
                0.0,
            ),
            plain(
                "CPU of the manager",
                cpu.as_secs_f64() * 1000.0 / *changes as f64,
                Unit::Milliseconds,
            ),
            plain(
                "writes of the manager",
                *writes as f64 / *changes as f64,
                Unit::Each,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn heard(ty: Type, changed: &[&str], bytes: usize) -> Heard {
        Heard {
            at: Instant::now(),
            client: Arc::new(("tenant-000".to_owned(), "envoy-0".to_owned())),
            ty,
            changed: changed.iter().map(|name| (*name).to_owned()).collect(),
            removed: 0,
            bytes,
        }
    }

    #[test]
    fn costs_are_told_for_one_change_and_only_endpoints_may_be_sent() {
        let mut cost = Cost {
            changes: 2,
            cpu: Duration::from_millis(30),
            writes: 2,
            heard: vec![
                heard(Type::Endpoints, &["a", "b"], 100),
                heard(Type::Endpoints, &["a", "b"], 300),
            ],
        };
        let values = |cost: &Cost| cost.figures("x").iter().map(|f| f.value).collect::<Vec<_>>();
        assert_eq!(values(&cost), [200.0, 1.0, 2.0, 0.0, 15.0, 1.0]);
        assert!(cost.figures("x").iter().all(|f| f.reached() != Some(false)));
        cost.heard.push(heard(Type::Cluster, &["a"], 10));
        assert!(cost.figures("x").iter().any(|f| f.reached() == Some(false)));
    }
}
