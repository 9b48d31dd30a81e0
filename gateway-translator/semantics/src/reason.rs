//! Condition types and reasons that are written to the tenant's objects. One list, so that the set is closed.

/// `Accepted`, also as the reason of its own truth.
pub(crate) const ACCEPTED: &str = "Accepted";
/// `Programmed`, also as the reason of its own truth.
pub(crate) const PROGRAMMED: &str = "Programmed";
/// `ResolvedRefs`, also as the reason of its own truth.
pub(crate) const RESOLVED_REFS: &str = "ResolvedRefs";
/// `Conflicted`, also as the reason of a policy that is not accepted.
pub(crate) const CONFLICTED: &str = "Conflicted";
/// `InsecureFrontendValidationMode`.
pub(crate) const INSECURE_FRONTEND_VALIDATION_MODE: &str = "InsecureFrontendValidationMode";

pub(crate) const ADDRESS_NOT_ASSIGNED: &str = "AddressNotAssigned";
pub(crate) const ADDRESS_NOT_USABLE: &str = "AddressNotUsable";
pub(crate) const BACKEND_NOT_FOUND: &str = "BackendNotFound";
pub(crate) const CONFIGURATION_CHANGED: &str = "ConfigurationChanged";
pub(crate) const DISABLED: &str = "Disabled";
pub(crate) const DOMAIN_NOT_ALLOWED: &str = "DomainNotAllowed";
pub(crate) const HOSTNAME_CONFLICT: &str = "HostnameConflict";
pub(crate) const INVALID: &str = "Invalid";
pub(crate) const INVALID_CA_CERTIFICATE_KIND: &str = "InvalidCACertificateKind";
pub(crate) const INVALID_CA_CERTIFICATE_REF: &str = "InvalidCACertificateRef";
pub(crate) const INVALID_CERTIFICATE_REF: &str = "InvalidCertificateRef";
pub(crate) const INVALID_CLIENT_CERTIFICATE_REF: &str = "InvalidClientCertificateRef";
pub(crate) const INVALID_KIND: &str = "InvalidKind";
pub(crate) const INVALID_PARAMETERS: &str = "InvalidParameters";
pub(crate) const INVALID_ROUTE_KINDS: &str = "InvalidRouteKinds";
pub(crate) const LISTENERS_NOT_VALID: &str = "ListenersNotValid";
pub(crate) const MALFORMED: &str = "Malformed";
pub(crate) const NO_CONFLICTS: &str = "NoConflicts";
pub(crate) const NO_MATCHING_LISTENER_HOSTNAME: &str = "NoMatchingListenerHostname";
pub(crate) const NO_MATCHING_PARENT: &str = "NoMatchingParent";
pub(crate) const NO_RESOURCES: &str = "NoResources";
pub(crate) const NO_VALID_CA_CERTIFICATE: &str = "NoValidCACertificate";
pub(crate) const NOT_ALLOWED: &str = "NotAllowed";
pub(crate) const NOT_ALLOWED_BY_LISTENERS: &str = "NotAllowedByListeners";
pub(crate) const PARENT_NOT_ACCEPTED: &str = "ParentNotAccepted";
pub(crate) const PARENT_NOT_PROGRAMMED: &str = "ParentNotProgrammed";
pub(crate) const PENDING: &str = "Pending";
pub(crate) const PROTOCOL_CONFLICT: &str = "ProtocolConflict";
pub(crate) const REF_NOT_PERMITTED: &str = "RefNotPermitted";
pub(crate) const REJECTED: &str = "Rejected";
pub(crate) const SERVICE_REFUSED: &str = "ServiceRefused";
pub(crate) const TARGET_NOT_FOUND: &str = "TargetNotFound";
pub(crate) const UNSUPPORTED_ADDRESS: &str = "UnsupportedAddress";
pub(crate) const UNSUPPORTED_PROTOCOL: &str = "UnsupportedProtocol";
pub(crate) const UNSUPPORTED_VALUE: &str = "UnsupportedValue";

/// Why something does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Verdict {
    pub reason: &'static str,
    pub message: String,
}

impl Verdict {
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// Reasons of the hub that are passed on. Any other becomes [`REJECTED`], so that the set stays closed.
const FROM_HUB: &[&str] = &[
    ADDRESS_NOT_ASSIGNED,
    ADDRESS_NOT_USABLE,
    DISABLED,
    DOMAIN_NOT_ALLOWED,
    "EndpointNotAllowed",
    "GatewayNotAllowed",
    HOSTNAME_CONFLICT,
    "IncompatibleFilters",
    INVALID,
    INVALID_CA_CERTIFICATE_REF,
    INVALID_CERTIFICATE_REF,
    "InvalidOrigin",
    "LimitExceeded",
    LISTENERS_NOT_VALID,
    "NameConflict",
    NO_MATCHING_LISTENER_HOSTNAME,
    NO_MATCHING_PARENT,
    NO_RESOURCES,
    NOT_ALLOWED_BY_LISTENERS,
    "NotAccepted",
    "NotApplied",
    PARENT_NOT_PROGRAMMED,
    PENDING,
    "PortUnavailable",
    PROTOCOL_CONFLICT,
    REF_NOT_PERMITTED,
    "SecretNotFound",
    UNSUPPORTED_ADDRESS,
    "UnsupportedKind",
    UNSUPPORTED_PROTOCOL,
    UNSUPPORTED_VALUE,
];

/// The reason that the hub gave, as one of a closed set.
pub(crate) fn from_hub(reason: &str) -> &'static str {
    FROM_HUB
        .iter()
        .copied()
        .find(|known| *known == reason)
        .unwrap_or(REJECTED)
}
