//! Command line. Every flag tells its unit and its default; flags that contradict each other are refused.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use api::names::{NameError, TenantNamespace};
use clap::{ArgAction, Parser};
use controller_kit::args::{AdminArgs, LeaseArgs, LogArgs};

use crate::convert::nodes::{NodeAddressType, NodeChoice, NodeSelector};
use crate::convert::provider::CloudProvider;
use crate::convert::service::ClassPolicy;

controller_kit::consistent!(Consistency: "renew_credential" => ["credential_secret"]);

/// The agent in a tenant cluster: brings Services of type LoadBalancer and the Gateway API to the hub.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "kubelb-ccm",
    version,
    about,
    mut_arg("metrics_addr", |arg| arg.default_value(":9445"))
)]
pub struct Args {
    /// Flags that contradict each other are refused.
    #[command(flatten)]
    pub consistency: Consistency,
    /// Name of the Tenant on the hub that this cluster is. The credential must be for its namespace.
    #[arg(long, env = "CLUSTER_NAME", value_parser = cluster_name)]
    pub cluster_name: String,
    /// Kubeconfig of the hub, read again when it changes. The namespace of its context is the tenant's; $HOME/.kube/kubelb unless told.
    #[arg(long, env = "KUBELB_KUBECONFIG")]
    pub kubelb_kubeconfig: Option<PathBuf>,
    /// Kubeconfig of the own cluster; the service account of the pod unless told.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of this process, of its credential Secret and its lease; that of the service account unless told.
    #[arg(long, env = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Secret with the hub kubeconfig under the key "kubelb", in the namespace of this process. It is renewed before it ends.
    #[arg(long, default_value = api::meta::TENANT_CREDENTIAL_SECRET)]
    pub credential_secret: String,
    /// Exchange the hub credential for the newer one that the hub offers, at half of its life.
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub renew_credential: bool,

    /// Which address of a node the hub sends traffic to: ExternalIP or Hostname (InternalIP where a node has none), or InternalIP.
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        default_value = "ExternalIP",
        help_heading = "Services"
    )]
    pub node_address_type: NodeAddressType,
    /// Only nodes with these labels take traffic, such as "role=edge,!gpu" or "zone in (a,b)"; all nodes unless told.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        help_heading = "Services"
    )]
    pub node_address_label_selector: NodeSelector,
    /// At most so many addresses of nodes go to the hub, spread over zones (label topology.kubernetes.io/zone); 1000 unless told.
    #[arg(long, help_heading = "Services")]
    pub max_node_address_count: Option<NonZeroUsize>,
    /// Serve only Services with loadBalancerClass "kubelb". Otherwise those without a class as well; a foreign class never.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Services")]
    pub use_loadbalancer_class: bool,
    /// Give Services of type LoadBalancer the hub's address in their status. With false another load balancer of this cluster does
    /// that: the hub sends traffic to the address that the status shows, at the ports of the Service, and the status is only read.
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Services")]
    pub enable_cloud_provider: bool,
    /// Do not serve Services.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Services")]
    pub disable_service_controller: bool,

    /// Serve the Gateway API. Its CRDs may be installed later.
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Gateway API")]
    pub enable_gateway_api: bool,
    /// Serve Gateways by the controller name of their GatewayClass. There is no other way: false is refused.
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Gateway API")]
    pub use_gateway_class: bool,
    /// Do not serve GatewayClasses and Gateways of this cluster. Routes still attach to Gateways of the hub.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Gateway API")]
    pub disable_gateway_controller: bool,
    /// Do not serve HTTPRoutes.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Gateway API")]
    pub disable_httproute_controller: bool,
    /// Do not serve GRPCRoutes.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Gateway API")]
    pub disable_grpcroute_controller: bool,
    /// Do not serve TLSRoutes.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Gateway API")]
    pub disable_tlsroute_controller: bool,
    /// Do not serve TCPRoutes.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Gateway API")]
    pub disable_tcproute_controller: bool,
    /// Do not serve UDPRoutes.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Gateway API")]
    pub disable_udproute_controller: bool,
    /// Do not serve ListenerSets.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Gateway API")]
    pub disable_listenerset_controller: bool,
    /// Do not serve BackendTLSPolicies. What goes to their backends is then not encrypted.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, help_heading = "Gateway API")]
    pub disable_backendtlspolicy_controller: bool,

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

