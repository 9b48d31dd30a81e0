//! GatewayClasses: every one with our controller name is ours.

use api::condition::ConditionValue;

use crate::model::{ClassSpec, Object};
use crate::outcome::ClassStatus;
use crate::reason;

/// Features of the Gateway API that are served, sorted: every core and extended one of the five profiles for
/// Gateways in the conformance suite v1.6, and the one of its features that is in no profile.
pub const SUPPORTED_FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

/// A class can be served. Parameters cannot: they would be the tenant's say over the hub's Envoys.
pub(crate) fn is_accepted(class: &Object<ClassSpec>) -> bool {
    class.spec.parameters_ref.is_none()
}

/// The wanted status of a class of ours.
pub(crate) fn status(class: &Object<ClassSpec>) -> ClassStatus {
    let accepted = if is_accepted(class) {
        ConditionValue::new(reason::ACCEPTED, true, reason::ACCEPTED, "the class is served")
    } else {
        let message = "spec.parametersRef is not supported";
        ConditionValue::new(reason::ACCEPTED, false, reason::INVALID_PARAMETERS, message)
    };
    ClassStatus {
        conditions: vec![accepted],
        supported_features: SUPPORTED_FEATURES.to_vec(),
    }
}
