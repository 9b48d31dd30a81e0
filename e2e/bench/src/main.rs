//! `bench`: measures what delegation costs, against the same objects made directly on the hub in the same run.
//!
//! It runs inside `lab exec`, on a lab with the product. It makes two namespaces and removes them.

mod burst;
mod clusters;
mod document;
mod hops;
mod load;
mod machine;
mod probe;
mod propagation;
mod relay;
mod report;
mod scene;
mod statistics;
mod switch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use testbed::Progress;

use crate::clusters::Clusters;
use crate::propagation::Series;
use crate::report::Report;
use crate::scene::Scene;

/// Routes of the series with rests, which take longer than the routes.
const RESTED_ROUTES: usize = 200;

/// Measures what delegation costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Routes of P9 and P10.
    #[arg(long, default_value_t = 1000, env = "ROUTES")]
    routes: usize,
    /// Seconds of each load of P11.
    #[arg(long, default_value_t = 20)]
    load_seconds: u64,
    /// What to measure: everything unless told.
    #[arg(long, value_delimiter = ',', env = "BENCH")]
    only: Vec<Part>,
    /// Where the figures go, as JSON.
    #[arg(long, default_value = "bench.json")]
    out: PathBuf,
    /// Measures nothing: makes this document from the figures in `--out`.
    #[arg(long)]
    document: Option<PathBuf>,
}

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Time until a route serves, all with one backend.
    P9Shared,
    /// The same, with a rest before each route: nobody still works on the one before.
    P9Rested,
    /// The same with a backend each.
    P9Own,
    /// Many routes at once.
    P10,
    /// Requests per core, one hop and two.
    P11,
    /// Backend switches under traffic.
    Switch,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.document {
        write_document(&arguments.out, path)?;
        return Ok(ExitCode::SUCCESS);
    }
    let progress = Progress::default();
    progress.say("setting the scene");
    let scene = Scene::set(Clusters::load().await?).await?;
    let report = measure(&arguments, &scene, &progress).await;
    let struck = scene.strike().await;
    let report = report?;
    let json = serde_json::to_string_pretty(&report)?;
    std::fs::write(&arguments.out, json).with_context(|| format!("writing {}", arguments.out.display()))?;
    let (table, reached) = report.table();
    println!("{table}figures: {}", arguments.out.display());
    struck?;
    Ok(if reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write_document(figures: &Path, path: &Path) -> Result<()> {
    let text = std::fs::read(figures).with_context(|| format!("reading {}", figures.display()))?;
    let report = serde_json::from_slice(&text).with_context(|| format!("reading {}", figures.display()))?;
    std::fs::write(path, document::document(&report)).with_context(|| format!("writing {}", path.display()))
}

async fn measure(arguments: &Arguments, scene: &Scene, progress: &Progress) -> Result<Report> {
    let Arguments {
        routes,
        load_seconds,
        only,
        out: _,
        document: _,
    } = arguments;
    let wanted = |part| only.is_empty() || only.contains(&part);
    let mut report = Report {
        machine: machine::describe(scene).await?,
        ..Report::default()
    };
    if wanted(Part::P11) {
        report.hops = Some(hops::run(scene, Duration::from_secs(*load_seconds), progress).await?);
        scene.clear().await?;
    }
    if wanted(Part::Switch) {
        report.switch = Some(switch::run(scene, 20, progress).await?);
        scene.clear().await?;
    }
    if wanted(Part::P10) {
        report.burst = Some(burst::run(scene, *routes, progress).await?);
    }
    if wanted(Part::P9Shared) {
        report
            .propagation
            .push(propagation::run(scene, *routes, Series::Shared, progress).await?);
        scene.clear().await?;
    }
    if wanted(Part::P9Rested) {
        let few = (*routes).min(RESTED_ROUTES);
        report
            .propagation
            .push(propagation::run(scene, few, Series::Rested, progress).await?);
        scene.clear().await?;
    }
    if wanted(Part::P9Own) {
        progress.say("a Service for each route");
        scene.own_backends(*routes).await?;
        report
            .propagation
            .push(propagation::run(scene, *routes, Series::Own, progress).await?);
    }
    Ok(report)
}
