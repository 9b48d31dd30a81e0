//! What a failed write to the hub means for the tenant's object. Pure.

use controller_kit::ReconcileError;
use controller_kit::apply::ApplyError;
use controller_kit::object::ObjectId;

use crate::notice::{Notice, reason};

/// The hub, or the way to it, did not take one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The object on the hub.
    pub id: Option<ObjectId>,
    /// What the tenant is told.
    pub notice: Notice,
    /// Value of the metric label `reason`.
    pub metric: &'static str,
    /// Trying again soon may help.
    pub is_transient: bool,
}

/// Reads a failed write.
#[must_use]
pub fn of(error: &ApplyError) -> Refusal {
    let (id, source) = match error {
        ApplyError::Apply { id, source }
        | ApplyError::Get { id, source }
        | ApplyError::Delete { id, source } => (Some(id.clone()), Some(source)),
        ApplyError::Object(_) => (None, None),
    };
    let api_message = match source.map(AsRef::as_ref) {
        Some(kube::Error::Api(status)) => Some((status.code, status.message.as_str())),
        _ => None,
    };
    let (notice, metric) = match api_message {
        Some((403, message)) if message.contains("exceeded quota") => {
            let text = format!("the hub's ResourceQuota for this cluster is used up: {message}");
            (Notice::new(reason::QUOTA_EXCEEDED, text), "quota_exceeded")
        }
        Some((code, message)) => (
            Notice::new(reason::HUB_REFUSED, format!("the hub answers {code}: {message}")),
            error.reason(),
        ),
        None => (
            Notice::new(reason::HUB_UNAVAILABLE, super::fault::chain(error)),
            error.reason(),
        ),
    };
    Refusal {
        id,
        notice,
        metric,
        is_transient: error.is_transient(),
    }
}

#[cfg(test)]
mod tests {
    use controller_kit::ObjectKey;
    use controller_kit::test_support::api_error_saying;

    use super::*;

    fn failed(code: u16, message: &str) -> ApplyError {
        let id = ObjectId {
            group: String::new(),
            kind: "LoadBalancer".to_owned(),
            key: ObjectKey::new("t", "u"),
        };
        ApplyError::Apply {
            id,
            source: Box::new(api_error_saying(code, message)),
        }
    }

    #[test]
    fn a_used_up_quota_has_a_reason_of_its_own() {
        let refusal = of(&failed(
            403,
            "forbidden: exceeded quota: tenant, requested: count/x=1",
        ));
        assert_eq!(
            (refusal.notice.reason, refusal.metric),
            ("QuotaExceeded", "quota_exceeded")
        );
        assert!(!refusal.is_transient);
    }

    #[test]
    fn any_other_refusal_carries_the_hubs_words() {
        let refusal = of(&failed(422, "spec.ports: too many"));
        assert_eq!((refusal.notice.reason, refusal.metric), ("HubRefused", "Invalid"));
        assert!(refusal.notice.message.contains("spec.ports: too many"));
    }
}
