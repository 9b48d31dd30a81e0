//! L4 without a lab: API servers, the binaries under test, and xDS clients, all on loopback.
//!
//! Everything that is started is ended with the bench, also after an error or an interruption.

mod admin;
mod audit;
mod cluster;
mod disturbance;
mod envoy;
mod fan_out;
pub mod figures;
mod hub;
mod idle;
mod neighbour;
mod nodes;
mod objects;
mod observer;
mod onboarding;
mod pki;
mod process;
mod propagation;
mod restart;
mod stand_in;
mod task;
mod traffic;
mod wait;
mod xds;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use testbed::cache::Cache;
use testbed::tools::{self, Built};
use testbed::{Progress, versions};
use tokio::signal::unix::{SignalKind, signal};

use self::figures::{Figure, Part, Section};
use crate::machine;
use crate::report::Machine;

/// What to measure with.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The manager under test.
    #[arg(long)]
    manager: PathBuf,
    /// The CCM under test.
    #[arg(long)]
    ccm: PathBuf,
    /// Share of the full sizes: 0.1 for a quick look. Figures of another scale than 1 mean little.
    #[arg(long, default_value_t = 1.0, env = "SCALE")]
    scale: f64,
    /// Address of this machine at which backends of P8 answer; found out unless told. The hub refuses loopback.
    #[arg(long)]
    backend_address: Option<std::net::Ipv4Addr>,
}

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Piece {
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
}

/// What all parts are measured with.
pub struct Setting {
    /// kube-apiserver and etcd.
    kubernetes: Built,
    manager: PathBuf,
    ccm: PathBuf,
    scale: f64,
    backend_address: Option<std::net::Ipv4Addr>,
    /// Where all files go.
    dir: PathBuf,
    progress: Progress,
}

impl Setting {
    fn find(arguments: &Arguments, dir: &Path, progress: Progress) -> Result<Self> {
        let Arguments {
            manager,
            ccm,
            scale,
            backend_address,
        } = arguments;
        if !(*scale > 0.0 && *scale <= 1.0) {
            bail!("--scale must be above 0 and at most 1");
        }
        let binary = |path: &Path| {
            path.canonicalize()
                .with_context(|| format!("no binary {}", path.display()))
        };
        Ok(Self {
            kubernetes: tools::kubernetes(&Cache::from_env()?, &progress)?,
            manager: binary(manager)?,
            ccm: binary(ccm)?,
            scale: *scale,
            backend_address: *backend_address,
            dir: dir.to_owned(),
            progress,
        })
    }

    /// A number at this scale, but not less than `least`.
    fn scaled(&self, full: usize, least: usize) -> usize {
        scaled(full, least, self.scale)
    }
}

fn scaled(full: usize, least: usize, scale: f64) -> usize {
    let share = (full as f64 * scale).round();
    // In range: the scale is at most 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as said")]
    let share = share as usize;
    share.max(least.min(full))
}

/// Measures these pieces, one after the other. `keep` gets the section after each one, so that nothing is lost later.
///
/// # Errors
/// When something could not be measured; the rest was.
pub async fn run(
    arguments: &Arguments,
    pieces: &[Piece],
    mut keep: impl FnMut(&Section) -> Result<()>,
) -> Result<Section> {
    process::raise_file_limit()?;
    let progress = Progress::default();
    let dir = tempfile::Builder::new().prefix("kubelb-bench-").tempdir()?;
    let setting = Setting::find(arguments, dir.path(), progress)?;
    let mut section = Section {
        machine: describe(&setting.manager)?,
        ..Section::default()
    };
    let mut failed = Vec::new();
    for piece in pieces {
        let name = format!("{piece:?}").to_lowercase();
        let measured = tokio::select! {
            measured = measured(&setting, *piece) => measured,
            interrupted = interruption() => return Err(interrupted?),
        };
        match measured {
            Ok(part) => {
                section.parts.insert(name, part);
                keep(&section)?;
            }
            Err(error) => {
                progress.say(format!("{name}: FAILED: {error:#}"));
                failed.push(format!("{name}: {error:#}"));
            }
        }
    }
    if failed.is_empty() {
        return Ok(section);
    }
    bail!(
        "not measured: {}; logs are in {}",
        failed.join("; "),
        dir.keep().display()
    )
}

/// Waits until somebody asks this process to end.
async fn interruption() -> Result<anyhow::Error> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(anyhow::anyhow!("interrupted"))
}

fn describe(manager: &Path) -> Result<Machine> {
    let told = testbed::command::Run::new(manager)
        .arg("--version")
        .limit(Duration::from_secs(10))
        .output();
    // Another implementation may know no such flag.
    let version = told
        .ok()
        .and_then(|text| text.split_whitespace().last().map(str::to_owned));
    machine::describe(
        versions::KUBERNETES.to_owned(),
        version.unwrap_or_else(|| "unknown".to_owned()),
    )
}

/// One piece, and under which conditions it was measured.
async fn measured(setting: &Setting, piece: Piece) -> Result<Part> {
    let begin = Instant::now();
    let (machine, own) = (process::machine_cpu()?, process::own_cpu()?);
    let figures = figures(setting, piece).await?;
    let seconds = begin.elapsed().as_secs_f64();
    // All of our processes have ended and been waited for, so they count as our own.
    let others = (process::machine_cpu()? - machine).saturating_sub(process::own_cpu()? - own);
    Ok(Part {
        seconds,
        cores_of_others: others.as_secs_f64() / seconds,
        scale: setting.scale,
        figures,
    })
}

async fn figures(setting: &Setting, piece: Piece) -> Result<Vec<Figure>> {
    match piece {
        Piece::P1 => propagation::run(setting).await,
        Piece::P2 => nodes::run(setting).await,
        Piece::P3 => idle::run(setting).await,
        Piece::P4 => restart::run(setting).await,
        Piece::P5 => onboarding::run(setting).await,
        Piece::P6 => fan_out::run(setting).await,
        Piece::P7 => neighbour::run(setting).await,
        Piece::P8 => disturbance::run(setting).await,
    }
}

/// The time from one moment to another in milliseconds; nothing if it was the other way round.
fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_look_is_smaller_but_never_nothing() {
        assert_eq!(scaled(5000, 10, 1.0), 5000);
        assert_eq!(scaled(5000, 10, 0.1), 500);
        assert_eq!(scaled(100, 10, 0.01), 10);
        assert_eq!(scaled(5, 10, 0.5), 5, "the full size is never exceeded");
    }
}
