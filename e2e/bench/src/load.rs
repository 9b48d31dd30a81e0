//! Constant traffic: as fast as it goes over some connections, or at a rate.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::probe::{Unexpected, ask, client};
use crate::statistics::Percentiles;

/// What to send.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where to.
    pub address: String,
    /// Host header.
    pub host: String,
    /// Connections, each with one request at a time.
    pub connections: u32,
    /// Requests per second of all connections; as fast as it goes, unless told.
    pub rate: Option<u32>,
    /// How long.
    pub duration: Duration,
}

/// How it went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Requests that were answered.
    pub requests: usize,
    /// Answers in a second.
    pub per_second: f64,
    /// Milliseconds from request to answer.
    pub milliseconds: Percentiles,
    /// Answers but 200.
    pub unexpected: Unexpected,
}

/// Sends it all.
///
/// # Errors
/// When there is no client, or a worker broke.
pub async fn run(load: &Load) -> Result<Outcome> {
    let begin = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..load.connections {
        workers.spawn(worker(load.clone()));
    }
    let (mut samples, mut unexpected) = (Vec::new(), Unexpected::new());
    while let Some(done) = workers.join_next().await {
        let (times, others) = done??;
        samples.extend(times);
        for (answer, times) in others {
            *unexpected.entry(answer).or_default() += times;
        }
    }
    Ok(Outcome {
        requests: samples.len(),
        per_second: samples.len() as f64 / begin.elapsed().as_secs_f64(),
        milliseconds: Percentiles::of(&samples),
        unexpected,
    })
}

async fn worker(load: Load) -> Result<(Vec<f64>, Unexpected)> {
    // One client a worker: one connection a worker.
    let client = client()?;
    let (mut samples, mut unexpected) = (Vec::new(), Unexpected::new());
    let mut beat = load.rate.map(|rate| {
        let mut beat = tokio::time::interval(Duration::from_secs(1) * load.connections / rate.max(1));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat
    });
    let begin = Instant::now();
    while begin.elapsed() < load.duration {
        if let Some(beat) = &mut beat {
            beat.tick().await;
        }
        let sent = Instant::now();
        let answer = ask(&client, &load.address, &load.host).await;
        samples.push(sent.elapsed().as_secs_f64() * 1000.0);
        if answer != "200" {
            *unexpected.entry(answer).or_default() += 1;
        }
    }
    Ok((samples, unexpected))
}
