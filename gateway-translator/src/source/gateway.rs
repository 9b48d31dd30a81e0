//! Gateway and ListenerSet, as a tenant writes them.

use std::collections::BTreeMap;

use api::names::PortNumber;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Refused, Unused};

/// `spec` of a Gateway.
///
/// Listeners are read one by one and only those that the CCM found sound, so that a bad one does not take
/// the others along.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct GatewaySpec {
    /// The hub's class is the hub's choice.
    pub(crate) gateway_class_name: Unused,
    pub(crate) listeners: Vec<Value>,
    pub(crate) addresses: Vec<SpecAddress>,
    pub(crate) infrastructure: Option<Infrastructure>,
    /// The CCM says what is attached.
    pub(crate) allowed_listeners: Unused,
    pub(crate) tls: Option<GatewayTls>,
}

/// `spec` of a ListenerSet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ListenerSetSpec {
    /// The CCM says which Gateway lets it attach.
    pub(crate) parent_ref: Unused,
    pub(crate) listeners: Vec<Value>,
}

/// An address that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SpecAddress {
    #[serde(rename = "type")]
    pub(crate) type_: Option<String>,
    pub(crate) value: Option<String>,
}

/// Wishes for what runs behind a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Infrastructure {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) parameters_ref: Refused,
}

/// TLS of the whole Gateway.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GatewayTls {
    pub(crate) frontend: Option<FrontendTls>,
    /// The CCM says which SyncSecret holds the certificate.
    pub(crate) backend: Unused,
}

/// How clients are checked. The CCM decides what is checked against; that there is a check is read here too, so
/// that none is ever lost on the way.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct FrontendTls {
    pub(crate) default: FrontendTlsConfig,
    pub(crate) per_port: Vec<PortTls>,
}

/// How clients are checked on one port.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortTls {
    pub(crate) port: PortNumber,
    #[serde(default)]
    pub(crate) tls: FrontendTlsConfig,
}

/// How clients are checked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FrontendTlsConfig {
    pub(crate) validation: Option<Value>,
}

impl FrontendTls {
    /// True where clients of this port must be checked.
    pub(crate) fn validates(&self, port: PortNumber) -> bool {
        let own = self.per_port.iter().find(|entry| entry.port == port);
        own.map_or(&self.default, |entry| &entry.tls).validation.is_some()
    }
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Listener {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) hostname: Option<String>,
    pub(crate) port: PortNumber,
    pub(crate) protocol: String,
    #[serde(default)]
    pub(crate) tls: Option<ListenerTls>,
    /// The CCM says what is attached.
    #[serde(default, rename = "allowedRoutes")]
    pub(crate) _allowed_routes: Unused,
}

/// TLS of a listener.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ListenerTls {
    pub(crate) mode: Option<String>,
    /// The CCM says which SyncSecrets hold them.
    pub(crate) certificate_refs: Unused,
    pub(crate) options: BTreeMap<String, IgnoredAny>,
}
