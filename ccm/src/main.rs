//! Starts the agent.

use clap::Parser;
use kubelb_ccm::{app, args::Args};

/// Most of a run is small pieces of JSON, made and dropped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    args.check()?;
    app::run(args).await
}
