//! `bench`: measures what the product costs.
//!
//! `bench l4` measures L4 on API servers that it starts itself. `bench` alone measures what delegation costs, against
//! the same objects made directly on the hub in the same run; it runs inside `lab exec`, on a lab with the product, where
//! it makes two namespaces and removes them. Both add their figures to one file.

mod burst;
mod clusters;
mod document;
mod hops;
mod l4;
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
use clap::{Parser, Subcommand, ValueEnum};
use testbed::Progress;

use crate::clusters::Clusters;
use crate::l4::figures::Section;
use crate::propagation::Series;
use crate::report::Report;
use crate::scene::Scene;

/// Routes of the series with rests, which take longer than the routes.
const RESTED_ROUTES: usize = 200;

/// Measures what the product costs.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Routes of P9 and P10.
    #[arg(long, default_value_t = 1000, env = "ROUTES")]
    routes: usize,
    /// Seconds of each load of P11.
    #[arg(long, default_value_t = 20)]
    load_seconds: u64,
    /// What to measure: everything unless told. What belongs to the other command is left out.
    #[arg(long, value_delimiter = ',', env = "BENCH", global = true)]
    only: Vec<Part>,
    /// Where the figures go, as JSON. What is there and is not measured again stays.
    #[arg(long, default_value = "bench.json", global = true)]
    out: PathBuf,
    /// Measures nothing: makes this document from the figures in `--out`.
    #[arg(long)]
    document: Option<PathBuf>,
}

/// What is measured, if not delegation.
#[derive(Debug, Subcommand)]
enum Command {
    /// P1 to P8: L4, without a lab.
    L4(l4::Arguments),
}

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From the write of a LoadBalancer to the update at an Envoy.
    P1,
    /// One node changes.
    P2,
    /// Memory, and idleness.
    P3,
    /// Restart of the manager.
    P4,
    /// Services from a tenant's cluster.
    P5,
    /// Many Envoys, one change.
    P6,
    /// A tenant beside a busy one.
    P7,
    /// Connections through a real Envoy while others change.
    P8,
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

impl Part {
    /// The piece of L4 that it is.
    fn piece(self) -> Option<l4::Piece> {
        match self {
            Self::P1 => Some(l4::Piece::P1),
            Self::P2 => Some(l4::Piece::P2),
            Self::P3 => Some(l4::Piece::P3),
            Self::P4 => Some(l4::Piece::P4),
            Self::P5 => Some(l4::Piece::P5),
            Self::P6 => Some(l4::Piece::P6),
            Self::P7 => Some(l4::Piece::P7),
            Self::P8 => Some(l4::Piece::P8),
            Self::P9Shared | Self::P9Rested | Self::P9Own | Self::P10 | Self::P11 | Self::Switch => None,
        }
    }
}

/// The parts of one command: those that are asked for, or all.
fn parts(only: &[Part], is_ours: impl Fn(Part) -> bool) -> Vec<Part> {
    let asked = if only.is_empty() {
        Part::value_variants()
    } else {
        only
    };
    asked.iter().copied().filter(|part| is_ours(*part)).collect()
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.document {
        write_document(&arguments.out, path)?;
        return Ok(ExitCode::SUCCESS);
    }
    match &arguments.command {
        Some(Command::L4(with)) => measure_l4(&arguments, with).await,
        None => measure_delegation(&arguments).await,
    }
}

async fn measure_l4(arguments: &Arguments, with: &l4::Arguments) -> Result<ExitCode> {
    let Arguments { only, out, .. } = arguments;
    let parts = parts(only, |part| part.piece().is_some());
    let pieces: Vec<_> = parts.into_iter().filter_map(Part::piece).collect();
    if pieces.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let keep = |section: &Section| {
        let measured = Report {
            l4: Some(section.clone()),
            ..Report::default()
        };
        keep(measured, out)
    };
    let section = l4::run(with, &pieces, keep).await?;
    // A goal that is missed is seen in the table. What else the machine does must not fail anybody's run.
    tell(&section.table(), out);
    Ok(ExitCode::SUCCESS)
}

async fn measure_delegation(arguments: &Arguments) -> Result<ExitCode> {
    let parts = parts(&arguments.only, |part| part.piece().is_none());
    if parts.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let progress = Progress::default();
    progress.say("setting the scene");
    let scene = Scene::set(Clusters::load().await?).await?;
    let report = measure(arguments, &parts, &scene, &progress).await;
    let struck = scene.strike().await;
    let report = report?;
    let outcome = tell(&report.table(), &arguments.out);
    keep(report, &arguments.out)?;
    struck?;
    Ok(outcome)
}

/// Writes figures over those that are there.
fn keep(measured: Report, out: &Path) -> Result<()> {
    let before = if out.exists() {
        read(out)?
    } else {
        Report::default()
    };
    let json = serde_json::to_string_pretty(&measured.over(before))?;
    std::fs::write(out, json).with_context(|| format!("writing {}", out.display()))
}

fn tell((table, reached): &(String, bool), out: &Path) -> ExitCode {
    println!("{table}figures: {}", out.display());
    if *reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn read(figures: &Path) -> Result<Report> {
    let text = std::fs::read(figures).with_context(|| format!("reading {}", figures.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", figures.display()))
}

fn write_document(figures: &Path, path: &Path) -> Result<()> {
    let text = document::document(&read(figures)?);
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

async fn measure(
    arguments: &Arguments,
    parts: &[Part],
    scene: &Scene,
    progress: &Progress,
) -> Result<Report> {
    let (routes, load_seconds) = (arguments.routes, arguments.load_seconds);
    let wanted = |part| parts.contains(&part);
    let hub = scene.raw.client.apiserver_version().await;
    let kubernetes = hub.context("asking the hub for its version")?.git_version;
    let mut report = Report {
        machine: machine::describe(kubernetes, env!("CARGO_PKG_VERSION").to_owned())?,
        ..Report::default()
    };
    if wanted(Part::P11) {
        report.hops = Some(hops::run(scene, Duration::from_secs(load_seconds), progress).await?);
        scene.clear().await?;
    }
    if wanted(Part::Switch) {
        report.switch = Some(switch::run(scene, 20, progress).await?);
        scene.clear().await?;
    }
    if wanted(Part::P10) {
        report.burst = Some(burst::run(scene, routes, progress).await?);
    }
    if wanted(Part::P9Shared) {
        report
            .propagation
            .push(propagation::run(scene, routes, Series::Shared, progress).await?);
        scene.clear().await?;
    }
    if wanted(Part::P9Rested) {
        let few = routes.min(RESTED_ROUTES);
        report
            .propagation
            .push(propagation::run(scene, few, Series::Rested, progress).await?);
        scene.clear().await?;
    }
    if wanted(Part::P9Own) {
        progress.say("a Service for each route");
        scene.own_backends(routes).await?;
        report
            .propagation
            .push(propagation::run(scene, routes, Series::Own, progress).await?);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn each_command_takes_the_parts_that_are_its_own() {
        Arguments::command().debug_assert();
        let l4 = |only: &[Part]| parts(only, |part| part.piece().is_some()).len();
        let others = |only: &[Part]| parts(only, |part| part.piece().is_none()).len();
        assert_eq!((l4(&[]), others(&[])), (8, 6));
        let some = [Part::P1, Part::P10];
        assert_eq!((l4(&some), others(&some)), (1, 1));
        assert_eq!((l4(&[Part::P10]), others(&[Part::P1])), (0, 0));
    }
}
