//! The settings in force for one tenant: what its Tenant says, over what the Config says.
//!
//! Pure. The most specific value wins field by field; nothing is allowed that neither of the two lists.

mod fleet;

use api::endpoint_policy::EndpointPolicy;
use api::v1alpha1::{
    AnnotationSettings, CertificateSettings, Config, ConfigSpec, DnsSettings, EnvoyProxyTopology,
    GatewayApiSettings, IngressSettings, Limits, LoadBalancerSettings, Tenant, TrafficPolicy,
};
use ipnet::IpNet;

pub use self::fleet::{DEFAULT_DRAIN, DEFAULT_REPLICAS, EnvoyFleet};

/// What holds for one tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantSettings {
    /// L4 load balancing.
    pub load_balancer: LoadBalancerSettings,
    /// Ingress.
    pub ingress: IngressSettings,
    /// Gateway API.
    pub gateway_api: GatewayApiSettings,
    /// Host names.
    pub dns: DnsSettings,
    /// Certificates.
    pub certificates: CertificateSettings,
    /// Which annotations reach the hub.
    pub annotations: AnnotationSettings,
    /// Upper limits.
    pub limits: Limits,
    /// Host names the tenant may use.
    pub allowed_domains: Vec<String>,
    /// Ranges in which the tenant's endpoints may lie, as written.
    pub endpoint_cidrs: Vec<String>,
    /// The same with the hub's denied ranges, ready for checks.
    pub endpoint_policy: EndpointPolicy,
    /// Addresses that Gateways may ask for, ready for checks. What the hub denies to endpoints may be one: it is
    /// where the hub's own addresses are.
    pub gateway_addresses: EndpointPolicy,
    /// The tenant's L4 Envoys.
    pub envoy: EnvoyFleet,
    /// How they are divided.
    pub topology: EnvoyProxyTopology,
    /// Hub Services take NodePorts.
    pub allocate_node_ports: bool,
}

impl TenantSettings {
    /// True where L4 is switched off.
    #[must_use]
    pub fn load_balancer_disabled(&self) -> bool {
        self.load_balancer.disable == Some(true)
    }

    /// True where the Gateway API is switched off.
    #[must_use]
    pub fn gateway_api_disabled(&self) -> bool {
        self.gateway_api.disable == Some(true)
    }
}

/// Merges a Tenant over the Config. `default_gateway_class` is what holds where neither names a class.
#[must_use]
pub fn merge(tenant: &Tenant, config: Option<&Config>, default_gateway_class: &str) -> TenantSettings {
    let absent = ConfigSpec::default();
    let config = config.map_or(&absent, |c| &c.spec);
    let tenant = &tenant.spec;
    let endpoint_cidrs = tenant
        .endpoint_cidrs
        .clone()
        .unwrap_or_else(|| config.endpoint_cidrs.clone());
    let mut gateway_api = gateway_api(tenant.gateway_api.as_ref(), config.gateway_api.as_ref());
    gateway_api
        .class
        .get_or_insert_with(|| default_gateway_class.to_owned());
    let gateway_addresses = endpoint_policy(gateway_api.address_cidrs.as_deref().unwrap_or_default(), &[]);
    TenantSettings {
        gateway_addresses,
        load_balancer: load_balancer(tenant.load_balancer.as_ref(), config.load_balancer.as_ref()),
        ingress: ingress(tenant.ingress.as_ref(), config.ingress.as_ref()),
        gateway_api,
        dns: dns(tenant.dns.as_ref(), config.dns.as_ref()),
        certificates: certificates(tenant.certificates.as_ref(), config.certificates.as_ref()),
        annotations: annotations(&tenant.annotations, &config.annotations),
        limits: tenant.limits.clone().unwrap_or_default(),
        allowed_domains: tenant
            .allowed_domains
            .clone()
            .unwrap_or_else(|| config.allowed_domains.clone()),
        endpoint_policy: endpoint_policy(&endpoint_cidrs, &config.denied_endpoint_cidrs),
        endpoint_cidrs,
        envoy: fleet::merge(tenant.envoy_proxy.as_ref(), &config.envoy_proxy),
        topology: (tenant.envoy_proxy.as_ref())
            .and_then(|envoy| envoy.topology)
            .unwrap_or(config.envoy_proxy.topology),
        allocate_node_ports: config.allocate_load_balancer_node_ports,
    }
}

