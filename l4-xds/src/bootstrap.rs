//! What our Envoys are started with: the bootstrap and the two secret files beside it. Pure.
//!
//! Everything that changes comes over xDS; these files are made once for each fleet and may live in a ConfigMap. The
//! certificates themselves live in a Secret, mounted as a directory, and only their paths are written here.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use serde_json::{Value, json};

use crate::ir::{Hostname, Port};
use crate::ports::envoy;
use crate::translate::Bind;

/// Where Envoys show their statistics, beside their readiness.
pub const STATISTICS_PATH: &str = "/stats/prometheus";
/// Name of the bootstrap file.
pub const BOOTSTRAP_FILE: &str = "envoy.json";
const CERTIFICATE_FILE: &str = "sds-certificate.json";
const TRUST_FILE: &str = "sds-trust.json";
const CERTIFICATE: &str = "xds_certificate";
const TRUST: &str = "xds_trust";
const XDS_CLUSTER: &str = "xds_cluster";
const ADMIN_CLUSTER: &str = "admin";
const HEAP: &str = "envoy.resource_monitors.fixed_heap";

/// What differs from fleet to fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapInput {
    /// Host of the control plane: a Service's DNS name, or an address.
    pub xds_host: String,
    /// Port of the control plane.
    pub xds_port: Port,
    /// DNS name that the control plane's certificate must carry. Also sent as SNI.
    pub xds_server_name: Hostname,
    /// Directory in which Envoy finds these files.
    pub config_directory: String,
    /// Directory of the mounted Secret with `tls.crt`, `tls.key` and `ca.crt`.
    pub certificate_directory: String,
    /// Loopback port of the admin interface; [`envoy::ADMIN`] unless several Envoys share a host.
    pub admin_port: u16,
    /// Port for readiness and statistics; [`envoy::READINESS`] unless several Envoys share a host.
    pub readiness_port: u16,
    /// Which addresses the readiness listener binds.
    pub bind: Bind,
    /// Most connections from clients at the same time, over all listeners.
    pub max_connections: Option<NonZeroU64>,
    /// Memory, in bytes, near which Envoy gives back what it can, and then takes no more connections.
    pub max_heap_bytes: Option<NonZeroU64>,
}

impl BootstrapInput {
    /// With our own port numbers, both address families and no limit on connections.
    pub fn new(xds_host: impl Into<String>, xds_port: Port, xds_server_name: Hostname) -> Self {
        Self {
            xds_host: xds_host.into(),
            xds_port,
            xds_server_name,
            config_directory: "/etc/envoy".to_owned(),
            certificate_directory: "/etc/envoy-tls".to_owned(),
            admin_port: envoy::ADMIN,
            readiness_port: envoy::READINESS,
            bind: Bind::default(),
            max_connections: None,
            max_heap_bytes: None,
        }
    }
}

/// The files, by name. All belong into [`BootstrapInput::config_directory`]; [`BOOTSTRAP_FILE`] is the one that Envoy
/// is started with.
///
/// ```
/// use l4_xds::bootstrap::{BOOTSTRAP_FILE, BootstrapInput, files};
///
/// let input = BootstrapInput::new("envoycp.kubelb.svc", 8001.try_into()?, "envoycp.kubelb.svc".parse()?);
/// assert!(files(&input).contains_key(BOOTSTRAP_FILE));
/// # Ok::<(), l4_xds::ir::InvalidValue>(())
/// ```
pub fn files(input: &BootstrapInput) -> BTreeMap<&'static str, String> {
    let file = |value: Value| format!("{value:#}\n");
    BTreeMap::from([
        (BOOTSTRAP_FILE, file(bootstrap(input))),
        (CERTIFICATE_FILE, file(certificate(input))),
        (TRUST_FILE, file(trust(input))),
    ])
}

fn bootstrap(input: &BootstrapInput) -> Value {
    let mut bootstrap = json!({
        "admin": {"address": address("127.0.0.1", input.admin_port)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {
                    "cluster_name": XDS_CLUSTER,
                    // Unless told, an Envoy may stay away for half a minute after a control plane that was away is
                    // back, and so does whatever changed meanwhile. Delays are drawn at random up to the ceiling.
                    "retry_policy": {"retry_back_off": {"base_interval": "0.5s", "max_interval": "4s"}},
                }}],
            },
            "cds_config": ads(),
            "lds_config": ads(),
        },
        "static_resources": {
            "clusters": [xds_cluster(input), admin_cluster(input)],
            "listeners": [readiness_listener(input)],
        },
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}, {"name": "admin", "admin_layer": {}}]},
    });
    if let (Some(manager), Some(object)) = (overload_manager(input), bootstrap.as_object_mut()) {
        object.insert("overload_manager".to_owned(), manager);
    }
    bootstrap
}

/// No fetch timeout: after the default of 15 s an Envoy that has not heard from the control plane would go on without
/// any listener and say that it is ready. It then gets traffic that a working Envoy would have served.
fn ads() -> Value {
    json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"})
}

fn xds_cluster(input: &BootstrapInput) -> Value {
    json!({
        "name": XDS_CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "load_assignment": load_assignment(XDS_CLUSTER, &input.xds_host, input.xds_port.get()),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {
                    // A control plane that vanished without a word (node gone, packets dropped) is noticed within a
                    // minute; without this Envoy would listen to a dead connection until TCP gives up.
                    "connection_keepalive": {"interval": "20s", "timeout": "10s"},
                }},
            },
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": input.xds_server_name.as_str(),
                "common_tls_context": {
                    // The server speaks nothing older, and as a client Envoy stops at 1.2 unless told otherwise.
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_3",
                        "tls_maximum_protocol_version": "TLSv1_3",
                    },
                    "alpn_protocols": ["h2"],
                    "tls_certificate_sds_secret_configs": [secret(input, CERTIFICATE, CERTIFICATE_FILE)],
                    "validation_context_sds_secret_config": secret(input, TRUST, TRUST_FILE),
                },
            },
        },
    })
}

