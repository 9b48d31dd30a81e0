//! What a translation reads: the objects of one tenant namespace, and what the hub allows that tenant.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use api::endpoint_policy::EndpointPolicy;
use api::v1alpha1::{Addresses, AnnotationSettings, Limits, Route, SharedGateway, SyncSecret};

use crate::domain::claims::ClaimTable;
use crate::output::ObjectKey;

/// NodePorts of a cluster that nobody configured otherwise.
pub const DEFAULT_NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// Objects of one tenant namespace on the hub. Their order does not matter.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// Name of the Tenant: goes into labels.
    pub tenant: String,
    /// The tenant's namespace on the hub. Every object is made there.
    pub namespace: String,
    /// Every Route in the namespace.
    pub routes: Vec<Arc<Route>>,
    /// Every Addresses object in the namespace.
    pub addresses: Vec<Arc<Addresses>>,
    /// Every SyncSecret in the namespace.
    pub sync_secrets: Vec<Arc<SyncSecret>>,
    /// Who holds which host name on which shared Gateway: [`crate::claims`], computed once for the whole hub.
    pub claims: Arc<ClaimTable>,
    /// Objects in the namespace that are not ours. A Route that needs such a name is refused.
    pub foreign: BTreeSet<ObjectKey>,
}

/// What the hub allows this tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The Gateway API is served. Without it everything is refused, so that all that was made is removed.
    pub enabled: bool,
    /// GatewayClass of the hub Gateways.
    pub gateway_class: String,
    /// Addresses that endpoints may have.
    pub endpoint_policy: EndpointPolicy,
    /// Host names that routes and listeners may have, as in `api::domain`.
    pub allowed_domains: Vec<String>,
    /// How many Gateways and routes are served, oldest first.
    pub limits: Limits,
    /// Ports on the tenant's nodes that a backend may lead to.
    pub node_ports: RangeInclusive<u16>,
    /// Addresses that Gateways may ask for.
    pub gateway_addresses: EndpointPolicy,
    /// Labels and annotations of `spec.infrastructure` are honoured.
    pub infrastructure_metadata: bool,
    /// Which annotations reach the hub.
    pub annotations: AnnotationSettings,
    /// What tenants say to external-dns reaches the hub, as far as the rules for annotations let it.
    pub dns_annotations: bool,
    /// Hub Gateways that routes of the tenant may attach to, with the listeners that let them.
    pub shared_gateways: Vec<SharedGateway>,
}

impl Default for Settings {
    /// Served, but with no host name, address or shared Gateway allowed.
    fn default() -> Self {
        Self {
            enabled: true,
            gateway_class: "kubelb".to_owned(),
            endpoint_policy: EndpointPolicy::default(),
            allowed_domains: Vec::new(),
            limits: Limits::default(),
            node_ports: DEFAULT_NODE_PORTS,
            gateway_addresses: EndpointPolicy::default(),
            infrastructure_metadata: false,
            annotations: AnnotationSettings::default(),
            dns_annotations: false,
            shared_gateways: Vec::new(),
        }
    }
}
