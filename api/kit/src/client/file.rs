//! A kubeconfig that is read again when its content changes.
//!
//! The file is polled and hashed rather than watched: a mounted Secret changes by swapping a symbolic link, and
//! some file systems tell nobody. Content that cannot be used is reported, and the old client stays.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{Client, Config, config::Kubeconfig};
use prometheus::IntCounterVec;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{ClientError, build, config_of};
use crate::{
    backoff::jitter,
    metrics::{Metrics, MetricsError},
};

const POLL: Duration = Duration::from_secs(5);

/// A client, and which reading of the file it is from.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// Counts from 1 and grows with every new client.
    pub generation: u64,
}

/// A kubeconfig file that was read at least once.
pub struct KubeconfigFile {
    path: PathBuf,
    user_agent: String,
    digest: [u8; 32],
    current: watch::Sender<Connection>,
    poll: Duration,
    reloads: Option<IntCounterVec>,
}

impl KubeconfigFile {
    /// Reads the file and makes the first client from it. Nothing is sent to the cluster.
    pub async fn open(path: impl Into<PathBuf>, user_agent: &str) -> Result<Self, ClientError> {
        let path = path.into();
        let loaded = load(&path).await?;
        let client = build(loaded.config, user_agent)?;
        let current = watch::Sender::new(Connection {
            client,
            generation: 1,
        });
        let user_agent = user_agent.to_owned();
        Ok(Self {
            path,
            user_agent,
            digest: loaded.digest,
            current,
            poll: POLL,
            reloads: None,
        })
    }

    /// Makes `<prefix>_kubeconfig_reloads_total{result}`, for [`KubeconfigFile::counting`].
    pub fn metrics(metrics: &Metrics, prefix: &str) -> Result<IntCounterVec, MetricsError> {
        let name = format!("{prefix}_kubeconfig_reloads_total");
        metrics.counters(&name, "Changes of the kubeconfig file.", &["result"])
    }

    /// Counts readings there.
    #[must_use]
    pub fn counting(mut self, reloads: IntCounterVec) -> Self {
        self.reloads = Some(reloads);
        self
    }

    /// How often the file is looked at; every 5 seconds unless told.
    #[must_use]
    pub fn poll_every(mut self, period: Duration) -> Self {
        self.poll = period;
        self
    }

    /// The client in force, and every later one.
    pub fn subscribe(&self) -> watch::Receiver<Connection> {
        self.current.subscribe()
    }

    /// Looks after the file until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failed = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(jitter(self.poll, 0.1)) => {}
            }
            match self.reload().await {
                Ok(changed) => {
                    failed = None;
                    if changed {
                        self.count("success");
                        tracing::info!(path = %self.path.display(), "kubeconfig changed, connecting anew");
                    }
                }
                Err(error) => self.report(&error, &mut failed),
            }
        }
    }

    async fn reload(&mut self) -> Result<bool, ClientError> {
        let loaded = load(&self.path).await?;
        if loaded.digest == self.digest {
            return Ok(false);
        }
        let client = build(loaded.config, &self.user_agent)?;
        self.digest = loaded.digest;
        self.current.send_modify(|connection| {
            *connection = Connection {
                client,
                generation: connection.generation + 1,
            };
        });
        Ok(true)
    }

    /// Says each failure once, not with every look at the file.
    fn report(&self, error: &ClientError, last: &mut Option<String>) {
        let text = error.to_string();
        if last.as_ref() != Some(&text) {
            self.count("error");
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "kubeconfig cannot be used, keeping the old client");
            *last = Some(text);
        }
    }

    fn count(&self, result: &str) {
        if let Some(reloads) = &self.reloads {
            reloads.with_label_values(&[result]).inc();
        }
    }
}

pub(super) struct Loaded {
    pub(super) config: Config,
    digest: [u8; 32],
}

/// Reads the file, and hashes it with the certificates and keys that it names.
pub(super) async fn load(path: &Path) -> Result<Loaded, ClientError> {
    let mut hasher = Sha256::new();
    hasher.update(read(path).await?);
    let kubeconfig = Kubeconfig::read_from(path).map_err(|source| ClientError::Kubeconfig {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    for file in named_files(&kubeconfig) {
        hasher.update(read(&file).await?);
    }
    let config = config_of(kubeconfig, path).await?;
    Ok(Loaded {
        config,
        digest: hasher.finalize().into(),
    })
}

fn named_files(kubeconfig: &Kubeconfig) -> Vec<PathBuf> {
    let clusters = kubeconfig
        .clusters
        .iter()
        .filter_map(|named| named.cluster.as_ref());
    let authorities = clusters.filter_map(|cluster| cluster.certificate_authority.clone());
    let users = kubeconfig
        .auth_infos
        .iter()
        .filter_map(|named| named.auth_info.as_ref());
    let pairs = users.flat_map(|user| [user.client_certificate.clone(), user.client_key.clone()]);
    authorities.chain(pairs.flatten()).map(PathBuf::from).collect()
}

async fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    tokio::fs::read(path).await.map_err(|source| ClientError::Read {
        path: path.to_owned(),
        source,
    })
}
