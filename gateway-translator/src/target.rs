//! From the typed model of a resource to its hub object, one file a kind.

pub(crate) mod gateway;
pub(crate) mod grpc_route;
pub(crate) mod http_route;
pub(crate) mod rules;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::backend::Backends;
use crate::input::{Input, Settings};
use crate::metadata;
use crate::origin::Source;
use crate::output::{HubObject, Kind, ObjectKey};
use crate::verdict::Problem;

/// What every Route of a tenant is translated with.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) input: &'a Input,
    pub(crate) settings: &'a Settings,
    /// SyncSecrets that a hub Secret is made from.
    pub(crate) secrets: BTreeSet<&'a str>,
}

/// A hub object that waits for what concerns all Routes together: limits, names, backends.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) object: HubObject,
    /// For a route.
    pub(crate) backends: Option<Backends<'a>>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) refused_listeners: BTreeMap<String, Problem>,
}

/// Translates one Route on its own.
pub(crate) fn draft<'a>(context: &Context<'a>, source: &Source<'a>) -> Result<Draft<'a>, Problem> {
    match source.kind {
        Kind::Gateway => gateway::draft(context, source),
        Kind::HttpRoute => http_route::draft(context, source),
        Kind::GrpcRoute => grpc_route::draft(context, source),
        // `origin` yields no other kind.
        Kind::Secret | Kind::Service | Kind::EndpointSlice => {
            Err(Problem::unsupported("This kind cannot come from a tenant."))
        }
    }
}

fn hub_object(context: &Context<'_>, source: &Source<'_>, name: String, spec: &Value) -> HubObject {
    let key = ObjectKey::new(source.kind, &context.input.namespace, name);
    let value = json!({
        "apiVersion": source.kind.api_version(),
        "kind": source.kind.as_str(),
        "metadata": metadata::of_route(context.input, source, &key),
        "spec": spec,
    });
    HubObject { key, value }
}