fn either<T: Clone>(first: Option<&T>, second: Option<&T>) -> Option<T> {
    first.or(second).cloned()
}

fn load_balancer(
    tenant: Option<&LoadBalancerSettings>,
    config: Option<&LoadBalancerSettings>,
) -> LoadBalancerSettings {
    LoadBalancerSettings {
        class: either(
            tenant.and_then(|t| t.class.as_ref()),
            config.and_then(|c| c.class.as_ref()),
        ),
        disable: either(
            tenant.and_then(|t| t.disable.as_ref()),
            config.and_then(|c| c.disable.as_ref()),
        ),
        traffic_policy: traffic_policy(
            tenant.and_then(|t| t.traffic_policy.clone()),
            config.and_then(|c| c.traffic_policy.clone()),
        ),
    }
}

fn traffic_policy(tenant: Option<TrafficPolicy>, config: Option<TrafficPolicy>) -> Option<TrafficPolicy> {
    match (tenant, config) {
        (Some(tenant), Some(config)) => Some(tenant.or(&config)),
        (tenant, config) => tenant.or(config),
    }
}

fn ingress(tenant: Option<&IngressSettings>, config: Option<&IngressSettings>) -> IngressSettings {
    IngressSettings {
        class: either(
            tenant.and_then(|t| t.class.as_ref()),
            config.and_then(|c| c.class.as_ref()),
        ),
        disable: either(
            tenant.and_then(|t| t.disable.as_ref()),
            config.and_then(|c| c.disable.as_ref()),
        ),
    }
}

fn gateway_api(
    tenant: Option<&GatewayApiSettings>,
    config: Option<&GatewayApiSettings>,
) -> GatewayApiSettings {
    GatewayApiSettings {
        class: either(
            tenant.and_then(|t| t.class.as_ref()),
            config.and_then(|c| c.class.as_ref()),
        ),
        disable: either(
            tenant.and_then(|t| t.disable.as_ref()),
            config.and_then(|c| c.disable.as_ref()),
        ),
        default_gateway: either(
            tenant.and_then(|t| t.default_gateway.as_ref()),
            config.and_then(|c| c.default_gateway.as_ref()),
        ),
        address_cidrs: either(
            tenant.and_then(|t| t.address_cidrs.as_ref()),
            config.and_then(|c| c.address_cidrs.as_ref()),
        ),
        infrastructure_metadata: either(
            tenant.and_then(|t| t.infrastructure_metadata.as_ref()),
            config.and_then(|c| c.infrastructure_metadata.as_ref()),
        ),
    }
}

fn dns(tenant: Option<&DnsSettings>, config: Option<&DnsSettings>) -> DnsSettings {
    let (absent_tenant, absent_config) = (DnsSettings::default(), DnsSettings::default());
    let (t, c) = (tenant.unwrap_or(&absent_tenant), config.unwrap_or(&absent_config));
    DnsSettings {
        wildcard_domain: either(t.wildcard_domain.as_ref(), c.wildcard_domain.as_ref()),
        allow_explicit_hostnames: t.allow_explicit_hostnames.or(c.allow_explicit_hostnames),
        use_dns_annotations: t.use_dns_annotations.or(c.use_dns_annotations),
        use_certificate_annotations: t.use_certificate_annotations.or(c.use_certificate_annotations),
    }
}

fn certificates(
    tenant: Option<&CertificateSettings>,
    config: Option<&CertificateSettings>,
) -> CertificateSettings {
    CertificateSettings {
        default_cluster_issuer: either(
            tenant.and_then(|t| t.default_cluster_issuer.as_ref()),
            config.and_then(|c| c.default_cluster_issuer.as_ref()),
        ),
    }
}

