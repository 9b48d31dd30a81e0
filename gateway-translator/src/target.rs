//! From the typed model of a resource to its hub objects, one file a kind.

pub(crate) mod attachment;
pub(crate) mod clients;
pub(crate) mod gateway;
pub(crate) mod grpc_route;
pub(crate) mod hostnames;
pub(crate) mod http_route;
pub(crate) mod l4_route;
pub(crate) mod listener_set;
pub(crate) mod listeners;
pub(crate) mod rules;

use std::collections::{BTreeMap, BTreeSet};

use api::v1alpha1::SyncSecretType;
use serde_json::{Value, json};

use crate::backend::Backends;
use crate::input::{Input, Settings};
use crate::metadata;
use crate::origin::Source;
use crate::output::{HubObject, Kind, ObjectKey};
use crate::verdict::Problem;

use attachment::Attachment;
use clients::ClientChecks;
use listeners::{Ports, ServedListener};

/// What every Route of a tenant is translated with.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) input: &'a Input,
    pub(crate) settings: &'a Settings,
    /// SyncSecrets of type TLS that a hub Secret is made from.
    pub(crate) certificates: BTreeSet<&'a str>,
    /// SyncSecrets with certificate authorities that a hub Secret is made from.
    pub(crate) authorities: BTreeSet<&'a str>,
    /// SyncSecrets that no hub Secret is made from, and why.
    pub(crate) refused_secrets: &'a BTreeMap<String, Problem>,
}

impl Context<'_> {
    /// True where a SyncSecret of this type has arrived.
    pub(crate) fn has_secret(&self, name: &str, type_: SyncSecretType) -> bool {
        match type_ {
            SyncSecretType::Tls => self.certificates.contains(name),
            SyncSecretType::Opaque => self.authorities.contains(name),
        }
    }
}

/// A Route on its way to hub objects, while what concerns all Routes together is not decided: limits, names,
/// backends, precedence.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// The object that the Route becomes; a route may need further ones.
    pub(crate) key: ObjectKey,
    pub(crate) content: Content,
    /// For a route.
    pub(crate) backends: Option<Backends<'a>>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) refused_listeners: BTreeMap<String, Problem>,
}

/// What a Route becomes.
#[derive(Debug)]
pub(crate) enum Content {
    /// A Gateway or a ListenerSet.
    Listeners {
        /// The Gateway that the listeners belong to: itself, or the ListenerSet's.
        gateway: ObjectKey,
        /// `spec`.
        spec: Value,
        /// Its listeners.
        served: Vec<ServedListener>,
    },
    /// A route.
    Route(RouteContent),
}

/// A route, apart from what it is called and attached to on the hub.
#[derive(Debug)]
pub(crate) struct RouteContent {
    /// `spec` without parentRefs, hostnames and rules.
    pub(crate) hostnames: Vec<String>,
    pub(crate) rules: Vec<RuleContent>,
    pub(crate) attachments: Vec<Attachment>,
}

/// A rule with what makes its matches equal to others.
#[derive(Debug)]
pub(crate) struct RuleContent {
    pub(crate) value: Value,
    /// One for each entry of `matches`; one where the rule has none and so matches everything.
    pub(crate) match_keys: Vec<String>,
}

/// What is known of a Gateway when the ListenerSets that belong to it are translated.
#[derive(Debug, Default)]
pub(crate) struct Front {
    pub(crate) ports: Ports,
    pub(crate) clients: ClientChecks,
}

/// Gateways that ListenerSets may belong to.
pub(crate) type Fronts = BTreeMap<ObjectKey, Front>;

/// Translates one Route on its own. Gateways are to come before the ListenerSets that belong to them.
pub(crate) fn draft<'a>(
    context: &'a Context<'a>,
    source: &Source<'a>,
    fronts: &mut Fronts,
) -> Result<Draft<'a>, Problem> {
    match source.kind {
        Kind::Gateway => gateway::draft(context, source, fronts),
        Kind::ListenerSet => listener_set::draft(context, source, fronts),
        Kind::HttpRoute => http_route::draft(context, source),
        Kind::GrpcRoute => grpc_route::draft(context, source),
        Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => l4_route::draft(context, source),
        Kind::Secret
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::BackendTlsPolicy
        | Kind::ClientTrafficPolicy
        | Kind::EnvoyPatchPolicy => Err(Problem::unsupported("This kind cannot come from a tenant.")),
    }
}

/// The whole object that is made from a Route.
pub(crate) fn hub_object(
    input: &Input,
    settings: &Settings,
    source: &Source<'_>,
    key: ObjectKey,
    spec: &Value,
) -> HubObject {
    let value = json!({
        "apiVersion": key.kind.api_version(),
        "kind": key.kind.as_str(),
        "metadata": metadata::of_route(input, settings, source, &key),
        "spec": spec,
    });
    HubObject { key, value }
}
