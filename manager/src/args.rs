//! Command-line arguments, under the names that are known from earlier versions.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};
use controller_kit::args::{AdminArgs, BindAddress, LeaseArgs, LogArgs, duration};

/// Port of /metrics unless told otherwise.
pub const METRICS_PORT: u16 = 9443;
/// Port of the xDS server.
pub const XDS_PORT: u16 = 18000;

/// The API server issues no token for less.
const SHORTEST_TOKEN_LIFETIME: Duration = Duration::from_secs(600);

controller_kit::consistent!(Consistency: "enable_gateway_api" => ["gateway_class"]);

/// Runs load balancing for many clusters on this one.
#[derive(Debug, Parser)]
#[command(
    name = "kubelb-manager",
    version,
    mut_arg("metrics_addr", |arg| arg.default_value(":9443"))
)]
pub struct Args {
    /// Flags that contradict each other are refused.
    #[command(flatten)]
    pub consistency: Consistency,
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
    #[arg(long, env = "TENANT_API_SERVER", value_parser = https_url)]
    pub tenant_api_server: Option<String>,
    /// File with the CA of that URL, PEM. The CA of the manager's own connection unless told.
    #[arg(long, requires = "tenant_api_server")]
    pub tenant_api_server_ca_file: Option<PathBuf>,
    /// How long a tenant's token is good, ten minutes at least. It is renewed after a third of that.
    #[arg(long, default_value = "168h", value_parser = token_lifetime)]
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

fn https_url(text: &str) -> Result<String, String> {
    let bad = || format!("{text:?} is no URL such as https://hub.example.com:6443");
    let uri: http::Uri = text.parse().map_err(|_| bad())?;
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if uri.scheme() == Some(&http::uri::Scheme::HTTPS) && has_host && uri.query().is_none() {
        Ok(text.to_owned())
    } else {
        Err(bad())
    }
}

fn token_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = duration(text)?;
    if lifetime < SHORTEST_TOKEN_LIFETIME {
        return Err("no token is issued for less than 10m".to_owned());
    }
    Ok(lifetime)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use controller_kit::document::assert_flags_absent;

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

    /// What is said to these flags; nothing if they are taken.
    fn refusal(flags: &[&str]) -> String {
        let parsed = Args::try_parse_from([&["kubelb-manager"][..], flags].concat());
        parsed.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn flags_that_the_document_calls_absent_are_refused() {
        let text = include_str!("../../docs/operations.md");
        assert_flags_absent(text, "--enable-tenant-migration", |flag| refusal(&[flag]));
    }

    #[test]
    fn the_help_tells_the_port_of_the_metrics() {
        let help = Args::command().render_long_help().to_string();
        assert!(help.contains("[default: :9443]"), "{help}");
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused_by_name() {
        for (flags, words) in [
            (
                &["--enable-gateway-api=false", "--gateway-class=mine"][..],
                "--gateway-class has no meaning with --enable-gateway-api=false",
            ),
            (&["--tenant-api-server-ca-file=/ca.crt"], "--tenant-api-server <"),
            (
                &[
                    "--enable-leader-election=false",
                    "--leader-election-retry-period=1s",
                ],
                "--leader-election-retry-period has no meaning with --enable-leader-election=false",
            ),
        ] {
            let said = refusal(flags);
            assert!(said.contains(words), "{flags:?}: {said}");
        }
        for flags in [
            &["--enable-gateway-api=false"][..],
            &["--gateway-class=mine"],
            &[
                "--tenant-api-server=https://hub.example.com",
                "--tenant-api-server-ca-file=/ca.crt",
            ],
            &["--enable-leader-election=false"],
        ] {
            assert_eq!(refusal(flags), "", "{flags:?}");
        }
    }

    #[test]
    fn values_that_cannot_be_used_are_refused_by_name() {
        for url in [
            "",
            "hub.example.com:6443",
            "http://hub.example.com",
            "https://",
            "https:///x",
            "https://h?x=y",
        ] {
            let said = refusal(&[&format!("--tenant-api-server={url}")]);
            assert!(said.contains("--tenant-api-server"), "{url:?}: {said}");
        }
        for url in [
            "https://hub.example.com:6443",
            "https://[2001:db8::1]:6443/",
            "https://192.0.2.1/hub",
        ] {
            assert_eq!(refusal(&[&format!("--tenant-api-server={url}")]), "", "{url}");
        }
        for lifetime in ["0s", "9m59s", "a week"] {
            let said = refusal(&[&format!("--tenant-token-lifetime={lifetime}")]);
            assert!(said.contains("--tenant-token-lifetime"), "{lifetime}: {said}");
        }
        assert_eq!(refusal(&["--tenant-token-lifetime=10m"]), "");
    }
}
