//! One cluster of the lab, used through kubectl as a person uses it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The program could not be started or talked to.
    #[error("cannot run {program}: {source}")]
    Spawn {
        /// Program.
        program: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The program said no.
    #[error("{command}: {message}")]
    Failed {
        /// The command line.
        command: String,
        /// What it printed on standard error.
        message: String,
    },
    /// The answer is not JSON.
    #[error("{command} gave no JSON: {source}")]
    NotJson {
        /// The command line.
        command: String,
        /// Cause.
        source: serde_json::Error,
    },
}

/// A cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its name in the lab.
    pub name: &'static str,
    kubeconfig: PathBuf,
}

impl Cluster {
    /// A cluster by its kubeconfig file.
    #[must_use]
    pub fn new(name: &'static str, kubeconfig: PathBuf) -> Self {
        Self { name, kubeconfig }
    }

    /// The same cluster seen with another credential.
    #[must_use]
    pub fn with_kubeconfig(&self, kubeconfig: PathBuf) -> Self {
        Self {
            name: self.name,
            kubeconfig,
        }
    }

    /// Runs kubectl.
    ///
    /// # Errors
    /// When it fails; the error carries its message.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        run("kubectl", &self.kubeconfig, arguments, None)
    }

    /// Runs helm.
    ///
    /// # Errors
    /// When it fails; the error carries its message.
    pub fn helm(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        run("helm", &self.kubeconfig, arguments, None)
    }

    /// Runs helm with values on standard input.
    ///
    /// # Errors
    /// When it fails; the error carries its message.
    pub fn helm_with_input(&self, arguments: &[&str], input: &str) -> Result<String, ClusterError> {
        run("helm", &self.kubeconfig, arguments, Some(input))
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn apply(&self, manifest: &str) -> Result<String, ClusterError> {
        run("kubectl", &self.kubeconfig, &["apply", "-f", "-"], Some(manifest))
    }

    /// Runs kubectl with a manifest on standard input.
    ///
    /// # Errors
    /// When it fails; the error carries its message.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String, ClusterError> {
        run("kubectl", &self.kubeconfig, arguments, Some(input))
    }

    /// An object or a list as JSON: `kubectl get <arguments> -o json`.
    ///
    /// # Errors
    /// When it does not exist or cannot be read.
    pub fn get(&self, arguments: &[&str]) -> Result<Value, ClusterError> {
        let mut all = vec!["get"];
        all.extend_from_slice(arguments);
        all.extend_from_slice(&["-o", "json"]);
        let text = self.kubectl(&all)?;
        serde_json::from_str(&text).map_err(|source| ClusterError::NotJson {
            command: format!("kubectl {}", all.join(" ")),
            source,
        })
    }

    /// The items of a list.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub fn list(&self, arguments: &[&str]) -> Result<Vec<Value>, ClusterError> {
        Ok(self.get(arguments)?["items"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    }
}

fn run(
    program: &str,
    kubeconfig: &Path,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<String, ClusterError> {
    let spawn = |source| ClusterError::Spawn {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(spawn)?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(text.as_bytes()).map_err(spawn)?;
    }
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().map_err(spawn)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(ClusterError::Failed {
        command: format!("{program} {}", arguments.join(" ")),
        message: String::from_utf8_lossy(&stderr).trim().to_owned(),
    })
}