/// Certificates that are written into the bootstrap itself are read once. `watched_directory` works in a secret that
/// comes by SDS, and SDS may come from a file; hence two files that never change, around certificates that do.
fn secret(input: &BootstrapInput, name: &str, file: &str) -> Value {
    let path = format!("{}/{file}", input.config_directory);
    json!({"name": name, "sds_config": {"path_config_source": {"path": path}, "resource_api_version": "V3"}})
}

fn certificate(input: &BootstrapInput) -> Value {
    sds(json!({
        "name": CERTIFICATE,
        "tls_certificate": {
            "certificate_chain": mounted(input, "tls.crt"),
            "private_key": mounted(input, "tls.key"),
            "watched_directory": {"path": input.certificate_directory},
        },
    }))
}

fn trust(input: &BootstrapInput) -> Value {
    let server_name = json!({"san_type": "DNS", "matcher": {"exact": input.xds_server_name.as_str()}});
    sds(json!({
        "name": TRUST,
        "validation_context": {
            "trusted_ca": mounted(input, "ca.crt"),
            "watched_directory": {"path": input.certificate_directory},
            // Any certificate of that CA would do otherwise, also the one of another tenant's Envoy.
            "match_typed_subject_alt_names": [server_name],
        },
    }))
}

/// The kubelet replaces a Secret's files by swapping the symbolic link `..data` in the mounted directory: a rename
/// there, which is exactly what `watched_directory` waits for. The files' own paths stay the same.
fn mounted(input: &BootstrapInput, file: &str) -> Value {
    json!({"filename": format!("{}/{file}", input.certificate_directory)})
}

fn sds(mut secret: Value) -> Value {
    if let Some(secret) = secret.as_object_mut() {
        let ty = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
        secret.insert("@type".to_owned(), ty.into());
    }
    json!({"resources": [secret]})
}

fn admin_cluster(input: &BootstrapInput) -> Value {
    json!({
        "name": ADMIN_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": load_assignment(ADMIN_CLUSTER, "127.0.0.1", input.admin_port),
    })
}

/// Lets the kubelet and Prometheus see two pages of the admin interface, which can do far too much (shut Envoy down,
/// for one) to be reachable from outside the pod.
fn readiness_listener(input: &BootstrapInput) -> Value {
    let get = json!([{"name": ":method", "string_match": {"exact": "GET"}}]);
    let route = |path: &str| json!({"match": {"path": path, "headers": get}, "route": {"cluster": ADMIN_CLUSTER, "timeout": "10s"}});
    let mut address = address(input.bind.address(), input.readiness_port);
    address["socket_address"]["ipv4_compat"] = (input.bind == Bind::DualStack).into();
    json!({
        "name": "readiness",
        "address": address,
        // Clients of the tenant's load balancers must not be able to make the Envoy look dead.
        "ignore_global_conn_limit": true,
        "bypass_overload_manager": true,
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "readiness",
                "route_config": {"virtual_hosts": [{
                    "name": "readiness",
                    "domains": ["*"],
                    "routes": [route("/ready"), route(STATISTICS_PATH)],
                }]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }],
            },
        }]}],
    })
}

/// None where nothing is limited.
fn overload_manager(input: &BootstrapInput) -> Option<Value> {
    let monitors: Vec<Value> = (input.max_heap_bytes.map(heap).into_iter())
        .chain(input.max_connections.map(connections))
        .collect();
    let mut manager = json!({"resource_monitors": monitors});
    if let (Some(_), Some(object)) = (input.max_heap_bytes, manager.as_object_mut()) {
        // Unless told, memory is looked at once a second, in which many connections come.
        object.insert("refresh_interval".to_owned(), "0.25s".into());
        object.insert("actions".to_owned(), heap_actions());
    }
    (!monitors.is_empty()).then_some(manager)
}

fn heap(limit: NonZeroU64) -> Value {
    json!({
        "name": HEAP,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
            "max_heap_size_bytes": limit,
        },
    })
}

/// Memory that is only kept for later is given back first. Connections that are open go on in any case: the kernel would
/// end all of them.
fn heap_actions() -> Value {
    let action = |name: &str, share: f64| json!({"name": name, "triggers": [{"name": HEAP, "threshold": {"value": share}}]});
    json!([
        action("envoy.overload_actions.shrink_heap", 0.95),
        action("envoy.overload_actions.stop_accepting_connections", 0.98),
    ])
}

fn connections(limit: NonZeroU64) -> Value {
    json!({
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": limit,
        },
    })
}

fn load_assignment(cluster: &str, host: &str, port: u16) -> Value {
    json!({"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}]})
}

fn address(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_these() {
        let mut input = BootstrapInput::new(
            "envoycp.kubelb.svc",
            8001.try_into().unwrap(),
            "xds.kubelb".parse().unwrap(),
        );
        input.max_connections = NonZeroU64::new(50_000);
        input.max_heap_bytes = NonZeroU64::new(400 << 20);
        let text: String = files(&input)
            .iter()
            .map(|(name, text)| format!("# {name}\n{text}"))
            .collect();
        insta::assert_snapshot!(text);
    }
}
