//! Why the hub cannot be used, each with the cause in words and as a metric label. Pure.

use api::v1alpha1::{Heartbeat, TenantState};
use controller_kit::error::status_code;
use jiff::{Timestamp, ToSpan};

use super::token::Life;

/// A heartbeat younger than this says that its writer is alive.
const HEARTBEAT_LIFE_SECONDS: i64 = 180;

/// What helps against a credential that is dead.
const HAND_OVER: &str = "hand over the kubeconfig of the hub's Secret kubelb-ccm-kubeconfig again";

/// Why nothing is written to the hub, and nothing is cleared or pruned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It was not asked yet.
    #[error("the hub has not answered yet")]
    Starting,
    /// The kubeconfig file cannot be used.
    #[error("the hub kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    /// The credential is for another tenant than `--cluster-name` says.
    #[error(
        "--cluster-name {cluster_name:?} means hub namespace {expected:?}, but the kubeconfig is for namespace \
         {found:?}: use the kubeconfig of this tenant, or its name"
    )]
    ClusterNameMismatch {
        /// The flag.
        cluster_name: String,
        /// The namespace it means.
        expected: String,
        /// The namespace of the kubeconfig's context.
        found: String,
    },
    /// No answer.
    #[error("the hub cannot be reached: {0}")]
    Unreachable(String),
    /// The credential has ended.
    #[error(
        "the hub does not accept the credential (401): it expired at {ended_at}, and with it no newer one can be \
         fetched: {HAND_OVER}"
    )]
    Expired {
        /// The end of its life, as it says itself.
        ended_at: Timestamp,
    },
    /// The credential is not accepted, and not because of its age.
    #[error(
        "the hub does not accept the credential (401): it is wrong, or it was revoked, or its Tenant was removed; \
         with it no newer one can be fetched: {HAND_OVER}"
    )]
    Unauthorized,
    /// The credential may not do what is needed.
    #[error("the credential may not read TenantState in hub namespace {namespace:?} (403): {message}")]
    Forbidden {
        /// The tenant's namespace on the hub.
        namespace: String,
        /// The hub's words.
        message: String,
    },
    /// There is no TenantState.
    #[error(
        "hub namespace {namespace:?} has no TenantState (404): there is no such Tenant, or it is not ready yet"
    )]
    TenantMissing {
        /// The tenant's namespace on the hub.
        namespace: String,
    },
    /// The hub answers with an error.
    #[error("the hub answers with status {code}: {message}")]
    HubError {
        /// HTTP status.
        code: u16,
        /// The hub's words.
        message: String,
    },
    /// Another cluster uses the same credential.
    #[error(
        "another cluster (kube-system UID {other}) writes with this credential, its heartbeat is {age_seconds}s \
         old: each cluster needs a Tenant of its own"
    )]
    AnotherCluster {
        /// UID of the other cluster.
        other: String,
        /// Age of its heartbeat.
        age_seconds: i64,
    },
}

impl Fault {
    /// Value of the metric label `reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Kubeconfig(_) => "kubeconfig",
            Self::ClusterNameMismatch { .. } => "cluster_name_mismatch",
            Self::Unreachable(_) => "unreachable",
            Self::Expired { .. } => "expired",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::TenantMissing { .. } => "tenant_missing",
            Self::HubError { .. } => "hub_error",
            Self::AnotherCluster { .. } => "another_cluster",
        }
    }

    /// What a failed request for TenantState says.
    #[must_use]
    pub fn of_error(error: &kube::Error, namespace: &str) -> Self {
        let message = match error {
            kube::Error::Api(status) => status.message.clone(),
            other => chain(other),
        };
        match status_code(error) {
            Some(401) => Self::Unauthorized,
            Some(403) => Self::Forbidden {
                namespace: namespace.to_owned(),
                message,
            },
            Some(404) => Self::TenantMissing {
                namespace: namespace.to_owned(),
            },
            Some(code) => Self::HubError { code, message },
            None => Self::Unreachable(message),
        }
    }

    /// The same, told apart by the life of the credential: one that has ended needs no other explanation.
    #[must_use]
    pub fn explained(self, credential: Option<Life>, now: Timestamp) -> Self {
        match (&self, credential) {
            (Self::Unauthorized, Some(Life { expires_at, .. })) if expires_at <= now => {
                Self::Expired { ended_at: expires_at }
            }
            _ => self,
        }
    }

    /// True when `other` is the same trouble, whatever its numbers.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.reason() == other.reason()
    }
}

