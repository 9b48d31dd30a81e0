//! Takes a lab down: its containers, network, daemon, namespace and state. Only what it recorded; the cache stays.

use crate::error::Result;
use crate::host::Host;
use crate::progress::Progress;
use crate::site::Site;
use crate::state::{State, StateDir};
use crate::{cluster, daemon, network};

/// Takes the lab down; does nothing when there is none.
pub fn down(name: &str, progress: &Progress) -> Result<()> {
    let dir = StateDir::of(name)?;
    let _lock = dir.lock()?;
    let Some(mut state) = dir.load()? else {
        progress.say(format!("there is no lab {name}"));
        return dir.remove();
    };
    // A daemon that died left its containers running: only a daemon can end them.
    if daemon::was_started(&state) {
        daemon::ensure(&Host::detect(), progress, &dir, &mut state)?;
        progress.stage("removing the clusters", || remove_clusters(&state, &dir))?;
    }
    progress.stage("removing the ground", || daemon::remove(&dir, &state))?;
    dir.remove()
}

fn remove_clusters(state: &State, dir: &StateDir) -> Result<()> {
    let site = Site::of(state, dir);
    // Asked of kind, not of the state: a run that failed may have left a cluster unrecorded.
    let prefix = site.kind_name("");
    let clusters = site.run("kind").args(["get", "clusters"]).output()?;
    for name in clusters.lines().filter_map(|line| line.strip_prefix(&prefix)) {
        cluster::delete(&site, name)?;
    }
    network::remove(&site)
}
