//! Where tenants find the hub's API server: what the command line says, else the manager's own connection.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::build::credential::TenantApiServer;

/// The connection or the CA cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ApiServerError {
    /// The kubeconfig cannot be used.
    #[error("cannot use kubeconfig {}", path.display())]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// Neither a kubeconfig nor a service account is at hand.
    #[error("cannot find out how to reach the hub")]
    Infer(#[source] Box<kube::config::InferConfigError>),
    /// The CA file cannot be read.
    #[error("cannot read the CA in {}", path.display())]
    Ca {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// How the manager reaches the hub.
///
/// # Errors
/// When that cannot be found out.
pub async fn config(kubeconfig: Option<&Path>) -> Result<Config, ApiServerError> {
    let Some(path) = kubeconfig else {
        return Config::infer()
            .await
            .map_err(|source| ApiServerError::Infer(Box::new(source)));
    };
    let failed = |source| ApiServerError::Kubeconfig {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(failed)
}

/// How tenants reach it.
///
/// # Errors
/// When a CA file cannot be read.
pub fn for_tenants(
    url: Option<&str>,
    ca_file: Option<&Path>,
    own: &Config,
) -> Result<TenantApiServer, ApiServerError> {
    let own_url = own.cluster_url.to_string();
    let url = url.unwrap_or(&own_url).trim_end_matches('/').to_owned();
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|source| ApiServerError::Ca {
            path: path.to_owned(),
            source,
        })
    };
    let ca_pem = match (ca_file, &own.root_cert, &own.root_cert_file) {
        (Some(path), _, _) => Some(read(path)?),
        (None, Some(certificates), _) => Some(certificates.iter().map(|der| pem(der)).collect()),
        (None, None, Some(path)) => Some(read(path)?),
        (None, None, None) => None,
    };
    Ok(TenantApiServer { url, ca_pem })
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Config {
        let mut config = Config::new("https://10.96.0.1:443/".parse().unwrap());
        config.root_cert = Some(vec![vec![1; 60]]);
        config
    }

    #[test]
    fn tenants_are_told_what_the_command_line_says_and_else_what_the_manager_uses() {
        let told = for_tenants(Some("https://hub.example.com:6443"), None, &own()).unwrap();
        assert_eq!(told.url, "https://hub.example.com:6443");
        assert_eq!(
            for_tenants(None, None, &own()).unwrap().url,
            "https://10.96.0.1:443"
        );
    }

    #[test]
    fn the_ca_of_the_managers_own_connection_is_handed_on_as_pem() {
        let pem = for_tenants(None, None, &own()).unwrap().ca_pem.unwrap();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\nAQEB"), "{pem}");
        assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
    }

    #[test]
    fn a_ca_file_that_is_missing_is_named() {
        let error = for_tenants(None, Some(Path::new("/nowhere/ca.crt")), &own()).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the CA in /nowhere/ca.crt");
    }
}
