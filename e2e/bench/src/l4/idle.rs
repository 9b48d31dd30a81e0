//! P3: the manager's memory with more and more LoadBalancers, and what it does when nothing happens.

use std::time::Duration;

use anyhow::Result;

use super::Setting;
use super::audit::{Request, Requests, count};
use super::figures::{Figure, Unit};
use super::hub::Hub;
use super::objects::tenant_name;

/// LoadBalancers of the tenants together.
const SIZES: [usize; 3] = [0, 1000, 5000];
/// Tenants that share them.
const TENANTS: usize = 10;
/// Nodes of each.
const NODES: usize = 3;
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(60);
/// How long it may come to rest before.
const REST: Duration = Duration::from_secs(10);

/// All sizes.
///
/// # Errors
/// When something does not come about.
pub async fn run(setting: &Setting) -> Result<Vec<Figure>> {
    let mut hub = Hub::start(setting, "p3", 1).await?;
    let tenants: Vec<String> = (0..TENANTS).map(tenant_name).collect();
    hub.tenants(&tenants, NODES, None).await?;
    let (mut figures, mut clients, mut there) = (Vec::new(), Vec::new(), 0);
    for size in SIZES.map(|size| setting.scaled(size, 0)) {
        let each = size / TENANTS;
        for tenant in &tenants {
            hub.create(tenant, there..each).await?;
        }
        there = each;
        if each > 0 && clients.is_empty() {
            for tenant in &tenants {
                clients.extend(hub.connect(tenant, 0..1).await?);
            }
        }
        hub.settled(each * TENANTS, &clients, each).await?;
        setting.progress.say(format!("P3: {size} LoadBalancers, at rest"));
        tokio::time::sleep(REST).await;
        figures.extend(at_rest(&mut hub, size, setting.scaled(60, 10)).await?);
    }
    drop(clients);
    hub.end().await?;
    Ok(figures)
}

async fn at_rest(hub: &mut Hub, size: usize, seconds: usize) -> Result<Vec<Figure>> {
    let time = Duration::from_secs(seconds as u64).min(IDLE);
    drop(hub.take_told());
    let (mark, before) = (hub.cluster.audit.mark()?, hub.manager()?);
    tokio::time::sleep(time).await;
    let after = hub.manager()?;
    let requests = hub.cluster.audit.since(mark)?;
    let pushes = hub.take_told().len();
    let title = |what: &str| format!("{size} LoadBalancers: {what}");
    let idle = |what: &str| title(&format!("{what} in {} s of rest", time.as_secs()));
    Ok(vec![
        Figure::plain(title("memory of the manager"), after.memory, Unit::Mebibytes),
        Figure::plain(title("the most that it took"), after.peak, Unit::Mebibytes),
        Figure::plain(
            idle("CPU of the manager"),
            (after.cpu - before.cpu).as_secs_f64() * 1000.0,
            Unit::Milliseconds,
        ),
        Figure::at_most(idle("writes but leases"), writes(&requests), Unit::Count, 0.0),
        Figure::at_most(idle("pushes to Envoys"), pushes as f64, Unit::Count, 0.0),
    ])
}

fn writes(requests: &Requests) -> f64 {
    count(requests, ":kubelb-manager", Request::is_write) as f64
}