/// Flags that cannot be together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Nothing would be served.
    #[error(
        "--disable-service-controller with --enable-gateway-api=false leaves nothing to serve: take one of them away"
    )]
    NothingToServe,
    /// A switch of a part that is off as a whole.
    #[error("{0} has no meaning with --enable-gateway-api=false: take one of them away")]
    WithoutGatewayApi(&'static str),
    /// Every kind is off.
    #[error("--enable-gateway-api with every kind of it disabled: use --enable-gateway-api=false")]
    NoGatewayKind,
    /// Gateways without class.
    #[error(
        "--use-gateway-class=false is not supported: a Gateway belongs to the controller of its GatewayClass"
    )]
    GatewayClassRequired,
    /// A class that no Service is looked at for.
    #[error(
        "--use-loadbalancer-class has no meaning with --disable-service-controller: take one of them away"
    )]
    ClassWithoutServices,
    /// A provider without Services.
    #[error(
        "--enable-cloud-provider=false has no meaning with --disable-service-controller: take one of them away"
    )]
    ProviderWithoutServices,
    /// Where the hub kubeconfig is, is not known.
    #[error("--kubelb-kubeconfig is not given and HOME is not set")]
    NoKubeconfig,
}

fn cluster_name(text: &str) -> Result<String, NameError> {
    TenantNamespace::of(text).map(|_| text.to_owned())
}

