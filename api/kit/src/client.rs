//! Connections to API servers, and their renewal when credentials change.
//!
//! There is no rate limit on this side: the API server's priority and fairness does that, and the controllers
//! write only differences.

mod file;

use std::{path::PathBuf, time::Duration};

use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::timeout::TimeoutLayer;

pub use file::{Connection, KubeconfigFile};

/// Longer than the pause between two bookmarks of a quiet watch, so that a dead connection is noticed.
const READ_TIMEOUT: Duration = Duration::from_secs(90);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// From the request to the head of the answer, for which a watch does not take longer than anything else.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig, or a file it names, cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The kubeconfig is not valid.
    #[error("kubeconfig {} is not valid", path.display())]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// Neither a kubeconfig nor a service account is at hand.
    #[error("cannot find out how to reach the cluster")]
    Infer(#[source] Box<kube::config::InferConfigError>),
    /// The user agent is no legal header.
    #[error("{0:?} is no user agent")]
    UserAgent(String),
    /// The client cannot be made: most likely a bad certificate.
    #[error("cannot make a client")]
    Build(#[source] Box<kube::Error>),
}

/// Connects with the kubeconfig at `path`, or without one as kubectl would, or as the service account of the
/// pod. `user_agent` is what the audit log of the server shows.
pub async fn connect(path: Option<PathBuf>, user_agent: &str) -> Result<Client, ClientError> {
    let config = match path {
        Some(path) => file::load(&path).await?.config,
        None => Config::infer()
            .await
            .map_err(|source| ClientError::Infer(Box::new(source)))?,
    };
    build(config, user_agent)
}

/// A client with our timeouts and our name.
pub fn build(mut config: Config, user_agent: &str) -> Result<Client, ClientError> {
    let name =
        HeaderValue::from_str(user_agent).map_err(|_| ClientError::UserAgent(user_agent.to_owned()))?;
    config.headers.retain(|(header, _)| header != USER_AGENT);
    config.headers.push((USER_AGENT, name));
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    let builder = ClientBuilder::try_from(config).map_err(|source| ClientError::Build(Box::new(source)))?;
    Ok(builder.with_layer(&TimeoutLayer::new(REQUEST_TIMEOUT)).build())
}

async fn config_of(kubeconfig: Kubeconfig, path: &std::path::Path) -> Result<Config, ClientError> {
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|source| ClientError::Kubeconfig {
            path: path.to_owned(),
            source: Box::new(source),
        })
}

#[cfg(test)]
mod tests;
