//! Installs the Gateway API's CRDs: the bundle of the conformance suite's version, experimental channel.

use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::site::Site;
use crate::tools::CommonTools;

/// Applies the bundle.
pub fn install(site: &Site, cluster: &str, tools: &CommonTools) -> Result<()> {
    let bundle = tools.common.files("gateway-api-crds");
    apply(site, cluster, "-k", &bundle)?;
    established(site, cluster)
}

/// Server-side apply: these CRDs are too large for the other kind.
pub fn apply(site: &Site, cluster: &str, how: &str, what: &Path) -> Result<()> {
    let flags = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=kubelb-lab",
        how,
    ];
    site.kubectl(cluster)
        .args(flags)
        .arg(what)
        .limit(Duration::from_secs(180))
        .run()
}

/// Waits until the API server serves every CRD.
pub fn established(site: &Site, cluster: &str) -> Result<()> {
    let wait = [
        "wait",
        "crd",
        "--all",
        "--for=condition=Established",
        "--timeout=60s",
    ];
    site.kubectl(cluster)
        .args(wait)
        .limit(Duration::from_secs(90))
        .run()
}