impl Args {
    /// Refuses flags that contradict each other.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), ArgsError> {
        if !self.use_gateway_class {
            return Err(ArgsError::GatewayClassRequired);
        }
        if !self.enable_gateway_api {
            if let Some((_, flag)) = self.kinds().iter().find(|(disabled, _)| *disabled) {
                return Err(ArgsError::WithoutGatewayApi(flag));
            }
            if self.disable_service_controller {
                return Err(ArgsError::NothingToServe);
            }
        } else if self.kinds().iter().all(|(disabled, _)| *disabled) {
            return Err(ArgsError::NoGatewayKind);
        }
        if self.use_loadbalancer_class && self.disable_service_controller {
            return Err(ArgsError::ClassWithoutServices);
        }
        if !self.enable_cloud_provider && self.disable_service_controller {
            return Err(ArgsError::ProviderWithoutServices);
        }
        Ok(())
    }

    /// Every kind of the Gateway API: whether it is switched off, and by which flag.
    fn kinds(&self) -> [(bool, &'static str); 8] {
        [
            (self.disable_gateway_controller, "--disable-gateway-controller"),
            (
                self.disable_httproute_controller,
                "--disable-httproute-controller",
            ),
            (
                self.disable_grpcroute_controller,
                "--disable-grpcroute-controller",
            ),
            (self.disable_tlsroute_controller, "--disable-tlsroute-controller"),
            (self.disable_tcproute_controller, "--disable-tcproute-controller"),
            (self.disable_udproute_controller, "--disable-udproute-controller"),
            (
                self.disable_listenerset_controller,
                "--disable-listenerset-controller",
            ),
            (
                self.disable_backendtlspolicy_controller,
                "--disable-backendtlspolicy-controller",
            ),
        ]
    }

    /// Where the hub kubeconfig is. `home` is the value of `HOME`.
    ///
    /// # Errors
    /// When neither the flag nor `home` says it.
    pub fn hub_kubeconfig(&self, home: Option<PathBuf>) -> Result<PathBuf, ArgsError> {
        let default = || home.map(|home| home.join(".kube").join("kubelb"));
        self.kubelb_kubeconfig
            .clone()
            .or_else(default)
            .ok_or(ArgsError::NoKubeconfig)
    }

    /// Which nodes take traffic, and where they are reached.
    #[must_use]
    pub fn node_choice(&self) -> NodeChoice {
        NodeChoice {
            address_type: self.node_address_type,
            selector: self.node_address_label_selector.clone(),
            max_addresses: self.max_node_address_count,
        }
    }

    /// Which Services are ours.
    #[must_use]
    pub fn class_policy(&self) -> ClassPolicy {
        if self.use_loadbalancer_class {
            ClassPolicy::OursOnly
        } else {
            ClassPolicy::DefaultOrOurs
        }
    }

    /// Who gives Services their address in the own cluster.
    #[must_use]
    pub fn cloud_provider(&self) -> CloudProvider {
        if self.enable_cloud_provider {
            CloudProvider::Ours
        } else {
            CloudProvider::Another
        }
    }

    /// Which kinds of the Gateway API are served.
    #[must_use]
    pub fn gateway_settings(&self) -> gateway_semantics::Settings {
        gateway_semantics::Settings {
            gateways: !self.disable_gateway_controller,
            http_routes: !self.disable_httproute_controller,
            grpc_routes: !self.disable_grpcroute_controller,
            tls_routes: !self.disable_tlsroute_controller,
            tcp_routes: !self.disable_tcproute_controller,
            udp_routes: !self.disable_udproute_controller,
            listener_sets: !self.disable_listenerset_controller,
            backend_tls_policies: !self.disable_backendtlspolicy_controller,
            ..gateway_semantics::Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use controller_kit::document::assert_flags_absent;

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(["kubelb-ccm", "--cluster-name=cluster-1"].iter().chain(flags))
    }

    #[test]
    fn the_defaults_are_sound() {
        let args = parse(&[]).unwrap();
        args.check().unwrap();
        assert_eq!(args.class_policy(), ClassPolicy::DefaultOrOurs);
        assert_eq!(args.cloud_provider(), CloudProvider::Ours);
        assert_eq!(args.node_address_type, NodeAddressType::ExternalIp);
        assert_eq!(args.credential_secret, "kubelb-cluster");
        assert_eq!(args.admin.metrics_or(9445).to_string(), ":9445");
        assert!(args.enable_gateway_api && args.lease.enable_leader_election);
    }

    #[test]
    fn flags_are_read_as_they_were_known() {
        let args = parse(&[
            "--node-address-type=InternalIP",
            "--node-address-label-selector=role=edge,zone in (a,b)",
            "--max-node-address-count=50",
            "--use-loadbalancer-class=true",
            "--enable-cloud-provider=false",
            "--debug",
        ])
        .unwrap();
        let choice = args.node_choice();
        assert_eq!(choice.address_type, NodeAddressType::InternalIp);
        assert_eq!(choice.selector, "role=edge,zone in (a,b)".parse().unwrap());
        assert_eq!(choice.max_addresses, NonZeroUsize::new(50));
        assert_eq!(args.class_policy(), ClassPolicy::OursOnly);
        assert_eq!(args.cloud_provider(), CloudProvider::Another);
        assert!(
            parse(&["--use-loadbalancer-class"])
                .unwrap()
                .use_loadbalancer_class
        );
    }

    #[test]
    fn a_selector_or_a_count_that_is_none_is_refused_with_its_flag() {
        for flag in ["--node-address-label-selector=a b", "--max-node-address-count=0"] {
            let said = parse(&[flag]).unwrap_err().to_string();
            let name = flag.split('=').next().unwrap();
            assert!(said.contains(name), "{said}");
        }
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        let check = |flags: &[&str]| parse(flags).unwrap().check().unwrap_err();
        assert_eq!(
            check(&["--enable-gateway-api=false", "--disable-service-controller"]),
            ArgsError::NothingToServe
        );
        assert_eq!(
            check(&["--enable-gateway-api=false", "--disable-httproute-controller"]),
            ArgsError::WithoutGatewayApi("--disable-httproute-controller")
        );
        assert_eq!(
            check(&parse(&[]).unwrap().kinds().map(|(_, flag)| flag)),
            ArgsError::NoGatewayKind
        );
        assert_eq!(
            check(&["--use-loadbalancer-class", "--disable-service-controller"]),
            ArgsError::ClassWithoutServices
        );
        assert_eq!(
            check(&["--enable-cloud-provider=false", "--disable-service-controller"]),
            ArgsError::ProviderWithoutServices
        );
        assert_eq!(
            check(&["--use-gateway-class=false"]),
            ArgsError::GatewayClassRequired
        );
    }

    #[test]
    fn flags_about_what_is_switched_off_are_refused_by_name() {
        for (switch, flag) in [
            ("--renew-credential=false", "--credential-secret=other"),
            (
                "--enable-leader-election=false",
                "--leader-election-lease-duration=9s",
            ),
        ] {
            let said = parse(&[switch, flag]).unwrap_err().to_string();
            let name = flag.split('=').next().unwrap();
            assert!(
                said.contains(&format!("{name} has no meaning with {switch}")),
                "{said}"
            );
            assert!(parse(&[switch]).is_ok() && parse(&[flag]).is_ok(), "{flag}");
        }
    }

    #[test]
    fn flags_that_the_document_calls_absent_are_refused() {
        let text = include_str!("../../docs/operations.md");
        let said = |flag: &str| parse(&[flag]).unwrap_err().to_string();
        assert_flags_absent(text, "--enable-secret-synchronizer", said);
    }

    #[test]
    fn the_help_tells_the_port_of_the_metrics() {
        use clap::CommandFactory;
        Args::command().debug_assert();
        let help = Args::command().render_long_help().to_string();
        assert!(help.contains("[default: :9445]"), "{help}");
    }

    #[test]
    fn a_cluster_name_that_makes_no_namespace_is_refused() {
        assert!(Args::try_parse_from(["kubelb-ccm", "--cluster-name=a.b"]).is_err());
    }

    #[test]
    fn the_hub_kubeconfig_is_below_home_unless_told() {
        let args = parse(&[]).unwrap();
        assert_eq!(
            args.hub_kubeconfig(Some("/home/x".into())),
            Ok("/home/x/.kube/kubelb".into())
        );
        assert_eq!(args.hub_kubeconfig(None), Err(ArgsError::NoKubeconfig));
    }
}
