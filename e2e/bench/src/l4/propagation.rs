//! P1: from the write of a LoadBalancer to the update at an Envoy, with more and more LoadBalancers beside it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::figures::{Figure, Unit};
use super::hub::Hub;
use super::objects::{load_balancer_name, tenant_name};
use super::observer::Generation;
use super::xds::{Heard, Type};
use super::{Setting, milliseconds};
use crate::statistics::Percentiles;

/// LoadBalancers of the tenant.
const SIZES: [usize; 3] = [100, 1000, 5000];
/// Changes at each size.
const ROUNDS: usize = 300;
/// Time from one change to the next.
const BEAT: Duration = Duration::from_millis(200);
/// How long an update may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nodes of the tenant.
const NODES: usize = 3;
/// How much of its p99 at the smallest size the largest may take.
const GROWTH: f64 = 2.0;

/// What each change of a series took, in milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// From before the write to the update at the client.
    pub update: Vec<f64>,
    /// From before the write until a watch of the API server shows it: what no manager can do anything about.
    pub shown: Vec<f64>,
    /// What lies between: the part of the product.
    pub own: Vec<f64>,
    /// From before the write until its status says that it is programmed; empty where statuses do not say so.
    pub programmed: Vec<f64>,
}

impl Series {
    /// Of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let Self {
            update,
            shown,
            own,
            programmed,
        } = other;
        self.update.extend(update);
        self.shown.extend(shown);
        self.own.extend(own);
        self.programmed.extend(programmed);
        self
    }
}

/// All sizes.
///
/// # Errors
/// When something does not come about.
pub async fn run(setting: &Setting) -> Result<Vec<Figure>> {
    let mut hub = Hub::start(setting, "p1", 1).await?;
    let namespace = tenant_name(0);
    hub.tenants(std::slice::from_ref(&namespace), NODES, None).await?;
    let rounds = setting.scaled(ROUNDS, 20);
    let (mut figures, mut p99, mut there) = (Vec::new(), Vec::new(), 0);
    let mut clients = Vec::new();
    for (turn, size) in SIZES.map(|size| setting.scaled(size, 10)).into_iter().enumerate() {
        setting.progress.say(format!("P1: {size} LoadBalancers"));
        hub.create(&namespace, there..size).await?;
        there = size;
        if clients.is_empty() {
            clients = hub.connect(&namespace, 0..1).await?;
        }
        hub.settled(size, &clients, size).await?;
        setting
            .progress
            .say(format!("P1: {rounds} changes beside {size} LoadBalancers"));
        let before = hub.manager()?.cpu;
        let series = series(&mut hub, &namespace, size, turn * rounds..(turn + 1) * rounds).await?;
        let cpu = hub.manager()?.cpu - before;
        p99.push(Percentiles::of(&series.update).p99);
        figures.extend(tell(&format!("{size} LoadBalancers"), &series));
        figures.push(Figure::plain(
            format!("{size} LoadBalancers: CPU of the manager for each change"),
            cpu.as_secs_f64() * 1000.0 / rounds as f64,
            Unit::Milliseconds,
        ));
    }
    if let (Some(least), Some(most)) = (p99.first(), p99.last()) {
        let what = format!(
            "p99 with {there} LoadBalancers over that with {}",
            setting.scaled(SIZES[0], 10)
        );
        figures.push(Figure::at_most(what, most / least, Unit::Ratio, GROWTH));
    }
    drop(clients);
    hub.end().await?;
    Ok(figures)
}

/// The figures of a series.
#[must_use]
pub fn tell(title: &str, series: &Series) -> Vec<Figure> {
    let Series {
        update,
        shown,
        own,
        programmed,
    } = series;
    let told = [
        ("write to update at the client", update),
        ("write to a watch of the API server", shown),
        ("from there to the update", own),
        ("write to Programmed", programmed),
    ];
    told.into_iter()
        .filter(|(_, samples)| !samples.is_empty())
        .flat_map(|(what, samples)| {
            Figure::percentiles(&format!("{title}: {what}"), Percentiles::of(samples))
        })
        .collect()
}

