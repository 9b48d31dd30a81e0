//! Exchanges the hub credential before it ends.
//!
//! The hub offers a new kubeconfig in a Secret of the tenant's namespace. It is tried before it replaces the
//! one in this cluster's own Secret: a hub that hands out an unusable one must not lock the tenant out. The
//! file that is mounted from that Secret follows later; the old token stays valid until its end.

use std::path::Path;
use std::sync::Arc;

use api::meta::{CREDENTIAL_KEY, CREDENTIAL_SECRET, DEFAULT_NAME};
use api::v1alpha1::TenantState;
use controller_kit::client;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::link::Identity;
use super::token::{Life, is_fetch_due};

/// The credential could not be exchanged. The one in use stays.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The hub's Secret cannot be read.
    #[error("cannot read Secret {CREDENTIAL_SECRET} on the hub")]
    Fetch(#[source] Box<kube::Error>),
    /// It holds no kubeconfig.
    #[error("Secret {CREDENTIAL_SECRET} on the hub has no key {CREDENTIAL_KEY}")]
    Empty,
    /// It is no kubeconfig.
    #[error("the new credential is no kubeconfig")]
    Parse(#[source] Box<kube::config::KubeconfigError>),
    /// No client can be made of it.
    #[error("no client can be made of the new credential")]
    Client(#[source] Box<client::ClientError>),
    /// It is for somebody else.
    #[error("the new credential is for namespace {0:?}")]
    WrongNamespace(String),
    /// It does not work.
    #[error("the new credential does not work")]
    Unusable(#[source] Box<kube::Error>),
    /// The own Secret cannot be read or written.
    #[error("cannot write Secret {0} of this cluster")]
    Store(String, #[source] Box<kube::Error>),
}

impl CredentialError {
    /// Value of the metric label `reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "credential_fetch",
            Self::Empty | Self::Parse(_) | Self::Client(_) => "credential_invalid",
            Self::WrongNamespace(_) => "credential_wrong_namespace",
            Self::Unusable(_) => "credential_unusable",
            Self::Store(..) => "credential_store",
        }
    }
}

/// Exchanges the credential.
pub struct Exchange {
    /// Which tenant this is.
    pub identity: Identity,
    /// The hub.
    pub hub: Client,
    /// The own cluster.
    pub tenant: Client,
    /// Namespace of the own Secret.
    pub namespace: String,
    /// Name of the own Secret.
    pub secret: String,
}

impl Exchange {
    /// Exchanges the credential if that is due. True if it wrote.
    ///
    /// # Errors
    /// When the new credential cannot be got, does not work or cannot be stored.
    pub async fn run(&self, state: &Arc<TenantState>, now: Timestamp) -> Result<bool, CredentialError> {
        let newest = state
            .status
            .as_ref()
            .and_then(|s| s.credential_issued_at.as_ref())
            .map(|time| time.0);
        if !is_fetch_due(life_of_file(&self.identity.kubeconfig), newest, now) {
            return Ok(false);
        }
        let offered = self.fetch().await?;
        let own: Api<Secret> = Api::namespaced(self.tenant.clone(), &self.namespace);
        let store = |source| CredentialError::Store(self.secret.clone(), Box::new(source));
        // The mounted file follows its Secret after a minute or so: that is no reason to write twice.
        if content(&own.get(&self.secret).await.map_err(store)?) == Some(&offered) {
            return Ok(false);
        }
        self.check(&offered).await?;
        let patch = json!({"data": {CREDENTIAL_KEY: offered}});
        let params = PatchParams {
            field_manager: Some(crate::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        own.patch(&self.secret, &params, &Patch::Merge(patch))
            .await
            .map_err(store)?;
        Ok(true)
    }

    async fn fetch(&self) -> Result<ByteString, CredentialError> {
        let api: Api<Secret> = Api::namespaced(self.hub.clone(), self.identity.namespace.as_str());
        let secret = api
            .get(CREDENTIAL_SECRET)
            .await
            .map_err(|e| CredentialError::Fetch(Box::new(e)))?;
        content(&secret).cloned().ok_or(CredentialError::Empty)
    }

    async fn check(&self, offered: &ByteString) -> Result<(), CredentialError> {
        let parse = |source| CredentialError::Parse(Box::new(source));
        let text = String::from_utf8_lossy(&offered.0);
        let kubeconfig = Kubeconfig::from_yaml(&text).map_err(parse)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(parse)?;
        let namespace = config.default_namespace.clone();
        if namespace != self.identity.namespace.as_str() {
            return Err(CredentialError::WrongNamespace(namespace));
        }
        let client = client::build(config, &self.identity.user_agent)
            .map_err(|source| CredentialError::Client(Box::new(source)))?;
        let api: Api<TenantState> = Api::namespaced(client, &namespace);
        api.get(DEFAULT_NAME)
            .await
            .map_err(|e| CredentialError::Unusable(Box::new(e)))?;
        Ok(())
    }
}

fn content(secret: &Secret) -> Option<&ByteString> {
    secret.data.as_ref()?.get(CREDENTIAL_KEY)
}

/// The life of the token in a kubeconfig file, if it holds a JWT.
pub(super) fn life_of_file(path: &Path) -> Option<Life> {
    let kubeconfig = Kubeconfig::read_from(path).ok()?;
    let current = kubeconfig.current_context.clone()?;
    let context = kubeconfig
        .contexts
        .iter()
        .find(|c| c.name == current)?
        .context
        .clone()?;
    let user = kubeconfig
        .auth_infos
        .iter()
        .find(|named| Some(&named.name) == context.user.as_ref())?;
    // Tokens are kept from being printed by their type; its JSON form is the one public way to the text.
    let auth = serde_json::to_value(user.auth_info.as_ref()?).ok()?;
    let file = auth
        .get("tokenFile")
        .and_then(Value::as_str)
        .and_then(|file| std::fs::read_to_string(file).ok());
    let token = auth
        .get("token")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .or(file)?;
    Life::of_jwt(&token)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn the_life_of_the_token_in_a_kubeconfig_is_read() {
        let token = format!(
            "e30.{}.c2ln",
            URL_SAFE_NO_PAD.encode(r#"{"iat": 100, "exp": 300}"#)
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: hub\n\
             contexts: [{{name: hub, context: {{cluster: c, user: u, namespace: tenant-a}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://hub.invalid:6443'}}}}]\n\
             users: [{{name: u, user: {{token: {token}}}}}]\n"
        );
        std::fs::write(file.path(), text).unwrap();
        let life = life_of_file(file.path()).unwrap();
        assert_eq!(life.expires_at.as_second(), 300);
        assert_eq!(life_of_file(Path::new("/nonexistent")), None);
    }
}
