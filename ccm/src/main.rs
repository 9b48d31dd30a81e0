//! Starts the agent.

use clap::Parser;
use kubelb_ccm::{app, args::Args};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    args.check()?;
    app::run(args).await
}
