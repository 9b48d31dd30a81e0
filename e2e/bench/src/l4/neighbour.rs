//! P7: a tenant beside one that changes something fifty times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::Setting;
use super::figures::{Figure, Unit};
use super::hub::{Hub, change};
use super::objects::tenant_name;
use super::propagation::{Series, series, tell};
use super::task::Task;
use crate::statistics::Percentiles;

/// LoadBalancers of the tenant that is measured.
const VICTIM: usize = 100;
/// LoadBalancers of the busy one.
const BUSY: usize = 2000;
/// Nodes of each.
const NODES: usize = 3;
/// Time from one change of the busy one to the next.
const BEAT: Duration = Duration::from_millis(20);
/// Rest after a busy turn.
const REST: Duration = Duration::from_secs(3);
/// Changes of the victim in each turn.
const ROUNDS: usize = 100;
/// Turns with the busy one idle, and as many with it busy.
const TURNS: usize = 3;
/// How much of its p99 beside an idle one the victim may take beside a busy one.
const SLOWER: f64 = 1.5;

/// The measurement: idle and busy in turns, so that what else the machine does is in both.
///
/// # Errors
/// When something does not come about.
pub async fn run(setting: &Setting) -> Result<Vec<Figure>> {
    let mut hub = Hub::start(setting, "p7", 1).await?;
    let (victim, busy) = (tenant_name(0), tenant_name(1));
    let sizes = [setting.scaled(VICTIM, 10), setting.scaled(BUSY, 20)];
    hub.tenants(&[victim.clone(), busy.clone()], NODES, None).await?;
    let (mut clients, mut there) = (Vec::new(), 0);
    for (tenant, size) in [&victim, &busy].into_iter().zip(sizes) {
        setting
            .progress
            .say(format!("P7: {size} LoadBalancers of {tenant}"));
        hub.create(tenant, 0..size).await?;
        there += size;
        let own = hub.connect(tenant, 0..1).await?;
        hub.settled(there, &own, size).await?;
        clients.extend(own);
    }
    let rounds = setting.scaled(ROUNDS, 10);
    let (mut idle, mut beside) = (Series::default(), Series::default());
    let (mut changes, mut seconds) = (0, 0.0);
    for turn in 0..TURNS {
        let at = |half: usize| (2 * turn + half) * rounds..(2 * turn + half + 1) * rounds;
        setting.progress.say("P7: the victim beside an idle tenant");
        idle = idle.and(series(&mut hub, &victim, sizes[0], at(0)).await?);
        setting.progress.say("P7: the victim beside a busy tenant");
        let noise = Noise::begin(&hub, &busy, sizes[1], turn);
        beside = beside.and(series(&mut hub, &victim, sizes[0], at(1)).await?);
        let (done, took) = noise.end();
        (changes, seconds) = (changes + done, seconds + took);
        // What the busy one left behind is not the next turn's.
        tokio::time::sleep(REST).await;
    }
    drop(clients);
    hub.end().await?;
    let mut all = figures(&idle, &beside);
    let rate = changes as f64 / seconds;
    all.push(Figure::plain(
        "changes of the busy tenant in a second",
        rate,
        Unit::Each,
    ));
    Ok(all)
}

/// Changes of the busy tenant, for as long as it is there.
struct Noise {
    done: Arc<AtomicU64>,
    begin: Instant,
    _task: Task,
}

impl Noise {
    fn begin(hub: &Hub, namespace: &str, all: usize, turn: usize) -> Self {
        let (client, namespace) = (hub.cluster.client.clone(), namespace.to_owned());
        let done = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&done);
        let task = Task::begin(async move {
            let mut beat = interval(BEAT);
            beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut writes = JoinSet::new();
            for round in turn * 1_000_000.. {
                beat.tick().await;
                while writes.try_join_next().is_some() {}
                let (client, namespace, count) = (client.clone(), namespace.clone(), Arc::clone(&count));
                writes.spawn(async move {
                    // One that is refused is one less, which the count shows.
                    if change(&client, &namespace, (round * 7919) % all, round)
                        .await
                        .is_ok()
                    {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self {
            done,
            begin: Instant::now(),
            _task: task,
        }
    }

    /// How many changes there were, in how many seconds.
    fn end(self) -> (u64, f64) {
        (
            self.done.load(Ordering::Relaxed),
            self.begin.elapsed().as_secs_f64(),
        )
    }
}

fn figures(idle: &Series, beside: &Series) -> Vec<Figure> {
    let mut all = Vec::new();
    all.extend(tell("beside an idle tenant", idle));
    all.extend(tell("beside a busy tenant", beside));
    let ratio = |of: fn(&Series) -> &[f64]| {
        let p99 = |series| Percentiles::of(of(series)).p99;
        p99(beside) / p99(idle)
    };
    all.push(Figure::at_most(
        "p99 of the update beside a busy tenant over that beside an idle one",
        ratio(|series| &series.update),
        Unit::Ratio,
        SLOWER,
    ));
    all.push(Figure::plain(
        "the same of the API server's watch alone",
        ratio(|series| &series.shown),
        Unit::Ratio,
    ));
    all.push(Figure::plain(
        "the same of what follows it",
        ratio(|series| &series.own),
        Unit::Ratio,
    ));
    all
}
