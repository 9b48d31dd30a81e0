//! P4: the manager is started anew over many tenants: until every Envoy has all of its configuration, and what is sent
//! and written although nothing changed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::audit::{Request, count};
use super::figures::{Figure, Unit};
use super::hub::Hub;
use super::objects::tenant_name;
use super::wait::{Beat, until};
use super::xds::{Client, Heard};
use super::{Setting, milliseconds};

/// Tenants.
const TENANTS: usize = 100;
/// LoadBalancers of each.
const LOAD_BALANCERS: usize = 50;
/// Nodes of each.
const NODES: usize = 3;
/// Time after the last Envoy is complete in which nothing more may come.
const REST: Duration = Duration::from_secs(30);

/// The measurement: each tenant has one Envoy that was there before and comes back, and one that starts empty.
///
/// # Errors
/// When something does not come about.
pub async fn run(setting: &Setting) -> Result<Vec<Figure>> {
    let mut hub = Hub::start(setting, "p4", 2).await?;
    let tenants: Vec<String> = (0..setting.scaled(TENANTS, 3)).map(tenant_name).collect();
    let each = setting.scaled(LOAD_BALANCERS, 5);
    let all = tenants.len() * each;
    setting.progress.say(format!(
        "P4: {} tenants with {each} LoadBalancers each",
        tenants.len()
    ));
    hub.tenants(&tenants, NODES, None).await?;
    let mut former = Vec::new();
    for tenant in &tenants {
        hub.create(tenant, 0..each).await?;
        former.extend(hub.connect(tenant, 0..1).await?);
    }
    hub.settled(all, &former, each).await?;
    tokio::time::sleep(REST).await;
    drop(hub.take_told());

    setting.progress.say("P4: the manager is started anew");
    let streams: Vec<u64> = former.iter().map(|client| client.streams().0).collect();
    let mark = hub.cluster.audit.mark()?;
    let at = hub.restart_manager().await?;
    let fresh = fresh(&hub, &tenants).await?;
    let back = until_back(&former, &streams).await?;
    hub.manager_ready().await?;
    let ready = Instant::now();
    let complete = until_complete(&mut hub, &fresh, each).await?;
    tokio::time::sleep(REST).await;
    let usage = hub.manager()?;
    let requests = hub.cluster.audit.since(mark)?;
    let heard = hub.take_told();
    let outcome = Outcome {
        ready: milliseconds(at, ready),
        back: milliseconds(at, back),
        complete: milliseconds(at, complete),
        peak: usage.peak,
        cpu: usage.cpu,
        writes: count(&requests, ":kubelb-manager", Request::is_write),
        sent_again: sent_again(&heard),
    };
    drop((former, fresh));
    hub.end().await?;
    Ok(outcome.figures(&format!("{} tenants, {each} LoadBalancers each", tenants.len())))
}

/// One Envoy more for each tenant. It has nothing yet.
async fn fresh(hub: &Hub, tenants: &[String]) -> Result<Vec<Client>> {
    let mut all = Vec::new();
    for tenant in tenants {
        // The second of two: the first one is connected already.
        all.extend(hub.connect(tenant, 1..2).await?);
    }
    Ok(all)
}

/// When the last of them has a stream again.
async fn until_back(clients: &[Client], before: &[u64]) -> Result<Instant> {
    until("all Envoys to come back", Beat::Quick, async || {
        let times = clients.iter().zip(before).map(|(client, before)| {
            let (streams, opened) = client.streams();
            opened.filter(|_| streams > *before)
        });
        Ok(times
            .collect::<Option<Vec<_>>>()
            .and_then(|times| times.into_iter().max()))
    })
    .await
}

/// When the last of them had all of its configuration.
async fn until_complete(hub: &mut Hub, clients: &[Client], each: usize) -> Result<Instant> {
    until("all new Envoys to be complete", Beat::Quick, async || {
        hub.manager()?;
        let complete = clients.iter().all(|client| client.load_balancers() == each);
        Ok(complete.then_some(()))
    })
    .await?;
    let times = clients.iter().map(Client::last_heard);
    times.max().flatten().context("no new Envoy heard anything")
}

/// Resources that were sent to, or taken from, Envoys that had them already.
fn sent_again(heard: &[Heard]) -> usize {
    let former = heard.iter().filter(|heard| heard.client.1.ends_with("-0"));
    former.map(|heard| heard.changed.len() + heard.removed).sum()
}

struct Outcome {
    ready: f64,
    back: f64,
    complete: f64,
    peak: f64,
    cpu: Duration,
    writes: u64,
    sent_again: usize,
}

impl Outcome {
    fn figures(&self, title: &str) -> Vec<Figure> {
        let Self {
            ready,
            back,
            complete,
            peak,
            cpu,
            writes,
            sent_again,
        } = self;
        let title = |what: &str| format!("{title}: {what}");
        vec![
            Figure::plain(title("start to ready"), *ready, Unit::Milliseconds),
            Figure::plain(
                title("start to the last Envoy come back"),
                *back,
                Unit::Milliseconds,
            ),
            Figure::plain(
                title("start to the last new Envoy complete"),
                *complete,
                Unit::Milliseconds,
            ),
            Figure::plain(title("most memory of the manager"), *peak, Unit::Mebibytes),
            Figure::plain(title("CPU of the manager"), cpu.as_secs_f64(), Unit::Seconds),
            Figure::at_most(
                title("resources sent to Envoys that had them"),
                *sent_again as f64,
                Unit::Count,
                0.0,
            ),
            Figure::at_most(title("writes but leases"), *writes as f64, Unit::Count, 0.0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::l4::xds::Type;

    #[test]
    fn only_what_goes_to_envoys_that_came_back_is_sent_again() {
        let heard = |pod: &str| Heard {
            at: Instant::now(),
            client: Arc::new(("tenant-000".to_owned(), pod.to_owned())),
            ty: Type::Listener,
            changed: vec!["a".to_owned()],
            removed: 1,
            bytes: 1,
        };
        assert_eq!(sent_again(&[heard("envoy-0"), heard("envoy-1")]), 2);
        assert_eq!(sent_again(&[heard("envoy-1")]), 0);
    }
}
