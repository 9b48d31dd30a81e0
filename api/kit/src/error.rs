//! What a driver has to know about an error: a short name for it, and whether trying again can help.

/// Implemented by the error enum of every controller.
pub trait ReconcileError: std::error::Error + Send + Sync + 'static {
    /// A fixed CamelCase word from a closed set: Event reason, metric label, condition reason.
    /// Never formatted from values.
    fn reason(&self) -> &'static str;

    /// Whether the same input may succeed later. If not, the key waits for the next change instead.
    fn is_retryable(&self) -> bool {
        true
    }
}

impl ReconcileError for kube::Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Api(status) => api_reason(status.code),
            Self::Auth(_) => "Unauthorized",
            _ => "ApiServerUnreachable",
        }
    }
}

fn api_reason(code: u16) -> &'static str {
    match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        429 => "TooManyRequests",
        500.. => "ApiServerError",
        _ => "ApiServerRefused",
    }
}

/// The HTTP status of an answer from the API server, if there was one.
pub fn status_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// The object, or the whole kind, is not there.
pub fn is_not_found(error: &kube::Error) -> bool {
    status_code(error) == Some(404)
}

/// Somebody else wrote in between, or a precondition does not hold any more.
pub fn is_conflict(error: &kube::Error) -> bool {
    status_code(error) == Some(409)
}

/// The same request may well succeed in a moment: no answer, throttled, or the server's own fault.
pub fn is_transient(error: &kube::Error) -> bool {
    match status_code(error) {
        Some(code) => matches!(code, 408 | 409 | 429) || code >= 500,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::api_error;

    #[test]
    fn a_refused_object_is_not_transient_but_a_busy_server_is() {
        assert!(!is_transient(&api_error(422)));
        assert!(!is_transient(&api_error(403)));
        assert!(is_transient(&api_error(429)));
        assert!(is_transient(&api_error(503)));
        assert!(is_transient(&api_error(409)));
    }

    #[test]
    fn an_answer_of_the_server_has_a_fixed_reason() {
        assert_eq!(api_error(403).reason(), "Forbidden");
        assert_eq!(api_error(504).reason(), "ApiServerError");
        assert_eq!(api_error(400).reason(), "ApiServerRefused");
    }
}
