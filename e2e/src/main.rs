//! `deploy`: installs the product into the lab that it runs in, and shows that it works.
//!
//! It runs inside `lab exec`. It changes the lab's clusters and nothing else.

mod demo;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use e2e::environment::Environment;
use e2e::product::{self, Parts};
use testbed::Progress;

/// Installs the product into a lab.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder of the repository.
    #[arg(long, default_value = ".")]
    repository: PathBuf,
    /// Folder of the binaries for the images.
    #[arg(long, default_value = "target/release")]
    binaries: PathBuf,
    #[command(subcommand)]
    command: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Action {
    /// Installs the manager on the hub and a CCM in each tenant.
    Install,
    /// Applies the examples, sends requests and prints what is reachable where.
    Demo,
}

fn main() -> Result<()> {
    let Arguments {
        repository,
        binaries,
        command,
    } = Arguments::parse();
    let environment = Environment::load()?;
    let lab = std::env::current_exe()?.with_file_name("lab");
    let parts = Parts {
        repository: repository.canonicalize().context("--repository")?,
        binaries,
        lab,
    };
    let progress = Progress::default();
    match command {
        Action::Install => product::install(&environment, &parts, &progress),
        Action::Demo => demo::run(&environment, &parts, &progress),
    }
}
