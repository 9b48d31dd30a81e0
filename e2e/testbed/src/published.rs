//! kind's published node image, where a Docker daemon has it or can pull it.

use std::time::Duration;

use crate::command::Run;
use crate::error::Result;
use crate::progress::Progress;
use crate::versions;

/// The name under which kind's project publishes this Kubernetes.
pub fn default_name() -> String {
    format!("kindest/node:{}", versions::KUBERNETES)
}

/// Whether the image is there or can be pulled.
pub fn available(progress: &Progress, name: &str) -> bool {
    ensure(progress, name).is_ok()
}

/// Pulls the image unless it is there.
pub fn ensure(progress: &Progress, name: &str) -> Result<()> {
    if !Run::new("docker").args(["image", "inspect", name]).succeeds() {
        let pull = || {
            Run::new("docker")
                .args(["pull", "--quiet", name])
                .limit(Duration::from_secs(900))
                .run()
        };
        progress.stage(&format!("pulling {name}"), pull)?;
    }
    Ok(())
}
