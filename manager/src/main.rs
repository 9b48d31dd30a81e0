//! The binary: parses arguments and runs the manager.

use clap::Parser;
use kubelb_manager::{app, args::Args};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    app::run(Args::parse()).await
}
