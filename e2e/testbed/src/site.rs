//! Where a lab's programs run: inside its network namespace when it has one, and against its Docker daemon.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::command::Run;
use crate::state::{Docker, State, StateDir};

/// The label that kind puts on the nodes of a cluster.
const CLUSTER_LABEL: &str = "io.x-k8s.kind.cluster";

/// A place to run programs in.
#[derive(Clone, Debug)]
pub struct Site {
    lab: String,
    wrapper: Vec<OsString>,
    docker_host: Option<String>,
    path: OsString,
    dir: StateDir,
}

impl Site {
    /// The place of a lab.
    pub fn of(state: &State, dir: &StateDir) -> Self {
        let namespace = match &state.docker {
            Docker::Own { namespace, .. } => Some(namespace),
            Docker::Existing => None,
        };
        Self {
            lab: state.name.clone(),
            wrapper: namespace.map(|n| enter(n)).unwrap_or_default(),
            docker_host: namespace.map(|_| format!("unix://{}", socket(dir).display())),
            path: search_path(&state.tools),
            dir: dir.clone(),
        }
    }

    /// The lab's state folder.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// The Docker daemon's address, unless it is the usual one.
    pub fn docker_host(&self) -> Option<&str> {
        self.docker_host.as_deref()
    }

    /// PATH with the lab's tools first.
    pub fn search_path(&self) -> &OsString {
        &self.path
    }

    /// The Docker network of the lab's nodes.
    pub fn network(&self) -> String {
        format!("kubelb-lab-{}", self.lab)
    }

    /// kind's name for a cluster of this lab.
    pub fn kind_name(&self, cluster: &str) -> String {
        format!("{}-{cluster}", self.lab)
    }

    /// A cluster's control-plane node.
    pub fn control_plane(&self, cluster: &str) -> String {
        format!("{}-control-plane", self.kind_name(cluster))
    }

    /// A program, in the lab's place and with its environment.
    pub fn run(&self, program: &str) -> Run {
        let run = Run::new(program).under(&self.wrapper).env("PATH", &self.path);
        let run = run.env("KIND_EXPERIMENTAL_DOCKER_NETWORK", self.network());
        match &self.docker_host {
            Some(host) => run.env("DOCKER_HOST", host),
            None => run,
        }
    }

    /// Docker's client.
    pub fn docker(&self) -> Run {
        self.run("docker")
    }

    /// A shell script inside a node.
    pub fn in_node(&self, node: &str, script: &str) -> Run {
        self.docker().args(["exec", "-i", node, "sh", "-euc", script])
    }

    /// kubectl for a cluster.
    pub fn kubectl(&self, cluster: &str) -> Run {
        self.run("kubectl")
            .arg("--kubeconfig")
            .arg(self.dir.kubeconfig(cluster))
    }

    /// The filter that selects a cluster's nodes in `docker ps`.
    pub fn nodes_filter(&self, cluster: &str) -> String {
        format!("label={CLUSTER_LABEL}={}", self.kind_name(cluster))
    }
}

/// The Docker socket of a lab's own daemon.
pub fn socket(dir: &StateDir) -> PathBuf {
    dir.file("docker.sock")
}

/// The program that enters a network namespace. (`ip netns exec` would also remount /sys, which hides the cgroups.)
pub fn enter(namespace: &str) -> Vec<OsString> {
    vec![
        "nsenter".into(),
        format!("--net={}", namespace_file(namespace).display()).into(),
        "--".into(),
    ]
}

/// Where a named network namespace is.
pub fn namespace_file(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

fn search_path(tools: &[PathBuf]) -> OsString {
    let own = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let inherited: Vec<PathBuf> = env::split_paths(&own).collect();
    let missing = system
        .into_iter()
        .filter(|dir| !inherited.contains(dir))
        .collect::<Vec<_>>();
    let all = tools
        .iter()
        .cloned()
        .chain(inherited.iter().cloned())
        .chain(missing);
    env::join_paths(all).unwrap_or(own)
}
