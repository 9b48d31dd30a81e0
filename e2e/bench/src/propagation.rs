//! P9: the time from an HTTPRoute's creation to its first 200, route by route, by delegation and directly.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use testbed::Progress;

use crate::probe::{BEAT, Unexpected, Watch, client, until_served};
use crate::relay::Relay;
use crate::scene::{SHARED_BACKEND, Scene, Side, own_backend};
use crate::statistics::Percentiles;

/// Rest before each route of [`Series::Rested`].
const REST: Duration = Duration::from_millis(700);

/// So many routes that were not served, and none that was: the way does not work, and each more would take a minute.
const GIVEN_UP: usize = 3;

/// What the routes of a run have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// One backend for all.
    Shared,
    /// One backend for all, and time for everybody to be done with the route before.
    Rested,
    /// A backend each.
    Own,
}

impl Series {
    fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Rested => "rested",
            Self::Own => "own",
        }
    }

    fn rest(self) -> Duration {
        match self {
            Self::Rested => REST,
            Self::Shared | Self::Own => Duration::ZERO,
        }
    }
}

/// How one way did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Way {
    /// Milliseconds from the request that creates a route to the first 200.
    pub milliseconds: Percentiles,
    /// Routes that were not served in a minute.
    pub never_served: usize,
    /// Answers that were neither 404 before nor 200 after.
    pub unexpected: Unexpected,
    /// Requests to routes that were served already.
    pub asked_again: u64,
    /// Those of them that were not answered with 200.
    pub lost: Unexpected,
}

/// Both ways, and what lies between them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Propagation {
    /// Whether all routes had the same backend, and whether there was a rest before each.
    pub series: String,
    /// By delegation.
    pub delegated: Way,
    /// Directly on the hub.
    pub raw: Way,
    /// Route by route, delegated less raw, in milliseconds.
    pub overhead: Percentiles,
    /// Carried to the hub by somebody who decides nothing: the least that delegation can cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relayed: Option<Way>,
}

/// Runs `count` routes through both ways, in turns, so that both see the same machine.
///
/// # Errors
/// When an API server refuses something.
pub async fn run(scene: &Scene, count: usize, series: Series, progress: &Progress) -> Result<Propagation> {
    let relay = match series {
        Series::Rested => Some(Relay::begin(scene).await?),
        Series::Shared | Series::Own => None,
    };
    let mut runners = [
        Runner::begin(&scene.tenant, series)?,
        Runner::begin(&scene.raw, series)?,
    ]
    .into_iter()
    .chain(
        relay
            .iter()
            .map(|relay| Runner::begin(relay.side(), series))
            .collect::<Result<Vec<_>>>()?,
    )
    .collect::<Vec<_>>();
    let mut overhead = Vec::new();
    for index in 0..count {
        let mut times = vec![None; runners.len()];
        for turn in 0..runners.len() {
            let which = (index + turn) % runners.len();
            times[which] = runners[which].one(index).await?;
        }
        if let [Some(with), Some(without), ..] = times[..] {
            overhead.push(with - without);
        }
        if (index + 1) % 100 == 0 {
            let so_far: Vec<String> = runners.iter().map(Runner::so_far).collect();
            progress.say(format!(
                "P9 ({}): {} routes, {}",
                series.name(),
                index + 1,
                so_far.join("; ")
            ));
        }
    }
    let mut ways = Vec::new();
    for runner in runners {
        ways.push(runner.end().await?);
    }
    if let Some(relay) = relay {
        relay.end().await?;
    }
    let mut ways = ways.into_iter();
    let (Some(delegated), Some(raw), relayed) = (ways.next(), ways.next(), ways.next()) else {
        anyhow::bail!("a way is missing");
    };
    Ok(Propagation {
        series: series.name().to_owned(),
        delegated,
        raw,
        overhead: Percentiles::of(&overhead),
        relayed,
    })
}

/// One way, in the middle of its run.
struct Runner<'a> {
    side: &'a Side,
    series: Series,
    client: reqwest::Client,
    watch: Watch,
    samples: Vec<f64>,
    never_served: usize,
    unexpected: Unexpected,
}

impl<'a> Runner<'a> {
    fn begin(side: &'a Side, series: Series) -> Result<Self> {
        Ok(Self {
            side,
            series,
            client: client()?,
            watch: Watch::begin(client()?, side.address.clone(), side.host),
            samples: Vec::new(),
            never_served: 0,
            unexpected: Unexpected::new(),
        })
    }

    /// One route; its time in milliseconds, unless it was never served.
    async fn one(&mut self, index: usize) -> Result<Option<f64>> {
        tokio::time::sleep(self.series.rest()).await;
        let backend = match self.series {
            Series::Own => own_backend(index),
            Series::Shared | Series::Rested => SHARED_BACKEND.to_owned(),
        };
        let series = self.series.name();
        let route = self.side.route(
            series,
            &format!("{series}-{index}"),
            &(self.side.host)(index),
            &backend,
        );
        let begin = Instant::now();
        self.side.create_route(&route).await?;
        let served = until_served(
            &self.client,
            &self.side.address,
            &(self.side.host)(index),
            BEAT,
            &mut self.unexpected,
        )
        .await;
        let sample = served.map(|at| (at - begin).as_secs_f64() * 1000.0);
        match sample {
            Some(milliseconds) => {
                self.samples.push(milliseconds);
                self.watch.served(index + 1);
            }
            None => {
                self.never_served += 1;
                anyhow::ensure!(
                    self.never_served < GIVEN_UP || !self.samples.is_empty(),
                    "{}: none of the first {GIVEN_UP} routes was served",
                    self.side.name
                );
            }
        }
        Ok(sample)
    }

    fn so_far(&self) -> String {
        let seen = Percentiles::of(&self.samples);
        format!(
            "{} p50 {:.0} ms, p99 {:.0} ms",
            self.side.name, seen.p50, seen.p99
        )
    }

    async fn end(self) -> Result<Way> {
        let (asked_again, lost) = self.watch.end().await?;
        Ok(Way {
            milliseconds: Percentiles::of(&self.samples),
            never_served: self.never_served,
            unexpected: self.unexpected,
            asked_again,
            lost,
        })
    }
}
