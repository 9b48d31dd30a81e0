//! The tenant's credential: when a new token is due, and the kubeconfig that carries it.
//!
//! Pure: the clock is an argument and the token comes from the API server.

use std::collections::BTreeMap;

use api::meta;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde::Serialize;

use super::{component, labels, object_meta, tenant};

/// Annotation: uids of the account and of the Secret that the token is bound to. With another one it is dead.
pub const BOUND_TO: &str = "kubelb.k8c.io/bound-to";
/// Annotation: hash of the address and CA that the kubeconfig was made with.
pub const ENDPOINT_HASH: &str = "kubelb.k8c.io/endpoint-hash";

/// Where tenants reach the hub's API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantApiServer {
    /// `https://host:port`.
    pub url: String,
    /// Its CA, PEM. None where the server's certificate is signed by a public CA.
    pub ca_pem: Option<String>,
}

impl TenantApiServer {
    /// Changes when the kubeconfig has to.
    #[must_use]
    pub fn hash(&self) -> String {
        api::names::identity_hash(&[&self.url, self.ca_pem.as_deref().unwrap_or_default()])
    }
}

/// What a token hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// UID of the ServiceAccount.
    pub account_uid: String,
    /// UID of the Secret that the token is bound to.
    pub secret_uid: String,
}

impl Binding {
    fn text(&self) -> String {
        format!("{}/{}", self.account_uid, self.secret_uid)
    }
}

/// What to do about a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// It is good until then.
    Keep {
        /// When it was issued.
        issued_at: Timestamp,
        /// When to look again.
        renew_at: Timestamp,
    },
    /// A new token is due.
    Mint(MintReason),
}

/// Why a new token is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MintReason {
    /// There is none, or it cannot be read.
    Missing,
    /// A third of its life is over.
    Age,
    /// The account or the Secret it was bound to is another one now, which revoked it.
    Revoked,
    /// Tenants reach the API server elsewhere now.
    EndpointChanged,
}

impl MintReason {
    /// For logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Age => "age",
            Self::Revoked => "revoked",
            Self::EndpointChanged => "endpoint changed",
        }
    }
}

/// Decides about the credential that `secret` holds.
#[must_use]
pub fn plan(secret: Option<&Secret>, binding: &Binding, server: &TenantApiServer, now: Timestamp) -> Plan {
    let Some(life) = secret.and_then(Life::of) else {
        return Plan::Mint(MintReason::Missing);
    };
    let annotation = |key| secret.and_then(|s| s.metadata.annotations.as_ref()?.get(key));
    if annotation(BOUND_TO) != Some(&binding.text()) {
        return Plan::Mint(MintReason::Revoked);
    }
    if annotation(ENDPOINT_HASH) != Some(&server.hash()) {
        return Plan::Mint(MintReason::EndpointChanged);
    }
    let renew_at = life.renew_at();
    if now >= renew_at {
        return Plan::Mint(MintReason::Age);
    }
    Plan::Keep {
        issued_at: life.issued_at,
        renew_at,
    }
}

/// From when to when a token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Life {
    fn of(secret: &Secret) -> Option<Self> {
        let annotations = secret.metadata.annotations.as_ref()?;
        let at = |key| annotations.get(key)?.parse::<Timestamp>().ok();
        let filled = secret
            .data
            .as_ref()?
            .get(meta::CREDENTIAL_KEY)
            .is_some_and(|v| !v.0.is_empty());
        let life = Self {
            issued_at: at(meta::CREDENTIAL_ISSUED_AT)?,
            expires_at: at(meta::CREDENTIAL_EXPIRES_AT)?,
        };
        filled.then_some(life)
    }

    /// A third of the life, so that a CCM that was away for half of it still finds a good one.
    fn renew_at(self) -> Timestamp {
        let life = self
            .expires_at
            .duration_since(self.issued_at)
            .max(SignedDuration::ZERO);
        self.issued_at.checked_add(life / 3).unwrap_or(self.issued_at)
    }
}

/// A token with all that the kubeconfig says about it.
#[derive(Debug, Clone)]
pub struct Credential<'a> {
    /// Name of the Tenant.
    pub tenant: &'a str,
    /// The tenant's namespace on the hub.
    pub namespace: &'a str,
    /// The token.
    pub token: &'a str,
    /// From when to when it is good.
    pub life: Life,
    /// What it is bound to.
    pub binding: &'a Binding,
    /// Where it is good.
    pub server: &'a TenantApiServer,
}

