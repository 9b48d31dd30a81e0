//! The binary: parses arguments and runs the manager.

use clap::Parser;
use kubelb_manager::{app, args::Args};

/// Most of a run is small pieces of JSON, made and dropped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    app::run(Args::parse()).await
}
