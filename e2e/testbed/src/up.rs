//! Brings a lab up, step by step; every step looks first and does only what is missing, so that a second run takes
//! seconds and a run after a failure goes on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use ipnet::{IpNet, Ipv4Net};

use crate::base_root;
use crate::cache::Cache;
use crate::cluster::{self, NodeImage, Recipe, Shape};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::progress::Progress;
use crate::range::{self, Carved};
use crate::site::Site;
use crate::state::{Cluster, Docker, State, StateDir};
use crate::tools::{self, CommonTools};
use crate::{
    daemon, envoy_gateway, gateway_api, kernel_limits, load, network, node_image, pool_install, published,
    third_party_images,
};

/// Which Docker daemon to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// The running one where kind's node image can be had with it, else our own.
    Auto,
    /// Our own.
    Own,
    /// The running one.
    Existing,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The lab's name.
    pub name: String,
    /// Its address range, unless the name decides.
    pub range: Option<Ipv4Net>,
    /// Its clusters and what each is made with; the hub is among them.
    pub clusters: Vec<(String, Shape)>,
    /// Which Docker daemon to use.
    pub daemon: Daemon,
    /// The published node image, for a Docker daemon that can have it.
    pub node_image: String,
}

/// Makes the lab as wished and returns what it is now.
pub fn up(wish: &Wish, progress: &Progress) -> Result<State> {
    let dir = StateDir::of(&wish.name)?;
    let _lock = dir.lock()?;
    dir.create()?;
    let host = Host::detect();
    let cache = Cache::from_env()?;
    let mut state = match dir.load()? {
        Some(state) => check_range(wish, state)?,
        None => fresh(wish, &host, progress)?,
    };
    kernel_limits::ensure(progress)?;
    let common = tools::common(&cache, progress)?;
    state.tools = vec![common.common.programs(), common.kind.programs()];
    dir.save(&state)?;
    let carved = range::carve(state.range)?;

    let image = match state.docker {
        Docker::Own { .. } => own_ground(&host, &cache, progress, &common, &dir, &mut state)?,
        Docker::Existing => {
            published::ensure(progress, &wish.node_image)?;
            NodeImage::Published(wish.node_image.clone())
        }
    };
    let site = Site::of(&state, &dir);
    network::ensure(&site, &carved, state.ipv6)?;
    let work = Work {
        site,
        cache,
        progress,
        recipe: Recipe { image, host },
        common,
        carved,
    };
    let wished = possible(&wish.clusters, state.ipv6, progress);
    let shared = Mutex::new(state);
    work.remove_unwished(&wished, &shared)?;
    work.clusters(&wished, &shared)?;
    let state = unlock(&shared).clone();
    progress.say(format!(
        "lab {} is up: hub and {} tenants",
        state.name,
        state.clusters.len().saturating_sub(1)
    ));
    Ok(state)
}

/// The clusters as they can be had: of both families only where the lab's network has both.
fn possible(wished: &[(String, Shape)], ipv6: bool, progress: &Progress) -> Vec<(String, Shape)> {
    if !ipv6 && wished.iter().any(|(_, shape)| shape.dual_stack) {
        progress.say("this lab has no IPv6: its clusters have one address family");
    }
    let of_families = |shape: Shape| Shape {
        dual_stack: shape.dual_stack && ipv6,
        ..shape
    };
    let shapes = wished.iter();
    shapes
        .map(|(name, shape)| (name.clone(), of_families(*shape)))
        .collect()
}

/// A lab's addresses are chosen when it is made.
fn check_range(wish: &Wish, state: State) -> Result<State> {
    match wish.range {
        Some(range) if range != state.range => Err(Error::Unsupported(format!(
            "lab {} has the range {}: take it down first to change it",
            state.name, state.range
        ))),
        _ => Ok(state),
    }
}

fn fresh(wish: &Wish, host: &Host, progress: &Progress) -> Result<State> {
    let range = match wish.range {
        Some(range) => range,
        None => range::default_for(&wish.name)?,
    };
    let docker = choose(wish, host, progress)?;
    Ok(State {
        name: wish.name.clone(),
        range,
        // What routes IPv6 to the pool is the namespace of our own daemon.
        ipv6: host.ipv6 && matches!(docker, Docker::Own { .. }),
        docker,
        tools: Vec::new(),
        clusters: BTreeMap::new(),
    })
}

fn choose(wish: &Wish, host: &Host, progress: &Progress) -> Result<Docker> {
    let own = Docker::Own {
        namespace: format!("kubelb-lab-{}", wish.name),
        daemon: None,
    };
    let existing = match wish.daemon {
        Daemon::Own => false,
        Daemon::Existing => true,
        Daemon::Auto => host.docker.is_some() && published::available(progress, &wish.node_image),
    };
    if existing {
        progress.say("using the Docker daemon that runs here and kind's published node image");
        return Ok(Docker::Existing);
    }
    if !host.root {
        let reason =
            "no Docker daemon answers that has or can pull kind's node image, and making our own takes root";
        return Err(Error::Unsupported(reason.to_owned()));
    }
    progress.say("no Docker daemon with kind's node image here: making our own from packages");
    Ok(own)
}