/// A kubeconfig that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write a kubeconfig")]
pub struct KubeconfigError(#[source] serde_saphyr::ser::Error);

/// The Secret with the tenant's kubeconfig.
///
/// # Errors
/// When the kubeconfig cannot be written as YAML.
pub fn secret(credential: &Credential<'_>) -> Result<Secret, KubeconfigError> {
    let Credential {
        tenant,
        namespace,
        token: _,
        life,
        binding,
        server,
    } = credential;
    let mut metadata = object_meta(
        namespace,
        meta::CREDENTIAL_SECRET,
        labels(tenant, component::TENANT),
    );
    metadata.annotations = Some(BTreeMap::from([
        (meta::CREDENTIAL_ISSUED_AT.to_owned(), life.issued_at.to_string()),
        (
            meta::CREDENTIAL_EXPIRES_AT.to_owned(),
            life.expires_at.to_string(),
        ),
        (BOUND_TO.to_owned(), binding.text()),
        (ENDPOINT_HASH.to_owned(), server.hash()),
    ]));
    let content = ByteString(kubeconfig(credential)?.into_bytes());
    Ok(Secret {
        metadata,
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(meta::CREDENTIAL_KEY.to_owned(), content)])),
        ..Secret::default()
    })
}

fn kubeconfig(credential: &Credential<'_>) -> Result<String, KubeconfigError> {
    let Credential {
        tenant: _,
        namespace,
        token,
        life: _,
        binding: _,
        server,
    } = credential;
    let file = Kubeconfig {
        api_version: "v1",
        kind: "Config",
        clusters: vec![Named {
            name: HUB,
            value: Entry::Cluster {
                server: server.url.clone(),
                certificate_authority_data: server.ca_pem.as_ref().map(|pem| STANDARD.encode(pem)),
            },
        }],
        users: vec![Named {
            name: tenant::ACCOUNT,
            value: Entry::User {
                token: (*token).to_owned(),
            },
        }],
        contexts: vec![Named {
            name: HUB,
            value: Entry::Context {
                cluster: HUB,
                user: tenant::ACCOUNT,
                namespace: (*namespace).to_owned(),
            },
        }],
        current_context: HUB,
    };
    serde_saphyr::to_string(&file).map_err(KubeconfigError)
}

const HUB: &str = "kubelb";

#[derive(Serialize)]
struct Kubeconfig {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
    #[serde(rename = "current-context")]
    current_context: &'static str,
}

#[derive(Serialize)]
struct Named {
    name: &'static str,
    #[serde(flatten)]
    value: Entry,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    #[serde(rename_all = "kebab-case")]
    Cluster {
        server: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        certificate_authority_data: Option<String>,
    },
    User {
        token: String,
    },
    Context {
        cluster: &'static str,
        user: &'static str,
        namespace: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> TenantApiServer {
        TenantApiServer {
            url: "https://hub.example.com:6443".into(),
            ca_pem: Some("PEM".into()),
        }
    }

    fn binding() -> Binding {
        Binding {
            account_uid: "account".into(),
            secret_uid: "secret".into(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn issued(token: &str) -> Secret {
        secret(&Credential {
            tenant: "cluster-1",
            namespace: "tenant-cluster-1",
            token,
            life: Life {
                issued_at: at(0),
                expires_at: at(900),
            },
            binding: &binding(),
            server: &server(),
        })
        .unwrap()
    }

    #[test]
    fn a_credential_is_renewed_after_a_third_of_its_life() {
        let secret = issued("t");
        assert_eq!(
            plan(Some(&secret), &binding(), &server(), at(299)),
            Plan::Keep {
                issued_at: at(0),
                renew_at: at(300)
            }
        );
        assert_eq!(
            plan(Some(&secret), &binding(), &server(), at(300)),
            Plan::Mint(MintReason::Age)
        );
    }

    #[test]
    fn a_credential_is_renewed_when_what_it_hangs_on_changed() {
        let secret = issued("t");
        let other = Binding {
            secret_uid: "made anew".into(),
            ..binding()
        };
        assert_eq!(
            plan(Some(&secret), &other, &server(), at(1)),
            Plan::Mint(MintReason::Revoked)
        );
        let moved = TenantApiServer {
            url: "https://elsewhere".into(),
            ..server()
        };
        assert_eq!(
            plan(Some(&secret), &binding(), &moved, at(1)),
            Plan::Mint(MintReason::EndpointChanged)
        );
    }

    #[test]
    fn a_credential_that_is_missing_or_unreadable_is_issued() {
        assert_eq!(
            plan(None, &binding(), &server(), at(1)),
            Plan::Mint(MintReason::Missing)
        );
        let mut emptied = issued("t");
        emptied.data = None;
        assert_eq!(
            plan(Some(&emptied), &binding(), &server(), at(1)),
            Plan::Mint(MintReason::Missing)
        );
    }

    #[test]
    fn the_kubeconfig_is_for_the_tenants_namespace_only() {
        let secret = issued("a: token # with \"yaml\" in it");
        let text = String::from_utf8(secret.data.clone().unwrap()[meta::CREDENTIAL_KEY].0.clone()).unwrap();
        insta::assert_snapshot!(text);
        let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(
            read.contexts[0].context.as_ref().unwrap().namespace.as_deref(),
            Some("tenant-cluster-1")
        );
        insta::assert_yaml_snapshot!("the_credential_secret_says_when_it_ends", secret.metadata);
    }
}
