//! What a lab remembers between runs: one JSON file in the lab's state folder. Holds facts, decides nothing.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::error::{Doing, Error, Result, json};
use crate::host;
use crate::process::Process;

/// Which Docker daemon runs the nodes.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Docker {
    /// A daemon of our own, in a network namespace of our own.
    Own {
        /// The network namespace's name.
        namespace: String,
        /// The daemon, if it was started.
        daemon: Option<Process>,
    },
    /// The daemon that runs on this machine already.
    Existing,
}

/// A cluster that was made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Cluster {
    /// How many nodes it was made with.
    pub size: usize,
    /// The node image that it was made with.
    #[serde(default)]
    pub image: String,
    /// Its nodes, by name, with their addresses.
    pub nodes: BTreeMap<String, String>,
    /// Whether it was made with both address families.
    #[serde(default)]
    pub dual_stack: bool,
    /// The IPv6 addresses of its nodes, by name, if it has both families.
    #[serde(default)]
    pub ipv6_nodes: BTreeMap<String, String>,
    /// Content marks of what was installed in it, by part.
    pub installed: BTreeMap<String, String>,
}

/// A lab.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Its address range.
    pub range: ipnet::Ipv4Net,
    /// Whether its network has IPv6 too.
    #[serde(default)]
    pub ipv6: bool,
    /// Its Docker daemon.
    pub docker: Docker,
    /// Folders of tools for PATH.
    pub tools: Vec<PathBuf>,
    /// Its clusters, by short name (`hub`, `tenant-a`).
    pub clusters: BTreeMap<String, Cluster>,
}

/// The folder of a lab's state.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
}

impl StateDir {
    /// The state folder of a lab on this machine.
    pub fn of(name: &str) -> Result<Self> {
        check_name(name)?;
        let root = env::var_os("KUBELB_LAB_STATE")
            .filter(|v| !v.is_empty())
            .map(PathBuf::from);
        let root = match root {
            Some(root) => root,
            None if host::is_root() => PathBuf::from("/var/tmp/kubelb-labs"),
            None => Cache::from_env()?.root().join("labs"),
        };
        Ok(Self { dir: root.join(name) })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where logs of the lab's making go.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// A cluster's kubeconfig.
    pub fn kubeconfig(&self, cluster: &str) -> PathBuf {
        self.dir.join(format!("{cluster}.kubeconfig"))
    }

    /// Makes the folders.
    pub fn create(&self) -> Result<()> {
        let logs = self.logs();
        fs::create_dir_all(&logs).on("making", &logs)
    }

    /// Keeps other runs of `lab up` and `lab down` out while the returned file lives. It lies in the cache: the state
    /// folder comes and goes.
    pub fn lock(&self) -> Result<File> {
        let cache = Cache::from_env()?;
        fs::create_dir_all(cache.root()).on("making", cache.root())?;
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let path = cache.root().join(format!("lab-{name}.lock"));
        let file = File::create(&path).on("opening", &path)?;
        file.lock().on("locking", &path)?;
        Ok(file)
    }

    /// What was remembered, if the lab exists.
    pub fn load(&self) -> Result<Option<State>> {
        let file = self.file("state.json");
        match fs::read_to_string(&file) {
            Ok(text) => json(&file.display().to_string(), &text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).on("reading", &file),
        }
    }

    /// Remembers, atomically.
    pub fn save(&self, state: &State) -> Result<()> {
        let text =
            serde_json::to_string_pretty(state).map_err(|e| crate::error::malformed("the state", e))?;
        let (beside, file) = (self.file("state.json.new"), self.file("state.json"));
        fs::write(&beside, text).on("writing", &beside)?;
        fs::rename(&beside, &file).on("writing", &file)
    }

    /// Forgets everything.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).on("removing", &self.dir)
            }
            _ => Ok(()),
        }
    }
}

/// Lab names become parts of host names, namespaces and interfaces.
fn check_name(name: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if starts_well && name.len() <= 20 && name.chars().all(legal) {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "{name:?} is no name for a lab: use at most 20 lower-case letters, digits and dashes"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(check_name("kubelb").is_ok() && check_name("ci-2").is_ok());
        assert!(check_name("../x").is_err() && check_name("").is_err() && check_name("A").is_err());
    }
}
