//! Keys of labels, annotations and finalizers, and the codec for origin references.
//!
//! Real names go into annotations, because an object name may have 253 characters and a label value only 63.

/// Says that an object was made by this product.
pub const MANAGED_BY_LABEL: &str = "kubelb.k8c.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "kubelb";
/// Name of the Tenant that an object on the hub belongs to.
pub const TENANT_LABEL: &str = "kubelb.k8c.io/tenant";
/// Namespace of the tenant's object, as a label where it is a legal one.
pub const ORIGIN_NAMESPACE: &str = "kubelb.k8c.io/origin-ns";
/// Name of the tenant's object, as a label where it is a legal one, and always as an annotation.
pub const ORIGIN_NAME: &str = "kubelb.k8c.io/origin-name";
/// `Kind.group` of the tenant's object.
pub const ORIGIN_KIND: &str = "kubelb.k8c.io/origin-resource-kind";
/// UID of the object that another one was made from.
pub const ORIGIN_UID: &str = "kubelb.k8c.io/origin-uid";
/// When the tenant made the object that a hub object was made from, RFC 3339: precedence between routes.
pub const ORIGIN_CREATION_TIMESTAMP: &str = "kubelb.k8c.io/origin-creation-timestamp";
/// Generation of the tenant's object that a hub object was made from.
pub const SOURCE_GENERATION: &str = "kubelb.k8c.io/source-generation";
/// Name of the hub LoadBalancer that a hub Service serves.
pub const LOAD_BALANCER_LABEL: &str = "kubelb.k8c.io/lb-name";
/// Names the component that an object is part of; closed set of values in the crate that makes it.
pub const COMPONENT_LABEL: &str = "kubelb.k8c.io/component";
/// Keeps a tenant's or a hub object until what was made from it is gone.
pub const CLEANUP_FINALIZER: &str = "kubelb.k8c.io/cleanup";
/// A Service annotation: `true` asks for a host name below the tenant's wildcard domain, `false` wants none. On the
/// hub it is read from the LoadBalancer.
pub const REQUEST_WILDCARD_DOMAIN: &str = "kubelb.k8c.io/request-wildcard-domain";
/// A Service annotation: the host name that is asked for. On a hub Service it is the record of the name in force.
pub const HOSTNAME: &str = "kubelb.k8c.io/hostname";
/// A Service annotation: `true` asks for HTTPS at the host name, with a certificate of the hub's.
pub const MANAGE_CERTIFICATES: &str = "kubelb.k8c.io/manage-certificates";
/// A Service annotation: send PROXY protocol of this version to the backends.
pub const PROXY_PROTOCOL: &str = "kubelb.k8c.io/proxy-protocol";
/// Label of a tenant Secret that may be copied to the hub.
pub const CLASS_NAME: &str = "kubelb";
/// `controllerName` of the tenant-side GatewayClass.
pub const GATEWAY_CONTROLLER_NAME: &str = "kubelb.k8c.io/gateway-controller";
/// Name of the one Addresses, Config and TenantState object of a namespace.
pub const DEFAULT_NAME: &str = "default";
/// Secret in the tenant's hub namespace that holds the kubeconfig the manager issued.
pub const CREDENTIAL_SECRET: &str = "kubelb-ccm-kubeconfig";
/// Key of the kubeconfig in [`CREDENTIAL_SECRET`] and in the tenant's own Secret.
pub const CREDENTIAL_KEY: &str = "kubelb";
/// Annotation of [`CREDENTIAL_SECRET`]: when the token was issued, RFC 3339.
pub const CREDENTIAL_ISSUED_AT: &str = "kubelb.k8c.io/issued-at";
/// Annotation of [`CREDENTIAL_SECRET`]: when the token ends, RFC 3339.
pub const CREDENTIAL_EXPIRES_AT: &str = "kubelb.k8c.io/expires-at";
/// Secret in the tenant cluster that holds the hub kubeconfig.
pub const TENANT_CREDENTIAL_SECRET: &str = "kubelb-cluster";

/// True when `value` can be a label value: at most 63 characters of `[A-Za-z0-9._-]` with alphanumeric ends.
#[must_use]
pub fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