/// An error with its causes in one line. The last cause is the one that helps.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// What a TenantState says against writing: another cluster is alive with the same credential.
#[must_use]
pub fn of_tenant_state(state: &TenantState, cluster_uid: &str, now: Timestamp) -> Option<Fault> {
    let Heartbeat {
        time,
        version: _,
        cluster_uid: other,
    } = state.spec.heartbeat.as_ref()?;
    if other == cluster_uid || time.0 + HEARTBEAT_LIFE_SECONDS.seconds() <= now {
        return None;
    }
    let age_seconds = (now.as_second() - time.0.as_second()).max(0);
    Some(Fault::AnotherCluster {
        other: other.clone(),
        age_seconds,
    })
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::TenantStateSpec;
    use controller_kit::test_support::api_error;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn state(uid: &str, second: i64) -> TenantState {
        let heartbeat = Heartbeat {
            time: Time(at(second)),
            version: "1".to_owned(),
            cluster_uid: uid.to_owned(),
        };
        TenantState::new(
            "default",
            TenantStateSpec {
                heartbeat: Some(heartbeat),
            },
        )
    }

    #[test]
    fn a_living_heartbeat_of_another_cluster_forbids_to_write() {
        let fault = of_tenant_state(&state("other", 100), "mine", at(279)).unwrap();
        assert_eq!(
            fault,
            Fault::AnotherCluster {
                other: "other".to_owned(),
                age_seconds: 179
            }
        );
    }

    #[test]
    fn an_old_heartbeat_or_our_own_does_not() {
        assert_eq!(of_tenant_state(&state("other", 100), "mine", at(280)), None);
        assert_eq!(of_tenant_state(&state("mine", 100), "mine", at(101)), None);
        assert_eq!(of_tenant_state(&TenantState::default(), "mine", at(101)), None);
    }

    #[test]
    fn each_answer_of_the_hub_has_a_reason_of_its_own() {
        let reason = |code| Fault::of_error(&api_error(code), "tenant-a").reason();
        assert_eq!(reason(401), "unauthorized");
        assert_eq!(reason(403), "forbidden");
        assert_eq!(reason(404), "tenant_missing");
        assert_eq!(reason(503), "hub_error");
    }

    #[test]
    fn an_expired_credential_is_told_apart_from_a_wrong_one_and_names_its_end() {
        let life = Some(Life {
            issued_at: at(0),
            expires_at: at(100),
        });
        let fault = Fault::Unauthorized.explained(life, at(100));
        assert_eq!(fault.reason(), "expired");
        assert!(fault.to_string().contains("1970-01-01T00:01:40Z"), "{fault}");
        assert_eq!(Fault::Unauthorized.explained(life, at(99)), Fault::Unauthorized);
        assert_eq!(Fault::Unauthorized.explained(None, at(100)), Fault::Unauthorized);
        let away = Fault::Unreachable("no route".to_owned());
        assert_eq!(away.clone().explained(life, at(100)), away);
    }

    #[test]
    fn a_dead_credential_says_what_helps() {
        for fault in [Fault::Unauthorized, Fault::Expired { ended_at: at(1) }] {
            assert!(
                fault.to_string().contains(api::meta::CREDENTIAL_SECRET),
                "{fault}"
            );
        }
    }

    #[test]
    fn a_mismatch_names_both_namespaces() {
        let fault = Fault::ClusterNameMismatch {
            cluster_name: "a".to_owned(),
            expected: "tenant-a".to_owned(),
            found: "tenant-b".to_owned(),
        };
        let text = fault.to_string();
        assert!(text.contains("tenant-a") && text.contains("tenant-b"), "{text}");
    }
}