/// A daemon of our own and a node image of our own.
fn own_ground(
    host: &Host,
    cache: &Cache,
    progress: &Progress,
    common: &CommonTools,
    dir: &StateDir,
    state: &mut State,
) -> Result<NodeImage> {
    // debootstrap waits for the network, the Go builds for the processor.
    let (root, node) = std::thread::scope(|scope| {
        let root = scope.spawn(|| base_root::ensure(cache, progress));
        let node = tools::node(cache, progress);
        (joined(root.join()), node)
    });
    let (root, node) = (root?, node?);
    daemon::ensure(host, progress, dir, state)?;
    let mut archives = third_party_images::workload(cache, progress, common)?;
    archives.extend(third_party_images::control_plane(
        cache, progress, common, &node, &root,
    )?);
    let parts = node_image::Parts {
        host,
        root: &root,
        common,
        node: &node,
        archives: &archives,
    };
    node_image::ensure(&Site::of(state, dir), cache, progress, parts).map(NodeImage::Built)
}

struct Work<'a> {
    site: Site,
    cache: Cache,
    progress: &'a Progress,
    recipe: Recipe,
    common: CommonTools,
    carved: Carved,
}

impl Work<'_> {
    /// Clusters of an earlier run that are not wished for any more.
    fn remove_unwished(&self, wished: &[(String, Shape)], shared: &Mutex<State>) -> Result<()> {
        let known: Vec<String> = unlock(shared).clusters.keys().cloned().collect();
        for name in known.iter().filter(|name| wished.iter().all(|(w, _)| w != *name)) {
            self.progress.stage(&format!("removing cluster {name}"), || {
                cluster::delete(&self.site, name)
            })?;
            self.change(shared, |state| drop(state.clusters.remove(name)))?;
        }
        Ok(())
    }

    /// All clusters at once: most of the time each of them waits.
    fn clusters(&self, wished: &[(String, Shape)], shared: &Mutex<State>) -> Result<()> {
        std::thread::scope(|scope| {
            let running: Vec<_> = wished
                .iter()
                .map(|(name, shape)| scope.spawn(|| self.cluster(name, *shape, shared)))
                .collect();
            let results: Vec<_> = running.into_iter().map(|thread| joined(thread.join())).collect();
            results.into_iter().collect()
        })
    }

    fn cluster(&self, name: &str, shape: Shape, shared: &Mutex<State>) -> Result<()> {
        let known = unlock(shared).clusters.get(name).cloned();
        let cluster = cluster::ensure(
            &self.site,
            self.progress,
            &self.recipe,
            name,
            shape,
            known.as_ref(),
        )?;
        self.change(shared, |state| {
            drop(state.clusters.insert(name.to_owned(), cluster.clone()))
        })?;
        cluster::connect(&self.site, &self.recipe, name, &cluster)?;
        self.images(name, &cluster)?;
        self.part(
            shared,
            name,
            "gateway-api",
            crate::versions::GATEWAY_API.to_owned(),
            || gateway_api::install(&self.site, name, &self.common),
        )?;
        if name == "hub" {
            self.hub(&cluster, shared)?;
        }
        let waiting = format!("waiting for the nodes and CoreDNS of {name}");
        self.progress
            .stage(&waiting, || cluster::wait_ready(&self.site, name))
    }

    fn hub(&self, cluster: &Cluster, shared: &Mutex<State>) -> Result<()> {
        network::announce_pool(&self.site, &self.carved)?;
        let mut pools = vec![IpNet::from(self.carved.pool)];
        if let Some(node) = cluster.ipv6_nodes.get(&self.site.control_plane("hub")) {
            network::announce_ipv6_pool(&self.site, &self.carved, node)?;
            pools.push(self.carved.ipv6.pool.into());
        }
        self.part(shared, "hub", "address-pool", pool_install::mark(&pools)?, || {
            pool_install::install(&self.site, self.progress, cluster, &pools)
        })?;
        let mark = envoy_gateway::mark(&self.common);
        self.part(shared, "hub", "envoy-gateway", mark, || {
            envoy_gateway::install(&self.site, &self.common)
        })
    }

    /// Our own node image holds these already.
    fn images(&self, name: &str, cluster: &Cluster) -> Result<()> {
        if let NodeImage::Built(_) = self.recipe.image {
            return Ok(());
        }
        let archives: Vec<PathBuf> = third_party_images::workload(&self.cache, self.progress, &self.common)?;
        archives
            .iter()
            .try_for_each(|archive| load::ensure(&self.site, self.progress, name, cluster, archive).map(drop))
    }

    /// Installs a part of a cluster unless this very content is there.
    fn part(
        &self,
        shared: &Mutex<State>,
        cluster: &str,
        part: &str,
        mark: String,
        install: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let installed = unlock(shared)
            .clusters
            .get(cluster)
            .and_then(|c| c.installed.get(part).cloned());
        if installed.as_ref() == Some(&mark) {
            return Ok(());
        }
        self.progress
            .stage(&format!("installing {part} in {cluster}"), install)?;
        self.change(shared, |state| {
            if let Some(cluster) = state.clusters.get_mut(cluster) {
                cluster.installed.insert(part.to_owned(), mark);
            }
        })
    }

    fn change(&self, shared: &Mutex<State>, change: impl FnOnce(&mut State)) -> Result<()> {
        let mut state = unlock(shared);
        change(&mut state);
        self.site.dir().save(&state)
    }
}

fn unlock(shared: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    // A thread that failed has left whole facts: they are written in one step.
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn joined<T>(result: std::thread::Result<Result<T>>) -> Result<T> {
    result.unwrap_or_else(|_| Err(Error::Unsupported("a thread of the testbed broke".to_owned())))
}