/// Changes one of `all` LoadBalancers after the other, and waits for each update. A round that was there before may
/// change nothing.
///
/// # Errors
/// When one does not come.
pub async fn series(
    hub: &mut Hub,
    namespace: &str,
    all: usize,
    rounds: std::ops::Range<usize>,
) -> Result<Series> {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut updates, mut writes) = (Vec::new(), Vec::new());
    for round in rounds {
        beat.tick().await;
        drop(hub.take_told());
        // A prime step visits all in an order that has nothing to do with their age.
        let index = (round * 7919) % all;
        let name = load_balancer_name(index);
        let at = Instant::now();
        let generation = hub.change(namespace, index, round).await?;
        let heard = until_told(hub, namespace, &name).await?;
        updates.push(milliseconds(at, heard.at));
        writes.push(((namespace.to_owned(), name, generation), at));
    }
    let (shown, programmed) = statuses(hub, &writes).await?;
    let parts = updates.iter().zip(&shown);
    Ok(Series {
        own: parts.map(|(update, shown)| (update - shown).max(0.0)).collect(),
        update: updates,
        shown,
        programmed,
    })
}

async fn until_told(hub: &mut Hub, namespace: &str, name: &str) -> Result<Heard> {
    let wanted = |heard: &Heard| {
        heard.ty == Type::Endpoints
            && heard.client.0 == namespace
            && heard.changed.iter().any(|resource| resource.contains(name))
    };
    let told = async {
        loop {
            let heard = hub.told.recv().await.context("no client is left")?;
            if wanted(&heard) {
                return Ok(heard);
            }
        }
    };
    match timeout(PATIENCE, told).await {
        Ok(heard) => heard,
        Err(_) => bail!("no update of {namespace}/{name} within {} s", PATIENCE.as_secs()),
    }
}

/// When others saw the writes, and when their statuses said that they are programmed.
async fn statuses(hub: &Hub, writes: &[(Generation, Instant)]) -> Result<(Vec<f64>, Vec<f64>)> {
    let shown = hub
        .observer
        .until("all changes at a watch of the API server", |seen| {
            times(writes, &seen.changed)
        });
    let programmed = hub
        .observer
        .until("all changes programmed", |seen| times(writes, &seen.programmed));
    let shown = shown.await?;
    // A status that does not tell is not waited for.
    let programmed = timeout(PATIENCE, programmed).await.ok().transpose()?;
    Ok((shown, programmed.unwrap_or_default()))
}

/// How long each write took to be seen; none while one is not seen yet.
fn times(writes: &[(Generation, Instant)], seen: &HashMap<Generation, Instant>) -> Option<Vec<f64>> {
    let time = |(key, at): &(Generation, Instant)| Some(milliseconds(*at, *seen.get(key)?));
    writes.iter().map(time).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_complete_when_the_last_write_was_seen() {
        let at = Instant::now();
        let key = |generation| ("tenant-000".to_owned(), "lb".to_owned(), generation);
        let writes = [(key(2), at), (key(3), at)];
        let later = |milliseconds| at + Duration::from_millis(milliseconds);
        let mut seen = HashMap::from([(key(2), later(5))]);
        assert_eq!(times(&writes, &seen), None);
        seen.insert(key(3), later(7));
        assert_eq!(times(&writes, &seen), Some(vec![5.0, 7.0]));
    }

    #[test]
    fn what_was_not_told_is_no_figure() {
        let series = Series {
            update: vec![1.0],
            shown: vec![2.0],
            own: vec![0.5],
            programmed: vec![],
        };
        let joined = series.clone().and(series);
        let told: Vec<String> = tell("x", &joined).into_iter().map(|figure| figure.what).collect();
        assert_eq!(told.len(), 6);
        assert!(!told.iter().any(|what| what.contains("Programmed")), "{told:?}");
    }
}
