//! Command-line arguments, under the names that are known from earlier versions.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};
use controller_kit::args::{AdminArgs, BindAddress, LeaseArgs, LogArgs, duration};

/// Port of /metrics unless told otherwise.
pub const METRICS_PORT: u16 = 9443;
/// Port of the xDS server.
pub const XDS_PORT: u16 = 18000;

/// Runs load balancing for many clusters on this one.
#[derive(Debug, Parser)]
#[command(name = "kubelb-manager", version)]
pub struct Args {
    /// Address of the xDS server for the tenants' Envoys.
    #[arg(long, default_value = ":18000")]
    pub listen_address: BindAddress,
    /// Namespace of the manager: its Config, lease, certificates and reports are there.
    #[arg(long, env = "NAMESPACE", default_value = "kubelb")]
    pub namespace: String,
    /// Serve the Gateway API through Envoy Gateway.
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub enable_gateway_api: bool,
    /// Kubeconfig of the hub. Without it the pod's own service account is used.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Image of the tenants' Envoys, where the Config names none.
    #[arg(
        long,
        env = "ENVOY_IMAGE",
        default_value = "docker.io/envoyproxy/envoy:distroless-v1.39.1"
    )]
    pub envoy_image: String,
    /// Bind Envoy's listeners to IPv4 only, for hubs whose nodes have IPv6 switched off.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub envoy_ipv4_only: bool,
    /// GatewayClass of the tenants' Gateways, where neither Tenant nor Config names one.
    #[arg(long, default_value = "kubelb")]
    pub gateway_class: String,
    /// URL at which tenants reach the hub's API server, such as https://hub.example.com:6443. The address that
    /// the manager itself uses unless told; that is of no use to tenants where it is inside the hub.
    #[arg(long, env = "TENANT_API_SERVER")]
    pub tenant_api_server: Option<String>,
    /// CA of that URL, PEM. The CA of the manager's own connection unless told.
    #[arg(long)]
    pub tenant_api_server_ca_file: Option<PathBuf>,
    /// How long a tenant's token is good. It is renewed after a third of that.
    #[arg(long, default_value = "168h", value_parser = duration)]
    pub tenant_token_lifetime: Duration,
    /// Name of the Service in front of the xDS server, in the manager's namespace.
    #[arg(long, default_value = "kubelb-manager-xds")]
    pub xds_service_name: String,
    /// Probes and metrics.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Leader election.
    #[command(flatten)]
    pub lease: LeaseArgs,
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_has_the_known_defaults() {
        Args::command().debug_assert();
        let args = Args::parse_from(["kubelb-manager"]);
        assert_eq!(args.listen_address, BindAddress::Any(XDS_PORT));
        assert_eq!(args.admin.metrics_or(METRICS_PORT), BindAddress::Any(9443));
        assert_eq!(args.tenant_token_lifetime, Duration::from_secs(7 * 24 * 3600));
        assert!(args.enable_gateway_api && args.lease.enable_leader_election);
        assert_eq!(
            (args.gateway_class.as_str(), args.xds_service_name.as_str()),
            ("kubelb", "kubelb-manager-xds")
        );
    }
}