/// A Tenant that says anything about what passes takes over both fields: a mixture would let through what
/// neither of the two meant.
fn annotations(tenant: &AnnotationSettings, config: &AnnotationSettings) -> AnnotationSettings {
    let says = tenant.propagate_all_annotations.is_some() || tenant.propagated_annotations.is_some();
    let allow = if says { tenant } else { config };
    AnnotationSettings {
        propagate_all_annotations: allow.propagate_all_annotations,
        propagated_annotations: allow.propagated_annotations.clone(),
        denied_annotations: either(
            tenant.denied_annotations.as_ref(),
            config.denied_annotations.as_ref(),
        ),
    }
}

/// A denied range that cannot be read denies everything: leaving it out would open what it was to close.
fn endpoint_policy(allowed: &[String], denied: &[String]) -> EndpointPolicy {
    let Ok(denied) = denied
        .iter()
        .map(|cidr| cidr.parse::<IpNet>())
        .collect::<Result<Vec<_>, _>>()
    else {
        return EndpointPolicy::default();
    };
    EndpointPolicy {
        allowed: allowed.iter().filter_map(|cidr| cidr.parse().ok()).collect(),
        denied,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use api::v1alpha1::{EnvoyProxySettings, TenantEnvoyProxy, TenantSpec};

    use super::*;

    fn tenant(spec: TenantSpec) -> Tenant {
        Tenant::new("tenant-a", spec)
    }

    fn config(spec: ConfigSpec) -> Config {
        Config::new("default", spec)
    }

    #[test]
    fn nothing_is_allowed_where_nobody_says_anything() {
        let settings = merge(&tenant(TenantSpec::default()), None, "kubelb");
        assert!(
            settings
                .endpoint_policy
                .check("10.0.0.1".parse().unwrap())
                .is_err()
        );
        assert!(settings.allowed_domains.is_empty());
        assert_eq!(settings.annotations, AnnotationSettings::default());
        assert_eq!(settings.gateway_api.class.as_deref(), Some("kubelb"));
        assert_eq!(settings.envoy.replicas, DEFAULT_REPLICAS);
    }

    #[test]
    fn the_tenant_wins_field_by_field() {
        let settings = merge(
            &tenant(TenantSpec {
                load_balancer: Some(LoadBalancerSettings {
                    class: Some("theirs".into()),
                    disable: None,
                    traffic_policy: Some(TrafficPolicy {
                        max_connections: Some(1),
                        ..TrafficPolicy::default()
                    }),
                }),
                endpoint_cidrs: Some(vec!["10.0.0.0/8".into()]),
                ..TenantSpec::default()
            }),
            Some(&config(ConfigSpec {
                load_balancer: Some(LoadBalancerSettings {
                    class: Some("hub".into()),
                    disable: Some(true),
                    traffic_policy: Some(TrafficPolicy {
                        max_connections: Some(9),
                        idle_timeout_seconds: Some(9),
                        ..TrafficPolicy::default()
                    }),
                }),
                endpoint_cidrs: vec!["192.168.0.0/16".into()],
                ..ConfigSpec::default()
            })),
            "kubelb",
        );
        let wanted = LoadBalancerSettings {
            class: Some("theirs".into()),
            disable: Some(true),
            traffic_policy: Some(TrafficPolicy {
                max_connections: Some(1),
                idle_timeout_seconds: Some(9),
                ..TrafficPolicy::default()
            }),
        };
        assert_eq!(settings.load_balancer, wanted);
        assert_eq!(settings.endpoint_cidrs, ["10.0.0.0/8"]);
    }

    #[test]
    fn gateways_ask_for_addresses_of_the_tenants_ranges_or_else_of_the_hubs() {
        let with = |cidr: Option<&str>| GatewayApiSettings {
            address_cidrs: cidr.map(|cidr| vec![cidr.to_owned()]),
            ..GatewayApiSettings::default()
        };
        let hub = config(ConfigSpec {
            gateway_api: Some(GatewayApiSettings {
                infrastructure_metadata: Some(true),
                ..with(Some("192.0.2.0/24"))
            }),
            denied_endpoint_cidrs: vec!["192.0.2.0/24".into()],
            ..ConfigSpec::default()
        });
        let spec = |cidr| TenantSpec {
            gateway_api: Some(with(cidr)),
            ..TenantSpec::default()
        };
        let may = |cidr, address: &str| {
            let settings = merge(&tenant(spec(cidr)), Some(&hub), "kubelb");
            assert_eq!(settings.gateway_api.infrastructure_metadata, Some(true));
            settings.gateway_addresses.check(address.parse().unwrap()).is_ok()
        };
        assert!(may(None, "192.0.2.1"));
        assert!(!may(None, "203.0.113.1"));
        assert!(may(Some("203.0.113.0/24"), "203.0.113.1"));
        assert!(!may(Some("203.0.113.0/24"), "192.0.2.1"));
    }

    #[test]
    fn an_empty_list_of_the_tenants_is_an_answer() {
        let config = config(ConfigSpec {
            allowed_domains: vec!["**".into()],
            ..ConfigSpec::default()
        });
        let none = TenantSpec {
            allowed_domains: Some(vec![]),
            ..TenantSpec::default()
        };
        assert!(
            merge(&tenant(none), Some(&config), "kubelb")
                .allowed_domains
                .is_empty()
        );
        assert_eq!(
            merge(&tenant(TenantSpec::default()), Some(&config), "kubelb").allowed_domains,
            ["**"]
        );
    }

    #[test]
    fn a_denied_range_that_cannot_be_read_denies_everything() {
        let config = config(ConfigSpec {
            endpoint_cidrs: vec!["0.0.0.0/0".into()],
            denied_endpoint_cidrs: vec!["not a range".into()],
            ..ConfigSpec::default()
        });
        let settings = merge(&tenant(TenantSpec::default()), Some(&config), "kubelb");
        assert!(
            settings
                .endpoint_policy
                .check("10.0.0.1".parse().unwrap())
                .is_err()
        );
    }

    #[test]
    fn a_tenant_that_lists_annotations_takes_over_the_whole_policy() {
        let hub = AnnotationSettings {
            propagate_all_annotations: Some(true),
            ..AnnotationSettings::default()
        };
        let own = AnnotationSettings {
            propagated_annotations: Some(BTreeMap::from([("a/b".into(), String::new())])),
            ..AnnotationSettings::default()
        };
        let settings = merge(
            &tenant(TenantSpec {
                annotations: own.clone(),
                ..TenantSpec::default()
            }),
            Some(&config(ConfigSpec {
                annotations: hub,
                ..ConfigSpec::default()
            })),
            "kubelb",
        );
        assert_eq!(settings.annotations, own);
    }

    #[test]
    fn a_tenant_may_have_another_topology_than_the_hub() {
        let hub = |topology| {
            config(ConfigSpec {
                envoy_proxy: EnvoyProxySettings {
                    topology,
                    ..EnvoyProxySettings::default()
                },
                ..ConfigSpec::default()
            })
        };
        let own = |topology| TenantSpec {
            envoy_proxy: Some(TenantEnvoyProxy {
                topology,
                ..TenantEnvoyProxy::default()
            }),
            ..TenantSpec::default()
        };
        let (shared, dedicated) = (EnvoyProxyTopology::Shared, EnvoyProxyTopology::Dedicated);
        let of = |spec, hub: &Config| merge(&tenant(spec), Some(hub), "kubelb").topology;
        assert_eq!(of(TenantSpec::default(), &hub(dedicated)), dedicated);
        assert_eq!(of(own(None), &hub(dedicated)), dedicated);
        assert_eq!(of(own(Some(shared)), &hub(dedicated)), shared);
        assert_eq!(
            merge(&tenant(own(Some(dedicated))), None, "kubelb").topology,
            dedicated
        );
    }
}
