//! P8: connections through a real Envoy, while a thousand other LoadBalancers come, change and go.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::DeleteParams;
use tokio::time::{Instant, sleep_until};

use super::Setting;
use super::envoy::{Envoy, Stats};
use super::figures::{Figure, Unit};
use super::hub::Hub;
use super::objects::{self, load_balancer_name, tenant_name};
use super::traffic::{Echo, Traffic};
use super::wait::{Beat, until};
use crate::clusters::{create, objects as objects_of};
use crate::scene::services;

/// LoadBalancers that the connections go through.
const STABLE: usize = 10;
/// Other LoadBalancers.
const OTHERS: usize = 1000;
/// Connections that stay.
const LONG: usize = 200;
/// New connections in a second.
const RATE: u32 = 300;
/// Time from one of the others to the next.
const BEAT: Duration = Duration::from_millis(20);
/// Requests at the same time.
const CONCURRENCY: usize = 16;
/// Nodes of the tenant.
const NODES: usize = 3;

/// The measurement.
///
/// # Errors
/// When something does not come about.
pub async fn run(setting: &Setting) -> Result<Vec<Figure>> {
    let address = setting.backend_address.map_or_else(own_address, Ok)?;
    let echo = Echo::begin(address).await?;
    let mut hub = Hub::start(setting, "p8", 1).await?;
    let tenant = tenant_name(0);
    let backend = address.to_string();
    hub.tenants(std::slice::from_ref(&tenant), NODES, Some(&backend))
        .await?;
    let stable: Vec<String> = (0..STABLE).map(|index| format!("stable-{index}")).collect();
    for name in &stable {
        let object = objects::load_balancer_to(name, &backend, echo.address.port());
        create(&hub.cluster.client, &tenant, &objects::load_balancers(), &object).await?;
    }
    let mut envoy = Envoy::start(setting, &hub, &tenant).await?;
    envoy.ready().await?;
    hub.settled(STABLE, &[], 0).await?;
    let ports = envoy_ports(&hub, &tenant).await?;
    reachable(&mut envoy, &ports).await?;

    let before = envoy.stats().await?;
    let traffic = Traffic::begin(&ports, LONG, RATE);
    let others = setting.scaled(OTHERS, 20);
    setting
        .progress
        .say(format!("P8: {others} other LoadBalancers come, change and go"));
    let churned = churn(&mut hub, &mut envoy, &tenant, others).await;
    let tally = traffic.end().await;
    churned?;
    let after = envoy.stats().await?;
    let failures = tally.failures();
    for (what, times) in &failures {
        setting.progress.say(format!("P8: {times} times {what}"));
    }
    envoy.process.end().await?;
    hub.end().await?;
    let opened = tally.opened.load(Ordering::Relaxed);
    let words = tally.words.load(Ordering::Relaxed);
    Ok(figures(
        others,
        opened,
        words,
        &failures,
        &Stats::between(&before, &after),
    ))
}

/// The others come, change, and go, each at its time; each step waits until Envoy has all of it.
async fn churn(hub: &mut Hub, envoy: &mut Envoy, tenant: &str, others: usize) -> Result<()> {
    let client = hub.cluster.client.clone();
    paced(others, async |index| {
        create(
            &client,
            tenant,
            &objects::load_balancers(),
            &objects::load_balancer(index),
        )
        .await
    })
    .await?;
    envoy.listeners(STABLE + others).await?;
    hub.settled(STABLE + others, &[], 0).await?;
    paced(others, async |index| hub.change(tenant, index, 0).await.map(drop)).await?;
    let api = objects_of(&client, tenant, &objects::load_balancers());
    paced(others, async |index| {
        api.delete(&load_balancer_name(index), &DeleteParams::default())
            .await?;
        Ok(())
    })
    .await?;
    envoy.listeners(STABLE).await
}

/// Does something with each of them, one after the other has begun.
async fn paced(all: usize, work: impl AsyncFn(usize) -> Result<()>) -> Result<()> {
    let begin = Instant::now();
    let work = &work;
    stream::iter((0..all).zip(0..))
        .map(|(index, beats)| async move {
            sleep_until(begin + BEAT * beats).await;
            work(index).await
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

fn figures(
    others: usize,
    opened: u64,
    words: u64,
    failures: &BTreeMap<String, u64>,
    stats: &Stats,
) -> Vec<Figure> {
    let failed: u64 = failures.values().sum();
    let Stats { rejected, updates } = stats;
    let title = |what: &str| format!("{others} others come, change and go: {what}");
    vec![
        Figure::plain(title("connections opened"), opened as f64, Unit::Count),
        Figure::plain(title("words that came back"), words as f64, Unit::Count),
        Figure::at_most(
            title("failed or reset connections"),
            failed as f64,
            Unit::Count,
            0.0,
        ),
        Figure::plain(title("updates that Envoy took"), *updates as f64, Unit::Count),
        Figure::at_most(
            title("updates that Envoy rejected"),
            *rejected as f64,
            Unit::Count,
            0.0,
        ),
    ]
}

/// An address of this machine that is not loopback. Nothing is sent to find it.
fn own_address() -> Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let found = socket
        .connect((Ipv4Addr::new(198, 18, 0, 1), 9))
        .and_then(|()| socket.local_addr());
    match found.map(|address| address.ip()) {
        Ok(std::net::IpAddr::V4(address)) if !address.is_loopback() => Ok(address),
        _ => bail!("this machine has no address for backends: give one with --backend-address"),
    }
}

/// Ports on which Envoy listens, by the record in the hub Services: there is no kube-proxy before it here.
async fn envoy_ports(hub: &Hub, tenant: &str) -> Result<Vec<u16>> {
    let all = objects_of(&hub.cluster.client, tenant, &services());
    let services = all.list(&kube::api::ListParams::default()).await?;
    let ports = services.iter().filter_map(|service| {
        let port = service.data["spec"]["ports"][0]["targetPort"].as_u64()?;
        u16::try_from(port).ok()
    });
    Ok(ports.collect())
}

async fn reachable(envoy: &mut Envoy, ports: &[u16]) -> Result<()> {
    until("a connection through every listener", Beat::Slow, async || {
        envoy.process.check()?;
        let tally = Traffic::begin(ports, ports.len(), 1).end().await;
        Ok(tally.failures().is_empty().then_some(()))
    })
    .await
}
