//! Brings an image archive into the nodes of a cluster with literal `kind load`, once per content.

use std::path::Path;
use std::time::Duration;

use crate::cache::file_digest;
use crate::error::Result;
use crate::progress::Progress;
use crate::site::Site;
use crate::state::Cluster;

/// Where a node remembers which archives it was given; it goes with the node's own image store.
const MARKS: &str = "/var/lib/kubelb-lab/images";

/// Loads an archive into every node that does not have it. Says whether any did not.
pub fn ensure(
    site: &Site,
    progress: &Progress,
    name: &str,
    cluster: &Cluster,
    archive: &Path,
) -> Result<bool> {
    let digest = file_digest(archive)?;
    let mark = format!("{MARKS}/{digest}");
    let missing: Vec<_> = cluster
        .nodes
        .keys()
        .filter(|node| !site.in_node(node, &format!("test -e {mark}")).succeeds())
        .collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let file = archive.file_name().unwrap_or_default().to_string_lossy();
    progress.stage(&format!("loading {file} into {name}"), || {
        let nodes = missing.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(",");
        site.run("kind")
            .args([
                "load",
                "image-archive",
                "--name",
                &site.kind_name(name),
                "--nodes",
                &nodes,
            ])
            .arg(archive)
            .limit(Duration::from_secs(300))
            .run()?;
        missing.iter().try_for_each(|node| {
            site.in_node(node, &format!("mkdir -p {MARKS}; touch {mark}"))
                .run()
        })
    })?;
    Ok(true)
}
